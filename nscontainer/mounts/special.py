"""File systems that the kernel makes up: proc, sysfs, tmpfs, mqueue, devpts, and any other by its name.

Lesson  proc shows the pid namespace of whoever mounts it, sysfs the network namespace, mqueue the ipc namespace.
Read    fsopen(2), fsconfig(2), fsmount(2), proc(5), sysfs(5), tmpfs(5), mq_overview(7), pts(4)
Needs   CAP_SYS_ADMIN over the namespace that is shown; Linux 5.2

A user namespace gets a proc or sysfs only if it sees one already that is as full: what was hidden from it stays hidden.
"""
from __future__ import annotations

import os
from errno import EINVAL, ENOENT, EPERM

from ..errors import SyscallError
from ..sys.files import close
from ..sys.mount import MS
from ..sys.mount_api import fsconfig_create, fsconfig_string, fsmount, fsopen
from ..sys.xattr import lsetxattr
from .copyup import copy_up
from .options import attach, attributes, configure
from .resolve import destination, existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config import Config, Mount

__all__ = ["file_system", "mqueue", "other", "plain", "tmpfs"]

_RDONLY = int(MS.RDONLY)


def file_system(fstype: str, *, source: str = "", flags: int = 0, data: str = "", label: str = "") -> int:
    """Make a file system, mounted nowhere yet; return the descriptor of its mount.

    *flags* are those of mount(2), *data* are options of this type, *label* is the SELinux context of all its files.
    What the file system has to say about a wrong option is in the error.
    """
    context = fsopen(fstype)
    if source:
        fsconfig_string(context, "source", source)
    if data or flags > 0xF:
        configure(context, flags, data)
    if label:
        fsconfig_string(context, "context", label)
    fsconfig_create(context)
    fd = fsmount(context, attributes(flags))
    close(context)
    return fd


def plain(root_fd: int, mount: Mount, config: Config) -> int:
    """Mount proc or sysfs: on a directory of the image, no symlink on the way (CVE-2019-19921), without a label."""
    try:
        fd = file_system(mount.device, source=mount.source, flags=mount.flags, data=mount.data)
    except SyscallError as error:
        if error.errno == EPERM:
            kind, path = ("pid", "/proc") if mount.device == "proc" else ("network", "/sys")
            error.hint = (f"a user namespace gets it with a {kind} namespace of its own, "
                          f"and only where no part of the host's {path} is hidden")
        raise
    return _attached(fd, destination(root_fd, mount.destination, links=False))


def tmpfs(root_fd: int, mount: Mount, config: Config) -> int:
    """Mount an empty file system in memory. Without mode= it has the permissions of the directory it covers, if any.

    It is writable at first, whatever the flags say: later mounts may need a place in it. rootfs.py seals it.
    """
    data = mount.data
    says = data.startswith("mode=") or ",mode=" in data
    covers = not says and _is_there(root_fd, mount.destination)
    to = destination(root_fd, mount.destination)
    if covers:
        mode = f"mode={os.fstat(to).st_mode & 0o7777:o}"
        data = f"{mode},{data}" if data else mode
    fd = file_system("tmpfs", source=mount.source, flags=mount.flags & ~_RDONLY, data=data, label=config.mount_label)
    if mount.copy_up:
        copy_up(to, fd)
    return _attached(fd, to)


def _is_there(root_fd: int, path: str) -> bool:
    try:
        close(existing(root_fd, path))
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return False
    return True


def mqueue(root_fd: int, mount: Mount, config: Config) -> int:
    """Mount the message queues. Kernels that know no label for them take one as an attribute of the directory."""
    label = config.mount_label
    try:
        fd = file_system("mqueue", source=mount.source, flags=mount.flags, data=mount.data, label=label)
    except SyscallError as error:
        if not label or error.errno != EINVAL:
            raise
        fd = file_system("mqueue", source=mount.source, flags=mount.flags, data=mount.data)
        lsetxattr(f"/proc/self/fd/{fd}/.", "security.selinux", label.encode())
    return _attached(fd, destination(root_fd, mount.destination))


def other(root_fd: int, mount: Mount, config: Config) -> int:
    """Mount a file system of any other type. MS_RDONLY is for its superblock too: a disk is not to be written."""
    flags, data = mount.flags, mount.data
    if flags & _RDONLY:
        data = f"ro,{data}" if data else "ro"
    try:
        fd = file_system(mount.device, source=mount.source, flags=flags, data=data, label=config.mount_label)
    except SyscallError as error:
        if error.errno == EINVAL and ("gid=" in data or "uid=" in data):
            error.hint = "an owner must have a number in the container's user namespace"
        raise
    return _attached(fd, destination(root_fd, mount.destination))


def _attached(fd: int, to: int) -> int:
    attach(fd, to)
    close(to)
    return fd
