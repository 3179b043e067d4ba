"""Becoming another program, signals."""
from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.files import AT_EMPTY_PATH, AT_FDCWD
from nscontainer.sys.process import default_signals, execve, execveat, getppid, kill
from nscontainer.sys.procfs import status

InChild = Callable[..., Any]


def _output(become: Callable[[], object]) -> bytes:
    """Run *become* in a fork and return what the program it becomes prints."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writer, 1)
            become()
        finally:
            os._exit(99)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        output = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return output


def test_a_program_gets_exactly_its_arguments_and_environment() -> None:
    assert _output(lambda: execve("/usr/bin/env", ["env"], ["A=1", b"B=\xff", "C="])) == b"A=1\nB=\xff\nC=\n"
    assert _output(lambda: execve("/bin/sh", ["name", "-c", 'echo "$0|$1|$#"', "ä", ""], [])) == "ä||1\n".encode()


def test_a_program_is_run_from_a_descriptor() -> None:
    fd = os.open("/bin/echo", os.O_PATH | os.O_CLOEXEC)
    assert _output(lambda: execveat(fd, "", ["echo", "hello"], [], AT_EMPTY_PATH)) == b"hello\n"
    os.close(fd)
    assert _output(lambda: execveat(AT_FDCWD, "/bin/echo", ["echo", "hello"], [])) == b"hello\n"


@pytest.mark.parametrize(("content", "mode", "number"), [
    (None, 0, errno.ENOENT), ("", 0o644, errno.EACCES), ("no program", 0o755, errno.ENOEXEC),
    ("#!/nowhere/interpreter\n", 0o755, errno.ENOENT)])
def test_what_cannot_run_is_an_error(tmp_path: Path, content: str | None, mode: int, number: int) -> None:
    path = tmp_path / "program"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(SyscallError) as caught:
        execve(str(path), ["program"], [])
    assert (caught.value.call, caught.value.errno, caught.value.filename) == ("execve", number, str(path))
    with pytest.raises(SyscallError) as caught:
        execveat(AT_FDCWD, str(path), ["program"], [])
    assert (caught.value.call, caught.value.errno, caught.value.filename) == ("execveat", number, str(path))


def test_a_nul_byte_is_not_lost_on_the_way() -> None:
    with pytest.raises(ValueError, match="NUL"):
        execve("/bin/true", ["a\0b"], [])
    with pytest.raises(ValueError, match="NUL"):
        execve("/bin/true", ["a", b"\0"], [])
    with pytest.raises(ValueError, match="NUL"):
        execve("/bin/true", [], ["A=\0"])


def test_all_signals_have_their_default_action_afterwards(in_child: InChild) -> None:
    def reset() -> list[Any]:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGRTMIN, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGRTMAX})
        before = status()
        default_signals()
        after = status()
        names = ("SigIgn", "SigCgt", "SigBlk")
        return [[int(before[name], 16) != 0 for name in names], [int(after[name], 16) for name in names]]

    assert in_child(reset) == [[True, True, True], [0, 0, 0]]


def test_a_program_after_that_ignores_nothing() -> None:
    def become() -> None:
        default_signals()
        execve("/bin/grep", ["grep", "SigIgn", "/proc/self/status"], [])

    assert _output(become).split() == [b"SigIgn:", b"0" * 16]


def test_a_signal_reaches_a_process_and_a_group() -> None:
    for target in (1, -1):
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            time.sleep(20)
            os._exit(0)
        try:
            os.setpgid(pid, pid)
        except PermissionError:
            pass  # it has done so itself
        kill(target * pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == signal.SIGTERM


def test_nobody_cannot_be_signalled() -> None:
    with pytest.raises(SyscallError, match=r"kill \(pid=2147483647, signal=0\): ESRCH"):
        kill(0x7FFFFFFF, 0)
    for pid, number in ((1 << 32, 0), (os.getpid(), 65), (os.getpid(), -1)):
        with pytest.raises(OverflowError):
            kill(pid, number)


def test_the_parent_is_known(in_child: InChild) -> None:
    assert in_child(getppid) == os.getpid()
    assert getppid() == os.getppid()
