"""The order of it all: open the root file system, mount what belongs into it.

Lesson  What is mounted is an ordered list; each mount may cover, or make a place for, what comes after it.
Read    mount_namespaces(7) on propagation, mount(2), open_tree(2), move_mount(2)
Needs   CAP_SYS_ADMIN in a mount namespace of our own

init.py calls open_root, mount_all, dev.populate, then restrict.make_readonly, restrict.mask and restrict.readonly_root,
and at last pivot.enter. After it nothing is mounted any more.
"""
from __future__ import annotations

import os
from errno import EINVAL, ELOOP, ENOENT, ENOTDIR

from ..errors import SetupError, SyscallError
from ..sys.files import close
from ..sys.mount import MS, mount
from ..sys.mount_api import MOUNT_ATTR
from ..sys.openat2 import RESOLVE, openat2
from . import cgroupfs, overlay, special
from .bind import bind, copy, remount
from .dev import is_dev
from .options import attach, propagate, set_attributes
from .tree import holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from ..config import Command, Config, Mount

    Mounter = Callable[[int, Mount, Config], int]

__all__ = ["MOUNTERS", "mount_all", "open_root"]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_PLAIN = int(RESOLVE.NO_SYMLINKS)
_BIND, _REMOUNT, _RDONLY = int(MS.BIND), int(MS.REMOUNT), int(MS.RDONLY)
_SLAVES, _PRIVATE, _REC = int(MS.SLAVE | MS.REC), int(MS.PRIVATE), int(MS.REC)
_NOT_SHARED = int(MS.SLAVE | MS.PRIVATE | MS.UNBINDABLE)
_ATTR_RDONLY = int(MOUNT_ATTR.RDONLY)

# How to mount what config.Mount.device names; whatever is not here, by the name of the file system.
MOUNTERS: Final[dict[str, Mounter]] = {
    "proc": special.plain,
    "sysfs": special.plain,
    "tmpfs": special.tmpfs,
    "mqueue": special.mqueue,
    "cgroup": cgroupfs.cgroup,
    "cgroup2": cgroupfs.cgroup2,
}


def open_root(config: Config) -> int:
    """Keep our mounts from the host, and make config.rootfs a tree of its own, attached over itself.

    Returns the descriptor of its top: the container's future root. pivot_root(2) wants a mount, and one whose parent
    is not shared.
    """
    propagation = config.root_propagation or _SLAVES
    mount(None, "/", flags=propagation)
    rootfs = _opened(config.rootfs)
    if not (propagation & _REC and propagation & _NOT_SHARED):
        _make_private(rootfs)
    if config.ephemeral:
        tree = overlay.attach_view(rootfs, config.rootfs)
    else:
        tree = copy(rootfs, recursive=True)
        attach(tree, rootfs)
    close(rootfs)
    return tree


def _opened(path: str) -> int:
    try:
        return openat2(-100, path, _DIRECTORY, resolve=_PLAIN)
    except SyscallError as error:
        problem = {ENOENT: "does not exist", ENOTDIR: "is not a directory",
                   ELOOP: "is reached through a symlink, which could be turned aside"}.get(error.errno or 0)
        if problem is None:
            raise
        raise SetupError(f"the root file system {path!r} {problem}", call="openat2", errno=error.errno, filename=path,
                         hint="realpath(1) tells the name without symlinks" if error.errno == ELOOP else None) from None


def _make_private(rootfs: int) -> None:
    """Keep what is mounted over the rootfs from those who share the mount it is on."""
    parent = holder(rootfs)
    if any(word.startswith("shared:") for word in parent.optional):
        mount(None, parent.mount_point, flags=_PRIVATE)


def mount_all(root_fd: int, config: Config, run_command: Callable[[Command], object],
              userns_fds: Mapping[int, int] | None = None) -> None:
    """Make config.mounts in their order.

    *run_command* runs one of premount_cmds and postmount_cmds on the host's side. *userns_fds* has, by the index of an
    id-mapped mount, the user namespace with its map.
    """
    to_seal = []
    previous = os.umask(0o022)  # directories and files that are made for a mount are everybody's to see
    for index, one in enumerate(config.mounts):
        for command in one.premount_cmds:
            run_command(command)
        try:
            fd = _mount(root_fd, one, config, (userns_fds or {}).get(index))
            for flags in one.propagation_flags:
                propagate(fd, flags)
        except SyscallError as error:
            error.message = f"mount {one.device or 'something'} on {one.destination!r}: {error.message}"
            raise
        if one.device == "tmpfs" and one.flags & _RDONLY and not (config.devices and is_dev(one)):
            to_seal.append(fd)
        else:
            close(fd)
        for command in one.postmount_cmds:
            run_command(command)
    for fd in to_seal:  # a later mount may have needed a place in it; /dev is sealed by dev.py
        set_attributes(fd, _ATTR_RDONLY)
        close(fd)
    os.umask(previous)


def _mount(root_fd: int, one: Mount, config: Config, userns_fd: int | None) -> int:
    """Make one mount, and return its descriptor."""
    if one.flags & _REMOUNT:
        return remount(root_fd, one)
    if one.device == "bind" or one.flags & _BIND:
        return bind(root_fd, one, userns_fd)
    if userns_fd is not None:
        raise SetupError(f"mount on {one.destination!r}: only a bind mount can be id-mapped", errno=EINVAL,
                         filename=one.destination)
    return MOUNTERS.get(one.device, special.other)(root_fd, one, config)
