"""Every kernel call fails once, in the caller, in the zygote and in the child, and nothing comes of it but an error.

A run makes a container, runs a program in it and takes it away again; each of these steps is done anew when it has
failed. In each run another call fails. Exactly one step may then raise, a ContainerError of one line that names the
call or its errno; the step must succeed when it is done again; nothing may be left behind, and nothing may hang. Where
the code goes on without a call, OPTIONAL says why, and the program finds its container complete: it writes down what it
sees, and that is compared with what it sees when nothing fails.
"""
from __future__ import annotations

import errno
import gc
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EEXIST, EINTR, EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, EPERM, EROFS
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, MOUNTS, output_of, standard, with_user_namespace
from faults import CALLER, CHILD, DEATH, FURTHER, ZYGOTE, Call, Faults, init_args
from leftovers import SEEN, Leftovers
from nscontainer import PIPE, STDOUT, Config, Container, ContainerError, Factory, Process, Status, spawner
from nscontainer.errors import SyscallError
from nscontainer.sys.mount import MS
from nscontainer.sys.procfs import process_stat

pytestmark = pytest.mark.needs("root", "busybox")

PATIENCE = 5  # seconds until a run counts as stuck

A_COPY = "a sealed copy of the interpreter is as safe as an overlay of it"
ANOTHER_ZYGOTE = "another zygote takes its place, once: what persists is an error"
SAVES_TIME = "a process that is made ahead only saves the time of a clone"
NO_PIDFD = "a process that is announced without its pidfd is opened by its pid, which is a child's"
# Where the code goes on without a call, and why it may: who calls, in which function, what.
OPTIONAL = {
    (CALLER, "spawner._open_through_overlay", "*"): A_COPY,
    (CALLER, "spawner.prepare", "*"): SAVES_TIME,
    (CALLER, "spawner.learn", "*"): SAVES_TIME,
    (CALLER, "spawner.dismiss", "*"): "a process that is not needed ends all the same, and is reaped",
    (ZYGOTE, "zygote.main", "*"): ANOTHER_ZYGOTE,
    (ZYGOTE, "sync._fill", "recvmsg"): ANOTHER_ZYGOTE,
    (ZYGOTE, "zygote._answer", "close"): ANOTHER_ZYGOTE,
    (ZYGOTE, "sync.send", "sendmsg"): NO_PIDFD,
    (CHILD, "sync.send", "sendmsg"): NO_PIDFD,
}

# Where each run takes a process that was made ahead, these make another one: SAVES_TIME.
OF_THE_NEXT = ("zygote._answer", "zygote._become")

# What an errno says may be true: then a container that is told to go without something is as it should be.
NOTHING_THERE = "what is not there needs no protection"
TAKEN = "an image may have its own idea of these links"
ONE_INODE_MORE = "some kernels count one more for the empty directory that masks another"
BY_DEFINITION = {
    ("mounts.resolve.existing", "openat2", ENOENT): NOTHING_THERE,
    ("mounts.dev._link", "symlinkat", EEXIST): TAKEN,
    ("mounts.special.file_system", "fsopen", EINVAL): ONE_INODE_MORE,
    ("mounts.special.file_system", "fsconfig", EINVAL): ONE_INODE_MORE,
    ("mounts.special.file_system", "fsmount", EINVAL): ONE_INODE_MORE,
    ("mounts.special.file_system", "close", EINVAL): ONE_INODE_MORE,
    ("mounts.options.configure", "fsconfig", EINVAL): ONE_INODE_MORE,
}

# Of calls that are the same many times over, the first ones will do.
MOST = {"rt_sigaction": 2}

# Not made in each run: what is waited for may be there already, and who is to be killed may be gone.
BY_CHANCE = ("poll", "recvmsg", "sendmsg", "pidfd_send_signal", "waitid")

# What the program sees of its container.
PROGRAM = r"""
exec >&3 2>&1
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
AGAIN = "echo again >&3"  # what is run where a start has failed before
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


class Stuck(BaseException):
    """A run takes too long."""


class Outcome:
    """How a run went: what its steps raised, what its program wrote, and where the call failed."""

    def __init__(self, mend: Callable[[], object]) -> None:
        self._mend = mend
        self.errors: list[Exception] = []
        self.reports: list[str] = []     # of programs whose start succeeded
        self.unwanted: list[str] = []    # of others
        self.again = ""                  # a step that failed twice
        self.where: str | None = None

    def attempt(self, step: Callable[[], Any]) -> Any:
        """Do *step*, and if it raises do it once more, with nothing that fails."""
        try:
            return step()
        except Exception as error:
            self.errors.append(error.with_traceback(None))
        self._mend()
        return step()


class Stage:
    """Runs of one kind, in each of which another call fails.

    *inside* a running container: only a further process is started. *fresh*: each run begins with a new zygote, and
    ends it. *ahead*: each run takes a process that was made ahead; else none does.
    """

    def __init__(self, factory: Factory, faults: Faults, ids: Callable[[], str], config: Config, *,
                 inside: Container | None = None, fresh: bool = False, ahead: bool = False, console: bool = False,
                 kinds: tuple[str, ...] = (), **fields: Any) -> None:
        self.factory, self.faults, self._ids = factory, faults, ids
        self.config, self.inside, self.fresh, self.fields = config, inside, fresh, fields
        self._console, self._ahead = console, ahead
        self._kinds = ("process", "mount", "descriptor", *kinds)
        self._hosts = {os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES}
        for _ in range(2):  # the first brings the zygote up, and what is loaded late
            usual = self.run(CALLER)
            assert not usual.errors, usual.errors
        self.usual = usual.reports
        assert self.usual[0].startswith("integration\n"), self.usual
        assert self.usual[0].endswith("end\n"), self.usual
        self._before = self._present()

    def run(self, who: int, call: Call | None = None, number: int = 0, *, onwards: bool = False) -> Outcome:
        """Make, run and take away; *call* answers *number*."""
        outcome = Outcome(self.faults.disarm)
        self.factory.zygote.rest()
        self.factory.zygote._flags = -1  # as if nothing had been started before: so nothing will be made ahead
        if self.fresh:
            self.factory.close()
        else:
            if self._ahead:
                self._make_ahead()
            self.faults.settle(self.factory.zygote)
        self.faults.arm(call, number, onwards=onwards)
        if who == CALLER:
            self.faults.install()
        try:
            with no_longer_than(PATIENCE):
                self._steps(outcome)
        except (Exception, Stuck) as error:
            outcome.again = f"{type(error).__name__}: {error}"
        finally:
            outcome.where = self.faults.disarm()
            self.faults.remove()
        return outcome

    def _make_ahead(self) -> None:
        """Start what makes a further process likely, and wait until that one waits to hear what to be."""
        zygote, deadline = self.factory.zygote, time.monotonic() + PATIENCE
        while zygote._spare is None:
            assert time.monotonic() < deadline, "no process is made ahead"
            with self.factory.create(self._ids(), self.config) as container:
                container.start(Process(["true"], env=ENVIRONMENT))
        while process_stat(zygote._spare.born().pid).state != "S":
            assert time.monotonic() < deadline, "the process that was made ahead does not come to rest"

    def _steps(self, outcome: Outcome) -> None:
        inside = self.inside
        if inside is not None:
            outcome.attempt(outcome.attempt(lambda: self._start(inside, outcome)).wait)
            return
        id = self._ids()
        container = outcome.attempt(lambda: self.factory.create(id, self.config))
        try:
            process = outcome.attempt(lambda: self._start(container, outcome))
            outcome.attempt(process.wait)
            for opened in (process.stdin, process.stdout, process.console):
                if hasattr(opened, "close") and not isinstance(opened, BytesIO):
                    outcome.attempt(opened.close)
        finally:
            outcome.attempt(container.__exit__ if outcome.again else container.destroy)
        if self._ahead:
            outcome.attempt(self.factory.zygote.rest)
        if self.fresh:
            outcome.attempt(self.factory.close)

    def _start(self, container: Container, outcome: Outcome) -> Process:
        reader, writer = os.pipe()
        started = False
        program = AGAIN if outcome.errors else PROGRAM
        process = Process(["/bin/sh", "-c", program], env=ENVIRONMENT, extra_files=[writer], **self.fields)
        try:
            if self._console:
                process.new_console()
            container.start(process)
            started = True
            return process
        finally:
            os.close(writer)
            if not started and process.console is not None:
                process.console.close()
            report = _read_to_the_end(reader)
            (outcome.reports if started else outcome.unwanted).append(self._normal(report))

    def _normal(self, report: str) -> str:
        """Take out of a report what is another in every container, or need not be the same."""
        for link in self._hosts:
            report = report.replace(link, link.replace("[", "[host "))
        report = re.sub(r":\[\d+\]", ":[own]", report)
        # A node may be the host's, bound.
        report = re.sub(r"(?m)^/(\w+) /dev/\1 .* - devtmpfs .*\n", "", report)
        return re.sub(r"(?m)^(.* character special file \d+) \d+ \d+ ", r"\1 ", report)

    def walk(self, who: int, number: int, *, each: int = 1000, where: str = "", onwards: bool = False) -> list[Call]:
        """Make every call of *who* answer *number*, each in a run of its own; return the calls.

        *each*: so many of one name in one function. *where*: in functions that begin so. With *onwards*, every later
        call of that name fails too, until the run has raised.
        """
        self.run(who)
        every = self.faults.calls(who)
        told = max(at for at, call in enumerate(every) if call.name == "sendmsg") if who == CALLER else len(every)
        found, walked, seen = [], [], dict[tuple[str, str], int]()
        for at, call in enumerate(every):
            same = seen[call.name, call.where] = seen.get((call.name, call.where), 0) + 1
            if same > each or same > MOST.get(call.name, same) or not call.where.startswith(where):
                continue
            for _ in range(3):  # a look whether something is there may come too late to be a call
                outcome = self.run(who, call, number, onwards=onwards)
                if outcome.where is not None:
                    break
            found += [f"{call}, {errno.errorcode.get(number, 'death')}: {problem}"
                      for problem in self._problems(outcome, call, number, may_have_run=at > told)]
            walked.append(call)
        assert not found, "\n".join(found)
        return walked

    def _problems(self, outcome: Outcome, call: Call, number: int, *, may_have_run: bool) -> list[str]:
        """Say what is wrong with a run in which *call* failed."""
        found = self._left()
        if outcome.where is None:
            return found if call.name in BY_CHANCE else [*found, "was not reached"]
        if outcome.again:
            found.append(f"again, or badly: {outcome.again}")
        elif outcome.errors and outcome.reports not in (self.usual, ["again\n"]):
            found.append(f"then the program did not run: {outcome.reports}")
        elif not (outcome.errors or outcome.reports == self.usual
                  or (outcome.where, call.name, number) in BY_DEFINITION):
            found.append(f"the container was not complete:\n{_difference(self.usual, outcome.reports)}")
        if len(outcome.errors) > 1:
            found.append(f"raised more than once: {outcome.errors}")
        optional = _is_optional(call.who, outcome.where, call.name) or self._ahead and outcome.where in OF_THE_NEXT
        if not outcome.errors and number == EIO and not optional:
            found.append("was ignored")
        if "".join(outcome.unwanted) and not may_have_run:
            found.append(f"the program ran: {outcome.unwanted}")
        for error in outcome.errors:
            if not isinstance(error, ContainerError):
                found.append(f"raised {error!r}, which is no ContainerError")
            elif not _is_clear(error, call.who, number):
                found.append(f"raised {str(error)!r}, which is not clear")
        return found

    def _present(self) -> dict[str, frozenset[str]]:
        return {"state": frozenset(os.listdir(self.factory.root)), **{kind: SEEN[kind]() for kind in self._kinds}}

    def _left(self) -> list[str]:
        """Return what is here and was not before, but for a zygote in the place of another."""
        self.factory.zygote.rest()
        deadline = time.monotonic() + 2
        while True:
            now = self._present()
            zygote = f"{self.factory.zygote.pid} "
            found = [f"left {one}" for kind in now for one in now[kind] - self._before[kind]
                     if kind != "descriptor" and not one.startswith(zygote)]
            if len(now["descriptor"]) > len(self._before["descriptor"]):
                found += [f"left one of {sorted(now['descriptor'] - self._before['descriptor'])}"]
            if not found:
                return found
            if time.monotonic() > deadline:
                self._before = now  # told once
                return found
            time.sleep(0.01)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raise Stuck when the time is over. The alarm that was set before is set again, with what was left of it."""
    def ring(*_: object) -> None:
        raise Stuck(f"took more than {seconds} seconds")

    handler = signal.signal(signal.SIGALRM, ring)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again each second: cleaning up may be stuck as well
    start = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(0.1, left - (time.monotonic() - start)) if left else 0)
        signal.signal(signal.SIGALRM, handler)


def _read_to_the_end(reader: int) -> str:
    """Return what comes out of a pipe until nobody has its other end; nobody may keep that for long."""
    data = b""
    try:
        while select.select([reader], [], [], PATIENCE / 2)[0]:
            chunk = os.read(reader, 65536)
            if not chunk:
                return data.decode()
            data += chunk
    finally:
        os.close(reader)
    raise Stuck(f"somebody keeps the program's descriptor: {data!r}")


def _difference(usual: list[str], reports: list[str]) -> str:
    expected, got = "".join(usual).splitlines(), "".join(reports).splitlines()
    return "\n".join([f"  - {line}" for line in expected if line not in got]
                     + [f"  + {line}" for line in got if line not in expected])


def _is_optional(who: int, where: str, name: str) -> bool:
    return any(key in OPTIONAL for key in ((who, where, name), (who, where, "*")))


def _is_clear(error: Exception, who: int, number: int) -> bool:
    """Say whether an error is one line, which has the errno's words where nothing else has been made of them."""
    text = str(error)
    named = os.strerror(number).lower() in text.lower() if number == EIO else bool(text)
    return "\n" not in text and (named or who == ZYGOTE and "zygote" in text)  # once it serves, nobody hears its words


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
                "rlimits": [{"type": 7, "hard": 1000, "soft": 900}], "no_new_privileges": True,
                "parent_death_signal": 9, "additional_groups": ["staff"], "readonlyfs": True, "mounts": [*MOUNTS, bind],
                "mask_paths": ["/proc/version", "/sys/firmware", "/sys/fs"]}
    return lambda make=standard, **changes: make(busybox_template, **{**settings, **changes})


@pytest.fixture
def stage(failing: Factory, faults: Faults, container_id: Callable[[], str]) -> Callable[..., Stage]:
    return lambda config, **options: Stage(failing, faults, container_id, config, **options)


@pytest.fixture
def running(failing: Factory, elaborate: Callable[..., Config], container_id: Callable[[], str]) -> Iterator[Container]:
    """A container that runs."""
    with failing.create(container_id(), elaborate()) as container:
        container.start(Process(["sh", "-c", "sleep 100 & wait"], env=ENVIRONMENT))  # reaps what others leave to it
        yield container


# --- the walks


def test_each_call_of_the_child(stage: Callable[..., Stage], elaborate: Callable[..., Config]) -> None:
    assert len(stage(elaborate(), user="user").walk(CHILD, EIO)) > 200


@pytest.mark.parametrize("number", [EPERM, ENOSYS, EINTR, EINVAL, ENOENT, EEXIST], ids=errno.errorcode.get)
def test_an_errno_of_the_child_that_is_handled_somewhere(stage: Callable[..., Stage], elaborate: Callable[..., Config],
                                                         number: int) -> None:
    assert len(stage(elaborate(), user="user").walk(CHILD, number, each=1)) > 50


def test_each_call_of_the_caller(stage: Callable[..., Stage], elaborate: Callable[..., Config]) -> None:
    assert len(stage(elaborate(), user="user").walk(CALLER, EIO)) > 30


def test_each_call_of_the_caller_for_its_zygote(stage: Callable[..., Stage], elaborate: Callable[..., Config]) -> None:
    there = stage(elaborate(), fresh=True)
    assert len(there.walk(CALLER, EIO, where="spawner.")) > 20
    there.walk(CALLER, EIO, where="handles.")


def test_each_call_of_the_caller_for_a_copy_of_the_interpreter(
        stage: Callable[..., Stage], elaborate: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str, name: str) -> int:
        raise SyscallError("fsopen", EPERM)

    monkeypatch.setattr(spawner, "_open_through_overlay", refuse)
    assert len(stage(elaborate(), fresh=True).walk(CALLER, EIO, where="spawner._copy_to_memory")) > 4


@pytest.mark.parametrize(("who", "number"), [(CALLER, EIO), (ZYGOTE, EIO), (CHILD, EIO), (CHILD, DEATH)])
def test_each_call_for_a_process_that_was_made_ahead(stage: Callable[..., Stage], elaborate: Callable[..., Config],
                                                     who: int, number: int) -> None:
    assert stage(elaborate(), ahead=True).walk(who, number, each=2 if who == CALLER else 1)


@pytest.mark.parametrize("streams", ["pipes", "bytes", "console"])
def test_each_call_of_the_caller_for_streams(stage: Callable[..., Stage], elaborate: Callable[..., Config],
                                             streams: str) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "pipes": {"stdin": PIPE, "stdout": PIPE, "stderr": STDOUT}, "bytes": {"stdin": b"x", "stdout": BytesIO()},
        "console": {}}
    there = stage(elaborate(), console=streams == "console", **kinds[streams])
    assert there.walk(CALLER, EIO, where="console." if streams == "console" else "process.")


@pytest.mark.parametrize("onwards", [False, True])
def test_each_call_of_the_zygote(stage: Callable[..., Stage], elaborate: Callable[..., Config], onwards: bool) -> None:
    assert len(stage(elaborate(), fresh=True).walk(ZYGOTE, EIO, onwards=onwards)) > 10


@pytest.mark.parametrize("who", [ZYGOTE, CHILD])
def test_a_death_before_each_call(stage: Callable[..., Stage], elaborate: Callable[..., Config], who: int) -> None:
    assert len(stage(elaborate(), fresh=who == ZYGOTE).walk(who, DEATH, each=1)) > 10


@pytest.mark.parametrize("who", [CALLER, ZYGOTE, CHILD, FURTHER])
def test_each_call_on_the_way_into_a_container(stage: Callable[..., Stage], elaborate: Callable[..., Config],
                                               running: Container, who: int) -> None:
    assert stage(elaborate(), inside=running, user="user").walk(who, EIO)


@pytest.mark.parametrize(("who", "number"), [(CALLER, EIO), (CHILD, EIO), (CHILD, DEATH), (FURTHER, DEATH)])
def test_each_call_on_the_way_into_namespaces(stage: Callable[..., Stage], elaborate: Callable[..., Config],
                                              running: Container, who: int, number: int) -> None:
    paths = running.state().namespace_paths
    joined = [{"type": kind, "path": paths[kind] if kind in ("NEWNET", "NEWIPC") else ""}
              for kind in ("NEWNS", "NEWUTS", "NEWIPC", "NEWPID", "NEWNET")]
    assert stage(elaborate(namespaces=joined)).walk(who, number, each=1)


@pytest.mark.parametrize("who", [CALLER, CHILD])
def test_each_call_for_a_user_namespace(stage: Callable[..., Stage], elaborate: Callable[..., Config],
                                        who: int) -> None:
    assert stage(elaborate(with_user_namespace, size=70_000), user="user").walk(who, EIO, each=1)


@pytest.mark.parametrize("who", [CALLER, CHILD])
def test_each_call_for_a_cgroup(stage: Callable[..., Stage], elaborate: Callable[..., Config], who: int,
                                container_id: Callable[[], str]) -> None:
    cgroups = {"name": container_id(), "parent": ""}
    assert stage(elaborate(cgroups=cgroups), kinds=("cgroup",)).walk(who, EIO, each=1)


# --- errors on the way out of an error, and other single ones


def test_each_call_of_the_caller_that_cleans_up(failing: Factory, faults: Faults, container_id: Callable[[], str],
                                                elaborate: Callable[..., Config]) -> None:
    config = elaborate()

    def start(call: Call | None = None) -> Exception:
        faults.settle(failing.zygote)
        container = failing.create(container_id(), config)
        faults.arm(call, EIO)
        faults.install()
        try:
            with no_longer_than(PATIENCE), pytest.raises(ContainerError) as caught:
                container.start(Process(["/nowhere"], env=ENVIRONMENT))
            return caught.value.with_traceback(None)
        finally:
            faults.disarm()
            faults.remove()
            container.destroy()

    assert "/nowhere" in str(start())
    calls = faults.calls(CALLER)
    told = max(at for at, call in enumerate(calls) if call.name == "sendmsg")
    leftovers = Leftovers()
    for call in calls[told:]:
        assert "\n" not in str(start(call)), call
        gc.collect()  # a traceback holds the process that could not be waited for; without it, it is reaped
        leftovers.check()


def test_descriptors_are_closed_where_the_kernel_cannot_mark_them(stage: Callable[..., Stage],
                                                                  elaborate: Callable[..., Config]) -> None:
    there = stage(elaborate())
    for call in there.faults.calls(CHILD):
        if (call.name, call.where) == ("close_range", "init_steps._keep_none"):
            outcome = there.run(CHILD, call, EINVAL)  # before Linux 5.11
            assert (outcome.where, outcome.errors, outcome.reports) == (call.where, [], there.usual)
            return
    raise AssertionError("the call is not made any more")


def test_a_process_ends_if_no_thread_can_copy_its_streams(factory: Factory, busybox_template: Path,
                                                          container_id: Callable[[], str],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    output_of(factory, standard(busybox_template), "true")
    leftovers = Leftovers()
    with factory.create(container_id(), standard(busybox_template)) as container:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ContainerError, match="can't start new thread"):
                container.start(Process(["sleep", "100"], env=ENVIRONMENT, stdin=PIPE, stdout=BytesIO()))
        assert container.status() is Status.DESTROYED
    leftovers.check()


def test_wait_raises_what_went_wrong_with_a_copied_stream(factory: Factory, busybox_template: Path,
                                                          container_id: Callable[[], str]) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(ENOSPC, "No space left on device")

    with factory.create(container_id(), standard(busybox_template)) as container:
        process = Process(["echo", "hello"], env=ENVIRONMENT, stdout=Full())
        container.start(process)
        with pytest.raises(ContainerError, match="No space left on device"):
            process.wait(PATIENCE)
        assert process.wait(PATIENCE).returncode == 0


def test_an_interpreter_behind_a_symlink_is_sealed_as_well(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
    program.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(program)
    sealed = spawner.seal_interpreter(str(link))
    try:
        with pytest.raises(OSError) as caught:
            os.close(os.open(f"/proc/self/fd/{sealed}", os.O_WRONLY))
        assert caught.value.errno in (EROFS, EPERM)
    finally:
        os.close(sealed)
