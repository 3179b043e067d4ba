"""Enter the root file system: from here on the host's files are out of reach.

Lesson  chroot(2) changes where a process begins to look; pivot_root(2) changes what there is to find.
Read    pivot_root(2), chroot(2), mount_namespaces(7), umount2(2)
Needs   CAP_SYS_ADMIN; a root that is a mount, whose parent is not shared (rootfs.py sees to both)

``pivot_root(".", ".")`` puts the old root on top of the new one, where it is taken off at once: no directory is needed
to put it in, so the root file system may be read-only, and config.pivot_dir has nothing to do.
"""
from __future__ import annotations

import os
from errno import EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM

from ..errors import SyscallError
from ..sys.files import chdir, chroot, close, fchdir, openat
from ..sys.mount import MNT, MS, mount, pivot_root, umount2
from ..sys.mount_api import move_mount
from ..sys.procfs import mountinfo
from .tree import descendants, mount_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config import Config

__all__ = ["enter"]

_DETACH = int(MNT.DETACH)
_SHARED, _UNBINDABLE = int(MS.SHARED), int(MS.UNBINDABLE)
_SLAVE, _SLAVES = int(MS.SLAVE), int(MS.SLAVE | MS.REC)
_SAFE_ALREADY = (0, _SLAVES, int(MS.PRIVATE | MS.REC), int(MS.UNBINDABLE | MS.REC))
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_F_EMPTY_PATH = 4                 # MOVE_MOUNT_F_EMPTY_PATH


def enter(root_fd: int, config: Config) -> None:
    """Make the tree behind *root_fd* the root, and the working directory."""
    fchdir(root_fd)
    if config.no_pivot_root:
        _move(root_fd)
    else:
        _pivot(config)
    chdir("/")
    if config.root_propagation & (_SHARED | _UNBINDABLE):
        # Not earlier: pivot_root refuses a root that is shared. Slave and private it is by birth.
        mount(None, "/", flags=config.root_propagation)


def _pivot(config: Config) -> None:
    if config.root_propagation in _SAFE_ALREADY:
        pivot_root(".", ".")
    else:
        # Unmounting what others share with us would unmount it for them. The old root is known by a descriptor:
        # after the call "." is the new root to mount(2), and what lies on top of it to umount2(2).
        old = openat(-100, "/", _DIRECTORY)
        pivot_root(".", ".")
        fchdir(old)
        mount(None, ".", flags=_SLAVES)
        close(old)
    umount2(".", _DETACH)
    if config.ephemeral:
        # A view of / itself is attached over memory that is attached over /: that came off first, and the old root is
        # still on top, in reach by every "..". Overlays and tmpfs are file systems of their own, so stat can tell.
        while not os.path.samestat(os.stat("/.."), os.stat("/")):
            umount2(".", _DETACH)


# --------------------------------------------------------------------------------- without pivot_root: on a ramfs

def _move(root_fd: int) -> None:
    """Move the tree onto / and chroot into it; the host's tree stays in the namespace, below ours.

    Whoever gets out of a chroot is there. So the full views of the kernel it has, proc and sysfs, are taken away
    first; in a user namespace that is also what lets the container have a new one only as full as it should be.
    """
    top = mount_id(root_fd)
    ours = {top, *(mount.id for mount in descendants(top))}
    theirs = [mount for mount in mountinfo() if mount.id not in ours]
    for other in theirs:
        if any(word.startswith("shared:") for word in other.optional):
            _leave_group(other.mount_point)
    for other in reversed(theirs):  # of two on the same place the later is on top
        if other.fstype in ("proc", "sysfs") and other.root == "/":
            _take_away(other.mount_point)
    try:
        move_mount(root_fd, "", -100, "/", _F_EMPTY_PATH)
    except SyscallError as error:
        if error.errno != ELOOP:  # a rootfs that is / lies on top of it already, and cannot be put on itself
            raise
    chroot(".")


def _leave_group(path: str) -> None:
    """Let what happens to a mount here happen here only."""
    try:
        mount(None, path, flags=_SLAVE)
    except SyscallError as error:
        if error.errno not in (*_OUT_OF_SIGHT, EINVAL):  # EINVAL: what the path leads to is no mount
            raise


def _take_away(path: str) -> None:
    try:
        umount2(path, _DETACH)
        return
    except SyscallError as error:
        if error.errno in _OUT_OF_SIGHT:
            return
        if error.errno not in (EINVAL, EPERM):  # locked by the user namespace it came from
            raise
    mount("tmpfs", path, "tmpfs", _COVER, "nr_blocks=1,nr_inodes=2")


# It lies below another mount, or went away with the one that it was on.
_OUT_OF_SIGHT = (ENOENT, ENOTDIR)
_COVER = MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC
