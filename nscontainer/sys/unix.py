"""Sockets with a name in the file system: reach a program that listens there.

Lesson  A unix socket carries bytes, descriptors and credentials between processes of one machine.
Read    unix(7), socket(2), connect(2)
"""
from __future__ import annotations

import os
from ctypes import Structure, addressof, c_char, c_int, c_uint, c_ushort, c_void_p, sizeof
from errno import ENAMETOOLONG

from ..errors import SyscallError
from .files import close
from .libc import EINTR, encoded, failure, function, get_errno

__all__ = ["connect"]

_AF_UNIX, _SOCK_STREAM_CLOEXEC = 1, 1 | os.O_CLOEXEC


class _Address(Structure):
    """struct sockaddr_un (110 bytes)."""

    _fields_ = [("family", c_ushort), ("path", c_char * 108)]


_socket = function("socket", c_int, c_int, c_int)
_connect = function("connect", c_int, c_void_p, c_uint, waits=True)


def connect(path: str) -> int:
    """Return a stream socket that is connected with whoever listens at *path*, closed by execve.

    ECONNREFUSED   a socket is there, and nobody listens
    ENAMETOOLONG   over 107 bytes
    ENOENT         nothing is there
    """
    raw = encoded(path) or b""
    if len(raw) > 107:
        raise SyscallError("connect", ENAMETOOLONG, path)
    fd = _socket(_AF_UNIX, _SOCK_STREAM_CLOEXEC, 0)
    if fd < 0:
        raise failure("socket", family="AF_UNIX")
    address = _Address(_AF_UNIX, raw)
    while _connect(fd, addressof(address), sizeof(address)) < 0:
        if get_errno() != EINTR:  # a unix socket is connected at once or not at all: another try is right
            error = failure("connect", path)
            close(fd)
            raise error
    return fd
