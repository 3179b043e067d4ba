"""seccomp(2) and the descriptor of its notifications."""
from __future__ import annotations

import ctypes
import errno
import os
import select
import threading
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.bpf_classic import (
    JUMP_EQ,
    LOAD,
    LONGEST_JUMP,
    MOST_INSTRUCTIONS,
    RETURN,
    assemble,
    disassemble,
)
from nscontainer.sys.prctl import set_no_new_privs, set_pdeathsig
from nscontainer.sys.seccomp import (
    SECCOMP_FILTER_FLAG,
    SECCOMP_RET,
    SECCOMP_USER_NOTIF_FLAG,
    SeccompData,
    SeccompNotif,
    action_available,
    notification_add_fd,
    notification_receive,
    notification_send,
    notification_set_flags,
    notification_sizes,
    notification_valid,
    set_mode_filter,
)
from nscontainer.sys.syscall_numbers import NUMBERS

InChild = Callable[..., Any]
ALLOW = assemble([(RETURN, 0, 0, SECCOMP_RET.ALLOW)])
KEYCTL = NUMBERS["keyctl"]  # a call that Python never makes
_libc = ctypes.CDLL(None, use_errno=True)


def only_keyctl(answer: int) -> bytes:
    return assemble([(LOAD, 0, 0, 0), (JUMP_EQ, 0, 1, KEYCTL), (RETURN, 0, 0, answer),
                     (RETURN, 0, 0, SECCOMP_RET.ALLOW)])


def keyctl(argument: int = 0) -> tuple[int, int]:
    ctypes.set_errno(0)
    return int(_libc.syscall(KEYCTL, ctypes.c_ulong(argument))), ctypes.get_errno()


def answering(answer: Callable[[int, SeccompNotif], object], argument: int = 0) -> tuple[int, int]:
    """Make the call in this thread; another, not filtered, has the listener."""
    ready = threading.Event()
    seen: list[int] = []

    def serve() -> None:
        ready.wait()
        answer(seen[0], notification_receive(seen[0], notification_sizes()[0]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    set_no_new_privs()
    seen.append(set_mode_filter(only_keyctl(SECCOMP_RET.USER_NOTIF), SECCOMP_FILTER_FLAG.NEW_LISTENER))
    ready.set()
    _libc.syscall.restype = ctypes.c_int  # CDLL lets the other thread run meanwhile
    result = keyctl(argument)
    thread.join(5)
    return result


def test_the_structures_have_the_kernels_sizes() -> None:
    assert (ctypes.sizeof(SeccompData), ctypes.sizeof(SeccompNotif)) == (64, 80)
    assert LONGEST_JUMP == 255 and MOST_INSTRUCTIONS == 4096
    notif, response, data = notification_sizes()
    assert notif >= 80 and response >= 24 and data >= 64


def test_instructions_become_bytes_and_come_back() -> None:
    program = [(LOAD, 0, 0, 4), (JUMP_EQ, 255, 1, 0xFFFFFFFF), (RETURN, 0, 0, 0)]
    assert disassemble(assemble(program)) == program
    assert len(assemble(program)) == 24


def test_every_action_of_this_kernel_is_there_and_others_are_not() -> None:
    assert all(action_available(action) for action in SECCOMP_RET)
    assert not action_available(0x12340000)


@pytest.mark.parametrize("code", [b"", b"1234567", ALLOW * 4097])
def test_what_is_no_program_is_not_handed_to_the_kernel(code: bytes) -> None:
    with pytest.raises(ValueError, match="are no program of 1 to 4096 instructions"):
        set_mode_filter(code)


def test_numbers_that_do_not_fit_are_refused() -> None:
    for call in (lambda: set_mode_filter(ALLOW, 1 << 32), lambda: set_mode_filter(ALLOW, -1),
                 lambda: action_available(1 << 32), lambda: notification_send(0, 0, error=4096),
                 lambda: notification_send(0, 0, 1 << 63), lambda: notification_add_fd(0, 0, -1)):
        with pytest.raises(OverflowError):
            call()


@pytest.mark.needs("user")
def test_an_ordinary_user_needs_no_new_privs(as_user: InChild) -> None:
    def load() -> Any:
        with pytest.raises(SyscallError) as refused:
            set_mode_filter(ALLOW)
        set_no_new_privs()
        return refused.value.errno, set_mode_filter(ALLOW)

    assert as_user(load) == [errno.EACCES, 0]


def test_an_error_names_the_flags(in_child: InChild) -> None:
    def load() -> str:
        set_no_new_privs()
        with pytest.raises(SyscallError) as refused:
            set_mode_filter(ALLOW, 0x80000001)
        return str(refused.value)

    assert "flags=SECCOMP_FILTER_FLAG_TSYNC|0x80000000, instructions=1): EINVAL" in in_child(load)


def test_a_filter_answers_with_an_errno(in_child: InChild) -> None:
    def load() -> Any:
        set_no_new_privs()
        set_mode_filter(only_keyctl(SECCOMP_RET.ERRNO | 77), SECCOMP_FILTER_FLAG.SPEC_ALLOW | SECCOMP_FILTER_FLAG.LOG)
        return keyctl()

    assert in_child(load) == [-1, 77]


def test_the_stricter_of_two_filters_holds(in_child: InChild) -> None:
    def load() -> Any:
        set_no_new_privs()
        set_mode_filter(only_keyctl(SECCOMP_RET.ERRNO | 77))
        set_mode_filter(ALLOW)
        return keyctl()

    assert in_child(load) == [-1, 77]


def test_a_notification_tells_the_call_and_an_answer_is_its_result(in_child: InChild) -> None:
    def run() -> Any:
        told: list[Any] = []

        def answer(listener: int, call: SeccompNotif) -> None:
            told.extend([call.data.nr, call.data.args[0], call.pid, notification_valid(listener, call.id)])
            notification_send(listener, call.id, 4711)
            told.append(notification_valid(listener, call.id))
            with pytest.raises(SyscallError) as gone:
                notification_send(listener, call.id, 1)
            told.append(gone.value.errno in (errno.ENOENT, errno.EINPROGRESS))

        result = answering(answer, 1 << 40 | 3)
        return [*result, told, threading.get_native_id()]

    result, number, told, pid = in_child(run)
    assert (result, number) == (4711, 0)
    assert told == [KEYCTL, 1 << 40 | 3, pid, True, False, True]


def test_an_answer_may_be_an_errno_or_to_go_on(in_child: InChild) -> None:
    def fail() -> Any:
        return answering(lambda listener, call: notification_send(listener, call.id, error=errno.EXDEV))

    def go_on() -> Any:
        return answering(lambda listener, call: notification_send(
            listener, call.id, flags=SECCOMP_USER_NOTIF_FLAG.CONTINUE), 0xFFFF)

    assert in_child(fail) == [-1, errno.EXDEV]
    assert in_child(go_on) == [-1, errno.EOPNOTSUPP]  # keyctl(2): no such operation


def test_a_descriptor_can_be_put_into_the_caller(in_child: InChild) -> None:
    def run() -> Any:
        there = os.dup(0)
        numbers: list[int] = []

        def answer(listener: int, call: SeccompNotif) -> None:
            reading, writing = os.pipe()
            os.write(writing, b"hello")
            numbers.append(notification_add_fd(listener, call.id, reading, at=there, cloexec=True))
            numbers.append(notification_add_fd(listener, call.id, reading, send=True))

        result, _ = answering(answer)
        return numbers == [there, result], os.get_inheritable(there), os.get_inheritable(result), os.read(
            there, 2).decode(), os.read(result, 9).decode()

    assert in_child(run) == [True, False, True, "he", "llo"]


def test_a_listener_can_be_polled_and_ends_with_the_last_task(in_child: InChild) -> None:
    def run() -> Any:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            set_pdeathsig(9)
            set_no_new_privs()
            listener = set_mode_filter(only_keyctl(SECCOMP_RET.USER_NOTIF), SECCOMP_FILTER_FLAG.NEW_LISTENER)
            os.write(writing, bytes([listener]))
            keyctl()  # the other one takes its copy before it answers
            os._exit(0)
        from nscontainer.sys.pidfd import pidfd_getfd, pidfd_open
        listener = pidfd_getfd(pidfd_open(pid), os.read(reading, 1)[0])
        try:
            notification_set_flags(listener, sync_wake_up=True)
        except SyscallError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):  # Linux before 6.6
                raise
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        assert poll.poll(5000) == [(listener, select.POLLIN)]
        notification_send(listener, notification_receive(listener).id)
        os.waitpid(pid, 0)
        return poll.poll(5000)[0][1] & select.POLLHUP

    assert in_child(run) == select.POLLHUP
