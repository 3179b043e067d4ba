"""Consoles: both ends of a pseudo-terminal, and who owns it."""
from __future__ import annotations

import os
import signal
import stat
import threading
from typing import Any

import pytest

from nscontainer.console import Console, new_console
from nscontainer.errors import SyscallError
from nscontainer.sys.capability import capset
from nscontainer.sys.terminal import get_window_size, make_raw, set_controlling_terminal

pytestmark = pytest.mark.needs("pty")


@pytest.fixture
def console() -> Any:
    with new_console(os.geteuid(), os.getegid()) as made:
        yield made


def test_what_a_program_writes_is_read_and_what_is_written_it_reads(console: Console) -> None:
    slave = console.take_slave()
    make_raw(slave)
    os.write(slave, b"hello")
    assert console.read() == b"hello"
    assert console.write(b"typed\n") == 6
    assert os.read(slave, 100) == b"typed\n"
    os.close(slave)


def test_the_end_of_all_programs_is_the_end_of_input(console: Console) -> None:
    slave = console.take_slave()
    make_raw(slave)
    os.write(slave, b"last words")
    os.close(slave)
    assert console.read() == b"last words"
    assert console.read() == b""


def test_reading_before_a_program_is_there_waits_for_it(console: Console) -> None:
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(console.read()))
    reader.start()
    reader.join(0.1)
    assert reader.is_alive()
    slave = console.take_slave()
    os.write(slave, b"x")
    reader.join(5)
    os.close(slave)
    assert heard == [b"x"]


def test_the_slave_may_be_taken_again(console: Console) -> None:
    os.close(console.take_slave())
    again = console.take_slave()
    assert os.ttyname(again) == console.path
    assert not os.get_inheritable(again)
    os.close(again)


def test_a_large_paste_is_written_whole(console: Console) -> None:
    slave = console.take_slave()
    make_raw(slave)
    text = bytes(range(32, 127)) * 400
    writer = threading.Thread(target=lambda: console.write(text))
    writer.start()
    received = b""
    while len(received) < len(text):
        received += os.read(slave, 65536)
    writer.join(5)
    os.close(slave)
    assert received == text


def test_the_slave_is_its_owners_alone(console: Console) -> None:
    status = os.stat(console.path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())


@pytest.mark.needs("root")
def test_root_gives_the_slave_away() -> None:
    with new_console(1234, 5678) as console:
        status = os.stat(console.path)
    assert (status.st_uid, status.st_gid) == (1234, 5678)


@pytest.mark.needs("user")
def test_an_ordinary_user_keeps_the_slave(as_user: Any) -> None:
    def make() -> bool:
        with new_console(0, 0) as console:
            return os.stat(console.path).st_uid == os.geteuid()

    assert as_user(make)


@pytest.mark.needs("root")
def test_what_root_may_not_do_is_an_error(in_child: Any) -> None:
    def make() -> Any:
        capset(0, 0, 0)
        before = os.listdir("/proc/self/fd")
        try:
            new_console(1234, 5678)
        except SyscallError as error:
            return [error.call, error.strerror, len(before) == len(os.listdir("/proc/self/fd"))]
        return None

    assert in_child(make) == ["fchownat", "Operation not permitted", True]


def test_the_size_reaches_the_program(console: Console) -> None:
    console.resize(24, 80)
    slave = console.take_slave()
    assert get_window_size(slave) == (24, 80)
    os.close(slave)
    with pytest.raises(OverflowError):
        console.resize(1 << 16, 80)


def test_no_terminal_becomes_the_callers(in_child: Any) -> None:
    def lead_a_session() -> int:
        os.setsid()
        with new_console(os.geteuid(), os.getegid()) as console:
            os.close(console.take_slave())
            with pytest.raises(OSError, match="No such device or address"):
                os.open("/dev/tty", os.O_RDWR)
        return 0

    assert in_child(lead_a_session) == 0


def test_a_closed_console_says_so_and_leaves_no_descriptor(leaves_nothing: Any) -> None:
    console = new_console(os.geteuid(), os.getegid())
    assert console.fd == console.fileno()
    console.close()
    console.close()
    for use in (console.fileno, console.read, console.take_slave, lambda: console.write(b"x")):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_closing_hangs_up_on_the_program(console: Console) -> None:
    slave = console.take_slave()
    pid = os.fork()
    if pid == 0:
        try:
            console.close()
            os.setsid()
            os.dup2(slave, 0)
            set_controlling_terminal(0)
            os.write(0, b"ready")
            signal.pause()
        finally:
            os._exit(1)
    os.close(slave)
    assert console.read() == b"ready"
    console.close()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGHUP
