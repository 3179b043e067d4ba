"""A /proc that nobody has tampered with, and the files in it that steer a process.

Lesson  A path below /proc is a path like any other: who can mount there decides what a write to it does.
Read    proc(5), fsopen(2), open_tree(2), openat2(2), fstatfs(2)
Needs   CAP_SYS_ADMIN over the mount namespace, for an instance of one's own

A label that is written into a fake /proc/self/attr confines nothing: CVE-2019-16884. One that a mount has diverted to
another file of /proc may do anything: CVE-2025-52881. So what is to be written goes through a descriptor::

    proc = open_procfs()
    write(proc, "self/oom_score_adj", "500")

behind which is a new proc file system, attached nowhere, for our own pid namespace; or a copy of the mount at /proc
without what is mounted below it; or, where neither is allowed, /proc as it is. Whichever it is, the kernel says that it
is proc and that this is its root, and a file is opened below it without crossing into another mount (EXDEV) or
following one of the links that lead where no path does (ELOOP).
"""
from __future__ import annotations

import os
from errno import EINVAL, ELOOP, ENODEV, ENOENT, ENOSYS, EPERM, EXDEV

from ..errors import SetupError, SyscallError
from ..sys.files import MAGIC, close, close_all, fstat, fstatfs, openat, read_all, write_all
from ..sys.mount_api import fsconfig_create, fsconfig_string, fsmount, fsopen, open_tree
from ..sys.openat2 import RESOLVE, openat2

__all__ = ["attribute", "open_file", "open_procfs", "plain_procfs", "read", "set_attribute", "write"]

_WITHIN = int(RESOLVE.NO_XDEV | RESOLVE.NO_MAGICLINKS | RESOLVE.BENEATH)
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_SAFE = 0x2 | 0x4 | 0x8   # MOUNT_ATTR_NOSUID|NODEV|NOEXEC
_PROC, _ROOT_INODE, _CLONE = int(MAGIC.PROC), 1, 1
# Why a way is not for us: no CAP_SYS_ADMIN, a filter of system calls around us (EPERM, ENOSYS), no such file system,
# and in a user namespace a /proc that would show more than ours does (EPERM) or that has mounts locked to it (EINVAL).
_NOT_FOR_US = (EPERM, ENOSYS, ENODEV, EINVAL)


def open_procfs(*, whole: bool = False) -> int:
    """Return the root of a proc file system: of the processes alone, or of the *whole*, /proc/sys included."""
    for way in (_mounted, _cloned):
        try:
            return _verified(way(whole))
        except SyscallError as error:
            if error.errno not in _NOT_FOR_US:
                raise
    return plain_procfs()


def _mounted(whole: bool) -> int:
    opened = [fsopen("proc")]
    try:
        if not whole:
            fsconfig_string(opened[0], "subset", "pid")
        fsconfig_create(opened[0])
        opened.append(fsmount(opened[0], _SAFE))
        close(opened.pop(0))
        return opened.pop()
    finally:
        close_all(opened)


def _cloned(whole: bool) -> int:
    return open_tree(-100, "/proc", _CLONE)


def plain_procfs() -> int:
    """Return the root of what is mounted at /proc, which must be proc; SetupError when it is not."""
    try:
        return _verified(openat(-100, "/proc", _DIRECTORY))
    except SyscallError as error:
        error.hint = "a proc file system must be mounted at /proc"
        raise


def _verified(fd: int) -> int:
    try:
        if fstatfs(fd).type != _PROC or fstat(fd).st_ino != _ROOT_INODE:
            raise SetupError("what is mounted at /proc is not the root of a proc file system", filename="/proc",
                             hint="mount proc there, or find out who put something else in its place")
    except BaseException:
        close(fd)
        raise
    return fd


def open_file(proc: int, path: str, flags: int = os.O_RDONLY) -> int:
    """Open a file of *proc*, or of a process's directory in it, and nothing that is mounted over it."""
    try:
        return openat2(proc, path, flags, resolve=_WITHIN)
    except SyscallError as error:
        if error.errno in (EXDEV, ELOOP):
            error.hint = "something is mounted over it, or it is a link out of /proc"
        raise


def write(proc: int, path: str, text: str) -> None:
    """Write *text* to a file of *proc* in one write(2), as such files want it."""
    fd = open_file(proc, path, os.O_WRONLY)
    try:
        write_all(fd, text.encode())
    except SyscallError as error:
        raise SyscallError("write", error.errno or 0, path, text=text.strip().replace("\n", ", ")) from None
    finally:
        close(fd)


def read(proc: int, path: str, limit: int = 65536) -> bytes:
    """Read a file of *proc*; EFBIG when it is longer than *limit* bytes."""
    fd = open_file(proc, path)
    try:
        return read_all(fd, limit)
    finally:
        close(fd)


def set_attribute(proc: int, name: str, value: str, module: str | None = None) -> None:
    """Write an attribute of the calling thread: "exec", "keycreate" …; an empty value resets it.

    A security *module* has a directory of its own where several share a kernel; else attr/ belongs to the only one.
    """
    if module is not None:
        try:
            write(proc, f"thread-self/attr/{module}/{name}", value)
            return
        except SyscallError as error:
            if error.errno != ENOENT or error.call != "openat2":  # written, ENOENT means: no such profile
                raise
    write(proc, f"thread-self/attr/{name}", value)


def attribute(proc: int, name: str, module: str | None = None, task: str = "thread-self") -> str:
    """Read an attribute of a *task*: a pid, or the calling thread. Empty when it is not set, or when no module asks."""
    if module is not None:
        try:
            return _text(read(proc, f"{task}/attr/{module}/{name}"))
        except SyscallError as error:
            if error.errno == EINVAL:  # the kernel could have this module, and runs without it
                return ""
            if error.errno != ENOENT:
                raise
    try:
        return _text(read(proc, f"{task}/attr/{name}"))
    except SyscallError as error:
        if error.errno != EINVAL:
            raise
        return ""


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0\n").decode("utf-8", "surrogateescape")
