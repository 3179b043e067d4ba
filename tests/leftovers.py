"""What a container leaves behind: processes, mounts, cgroups, descriptors, state directories."""
from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

import host

__all__ = ["Leftovers", "snapshot"]

SETTLES = 2.0  # seconds that the kernel may take over a killed process, and others on this machine over their tests
ZYGOTE = b"nscontainer-zygote"
Snapshot = dict[str, frozenset[str]]


def _processes() -> frozenset[str]:
    """Our own descendants, zombies among them, and zygotes that nobody owns any more."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            before, _, after = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        state, parent = after.split()[:2]
        pid = int(entry)
        parents[pid] = int(parent)
        shown = command.replace(b"\0", b" ").decode(errors="replace").strip()[:160]
        names[pid] = f"{pid} {'zombie ' if state == 'Z' else ''}{before.partition('(')[2]}: {shown}"
        if ZYGOTE in command and int(parent) == 1:
            parents[pid] = os.getpid()
    ours, size = {os.getpid()}, 0
    while len(ours) != size:
        size = len(ours)
        ours |= {pid for pid, parent in parents.items() if parent in ours}
    return frozenset(names[pid] for pid in ours - {os.getpid()})


def _mounts() -> frozenset[str]:
    return frozenset(Path("/proc/self/mountinfo").read_text().splitlines())


def _cgroups() -> frozenset[str]:
    tops = [point for fstype in ("cgroup", "cgroup2") for point, _ in host.mounts_of_type(fstype)]
    return frozenset(directory for top in tops for directory, _, _ in os.walk(top))


def _descriptors() -> frozenset[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} -> {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue  # the one listdir itself had open
    return frozenset(found)


def _threads() -> frozenset[str]:
    return frozenset(os.listdir("/proc/self/task"))


def _namespaces() -> frozenset[str]:
    """The namespaces of every thread: a call in our own process must not have moved one."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        for name in os.listdir(f"/proc/self/task/{task}/ns"):
            found.add(f"{name} {os.readlink(f'/proc/self/task/{task}/ns/{name}')}")
    return frozenset(found)


def _states() -> frozenset[str]:
    tops = [Path(run) / "nscontainer" for run in ("/run", os.environ.get("XDG_RUNTIME_DIR")) if run]
    return frozenset(str(path) for top in tops if top.is_dir() for path in top.iterdir())


SEEN = {"process": _processes, "mount": _mounts, "cgroup": _cgroups, "descriptor": _descriptors, "thread": _threads,
        "namespace": _namespaces, "state directory": _states}


def _put_to_rest() -> None:
    """End the processes that zygotes have made ahead: they come and go between two looks."""
    spawner = sys.modules.get("nscontainer.spawner")
    if spawner is not None:
        for one in gc.get_objects():
            if type(one) is spawner.Zygote:
                one.rest()


def snapshot() -> Snapshot:
    """Return everything a container could leave behind that is there now."""
    _put_to_rest()
    return {kind: see() for kind, see in SEEN.items()}


class Leftovers:
    """A snapshot to compare with.

    Cgroups and ownerless zygotes are seen wherever they come from: a second run of the suite on the same machine
    shows here when it takes longer than SETTLES seconds over one of its own.
    """

    def __init__(self) -> None:
        self.before = snapshot()

    def start_over(self) -> None:
        """Take what is there now as given: after a warm-up whose zygote is meant to stay, for instance."""
        self.before = snapshot()

    def found(self) -> list[str]:
        """Return what is here and was not, one line each."""
        now = snapshot()
        return [f"{kind}: {one}" for kind in now for one in sorted(now[kind] - self.before[kind])]

    def check(self) -> None:
        """Fail unless everything made since is gone, within SETTLES seconds."""
        deadline = time.monotonic() + SETTLES
        while found := self.found():
            if time.monotonic() > deadline:
                raise AssertionError("left behind:\n  " + "\n  ".join(found))
            time.sleep(0.02)
