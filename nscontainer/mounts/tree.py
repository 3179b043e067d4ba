"""Which mounts there are, seen from a descriptor.

Lesson  A mount has a number. Paths may be covered by other mounts; a descriptor's mount is known by that number alone.
Read    proc_pid_mountinfo(5), proc_pid_fdinfo(5)

None of this is needed to make an ordinary container: it reads and parses /proc/self/mountinfo.
"""
from __future__ import annotations

import os
from errno import EACCES, ELOOP, ENOENT, ENOTDIR

from ..errors import SyscallError
from ..sys.files import close, openat, read_all
from ..sys.openat2 import RESOLVE, openat2
from ..sys.procfs import mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..sys.procfs import MountInfo

__all__ = ["below", "descendants", "holder", "mount_id", "path_of", "reached"]

_PLAIN = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS)


def mount_id(fd: int) -> int:
    """Return the number of the mount that *fd* is on."""
    info = openat(-100, f"/proc/self/fdinfo/{fd}", os.O_RDONLY)
    try:
        for line in read_all(info, 1 << 16).split(b"\n"):
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    finally:
        close(info)
    raise SyscallError("read", ENOENT, f"/proc/self/fdinfo/{fd}")


def path_of(fd: int) -> str:
    """Return the path the kernel knows *fd* by: good for messages and for comparing with mountinfo."""
    return os.readlink(f"/proc/self/fd/{fd}")


def holder(fd: int) -> MountInfo:
    """Return the mount that *fd* is on; ENOENT when it is attached nowhere in our mount namespace."""
    wanted = mount_id(fd)
    for mount in mountinfo():
        if mount.id == wanted:
            return mount
    raise SyscallError("mountinfo", ENOENT, path_of(fd), mount_id=wanted)


def descendants(top: int) -> list[MountInfo]:
    """Return the mounts attached below the mount *top*, directly or not, parents before children."""
    children: dict[int, list[MountInfo]] = {}
    for mount in mountinfo():
        children.setdefault(mount.parent, []).append(mount)
    found = children.pop(top, [])
    for mount in found:  # grows while we go
        found += children.pop(mount.id, [])
    return found


def below(directory: int) -> list[tuple[str, MountInfo]]:
    """Return the mounts below a directory, each with its path from there, parents before children; covered ones too."""
    path = path_of(directory).rstrip("/") + "/"
    return [(mount.mount_point[len(path):], mount) for mount in descendants(mount_id(directory))
            if mount.mount_point.startswith(path)]


def reached(directory: int, name: str, wanted: int) -> int:
    """Open the mount number *wanted* by its path below *directory*; -1 when that path leads elsewhere or nowhere."""
    try:
        fd = openat2(directory, name, os.O_PATH, resolve=_PLAIN)
    except SyscallError as error:
        # Covered by another mount, its mount point removed, or in a folder that is closed to us: out of our sight.
        if error.errno not in (ENOENT, ENOTDIR, ELOOP, EACCES):
            raise
        return -1
    if mount_id(fd) == wanted:
        return fd
    close(fd)
    return -1
