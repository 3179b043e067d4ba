"""Network interfaces by their oldest calls.

Lesson  An interface carries packets only while its flag IFF_UP is set; in a new network namespace even lo is down.
Read    netdevice(7)
Needs   CAP_NET_ADMIN in the user namespace that owns the network namespace
"""
from __future__ import annotations

import os
from ctypes import Structure, addressof, c_char, c_int, c_short, c_ubyte, c_ulong, c_void_p

from .files import close
from .libc import encoded, failure, function

__all__ = ["LONGEST_NAME", "interface_name_wrong", "set_interface_up"]

LONGEST_NAME = 15  # bytes: IFNAMSIZ without the NUL

_AF_UNIX, _SOCK_DGRAM_CLOEXEC = 1, 2 | os.O_CLOEXEC  # any socket will do, and this kind is in every kernel
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class _Ifreq(Structure):
    """struct ifreq (40 bytes) with the flags of its union."""

    _fields_ = [("name", c_char * 16), ("flags", c_short), ("rest", c_ubyte * 22)]


_socket = function("socket", c_int, c_int, c_int)
_ioctl = function("ioctl", c_int, c_ulong, c_void_p)


def interface_name_wrong(name: str) -> str | None:
    """Return why no interface can have that name, or None: dev_valid_name() in Linux, net/core/dev.c."""
    size = len(name.encode(errors="surrogateescape"))
    if not 0 < size <= LONGEST_NAME:
        return f"{size} bytes; an interface's name has 1 to {LONGEST_NAME}" if name else "is empty"
    if name in (".", "..") or not name.isprintable() or not _NOT_IN_NAMES.isdisjoint(name):
        return f"{name!r} is no interface's name"
    return None


_NOT_IN_NAMES = frozenset("/:% \t\n\v\f\r\0")  # a percent sign asks for a number in its place


def set_interface_up(name: str) -> None:
    """Set IFF_UP on the interface *name* of this network namespace.

    ENODEV   no such interface
    EPERM    no CAP_NET_ADMIN here
    """
    raw = encoded(name) or b""
    if not 0 < len(raw) < 16:
        raise ValueError(f"{name!r} is no interface's name: 1 to 15 bytes")
    socket = _socket(_AF_UNIX, _SOCK_DGRAM_CLOEXEC, 0)
    if socket < 0:
        raise failure("socket", family="AF_UNIX")
    try:
        request = _Ifreq(raw)
        if _ioctl(socket, _SIOCGIFFLAGS, addressof(request)) < 0:
            raise failure("ioctl", request="SIOCGIFFLAGS", interface=name)
        request.flags |= _IFF_UP
        if _ioctl(socket, _SIOCSIFFLAGS, addressof(request)) < 0:
            raise failure("ioctl", request="SIOCSIFFLAGS", interface=name)
    finally:
        close(socket)
