"""Advice about memory: madvise(2).

Lesson  The kernel gives memory when it is first touched; madvise can ask for it before, or give it back.
Read    madvise(2), proc_pid_pagemap(5)
"""
from __future__ import annotations

from ctypes import c_int, c_size_t, c_void_p

from .libc import failure, function

__all__ = ["MADV_POPULATE_WRITE", "madvise"]

MADV_POPULATE_WRITE = 23

_madvise = function("madvise", c_void_p, c_size_t, c_int)


def madvise(address: int, size: int, advice: int) -> None:
    """Advise the kernel about *size* bytes from *address*, the start of a page.

    EFAULT   MADV_POPULATE_WRITE: a page cannot be had
    EINVAL   unknown advice: MADV_POPULATE_WRITE before Linux 5.14
    ENOMEM   nothing is mapped there
    """
    if not (0 <= address < 1 << 64 and 0 <= size < 1 << 63 and 0 <= advice < 1 << 31):
        raise OverflowError(f"{size} bytes at {hex(address)} or advice {advice} out of range")
    if _madvise(address, size, advice) < 0:
        raise failure("madvise", address=hex(address), size=size, advice=advice)
