"""Copy a process's memory before its work begins: what a fork puts off until each page's first write.

Lesson  After a fork both processes share their pages, and whoever writes to one first stops for a copy. A child of
        ours writes to some hundred, for Python counts references, and each stop costs as much as a system call or two.
Read    fork(2), proc_pid_pagemap(5), madvise(2) on MADV_POPULATE_WRITE
Needs   Linux 5.14; to read its own pagemap, root on the host. Without either, nothing is gained and nothing lost

A process that was made ahead has time for the copies. Which pages it will need, its predecessors know: one of them
looks, at its end, which pages are its own by now, and tells the caller, who tells the zygote.
"""
from __future__ import annotations

import os
from errno import EACCES, EFAULT, EINVAL, ENOMEM

from .errors import SyscallError
from .sys.files import AT_FDCWD, close, openat
from .sys.memory import MADV_POPULATE_WRITE, madvise

TYPE_CHECKING = False
if TYPE_CHECKING:
    Run = tuple[int, int]

__all__ = ["Look", "look", "touch"]

_PAGE = 4096
_ENTRY = 8            # bytes of pagemap for a page
_OWN = 0x81           # in the highest byte: bit 63 present, bit 56 mapped by nobody else


class Look:
    """Opened while the host's /proc is in sight; asked when the work is done."""

    def __init__(self) -> None:
        self.pages = openat(AT_FDCWD, "/proc/self/pagemap", os.O_RDONLY)
        fd = openat(AT_FDCWD, "/proc/self/maps", os.O_RDONLY)
        text = b""
        while more := os.read(fd, 1 << 16):
            text += more
        close(fd)
        self._areas = []
        for line in text.split(b"\n"):
            words = line.split(None, 2)
            if len(words) > 1 and words[1] == b"rw-p":
                start, _, end = words[0].partition(b"-")
                self._areas.append((int(start, 16), int(end, 16)))

    def own(self) -> list[Run]:
        """Return the runs of pages that this process has to itself, as (address, bytes)."""
        runs: list[Run] = []
        for start, end in self._areas:
            entries = os.pread(self.pages, (end - start) // _PAGE * _ENTRY, start // _PAGE * _ENTRY)
            flags = entries[_ENTRY - 1::_ENTRY]
            since = -1
            for index, flag in enumerate(flags + b"\0"):
                if flag & _OWN == _OWN:
                    if since < 0:
                        since = index
                elif since >= 0:
                    runs.append((start + since * _PAGE, (index - since) * _PAGE))
                    since = -1
        close(self.pages)
        return runs


def look() -> Look | None:
    """Return a Look, or None for a process that may not look at itself: it is not dumpable, and its user not root."""
    try:
        return Look()
    except SyscallError as error:
        if error.errno != EACCES:
            raise
        return None


def touch(runs: list[list[int]]) -> None:
    """Copy these pages now."""
    try:
        for address, size in runs:
            madvise(address, size, MADV_POPULATE_WRITE)
    except SyscallError as error:
        # Before Linux 5.14, unmapped since, or no memory: they are copied when they are needed.
        if error.errno not in (EINVAL, ENOMEM, EFAULT):
            raise
