"""Be told of changes to a file by a descriptor.

Lesson  A watch is put on a path once; each change then makes the descriptor readable, and waits there to be read.
Read    inotify(7), inotify_init1(2), inotify_add_watch(2)
"""
from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_uint32

from .flags import Flags
from .libc import encoded, failure, function

__all__ = ["IN", "inotify_add_watch", "inotify_init"]


class IN(Flags):
    """What to be told."""

    MODIFY = 0x2
    DELETE_SELF = 0x400
    IGNORED = 0x8000


_inotify_init1 = function("inotify_init1", c_int)
_inotify_add_watch = function("inotify_add_watch", c_int, c_char_p, c_uint32)


def inotify_init() -> int:
    """Return a descriptor without watches; it never blocks, and execve closes it. EMFILE: too many of this user's."""
    fd = _inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise failure("inotify_init1")
    return fd


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch *path* and return the watch's number. ENOSPC: too many watches of this user's."""
    watch = _inotify_add_watch(fd, encoded(path), mask)
    if watch < 0:
        raise failure("inotify_add_watch", path, mask=IN(mask))
    return watch
