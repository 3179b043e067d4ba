"""Mounts: attach, move, detach.

Lesson  A mount joins a filesystem to a directory, in one mount namespace.
Read    mount(2), umount2(2), pivot_root(2), mount_namespaces(7)
Needs   CAP_SYS_ADMIN in the user namespace that owns the mount namespace
"""
from __future__ import annotations

from ctypes import c_char_p, c_int, c_ulong

from .flags import Flags
from .libc import EINTR, encoded, failure, function, get_errno, syscall

__all__ = ["MNT", "MS", "mount", "pivot_root", "umount2"]


class MS(Flags):
    """The flags of mount(2)."""

    RDONLY = 1 << 0
    NOSUID = 1 << 1
    NODEV = 1 << 2
    NOEXEC = 1 << 3
    SYNCHRONOUS = 1 << 4
    REMOUNT = 1 << 5
    MANDLOCK = 1 << 6        # no effect since Linux 5.15
    DIRSYNC = 1 << 7
    NOSYMFOLLOW = 1 << 8     # Linux 5.10
    NOATIME = 1 << 10
    NODIRATIME = 1 << 11
    BIND = 1 << 12
    MOVE = 1 << 13
    REC = 1 << 14
    SILENT = 1 << 15
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class MNT(Flags):
    """The flags of umount2(2)."""

    FORCE = 1
    DETACH = 2
    EXPIRE = 4
    NOFOLLOW = 8             # UMOUNT_NOFOLLOW in C


_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p, waits=True)
_umount2 = function("umount2", c_char_p, c_int, waits=True)
_pivot_root = syscall("pivot_root", c_char_p, c_char_p)


def mount(source: str | None, target: str, fstype: str | None = None,
          flags: int = MS(0), data: str | None = None) -> None:
    """Attach *source* at *target*, or change what is there.

    EBUSY    still open for writing, so not to be read-only; or in use
    EINVAL   the filesystem refuses *data*; a bind's source may not be copied; *target* is no mount point
    ENODEV   this kernel has no such *fstype*
    EPERM    no CAP_SYS_ADMIN here, or the change would clear a flag that a parent namespace locked
    """
    if not 0 <= flags <= 0xFFFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    arguments = (encoded(source), encoded(target), encoded(fstype), flags, encoded(data))
    while _mount(*arguments) < 0:
        if get_errno() != EINTR:  # a network file system lets itself be interrupted
            raise failure("mount", target, source=source, type=fstype, flags=MS(flags), data=data)


def umount2(target: str, flags: int = MNT(0)) -> None:
    """Detach what is mounted at *target*.

    EBUSY    in use; MNT_DETACH takes it out of sight now and frees it later
    EINVAL   not a mount point, or locked: it came from a parent namespace together with what it covers
    """
    if not 0 <= flags <= 0x7FFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    path = encoded(target)
    while _umount2(path, flags) < 0:
        if get_errno() != EINTR:
            raise failure("umount2", target, flags=MNT(flags))


def pivot_root(new_root: str, put_old: str) -> None:
    """Make *new_root* the root of the mount namespace and move the old one to *put_old*; both may be ``"."``.

    EBUSY    one of them is on the current root's mount
    EINVAL   *new_root* is no mount point, a mount involved is shared, or the root is the initial ramfs
    """
    if _pivot_root(encoded(new_root), encoded(put_old)) < 0:
        raise failure("pivot_root", new_root, put_old=put_old)
