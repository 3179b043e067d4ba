"""Bind mounts: a part of the host's tree, seen at a place of the container too.

Lesson  A bind mount is a second view of a directory or file, with attributes of its own: read-only here, writable
        there.
Read    mount(2) on MS_BIND, open_tree(2), move_mount(2), mount_setattr(2), user_namespaces(7)
Needs   CAP_SYS_ADMIN; mount_setattr(2) is Linux 5.12, before that see options.py

The source is looked up once, by the call that copies it (CVE-2017-1002101 looked twice). The copy gets its attributes
while nobody can see it. They come on top of those it has from the source: what the host made nosuid stays nosuid, in a
user namespace because the kernel insists, elsewhere because nobody asked for less. ``clear_flags`` and
``recursive_clear`` ask.
"""
from __future__ import annotations

import os
from errno import EINVAL, EISDIR, ENOENT, EPERM

from ..errors import SetupError, SyscallError
from ..sys.files import MAGIC, close, fstatfs
from ..sys.mount import MS
from ..sys.mount_api import (AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR, fsconfig_flag, fsconfig_reconfigure, fspick,
                             mount_setattr, open_tree)
from .options import SEALED, attach, attributes, changed, configure, set_attributes
from .resolve import DIRECTORY, FILE, destination, existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config import Mount
    from .options import Change

__all__ = ["bind", "copy", "remount"]

_CLONE = 1                        # OPEN_TREE_CLONE
_FSPICK_EMPTY_PATH = 8
_REC, _RDONLY = int(MS.REC), int(MS.RDONLY)
_NO_ATTRIBUTES = int(MS.BIND | MS.REC | MS.SILENT)
_IDMAP, _ATIME = int(MOUNT_ATTR.IDMAP), int(MOUNT_ATTR._ATIME)
_PROC = int(MAGIC.PROC)


def copy(fd: int, recursive: bool = False) -> int:
    """Return a copy of the mount at a descriptor's directory or file, attached nowhere yet."""
    return open_tree(fd, "", _CLONE | AT_EMPTY_PATH | AT_RECURSIVE if recursive else _CLONE | AT_EMPTY_PATH)


def bind(root_fd: int, mount: Mount, userns_fd: int | None = None) -> int:
    """Attach a copy of the source, with all below it if MS_REC is among the flags; return its descriptor.

    With a *userns_fd* files show the owners that the map of that user namespace gives them: an id-mapped mount. That
    takes CAP_SYS_ADMIN over the file system, which nobody has in a user namespace of their own.
    """
    tree = _source(mount)
    if userns_fd is not None:
        recursive = mount.recursive_set & _IDMAP
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE if recursive else AT_EMPTY_PATH, set=_IDMAP,
                      userns_fd=userns_fd)
    kind = DIRECTORY if os.fstat(tree).st_mode & 0o170000 == DIRECTORY else FILE
    if mount.destination.rstrip("/") == "/proc" and fstatfs(tree).type != _PROC:
        raise SetupError(f"{mount.source!r} is not a proc file system", errno=EINVAL, filename=mount.source,
                         hint="nothing else can be mounted on /proc")
    to = destination(root_fd, mount.destination, kind)
    if kind == FILE and os.fstat(to).st_mode & 0o170000 == DIRECTORY:
        raise SyscallError("move_mount", EISDIR, mount.destination, source=mount.source)  # the kernel says EINVAL only
    attach(tree, to, *_changes(mount))
    close(to)
    return tree


def _source(mount: Mount) -> int:
    recursive = mount.flags & _REC
    try:
        return open_tree(-100, mount.source, _CLONE | AT_RECURSIVE if recursive else _CLONE)
    except SyscallError as error:
        if error.errno == ENOENT:
            error.hint = "the source of a bind mount must exist on the host"
        elif error.errno == EINVAL and not recursive:
            error.hint = "if something is mounted below it, a user namespace takes all or nothing: add MS_REC (rbind)"
        raise


def _changes(mount: Mount) -> list[Change]:
    changes = []
    below = mount.recursive_set & ~_IDMAP
    if below or mount.recursive_clear:
        changes.append((below, mount.recursive_clear, True))
    if mount.flags & ~_NO_ATTRIBUTES or mount.clear_flags:
        set, clear = changed(mount.flags)
        clear |= attributes(mount.clear_flags) & ~(set | below | _ATIME)
        if clear or set & ~below:
            changes.append((set, clear, False))
    return changes


def remount(root_fd: int, mount: Mount) -> int:
    """Change what is mounted at the destination already: MS_REMOUNT; return a descriptor of it.

    With MS_BIND the attributes of that mount become the flags; without, also the options of its file system, for
    everybody who has it mounted. What a parent namespace locked stays as it is.
    """
    fd = existing(root_fd, mount.destination)
    if not mount.flags & MS.BIND:
        context = fspick(fd, "", _FSPICK_EMPTY_PATH)
        configure(context, mount.flags, mount.data)
        fsconfig_flag(context, "ro" if mount.flags & _RDONLY else "rw")
        fsconfig_reconfigure(context)
        close(context)
    set, clear = changed(mount.flags)
    try:
        set_attributes(fd, set, clear | SEALED & ~set)
    except SyscallError as error:
        if error.errno != EPERM:
            raise
        set_attributes(fd, set, clear)
    return fd
