"""Mounts made in steps, on descriptors: configure a file system, look at it, then attach it.

Lesson  A mount exists before it has a place. Made and marked in private, it is attached in one step, complete.
Read    fsopen(2), fsconfig(2), fsmount(2), fspick(2), move_mount(2), open_tree(2), mount_setattr(2)
Needs   CAP_SYS_ADMIN in the user namespace that owns the mount namespace; Linux 5.2, mount_setattr 5.12
"""
from __future__ import annotations

import os
from ctypes import Structure, addressof, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

from ..errors import SyscallError
from .files import AT, AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW
from .flags import Enumeration, Flags
from .libc import EINTR, encoded, failure, get_errno, syscall

__all__ = [
    "AT", "AT_EMPTY_PATH", "AT_FDCWD", "AT_RECURSIVE", "AT_SYMLINK_NOFOLLOW", "FSCONFIG", "FSMOUNT", "FSOPEN",
    "FSPICK", "MOUNT_ATTR", "MOVE_MOUNT", "OPEN_TREE", "fsconfig_create", "fsconfig_fd", "fsconfig_flag",
    "fsconfig_path", "fsconfig_reconfigure", "fsconfig_string", "fsmount", "fsopen", "fspick", "mount_setattr",
    "move_mount", "open_tree",
]

_U32, _U64 = 0xFFFFFFFF, (1 << 64) - 1


class OPEN_TREE(Flags):
    """The flags of open_tree(2), beside those of AT."""

    CLONE = 1                 # a copy of the mount, attached nowhere; with AT_RECURSIVE, of those below it too
    CLOEXEC = os.O_CLOEXEC


_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_open_tree = syscall("open_tree", c_int, c_char_p, c_uint)


def open_tree(dirfd: int, path: str | bytes, flags: int = 0) -> int:
    """Return a descriptor of a mount, or with OPEN_TREE_CLONE of a copy that vanishes with it; closed by execve.

    EINVAL   a copy of an unbindable mount, or of part of a group that a parent namespace locked together
    EPERM    a copy, without CAP_SYS_ADMIN
    """
    if not 0 <= flags <= _U32:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    fd = _open_tree(dirfd, encoded(path), flags | _OPEN_TREE_CLOEXEC)
    if fd < 0:
        raise failure("open_tree", path, dirfd=dirfd, flags=hex(flags))
    return fd


class MOVE_MOUNT(Flags):
    """The flags of move_mount(2): F for where from, T for where to."""

    F_SYMLINKS = 0x1
    F_AUTOMOUNTS = 0x2
    F_EMPTY_PATH = 0x4
    T_SYMLINKS = 0x10
    T_AUTOMOUNTS = 0x20
    T_EMPTY_PATH = 0x40
    SET_GROUP = 0x100         # Linux 5.15
    BENEATH = 0x200           # Linux 6.5


_move_mount = syscall("move_mount", c_int, c_char_p, c_int, c_char_p, c_uint)


def move_mount(from_fd: int, from_path: str | bytes, to_fd: int, to_path: str | bytes, flags: int) -> None:
    """Attach what fsmount or open_tree returned, or move an attached mount.

    EINVAL   *from* is attached elsewhere and shared, locked, or of another namespace; *to* lies in no mount of ours
    ELOOP    *to* is below *from*, or a symlink without T_SYMLINKS
    ENOTDIR  a directory and a file do not go together
    """
    if not 0 <= flags <= _U32:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    if _move_mount(from_fd, encoded(from_path), to_fd, encoded(to_path), flags) < 0:
        raise failure("move_mount", to_path or None, from_fd=from_fd, source=from_path or None, to_fd=to_fd,
                      flags=MOVE_MOUNT(flags))


class FSOPEN(Flags):
    """The flag of fsopen(2)."""

    CLOEXEC = 1


_fsopen = syscall("fsopen", c_char_p, c_uint)


def fsopen(fstype: str | bytes) -> int:
    """Begin a file system of this type: return the descriptor that fsconfig takes, closed by execve.

    ENODEV   this kernel has no such type
    EPERM    no CAP_SYS_ADMIN in the user namespace of the mount namespace
    """
    fd = _fsopen(encoded(fstype), 1)
    if fd < 0:
        raise failure("fsopen", type=fstype)
    return fd


class FSPICK(Flags):
    """The flags of fspick(2)."""

    CLOEXEC = 1
    SYMLINK_NOFOLLOW = 2
    NO_AUTOMOUNT = 4
    EMPTY_PATH = 8


_fspick = syscall("fspick", c_int, c_char_p, c_uint)


def fspick(dirfd: int, path: str | bytes, flags: int = 0) -> int:
    """Return a descriptor by which fsconfig changes the file system mounted at *path*, closed by execve.

    EINVAL   not the root of a mount
    EPERM    no CAP_SYS_ADMIN in the user namespace of the mount namespace
    """
    if not 0 <= flags <= _U32:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    fd = _fspick(dirfd, encoded(path), flags | 1)
    if fd < 0:
        raise failure("fspick", path, dirfd=dirfd, flags=FSPICK(flags))
    return fd


class FSCONFIG(Enumeration):
    """The commands of fsconfig(2)."""

    SET_FLAG = 0
    SET_STRING = 1
    SET_BINARY = 2
    SET_PATH = 3
    SET_PATH_EMPTY = 4
    SET_FD = 5
    CMD_CREATE = 6
    CMD_RECONFIGURE = 7
    CMD_CREATE_EXCL = 8       # Linux 6.6


_fsconfig = syscall("fsconfig", c_int, c_uint, c_char_p, c_char_p, c_int)


def _explained(call: str, context: int, **details: object) -> SyscallError:
    """Return the error, with what the file system said: each read(2) of *context* is one, "e tmpfs: Bad value"."""
    number = get_errno()
    lines: list[str] = []
    try:
        while len(lines) < 32:
            lines.append(os.read(context, 1024).decode("utf-8", "replace").strip()[2:])
    except OSError:
        pass  # ENODATA: no more; EBADF, EINVAL: *context* is not such a descriptor, as *number* says already
    return SyscallError(call, number, None, **details, message="; ".join(line for line in lines if line) or None)


def fsconfig_string(fd: int, key: str | bytes, value: str | bytes) -> None:
    """Set a parameter: "source", "size", "mode", "lowerdir" … EINVAL: unknown, or not such a value."""
    if _fsconfig(fd, 1, encoded(key), encoded(value), 0) < 0:
        raise _explained("fsconfig", fd, command=FSCONFIG.SET_STRING, key=key, value=value)


def fsconfig_flag(fd: int, key: str | bytes) -> None:
    """Set a parameter that has no value: "ro", "newinstance" … EINVAL: unknown."""
    if _fsconfig(fd, 0, encoded(key), None, 0) < 0:
        raise _explained("fsconfig", fd, command=FSCONFIG.SET_FLAG, key=key)


def fsconfig_fd(fd: int, key: str | bytes, value: int) -> None:
    """Set a parameter to an open file: "lowerdir+" of overlay (Linux 6.13), "pidns" of proc (6.17)."""
    if _fsconfig(fd, 5, encoded(key), None, value) < 0:
        raise _explained("fsconfig", fd, command=FSCONFIG.SET_FD, key=key, value=value)


def fsconfig_path(fd: int, key: str | bytes, dirfd: int, path: str | bytes) -> None:
    """Set a parameter to a path below *dirfd*, or to *dirfd* when the path is empty."""
    command = 3 if path else 4
    if _fsconfig(fd, command, encoded(key), encoded(path), dirfd) < 0:
        raise _explained("fsconfig", fd, command=FSCONFIG(command), key=key, dirfd=dirfd, value=path)


def fsconfig_create(fd: int) -> None:
    """Make the file system: CMD_CREATE.

    EBUSY    done already, or failed before
    EINVAL   parameters that do not go together, or one is missing
    EPERM    this type is not for the user namespace, or a fuller /proc or /sys than this one was hidden from us
    """
    while _fsconfig(fd, 6, None, None, 0) < 0:
        if get_errno() != EINTR:
            raise _explained("fsconfig", fd, command=FSCONFIG.CMD_CREATE)


def fsconfig_reconfigure(fd: int) -> None:
    """Change the file system that fspick found: CMD_RECONFIGURE. EBUSY: files are open for writing."""
    while _fsconfig(fd, 7, None, None, 0) < 0:
        if get_errno() != EINTR:
            raise _explained("fsconfig", fd, command=FSCONFIG.CMD_RECONFIGURE)


class MOUNT_ATTR(Flags):
    """The attributes of one mount, for fsmount and mount_setattr."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    _ATIME = 0x70             # the bits that hold one of the next three; clear them all to set one
    RELATIME = 0x0
    NOATIME = 0x10
    STRICTATIME = 0x20
    NODIRATIME = 0x80
    IDMAP = 0x100000
    NOSYMFOLLOW = 0x200000    # Linux 5.14


class FSMOUNT(Flags):
    """The flags of fsmount(2)."""

    CLOEXEC = 1


_fsmount = syscall("fsmount", c_int, c_uint, c_uint)


def fsmount(fd: int, attrs: int = 0) -> int:
    """Mount a created file system nowhere yet: return a descriptor for move_mount, closed by execve.

    EBUSY    mounted already through this descriptor;  EINVAL fsconfig_create is missing
    EPERM    a proc or sysfs that would show what is hidden from us now
    """
    if not 0 <= attrs <= _U32:
        raise OverflowError(f"attributes {hex(attrs)} do not fit 32 bits")
    mount = _fsmount(fd, 1, attrs)
    if mount < 0:
        raise _explained("fsmount", fd, attrs=MOUNT_ATTR(attrs))
    return mount


class _MountAttr(Structure):
    """struct mount_attr, its first version (32 bytes)."""

    _fields_ = [(name, c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


_mount_setattr = syscall("mount_setattr", c_int, c_char_p, c_uint, c_void_p, c_size_t)


def mount_setattr(fd: int, path: str | bytes, flags: int, *, set: int = 0, clear: int = 0, propagation: int = 0,
                  userns_fd: int = 0) -> None:
    """Change the attributes of a mount; with AT_RECURSIVE of all below it, all or none: Linux 5.12.

    *propagation* is one of MS.SHARED, PRIVATE, SLAVE, UNBINDABLE. With MOUNT_ATTR_IDMAP in *set*, ids of files pass
    through the map of *userns_fd*; that is for a copy which is not attached yet.

    ENOSYS   before 5.12
    EBUSY    a file is open for writing, and *set* holds RDONLY
    EINVAL   not the root of a mount; this file system cannot be mapped; the map is that of the first namespace
    EPERM    an attribute that a parent namespace locked; a map that is there already
    """
    if not (0 <= flags <= _U32 and 0 <= set <= _U64 and 0 <= clear <= _U64 and 0 <= propagation <= _U64
            and 0 <= userns_fd <= 0x7FFFFFFF):
        raise OverflowError("flags, attributes, propagation or descriptor out of range")
    attr = _MountAttr(set, clear, propagation, userns_fd)
    if _mount_setattr(fd, encoded(path), flags, addressof(attr), 32) < 0:
        raise failure("mount_setattr", path or None, fd=fd, flags=AT(flags), set=MOUNT_ATTR(set),
                      clear=MOUNT_ATTR(clear), propagation=hex(propagation))
