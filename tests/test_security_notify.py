"""Listeners: what a waiting call tells, what can be answered, and how a listener is handed over."""
from __future__ import annotations

import array
import ctypes
import errno
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.config import Action, Seccomp, Syscall
from nscontainer.errors import SyscallError
from nscontainer.security.notify import Listener, Notification, hand_over
from nscontainer.security.seccomp_compiler import compile_profile, machine_of, native_machine
from nscontainer.sys.fds import receive_descriptors, send_descriptors, socketpair
from nscontainer.sys.prctl import set_no_new_privs, set_pdeathsig
from nscontainer.sys.seccomp import set_mode_filter

InChild = Callable[..., Any]
_libc = ctypes.CDLL(None, use_errno=True)


def asking(calls: tuple[str, ...], program: Callable[[], int | None]) -> tuple[Listener, int]:
    """Fork a process that asks about *calls* and leaves with what *program* returns; return its listener and pid."""
    ours, theirs = socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            set_pdeathsig(signal.SIGKILL)  # whoever waits for an answer would wait for ever
            set_no_new_privs()
            filter = compile_profile(Seccomp(Action.ALLOW, (), (Syscall("", Action.NOTIFY, (), calls),)))
            fd = set_mode_filter(filter.code, filter.flags)
            send_descriptors(theirs, b"x", [fd])
            os.close(fd)
            os._exit(program() or 0)
        finally:
            os._exit(99)
    _, (listener,) = receive_descriptors(ours, 1)
    return Listener(listener), pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def received(listener: Listener) -> Notification:
    call = listener.receive(5)
    assert call is not None
    return call


def test_a_call_has_a_name_and_typed_arguments(in_child: InChild) -> None:
    def program() -> int:
        _libc.mkdirat(-100, b"/no/such/place", 0o711)
        return 0

    def run() -> Any:
        listener, pid = asking(("mkdirat",), program)
        call = received(listener)
        told = [call.name, call.integer(0), call.text(1), call.args[2], call.pid == pid, call.machine,
                call.long(1) == call.args[1], call.instruction_pointer != 0, call.valid()]
        call.respond()
        return [*told, exit_code(pid), call.valid()]

    assert in_child(run) == ["mkdirat", -100, "/no/such/place", 0o711, True, native_machine(), True, True, True, 0,
                             False]


def test_signed_arguments_are_read_as_c_does() -> None:
    call = Notification.__new__(Notification)
    call.args = ((1 << 64) - 1, 0xFFFFFFFF, (5 << 32) + 7, 0, 0, 0)
    assert [call.integer(at) for at in range(3)] == [-1, -1, 7]
    assert [call.long(at) for at in range(3)] == [-1, 0xFFFFFFFF, (5 << 32) + 7]


def test_answers_are_values_errors_or_to_go_on(in_child: InChild) -> None:
    def program() -> int:
        found = [_libc.getpgid(0), _libc.getpgid(0), ctypes.get_errno(), _libc.getpgid(0)]
        return 0 if found == [4711, -1, errno.EXDEV, os.getpgid(0)] else 1

    def run() -> Any:
        listener, pid = asking(("getpgid",), program)
        received(listener).respond(4711)
        received(listener).respond(error=errno.EXDEV)
        for call in listener:
            call.continue_()
        return exit_code(pid)

    assert in_child(run) == 0


def test_the_iteration_ends_with_the_last_process(in_child: InChild) -> None:
    def run() -> Any:
        listener, pid = asking(("getpgid",), lambda: _libc.getpgid(0))
        answered = 0
        for call in listener:
            call.respond(7)
            answered += 1
        return answered, listener.receive(5) is None, exit_code(pid)

    assert in_child(run) == [1, True, 7]


def test_waiting_has_a_limit(in_child: InChild) -> None:
    def run() -> Any:
        listener, pid = asking(("getpgid",), signal.pause)
        try:
            with pytest.raises(TimeoutError, match="no system call within 0.01 seconds"):
                listener.receive(0.01)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    in_child(run)


def test_memory_is_not_read_after_the_call_is_gone(in_child: InChild) -> None:
    def run() -> Any:
        listener, pid = asking(("mkdirat",), lambda: _libc.mkdirat(-100, b"/x", 0))
        call = received(listener)
        os.kill(pid, signal.SIGKILL)
        while call.valid():
            time.sleep(0.001)
        with pytest.raises(SyscallError) as gone:
            call.text(1)
        os.waitpid(pid, 0)
        with pytest.raises(SyscallError):
            call.respond()
        return gone.value.errno

    assert in_child(run) == errno.ENOENT


def test_a_string_has_an_end_and_may_cross_pages(in_child: InChild) -> None:
    long = b"/" + b"x" * 9000

    def run() -> Any:
        listener, pid = asking(("mkdirat",), lambda: _libc.mkdirat(-100, long, 0) and 0)
        call = received(listener)
        with pytest.raises(ValueError, match="argument 1 is no string of less than 4096 bytes"):
            call.text(1)
        found = call.text(1, 10000)
        with pytest.raises(OSError):
            call.memory(16, 8)
        call.respond()
        return found == os.fsdecode(long), exit_code(pid)

    assert in_child(run) == [True, 0]


def test_a_descriptor_can_be_the_answer(in_child: InChild) -> None:
    def program() -> int:
        fd = _libc.open(b"/etc/hello", 0)
        return 0 if os.read(fd, 9) == b"hello" else 1

    def run() -> Any:
        listener, pid = asking(("open", "openat"), program)
        reading, writing = os.pipe()
        os.write(writing, b"hello")
        call = received(listener)
        call.add_fd(reading, send=True, cloexec=True)
        return exit_code(pid)

    assert in_child(run) == 0


def test_calls_fail_when_nobody_listens_any_more(in_child: InChild) -> None:
    def run() -> Any:
        reading, writing = os.pipe()

        def program() -> int:
            os.read(reading, 1)
            return 0 if _libc.getpgid(0) == -1 and ctypes.get_errno() == errno.ENOSYS else 1

        listener, pid = asking(("getpgid",), program)
        listener.close()
        listener.close()
        os.write(writing, b"x")
        return listener.fileno(), exit_code(pid)

    assert in_child(run) == [-1, 0]


def test_a_call_of_a_strange_machine_has_a_number() -> None:
    assert machine_of(0x12345678, 5) == ("", 5)
    assert machine_of(0xC000003E, 0x40000001) == ("x32", 1)
    call = Notification.__new__(Notification)
    call.machine, call.number, call.args, call.pid = "", 5, (0,) * 6, 1
    assert call.name == "5"


def test_a_listener_is_handed_over_as_the_specification_says(tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    state = {"ociVersion": "1.2.0", "id": "x", "status": "creating", "pid": 4, "bundle": "/b",
             "annotations": {"a": "ü"}}
    with socket.socket(socket.AF_UNIX) as agent, open(os.devnull) as file:
        agent.bind(path)
        agent.listen()
        hand_over(path, file.fileno(), 5, state, "m")
        peer, _ = agent.accept()
        with peer:
            data, control, _, _ = peer.recvmsg(1 << 16, 64)
            assert peer.recv(1) == b""
        (_, _, raw), = control
        (fd,) = array.array("i", raw)
        assert os.path.sameopenfile(fd, file.fileno())
        os.close(fd)
    assert json.loads(data) == {
        "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": 5, "metadata": "m", "state": state}


def test_an_agent_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path, number in ((str(tmp_path / "nobody"), errno.ENOENT), ("/" + "x" * 107, errno.ENAMETOOLONG)):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(SyscallError, match="^connect on '/") as refused:
            hand_over(path, 0, 1, {})
        assert refused.value.errno == number
        assert os.listdir("/proc/self/fd") == before
