"""A counter held by a descriptor: whoever adds to it makes it readable.

Lesson  The smallest thing that one can wait for: 8 bytes, read to zero.
Read    eventfd(2)
"""
from __future__ import annotations

import os
from ctypes import c_int, c_uint

from .libc import failure, function

__all__ = ["eventfd"]

_eventfd = function("eventfd", c_uint, c_int)


def eventfd(value: int = 0) -> int:
    """Return a counter that starts at *value*; it never blocks, and execve closes it. EMFILE, ENFILE."""
    if not 0 <= value <= 0xFFFFFFFF:
        raise OverflowError(f"{value} does not fit 32 bits")
    fd = _eventfd(value, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise failure("eventfd")
    return fd
