"""Descriptors: closed by the range, kept in memory, handed over, waited for."""
from __future__ import annotations

import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.fds import (
    CLOSE_RANGE, F_SEAL, SOCK, add_seals, close_range, get_seals, memfd_create, poll, receive_descriptors,
    send_descriptors, socketpair,
)
from nscontainer.sys.files import fcntl_dupfd, fcntl_getfd
from nscontainer.sys.pidfd import pidfd_open

InChild = Callable[..., Any]
Pair = tuple[int, int]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a stream."""
    ends = socketpair(SOCK.STREAM)
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def packets() -> Iterator[Pair]:
    """Two ends of a connection that keeps messages apart."""
    ends = socketpair(SOCK.SEQPACKET)
    yield ends
    for fd in ends:
        os.close(fd)


def _open() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_range_is_closed_and_nothing_else() -> None:
    fds = [fcntl_dupfd(0, 500 + number) for number in range(4)]
    close_range(fds[1], fds[2])
    assert [str(fd) in _open() for fd in fds] == [True, False, False, True]
    close_range(fds[0], fds[3])
    close_range(fds[0], fds[3])  # what is not open is not missed


@pytest.mark.needs("kernel_5_11")
def test_a_range_is_marked_for_execve() -> None:
    fd = fcntl_dupfd(0, 500)
    os.set_inheritable(fd, True)
    close_range(500, flags=CLOSE_RANGE.CLOEXEC)
    assert fcntl_getfd(fd)
    os.close(fd)


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(SyscallError, match=r"close_range \(first=5, last=4, flags=0\): EINVAL"):
        close_range(5, 4)
    with pytest.raises(OverflowError):
        close_range(-1)
    with pytest.raises(OverflowError):
        close_range(500, 1 << 32)


def test_a_file_in_memory_is_sealed_for_good() -> None:
    fd = memfd_create("test", allow_sealing=True)
    os.write(fd, b"content")
    add_seals(fd, F_SEAL.WRITE | F_SEAL.GROW | F_SEAL.SHRINK | F_SEAL.SEAL)
    assert get_seals(fd) & ~F_SEAL.EXEC == F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.WRITE
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(SyscallError, match=r"command=F_ADD_SEALS, fd=\d+, seals=F_SEAL_EXEC\): EPERM"):
        add_seals(fd, F_SEAL.EXEC)
    assert os.pread(fd, 100, 0) == b"content"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_file_in_memory_is_not_sealed_unless_asked() -> None:
    fd = memfd_create("test")
    with pytest.raises(SyscallError, match="EPERM"):
        add_seals(fd, F_SEAL.WRITE)
    os.close(fd)
    with pytest.raises(SyscallError, match="memfd_create.*EINVAL"):
        memfd_create("x" * 250)
    with pytest.raises(SyscallError, match="EINVAL"):
        memfd_create("x" * 250, executable=True)


def test_a_program_runs_from_memory() -> None:
    fd = memfd_create("program", allow_sealing=True, executable=True)
    os.write(fd, Path("/bin/true").read_bytes())
    add_seals(fd, F_SEAL.WRITE)
    pid = os.posix_spawn(f"/proc/self/fd/{fd}", ["true"], {})
    assert os.waitpid(pid, 0)[1] == 0
    os.close(fd)


def test_a_descriptor_arrives_as_another_number_for_the_same_file(pair: Pair) -> None:
    reader, writer = os.pipe()
    assert send_descriptors(pair[0], b"two of them", [reader, writer]) == 11
    data, received = receive_descriptors(pair[1], 100)
    assert data == b"two of them"
    assert [os.fstat(fd).st_ino for fd in received] == [os.fstat(reader).st_ino] * 2
    assert not set(received) & {reader, writer}
    assert not any(os.get_inheritable(fd) for fd in received)
    os.write(received[1], b"through")
    assert os.read(reader, 100) == b"through"
    for fd in (reader, writer, *received):
        os.close(fd)


def test_descriptors_come_with_the_first_byte(pair: Pair) -> None:
    send_descriptors(pair[0], b"abcdef", [0])
    first, received = receive_descriptors(pair[1], 2)
    second, none = receive_descriptors(pair[1], 100)
    assert (first, len(received), second, none) == (b"ab", 1, b"cdef", [])
    os.close(received[0])


def test_a_message_needs_no_descriptors_and_may_hold_zeros(packets: Pair) -> None:
    assert send_descriptors(packets[0], b"\0a\0") == 3
    assert receive_descriptors(packets[1], 100, 0) == (b"\0a\0", [])


def test_the_end_of_a_stream_is_nothing() -> None:
    ours, theirs = socketpair()
    os.close(theirs)
    assert receive_descriptors(ours, 10) == (b"", [])
    os.close(ours)


def test_as_many_as_the_kernel_takes_go_at_once(pair: Pair) -> None:
    send_descriptors(pair[0], b"x", [0] * 253)
    _, received = receive_descriptors(pair[1], 1)
    assert len(set(received)) == 253
    for fd in received:
        os.close(fd)
    with pytest.raises(SyscallError, match="sendmsg.*EINVAL"):
        send_descriptors(pair[0], b"x", [0] * 254)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_more_descriptors_than_asked_for_are_an_error_that_leaves_none(pair: Pair, room: int) -> None:
    send_descriptors(pair[0], b"x", [0, 1, 2])
    before = _open()
    with pytest.raises(SyscallError) as caught:
        receive_descriptors(pair[1], 10, room)
    assert caught.value.errno == errno.EMSGSIZE
    assert "lost=descriptors" in str(caught.value)
    assert _open() == before


def test_descriptors_that_rlimit_nofile_refuses_are_an_error_that_leaves_none(in_child: InChild) -> None:
    def receive() -> list[Any]:
        ours, theirs = socketpair()
        send_descriptors(ours, b"x", [0, 0, 0, 0])
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
        try:
            receive_descriptors(theirs, 10)
        except SyscallError as error:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return [error.errno, os.dup(0) == lowest]
        return ["received"]

    assert in_child(receive) == [errno.EMSGSIZE, True]


def test_a_packet_that_is_cut_is_an_error_that_leaves_no_descriptor(packets: Pair) -> None:
    send_descriptors(packets[0], b"too long", [0])
    before = _open()
    with pytest.raises(SyscallError, match="lost=the packet's end"):
        receive_descriptors(packets[1], 4)
    assert _open() == before


def test_descriptors_do_not_travel_alone(pair: Pair) -> None:
    with pytest.raises(ValueError, match="at least"):
        send_descriptors(pair[0], b"", [0])
    with pytest.raises(SyscallError, match="EBADF"):
        send_descriptors(pair[0], b"x", [9999])
    with pytest.raises(OverflowError):
        receive_descriptors(pair[0], 0)


def test_a_receiver_that_is_gone_is_an_error_and_no_signal(in_child: InChild) -> None:
    def send() -> int | None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socketpair()
        os.close(theirs)
        try:
            send_descriptors(ours, b"x")
        except SyscallError as error:
            return error.errno
        return None

    assert in_child(send) == errno.EPIPE


def test_a_signal_does_not_end_a_receive(in_child: InChild) -> None:
    def receive_through_alarms() -> list[Any]:
        alarms: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, frame: alarms.append(number))
        ours, theirs = socketpair()
        if os.fork() == 0:
            time.sleep(0.15)
            send_descriptors(theirs, b"late", [0])
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        data, received = receive_descriptors(ours, 10)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return [data.decode(), len(received), len(alarms) > 1]

    assert in_child(receive_through_alarms) == ["late", 1, True]


def test_a_blocked_receive_lets_other_threads_run(pair: Pair) -> None:
    threading.Timer(0.05, lambda: send_descriptors(pair[0], b"x")).start()
    assert receive_descriptors(pair[1], 1) == (b"x", [])


def test_what_is_ready_is_told(pair: Pair) -> None:
    assert poll([*pair], 0) == []
    os.write(pair[0], b"x")
    assert poll([*pair], 0) == poll([*pair]) == [pair[1]]
    assert poll([], 0) == []


def test_an_end_is_something_to_hear() -> None:
    ours, theirs = socketpair()
    os.close(theirs)
    assert poll([ours], -1) == [ours]
    os.close(ours)


def test_a_process_that_ended_is_ready() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    fd = pidfd_open(pid)
    assert poll((fd,), 10_000) == [fd]
    os.waitpid(pid, 0)
    os.close(fd)


def test_a_closed_descriptor_is_an_error() -> None:
    with pytest.raises(SyscallError, match=r"poll \(fd=9999\): EBADF"):
        poll([9999], 0)


def test_signals_neither_end_nor_lengthen_a_timeout(in_child: InChild) -> None:
    def poll_through_alarms() -> list[Any]:
        alarms: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, frame: alarms.append(number))
        ours, _ = socketpair()
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        start = time.monotonic()
        ready = poll([ours], 150)
        took = time.monotonic() - start
        signal.setitimer(signal.ITIMER_REAL, 0)
        return [ready, len(alarms) > 1, 0.14 < took < 5]

    assert in_child(poll_through_alarms) == [[], True, True]


def test_a_timeout_longer_than_c_has_is_long(pair: Pair) -> None:
    threading.Timer(0.05, lambda: os.write(pair[0], b"x")).start()
    assert poll([pair[1]], 1 << 40) == [pair[1]]
