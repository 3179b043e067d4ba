"""The rules that a single field cannot know: which fields need each other, and what the host must have.

One function per rule, in RULES in the order they are asked; the first that does not hold raises ConfigInvalid with
the path of what is wrong. The first three are libcontainer's. What follows is refused here because later it would fail
in the middle of a set-up with an errno for an explanation, or worse, would pass and mean something else.
"""
from __future__ import annotations

import os
from errno import EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTTY

from . import validate_network, validate_scheduling, validate_seccomp
from .config import Capabilities, Config, Namespace, NamespaceType
from .errors import ConfigInvalid, SyscallError
from .strictjson import joined, shortened, step
from .sys.capability import CAP
from .sys.files import close, exists
from .sys.mount import MS
from .sys.nsfs import get_nstype
from .sys.openat2 import RESOLVE, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final, Protocol

    from .config import IDMap, Mount
    from .devices import Device

    Kinds = dict[str, str]  # the namespaces that are listed: type and path

    class Validator(Protocol):
        """Anything that refuses a config by an exception."""

        def validate(self, config: Config, /) -> None: ...
else:
    class Validator:
        """Anything that refuses a config by an exception."""

        def validate(self, config):
            raise NotImplementedError

__all__ = ["NOT_YET", "RULES", "ConfigValidator", "Validator"]

# Fields of the format that this version does not act upon, by path. To be silent about them would be to run a program
# without the fence its owner put up.
NOT_YET: Final = (
    "cgroups.scope_prefix",
)

# A field, the namespace without which it would change the host, and whether that namespace must be a new one: the
# root of a mount namespace that exists was built by somebody else, and the clocks of a time namespace stand.
NEEDS: Final = (
    ("networks", "NEWNET", False),
    ("routes", "NEWNET", False),
    ("net_devices", "NEWNET", False),
    ("hostname", "NEWUTS", False),
    ("mask_paths", "NEWNS", True),
    ("readonly_paths", "NEWNS", True),
    ("uid_mappings", "NEWUSER", False),
    ("gid_mappings", "NEWUSER", False),
    ("domainname", "NEWUTS", False),
    ("mounts", "NEWNS", True),
    ("devices", "NEWNS", True),
    ("root_propagation", "NEWNS", True),
    ("readonlyfs", "NEWNS", True),
    ("ephemeral", "NEWNS", True),
    ("no_pivot_root", "NEWNS", True),
    ("time_offsets", "NEWTIME", True),
)

# What may be mounted over below /proc: information about the host that lxcfs and CRI-O replace, as in runc and crun.
# Anything else there steers the kernel or our own set-up, which reads and writes /proc: CVE-2019-16884, CVE-2019-19921.
PROC_FILES: Final = frozenset(f"/proc/{name}" for name in (
    "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled"))

# Kernel parameters that a namespace has a copy of; all others are the host's. namespaces(7), the kernel's
# admin-guide/sysctl/.
SYSCTLS: Final = {
    **{f"kernel/{name}": "NEWIPC" for name in (
        "msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")},
    "fs/mqueue/": "NEWIPC",
    "net/": "NEWNET",
    "kernel/domainname": "NEWUTS",
    "user/": "NEWUSER",
}
_SYSCTL_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-./")
_SWAP_SEPARATORS = str.maketrans("./", "/.")

# The words of config.Landlock; security/landlock.py knows what they stand for.
LANDLOCK_WORDS: Final = {
    "fs": frozenset((
        "execute", "write_file", "read_file", "truncate", "ioctl_dev", "read_dir", "remove_dir", "remove_file",
        "make_char", "make_dir", "make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer", "read",
        "write", "all")),
    "net": frozenset(("bind_tcp", "connect_tcp", "all")),
    "scoped": frozenset(("abstract_unix_socket", "signal", "all")),
}

LONGEST_HOSTNAME: Final = 64    # bytes: __NEW_UTS_LEN
MOST_EXTENTS: Final = 340       # lines of a uid_map: user_namespaces(7), Linux 4.15
NO_ID: Final = (1 << 32) - 1    # (uid_t) -1 stands for "leave it" in chown(2) and setresuid(2)
_LONGEST_LABEL = 4000           # bytes: what is written to /proc/PID/attr fits a page
_MAJORS, _MINORS = 1 << 12, 1 << 20
_DEVICE_MODES = {99: 0o020000, 117: 0o020000, 98: 0o060000, 112: 0o010000}   # c, u, b, p

_CAPABILITIES = frozenset(f"CAP_{name}" for name in CAP.__members__)
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_BIND, _REMOUNT, _REC = int(MS.BIND), int(MS.REMOUNT), int(MS.REC)
_PROPAGATIONS = (int(MS.SHARED), int(MS.PRIVATE), int(MS.SLAVE), int(MS.UNBINDABLE))
_PROPAGATION = sum(_PROPAGATIONS)
_ROOT_OPEN, _NO_SYMLINKS = os.O_PATH | os.O_DIRECTORY, int(RESOLVE.NO_SYMLINKS)


class ConfigValidator:
    """The validator a Factory has unless it is given another."""

    def validate(self, config: Config) -> None:
        """Raise ConfigInvalid unless a container can be made as *config* says, as far as can be told beforehand."""
        if not isinstance(config, Config):
            raise ConfigInvalid("", f"expected a Config, got a {type(config).__name__}")
        kinds = _listed(config)
        for rule in RULES:
            rule(config, kinds)


def _listed(config: Config) -> Kinds:
    # A list can be changed without the record noticing, so its entries are looked at again.
    kinds: Kinds = {}
    for index, namespace in enumerate(Config(namespaces=config.namespaces).namespaces):
        kind: NamespaceType | None = namespace.type
        if kind is None:
            raise ConfigInvalid(f"namespaces[{index}].type", "is missing", hint="it is one of NEWNET, NEWPID, …")
        if kind in kinds:
            raise ConfigInvalid(f"namespaces[{index}].type", f"{kind} is listed before", hint="list each type once")
        kinds[kind] = namespace.path
    return kinds


# ---------------------------------------------------------------------------------------------- libcontainer's rules

def rootfs(config: Config, kinds: Kinds) -> None:
    """The root file system is a directory, and its name leads to it through no symlink: nobody can turn it aside."""
    path = config.rootfs
    _absolute("rootfs", path, "name the directory of the host that holds the container's files")
    normal = "/" + os.path.normpath(path).lstrip("/")
    if path != normal:
        raise ConfigInvalid("rootfs", f"{path!r} is not a plain path", hint=f"write {normal!r}")
    try:
        close(openat2(-100, path, _ROOT_OPEN, resolve=_NO_SYMLINKS))
    except SyscallError as error:
        raise _no_rootfs(path, error.errno or 0) from None


def _no_rootfs(path: str, number: int) -> ConfigInvalid:
    if number == ELOOP:
        link, target = _first_symlink(path)
        return ConfigInvalid("rootfs", f"{link!r} is a symlink to {target!r}",
                             hint="name the directory itself: realpath(1) tells")
    if number == ENOENT:
        return ConfigInvalid("rootfs", f"{path!r} does not exist", hint="unpack an image there, or correct the path")
    if number == ENOTDIR:
        return ConfigInvalid("rootfs", f"{path!r} is not a directory", hint="unpack the image into a directory")
    problem = {EACCES: "may not be entered", ENAMETOOLONG: "is too long"}.get(number, os.strerror(number).lower())
    return ConfigInvalid("rootfs", f"{path!r}: {problem}", hint="choose a directory that this user can reach")


def _first_symlink(path: str) -> tuple[str, str]:
    parts = path.split("/")
    for end in range(2, len(parts) + 1):
        try:
            return "/".join(parts[:end]), os.readlink("/".join(parts[:end]))
        except OSError:
            continue  # EINVAL: no symlink
    return path, "something else"


def needed_namespaces(config: Config, kinds: Kinds) -> None:
    """What would change the host stands only beside the namespace that keeps it in."""
    for name, kind, new in NEEDS:
        if getattr(config, name):
            key = Config._fields[name].key or name
            if kind not in kinds:
                raise ConfigInvalid(key, f"needs a namespace of type {kind}",
                                    hint=f"add it to namespaces, or leave {key} out: it would change the host")
            if new and kinds[kind]:
                raise ConfigInvalid(key, f"needs a new namespace of type {kind}, not the one at {kinds[kind]!r}",
                                    hint=f"leave the path out, or leave {key} out: what exists is used as it is")


def namespaces(config: Config, kinds: Kinds) -> None:
    """This kernel has the namespaces that are to be made, and those to be joined are what they are said to be."""
    for index, namespace in enumerate(config.namespaces):
        if namespace.path:
            _joinable(f"namespaces[{index}].path", namespace)
        elif not _known(namespace.type):
            raise ConfigInvalid(f"namespaces[{index}].type", f"this kernel has no namespaces of type {namespace.type}",
                                hint="leave it out, or boot a kernel that has them")


def _known(kind: NamespaceType) -> bool:
    """Say whether this kernel has a kind of namespaces; it does not change its mind."""
    if kind not in _kinds_known and exists(f"/proc/self/ns/{kind.file}"):
        _kinds_known.add(kind)
    return kind in _kinds_known


_kinds_known: set[NamespaceType] = set()


def _joinable(at: str, namespace: Namespace) -> None:
    path, kind = namespace.path, namespace.type
    hint = f"name a file such as /proc/PID/ns/{kind.file}"
    _absolute(at, path, hint)
    try:
        if os.stat(path).st_mode & 0o170000 != 0o100000:  # to open a device can set it off
            raise ConfigInvalid(at, f"{path!r} is not a namespace", hint=hint)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigInvalid(at, f"cannot open {path!r}: {os.strerror(error.errno or 0).lower()}", hint=hint) from None
    try:
        found = get_nstype(fd)
    except SyscallError as error:
        if error.errno != ENOTTY:
            raise
        raise ConfigInvalid(at, f"{path!r} is not a namespace", hint=hint) from None
    finally:
        close(fd)
    if found != kind.flag:
        raise ConfigInvalid(at, f"{path!r} is a namespace of another type: {found}, not {kind.flag}", hint=hint)


def id_maps(config: Config, kinds: Kinds) -> None:
    """A new user namespace has maps for users and groups, and its root is in them: the set-up begins as root."""
    for at, mappings in (("uid_mappings", config.uid_mappings), ("gid_mappings", config.gid_mappings)):
        _id_map(at, mappings)
        if kinds.get("NEWUSER") == "":
            if not mappings:
                raise ConfigInvalid(at, "is empty, and the container has a new user namespace",
                                    hint="map at least container_id 0, for example to your own id")
            if not any(entry.container_id == 0 for entry in mappings):
                raise ConfigInvalid(at, "container id 0 is not mapped", hint="the set-up runs as the container's root")


def _id_map(at: str, mappings: tuple[IDMap, ...]) -> None:
    if len(mappings) > MOST_EXTENTS:
        raise ConfigInvalid(at, f"{len(mappings)} ranges; the kernel takes {MOST_EXTENTS}", hint="join neighbours")
    for index, entry in enumerate(mappings):
        if entry.size == 0:
            raise ConfigInvalid(f"{at}[{index}].size", "is 0", hint="map at least one id, or leave the entry out")
        for side in ("container_id", "host_id"):
            if getattr(entry, side) + entry.size > NO_ID:
                raise ConfigInvalid(f"{at}[{index}].{side}",
                                    f"{getattr(entry, side)} and the {entry.size - 1} ids after it go beyond the last",
                                    hint=f"choose a smaller size; the last id is {NO_ID - 1}")
    if len(mappings) > 1:
        for side in ("container_id", "host_id"):
            _no_overlap(at, side, mappings)


def _no_overlap(at: str, side: str, mappings: tuple[IDMap, ...]) -> None:
    ranges = sorted((getattr(entry, side), entry.size, index) for index, entry in enumerate(mappings))
    for (start, size, first), (following, _, second) in zip(ranges, ranges[1:]):
        if start + size > following:
            raise ConfigInvalid(f"{at}[{max(first, second)}].{side}",
                                f"overlaps the range of {at}[{min(first, second)}]", hint="an id has one meaning")


# ---------------------------------------------------------------------------------------------------------- our rules

def not_yet(config: Config, kinds: Kinds) -> None:
    """What this version cannot do is refused, never ignored."""
    for name in _NOT_YET[""]:
        if name in config.__dict__:
            _refuse(config, name, "")
    if config.cgroups is not None:
        for name in config.cgroups.__dict__:
            if name in _NOT_YET["cgroups"]:
                _refuse(config.cgroups, name, "cgroups.")
    for name in _NOT_YET["mounts[]"]:
        for index, mount in enumerate(config.mounts):
            if name in mount.__dict__:
                _refuse(mount, name, f"mounts[{index}].")

def _refuse(record: Any, name: str, at: str) -> None:
    value = getattr(record, name)
    if value != type(record)._fields[name].default:
        raise ConfigInvalid(at + name, f"{name} is not supported yet by this version", hint="leave it out")


def _by_parent(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {"": (), "cgroups": (), "mounts[]": ()}
    for name in names:
        parent, _, field = name.rpartition(".")
        table[parent] += (field,)
    return table


_NOT_YET = _by_parent(NOT_YET)


def mounts(config: Config, kinds: Kinds) -> None:
    """A mount says what is mounted, and where; not over the root, nor over what the kernel tells in /proc."""
    for index, mount in enumerate(config.mounts):
        path, flags = mount.destination, mount.flags
        if path[:1] != "/" or "/." in path or "//" in path or path[-1] == "/":
            path = _destination(f"mounts[{index}].destination", path)
        bind = bool(flags & _BIND) or mount.device == "bind"
        if path[:5] == "/proc" and path[5:6] in ("", "/"):
            _mount_on_proc(f"mounts[{index}].destination", path, mount, bind)
        if bind:
            _bind_mount(f"mounts[{index}]", mount)
        elif not mount.device and not flags & _REMOUNT:
            raise ConfigInvalid(f"mounts[{index}].device", "is missing",
                                hint="name a type of file system, or bind a directory with MS_BIND")
        if flags & _PROPAGATION:
            raise ConfigInvalid(f"mounts[{index}].flags", f"{MS(flags & _PROPAGATION)} needs a call of its own",
                                hint="move it to propagation_flags")
        for position, propagation in enumerate(mount.propagation_flags):
            _propagation(f"mounts[{index}].propagation_flags[{position}]", propagation)
        if mount.uid_mappings or mount.gid_mappings:
            _id_mapped_mount(f"mounts[{index}]", mount, bind)
        if mount.copy_up and (bind or mount.device != "tmpfs"):
            raise ConfigInvalid(f"mounts[{index}].copy_up", "is for a tmpfs", hint="leave it out")
        for name, commands in (("premount_cmds", mount.premount_cmds), ("postmount_cmds", mount.postmount_cmds)):
            for position, command in enumerate(commands):
                if not command.path:
                    raise ConfigInvalid(f"mounts[{index}].{name}[{position}].path", "is empty", hint="name a program")


def _destination(at: str, path: str) -> str:
    """Return *path* as plain as it can be written."""
    _absolute(at, path, "it is a path in the container")
    if ".." in path.split("/"):
        raise ConfigInvalid(at, f"{path!r} goes up again with '..'", hint="write the path that is meant")
    path = "/" + os.path.normpath(path).lstrip("/")
    if path == "/":
        raise ConfigInvalid(at, "a mount on / would hide the root file system", hint="give that directory as rootfs")
    return path


def _mount_on_proc(at: str, path: str, mount: Mount, bind: bool) -> None:
    if path in PROC_FILES:
        return
    if path != "/proc":
        raise ConfigInvalid(at, f"{path!r} is inside /proc, where only {', '.join(sorted(PROC_FILES))} can be replaced",
                            hint="mask_paths hides a file of /proc")
    if bind and mount.source.rstrip("/") != "/proc" or not bind and mount.device != "proc":
        raise ConfigInvalid(at, "nothing but a proc file system can be mounted on /proc",
                            hint="set device to 'proc', or bind /proc itself")


def _bind_mount(at: str, mount: Mount) -> None:
    _absolute(f"{at}.source", mount.source, "name what is bound: a file or directory of the host")
    if mount.data:
        raise ConfigInvalid(f"{at}.data", f"a bind mount has no options of its own, got {mount.data!r}",
                            hint="they belong to the file system that is bound")


def _id_mapped_mount(at: str, mount: Mount, bind: bool) -> None:
    for name, mappings in (("uid_mappings", mount.uid_mappings), ("gid_mappings", mount.gid_mappings)):
        _id_map(f"{at}.{name}", mappings)
        if not mappings:
            raise ConfigInvalid(f"{at}.{name}", "is empty", hint="an id-mapped mount maps users and groups")
    if not bind:
        raise ConfigInvalid(f"{at}.uid_mappings", "only a bind mount can be id-mapped", hint="add MS_BIND to its flags")


def _propagation(at: str, flags: int) -> None:
    if flags & ~_REC not in _PROPAGATIONS:
        raise ConfigInvalid(at, f"{MS(flags)} is no propagation",
                            hint="choose one of MS_SHARED, MS_PRIVATE, MS_SLAVE and MS_UNBINDABLE, and MS_REC with it")


def root_propagation(config: Config, kinds: Kinds) -> None:
    """How mounts of the root travel is one kind of propagation."""
    if config.root_propagation:
        _propagation("rootPropagation", config.root_propagation)


def paths(config: Config, kinds: Kinds) -> None:
    """What is masked or made read-only is somewhere, but not everything."""
    for name, listed in (("mask_paths", config.mask_paths), ("readonly_paths", config.readonly_paths)):
        for index, path in enumerate(listed):
            if path[:1] != "/" or "/." in path or "//" in path or path[-1] == "/":
                _absolute(f"{name}[{index}]", path, "it is a path in the container")
                if ".." in path.split("/") or not path.strip("/."):
                    raise ConfigInvalid(f"{name}[{index}]", f"{path!r} is not below the root",
                                        hint="readonlyfs makes the root itself read-only")


def devices(config: Config, kinds: Kinds) -> None:
    """A node to create is a device or a fifo, has numbers that fit a dev_t, and a place."""
    for index, device in enumerate(config.devices):
        at, path, kind = f"devices[{index}]", device.path, device.type
        if kind not in _DEVICE_MODES:
            raise ConfigInvalid(f"{at}.type", f"{kind} is no type of node", hint="99 is c, 98 b, 112 p, 117 u")
        if path[:1] != "/" or "/." in path or "//" in path or path[-1] == "/":
            _destination(f"{at}.path", path)
        if kind != 112:
            if not 0 <= device.major < _MAJORS:
                raise ConfigInvalid(f"{at}.major", f"{device.major} is not between 0 and {_MAJORS - 1}",
                                    hint="-1, any, is for the rules of cgroups.allowed_devices")
            if not 0 <= device.minor < _MINORS:
                raise ConfigInvalid(f"{at}.minor", f"{device.minor} is not between 0 and {_MINORS - 1}",
                                    hint="-1, any, is for the rules of cgroups.allowed_devices")
        if device.file_mode & ~0o7777 not in (0, _DEVICE_MODES[kind]):
            raise ConfigInvalid(f"{at}.file_mode", f"{device.file_mode:#o} is no mode of such a node",
                                hint="give permission bits: 438 is 0o666")
        if device.permissions and not set(device.permissions) <= {"r", "w", "m"}:
            raise ConfigInvalid(f"{at}.permissions", f"{device.permissions!r} is not made of r, w and m")
        if device.uid == NO_ID or device.gid == NO_ID:
            raise ConfigInvalid(f"{at}.{'uid' if device.uid == NO_ID else 'gid'}", f"{NO_ID} is nobody's id")


def host_names(config: Config, kinds: Kinds) -> None:
    """The names that uname(2) reports fit its buffer."""
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if len(value) > LONGEST_HOSTNAME // 4 and len(value.encode()) > LONGEST_HOSTNAME:
            raise ConfigInvalid(name, f"{len(value.encode())} bytes; the kernel takes {LONGEST_HOSTNAME}",
                                hint="choose a shorter name")


def sysctls(config: Config, kinds: Kinds) -> None:
    """A kernel parameter is one that a namespace of the container has for itself: any other would be the host's."""
    seen: dict[str, str] = {}
    for key in Config(sysctl=config.sysctl).sysctl if config.sysctl else ():  # a dict can be changed unnoticed
        # Like sysctl(8): where a slash is the first separator, dots and slashes have changed places.
        slash, dot = key.find("/"), key.find(".")
        file = key if slash >= 0 and (dot < 0 or slash < dot) else key.translate(_SWAP_SEPARATORS)
        wrong = _sysctl_wrong(key, file, kinds)
        if wrong is None and file in seen:
            wrong = f"is the same parameter as {seen[file]!r}", "set it once"
        if wrong is not None:
            raise ConfigInvalid(joined("sysctl", step(key)), wrong[0], hint=wrong[1])
        seen[file] = key


def _sysctl_wrong(key: str, file: str, kinds: Kinds) -> tuple[str, str] | None:
    """Return what is wrong with a parameter, and what to do about it."""
    if not _SYSCTL_LETTERS.issuperset(key) or not all(part.strip(".") for part in file.split("/")):
        return "is not the name of a kernel parameter", "a name looks like net.ipv4.ip_forward"
    if file == "kernel/hostname":
        return "is not set this way", "set hostname"
    folders = (SYSCTLS[name] for name in SYSCTLS if name[-1] == "/" and file.startswith(name))
    kind = SYSCTLS.get(file) or next(folders, None)
    if kind is None:
        return "belongs to the host: no namespace has it for itself", "set it on the host, for all containers"
    if kind not in kinds:
        return f"needs a namespace of type {kind}", "add it to namespaces; else this would change the host's"
    if kinds[kind] and os.path.samefile(kinds[kind], f"/proc/self/ns/{NamespaceType(kind).file}"):
        return f"would change the host's: the namespace at {kinds[kind]!r} is our own", "join another one, or make one"
    return None


def rlimits(config: Config, kinds: Kinds) -> None:
    """A resource has one ceiling, and what is enforced is not above it."""
    seen: dict[int, int] = {}
    for index, limit in enumerate(config.rlimits):
        if limit.type in seen:
            raise ConfigInvalid(f"rlimits[{index}].type", f"rlimits[{seen[limit.type]}] has type {limit.type} already",
                                hint="list each resource once")
        seen[limit.type] = index
        if limit.soft > limit.hard:
            raise ConfigInvalid(f"rlimits[{index}].soft", f"{limit.soft} is above hard, {limit.hard}",
                                hint="lower soft or raise hard")


def capabilities(config: Config, kinds: Kinds) -> None:
    """Capabilities are known by name, and the sets are such as capset(2) and PR_CAP_AMBIENT_RAISE take."""
    wanted = config.capabilities
    if isinstance(wanted, tuple):
        _names("capabilities", wanted)
        return
    for name in _SETS:
        _names(f"capabilities.{name}", getattr(wanted, name))
    _subset(wanted, "effective", "permitted")
    _subset(wanted, "ambient", "permitted")
    _subset(wanted, "ambient", "inheritable")


def _names(at: str, names: tuple[str, ...]) -> None:
    if not _CAPABILITIES.issuperset(names):
        for index, name in enumerate(names):
            if name not in _CAPABILITIES:
                alike = f"CAP_{name.upper().replace('CAP_', '')}"
                hint = f"did you mean {alike!r}?" if alike in _CAPABILITIES else "capabilities(7) has the names"
                raise ConfigInvalid(f"{at}[{index}]", f"{shortened(name)!r} is not a capability", hint=hint)


def _subset(sets: Capabilities, small: str, large: str) -> None:
    allowed = getattr(sets, large)
    for index, name in enumerate(getattr(sets, small)):
        if name not in allowed:
            raise ConfigInvalid(f"capabilities.{small}[{index}]", f"{name} is not {large}",
                                hint=f"add it to capabilities.{large} too")


def seccomp(config: Config, kinds: Kinds) -> None:
    """A filter says what it does with every call, and lets the child become the program."""
    if config.seccomp is not None:
        validate_seccomp.check(config.seccomp)


def scheduling(config: Config, kinds: Kinds) -> None:
    """When and where the program runs is something that the kernel can be asked for."""
    given = config.__dict__
    if "scheduler" in given or "io_priority" in given or "memory_policy" in given or "exec_cpu_affinity" in given:
        validate_scheduling.check(config)


def groups(config: Config, kinds: Kinds) -> None:
    """A further group is a name, or a number that is an id."""
    for index, group in enumerate(config.additional_groups):
        number = group.lstrip("+-").isdecimal()
        if not group or ":" in group or "\n" in group:
            raise ConfigInvalid(f"additional_groups[{index}]", f"{shortened(group)!r} is not a group",
                                hint="give a name or a gid")
        if number and not (group.isascii() and group.isdecimal() and len(group) < 11 and int(group) < NO_ID):
            raise ConfigInvalid(f"additional_groups[{index}]", f"{shortened(group)} is not between 0 and {NO_ID - 1}")


def labels(config: Config, kinds: Kinds) -> None:
    """What goes to a security module is one word, as that module would write it."""
    if "apparmor_profile" in config.__dict__:
        name = config.apparmor_profile
        if name != name.strip() or not name.isprintable() or len(name.encode()) > _LONGEST_LABEL:
            raise ConfigInvalid("apparmor_profile", f"{shortened(name)!r} is not the name of a profile",
                                hint="aa-status(8) lists those that are loaded")
    for field in ("process_label", "mount_label"):
        if field in config.__dict__:
            label = getattr(config, field)
            wrong = " " in label or not label.isprintable() or len(label.encode()) > _LONGEST_LABEL
            if label and (wrong or not all(label.split(":", 3)) or label.count(":") < 2):
                raise ConfigInvalid(field, f"{shortened(label)!r} is not an SELinux context",
                                    hint="such as system_u:object_r:container_file_t:s0:c1,c2")
    for index, mount in enumerate(config.mounts):
        if "relabel" in mount.__dict__ and mount.relabel not in ("", "z", "Z"):
            problem = ("both z and Z: shared and private at once" if {*mount.relabel} == {"z", "Z"}
                       else f"{shortened(mount.relabel)!r} is neither z nor Z")
            raise ConfigInvalid(f"mounts[{index}].relabel", problem)


def landlock(config: Config, kinds: Kinds) -> None:
    """Landlock's rights are known by name, its rules are about rights that are handled, and it can be entered."""
    wanted = config.landlock
    if wanted is None:
        return
    handled = {"fs": wanted.handled_fs, "net": wanted.handled_net, "scoped": wanted.scoped}
    for kind, words in handled.items():
        _landlock_words(f"landlock.{kind if kind == 'scoped' else f'handled_{kind}'}", kind, words)
    if not any(handled.values()):
        raise ConfigInvalid("landlock", "restricts nothing", hint="list rights in handled_fs, handled_net or scoped")
    if not config.no_new_privileges:
        raise ConfigInvalid("landlock", "needs no_new_privileges: a set-user-ID program would be restricted by "
                            "somebody who may not do that", hint="set no_new_privileges")
    allowed: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
        ("fs", "paths", wanted.paths), ("net", "ports", wanted.ports))
    for kind, name, rules in allowed:
        for index, rule in enumerate(rules):
            at = f"landlock.{name}[{index}]"
            _landlock_words(f"{at}.access", kind, rule.access)
            for field in (name, "access"):
                if not getattr(rule, field):
                    raise ConfigInvalid(f"{at}.{field}", "is empty")
            if not handled[kind]:
                raise ConfigInvalid(at, f"allows what is not restricted: handled_{kind} is empty")
    for index, entry in enumerate(wanted.paths):
        for position, path in enumerate(entry.paths):
            _absolute(f"landlock.paths[{index}].paths[{position}]", path, "it is a path in the container")


def _landlock_words(at: str, kind: str, words: tuple[str, ...]) -> None:
    for index, word in enumerate(words):
        if word not in LANDLOCK_WORDS[kind]:
            raise ConfigInvalid(f"{at}[{index}]", f"{shortened(word)!r} is none of Landlock's",
                                hint=f"one of {', '.join(sorted(LANDLOCK_WORDS[kind]))}")


def networks(config: Config, kinds: Kinds) -> None:
    """Interfaces and routes are such as the kernel takes, as far as that can be told without asking it."""
    if config.networks:
        validate_network.check(config.networks)
    if config.routes:
        validate_network.check_routes(config.routes)
    if config.net_devices:
        validate_network.check_devices(config.net_devices, config.networks)


def clocks(config: Config, kinds: Kinds) -> None:
    """The clocks of a time namespace are two: time_namespaces(7)."""
    for clock in Config(time_offsets=config.time_offsets).time_offsets if config.time_offsets else ():
        if clock not in ("monotonic", "boottime"):
            raise ConfigInvalid(joined("time_offsets", step(clock)), "is none of monotonic, boottime",
                                hint="a time namespace has no other clocks")


def cgroup(config: Config, kinds: Kinds) -> None:
    """The cgroup's name is one directory, and its parent's path leads nowhere else."""
    if config.cgroups is None:
        return
    name, parent = config.cgroups.name, config.cgroups.parent
    if "/" in name or name in (".", ".."):
        raise ConfigInvalid("cgroups.name", f"{name!r} is not the name of a directory", hint="the path goes to parent")
    if ".." in parent.split("/"):
        raise ConfigInvalid("cgroups.parent", f"{parent!r} goes up with '..'", hint="write the path that is meant")


def limits(config: Config, kinds: Kinds) -> None:
    """A limit makes sense beside the others, as far as that can be told without the host."""
    group = config.cgroups
    if group is None or group.__dict__.keys() <= _PLAIN:
        return
    for low, high in (("memory", "memory_swap"), ("memory_reservation", "memory"), ("memory_low", "memory")):
        less, more = getattr(group, low), getattr(group, high)
        if more > 0 and less > more:
            raise ConfigInvalid(f"cgroups.{high}", f"{more} is below {low}, {less}", hint=_ORDER.get(high))
    if group.memory_swap > 0 and not group.memory:
        raise ConfigInvalid("cgroups.memory_swap", "needs a limit of memory", hint=_ORDER["memory_swap"])
    for one, other in (("memory_low", "memory_reservation"), ("cpu_weight", "cpu_shares")):
        if getattr(group, one) and getattr(group, other):
            raise ConfigInvalid(f"cgroups.{one}", f"is another name for {other}", hint="set one of them")
    if group.cpu_period and not 1000 <= group.cpu_period <= 1_000_000:
        raise ConfigInvalid("cgroups.cpu_period", f"{group.cpu_period} is not between 1000 and 1000000 µs")
    if 0 < group.cpu_quota < 1000:
        raise ConfigInvalid("cgroups.cpu_quota", f"{group.cpu_quota} µs is less than the kernel takes: 1000",
                            hint="choose a longer cpu_period for so small a share")
    for name in ("blkio_weight", "blkio_leaf_weight"):
        _weight(f"cgroups.{name}", getattr(group, name))
    for at, device in enumerate(group.blkio_weight_device):
        _weight(f"cgroups.blkio_weight_device[{at}].weight", device.weight)
        _weight(f"cgroups.blkio_weight_device[{at}].leafWeight", device.leaf_weight)
    for field in ("allowed_devices", "denied_devices"):
        for at, rule in enumerate(getattr(group, field)):
            _device_rule(f"cgroups.{field}[{at}]", rule)
    field = "allowed_devices" if group.allow_all_devices else "denied_devices"
    if getattr(group, field):
        raise ConfigInvalid(f"cgroups.{field}",
                            f"means nothing where allow_all_devices is {str(group.allow_all_devices).lower()}",
                            hint="the list of the exceptions is the other one")
    for name, text in group.unified.items():
        if "/" in name or "." not in name.strip(".") or "\n" in name:
            raise ConfigInvalid(joined("cgroups.unified", step(name)), "is not the name of a control file",
                                hint="names look like memory.high")
        if not text.strip():
            raise ConfigInvalid(joined("cgroups.unified", step(name)), "is empty", hint="say what to write")


_PLAIN = frozenset(("name", "parent", "allow_all_devices", "freezer"))
_ORDER = {"memory_swap": "it is memory and swap together"}


def _weight(at: str, weight: int) -> None:
    if weight and not 10 <= weight <= 1000:
        raise ConfigInvalid(at, f"{weight} is not between 10 and 1000")


def _device_rule(at: str, rule: Device) -> None:
    if rule.type not in (97, 98, 99):
        raise ConfigInvalid(f"{at}.type", f"{rule.type} is no type of device", hint="97 is a (all), 98 b, 99 c")
    if not rule.permissions or not set(rule.permissions) <= {"r", "w", "m"}:
        raise ConfigInvalid(f"{at}.permissions", f"{rule.permissions!r} is not made of r, w and m",
                            hint="r is to read, w to write, m to make the node")


def _absolute(at: str, path: str, hint: str) -> None:
    if path[:1] != "/":
        raise ConfigInvalid(at, f"expected an absolute path, got {path!r}" if path else "is empty", hint=hint)


RULES: Final[tuple[Callable[[Config, Kinds], None], ...]] = (
    rootfs,
    needed_namespaces,
    namespaces,
    id_maps,
    not_yet,
    mounts,
    root_propagation,
    paths,
    devices,
    host_names,
    sysctls,
    rlimits,
    capabilities,
    seccomp,
    scheduling,
    groups,
    labels,
    landlock,
    networks,
    clocks,
    cgroup,
    limits,
)
