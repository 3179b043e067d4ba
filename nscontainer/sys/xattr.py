"""Extended attributes: names with values beside a file's content.

Lesson  Labels and file capabilities live in attributes of the namespace "security"; a user's own are "user.*".
Read    xattr(7), llistxattr(2), lgetxattr(2), lsetxattr(2)
Needs   CAP_SYS_ADMIN for trusted.*, and what a security module asks for security.*

The calls with an "l" are about *path* itself, never about what it links to.
"""
from __future__ import annotations

import os
from ctypes import addressof, c_char_p, c_int, c_size_t, c_ssize_t, c_void_p, create_string_buffer, string_at
from errno import ERANGE

from .libc import encoded, failure, function, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["XATTR_CREATE", "XATTR_REPLACE", "lgetxattr", "llistxattr", "lsetxattr"]

XATTR_CREATE, XATTR_REPLACE = 1, 2

_llistxattr = function("llistxattr", c_char_p, c_void_p, c_size_t, restype=c_ssize_t)
_lgetxattr = function("lgetxattr", c_char_p, c_char_p, c_void_p, c_size_t, restype=c_ssize_t)
_lsetxattr = function("lsetxattr", c_char_p, c_char_p, c_char_p, c_size_t, c_int)

_LARGEST = 65536  # XATTR_SIZE_MAX and XATTR_LIST_MAX


def _fill(ask: Callable[[int, int], int]) -> bytes | None:
    """Return what *ask* writes to a buffer, a small one or the largest that can be needed; None when it fails."""
    for size in (256, _LARGEST):
        buffer = create_string_buffer(size)
        got = ask(addressof(buffer), size)
        if got >= 0:
            return string_at(addressof(buffer), got)
        if get_errno() != ERANGE:
            break
    return None


def llistxattr(path: str | bytes) -> list[str]:
    """Return the names of the attributes that this process may see.

    EOPNOTSUPP  the file system has none
    """
    raw = encoded(path)
    names = _fill(lambda at, size: _llistxattr(raw, at, size))
    if names is None:
        raise failure("llistxattr", path)
    return [os.fsdecode(name) for name in names.split(b"\0") if name]


def lgetxattr(path: str | bytes, name: str) -> bytes:
    """Return the value of an attribute.

    ENODATA     there is no such attribute
    EOPNOTSUPP  the file system has none, or not of this namespace
    """
    raw, key = encoded(path), encoded(name)
    value = _fill(lambda at, size: _lgetxattr(raw, key, at, size))
    if value is None:
        raise failure("lgetxattr", path, name=name)
    return value


def lsetxattr(path: str | bytes, name: str, value: bytes, flags: int = 0) -> None:
    """Set an attribute; with XATTR_CREATE only a new one, with XATTR_REPLACE only one that is there.

    E2BIG       more than 65536 bytes
    EOPNOTSUPP  the file system has none, or not of this namespace
    EPERM       user.* on what is neither a file nor a directory; trusted.* without CAP_SYS_ADMIN
    """
    if not 0 <= flags <= 0x7FFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    if _lsetxattr(encoded(path), encoded(name), value, len(value), flags) < 0:
        raise failure("lsetxattr", path, name=name, size=len(value))
