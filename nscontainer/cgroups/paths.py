"""Where a process sits in which hierarchy, and where a new cgroup belongs.

Lesson  Version 1 has a tree of directories per controller, version 2 one tree for all; a hybrid host has both.
Read    cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5), cgroup_namespaces(7)
"""
from __future__ import annotations

import os
from errno import EACCES, ELOOP, ENOENT, ENOTCONN, ENOTDIR, ESTALE

from ..errors import ConfigInvalid, ContainerError, SyscallError
from ..sys.files import stat
from ..sys.procfs import cgroup_file, mountinfo
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..resources import Cgroup

__all__ = ["UNIFIED", "Hierarchy", "NotFoundError", "find_hierarchies", "is_not_found", "relative_path"]

UNIFIED = ""                 # the name of version 2 where controllers have names, as in /proc/PID/cgroup
_HOME = "/sys/fs/cgroup"


class NotFoundError(ContainerError):
    """A controller, or any at all, is not mounted on this host."""

    def __init__(self, subsystem: str, hint: str | None = None) -> None:
        super().__init__(f"mountpoint for {subsystem} not found", hint=hint)
        self.subsystem = subsystem


def is_not_found(error: BaseException | None) -> bool:
    """Say whether it is that a controller is not mounted."""
    return isinstance(error, NotFoundError)


class Hierarchy:
    """A tree of cgroups as it is mounted here, and where in it this process sits."""

    __slots__ = ("controllers", "mount_point", "own", "root")

    def __init__(self, controllers: tuple[str, ...], mount_point: str, root: str, own: str) -> None:
        self.controllers = controllers    # ("cpu", "cpuacct"), ("name=systemd",), ("",) for version 2
        self.mount_point = mount_point
        self.root = root                  # which cgroup is seen at the mount point
        self.own = own                    # ours; like root, counted from the root of our cgroup namespace

    def __repr__(self) -> str:
        return f"Hierarchy({self.controllers}, {self.mount_point!r}, root={self.root!r}, own={self.own!r})"

    def directory(self, relative: str) -> str:
        """Return the directory of a cgroup: with a leading slash counted from the mount, else from our own cgroup."""
        if relative.startswith("/"):
            return self.mount_point + relative
        above = self.own[len(self.root.rstrip("/")):] if _below(self.own, self.root) else ""
        return f"{self.mount_point}{above.rstrip('/')}/{relative}"

    def cgroup(self, directory: str) -> str:
        """Return what /proc/PID/cgroup says of a process in *directory*."""
        return self.root.rstrip("/") + directory[len(self.mount_point):]


def _below(path: str, root: str) -> bool:
    return f"{path}/".startswith(f"{root.rstrip('/')}/") and "/.." not in path


def relative_path(cgroup: Cgroup) -> str:
    """Return parent and name as one path, in its simplest form; it begins with a slash when the parent does."""
    parts = []
    for field, text in (("parent", cgroup.parent), ("name", cgroup.name)):
        for part in text.split("/"):
            if part == ".." or "\n" in part:  # the kernel takes no newline in a name
                raise ConfigInvalid(f"cgroups.{field}", f"{text!r} is not the path of a cgroup")
            if part not in ("", "."):
                parts.append(part)
    if not cgroup.name.strip("/."):
        raise ConfigInvalid("cgroups.name", f"expected the name of a cgroup, got {cgroup.name!r}")
    return ("/" if cgroup.parent.startswith("/") else "") + "/".join(parts)


def find_hierarchies() -> list[Hierarchy]:
    """Return what is mounted: version 2 alone where it is at /sys/fs/cgroup, else every tree there is."""
    lines = [line for line in files.read("/proc/self/mountinfo").split("\n") if " - cgroup" in line]
    own = cgroup_file(files.read("/proc/self/cgroup"))
    found: dict[tuple[str, ...], Hierarchy] = {}
    for mount in mountinfo("\n".join(lines)):
        if mount.fstype == "cgroup2":
            controllers: tuple[str, ...] = (UNIFIED,)
        elif mount.fstype == "cgroup":
            controllers = tuple(option for option in mount.super_options.split(",") if option in own)
        else:
            continue
        if not controllers or controllers[0] not in own or not _visible(mount.mount_point, mount.major, mount.minor):
            continue
        one = Hierarchy(controllers, mount.mount_point, mount.root, own[controllers[0]])
        if controllers == (UNIFIED,) and mount.mount_point == _HOME:
            return [one]
        # A tree may be mounted in several places; one that shows our own cgroup is the best.
        if controllers not in found or _below(one.own, one.root) > _below(one.own, found[controllers].root):
            found[controllers] = one
    if not found:
        raise NotFoundError("cgroup", hint="mount one, as in mount -t cgroup2 none /sys/fs/cgroup, "
                            "or leave cgroups out of the config")
    return list(found.values())


# Something covers the mount that has no such directory, keeps us out, or is itself out of order.
_COVERED = (ENOENT, ENOTDIR, ELOOP, EACCES, ENOTCONN, ESTALE)


def _visible(mount_point: str, major: int, minor: int) -> bool:
    """Say whether the mount is what one finds there: another one may cover it."""
    try:
        return stat(mount_point).st_dev == os.makedev(major, minor)
    except SyscallError as error:
        if error.errno not in _COVERED:
            raise
        return False
