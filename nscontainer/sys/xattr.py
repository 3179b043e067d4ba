"""Extended attributes: names with values beside a file's content.

Lesson  Labels and file capabilities live in attributes of the namespace "security"; a user's own are "user.*".
Read    xattr(7), llistxattr(2), lgetxattr(2), lsetxattr(2)
Needs   CAP_SYS_ADMIN for trusted.*, and what a security module asks for security.*
"""
from __future__ import annotations

import os

from ..errors import SyscallError

__all__ = ["lgetxattr", "llistxattr", "lsetxattr"]


def llistxattr(path: str) -> list[str]:
    """Return the names of the attributes of *path* itself, never of what it links to."""
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        raise SyscallError("llistxattr", error.errno or 0, path) from None


def lgetxattr(path: str, name: str) -> bytes:
    """Return a value of any length.

    ENODATA  no such attribute
    EOPNOTSUPP  the file system has none
    """
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        raise SyscallError("lgetxattr", error.errno or 0, path, name=name) from None


def lsetxattr(path: str, name: str, value: bytes, flags: int = 0) -> None:
    """Set a value; *flags*: os.XATTR_CREATE, os.XATTR_REPLACE."""
    try:
        os.setxattr(path, name, value, flags, follow_symlinks=False)
    except OSError as error:
        raise SyscallError("lsetxattr", error.errno or 0, path, name=name) from None
