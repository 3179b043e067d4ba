"""Callers that do what one should not do: closed streams, too few descriptors, signal handlers, streams left open."""
from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import nscontainer
from containers import ENVIRONMENT, run_in, standard
from nscontainer import PIPE, ConfigInvalid, Factory, Process, handles
from nscontainer.errors import SyscallError
from nscontainer.spawner import Zygote

pytestmark = pytest.mark.needs("root", "busybox")


class _Sink:
    """A stream without a descriptor."""

    def write(self, data: bytes) -> int:
        return len(data)


@pytest.mark.parametrize("closed", [(0,), (0, 1), (0, 1, 2)])
def test_closed_standard_streams_are_not_taken_for_descriptors_of_ours(in_child: Any, busybox_template: Path,
                                                                       closed: tuple[int, ...]) -> None:
    def with_closed_streams() -> list[Any]:
        spared = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 100)  # whatever fails here is to be seen
        for fd in closed:
            os.close(fd)
        try:
            # The pipe of *input* takes the free numbers; cat ended never when its output was its own input.
            done = nscontainer.run(["cat"], input=b"x", rootfs=busybox_template, timeout=10)
            found = []
            with nscontainer.Popen(["cat"], stdin=PIPE, rootfs=busybox_template) as program:
                found = [os.readlink(f"/proc/{program.pid}/fd/{fd}") for fd in closed if fd]
            return [done.returncode, found]
        finally:
            for fd in closed:
                os.dup2(spared, fd)

    assert in_child(with_closed_streams) == [0, ["/dev/null"] * (len(closed) - 1)]


def test_a_timeout_holds_when_somebody_keeps_a_copied_stream_open(factory: Factory, busybox_template: Path,
                                                                  container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        leaving = Process(["sh", "-c", "sleep 50 & exit 3"], env=ENVIRONMENT, stdout=_Sink())
        container.start(leaving)
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="open"):
            leaving.wait(0.3)
        assert time.monotonic() - start < 5
        ended = leaving.poll()
        assert ended is not None and ended.returncode == 3


def test_a_signal_handler_may_ask_about_the_process(factory: Factory, busybox_template: Path, container_id: Any,
                                                    in_child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler runs between any two lines; here it runs between taking the lock and the call, every time."""
    def asking() -> list[Any]:
        with factory.create(container_id(), standard(busybox_template)) as container:
            process = Process(["sleep", "100"], env=ENVIRONMENT)
            container.start(process)
            heard: list[bool] = []

            def handler(*_: object) -> None:
                monkeypatch.undo()  # once, or it would interrupt itself
                heard.append(process.poll() is None)

            def interrupt(name: str) -> None:
                call = getattr(handles, name)

                def interrupted(*arguments: Any, **named: Any) -> Any:
                    signal.raise_signal(signal.SIGUSR1)
                    return call(*arguments, **named)

                monkeypatch.setattr(handles, name, interrupted)

            signal.signal(signal.SIGUSR1, handler)
            interrupt("pidfd_send_signal")
            process.signal(signal.SIGKILL)
            interrupt("wait_pidfd")
            ended = process.wait(10)
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            return [heard, ended.returncode]

    assert in_child(asking) == [[True, False], -9]


def test_a_zygote_that_cannot_be_started_for_want_of_descriptors_leaves_none(leaves_nothing: Any) -> None:
    lowest = os.dup(2)
    os.close(lowest)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = 0
    for most in range(lowest, lowest + 20):
        zygote = Zygote()
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
        try:
            zygote.start()
        except (SyscallError, OSError):
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            zygote.close()
    assert failed


@pytest.mark.parametrize("args", ["ls -l", b"ls"])
def test_a_program_as_one_string_is_refused(args: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"process\.args.*list"):
        Process(args)


def test_a_paused_container_ends_with_its_context(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    id = container_id()
    process = Process(["sleep", "100"], env=ENVIRONMENT)
    with factory.create(id, standard(busybox_template, cgroups={"name": id, "parent": ""})) as container:
        container.start(process)
        container.pause()
    ended = process.poll()
    assert ended is not None and ended.signal == signal.SIGKILL


def test_three_hundred_extra_files(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    """More than one message can carry: SCM_MAX_FD is 253."""
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        with factory.create(container_id(), standard(busybox_template)) as container:
            look = "for fd in 2 3 302 303; do test -e /proc/$$/fd/$fd && echo $fd; done"
            text, _ = run_in(container, "sh", "-c", look, extra_files=[null] * 300)
        assert text.split() == ["2", "3", "302"]
    finally:
        os.close(null)
