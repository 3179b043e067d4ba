"""Stop all processes of a cgroup, and let them run on: no process can catch, ignore or see it.

Lesson  A frozen process is stopped wherever it is, in its own code or on its way back from the kernel's.
Read    the kernel's cgroup-v1/freezer-subsystem.rst, and cgroup.freeze in admin-guide/cgroup-v2.rst
"""
from __future__ import annotations

from ..errors import ContainerError
from . import files

__all__ = ["freeze_v1", "freeze_v2", "frozen_v1", "frozen_v2", "thaw_leftover"]

PATIENCE = 2.0  # seconds: a process that waits for a dead disk never freezes


def frozen_v1(directory: str) -> bool:
    """Say whether everything in a cgroup of version 1 stands still, by its own state or that of one above."""
    return (files.read_or_none(f"{directory}/freezer.state") or "").strip() == "FROZEN"


def frozen_v2(directory: str) -> bool:
    """Say whether everything in a cgroup of version 2 stands still, by its own state or that of one above."""
    return "frozen 1" in (files.read_or_none(f"{directory}/cgroup.events") or "").split("\n")


def freeze_v1(directory: str, frozen: bool) -> None:
    """Freeze or thaw a cgroup of version 1, and wait until it is done."""
    state, path = "FROZEN" if frozen else "THAWED", f"{directory}/freezer.state"

    def done() -> bool:
        # Written each time anew: a process that is forked meanwhile can leave the state at FREEZING for good.
        files.write(path, state)
        return files.read(path).strip() == state

    if not files.until(done, PATIENCE):
        _give_up(directory, frozen, path, "THAWED")


def freeze_v2(directory: str, frozen: bool) -> None:
    """Freeze or thaw a cgroup of version 2, and wait until it is done."""
    path = f"{directory}/cgroup.freeze"
    files.write(path, str(int(frozen)))
    if not files.until(lambda: frozen_v2(directory) == frozen, PATIENCE):
        _give_up(directory, frozen, path, "0")


def thaw_leftover(directory: str) -> None:
    """Thaw a cgroup without processes that somebody has left frozen, whatever its version."""
    for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if files.read_or_none(f"{directory}/{name}") not in (None, f"{word}\n"):
            files.write(f"{directory}/{name}", word)


def _give_up(directory: str, frozen: bool, path: str, thawed: str) -> None:
    if not frozen:
        raise ContainerError(f"cannot thaw the cgroup {directory}", hint="a cgroup above it is frozen")
    files.write(path, thawed)  # half a container that stands still is worse than one that runs
    waiting = [pid for pid in files.get_pids(directory) if _uninterruptible(pid)]
    who = f": {', '.join(map(str, waiting))} wait{'s' * (len(waiting) == 1)} for a device" if waiting else ""
    raise ContainerError(f"cannot freeze the cgroup {directory} within {PATIENCE:g} seconds{who}",
                         hint="it has been thawed again")


def _uninterruptible(pid: int) -> bool:
    stat = files.read_or_none(f"/proc/{pid}/stat") or ""
    return stat.rpartition(")")[2].split()[:1] == ["D"]
