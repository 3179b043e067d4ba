"""Open a path without leaving a directory, whatever the files below it say.

Lesson  A symlink is resolved by who follows it: with RESOLVE_IN_ROOT, "/" is the directory one starts from.
Read    openat2(2), path_resolution(7), symlink(7)
Needs   Linux 5.6; no capability
"""
from __future__ import annotations

import os
from ctypes import Structure, addressof, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from errno import EAGAIN

from .flags import Flags
from .libc import EINTR, encoded, failure, get_errno, syscall

__all__ = ["RESOLVE", "openat2"]


class RESOLVE(Flags):
    """What openat2(2) does not do on the way."""

    NO_XDEV = 0x01          # cross into another mount, a bind included
    NO_MAGICLINKS = 0x02    # follow /proc/PID/fd/N, exe, ns/… to where no path leads
    NO_SYMLINKS = 0x04      # follow any symlink, also as the last part
    BENEATH = 0x08          # leave the directory: ".." above it and absolute names are EXDEV
    IN_ROOT = 0x10          # leave the directory: ".." above it stays, absolute names start there
    CACHED = 0x20           # look at the disk (Linux 5.12)


class _OpenHow(Structure):
    """struct open_how, its first version (24 bytes)."""

    _fields_ = [("flags", c_uint64), ("mode", c_uint64), ("resolve", c_uint64)]


_openat2 = syscall("openat2", c_int, c_char_p, c_void_p, c_size_t)
_openat2_waiting = syscall("openat2", c_int, c_char_p, c_void_p, c_size_t, waits=True)  # as for a FIFO's other end
_NEVER_WAITS = os.O_NONBLOCK | os.O_PATH | os.O_DIRECTORY

_O_CLOEXEC, _U64, _TRIES = os.O_CLOEXEC, (1 << 64) - 1, 128


def openat2(dirfd: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open *path* below *dirfd* as *resolve* allows; the descriptor is closed by execve, always.

    EAGAIN   a rename or a mount made meanwhile might have led out, 128 times in a row
    E2BIG    a later kernel's field in an earlier kernel
    EINVAL   an unknown flag, or *mode* without O_CREAT or O_TMPFILE: openat2 checks what openat ignores
    ELOOP    a symlink that NO_SYMLINKS or NO_MAGICLINKS refuses
    EXDEV    it would leave the directory (BENEATH), or the mount (NO_XDEV)
    """
    if not (0 <= flags <= _U64 and 0 <= mode <= 0o7777 and 0 <= resolve <= _U64):
        raise OverflowError(f"flags {hex(flags)}, mode {oct(mode)} or resolve {hex(resolve)} out of range")
    how = _OpenHow(flags | _O_CLOEXEC, mode, resolve)
    at, name, tries = addressof(how), encoded(path), 0
    call = _openat2 if flags & _NEVER_WAITS else _openat2_waiting
    while (fd := call(dirfd, name, at, 24)) < 0:
        number = get_errno()
        if number == EAGAIN and tries < _TRIES:
            tries += 1
        elif number != EINTR:
            raise failure("openat2", path, dirfd=dirfd, flags=hex(flags), resolve=RESOLVE(resolve))
    return fd
