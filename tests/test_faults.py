"""Every call fails once: an error that says which, and neither a program nor anything else is left.

A start is walked by making its first call fail, then its second, and so on, until a run is not disturbed any more.
Where the code goes on without a call, the program must find its container complete: it writes down what it sees, and
that is compared with what it sees when nothing fails.
"""
from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINTR, EINVAL, EIO, ENOMEM, ENOSPC, ENOSYS, EPERM, errorcode
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, MOUNTS, finish, standard, with_user_namespace
from faults import CALLER, CHILD, FURTHER, ZYGOTE, Faults, init_args
from leftovers import SEEN, Leftovers
from nscontainer import PIPE, Config, Container, ContainerError, Factory, Process, Status
from nscontainer.sys.fds import poll
from nscontainer.sys.mount import MS

pytestmark = pytest.mark.needs("root", "busybox")

PATIENCE = 10_000  # milliseconds until a run counts as stuck

# "ran" at once, then what the program sees of its container.
PROGRAM = r"""
exec >&3 2>&1; echo ran
hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmni /proc/self/oom_score_adj
pwd; umask; ulimit -n; ulimit -Hn; env
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status
cut -d' ' -f4- /proc/self/mountinfo
stat -c '%N %F %a %u %g %t:%T' /dev /dev/* /proc/self/fd/[012]
ls /proc/self/fd /mnt /sys/firmware
cat /proc/version /proc/self/timens_offsets
for file in /etc/hostname /proc/sys/kernel/shmmni /mnt/file; do echo written > $file; done
for kind in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$kind; done
ip link show lo; echo end
"""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


class Outcome:
    """How one start went: its error, what its program wrote, and the call that failed before either."""

    def __init__(self, error: Exception | None, report: str, failed: str) -> None:
        self.error, self.report, self.failed = error, report, failed


class Stage:
    """Starts of one kind, some of whose calls fail: of first processes, or of further ones *inside* a container."""

    def __init__(self, factory: Factory, faults: Faults, ids: Callable[[], str], config: Config, *,
                 inside: Container | None = None, fresh: bool = False, **fields: Any) -> None:
        self.factory, self.faults, self._ids = factory, faults, ids
        self.config, self.inside, self.fields = config, inside, fields
        self._fresh = fresh  # each start begins with a new zygote
        self._hosts = {os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES}
        undisturbed = self.start(CALLER, 0, 0)
        assert undisturbed.error is None, undisturbed.error
        self.usual = undisturbed.report
        assert self.usual.startswith("ran\nintegration\n"), self.usual
        assert self.usual.endswith("end\n"), self.usual
        calls = faults.calls(CALLER)
        self.told = max(at for at, call in enumerate(calls, 1) if call == "sendmsg")  # what to be: now it may run
        self._before = self._present()

    def start(self, who: int, nth: int, number: int, **options: Any) -> Outcome:
        """Start a process whose making is disturbed, and see it through to the end."""
        if self._fresh:
            self.factory.close()
        container = self.inside or self.factory.create(self._ids(), self.config)
        reader, writer = os.pipe()
        process = Process(["/bin/sh", "-c", PROGRAM], env=ENVIRONMENT, extra_files=[writer], **self.fields)
        error: Exception | None = None
        self.faults.arm(self.factory.zygote, who, nth, number, **options)
        try:
            with disturbed(self.faults, who):
                container.start(process)
        except Exception as caught:
            error = caught.with_traceback(None)
        finally:
            failed = self.faults.disarm()
            os.close(writer)
        report = _read_to_the_end(reader)
        if error is None:
            process.wait(PATIENCE / 1000)
        if self.inside is None:
            assert container.status() is Status.DESTROYED
            container.destroy()
            assert os.listdir(self.factory.root) == []
        else:
            assert self.inside.status() is Status.RUNNING
        return Outcome(error, self._normal(report), failed)

    def _normal(self, report: str) -> str:
        """Take out of a report what is another in every container, or need not be the same."""
        for link in self._hosts:
            report = report.replace(link, link.replace("[", "[host "))
        report = re.sub(r":\[\d+\]", ":[own]", report)
        return re.sub(r"(?m)^/(\w+) /dev/\1 .* - devtmpfs .*\n", "", report)  # a node may be the host's, bound

    def problems(self, outcome: Outcome, who: int, nth: int) -> list[str]:
        """Say what is wrong with the outcome of a start whose *nth* call failed."""
        found, error = self._left(), outcome.error
        may_have_run = who == CALLER and nth > self.told  # and was killed then: nobody has the pipe any more
        if error is None and outcome.report != self.usual:
            found.append(f"went on, and its container was not complete:\n{_difference(self.usual, outcome.report)}")
        if error is not None and outcome.report and not may_have_run:
            found.append(f"raised {error}, and the program ran")
        if error is not None and not isinstance(error, ContainerError):
            found.append(f"raised {error!r}, which is no ContainerError")
        if error is not None and "\n" in str(error):
            found.append(f"more than one line: {str(error)!r}")
        if error is not None and not _is_named(outcome.failed, error):
            found.append(f"the error does not name the call: {error}")
        return found

    def _present(self) -> dict[str, frozenset[str]]:
        return {kind: SEEN[kind]() for kind in ("process", "mount", "descriptor")}

    def _left(self) -> list[str]:
        """Return what is here and was not before, but for a zygote in the place of another."""
        deadline = time.monotonic() + 2
        while True:
            now = self._present()
            zygote = f"{self.factory.zygote.pid} "
            found = [f"left {one}" for kind in ("process", "mount") for one in now[kind] - self._before[kind]
                     if kind != "process" or not one.startswith(zygote)]
            if len(now["descriptor"]) > len(self._before["descriptor"]):
                found += [f"left one of {sorted(now['descriptor'] - self._before['descriptor'])}"]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def walk(self, who: int, number: int, *, first: int = 1, stride: int = 1, **options: Any) -> int:
        """Make every call of *who* answer *number*, each in a run of its own; return how many calls there are."""
        found: list[str] = []
        for nth in itertools.count(first, stride):
            outcome = self.start(who, nth, number, **options)
            if not outcome.failed:
                break
            found += [f"call {nth}, {outcome.failed}, {errorcode[number]}: {problem}"
                      for problem in self.problems(outcome, who, nth)]
        assert not found, "\n".join(found)
        return nth - 1


@contextmanager
def disturbed(faults: Faults, who: int = CALLER) -> Iterator[None]:
    """Let this process's own calls fail, if it is the one to be disturbed."""
    if who == CALLER:
        faults.install()
    try:
        yield
    finally:
        faults.remove()


def _read_to_the_end(reader: int) -> str:
    """Return what comes out of a pipe until nobody has its other end; nobody may keep that for long."""
    data = b""
    try:
        while poll((reader,), PATIENCE):
            chunk = os.read(reader, 65536)
            if not chunk:
                return data.decode()
            data += chunk
    finally:
        os.close(reader)
    raise AssertionError(f"somebody keeps the program's descriptor: {data!r}")


def _difference(usual: str, report: str) -> str:
    expected, got = usual.splitlines(), report.splitlines()
    return "\n".join([f"  - {line}" for line in expected if line not in got] + [f"  + {line}" for line in got if line not in expected])


def _is_named(failed: str, error: Exception) -> bool:
    """Say whether the error tells which call it was."""
    return {"prlimit64": "prlimit"}.get(failed, failed.partition("os.")[2] or failed) in str(error)


# --- what there is to start


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(str(tmp_path / "page"), CALLER)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Factory]:
    """A factory whose zygote's calls, and those of its clones, fail on demand."""
    with Factory(tmp_path / "state", init_args=init_args(str(tmp_path / "page"))) as factory:
        yield factory


@pytest.fixture
def elaborate(busybox_template: Path, tmp_path: Path) -> Callable[..., Config]:
    """A configuration that gives most steps something to do."""
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "file").write_text("shown")
    bind = {"source": str(shown), "destination": "/mnt", "device": "bind", "flags": int(MS.BIND | MS.RDONLY)}
    settings = {"domainname": "domain", "sysctl": {"kernel.shmmni": "8192"}, "oom_score_adj": 200, "umask": 0o27,
                "rlimits": [{"type": 7, "hard": 1000, "soft": 900}], "no_new_privileges": True, "parent_death_signal": 9,
                "additional_groups": ["staff"], "readonlyfs": True, "mounts": [*MOUNTS, bind],
                "mask_paths": ["/proc/version", "/sys/firmware", "/sys/fs"]}
    return lambda make=standard, **changes: make(busybox_template, **{**settings, **changes})


@pytest.fixture
def stage(failing: Factory, faults: Faults, container_id: Callable[[], str]) -> Callable[..., Stage]:
    return lambda config, **options: Stage(failing, faults, container_id, config, **options)


@pytest.fixture
def running(factory: Factory, elaborate: Callable[..., Config], container_id: Callable[[], str]) -> Iterator[Container]:
    """A container that runs, of another factory: nothing in it fails."""
    with factory.create(container_id(), elaborate()) as container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        yield container


# --- the child


def test_each_call_of_the_child_may_fail(stage: Callable[..., Stage], elaborate: Callable[..., Config]) -> None:
    assert stage(elaborate(), user="user").walk(CHILD, EIO) > 200
