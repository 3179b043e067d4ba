"""Watches on files, and the smallest counter."""
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.eventfd import eventfd
from nscontainer.sys.fds import poll
from nscontainer.sys.inotify import IN, inotify_add_watch, inotify_init


def test_a_change_makes_the_descriptor_readable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    fd = inotify_init()
    try:
        assert not os.get_inheritable(fd)
        inotify_add_watch(fd, str(path), IN.MODIFY)
        assert not poll((fd,), 0)
        path.write_text("more")
        assert poll((fd,), 1000)
        assert os.read(fd, 4096)
        with pytest.raises(BlockingIOError):
            os.read(fd, 4096)
        with pytest.raises(SyscallError, match="IN_MODIFY") as caught:
            inotify_add_watch(fd, str(tmp_path / "none"), IN.MODIFY)
        assert caught.value.errno == errno.ENOENT
    finally:
        os.close(fd)


def test_a_counter_adds_up_and_is_read_to_zero() -> None:
    fd = eventfd(5)
    try:
        assert not os.get_inheritable(fd)
        os.write(fd, (2).to_bytes(8, "little"))
        assert os.read(fd, 8) == (7).to_bytes(8, "little")
        with pytest.raises(BlockingIOError):
            os.read(fd, 8)
    finally:
        os.close(fd)
    for wrong in (-1, 1 << 32):
        with pytest.raises(OverflowError):
            eventfd(wrong)
