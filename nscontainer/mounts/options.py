"""Mount options: "ro,nosuid,mode=755" into flags, propagation and data; flags into attributes; attributes onto a mount.

Lesson  Three kinds of options share one list: those of this mount (ro, nosuid), those of the file system (sync), and
        those that only this type of file system knows (mode=755). How a mount travels (shared, slave) is a fourth.
Read    mount(2), mount(8), mount_setattr(2), fsconfig(2); the OCI runtime specification, config.md, "Mounts"
"""
from __future__ import annotations

from errno import EINVAL, ENOSYS

from ..errors import SyscallError
from ..sys.files import ST, close, fstatfs
from ..sys.mount import MS, mount
from ..sys.mount_api import (AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR, fsconfig_flag, fsconfig_string, mount_setattr,
                             move_mount)
from .tree import below, reached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    Change = tuple[int, int, bool]

__all__ = ["PROPAGATIONS", "SEALED", "WORDS", "Options", "attach", "attributes", "changed", "configure", "parse",
           "propagate", "set_attributes"]

PROPAGATIONS: Final = int(MS.SHARED | MS.PRIVATE | MS.SLAVE | MS.UNBINDABLE)
SEALED: Final = int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC)

_REC = int(MS.REC)
_FIRST_FOUR = int(MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC)   # the same bits in MOUNT_ATTR
_OTHERS = int(MS.NOATIME | MS.NODIRATIME | MS.STRICTATIME | MS.NOSYMFOLLOW)
_NODIRATIME, _NOSYMFOLLOW = int(MS.NODIRATIME), int(MS.NOSYMFOLLOW)
_ATIME = int(MOUNT_ATTR._ATIME)
_ANY_ATIME = int(MS.NOATIME | MS.STRICTATIME | MS.RELATIME)
_HERE = AT_EMPTY_PATH             # the descriptor itself is meant
_ONTO = 0x04 | 0x40               # MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH: two descriptors, no paths

# The options of a whole file system, by the names fsconfig(2) has for them. MS_SILENT is about the kernel's log only.
_SUPERBLOCK = ((int(MS.SYNCHRONOUS), "sync"), (int(MS.DIRSYNC), "dirsync"), (int(MS.MANDLOCK), "mand"),
               (int(MS.I_VERSION), "iversion"), (int(MS.LAZYTIME), "lazytime"))
_ANY_SUPERBLOCK = sum(flag for flag, _ in _SUPERBLOCK)


# ------------------------------------------------------------------------------------------------- words into flags

def _table() -> dict[str, tuple[int, int]]:
    """Return for each word the flags that it sets and those that it clears."""
    table = {"defaults": (0, 0), "remount": (int(MS.REMOUNT), 0),
             "bind": (int(MS.BIND), 0), "rbind": (int(MS.BIND | MS.REC), 0)}
    for sets, clears, flag in (
            ("ro", "rw", MS.RDONLY), ("nosuid", "suid", MS.NOSUID), ("nodev", "dev", MS.NODEV),
            ("noexec", "exec", MS.NOEXEC), ("sync", "async", MS.SYNCHRONOUS), ("mand", "nomand", MS.MANDLOCK),
            ("dirsync", "", MS.DIRSYNC), ("noatime", "atime", MS.NOATIME), ("nodiratime", "diratime", MS.NODIRATIME),
            ("relatime", "norelatime", MS.RELATIME), ("strictatime", "nostrictatime", MS.STRICTATIME),
            ("lazytime", "nolazytime", MS.LAZYTIME), ("iversion", "noiversion", MS.I_VERSION),
            ("silent", "loud", MS.SILENT), ("nosymfollow", "symfollow", MS.NOSYMFOLLOW)):
        table[sets] = int(flag), 0
        table[clears] = 0, int(flag)
    del table[""]
    return table


def _recursive_table() -> dict[str, tuple[int, int]]:
    """Return for each recursive word what mount_setattr(2) is to set and to clear."""
    table = {}
    for sets, clears, bit in (
            ("rro", "rrw", MOUNT_ATTR.RDONLY), ("rnosuid", "rsuid", MOUNT_ATTR.NOSUID),
            ("rnodev", "rdev", MOUNT_ATTR.NODEV), ("rnoexec", "rexec", MOUNT_ATTR.NOEXEC),
            ("rnodiratime", "rdiratime", MOUNT_ATTR.NODIRATIME),
            ("rnosymfollow", "rsymfollow", MOUNT_ATTR.NOSYMFOLLOW)):
        table[sets] = int(bit), 0
        table[clears] = 0, int(bit)
    # One field of several bits, not a bit each: to set it is to clear all of it first.
    for word, bit in (("rrelatime", MOUNT_ATTR.RELATIME), ("rnoatime", MOUNT_ATTR.NOATIME),
                      ("rstrictatime", MOUNT_ATTR.STRICTATIME), ("ratime", MOUNT_ATTR.RELATIME),
                      ("rnorelatime", MOUNT_ATTR.RELATIME), ("rnostrictatime", MOUNT_ATTR.RELATIME)):
        table[word] = int(bit), _ATIME
    return table


_WORDS: Final = _table()
_RECURSIVE: Final = _recursive_table()
_TRAVELS: Final = {
    prefix + word: int(flag | recursive)
    for prefix, recursive in (("", MS(0)), ("r", MS.REC))
    for word, flag in (("private", MS.PRIVATE), ("shared", MS.SHARED), ("slave", MS.SLAVE),
                       ("unbindable", MS.UNBINDABLE))
}

# All that is not for the file system itself.
WORDS: Final = frozenset((*_WORDS, *_RECURSIVE, *_TRAVELS, "idmap", "ridmap", "tmpcopyup"))


class Options:
    """What a list of option words means, in the terms of config.Mount; *idmap* is "", "idmap" or "ridmap"."""

    def __init__(self) -> None:
        self.flags = self.cleared = self.recursive_set = self.recursive_clear = 0
        self.propagation: tuple[int, ...] = ()
        self.data = self.idmap = ""
        self.tmpcopyup = False


def parse(words: Iterable[str]) -> Options:
    """Sort the option words of an OCI mount, or of mount(8); the last of two that contradict each other counts."""
    options = Options()
    data = []
    for word in words:
        if word in _WORDS:
            sets, clears = _WORDS[word]
            options.flags = options.flags & ~clears | sets
            options.cleared = options.cleared & ~sets | clears
        elif word in _RECURSIVE:
            sets, clears = _RECURSIVE[word]
            options.recursive_set = options.recursive_set & ~clears | sets
            options.recursive_clear = options.recursive_clear & ~sets | clears
        elif word in _TRAVELS:
            options.propagation += (_TRAVELS[word],)
        elif word in ("idmap", "ridmap"):
            options.idmap = word
        elif word == "tmpcopyup":
            options.tmpcopyup = True
        elif word:
            data.append(word)
    options.data = ",".join(data)
    return options


# -------------------------------------------------------------------------------------------- flags into attributes

def attributes(flags: int) -> int:
    """Return the MOUNT_ATTR bits of MS_* flags; of several about access times the kernel's own order decides."""
    attrs = flags & _FIRST_FOUR
    if flags & _OTHERS:
        if flags & MS.STRICTATIME:
            attrs |= MOUNT_ATTR.STRICTATIME
        elif flags & MS.NOATIME:
            attrs |= MOUNT_ATTR.NOATIME
        if flags & _NODIRATIME:
            attrs |= MOUNT_ATTR.NODIRATIME
        if flags & _NOSYMFOLLOW:
            attrs |= MOUNT_ATTR.NOSYMFOLLOW
    return int(attrs)


def changed(flags: int) -> tuple[int, int]:
    """Return what mount_setattr(2) is to set and to clear so that a copied mount has *flags* as well as its own."""
    return attributes(flags), _ATIME if flags & _ANY_ATIME else 0


def configure(context: int, flags: int, data: str) -> None:
    """Give a file system that is being made (fsopen) its options: one fsconfig(2) for each.

    *data* is split at its commas: no file system has a way to write one in a value.
    """
    if flags & _ANY_SUPERBLOCK:
        for flag, name in _SUPERBLOCK:
            if flags & flag:
                fsconfig_flag(context, name)
    if data:
        for item in data.split(","):
            key, equals, value = item.partition("=")
            if equals:
                fsconfig_string(context, key, value)
            elif key:
                fsconfig_flag(context, key)


# ------------------------------------------------------------------------------------------ attributes onto a mount

def attach(mount_fd: int, to: int, *changes: Change) -> None:
    """Give a mount that is attached nowhere its attributes, then put it onto the descriptor *to*.

    A change is what mount_setattr(2) is to set, what to clear, and whether in the mounts below it too.
    """
    late: tuple[Change, ...] = ()
    for set, clear, recursive in changes:
        try:
            mount_setattr(mount_fd, "", _HERE | AT_RECURSIVE if recursive else _HERE, set=set, clear=clear)
        except SyscallError as error:
            if error.errno != ENOSYS:
                raise
            late = changes  # before Linux 5.12 only an attached mount can be changed; nobody else is in here yet
            break
    move_mount(mount_fd, "", to, "", _ONTO)
    for set, clear, recursive in late:
        _remount(mount_fd, set, clear, recursive)


def set_attributes(mount_fd: int, set: int, clear: int = 0, recursive: bool = False) -> None:
    """Change the attributes of an attached mount; what is neither set nor cleared stays.

    Setting never fails in a user namespace; clearing what a parent namespace locked is EPERM.
    """
    try:
        mount_setattr(mount_fd, "", _HERE | AT_RECURSIVE if recursive else _HERE, set=set, clear=clear)
    except SyscallError as error:
        if error.errno != ENOSYS:
            raise
        _remount(mount_fd, set, clear, recursive)


def propagate(mount_fd: int, flags: int) -> None:
    """Set how mounts travel to and from an attached mount: one of MS_SHARED, PRIVATE, SLAVE, UNBINDABLE, and MS_REC."""
    try:
        mount_setattr(mount_fd, "", _HERE | AT_RECURSIVE if flags & _REC else _HERE, propagation=flags & ~_REC)
    except SyscallError as error:
        if error.errno != ENOSYS:
            raise
        mount(None, f"/proc/self/fd/{mount_fd}", flags=flags)


# What fstatfs(2) says of a mount, as the flags of mount(2): the same bits up to NOEXEC.
_SHOWN = ((int(ST.NOATIME), int(MS.NOATIME)), (int(ST.NODIRATIME), int(MS.NODIRATIME)),
          (int(ST.RELATIME), int(MS.RELATIME)), (int(ST.NOSYMFOLLOW), int(MS.NOSYMFOLLOW)))
_ATIMES = {0: int(MS.RELATIME), int(MOUNT_ATTR.NOATIME): int(MS.NOATIME),
           int(MOUNT_ATTR.STRICTATIME): int(MS.STRICTATIME)}
_BITS = ((int(MOUNT_ATTR.NODIRATIME), _NODIRATIME), (int(MOUNT_ATTR.NOSYMFOLLOW), _NOSYMFOLLOW))


def _remount(mount_fd: int, set: int, clear: int, recursive: bool) -> None:
    """Do with mount(2) what mount_setattr does, one mount after the other: before Linux 5.12.

    A remount replaces all flags of a mount, so those it has are given again; else it would drop what the host had
    locked, or get EPERM for trying (user namespaces).
    """
    _remount_one(mount_fd, set, clear)
    if not recursive:
        return
    for name, one in below(mount_fd):
        fd = reached(mount_fd, name, one.id)
        if fd >= 0:  # else another mount covers it
            _remount_one(fd, set, clear)
            close(fd)


def _remount_one(mount_fd: int, set: int, clear: int) -> None:
    has = fstatfs(mount_fd).flags
    flags = has & _FIRST_FOUR & ~clear | set & _FIRST_FOUR
    for shown, flag in _SHOWN:
        if has & shown:
            flags |= flag
    for bit, flag in _BITS:
        flags = flags & ~flag if clear & bit else flags
        flags = flags | flag if set & bit else flags
    if clear & _ATIME:
        flags = flags & ~_ANY_ATIME | _ATIMES[set & _ATIME]
    elif not has & (ST.NOATIME | ST.RELATIME):
        flags |= MS.STRICTATIME  # neither is shown: that is what it means
    try:
        mount(None, f"/proc/self/fd/{mount_fd}", flags=MS.BIND | MS.REMOUNT | flags)
    except SyscallError as error:
        if error.errno == EINVAL:
            error.hint = "before Linux 5.12 attributes can only be given to the root of a mount"
        raise
