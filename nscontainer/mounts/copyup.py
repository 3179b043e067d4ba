"""Fill a new file system in memory with what the image has at its place.

Lesson  Mounting hides what was there before; a tmpfs on /run that is to look like the image's /run needs a copy first.
Read    openat2(2), sendfile(2), symlinkat(2), fchownat(2), utimensat(2)

The tree belongs to the image, and nobody else is at it yet; all the same nothing is opened by more than one name below
a descriptor, and no link is followed: what is copied is in this folder. Devices and sockets are left out, for a node
is a right, and rights are given by the config.
"""
from __future__ import annotations

import os
from errno import EINVAL, ELOOP, EPERM

from ..errors import SetupError, SyscallError
from ..sys.files import close, fchownat, mkdirat, openat, readlinkat, symlinkat

__all__ = ["copy_up"]

_LOOK = os.O_PATH | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_S_IFMT, _S_IFDIR, _S_IFREG, _S_IFLNK = 0o170000, 0o040000, 0o100000, 0o120000
_NO_OWNER = (EPERM, EINVAL)   # an owner that our user namespace has no number for: it stays ours
_CHUNK = 1 << 20
DEEPEST = 200    # folders in each other: each takes two descriptors, and some Python


def copy_up(source: int, target: int) -> None:
    """Copy all that is in the folder *source* into the folder *target*: descriptors, of which O_PATH suffices.

    Owners, modes and times come along; what is mounted below *source* is copied like the rest. ENOSPC: the target is
    too small.
    """
    try:
        _folder(source, target, DEEPEST)
    except (SyscallError, SetupError):
        raise
    except OSError as error:
        raise SyscallError("copy", error.errno or 0, error.filename) from None


def _folder(source: int, target: int, depth: int) -> None:
    if not depth:
        raise SetupError(f"folders are nested more than {DEEPEST} deep: they cannot be copied", errno=ELOOP)
    folder = openat(source, ".", _FOLDER)
    try:
        for name in os.listdir(folder):
            found = openat(folder, name, _LOOK)
            try:
                status = os.fstat(found)
                kind = status.st_mode & _S_IFMT
                if kind == _S_IFDIR:
                    mkdirat(target, name, 0o700)
                    inner = openat(target, name, _FOLDER)
                    try:
                        _folder(found, inner, depth - 1)
                        _dress(inner, status)
                    finally:
                        close(inner)
                elif kind == _S_IFREG:
                    _file(folder, target, name, status)
                elif kind == _S_IFLNK:
                    symlinkat(readlinkat(found, ""), target, name)
                    _own(target, name, status)
            finally:
                close(found)
    finally:
        close(folder)


def _file(folder: int, target: int, name: str, status: os.stat_result) -> None:
    source = openat(folder, name, _FILE)
    try:
        copy = openat(target, name, _NEW_FILE, 0o600)
        try:
            while os.sendfile(copy, source, None, _CHUNK):
                pass
            _dress(copy, status)
        finally:
            close(copy)
    finally:
        close(source)


def _dress(fd: int, status: os.stat_result) -> None:
    """Give a file or folder its owner, then its mode, of which a change of owner takes the set-user-ID bits."""
    try:
        os.fchown(fd, status.st_uid, status.st_gid)
    except OSError as error:
        if error.errno not in _NO_OWNER:
            raise
    os.fchmod(fd, status.st_mode & 0o7777)
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _own(folder: int, name: str, status: os.stat_result) -> None:
    try:
        fchownat(folder, name, status.st_uid, status.st_gid, 0x100)  # AT_SYMLINK_NOFOLLOW
    except SyscallError as error:
        if error.errno not in _NO_OWNER:
            raise
