"""Sockets with a name in the file system: reach a program that listens there, and be one.

Lesson  A unix socket carries bytes, descriptors and credentials between processes of one machine. Whoever has the
        descriptor that listens can accept, whatever its root, its network and its rights have become since.
Read    unix(7), socket(2), bind(2), listen(2), accept(2), connect(2)
"""
from __future__ import annotations

import os
from ctypes import Structure, addressof, c_char, c_int, c_uint, c_ushort, c_void_p, sizeof
from errno import ENAMETOOLONG

from ..errors import SyscallError
from .files import close
from .libc import EINTR, encoded, failure, function, get_errno

__all__ = ["accept", "connect", "listen"]

_AF_UNIX, _SOCK_STREAM_CLOEXEC = 1, 1 | os.O_CLOEXEC


class _Address(Structure):
    """struct sockaddr_un (110 bytes)."""

    _fields_ = [("family", c_ushort), ("path", c_char * 108)]


_socket = function("socket", c_int, c_int, c_int)
_connect = function("connect", c_int, c_void_p, c_uint, waits=True)
_bind = function("bind", c_int, c_void_p, c_uint)
_listen = function("listen", c_int, c_int)
_accept4 = function("accept4", c_int, c_void_p, c_void_p, c_int, waits=True)


def connect(path: str) -> int:
    """Return a stream socket that is connected with whoever listens at *path*, closed by execve.

    ECONNREFUSED   a socket is there, and nobody listens
    ENAMETOOLONG   over 107 bytes
    ENOENT         nothing is there
    """
    fd, address = _socket_for("connect", path)
    while _connect(fd, addressof(address), sizeof(address)) < 0:
        if get_errno() != EINTR:  # a unix socket is connected at once or not at all: another try is right
            error = failure("connect", path)
            close(fd)
            raise error
    return fd


def listen(path: str) -> int:
    """Make a stream socket of that name, and return a descriptor that listens there, closed by execve.

    EADDRINUSE     something is there
    ENAMETOOLONG   over 107 bytes
    """
    fd, address = _socket_for("bind", path)
    if _bind(fd, addressof(address), sizeof(address)) < 0 or _listen(fd, 8) < 0:
        error = failure("bind", path)
        close(fd)
        raise error
    return fd


def accept(fd: int) -> int:
    """Wait until somebody connects with *fd*, which listens; return the connection, closed by execve: accept4(2)."""
    while (connection := _accept4(fd, None, None, os.O_CLOEXEC)) < 0:
        if get_errno() != EINTR:
            raise failure("accept4", fd=fd)
    return connection


def _socket_for(call: str, path: str) -> tuple[int, _Address]:
    raw = encoded(path) or b""
    if len(raw) > 107:
        raise SyscallError(call, ENAMETOOLONG, path)
    fd = _socket(_AF_UNIX, _SOCK_STREAM_CLOEXEC, 0)
    if fd < 0:
        raise failure("socket", family="AF_UNIX")
    return fd, _Address(_AF_UNIX, raw)
