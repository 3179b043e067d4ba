"""SELinux: contexts of processes and files, and the categories that keep containers apart.

Lesson  A rule of the policy speaks of types; what keeps two containers of one type apart is a pair of categories.
Read    selinux(8), getcon(3), setexeccon(3), getfilecon(3), security_check_context(3), selinux_config(5), xattr(7)
Needs   a kernel that runs SELinux, with selinuxfs mounted; CAP_MAC_ADMIN is not needed, the policy's consent is

A context is ``user:role:type:level``, the level of a container ``s0:c17,c512``: whatever holds the same two of 1024
categories. Pairs are handed out once in this process; who starts containers from several processes reserves them.

The names are libselinux's, and those of libcontainer's package; they serve the caller. The child needs none of this:
it writes its label with procfs.set_attribute.
"""
from __future__ import annotations

import os
from _thread import allocate_lock
from errno import EINVAL, ENODATA, ENOENT, EOPNOTSUPP

from ..errors import ConfigInvalid, SyscallError, SystemError_
from ..sys.files import AT_FDCWD, MAGIC, ST, close, fstatfs, openat, read_all, write_all
from ..sys.procfs import mountinfo
from ..sys.xattr import lgetxattr, lsetxattr
from .procfs import attribute, plain_procfs, set_attribute

__all__ = [
    "DISABLED", "ENFORCING", "PERMISSIVE", "SELinuxContext", "SelinuxNotEnabled", "chcon", "copy_level",
    "disable_sec_opt", "dup_sec_opt", "enforcing", "free_lxc_contexts", "get_lxc_contexts", "getcon", "getexeccon",
    "getfilecon", "getfscreatecon", "getkeycreatecon", "getpidcon", "getsockcreatecon", "int_to_mcs", "is_enabled",
    "new_context", "reserve_label", "security_check_context", "selinux_enabled", "selinux_get_enforce",
    "selinux_get_enforce_mode", "set_disabled", "setexeccon", "setfilecon", "setfscreatecon", "setkeycreatecon",
    "setsockcreatecon", "unique_mcs",
]

ENFORCING, PERMISSIVE, DISABLED = 1, 0, -1

_CONFIG_DIRECTORY = "/etc/selinux"
_SELINUXFS = "/sys/fs/selinux"
_ATTRIBUTE = "security.selinux"
_CATEGORIES = 1024
_LARGEST_FILE = 1 << 20
_READ_ONLY = int(ST.RDONLY)

_lock = allocate_lock()
_reserved: set[str] = set()        # levels in use, each as unique_mcs writes it
_answer: list[str] = []            # where selinuxfs is, "" when SELinux is off; empty while nobody has looked


class SelinuxNotEnabled(SystemError_):
    """A label was asked for, and this kernel does not run SELinux."""


# --------------------------------------------------------------------------------------------------------- the state

def is_enabled() -> bool:
    """Say whether this kernel runs SELinux with a policy. Asked once; the answer is kept."""
    return bool(_mounted_at())


def set_disabled() -> None:
    """Behave from now on as if SELinux were off."""
    _answer[:] = [""]


def _mounted_at() -> str:
    if not _answer:
        found = next(filter(_is_selinuxfs, (_SELINUXFS, *_places())), "")
        # Before the first policy is loaded everything is "kernel", and nothing is enforced.
        _answer[:] = [found if found and getcon() not in ("", "kernel") else ""]
    return _answer[0]


def _places() -> list[str]:
    return [mount.mount_point for mount in mountinfo() if mount.fstype == "selinuxfs"]


def _is_selinuxfs(path: str) -> bool:
    """Say whether selinuxfs is mounted there, and writable: where it is read-only, it is to seem switched off."""
    try:
        fd = openat(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return False
    try:
        found = fstatfs(fd)
        return found.type == MAGIC.SELINUX and not found.flags & _READ_ONLY
    finally:
        close(fd)


def selinux_get_enforce() -> int:
    """Return ENFORCING or PERMISSIVE, as it is now, or DISABLED."""
    place = _mounted_at()
    if not place:
        return DISABLED
    return ENFORCING if _content(f"{place}/enforce").strip() == "1" else PERMISSIVE


def enforcing() -> bool:
    """Say whether what the policy does not allow is denied, and not merely logged."""
    return selinux_get_enforce() == ENFORCING


def selinux_get_enforce_mode() -> int:
    """Return what selinux_config(5) wants from the next boot on."""
    return {"enforcing": ENFORCING, "permissive": PERMISSIVE}.get(_setting("SELINUX").lower(), DISABLED)


def _setting(key: str) -> str:
    """Return a value of /etc/selinux/config: the last of that key, empty when it is not there."""
    return _values(f"{_CONFIG_DIRECTORY}/config").get(key, "")


def _values(path: str) -> dict[str, str]:
    """Read lines of ``key = "value"``; those that begin with # or ; say nothing. No file, no values."""
    found = {}
    try:
        lines = _content(path).splitlines()
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return {}
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and line.strip()[:1] not in ("#", ";"):
            found[key.strip()] = value.strip().strip("\"'")
    return found


def _content(path: str) -> str:
    fd = openat(AT_FDCWD, path, os.O_RDONLY)
    try:
        return read_all(fd, _LARGEST_FILE).decode("utf-8", "surrogateescape")
    finally:
        close(fd)


# ------------------------------------------------------------------------------------------------------ of processes

def getcon() -> str:
    """Return the context of the calling thread; empty without SELinux."""
    return _attribute("current")


def getpidcon(pid: int) -> str:
    """Return the context of a process."""
    return _attribute("current", str(pid))


def getexeccon() -> str:
    """Return the context that the next execve of this thread takes; empty for what the policy says."""
    return _attribute("exec")


def setexeccon(context: str) -> None:
    """Set the context for the next execve of this thread; an empty one leaves it to the policy again."""
    _set_attribute("exec", context)


def getfscreatecon() -> str:
    """Return the context of files that this thread makes; empty for what the policy says."""
    return _attribute("fscreate")


def setfscreatecon(context: str) -> None:
    """Set the context of files that this thread makes; an empty one leaves it to the policy again."""
    _set_attribute("fscreate", context)


def getkeycreatecon() -> str:
    """Return the context of keys that this thread makes; empty for what the policy says."""
    return _attribute("keycreate")


def setkeycreatecon(context: str) -> None:
    """Set the context of keys that this thread makes; an empty one leaves it to the policy again."""
    _set_attribute("keycreate", context)


def getsockcreatecon() -> str:
    """Return the context of sockets that this thread makes; empty for what the policy says."""
    return _attribute("sockcreate")


def setsockcreatecon(context: str) -> None:
    """Set the context of sockets that this thread makes; an empty one leaves it to the policy again."""
    _set_attribute("sockcreate", context)


def _attribute(name: str, task: str = "thread-self") -> str:
    proc = plain_procfs()
    try:
        return attribute(proc, name, task=task)
    finally:
        close(proc)


def _set_attribute(name: str, context: str) -> None:
    proc = plain_procfs()
    try:
        set_attribute(proc, name, context)
    except SyscallError as error:
        if error.errno == EINVAL:
            error.hint = "the policy knows no such context"
        raise
    finally:
        close(proc)


# ---------------------------------------------------------------------------------------------------------- of files

def getfilecon(path: str) -> str:
    """Return the context of a file, of a symlink itself; empty when it has none."""
    try:
        return lgetxattr(path, _ATTRIBUTE).rstrip(b"\0").decode("utf-8", "surrogateescape")
    except SyscallError as error:
        if error.errno not in (ENODATA, EOPNOTSUPP):
            raise
        return ""


def setfilecon(path: str, context: str) -> None:
    """Set the context of a file, of a symlink itself."""
    lsetxattr(path, _ATTRIBUTE, context.encode("utf-8", "surrogateescape"))


def chcon(path: str, context: str, recurse: bool = False) -> None:
    """Set the context of a file, and with *recurse* of everything below it; nothing happens when that is empty.

    /usr is refused, and whatever lies below: it is the host's. Links are not followed. What disappears meanwhile is
    passed over.
    """
    if not context:
        return
    real = os.path.realpath(path)
    if real == "/usr" or real.startswith("/usr/"):
        raise ConfigInvalid("", f"relabelling {path!r} is not allowed: it belongs to the host")
    _relabel_one(path, context)
    if not recurse or not os.path.isdir(path) or os.path.islink(path):
        return
    for _, folders, files, directory in os.fwalk(path, onerror=_unless_gone, follow_symlinks=False):
        for name in (*folders, *files):
            # By descriptor: a folder that is exchanged for a symlink meanwhile leads nowhere.
            _relabel_one(f"/proc/self/fd/{directory}/{name}", context)


def _unless_gone(error: OSError) -> None:
    if error.errno != ENOENT:
        raise error


def _relabel_one(path: str, context: str) -> None:
    try:
        if getfilecon(path) != context:
            setfilecon(path, context)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise


# ---------------------------------------------------------------------------------------------------------- contexts

class SELinuxContext:
    """The parts of a context; *level* is empty under a policy without levels."""

    __slots__ = ("level", "role", "type", "user")

    def __init__(self, user: str, role: str, type: str, level: str = "") -> None:
        self.user, self.role, self.type, self.level = user, role, type, level

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SELinuxContext) and self.get() == other.get()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SELinuxContext({self.get()!r})"

    def get(self) -> str:
        """Write it as the kernel does."""
        return ":".join(filter(None, (self.user, self.role, self.type, self.level)))


def new_context(text: str) -> SELinuxContext:
    """Take a context apart; ConfigInvalid when it is none."""
    parts = text.split(":", 3)
    if len(parts) < 3 or not all(parts):
        raise ConfigInvalid("", f"{text!r} is not an SELinux context", hint="user:role:type:level")
    return SELinuxContext(*parts)


def security_check_context(context: str) -> None:
    """Ask the policy whether there is such a context: ConfigInvalid when there is not."""
    place = _mounted_at()
    if not place:
        raise SelinuxNotEnabled("SELinux is not enabled on this kernel")
    fd = openat(AT_FDCWD, f"{place}/context", os.O_RDWR)
    try:
        write_all(fd, context.encode("utf-8", "surrogateescape"))
    except SyscallError as error:
        if error.errno != EINVAL:
            raise
        raise ConfigInvalid("", f"the policy knows no context {context!r}") from None
    finally:
        close(fd)


# -------------------------------------------------------------------------------------------------------- categories

def reserve_label(context: str) -> None:
    """Take note that the level of *context* is in use, so that unique_mcs will not give it to anybody else."""
    level = _level(context)
    if level:
        with _lock:
            _reserved.add(level)


def free_lxc_contexts(context: str) -> None:
    """Take note that the level of *context* is in use no more."""
    with _lock:
        _reserved.discard(_level(context))


def _level(context: str) -> str:
    parts = context.split(":", 3)
    return parts[3] if len(parts) == 4 else ""


def unique_mcs() -> str:
    """Choose a pair of categories that nobody has, and reserve it: ``s0:c17,c512``."""
    pairs = _CATEGORIES * (_CATEGORIES - 1) // 2
    with _lock:
        first = int.from_bytes(os.urandom(8), "big") % pairs
        for offset in range(pairs):
            level = int_to_mcs((first + offset) % pairs + 1, _CATEGORIES - 1)
            if level not in _reserved:
                _reserved.add(level)
                return level
    raise SystemError_(f"all {pairs} pairs of SELinux categories are in use",
                       hint="unreserve_label gives back those of containers that are gone")


def int_to_mcs(id: int, largest: int = _CATEGORIES - 1) -> str:
    """Return the pair of categories, of c0 to c*largest*, with this number, from 1 on; empty when there is none."""
    tier, order = largest, id
    if not 1 <= id <= largest * (largest + 1) // 2:
        return ""
    while order > tier:
        order -= tier
        tier -= 1
    first = largest - tier
    return f"s0:c{first},c{first + order}"


def get_lxc_contexts() -> tuple[str, str]:
    """Return the contexts that the policy has for the processes and the files of containers, at a level of their own.

    Both are empty where SELinux is off, or the policy has none: /etc/selinux/TYPE/contexts/lxc_contexts.
    """
    if not is_enabled():
        return "", ""
    values = _values(f"{_CONFIG_DIRECTORY}/{_setting('SELINUXTYPE')}/contexts/lxc_contexts")
    if not values.get("process") or not values.get("file"):
        return "", ""
    process, file = new_context(values["process"]), new_context(values["file"])
    if process.level:  # else a policy without levels
        process.level = file.level = unique_mcs()
    return process.get(), file.get()


def copy_level(source: str, destination: str) -> str:
    """Return *destination* at the level of *source*, which becomes reserved; both must be contexts of the policy."""
    if not source:
        return ""
    security_check_context(source)
    security_check_context(destination)
    context = new_context(destination)
    free_lxc_contexts(destination)
    context.level = new_context(source).level
    reserve_label(source)
    return context.get()


def dup_sec_opt(context: str) -> list[str]:
    """Write *context* as options of a container engine; none when it is empty or has no level."""
    parts = context.split(":", 3)
    if len(parts) < 4 or not all(parts):
        return []
    return [f"label:{name}:{part}" for name, part in zip(("user", "role", "type", "level"), parts)]


def disable_sec_opt() -> list[str]:
    """Write, as an option of a container engine, that there is to be no label."""
    return ["label:disable"]


selinux_enabled = is_enabled   # libcontainer's name
