"""Processes held by a descriptor."""
from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.pidfd import (
    WaitResult, pidfd_exit_status, pidfd_getfd, pidfd_open, pidfd_send_signal, wait_pidfd,
)

InChild = Callable[..., Any]


class Forked:
    """A child that does one thing, and a pidfd of it."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                action()
            finally:
                os._exit(99)
        self.fd = pidfd_open(self.pid)


Fork = Callable[[Callable[[], object]], Forked]


@pytest.fixture
def fork() -> Iterator[Fork]:
    """Fork children that are gone when the test is."""
    made: list[Forked] = []

    def make(action: Callable[[], object]) -> Forked:
        made.append(Forked(action))
        return made[-1]

    yield make
    for child in made:
        try:
            pidfd_send_signal(child.fd, signal.SIGKILL)
            wait_pidfd(child.fd)
        except SyscallError as error:
            assert error.errno in (errno.ESRCH, errno.ECHILD)  # it has ended, as most do
        os.close(child.fd)


def test_a_pidfd_closes_at_execve() -> None:
    fd = pidfd_open(os.getpid())
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_nobody_has_no_pidfd() -> None:
    with pytest.raises(SyscallError, match=r"pidfd_open \(pid=0\): EINVAL"):
        pidfd_open(0)
    with pytest.raises(OverflowError):
        pidfd_open((1 << 32) + os.getpid())


def test_an_exit_is_told_with_its_code(fork: Fork) -> None:
    child = fork(lambda: os._exit(41))
    ended = wait_pidfd(child.fd)
    assert ended == WaitResult(child.pid, 41 << 8)
    assert ended is not None
    assert (ended.returncode, ended.signal, ended.core_dumped) == (41, None, False)
    assert repr(ended) == f"WaitResult(pid={child.pid}, returncode=41)"


def test_a_death_by_signal_is_told_with_the_signal(fork: Fork) -> None:
    child = fork(lambda: time.sleep(20))
    pidfd_send_signal(child.fd, signal.SIGTERM)
    ended = wait_pidfd(child.fd)
    assert ended is not None
    assert (ended.status, ended.returncode, ended.signal) == (15, -15, 15)


def test_an_unknown_end_is_unknown_all_over() -> None:
    unknown = WaitResult(5, None)
    assert (unknown.returncode, unknown.signal, unknown.core_dumped) == (None, None, False)
    assert WaitResult(5, 0x8B).core_dumped


def test_a_look_does_not_wait(fork: Fork) -> None:
    child = fork(lambda: time.sleep(20))
    assert wait_pidfd(child.fd, nohang=True) is None


def test_a_look_leaves_the_child_to_be_waited_for(fork: Fork) -> None:
    child = fork(lambda: os._exit(3))
    assert wait_pidfd(child.fd, nowait=True) == wait_pidfd(child.fd) == WaitResult(child.pid, 3 << 8)
    with pytest.raises(SyscallError) as caught:
        wait_pidfd(child.fd)
    assert caught.value.errno == errno.ECHILD


def test_a_signal_does_not_end_the_waiting(in_child: InChild) -> None:
    def end_later() -> None:
        time.sleep(0.15)
        os._exit(6)

    def wait_through_alarms() -> list[Any]:
        alarms: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, frame: alarms.append(number))
        child = Forked(end_later)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        ended = wait_pidfd(child.fd)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return [ended is not None and ended.returncode, len(alarms) > 1]

    assert in_child(wait_through_alarms) == [6, True]


def test_a_signal_after_the_end_is_refused(fork: Fork) -> None:
    child = fork(lambda: os._exit(0))
    wait_pidfd(child.fd)
    with pytest.raises(SyscallError) as caught:
        pidfd_send_signal(child.fd, 0)
    assert caught.value.errno == errno.ESRCH


@pytest.mark.parametrize("number", [-1, 65, 1 << 32])
def test_what_is_no_signal_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="is not a signal"):
        pidfd_send_signal(0, number)


def test_a_descriptor_can_be_taken_from_another_process() -> None:
    reader, writer = os.pipe()
    fd = pidfd_open(os.getpid())
    taken = pidfd_getfd(fd, writer)
    os.write(taken, b"through the copy")
    assert os.read(reader, 100) == b"through the copy"
    assert not os.get_inheritable(taken)
    for number in (reader, writer, taken):
        os.close(number)
    with pytest.raises(SyscallError, match="EBADF"):
        pidfd_getfd(fd, writer)
    os.close(fd)


@pytest.mark.needs("kernel_6_15")
def test_the_status_is_known_after_another_has_waited(fork: Fork) -> None:
    child = fork(lambda: os._exit(9))
    os.waitpid(child.pid, 0)
    assert pidfd_exit_status(child.fd) == 9 << 8
    killed = fork(lambda: time.sleep(20))
    os.kill(killed.pid, signal.SIGKILL)
    os.waitpid(killed.pid, 0)
    assert pidfd_exit_status(killed.fd) == 9


def test_the_status_of_a_running_process_is_not_known(fork: Fork) -> None:
    assert pidfd_exit_status(fork(lambda: time.sleep(20)).fd) is None


def test_what_is_no_pidfd_has_no_status_either() -> None:
    with pytest.raises(SyscallError, match="EBADF"):
        pidfd_exit_status(9999)
