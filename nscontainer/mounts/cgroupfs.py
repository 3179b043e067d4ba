"""/sys/fs/cgroup as the container sees it.

Lesson  cgroup v1 is a hierarchy per controller, v2 one for all; a cgroup namespace makes one's own group look like /.
Read    cgroups(7), cgroup_namespaces(7), the kernel's admin-guide/cgroup-v2.rst
Needs   CAP_SYS_ADMIN; for a fresh mount over the cgroup namespace too

    cgroup v1      a tmpfs, in it each hierarchy under the name it has on the host: the container's own group as the
                   top, and links for the names that share one (cpu -> cpu,cpuacct); v2 beside them where the host
                   has both
    cgroup v2      with a cgroup namespace of its own: a fresh mount, whose top is the container's group
                   without: a copy of the host's, for /proc/self/cgroup then tells the host's paths. A fresh mount
                   would take the options of the host's own (nsdelegate) away.
"""
from __future__ import annotations

import os
from errno import EBUSY, EEXIST, ENODEV, EPERM

from ..errors import SetupError, SyscallError
from ..sys.files import close, mkdirat, openat, read_all, symlinkat
from ..sys.mount import MS
from ..sys.mount_api import AT_RECURSIVE, open_tree
from ..sys.procfs import cgroup_file, mountinfo
from .options import attach, changed, set_attributes
from .resolve import destination
from .special import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config import Config, Mount
    from ..sys.procfs import MountInfo

__all__ = ["cgroup", "cgroup2"]

_TREE = 1 | AT_RECURSIVE          # OPEN_TREE_CLONE
_RDONLY = int(MS.RDONLY)
_SAFE = int(MS.NOEXEC | MS.NOSUID | MS.NODEV)
_INSIDE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


def cgroup(root_fd: int, mount: Mount, config: Config) -> int:
    """Mount the cgroups as the host has them: v1, v2 or both; return the descriptor of the top mount."""
    seen = mountinfo()
    if not any(one.fstype == "cgroup" for one in seen):
        return cgroup2(root_fd, mount, config)
    to = destination(root_fd, mount.destination)
    top = file_system("tmpfs", source="cgroup", flags=_SAFE, data="mode=755")
    attach(top, to)
    close(to)
    own = _own_paths()
    for name, hierarchy in _hierarchies(seen).items():
        tree = _hierarchy(hierarchy, own, config, mount.flags)
        if tree < 0:
            continue
        mkdirat(top, name, 0o755)
        to = openat(top, name, _INSIDE)
        attach(tree, to, (*changed(mount.flags), False))
        close(to)
        close(tree)
        for alias in name.split(",") if "," in name else ():
            _link(top, alias, name)
    if mount.flags & _RDONLY:
        set_attributes(top, _RDONLY)
    return top


def cgroup2(root_fd: int, mount: Mount, config: Config) -> int:
    """Mount the one hierarchy of cgroup v2; return the mount's descriptor."""
    to = destination(root_fd, mount.destination)
    fd = -1
    if _has_namespace(config):
        try:
            fd = file_system("cgroup2", source=mount.source, flags=mount.flags, data=mount.data)
        except SyscallError as error:
            if error.errno not in (EPERM, EBUSY):  # the cgroup namespace is not ours but joined
                raise
    if fd >= 0:
        attach(fd, to)
    else:
        fd = _copy_of_host(mount, _has_namespace(config))
        attach(fd, to, (*changed(mount.flags), False))
    close(to)
    return fd


def _has_namespace(config: Config) -> bool:
    return any(namespace.type == "NEWCGROUP" for namespace in config.namespaces)


def _copy_of_host(mount: Mount, namespace: bool) -> int:
    for one in mountinfo():
        # Seen from a cgroup namespace, a mount that shows more than what is below its top has a root like "/../..".
        if one.fstype == "cgroup2" and (not namespace or one.root == "/"):
            return open_tree(-100, one.mount_point, _TREE)
    raise SetupError(f"mount on {mount.destination!r}: this host has no cgroup file system mounted", errno=ENODEV,
                     filename=mount.destination, hint="with a cgroup namespace of its own the container can have one")


def _hierarchies(seen: list[MountInfo]) -> dict[str, MountInfo]:
    """Return the host's hierarchies by the names of their directories, each once."""
    found: dict[str, MountInfo] = {}
    for one in seen:
        name = os.path.basename(one.mount_point)
        if one.fstype in ("cgroup", "cgroup2") and name not in found:
            found[name] = one
    return found


def _own_paths() -> dict[str, str]:
    fd = openat(-100, "/proc/self/cgroup", os.O_RDONLY)
    text = read_all(fd, 1 << 20).decode(errors="surrogateescape")
    close(fd)
    return cgroup_file(text)


def _hierarchy(one: MountInfo, own: dict[str, str], config: Config, flags: int) -> int:
    """Return a mount of our own group in one hierarchy, attached nowhere yet; -1 when we are not in it."""
    controllers = [""] if one.fstype == "cgroup2" else [word for word in one.super_options.split(",") if word in own]
    if not controllers or controllers[0] not in own:
        return -1
    if _has_namespace(config):
        data = ",".join(f"none,{word}" if "=" in word else word for word in controllers)
        try:
            return file_system(one.fstype, source="cgroup", flags=flags, data=data)
        except SyscallError as error:
            if error.errno not in (EPERM, EBUSY):
                raise
    root = one.root.rstrip("/")
    path = own[controllers[0]]
    if path != root and not path.startswith(root + "/"):
        return -1  # mounted from a group that ours is not below: nothing of ours is to be seen there
    return open_tree(-100, one.mount_point + path[len(root):], _TREE)


def _link(top: int, alias: str, name: str) -> None:
    try:
        symlinkat(name, top, alias)
    except SyscallError as error:
        if error.errno != EEXIST:  # a hierarchy of its own has that name
            raise
