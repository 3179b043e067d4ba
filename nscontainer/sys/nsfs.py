"""Namespaces held by a descriptor: whose they are, what they are.

Lesson  Every namespace but a user namespace is owned by one; user and pid namespaces have parents.
Read    ioctl_ns(2), namespaces(7)
Needs   nothing, but what lies outside one's own user or pid namespace is not shown
"""
from __future__ import annotations

from ctypes import addressof, c_int, c_uint, c_ulong, c_void_p

from .clone import CLONE
from .libc import failure, function

__all__ = ["get_nstype", "get_owner_uid", "get_parent", "get_userns"]

_ioctl = function("ioctl", c_int, c_ulong, c_void_p)
_NS_GET_USERNS, _NS_GET_PARENT, _NS_GET_NSTYPE, _NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB703, 0xB704


def get_userns(fd: int) -> int:
    """Return a descriptor of the user namespace that owns this one.

    EPERM    it is outside this process's own
    ENOTTY   not a namespace
    """
    owner = _ioctl(fd, _NS_GET_USERNS, None)
    if owner < 0:
        raise failure("ioctl", request="NS_GET_USERNS", fd=fd)
    return owner


def get_parent(fd: int) -> int:
    """Return a descriptor of the parent of a pid or user namespace."""
    parent = _ioctl(fd, _NS_GET_PARENT, None)
    if parent < 0:
        raise failure("ioctl", request="NS_GET_PARENT", fd=fd)
    return parent


def get_nstype(fd: int) -> CLONE:
    """Return what it is as a flag of clone(2): Linux 4.11. ENOTTY when it is no namespace."""
    kind = _ioctl(fd, _NS_GET_NSTYPE, None)
    if kind < 0:
        raise failure("ioctl", request="NS_GET_NSTYPE", fd=fd)
    return CLONE(kind)


def get_owner_uid(fd: int) -> int:
    """Return the user who made a user namespace: Linux 4.11."""
    uid = c_uint()
    if _ioctl(fd, _NS_GET_OWNER_UID, addressof(uid)) < 0:
        raise failure("ioctl", request="NS_GET_OWNER_UID", fd=fd)
    return uid.value
