"""What run(), Popen and the command ``sandbox`` give a program: their common description of a container.

Without a root file system of its own the program gets a view of this host, copy-on-write: it sees the host's files, and
whatever it changes vanishes with it. It is process 1 of its own pid namespace, has its own mounts, host name, IPC and
network, the fourteen capabilities that container engines agree on, the system calls that programs need, and no way to
gain more.
"""
from __future__ import annotations

import os

from .config import (
    Config,
    IDMap,
    Landlock,
    Mount,
    Namespace,
    Namespaces,
    NamespaceType,
    Network,
    Seccomp,
    host_id,
)
from .devices import DEFAULT_SIMPLE_DEVICES
from .errors import ConfigInvalid
from .idmap import default_mappings
from .security.default_profile import default_profile
from .sys.mount import MS
from .sys.mount_api import MOUNT_ATTR
from .validate import ConfigValidator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final, Union

    from .resources import Cgroup

    Path = Union[str, os.PathLike[str]]
    NetworkLike = Union[str, Network, Iterable[Network]]
    MountLike = Union[Mount, str, tuple[Path, str], tuple[Path, str, str]]

__all__ = ["CAPABILITIES", "FILTERS", "HOSTNAME", "MASKED_PATHS", "NETWORKS", "PATH", "READONLY_PATHS", "as_mount",
           "bind", "capability_name", "describe", "environment", "starting_directory", "tmpfs"]

HOSTNAME: Final = "sandbox"
FILTERS: Final = ("default", "unconfined")
NETWORKS: Final = ("none", "host", "no-abstract-sockets")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

# proc(5) and sysfs show the whole machine, whatever the namespaces: what tells too much, and what changes too much.
MASKED_PATHS: Final = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_SAFE = int(MS.NOSUID | MS.NODEV | MS.NOEXEC)
_NEW = ("NEWPID", "NEWNS", "NEWIPC", "NEWUTS", "NEWCGROUP")
_TTY = 5  # the group that terminals belong to, on every distribution


def describe(*, rootfs: Path | None = None, ephemeral: bool | None = None, hostname: str = HOSTNAME,
             network: NetworkLike = "none", mounts: Iterable[MountLike] = (), read_only: bool = False,
             capabilities: Iterable[str] | None = None, seccomp: str | Seccomp = "default",
             limits: Cgroup | None = None) -> Config:
    """Return the configuration of a container for one program, checked; ConfigInvalid names the argument at fault.

    *ephemeral* — changes below / vanish; so they do on a view of this host (*rootfs* None), and there they must.
    *network* — "no-abstract-sockets" is the host's, less the sockets in it that have names and are no files, which a
    desktop's X server and message bus listen on: Landlock, Linux 6.12. Veth() and its like are interfaces beside the
    loopback's, in a network of its own; they take root.
    *seccomp* — "default", the profile of security/default_profile.py; "unconfined"; or a profile.
    *limits* — the cgroup that units.limits() describes.
    """
    if ephemeral is None:
        ephemeral = rootfs is None
    elif rootfs is None and not ephemeral:
        raise ConfigInvalid("ephemeral", "a view of this host is always ephemeral", hint="name a rootfs of your own")
    wired = _wired(network)
    alone = network not in ("host", "no-abstract-sockets")
    kinds = [*_NEW, *(["NEWNET"] if alone else [])]
    uids: Iterable[IDMap] = ()
    gids: Iterable[IDMap] = ()
    if os.geteuid() != 0:
        kinds.append("NEWUSER")
        uids, gids = default_mappings()
    in_user_namespace = "NEWUSER" in kinds
    held = CAPABILITIES if capabilities is None else tuple(capability_name(name) for name in capabilities)
    config = Config(
        rootfs="/" if rootfs is None else os.path.realpath(rootfs),
        ephemeral=ephemeral,
        readonlyfs=read_only,
        hostname=hostname,
        namespaces=Namespaces([Namespace(type=NamespaceType(kind)) for kind in kinds]),
        uid_mappings=tuple(uids),
        gid_mappings=tuple(gids),
        mounts=(*_mounts(tty=not in_user_namespace or host_id(tuple(gids), _TTY) is not None,
                         sysfs=not in_user_namespace or alone),
                *(as_mount(mount, f"mounts[{index}]") for index, mount in enumerate(mounts))),
        devices=DEFAULT_SIMPLE_DEVICES,
        networks=(*wired, Network(type="loopback")) if alone else (),
        capabilities=held,
        seccomp=_profile(seccomp, held),
        no_new_privileges=True,
        mask_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
        landlock=Landlock(scoped=("abstract_unix_socket",), strict=True) if network == "no-abstract-sockets" else None,
        cgroups=limits,
    )
    ConfigValidator().validate(config)
    return config


def _wired(network: NetworkLike) -> tuple[Network, ...]:
    """Return the interfaces that are asked for beside the loopback's; none where *network* is a word."""
    if isinstance(network, Network):
        return (network,)
    if network in NETWORKS:
        return ()
    if isinstance(network, str) or not hasattr(network, "__iter__"):
        raise ConfigInvalid("network", f"expected one of {', '.join(map(repr, NETWORKS))}, got {network!r}",
                            hint="or describe an interface: Veth(address=…, bridge=…)")
    wired = tuple(network)
    for index, one in enumerate(wired):
        if not isinstance(one, Network):
            raise ConfigInvalid(f"network[{index}]", f"expected a Network, got {one!r}")
    return wired


def Veth(address: str = "", gateway: str = "", *, bridge: str = "", name: str = "eth0", **more: Any) -> Network:
    """Describe an interface of a container whose other end is on the host, on *bridge* if one is named.

    *address* — with a prefix, "10.0.0.2/24" or "fd00::2/64", and *gateway* of the same family; both families: *more*,
    which are fields of Network.
    """
    v6 = ":" in (address or gateway)
    fields = {("ipv6_address" if v6 else "address"): address, ("ipv6_gateway" if v6 else "gateway"): gateway}
    return Network(type="veth", name=name, bridge=bridge, **{**fields, **more})


def _profile(wanted: str | Seccomp, held: Iterable[str]) -> Seccomp | None:
    if isinstance(wanted, Seccomp):
        return wanted
    if wanted not in FILTERS:
        raise ConfigInvalid("seccomp", f"expected a profile or one of {', '.join(map(repr, FILTERS))}, got {wanted!r}")
    return default_profile(held) if wanted == "default" else None


def _mounts(*, tty: bool, sysfs: bool) -> Iterable[Mount]:
    """The file systems the kernel itself provides. *tty*: its group has a number in our user namespace."""
    yield Mount(source="proc", destination="/proc", device="proc", flags=_SAFE)
    yield Mount(source="tmpfs", destination="/dev", device="tmpfs", flags=int(MS.NOSUID | MS.STRICTATIME),
                data="mode=755,size=64k")
    yield Mount(source="devpts", destination="/dev/pts", device="devpts", flags=int(MS.NOSUID | MS.NOEXEC),
                data="newinstance,ptmxmode=0666,mode=0620" + (f",gid={_TTY}" if tty else ""))
    yield Mount(source="shm", destination="/dev/shm", device="tmpfs", flags=_SAFE, data="mode=1777,size=64m")
    yield Mount(source="mqueue", destination="/dev/mqueue", device="mqueue", flags=_SAFE)
    if sysfs:  # in a user namespace it can be had for a network namespace of our own only: sysfs shows the network
        yield Mount(source="sysfs", destination="/sys", device="sysfs", flags=_SAFE | int(MS.RDONLY))


def bind(source: Path, destination: str, *, read_only: bool = False) -> Mount:
    """Describe a file or folder of the host, with everything mounted below it, at *destination* in the container."""
    return Mount(source=os.path.abspath(source), destination=destination, device="bind",
                 flags=int(MS.BIND | MS.REC | (MS.RDONLY if read_only else 0)),
                 recursive_set=int(MOUNT_ATTR.RDONLY) if read_only else 0)


def tmpfs(destination: str) -> Mount:
    """Describe an empty folder in memory at *destination*."""
    return Mount(source="tmpfs", destination=destination, device="tmpfs", flags=int(MS.NOSUID | MS.NODEV),
                 data="mode=1777")


def as_mount(wanted: MountLike, where: str = "mounts") -> Mount:
    """Make a Mount of ``"SRC:DST"``, ``"SRC:DST:ro"``, ``(src, dst)`` or ``(src, dst, "ro")``.

    A path with a colon in it needs one of the latter.
    """
    if isinstance(wanted, Mount):
        return wanted
    parts = wanted.split(":") if isinstance(wanted, str) else [*wanted] if isinstance(wanted, (tuple, list)) else []
    if not 2 <= len(parts) <= 3 or not all(parts) or len(parts) == 3 and parts[2] not in ("ro", "rw"):
        raise ConfigInvalid(where, f"expected SRC:DST or SRC:DST:ro, got {wanted!r}",
                            hint="a path with a colon: (src, dst), (src, dst, 'ro') or a Mount")
    destination = os.fspath(parts[1])
    if not destination.startswith("/"):
        raise ConfigInvalid(where, f"the destination {destination!r} is not absolute")
    return bind(parts[0], destination, read_only=parts[2:] == ["ro"])


def capability_name(name: str) -> str:
    """Return a capability's name as the kernel's header has it: ``chown`` is CAP_CHOWN."""
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"


def environment(rootfs: Path | None, env: Mapping[str, str] | None = None, user: str = "") -> list[str]:
    """Return the variables of the program: *env* and nothing else; without it a few that hold no secret.

    A caller's environment is full of passwords and tokens, and a program is put into a container because it is not
    trusted with them. So it inherits where programs are (on a view of this host: elsewhere that is the image's
    affair), the language and the kind of terminal. HOME comes from the container's own user database; only the root
    that an ordinary user becomes on a view of this host has that user's home, for root's is closed to him.
    """
    if env is not None:
        for name in env:
            if not name or "=" in os.fsdecode(name):
                raise ConfigInvalid("env", f"{name!r} is not the name of a variable")
        return [f"{os.fsdecode(name)}={os.fsdecode(value)}" for name, value in env.items()]
    given = {"PATH": PATH}
    inherited = ["LANG", "TERM"]
    if rootfs is None:
        inherited += ["PATH", "HOME"] if os.geteuid() != 0 and not user else ["PATH"]
    for name in inherited:
        if os.environ.get(name):
            given[name] = os.environ[name]
    return [f"{name}={value}" for name, value in given.items()]


def starting_directory(rootfs: Path | None, cwd: Path | None = None) -> str:
    """Return where the program starts: *cwd*, or on a view of this host where the caller is, else /."""
    if cwd is not None:
        return os.fspath(cwd)
    if rootfs is not None:
        return "/"
    try:
        return os.getcwd()
    except FileNotFoundError:  # it has been removed
        return "/"
