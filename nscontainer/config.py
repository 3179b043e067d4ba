"""What a container should be: Config and its parts, as Python values and as JSON.

Lesson  A container is a list of choices, one per kernel feature; here is the list.
Read    each field's manual page; for the words, the OCI runtime specification, config-linux.md

The fields, their order and their JSON keys are libcontainer's, so its configurations and state files can be read; the
last few are ours. Nothing here looks at the host: validate.py does.
"""
from __future__ import annotations

from .devices import Device
from .errors import ConfigInvalid
from .records import (
    Field,
    Record,
    Word,
    Wrong,
    boolean,
    choice,
    integer,
    many,
    many_by_name,
    mapping,
    numbers,
    one,
    pathname,
    pathnames,
    seconds,
    shown,
    strings,
    text,
    unsigned,
)
from .resources import Cgroup, FreezerState, HugepageLimit, IfPrioMap, ThrottleDevice, WeightDevice
from .sys.clone import CLONE
from .sys.flags import Enumeration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "ARCHITECTURES", "Action", "Arg", "CPUAffinity", "Capabilities", "Cgroup", "Command", "CommandHook", "Config",
    "Device", "FreezerState", "FunctionHook", "HookState", "Hooks", "HugepageLimit", "IDMap", "IOPriority",
    "IfPrioMap", "Landlock", "LandlockPaths", "LandlockPorts", "MemoryPolicy", "Mount", "Namespace", "NamespaceType",
    "Namespaces", "NetDevice", "Network", "OCIState", "Operator", "Rlimit", "Route", "Scheduler", "Seccomp",
    "Syscall", "ThrottleDevice", "TimeOffset", "WeightDevice", "host_id",
]

_U32 = (1 << 32) - 1


class Rlimit(Record):
    """A ceiling on one resource of the process: setrlimit(2)."""

    type: int = integer(0, 15)           # RLIMIT_*, see sys/resource.py
    hard: int = unsigned(64)             # how far the process may raise soft; 2**64 - 1: no limit
    soft: int = unsigned(64)             # enforced now


class IDMap(Record):
    """A range of ids, *size* long: from *container_id* inside, from *host_id* outside. user_namespaces(7)."""

    container_id: int = unsigned(32)
    host_id: int = unsigned(32)
    size: int = unsigned(32)


def host_id(mappings: tuple[IDMap, ...], container_id: int) -> int | None:
    """Return what an id of the container is outside, or None when the mappings leave it out."""
    for entry in mappings:
        if entry.container_id <= container_id < entry.container_id + entry.size:
            return entry.host_id + container_id - entry.container_id
    return None


class Capabilities(Record):
    """The five sets of capabilities(7), each by names such as CAP_CHOWN."""

    bounding: tuple[str, ...] = strings()
    effective: tuple[str, ...] = strings()
    permitted: tuple[str, ...] = strings()
    inheritable: tuple[str, ...] = strings()
    ambient: tuple[str, ...] = strings()


class TimeOffset(Record):
    """How far a clock of the container is ahead of the host's: time_namespaces(7)."""

    secs: int = integer(-(1 << 63), (1 << 63) - 1)
    nanosecs: int = integer(0, 999_999_999)


# ------------------------------------------------------------------------------------------------------ namespaces

class NamespaceType(Word):
    """A kind of namespace: namespaces(7)."""

    NEWNET = "NEWNET"
    NEWPID = "NEWPID"
    NEWNS = "NEWNS"
    NEWUTS = "NEWUTS"
    NEWIPC = "NEWIPC"
    NEWUSER = "NEWUSER"
    NEWCGROUP = "NEWCGROUP"
    NEWTIME = "NEWTIME"

    @property
    def file(self) -> str:
        """The name in /proc/PID/ns."""
        return _FILES[self.value]

    @property
    def flag(self) -> CLONE:
        """The flag of clone(2)."""
        return CLONE[self.value]


_FILES = {
    "NEWNET": "net", "NEWPID": "pid", "NEWNS": "mnt", "NEWUTS": "uts", "NEWIPC": "ipc", "NEWUSER": "user",
    "NEWCGROUP": "cgroup", "NEWTIME": "time",
}


class Namespace(Record):
    """One kind of namespace: a new one, or, with a path, one that exists."""

    type: NamespaceType = choice(NamespaceType)
    path: str = pathname()               # "/proc/1/ns/net", "/run/netns/blue"

    def get_path(self, pid: int) -> str:
        """Return the file to enter it by when *pid* lives in it."""
        return self.path or f"/proc/{pid}/ns/{self.type.file}"


class Namespaces(list[Namespace]):
    """The namespaces of a container; it shares those of the kinds that are not listed with its parent."""

    def find(self, kind: str) -> Namespace | None:
        """Return the entry of that kind."""
        for namespace in self:
            if namespace.type == kind:
                return namespace
        return None

    def add(self, kind: NamespaceType, path: str = "") -> None:
        """Have a namespace of that kind; one that is listed already gets the path."""
        found = self.find(kind)
        if found is None:
            self.append(Namespace(type=kind, path=path))
        else:
            found.path = path

    def remove_type(self, kind: str) -> bool:
        """Share that kind with the parent; False when it was not listed."""
        found = self.find(kind)
        if found is not None:
            self.remove(found)
        return found is not None

    def contains(self, kind: str) -> bool:
        """Say whether that kind is listed, new or by its path."""
        return self.find(kind) is not None

    def creates(self, kind: str) -> bool:
        """Say whether the container gets a new namespace of that kind."""
        found = self.find(kind)
        return found is not None and not found.path

    def clone_flags(self) -> CLONE:
        """Return the flags of clone(2) for the new ones."""
        flags = CLONE(0)
        for namespace in self:
            if not namespace.path:
                flags |= namespace.type.flag
        return flags


def _namespaces() -> Any:
    listed = many(Namespace)
    return Field(lambda values: Namespaces(listed.read(values)), fresh=Namespaces,
                 write=listed.write, pack=listed.pack, unpack=lambda values: Namespaces(listed.unpack(values)))


# ---------------------------------------------------------------------------------------------------------- mounts

class Command(Record):
    """A program of the host: argv is *path* and *args*; an empty *env* is the caller's."""

    path: str = pathname()
    args: tuple[str, ...] = strings()
    env: tuple[str, ...] = strings()     # KEY=VALUE
    dir: str = pathname()


class Mount(Record):
    """A file system, or a part of the host's, to be seen in the container: mount(2)."""

    source: str = pathname()
    destination: str = pathname()        # absolute, in the container
    device: str = text()                 # the type of file system, or "bind"
    flags: int = unsigned(32)            # MS_*
    propagation_flags: tuple[int, ...] = numbers(0, _U32)   # MS_SHARED and its kin, each a call of its own
    data: str = text()                   # options of the file system: "mode=755,size=64k"
    relabel: str = text()                # SELinux: "z" for a label shared by containers, "Z" for one of its own
    premount_cmds: tuple[Command, ...] = many(Command)
    postmount_cmds: tuple[Command, ...] = many(Command)
    recursive_set: int = unsigned(64)    # MOUNT_ATTR_* for all mounts below as well: mount_setattr(2), Linux 5.12
    recursive_clear: int = unsigned(64)
    uid_mappings: tuple[IDMap, ...] = many(IDMap)    # an id-mapped mount: host_id is the file's, as in a user namespace
    gid_mappings: tuple[IDMap, ...] = many(IDMap)
    copy_up: bool = boolean()            # a tmpfs begins with what the image has at its place
    clear_flags: int = unsigned(32)      # MS_* that the source of a bind mount may have, and this one has not


# --------------------------------------------------------------------------------------------------------- network

class Network(Record):
    """An interface of the container: "loopback", one end of a "veth" pair, "macvlan", "ipvlan" or "dummy"."""

    type: str = text()
    name: str = text()                   # inside
    bridge: str = text()                 # of the host, for a veth's other end; none: that is left to the caller
    mac_address: str = text()            # none: the kernel makes one up
    address: str = text()                # with a prefix: "10.0.0.2/24"
    gateway: str = text()                # where the default route leads
    ipv6_address: str = text()
    ipv6_gateway: str = text()
    mtu: int = integer(0, (1 << 31) - 1)           # bytes; 0: the kernel's choice
    txqueuelen: int = integer(0, (1 << 31) - 1)    # packets; 0: the kernel's choice
    host_interface_name: str = text()    # of a veth's other end; none: the start makes one up
    hairpin_mode: bool = boolean()       # let the bridge send a packet back where it came from
    # not libcontainer's
    parent: str = text()                 # the host's interface that a macvlan or ipvlan works through
    mode: str = text()                   # macvlan: private, vepa, bridge, passthru; ipvlan: l2, l3, l3s


class NetDevice(Record):
    """An interface of the host that becomes the container's, with its addresses. It does not come back."""

    name: str = text()                   # inside; none: as on the host; "eth%d" takes the first number that is free


class Route(Record):
    """A way out of the container's network. Gateway or interface, the rest as needed; all of IPv4, or all of IPv6."""

    destination: str = text()            # with a prefix; none: everything that no other route leads to
    source: str = text()                 # which of its own addresses the container uses on this way
    gateway: str = text()
    interface_name: str = text()         # in the container


# --------------------------------------------------------------------------------------------------------- seccomp

class Action(Enumeration):
    """What happens to a system call: seccomp(2). From the strictest: KILL_PROCESS, KILL, TRAP, ERRNO, NOTIFY, …"""

    KILL = 1             # the thread that called
    ERRNO = 2            # the call fails with errno_ret
    TRAP = 3             # SIGSYS
    ALLOW = 4
    TRACE = 5            # a tracer hears errno_ret and decides; without one the call fails with ENOSYS
    # not libcontainer's
    KILL_PROCESS = 6
    LOG = 7              # allow, and write it to the audit log
    NOTIFY = 8           # whoever holds the listener answers


class Operator(Enumeration):
    """How an argument is compared with *value*; MASK_EQUAL_TO: arg & value == value_two."""

    EQUAL_TO = 1
    NOT_EQUAL_TO = 2
    GREATER_THAN = 3
    GREATER_THAN_OR_EQUAL_TO = 4
    LESS_THAN = 5
    LESS_THAN_OR_EQUAL_TO = 6
    MASK_EQUAL_TO = 7


# The machines that can be filtered: libcontainer's words, the specification's, uname(2)'s, and what we call them.
ARCHITECTURES = {
    "amd64": "x86_64", "x86_64": "x86_64", "x86-64": "x86_64", "x64": "x86_64", "x86": "x86", "i386": "x86",
    "i686": "x86", "x32": "x32", "arm64": "aarch64", "aarch64": "aarch64", "arm": "arm", "armv7l": "arm",
    "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x", "s390": "s390",
}


class Arg(Record):
    """A condition on one argument of a system call: all 64 bits, unsigned."""

    index: int = integer(0, 5)
    value: int = unsigned(64)
    value_two: int = unsigned(64)
    op: Operator | None = choice(Operator)


class Syscall(Record):
    """What to do with a system call when all conditions on its arguments hold.

    Of several for one call, one without conditions holds; else the first whose conditions do.
    """

    name: str = text()
    action: Action | None = choice(Action)
    args: tuple[Arg, ...] = many(Arg)
    # not libcontainer's
    names: tuple[str, ...] = strings()                  # further calls, with the same rule
    errno_ret: int | None = integer(0, 0xFFFF, None)    # for ERRNO and TRACE; None: EPERM


class Seccomp(Record):
    """A filter of system calls: seccomp(2)."""

    default_action: Action | None = choice(Action)      # for calls without a rule
    architectures: tuple[str, ...] = strings()          # besides the machine's own; all others kill the thread
    syscalls: tuple[Syscall, ...] = many(Syscall)
    # not libcontainer's
    default_errno_ret: int | None = integer(0, 0xFFFF, None)
    flags: int | None = unsigned(32, None)              # SECCOMP_FILTER_FLAG_*; None: SPEC_ALLOW, as in runc
    listener_path: str = pathname()                     # a unix socket of whoever answers NOTIFY
    listener_metadata: str = text()                     # what it is told besides
    strict: bool = boolean()                            # refuse names that no machine has; else they are skipped


# -------------------------------------------------------------------------------------------------------- landlock

class LandlockPaths(Record):
    """What is allowed below directories, or on files, of the container."""

    paths: tuple[str, ...] = pathnames()
    access: tuple[str, ...] = strings()      # "read_file", "make_dir" …; "read", "write" and "all" stand for several


class LandlockPorts(Record):
    """What is allowed with TCP ports."""

    ports: tuple[int, ...] = numbers(0, 65535)
    access: tuple[str, ...] = strings()      # "bind_tcp", "connect_tcp", "all"


class Landlock(Record):
    """What the program may do beside what its users and namespaces allow: landlock(7).

    What is listed as handled is denied, but for what *paths* and *ports* allow.
    """

    handled_fs: tuple[str, ...] = strings()
    paths: tuple[LandlockPaths, ...] = many(LandlockPaths)
    handled_net: tuple[str, ...] = strings()
    ports: tuple[LandlockPorts, ...] = many(LandlockPorts)
    scoped: tuple[str, ...] = strings()      # out of reach outside: "abstract_unix_socket", "signal", "all"
    strict: bool = boolean()                 # fail where the kernel, or the image, lacks something of this


# ------------------------------------------------------------------------------------- when and where a program runs

class Scheduler(Record):
    """A policy of sched(7), and what it takes: sched_setattr(2)."""

    policy: int = integer(0, 6)              # SCHED_*, see sys/scheduling.py
    flags: int = unsigned(64)                # SCHED_FLAG_*
    nice: int = integer(-20, 19)             # with OTHER and BATCH
    priority: int = integer(0, 99)           # with FIFO and RR
    runtime: int = unsigned(64)              # ns, with DEADLINE, as are the next two
    deadline: int = unsigned(64)
    period: int = unsigned(64)


class IOPriority(Record):
    """A rank at the disk: ioprio_set(2)."""

    io_class: int = integer(1, 3)            # IOPRIO_CLASS_*, see sys/scheduling.py
    priority: int = integer(0, 7)            # 0 is the highest


class CPUAffinity(Record):
    """On which CPUs a further process enters the container, and on which it then runs: "0-3,7"; "": as inherited."""

    initial: str = text()
    final: str = text()


class MemoryPolicy(Record):
    """From which NUMA nodes the program gets its memory: set_mempolicy(2)."""

    mode: int = integer(0, 6)                # MPOL_*, see sys/mempolicy.py
    flags: int = unsigned(16)                # MPOL_F_*
    nodes: str = text()                      # "0-1,3"


# ----------------------------------------------------------------------------------------------------------- hooks

class CommandHook(Record):
    """A program of the host to run at a moment of the container's life: argv is exactly the command's *args*.

    It hears the HookState as JSON on its standard input. After *timeout* seconds it is killed, and has failed.
    """

    command: Command = one(Command)
    timeout: float | None = seconds()


class FunctionHook:
    """A Python callable to run at a moment of the container's life, in the caller's process."""

    def __init__(self, fn: Callable[[HookState], object]) -> None:
        if not callable(fn):
            raise TypeError(f"a FunctionHook takes a callable, not {shown(fn)}")
        self.fn = fn

    def __repr__(self) -> str:
        return f"FunctionHook({self.fn!r})"


class HookState(Record):
    """What a hook is told about its container."""

    version: str = text()
    id: str = text()
    pid: int = integer(0, (1 << 31) - 1)
    root: str = pathname()


class OCIState(HookState):
    """What a hook of an OCI bundle is told besides, under the specification's keys."""

    oci_version: str = text(key="ociVersion")
    status: str = text()
    bundle: str = pathname()
    annotations: dict[str, str] = mapping()


def _hooks() -> Any:
    def read(values: Any) -> tuple[CommandHook | FunctionHook, ...]:
        if not isinstance(values, (list, tuple)):
            raise Wrong(f"expected a list, got {shown(values)}")
        for index, value in enumerate(values):
            if not isinstance(value, (CommandHook, FunctionHook)):
                raise Wrong(f"expected a CommandHook or FunctionHook, got {shown(value)}").under(index)
        return tuple(values)

    return Field(read, default=(), serialised=False)


class Hooks(Record):
    """What to run, at which moments; lists in order. Never part of the JSON, so a loaded container has none."""

    prestart: tuple[CommandHook | FunctionHook, ...] = _hooks()         # in the caller; namespaces exist, nothing else
    create_runtime: tuple[CommandHook | FunctionHook, ...] = _hooks()   # right after prestart, the same
    create_container: tuple[CommandHook | FunctionHook, ...] = _hooks()  # in the container, its root not yet entered
    start_container: tuple[CommandHook | FunctionHook, ...] = _hooks()  # in the container, right before its program
    poststart: tuple[CommandHook | FunctionHook, ...] = _hooks()        # in the caller; the program runs
    poststop: tuple[CommandHook | FunctionHook, ...] = _hooks()         # in the caller; the container is gone


def _hooks_of_config() -> Any:
    def read(value: Any) -> Hooks:
        if not isinstance(value, Hooks):
            raise Wrong(f"expected Hooks, got {shown(value)}")
        return value

    return Field(read, fresh=Hooks, serialised=False)


# ---------------------------------------------------------------------------------------------------------- config

def _capabilities() -> Any:
    names = strings()

    def read(value: Any) -> Capabilities | tuple[str, ...]:
        if value is None or isinstance(value, (list, tuple)):
            return names.read(value)  # type: ignore[no-any-return]
        if not isinstance(value, (dict, Capabilities)):
            raise Wrong(f"expected a list of names, or an object of five lists, got {shown(value)}")
        return Capabilities.read(value)  # type: ignore[no-any-return]

    def write(value: Any) -> Any:
        return value.to_json() if isinstance(value, Capabilities) else list(value)

    def pack(value: Any) -> Any:
        return value.pack() if isinstance(value, Capabilities) else value

    def unpack(value: Any) -> Any:
        return Capabilities.unpack(value) if isinstance(value, dict) else tuple(value)

    return Field(read, default=(), write=write, pack=pack, unpack=unpack)


class Config(Record):
    """Everything about a container but the program that runs in it."""

    no_pivot_root: bool = boolean()              # MS_MOVE and chroot(2), for a host whose root is a ramfs
    parent_death_signal: int = integer(0, 64)    # to process 1 when its parent dies: PR_SET_PDEATHSIG; 0: none
    pivot_dir: str = pathname()                  # libcontainer's place for the old root; ours needs none
    rootfs: str = pathname()                     # absolute, without symlinks, on the host
    readonlyfs: bool = boolean()                 # / is mounted read-only in the end
    root_propagation: int = unsigned(32, key="rootPropagation")   # MS_* for / at first; 0: MS_SLAVE|MS_REC
    mounts: tuple[Mount, ...] = many(Mount)      # in this order
    devices: tuple[Device, ...] = many(Device)   # nodes to create; without any, /dev is left alone altogether
    mount_label: str = text()                    # SELinux
    hostname: str = text()
    namespaces: Namespaces = _namespaces()
    capabilities: tuple[str, ...] | Capabilities = _capabilities()   # those kept; flat: bounding, effective, permitted
    networks: tuple[Network, ...] = many(Network)
    routes: tuple[Route, ...] = many(Route)
    cgroups: Cgroup | None = one(Cgroup)
    apparmor_profile: str = text()
    process_label: str = text()                  # SELinux
    rlimits: tuple[Rlimit, ...] = many(Rlimit)   # those not listed are inherited
    oom_score_adj: int | None = integer(-1000, 1000, None)   # proc(5); None: as inherited
    additional_groups: tuple[str, ...] = strings()           # names or gids
    uid_mappings: tuple[IDMap, ...] = many(IDMap)
    gid_mappings: tuple[IDMap, ...] = many(IDMap)
    mask_paths: tuple[str, ...] = pathnames()        # not to be read, in the container
    readonly_paths: tuple[str, ...] = pathnames()    # not to be written
    sysctl: dict[str, str] = mapping()               # "kernel.shmmni": "4096"
    seccomp: Seccomp | None = one(Seccomp)
    hooks: Hooks = _hooks_of_config()
    version: str = text()                            # of the specification, for the hooks
    # not libcontainer's
    domainname: str = text()                         # NIS: setdomainname(2)
    no_new_privileges: bool = boolean()              # PR_SET_NO_NEW_PRIVS
    umask: int | None = integer(0, 0o777, None)      # None: 022
    time_offsets: dict[str, TimeOffset] = many_by_name(TimeOffset)   # "monotonic", "boottime"
    ephemeral: bool = boolean()                      # what is written to / goes to memory and is gone in the end
    landlock: Landlock | None = one(Landlock)
    no_new_keyring: bool = boolean()                 # keep the caller's session keyring: session-keyring(7)
    net_devices: dict[str, NetDevice] = many_by_name(NetDevice)   # by their names on the host
    scheduler: Scheduler | None = one(Scheduler)
    io_priority: IOPriority | None = one(IOPriority)
    exec_cpu_affinity: CPUAffinity | None = one(CPUAffinity)   # for further processes
    personality: int | None = integer(0, 0xFFFFFFFE, None)     # PER_*: personality(2)
    memory_policy: MemoryPolicy | None = one(MemoryPolicy)
    make_cwd: bool = boolean()                       # make the working directory when the image has none
    bundle: str = pathname()                         # the OCI bundle that it came from, for the hooks
    annotations: dict[str, str] = mapping()          # the same

    def host_uid(self) -> int:
        """Return what the container's root is on the host; ConfigInvalid when its user namespace has no root."""
        return self._host_id("uid_mappings", self.uid_mappings)

    def host_gid(self) -> int:
        """Return what the container's group 0 is on the host; ConfigInvalid when its user namespace has none."""
        return self._host_id("gid_mappings", self.gid_mappings)

    def _host_id(self, at: str, mappings: tuple[IDMap, ...]) -> int:
        if not self.namespaces.contains("NEWUSER"):
            return 0
        found = host_id(mappings, 0)
        if found is None:
            raise ConfigInvalid(at, "the container's id 0 is not mapped to any id of the host")
        return found
