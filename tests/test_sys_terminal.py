"""Terminals: made in pairs, measured, made raw, made controlling."""
from __future__ import annotations

import errno
import os
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.credentials import setsid
from nscontainer.sys.terminal import (
    get_window_size, make_raw, open_pty, peer, restore, set_controlling_terminal, set_window_size,
)

InChild = Callable[..., Any]
pytestmark = pytest.mark.needs("pty")


@pytest.fixture
def pty() -> Iterator[tuple[int, int, str]]:
    """A master, its slave, and the slave's path."""
    made = open_pty()
    yield made
    os.close(made[0])
    os.close(made[1])


def test_what_the_master_writes_the_slave_reads(pty: tuple[int, int, str]) -> None:
    master, slave, path = pty
    os.write(master, b"typed\n")
    assert os.read(slave, 100) == b"typed\n"
    assert os.ttyname(slave) == path
    assert not os.get_inheritable(master)
    assert not os.get_inheritable(slave)


def test_another_descriptor_of_the_slave_needs_no_path(pty: tuple[int, int, str]) -> None:
    fd = peer(pty[0], os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    assert os.fstat(fd).st_rdev == os.fstat(pty[1]).st_rdev
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(SyscallError, match="request=TIOCGPTPEER"):
        peer(pty[1], os.O_RDWR)
    with pytest.raises(OverflowError):
        peer(pty[0], 1 << 32)


def test_both_sides_see_the_size(pty: tuple[int, int, str]) -> None:
    set_window_size(pty[0], 33, 101)
    assert get_window_size(pty[1]) == (33, 101)
    assert os.get_terminal_size(pty[1]) == (101, 33)
    with pytest.raises(OverflowError):
        set_window_size(pty[0], 1 << 16, 1)


def test_raw_passes_everything_on_until_restored(pty: tuple[int, int, str]) -> None:
    master, slave, _ = pty
    before = termios.tcgetattr(slave)
    saved = make_raw(slave)
    os.write(master, b"\x03x")  # no interrupt, no line to complete
    assert os.read(slave, 100) == b"\x03x"
    os.write(slave, b"\n")
    assert os.read(master, 100) == b"\n"  # no carriage return, and no echo of the above
    restore(slave, saved)
    assert termios.tcgetattr(slave) == before


def test_a_terminal_controls_one_session(in_child: InChild) -> None:
    def control() -> list[Any]:
        setsid()
        _, slave, _ = open_pty()
        set_controlling_terminal(slave)
        own = os.tcgetpgrp(slave) == os.getpid()
        try:
            set_controlling_terminal(open_pty()[1])
        except SyscallError as error:
            return [own, error.errno]
        return [own, None]

    assert in_child(control) == [True, errno.EPERM]


def test_what_is_no_terminal_is_refused() -> None:
    fd = os.open("/", os.O_RDONLY)
    for attempt in (get_window_size, make_raw, set_controlling_terminal):
        with pytest.raises(SyscallError) as caught:
            attempt(fd)
        assert caught.value.errno == errno.ENOTTY
    os.close(fd)
