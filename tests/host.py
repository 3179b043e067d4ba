"""What can this host do? One word per need, each a probe that returns None, or why not.

``@pytest.mark.needs("root", "cgroup2")`` skips a test where a probe says why not; NSCONTAINER_REQUIRE names the words
whose answer must be None, so that a machine meant to have them cannot skip in silence. The probes stand on the
standard library alone: they must not fail together with the code under test.
"""
from __future__ import annotations

import ctypes
import errno
import functools
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "PROBES", "Account", "as_ordinary_user", "debian_cache", "missing", "mounts_of_type", "ordinary_user", "own_cgroup",
    "required", "skip_text", "tried",
]

CLONE_NEWNS, CLONE_NEWTIME, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x80, 0x10000000, 0x40000000
CAP_SYS_RESOURCE = 24
PR_SET_DUMPABLE = 4
NOBODY = 65533  # an id without an account, and not the 65534 that stands for "unmapped"
_libc = ctypes.CDLL(None, use_errno=True)


class Account(NamedTuple):
    """Who an ordinary user is; *name* is None for a number that no account has."""

    name: str | None
    uid: int
    gid: int


def _call(name: str, *arguments: object) -> None:
    """Call a function of libc, or raise its OSError."""
    encoded = [os.fsencode(a) if isinstance(a, str) else a for a in arguments]
    if getattr(_libc, name)(*encoded) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def tried(action: Callable[[], object]) -> str | None:
    """Run *action* in a child of its own; return None, or the text of what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            action()
        except BaseException as error:
            os.write(writer, (str(error) or type(error).__name__).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read().decode()
    _, status = os.waitpid(pid, 0)
    return text or (f"the probe ended with status {status}" if status else None)


# --- who we are, and who we can become


def _root() -> str | None:
    return None if os.geteuid() == 0 else f"running as uid {os.geteuid()}"


def _owners_of_ranges(path: str) -> list[str]:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return []
    return [line.partition(":")[0] for line in lines if line.count(":") == 2]


@functools.cache
def ordinary_user() -> Account:
    """Return who stands for an ordinary user: ourselves, or an account with subordinate ids, or a bare number."""
    if os.geteuid() != 0:
        try:
            return Account(pwd.getpwuid(os.geteuid()).pw_name, os.geteuid(), os.getegid())
        except KeyError:
            return Account(None, os.geteuid(), os.getegid())
    with_gids = _owners_of_ranges("/etc/subgid")
    for name in _owners_of_ranges("/etc/subuid"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0 and name in with_gids:
            return Account(name, entry.pw_uid, entry.pw_gid)
    return Account(None, NOBODY, NOBODY)


def as_ordinary_user() -> None:
    """Become the ordinary user, for good: only ever in a child."""
    account = ordinary_user()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        # A change of ids leaves /proc/self to root, as if we had run a setuid program; no uid_map could be written.
        _call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
        os.environ["HOME"] = "/nonexistent" if account.name is None else pwd.getpwuid(account.uid).pw_dir
        for inherited in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS"):
            os.environ.pop(inherited, None)


def _user() -> str | None:
    return tried(as_ordinary_user)


def _user_python() -> str | None:
    """An ordinary user starts this interpreter and imports our package: not when it lies in root's home."""
    def start() -> None:
        as_ordinary_user()
        package = str(Path(__file__).resolve().parent.parent)
        code = f"import sys; sys.path.insert(0, {package!r}); import ctypes, _json, nscontainer"
        try:
            done = subprocess.run([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True)
        except OSError as error:
            raise OSError(f"uid {os.geteuid()} cannot run {sys.executable}: {error.strerror}") from None
        if done.returncode != 0:
            raise OSError(f"uid {os.geteuid()} with {sys.executable}: {done.stderr.strip().splitlines()[-1]}")

    return tried(start)


def _userns() -> str | None:
    def enter() -> None:
        as_ordinary_user()
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")

    return tried(enter)


def _subuid() -> str | None:
    name = ordinary_user().name
    if name is not None and all(name in _owners_of_ranges(path) for path in ("/etc/subuid", "/etc/subgid")):
        return None
    return f"{name or f'uid {ordinary_user().uid}'} owns no range in both /etc/subuid and /etc/subgid"


def _newuidmap() -> str | None:
    for tool in ("newuidmap", "newgidmap"):
        path = shutil.which(tool)
        if path is None:
            return f"no {tool}"
        if os.stat(path).st_uid != 0 or not (os.stat(path).st_mode & 0o4000 or os.listxattr(path)):
            return f"{path} is neither setuid root nor has file capabilities"
    return None


def _sys_resource() -> str | None:
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return None if int(held.split()[1], 16) >> CAP_SYS_RESOURCE & 1 else "no CAP_SYS_RESOURCE here"


# --- the kernel


def _kernel(major: int, minor: int) -> Callable[[], str | None]:
    def probe() -> str | None:
        release = os.uname().release
        first, second = release.replace("-", ".").split(".")[:2]
        return None if (int(first), int(second)) >= (major, minor) else f"this is Linux {release}"

    return probe


def _time_namespace() -> str | None:
    if not os.path.exists("/proc/self/ns/time"):
        return "this kernel has no time namespaces"
    return tried(lambda: _call("unshare", CLONE_NEWTIME)) if os.geteuid() == 0 else None


def _filesystem(name: str) -> str | None:
    known = [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]
    return None if name in known else f"this kernel has no {name}"


def _overlay() -> str | None:
    def attach() -> None:
        if os.geteuid() == 0:
            _call("unshare", CLONE_NEWNS)
        else:
            uid, gid = os.geteuid(), os.getegid()
            _call("unshare", CLONE_NEWNS | CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")  # without it mkdir ends in EOVERFLOW
        _call("mount", None, "/", None, ctypes.c_ulong(0x4000 | 0x40000), None)  # MS_REC|MS_PRIVATE
        _call("mount", "tmpfs", "/tmp", "tmpfs", ctypes.c_ulong(0), None)
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"/tmp/{name}")
        data = "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work"
        _call("mount", "overlay", "/tmp/merged", "overlay", ctypes.c_ulong(0), data)

    return tried(attach)


def _pty() -> str | None:
    def allocate() -> None:
        master, slave = os.openpty()
        os.close(slave)
        os.close(master)

    return tried(allocate)


def _apparmor() -> str | None:
    try:
        enabled = Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"
    except OSError:
        enabled = False
    return None if enabled else "AppArmor is not enabled"


def _selinux() -> str | None:
    return None if os.path.exists("/sys/fs/selinux/enforce") else "SELinux is not enabled"


def _systemd() -> str | None:
    if not os.path.isdir("/run/systemd/system"):
        return "systemd is not running"
    return None if os.path.exists("/run/dbus/system_bus_socket") else "there is no system bus"


# --- network interfaces


def _interface(kind: str) -> Callable[[], str | None]:
    """Root makes an interface of a kind, in a network namespace of its own, by a hand-made message of rtnetlink(7)."""
    def attribute(number: int, value: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)

    def make() -> None:
        _call("unshare", CLONE_NEWNET)
        # struct ifinfomsg, IFLA_IFNAME, IFLA_LINKINFO with IFLA_INFO_KIND
        body = bytes(16) + attribute(3, b"probe\0") + attribute(18, attribute(1, kind.encode()))
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
            kernel.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)  # RTM_NEWLINK
            number = -struct.unpack_from("=i", kernel.recv(4096), 16)[0]
        # A macvlan or ipvlan without a parent is refused after its kind was found.
        if number and not (number == errno.EINVAL and kind in ("macvlan", "ipvlan")):
            raise OSError(f"this kernel makes no {kind} here: {os.strerror(number)}")

    return lambda: _root() or tried(make)


# --- cgroups


def mounts_of_type(fstype: str) -> list[tuple[str, str]]:
    """Return mount point and super options of each mount of that type that we see."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == fstype:
            found.append((before.split()[4], after.split()[2]))
    return found


def own_cgroup(controller: str | None = None) -> Path | None:
    """Return the directory of this process in the v1 hierarchy of *controller*, or in v2's; None if not mounted."""
    mounts = mounts_of_type("cgroup2" if controller is None else "cgroup")
    inside = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        inside.update(dict.fromkeys(names.split(","), path))
    for point, options in mounts:
        if controller is None and "" in inside:
            return Path(point + inside[""])
        if controller is not None and controller in options.split(",") and controller in inside:
            return Path(point + inside[controller])
    return None


def _makes_directories(directory: Path) -> str | None:
    probe = directory / f"nscontainer-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"cannot make a directory in {directory}: {error.strerror}"
    return None


def _cgroup1() -> str | None:
    directory = own_cgroup("memory") or own_cgroup("pids")
    return "no cgroup v1 controller is mounted" if directory is None else _makes_directories(directory)


def _cgroup2() -> str | None:
    directory = own_cgroup()
    return "no cgroup v2 hierarchy is mounted" if directory is None else _makes_directories(directory)


def _cgroup2_only() -> str | None:
    if mounts_of_type("cgroup"):
        return "cgroup v1 is mounted too"
    return _cgroup2()


def _cgroup2_controllers() -> str | None:
    """v2 has the controllers, and gives them to the directories we make."""
    if (why_not := _cgroup2()) is not None:
        return why_not
    directory = own_cgroup()
    assert directory is not None
    available = (directory / "cgroup.controllers").read_text().split()
    lacking = [name for name in ("cpu", "memory", "pids") if name not in available]
    return f"{directory} has no {', '.join(lacking)}" if lacking else None


# --- programs and root file systems


def _program(name: str) -> Callable[[], str | None]:
    def probe() -> str | None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
        return None if shutil.which(name, path=path) else f"no {name}"

    return probe


def _is_static(path: str) -> bool:
    """A program without PT_INTERP (3) in its program headers brings no loader and no libraries."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] != b"\x7fELF" or head[4] != 2:
        return False
    start, size, count = (int.from_bytes(head[at:at + n], sys.byteorder) for at, n in ((32, 8), (54, 2), (56, 2)))
    kinds = [int.from_bytes(head[start + i * size:start + i * size + 4], sys.byteorder) for i in range(count)]
    return bool(kinds) and 3 not in kinds


def _busybox() -> str | None:
    path = shutil.which("busybox")
    if path is None:
        return "no busybox"
    return None if _is_static(path) else f"{path} is not static (Debian: busybox-static)"


def debian_cache() -> list[Path]:
    """Return where a Debian root may lie, the one to write to first; an ordinary user may read the one root made."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "nscontainer-tests"
    shared = Path("/var/cache/nscontainer-tests")
    return [own] if os.environ.get("XDG_CACHE_HOME") else [shared, own] if os.geteuid() == 0 else [own, shared]


def _debian() -> str | None:
    if any(folder.glob("debian-*/etc/debian_version") for folder in debian_cache()):
        return None
    for tool in ("mmdebstrap", "apt-get"):
        if (why_not := _program(tool)()) is not None:
            return why_not
    return None if os.geteuid() == 0 else _newuidmap() or _subuid()


PROBES: dict[str, Callable[[], str | None]] = {
    "root": _root,                           # effective uid 0
    "user": _user,                           # we are, or can become, an ordinary user (ordinary_user() says which)
    "user_python": _user_python,             # ... and that one can run this interpreter and import this checkout
    "userns": _userns,                       # an ordinary user may make a user namespace
    "subuid": _subuid,                       # the ordinary user owns subordinate user and group ids
    "newuidmap": _newuidmap,                 # newuidmap and newgidmap are here and privileged
    "sys_resource": _sys_resource,           # CAP_SYS_RESOURCE: raise a hard limit, lower oom_score_adj
    "kernel_5_11": _kernel(5, 11),           # overlay in a user namespace, epoll_pwait2
    "kernel_5_12": _kernel(5, 12),           # mount_setattr, id-mapped mounts
    "kernel_5_14": _kernel(5, 14),           # cgroup.kill
    "kernel_6_15": _kernel(6, 15),           # the exit status through a pidfd
    "time_namespace": _time_namespace,
    "overlay": _overlay,                     # mounts an overlay on tmpfs, in a user namespace if we are not root
    **{kind: _interface(kind) for kind in ("veth", "bridge", "macvlan", "ipvlan", "dummy")},   # by root
    "mqueue": lambda: _filesystem("mqueue"),
    "pty": _pty,
    "apparmor": _apparmor,
    "selinux": _selinux,
    "systemd": _systemd,
    "cgroup1": _cgroup1,                     # a v1 controller is mounted, and we may make directories in it
    "cgroup2": _cgroup2,                     # a v2 hierarchy is mounted, with or without controllers; the same
    "cgroup2_only": _cgroup2_only,           # no v1 beside it
    "cgroup2_controllers": _cgroup2_controllers,
    "busybox": _busybox,                     # a static one
    "debian": _debian,                       # a Debian root is in the cache, or can be made
    **{name: _program(name) for name in (
        "bwrap", "criu", "crun", "gcc", "ip", "iptables", "ldd", "mmdebstrap", "musl-gcc", "podman", "runc", "strace")},
}


@functools.cache
def missing(word: str) -> str | None:
    """Return why this host lacks *word*, None if it has it."""
    return PROBES[word]()


def required() -> frozenset[str]:
    """Return the words of NSCONTAINER_REQUIRE: a need of those fails where it would have skipped."""
    words = frozenset(filter(None, os.environ.get("NSCONTAINER_REQUIRE", "").replace(",", " ").split()))
    if unknown := sorted(words - PROBES.keys()):
        raise ValueError(f"NSCONTAINER_REQUIRE: no such need: {', '.join(unknown)}")
    return words


def skip_text(word: str, why_not: str) -> str:
    """Say what a skipped test needs: ``needs root: running as uid 1000``."""
    return f"needs {word}: {why_not}"


def main() -> None:
    """Print every word and what this host says to it."""
    for word in PROBES:
        print(f"{word:22} {missing(word) or 'yes'}")


if __name__ == "__main__":
    main()
