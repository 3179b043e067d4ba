"""Take back what a file system shows too much of: masked paths, read-only paths, a read-only root.

Lesson  What is mounted over cannot be reached by its name; a read-only mount of a writable file system stays read-only
        for whoever has only that mount.
Read    mount(2), mount_setattr(2), null(4); the OCI runtime specification, config-linux.md, "Masked Paths"
Needs   CAP_SYS_ADMIN

The container without CAP_SYS_ADMIN cannot undo any of it. A path that does not exist needs no cover; any other reason
why it cannot be opened is an error, for behind it may be what should have been hidden (CVE-2025-31133).
"""
from __future__ import annotations

import os
from errno import EINVAL, ENOENT

from ..errors import SetupError, SyscallError
from ..sys.files import close, openat
from ..sys.mount import MS
from ..sys.mount_api import MOUNT_ATTR
from .bind import copy
from .dev import is_null
from .options import SEALED, attach, set_attributes
from .resolve import existing
from .special import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["make_readonly", "mask", "readonly_root"]

_SAFE = int(MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC)
_RDONLY = int(MOUNT_ATTR.RDONLY)
_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_LOOK = os.O_PATH | os.O_NOFOLLOW


def mask(root_fd: int, paths: Iterable[str]) -> None:
    """Cover files with the host's /dev/null, and directories with one that is empty and read-only."""
    null = nothing = -1
    root = os.fstat(root_fd)
    for path in paths:
        fd, is_directory = _opened(root_fd, root, path)
        if fd < 0:
            continue
        if not is_directory:
            if null < 0:
                null = _host_null()
            cover = copy(null)
        elif nothing < 0:
            cover = nothing = _empty_directory()
        else:
            cover = copy(nothing)  # attached by now; a copy of a mount that is not is for Linux 6.15 and later
        attach(cover, fd)
        close(fd)
        if cover != nothing:
            close(cover)
    for fd in (null, nothing):
        if fd >= 0:
            close(fd)


def _opened(root_fd: int, root: os.stat_result, path: str) -> tuple[int, bool]:
    """Open what is to be covered, and say whether it is a directory; -1 when there is nothing."""
    try:
        fd = existing(root_fd, path)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return -1, False
    status = os.fstat(fd)
    if status.st_ino == root.st_ino and status.st_dev == root.st_dev:
        raise SetupError(f"{path!r} is the container's root itself", errno=EINVAL, filename=path,
                         hint="a symlink of the image leads there; what covers the root would not be in the way")
    return fd, status.st_mode & _S_IFMT == _S_IFDIR


def _host_null() -> int:
    fd = openat(-100, "/dev/null", _LOOK)
    if not is_null(os.fstat(fd)):
        raise SetupError("the host's /dev/null is not the null device, character device 1:3", errno=EINVAL,
                         filename="/dev/null", hint="nothing can be masked with it")
    return fd


def _empty_directory() -> int:
    """Make a read-only file system with room for nothing but its root; some kernels count one inode more."""
    try:
        return file_system("tmpfs", source="tmpfs", flags=_SAFE, data="nr_blocks=1,nr_inodes=1")
    except SyscallError as error:
        if error.errno != EINVAL:
            raise
    return file_system("tmpfs", source="tmpfs", flags=_SAFE, data="nr_blocks=1,nr_inodes=2")


def make_readonly(root_fd: int, paths: Iterable[str]) -> None:
    """Let nothing be written at these paths or in mounts below them, nor programs, set-id bits or devices be used."""
    root = os.fstat(root_fd)
    for path in paths:
        fd, _ = _opened(root_fd, root, path)
        if fd >= 0:
            tree = copy(fd, recursive=True)
            attach(tree, fd, (SEALED, 0, True))
            close(tree)
            close(fd)


def readonly_root(root_fd: int) -> None:
    """Make the root file system's own mount read-only; what is mounted below it keeps its own word."""
    set_attributes(root_fd, _RDONLY)
