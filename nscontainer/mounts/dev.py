"""/dev: the nodes, links and the terminal that programs take for granted.

Lesson  A device node is a name; what it opens are two numbers. Whoever may make nodes may open every device, so in a
        user namespace nobody may, and a node of the host is bound instead.
Read    mknod(2), null(4), pts(4), console(4), proc(5) on /proc/self/fd; the OCI runtime specification,
        config-linux.md, "Default Devices"
Needs   CAP_MKNOD in the initial user namespace, or else the host's own nodes

The image may have a /dev of its own, full of surprises: a link to a directory of the host, a null that is no null
(CVE-2025-31133), a console that is a link (CVE-2025-52565). All is done below the descriptor of the directory, and what
is found there is looked at before it is used.
"""
from __future__ import annotations

import os
from errno import EACCES, EEXIST, EINVAL, ELOOP, ENOENT, EPERM

from ..errors import SetupError, SyscallError
from ..sys.files import (AT_EMPTY_PATH, MAGIC, close, dup3, fchownat, fstatfs, mknodat, openat, readlinkat, symlinkat,
                         unlinkat)
from ..sys.mount import MS
from ..sys.mount_api import MOUNT_ATTR
from ..sys.openat2 import RESOLVE, openat2
from ..sys.terminal import peer, unlock
from .bind import copy
from .options import attach, set_attributes
from .resolve import existing, made, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from ..config import Config, Device, Mount

__all__ = ["LINKS", "NULL", "is_dev", "is_null", "new_terminal", "populate", "reopen_null"]

NULL: Final = os.makedev(1, 3)
LINKS: Final = (("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
                ("/proc/self/fd/2", "stderr"))
_PTMX = os.makedev(5, 2)
_TERMINAL = 136                   # UNIX98_PTY_SLAVE_MAJOR, the first of eight
_S_IFMT, _S_IFCHR, _S_IFBLK, _S_IFIFO = 0o170000, 0o020000, 0o060000, 0o010000
_S_IFLNK, _S_IFDIR, _S_ISGID = 0o120000, 0o040000, 0o2000
_KINDS = {ord("c"): _S_IFCHR, ord("u"): _S_IFCHR, ord("b"): _S_IFBLK, ord("p"): _S_IFIFO}
_LETTERS = {_S_IFCHR: "character device", _S_IFBLK: "block device", _S_IFIFO: "fifo", _S_IFLNK: "symlink",
            _S_IFDIR: "directory", 0o100000: "file", 0o140000: "socket"}
_LOOK = os.O_PATH | os.O_NOFOLLOW
_NEW_FILE = os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_BIND, _RDONLY = int(MS.BIND), int(MS.RDONLY)
_ATTR_RDONLY = int(MOUNT_ATTR.RDONLY)
_DEVPTS = int(MAGIC.DEVPTS)
_TERMINAL_FLAGS = os.O_RDWR | os.O_NOCTTY
_HERE = int(RESOLVE.NO_XDEV | RESOLVE.NO_SYMLINKS)


def populate(root_fd: int, config: Config, console_fd: int | None = None, console_path: str | None = None, *,
             terminal: bool = False) -> tuple[int, int, str] | None:
    """Make the nodes of config.devices, the usual links, and /dev/console out of a terminal's slave.

    A /dev that the config binds from the host is the host's, and nothing is made in it. *console_path* is the
    slave's path in the caller's mount namespace, of which ours is a copy. Or it is a new *terminal* of the container's
    own devpts, which is returned: see new_terminal().
    """
    made_here = None
    previous = os.umask(0)
    dev = _opened(root_fd)
    over = _mount_on_dev(config)
    if over is None or not (over.flags & _BIND or over.device == "bind"):
        _nodes(root_fd, dev, config)
        _links(dev)
    if console_fd is not None:
        _console(dev, console_fd, console_path or "")
    if terminal:
        made_here = new_terminal(existing(root_fd, "/dev/pts"))
        copied, place = copy(made_here[1]), _place(dev, "console", "/dev/console")
        attach(copied, place)
        close(copied)
        close(place)
    if over is not None and over.flags & _RDONLY and over.device == "tmpfs":
        set_attributes(dev, _ATTR_RDONLY)
    close(dev)
    os.umask(previous)
    return made_here


def _opened(root_fd: int) -> int:
    """Open /dev itself. A link could only lead where no nodes belong: into a volume, whose ptmx would be replaced."""
    try:
        return made(root_fd, "/dev", links=False)
    except SyscallError as error:
        if error.errno != ELOOP:
            raise
        raise SetupError("/dev is a symlink in the image", call=error.call, errno=ELOOP, filename="/dev",
                         hint="make it a directory") from None


def _mount_on_dev(config: Config) -> Mount | None:
    """Return the config's own mount on /dev, the last of several."""
    found = None
    for mount in config.mounts:
        if is_dev(mount):
            found = mount
    return found


def is_dev(mount: Mount) -> bool:
    """Say whether a mount is on /dev."""
    return mount.destination in ("/dev", "/dev/")


# ----------------------------------------------------------------------------------------------------------- nodes

def _nodes(root_fd: int, dev: int, config: Config) -> None:
    bound = any(namespace.type == "NEWUSER" for namespace in config.namespaces)
    inherits = os.fstat(dev).st_mode & _S_ISGID
    for device in config.devices:
        head, _, name = device.path.rpartition("/")
        if head == "/dev":
            _node(dev, name, device, bound, inherits)
        else:
            folder, name = parent(root_fd, device.path)
            _node(folder, name, device, bound, os.fstat(folder).st_mode & _S_ISGID)
            close(folder)


def _node(folder: int, name: str, device: Device, bound: bool, inherits: int) -> None:
    kind = _KINDS.get(device.type)
    if kind is None:
        raise SetupError(f"device {device.path!r}: {device.type} is no type of node", errno=EINVAL,
                         filename=device.path)
    mode = device.file_mode & 0o7777
    number = 0 if kind == _S_IFIFO else device.mkdev()
    if bound and kind != _S_IFIFO:
        _bind_node(folder, name, device.path, kind, number)
        return
    try:
        mknodat(folder, name, kind | mode, number)
    except SyscallError as error:
        if error.errno == EPERM and kind != _S_IFIFO:  # a user namespace we are in all the same, or a device cgroup
            _bind_node(folder, name, device.path, kind, number)
            return
        if error.errno != EEXIST:
            raise
    else:
        if not (device.uid or device.gid or inherits):
            return  # ours, with the mode and owner it should have: nothing to be done that somebody could divert
    # Whatever has that name now gets the owner and mode, if it is the node it should be.
    fd = _checked(folder, name, device.path, kind, number)
    status = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (device.uid, device.gid):
        fchownat(fd, "", device.uid, device.gid, AT_EMPTY_PATH)
    if status.st_mode & 0o7777 != mode:
        os.chmod(f"/proc/self/fd/{fd}", mode)  # fchmod(2) refuses O_PATH; this is the host's /proc
    close(fd)


def _checked(folder: int, name: str, path: str, kind: int, number: int) -> int:
    """Open what has that name, O_PATH, if it is the node that it should be."""
    fd = openat(folder, name, _LOOK)
    status = os.fstat(fd)
    if status.st_mode & _S_IFMT != kind or kind != _S_IFIFO and status.st_rdev != number:
        raise SetupError(f"{path!r} is a {_described(status)}, not the {_named(kind, number)} it should be",
                         errno=EEXIST, filename=path)
    return fd


def _described(status: os.stat_result) -> str:
    return _named(status.st_mode & _S_IFMT, status.st_rdev)


def _named(kind: int, number: int) -> str:
    numbers = f" {os.major(number)}:{os.minor(number)}" if kind in (_S_IFCHR, _S_IFBLK) else ""
    return _LETTERS.get(kind, "thing") + numbers


def _bind_node(folder: int, name: str, path: str, kind: int, number: int) -> None:
    """Show the host's node of the same path, after a look at whether it is the same device."""
    try:
        node = _checked(-100, path, path, kind, number)
    except SyscallError as error:
        error.hint = "in a user namespace a node is bound from the host's, which must have it at the same path"
        raise
    _show(node, folder, name, path)


def _show(node: int, folder: int, name: str, path: str) -> None:
    """Bind a single file of the host at a name in the container."""
    to = _place(folder, name, path)
    tree = copy(node)
    attach(tree, to)
    for fd in (tree, to, node):
        close(fd)


def _place(folder: int, name: str, path: str) -> int:
    """Open an empty file to mount a node on, or what is there instead unless it is a link or a directory."""
    try:
        return openat(folder, name, _NEW_FILE, 0o644)
    except SyscallError as error:
        if error.errno != EEXIST:
            raise
    fd = openat(folder, name, _LOOK)
    status = os.fstat(fd)
    if status.st_mode & _S_IFMT in (_S_IFLNK, _S_IFDIR):
        raise SetupError(f"{path!r} is a {_described(status)} in the image", errno=EEXIST, filename=path)
    return fd


# ----------------------------------------------------------------------------------------------------------- links

def _links(dev: int) -> None:
    for target, name in LINKS:
        _link(dev, name, target)
    if os.access("/proc/kcore", os.F_OK):
        _link(dev, "core", "/proc/kcore")
    if _link(dev, "ptmx", "pts/ptmx"):
        return
    # An image's own ptmx is replaced, unless it does the same: the node finds the devpts in "pts" beside it.
    fd = openat(dev, "ptmx", _LOOK)
    status = os.fstat(fd)
    kind = status.st_mode & _S_IFMT
    if not (kind == _S_IFCHR and status.st_rdev == _PTMX or kind == _S_IFLNK and readlinkat(fd, "") == "pts/ptmx"):
        unlinkat(dev, "ptmx")
        symlinkat("pts/ptmx", dev, "ptmx")
    close(fd)


def _link(dev: int, name: str, target: str) -> bool:
    """Make a link; False when the name is taken. The image may have its own ideas of these, and harms only itself."""
    try:
        symlinkat(target, dev, name)
    except SyscallError as error:
        if error.errno != EEXIST:
            raise
        return False
    return True


# --------------------------------------------------------------------------------------------------------- console

def _console(dev: int, console_fd: int, path: str) -> None:
    """Bind the slave of a pseudo-terminal on /dev/console.

    Its descriptor is of the caller's mount namespace, and a mount of there cannot be copied from here. So the path is
    opened again in our copy, and must be the very same terminal.
    """
    slave = openat(-100, path, _LOOK)
    ours, theirs = os.fstat(slave), os.fstat(console_fd)
    same = (ours.st_dev, ours.st_ino, ours.st_rdev) == (theirs.st_dev, theirs.st_ino, theirs.st_rdev)
    if not same or not _is_terminal(ours) or fstatfs(slave).type != _DEVPTS:
        raise SetupError(f"{path!r} is a {_described(ours)}, and not the terminal that was opened for the container",
                         errno=EINVAL, filename=path)
    _show(slave, dev, "console", "/dev/console")


def _is_terminal(status: os.stat_result) -> bool:
    return status.st_mode & _S_IFMT == _S_IFCHR and os.major(status.st_rdev) in range(_TERMINAL, _TERMINAL + 8)


def new_terminal(pts: int) -> tuple[int, int, str]:
    """Make a pseudo-terminal of the devpts whose directory *pts* is, and close that; return master, slave, its path.

    No path of the image is followed: ptmx is opened in that very file system, in which nothing but terminals can be.
    """
    if fstatfs(pts).type != _DEVPTS:
        raise SetupError("/dev/pts of the container is no devpts", errno=EINVAL, filename="/dev/pts",
                         hint="a terminal needs a mount of that type there")
    master = openat2(pts, "ptmx", _TERMINAL_FLAGS, resolve=_HERE)
    status = os.fstat(master)
    if status.st_rdev != _PTMX or status.st_mode & _S_IFMT != _S_IFCHR:
        raise SetupError(f"/dev/pts/ptmx is a {_described(status)} in the container", errno=EINVAL,
                         filename="/dev/pts/ptmx")
    close(pts)
    number = unlock(master)
    return master, peer(master, _TERMINAL_FLAGS | os.O_CLOEXEC), f"/dev/pts/{number}"


# ------------------------------------------------------------------------------------------------------------ null

def is_null(status: os.stat_result) -> bool:
    """Say whether it is the device that swallows everything: character device 1:3, null(4)."""
    return status.st_rdev == NULL and status.st_mode & _S_IFMT == _S_IFCHR


def reopen_null(root_fd: int, fds: Iterable[int]) -> None:
    """Replace those of *fds* that are /dev/null by the container's own, so that none of the host's files stays open.

    An image's null that is something else is an error: opened, it would be a way in (CVE-2026-88265). Without any,
    the host's stays, which has nothing in it.
    """
    nulls = [fd for fd in fds if is_null(os.fstat(fd))]
    if not nulls:
        return
    try:
        node = existing(root_fd, "/dev/null")
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return
    if not is_null(os.fstat(node)):
        raise SetupError(f"/dev/null is a {_described(os.fstat(node))} in the container", errno=EINVAL,
                         filename="/dev/null")
    try:
        opened = openat(-100, f"/proc/self/fd/{node}", os.O_RDWR)
    except SyscallError as error:
        if error.errno != EACCES:  # made by the image on a mount that opens no devices: no worse than none
            raise
    else:
        for fd in nulls:
            dup3(opened, fd)
        close(opened)
    close(node)
