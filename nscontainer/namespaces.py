"""Namespaces: which to make, which to join, in which order, and what a refusal means.

Lesson  Whoever joins a user namespace has every power in what that one owns, and no longer any outside.
Read    namespaces(7), setns(2), user_namespaces(7), pid_namespaces(7), time_namespaces(7), ioctl_ns(2)

So, of the namespaces that are joined, those the joined user namespace owns come after it, and all others before it.
Two kinds wait for somebody else: a pid namespace takes in the joiner's children only, and a cgroup namespace shows as
its root the cgroup its maker sits in, so the new process makes its own once it is where it belongs.
"""
from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EINVAL, ENOENT, ENOMEM, ENOSPC, ENOTDIR, EPERM, ESRCH, EUSERS

from .errors import ConfigInvalid, SyscallError
from .sys.clone import CLONE, setns, unshare
from .sys.files import AT_FDCWD, MAGIC, close, close_all, fstat, fstatfs, listdir, openat, read_all, stat, write_all
from .sys.nsfs import get_nstype, get_parent, get_userns
from .sys.procfs import process_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config

__all__ = ["MASKS", "NS_TYPES", "Plan", "explain_clone_failure", "join", "make_time_namespace", "mask_to_enter",
           "members", "paths"]

# kind → the file in /proc/PID/ns, the flag of clone(2), the sysctl that limits their number, what people call it
NS_TYPES = {
    "NEWNET": ("net", int(CLONE.NEWNET), "max_net_namespaces", "network"),
    "NEWPID": ("pid", int(CLONE.NEWPID), "max_pid_namespaces", "pid"),
    "NEWNS": ("mnt", int(CLONE.NEWNS), "max_mnt_namespaces", "mount"),
    "NEWUTS": ("uts", int(CLONE.NEWUTS), "max_uts_namespaces", "UTS"),
    "NEWIPC": ("ipc", int(CLONE.NEWIPC), "max_ipc_namespaces", "IPC"),
    "NEWUSER": ("user", int(CLONE.NEWUSER), "max_user_namespaces", "user"),
    "NEWCGROUP": ("cgroup", int(CLONE.NEWCGROUP), "max_cgroup_namespaces", "cgroup"),
    "NEWTIME": ("time", int(CLONE.NEWTIME), "max_time_namespaces", "time"),
}
MASKS = {kind: flag for kind, (_, flag, _, _) in NS_TYPES.items()}
_WORDS = {flag: word for _, flag, _, word in NS_TYPES.values()}
_NEWUSER, _NEWPID, _NEWNS, _NEWCGROUP = MASKS["NEWUSER"], MASKS["NEWPID"], MASKS["NEWNS"], MASKS["NEWCGROUP"]


class Plan:
    """How a container's first process gets its namespaces. Holds descriptors of those to join: close() it."""

    def __init__(self, config: Config) -> None:
        self.flags = 0                            # for clone3: what the process is born into
        self.join: list[tuple[int, int]] = []     # (mask, descriptor), in the order that works
        self.offsets: str | None = None           # for /proc/self/timens_offsets, of a new time namespace
        for at, namespace in enumerate(config.namespaces):
            mask = MASKS[namespace.type]
            if not namespace.path:
                self.flags |= mask
            else:
                try:
                    self._open(at, mask, namespace.path)
                except BaseException:
                    self.close()
                    raise
        self.flags &= ~_NEWCGROUP
        if config.time_offsets and self.flags & MASKS["NEWTIME"]:
            self.offsets = "".join(f"{clock} {offset.secs} {offset.nanosecs}\n"
                                   for clock, offset in config.time_offsets.items())
        if len(self.join) > 1:
            self.join = _in_order(self.join)

    def _open(self, at: int, mask: int, path: str) -> None:
        where, word = f"namespaces[{at}].path", _WORDS[mask]
        try:
            fd = openat(AT_FDCWD, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except SyscallError as error:
            hint = "has its process ended, or has nobody made it yet?" if error.errno in (ENOENT, ENOTDIR) else None
            problem = f"cannot open the {word} namespace {path!r}: {error.strerror}"
            raise ConfigInvalid(where, problem, hint=hint) from None
        self.join.append((mask, fd))
        if fstatfs(fd).type != MAGIC.NSFS:
            raise ConfigInvalid(where, f"{path!r} is not a namespace",
                                hint="is it a file that should have had one mounted on it, as ip-netns(8) does?")
        kind = int(get_nstype(fd))
        if kind != mask:
            other = _WORDS.get(kind, "different")
            raise ConfigInvalid(where, f"{path!r} is a {other} namespace, not a {word} namespace")
        if mask == _NEWUSER and _same(fstat(fd), "/proc/self/ns/user"):
            close(self.join.pop()[1])  # setns(2): nobody enters the one he is in, lest he regain what he gave up

    def close(self) -> None:
        """Close the descriptors."""
        close_all(self.take())

    def take(self) -> list[int]:
        """Return the descriptors, for the caller to close."""
        joins, self.join = self.join, []
        return [fd for _, fd in joins]

    __del__ = close


def _same(status: os.stat_result, path: str) -> bool:
    other = stat(path)
    return (status.st_dev, status.st_ino) == (other.st_dev, other.st_ino)


def _in_order(joins: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put the user namespace after what it does not own and before what it does."""
    user = next((fd for mask, fd in joins if mask == _NEWUSER), None)
    if user is None:
        return joins
    target = fstat(user).st_ino
    before: list[tuple[int, int]] = []
    after: list[tuple[int, int]] = []
    for mask, fd in joins:
        if mask != _NEWUSER:
            (after if _owned_by(fd, target) else before).append((mask, fd))
    return [*before, (_NEWUSER, user), *after]


def _owned_by(fd: int, target: int) -> bool:
    """Say whether the user namespace with the inode *target*, or one below it, owns the namespace."""
    try:
        owner = get_userns(fd)
    except SyscallError as error:
        if error.errno != EPERM:
            raise
        return False  # owned by one that is above ours
    while True:
        try:
            if fstat(owner).st_ino == target:
                return True
            parent = get_parent(owner)
        except SyscallError as error:
            if error.errno != EPERM:
                raise
            return False  # the parent is out of our sight, and so is not below *target*
        finally:
            close(owner)
        owner = parent


def join(fd: int, mask: int) -> None:
    """Enter the namespace that *fd* is, or, when it is a pidfd, those of its process that *mask* names: setns(2)."""
    try:
        setns(fd, mask)
    except SyscallError as error:
        words = [word for flag, word in _WORDS.items() if mask & flag]
        error.hint = f"while joining the {', '.join(words)} namespace{'s' if len(words) > 1 else ''}"
        if error.errno == EPERM:
            error.hint += ": that needs CAP_SYS_ADMIN in the user namespace that owns it"
        elif error.errno == EINVAL and mask & _NEWPID:
            error.hint += ": a pid namespace must be below our own"
        raise


def make_time_namespace(offsets: str) -> None:
    """Move this process, which must have one thread, into a time namespace of its own whose clocks are set.

    Offsets can be set only while nobody is in it: unshare(2) makes it for children to come, and then we join it.
    """
    unshare(CLONE.NEWTIME)
    _write("/proc/self/timens_offsets", offsets)
    fd = openat(AT_FDCWD, "/proc/self/ns/time_for_children", os.O_RDONLY)
    try:
        setns(fd, CLONE.NEWTIME)
    finally:
        close(fd)


def _write(path: str, content: str) -> None:
    fd = openat(AT_FDCWD, path, os.O_WRONLY)
    try:
        write_all(fd, content.encode())
    except SyscallError as error:
        raise SyscallError("write", error.errno or 0, path, text=content) from None
    finally:
        close(fd)


# ------------------------------------------------------------------------------------------- a container that runs

def paths(config: Config, pid: int) -> dict[str, str]:
    """Return, for every kind, the path of the namespace that the container with the first process *pid* is in."""
    found = {str(kind): f"/proc/{pid}/ns/{file}" for kind, (file, _, _, _) in NS_TYPES.items()}
    for namespace in config.namespaces:
        if namespace.path:
            found[str(namespace.type)] = namespace.path
    return found


def mask_to_enter(config: Config) -> int:
    """Return the mask with which a further process enters the container by the pidfd of its first one."""
    mask = 0
    for namespace in config.namespaces:
        own = namespace.path and namespace.type == "NEWUSER" and _same(stat(namespace.path), "/proc/self/ns/user")
        if not own:
            mask |= MASKS[namespace.type]
    return mask


def members(config: Config, pid: int) -> list[int]:
    """Return the processes of a container without a cgroup: all of its pid namespace, or else the descendants of *pid*.

    Of a container without a pid namespace those are missed whose parent has ended.
    """
    parents = {}
    for name in listdir("/proc"):
        if name.isdecimal():
            try:
                parents[int(name)] = process_stat(name).ppid
            except SyscallError as error:
                if error.errno not in (ENOENT, ESRCH):  # it has just ended
                    raise
    if config.namespaces.creates("NEWPID"):
        # Whoever is born in a pid namespace stays in it, and one whose parent ends becomes its first process's child;
        # a process that joined has its parent outside, so ask for each.
        return sorted(other for other in parents if _lives_below(other, pid))
    found, size = {pid} & parents.keys(), 0
    while len(found) != size:
        size = len(found)
        found |= {other for other, parent in parents.items() if parent in found}
    return sorted(found)


def _lives_below(pid: int, init: int) -> bool:
    """Say whether *pid* is in the pid namespace of *init* or in one below it."""
    try:
        target = stat(f"/proc/{init}/ns/pid").st_ino
        fd = openat(AT_FDCWD, f"/proc/{pid}/ns/pid", os.O_RDONLY)
    except OSError as error:
        if error.errno not in (ENOENT, ESRCH, EACCES, EPERM):
            raise
        return False  # it has just ended, or is not ours to look into, as those of the container are
    while True:
        try:
            if fstat(fd).st_ino == target:
                return True
            parent = get_parent(fd)
        except SyscallError as error:
            if error.errno != EPERM:
                raise
            return False  # ours is the last one we can see
        finally:
            close(fd)
        fd = parent


# ------------------------------------------------------------------------------------------------- what went wrong

def explain_clone_failure(errno: int, flags: int) -> str | None:
    """Return what to do about a clone or unshare with *flags* that failed, by what the host's settings say."""
    if errno in (ENOSPC, EUSERS):
        for _, flag, name, _ in NS_TYPES.values():
            if flags & flag and _setting(f"user/{name}") == 0:
                return f"this host allows none: sysctl -w user.{name}=10000"
        return "namespaces are nested 32 deep, or a sysctl user.max_*_namespaces is reached: see namespaces(7)"
    if errno == EPERM and flags & _NEWUSER:
        if _setting("kernel/unprivileged_userns_clone") == 0:
            return "this host keeps user namespaces to root: sysctl -w kernel.unprivileged_userns_clone=1"
        if _setting("kernel/apparmor_restrict_unprivileged_userns") == 1:
            return ("AppArmor keeps user namespaces from programs without a profile that allows them: "
                    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or write such a profile")
        if _setting("user/max_user_namespaces") == 0:
            return "this host allows no user namespaces: sysctl -w user.max_user_namespaces=10000"
        return "a changed root, or a seccomp filter around whoever runs this, may forbid user namespaces"
    if errno == EPERM:
        return "new namespaces need CAP_SYS_ADMIN: run as root, or add a user namespace (NEWUSER) to the config"
    if errno == EINVAL:
        lacking = [word for file, flag, _, word in NS_TYPES.values()
                   if flags & flag and not os.path.lexists(f"/proc/self/ns/{file}")]
        return f"this kernel has no {', '.join(lacking)} namespaces" if lacking else None
    if errno == EAGAIN:
        return "there are too many processes: RLIMIT_NPROC of the user, or pids.max of the cgroup"
    if errno == ENOMEM:
        return "memory is short, or the first process of the pid namespace has ended"
    return None


def _setting(name: str) -> int | None:
    """Return the number in /proc/sys/*name*; None when there is no such setting."""
    try:
        fd = openat(AT_FDCWD, f"/proc/sys/{name}", os.O_RDONLY)
    except SyscallError:
        return None  # it only makes a hint better
    try:
        return int(read_all(fd, 64))
    except (SyscallError, ValueError):
        return None
    finally:
        close(fd)
