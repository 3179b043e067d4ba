"""Device nodes: what a container's /dev holds, what a host's node is, and the cgroup rule for it.

Lesson  A device node is a name for two numbers: major says which driver, minor which of its devices.
Read    mknod(2), makedev(3), null(4), the kernel's admin-guide/devices.txt and cgroup-v1/devices.rst
"""
from __future__ import annotations

import os

from .errors import ContainerError
from .records import Record, integer, pathname, text, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

__all__ = [
    "DEFAULT_ALLOWED_DEVICES", "DEFAULT_AUTO_CREATED_DEVICES", "DEFAULT_SIMPLE_DEVICES", "WILDCARD", "Device",
    "NotADevice", "device_from_path", "host_devices", "major", "minor",
]

WILDCARD: Final = -1        # any major or minor number, in a cgroup rule
_S_IFMT, _S_IFCHR, _S_IFBLK = 0o170000, 0o020000, 0o060000


class NotADevice(ContainerError):
    """The path names something that is neither a character nor a block device."""


class Device(Record):
    """A node to create, and a rule for the devices cgroup."""

    type: int = integer(0, 127)          # ord() of the letter: 99 c, 98 b; mknod(1) also knows 117 u (= c), 112 p
    path: str = pathname()
    major: int = integer(-1, 0xFFFFFFFF)
    minor: int = integer(-1, 0xFFFFFFFF)
    permissions: str = text()            # of r, w and m (mknod), for the cgroup
    file_mode: int = unsigned(32)        # permission bits, with or without S_IFCHR, S_IFBLK
    uid: int = unsigned(32)
    gid: int = unsigned(32)

    def cgroup_string(self) -> str:
        """Return the rule as devices.allow and devices.deny take it: ``c 1:3 rwm``."""
        return f"{chr(self.type)} {_star(self.major)}:{_star(self.minor)} {self.permissions}"

    def mkdev(self) -> int:
        """Return the device number for mknod(2): 12 bits of major between 8 + 12 bits of minor."""
        return self.major << 8 | self.minor & 0xFF | (self.minor & 0xFFF00) << 12


def _star(number: int) -> str:
    return "*" if number == WILDCARD else str(number)


def major(number: int) -> int:
    """Return the major half of a device number."""
    return number >> 8 & 0xFFF


def minor(number: int) -> int:
    """Return the minor half of a device number."""
    return number & 0xFF | number >> 12 & 0xFFF00


def device_from_path(path: str | os.PathLike[str], permissions: str) -> Device:
    """Describe the host's node at *path*, which may not be a symlink; OSError when it cannot be looked at."""
    name = os.fspath(path)
    status = os.lstat(name)
    kind = status.st_mode & _S_IFMT
    if kind not in (_S_IFCHR, _S_IFBLK):
        raise NotADevice(f"{name!r} is not a device node")
    return Device(type=ord("c" if kind == _S_IFCHR else "b"), path=name, major=major(status.st_rdev),
                  minor=minor(status.st_rdev), permissions=permissions, file_mode=kind | status.st_mode & 0o777,
                  uid=status.st_uid, gid=status.st_gid)


def host_devices(directory: str | os.PathLike[str] = "/dev") -> list[Device]:
    """Describe every node below *directory*, in the order of names; OSError when a folder cannot be read.

    Terminals, shared memory, message queues and the console are not devices of the host but of a session or of a
    container, and stay out.
    """
    return list(_walk(os.fspath(directory)))


def _walk(directory: str) -> Iterator[Device]:
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        kind = os.lstat(path).st_mode & _S_IFMT
        if kind == 0o040000:
            if name not in ("pts", "shm", "fd", "mqueue"):
                yield from _walk(path)
        elif kind in (_S_IFCHR, _S_IFBLK) and name != "console":
            yield device_from_path(path, "rwm")


def _node(path: str, major: int, minor: int, file_mode: int = 0o666) -> Device:
    return Device(type=99, path=path, major=major, minor=minor, permissions="rwm", file_mode=file_mode)


# Created and allowed in every container; admin-guide/devices.txt gives the numbers.
DEFAULT_SIMPLE_DEVICES: Final = (
    _node("/dev/null", 1, 3),
    _node("/dev/zero", 1, 5),
    _node("/dev/full", 1, 7),
    _node("/dev/tty", 5, 0),
    _node("/dev/urandom", 1, 9),
    _node("/dev/random", 1, 8),
)

DEFAULT_ALLOWED_DEVICES: Final = (
    Device(type=99, major=WILDCARD, minor=WILDCARD, permissions="m"),   # making a node opens nothing
    Device(type=98, major=WILDCARD, minor=WILDCARD, permissions="m"),
    _node("/dev/console", 5, 1, 0),
    _node("/dev/tty0", 4, 0, 0),
    _node("/dev/tty1", 4, 1, 0),
    _node("", 136, WILDCARD, 0),         # every terminal of devpts
    _node("", 5, 2, 0),                  # ptmx, which makes them
    _node("", 10, 200, 0),               # tun
    *DEFAULT_SIMPLE_DEVICES,
)

DEFAULT_AUTO_CREATED_DEVICES: Final = (
    _node("/dev/fuse", 10, 229, 0),      # created for those who may then allow it; mode 0: nobody but root
    *DEFAULT_SIMPLE_DEVICES,
)
