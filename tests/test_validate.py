"""The rules between fields, and between a config and its host: what is refused, where, and with which advice."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nscontainer import validate
from nscontainer.config import (
    Action,
    Arg,
    Capabilities,
    Cgroup,
    Command,
    Config,
    Device,
    FreezerState,
    IDMap,
    Landlock,
    LandlockPaths,
    LandlockPorts,
    Mount,
    Namespace,
    Namespaces,
    NamespaceType,
    Network,
    Operator,
    Rlimit,
    Route,
    Seccomp,
    Syscall,
    TimeOffset,
    WeightDevice,
)
from nscontainer.devices import DEFAULT_SIMPLE_DEVICES, WILDCARD
from nscontainer.errors import ConfigInvalid
from nscontainer.sys.mount import MS
from nscontainer.validate import NOT_YET, ConfigValidator

NEW = tuple(kind for kind in NamespaceType if os.path.exists(f"/proc/self/ns/{kind.file}"))
PROC = Mount("proc", "/proc", "proc", MS.NOSUID)
MAP = (IDMap(0, 1000, 1),)
ALL_IDS = (1 << 32) - 1


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A config with every field that this version acts upon, and nothing wrong with it."""
    return Config(
        no_pivot_root=True, parent_death_signal=9, rootfs=str(tmp_path), readonlyfs=True,
        root_propagation=MS.PRIVATE | MS.REC, hostname="box", domainname="d" * 64, version="1.0", umask=0o27,
        ephemeral=True,
        mounts=(PROC, Mount("tmpfs", "/dev", "tmpfs", MS.NOSUID, data="mode=755"),
                Mount("/srv", "/a/.hidden/b", "", MS.BIND, (MS.SLAVE | MS.REC, MS.SHARED), uid_mappings=MAP,
                      gid_mappings=MAP, premount_cmds=(Command("/bin/true"),)),
                Mount("/x", "/proc/cpuinfo", "bind", MS.BIND), Mount("", "/procfs", "", MS.REMOUNT)),
        devices=(*DEFAULT_SIMPLE_DEVICES, Device(98, "/dev/sda", 8, 0, file_mode=0o060600),
                 Device(112, "/run/fifo", -1, -1)),
        namespaces=Namespaces(Namespace(kind) for kind in NEW), capabilities=("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"),
        networks=(Network(type="loopback", name="lo", address="127.0.0.1/0"),),
        cgroups=Cgroup(name="a", parent="/b/c", freezer=FreezerState.THAWED, allow_all_devices=True,
                       memory_swappiness=-1),
        rlimits=(Rlimit(7, 2, 2), Rlimit(0, 2**64 - 1, 0)), oom_score_adj=0,
        additional_groups=("audio", "0", "4294967294"),
        uid_mappings=(IDMap(1, 100000, 65535), IDMap(0, 1000, 1)), gid_mappings=(IDMap(0, 0, ALL_IDS),),
        mask_paths=("/proc/kcore", "/sys/.x"), readonly_paths=("/proc/sys",), no_new_privileges=True,
        sysctl={"net.ipv4.conf.eth0/100.forwarding": "1", "kernel/shmmni": "1", "fs.mqueue.msg_max": "9",
                "kernel.domainname": "x", "user.max_user_namespaces": "1"},
        time_offsets={"monotonic": TimeOffset(5), "boottime": TimeOffset(-1, 1)},
        apparmor_profile=":ns:web//&base", process_label="system_u:system_r:container_t:s0:c1,c2",
        mount_label="u:r:t", landlock=Landlock(
            ("read", "execute"), (LandlockPaths(("/usr",), ("execute", "read_file")),), ("bind_tcp",),
            (LandlockPorts((0, 65535), ("all",)),), ("signal",)))


def refusal(config: Any) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        ConfigValidator().validate(config)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.needs("time_namespace")
def test_a_config_that_uses_everything_is_fine(config: Config) -> None:
    before = config.to_json()
    ConfigValidator().validate(config)
    assert config.to_json() == before


def test_a_root_filesystem_is_all_that_must_be_said(tmp_path: Path) -> None:
    ConfigValidator().validate(Config(rootfs=tmp_path))  # type: ignore[arg-type]
    ConfigValidator().validate(Config(rootfs="/", cgroups=Cgroup()))


@pytest.mark.parametrize("junk", [None, {}, "config", Mount()])
def test_only_a_config_is_validated(junk: object) -> None:
    assert "expected a Config, got a" in str(refusal(junk))


# --- libcontainer's rules


@pytest.mark.parametrize("name, problem, hint", [
    ("", "is empty", "name the directory"),
    ("relative", "expected an absolute path, got 'relative'", "name the directory"),
    ("{}/missing", "'{}/missing' does not exist", "unpack an image there"),
    ("{}/missing/deeper", "'{}/missing/deeper' does not exist", "unpack an image there"),
    ("{}/file", "'{}/file' is not a directory", "unpack the image into a directory"),
    ("{}/file/root", "'{}/file/root' is not a directory", "unpack the image into a directory"),
    ("{}/link", "'{}/link' is a symlink to 'root'", "name the directory itself"),
    ("{}/link/deeper", "'{}/link' is a symlink to 'root'", "name the directory itself"),
    ("{}/dangling", "'{}/dangling' is a symlink to 'nowhere'", "name the directory itself"),
    ("{}/root/", "'{}/root/' is not a plain path", "write '{}/root'"),
    ("{}/x/../root", "'{}/x/../root' is not a plain path", "write '{}/root'"),
    ("/{}/root", "'/{}/root' is not a plain path", "write '{}/root'"),
    ("{}/" + "x" * 300, "is too long", "choose a directory"),
])
def test_the_root_filesystem_is_a_directory_by_its_real_name(
        tmp_path: Path, name: str, problem: str, hint: str) -> None:
    (tmp_path / "root" / "deeper").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("root")
    (tmp_path / "dangling").symlink_to("nowhere")
    error = refusal(Config(rootfs=name.format(tmp_path)))
    assert error.path == "rootfs"
    assert problem.format(tmp_path) in error.problem
    assert hint.format(tmp_path) in str(error.hint)


@pytest.mark.needs("user")
def test_a_root_filesystem_out_of_reach_is_refused(as_user: Any, user_tmp_path: Path) -> None:
    (user_tmp_path / "closed" / "root").mkdir(parents=True)
    (user_tmp_path / "closed").chmod(0)

    def validate_it() -> str:
        return str(refusal(Config(rootfs=str(user_tmp_path / "closed" / "root"))))

    try:
        assert "may not be entered; choose a directory that this user can reach" in as_user(validate_it)
    finally:
        (user_tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("field, value, kind, new", [
    ("networks", (Network(type="loopback"),), "NEWNET", False),
    ("routes", (Route(),), "NEWNET", False),
    ("hostname", "box", "NEWUTS", False),
    ("domainname", "box", "NEWUTS", False),
    ("mask_paths", ("/proc/kcore",), "NEWNS", True),
    ("readonly_paths", ("/proc/sys",), "NEWNS", True),
    ("mounts", (PROC,), "NEWNS", True),
    ("devices", DEFAULT_SIMPLE_DEVICES, "NEWNS", True),
    ("readonlyfs", True, "NEWNS", True),
    ("rootPropagation", MS.PRIVATE, "NEWNS", True),
    ("no_pivot_root", True, "NEWNS", True),
    ("ephemeral", True, "NEWNS", True),
    ("uid_mappings", MAP, "NEWUSER", False),
    ("gid_mappings", MAP, "NEWUSER", False),
    ("time_offsets", {"monotonic": TimeOffset(1)}, "NEWTIME", True),
])
def test_what_would_change_the_host_needs_a_namespace(
        tmp_path: Path, field: str, value: Any, kind: str, new: bool) -> None:
    name = "root_propagation" if field == "rootPropagation" else field
    config = Config(rootfs=str(tmp_path), **{name: value})
    error = refusal(config)
    assert (error.path, error.problem) == (field, f"needs a namespace of type {kind}")
    assert str(error.hint).startswith("add it to namespaces, or leave")
    config.namespaces.add(NamespaceType(kind), "/proc/1/ns/x")
    error = refusal(config)
    assert (error.path == field and "needs a new namespace" in error.problem) == new


def test_a_namespace_is_listed_once_and_says_its_type(config: Config) -> None:
    config.namespaces.append(Namespace(NamespaceType.NEWNS))
    error = refusal(config)
    assert (error.path, error.problem) == (f"namespaces[{len(NEW)}].type", "NEWNS is listed before")
    config.namespaces[-1] = Namespace()
    assert str(refusal(config)).startswith(f"namespaces[{len(NEW)}].type: is missing")
    config.namespaces[-1] = "NEWNS"  # type: ignore[call-overload]
    assert refusal(config).problem == "expected an object, got 'NEWNS'"


@pytest.mark.parametrize("path, problem", [
    ("net", "expected an absolute path, got 'net'"),
    ("/proc/self/ns/none", "cannot open '/proc/self/ns/none': no such file or directory"),
    ("/proc/self/ns/uts", "'/proc/self/ns/uts' is a namespace of another type: CLONE_NEWUTS, not CLONE_NEWNET"),
    ("/proc/self/ns", "'/proc/self/ns' is not a namespace"),
    ("/proc/self/status", "'/proc/self/status' is not a namespace"),
    ("/dev/null", "'/dev/null' is not a namespace"),
    ("{}/fifo", "'{}/fifo' is not a namespace"),
    ("{}/file", "'{}/file' is not a namespace"),
])
def test_a_namespace_to_join_is_a_file_of_its_type(tmp_path: Path, path: str, problem: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    config = Config(rootfs=str(tmp_path), namespaces=Namespaces([
        Namespace(NamespaceType.NEWUTS), Namespace(NamespaceType.NEWNET, path.format(tmp_path))]))
    error = refusal(config)
    assert (error.path, error.problem) == ("namespaces[1].path", problem.format(tmp_path))
    assert error.hint == "name a file such as /proc/PID/ns/net"
    config.namespaces[1].path = "/proc/self/ns/net"
    ConfigValidator().validate(config)


def test_a_device_is_not_opened_to_see_whether_it_is_a_namespace(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a watchdog starts it."""
    def fail(*_: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", fail)
    refusal(Config(rootfs=str(tmp_path), namespaces=Namespaces([Namespace(NamespaceType.NEWNET, "/dev/null")])))


def test_a_kind_of_namespace_that_the_kernel_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "_kinds_known", set())
    monkeypatch.setattr(validate, "exists", lambda path: not path.startswith("/proc/self/ns/"))
    error = refusal(Config(rootfs=str(tmp_path), namespaces=Namespaces([Namespace(NamespaceType.NEWTIME)])))
    assert str(error).startswith("namespaces[0].type: this kernel has no namespaces of type NEWTIME; ")


@pytest.mark.parametrize("mappings, path, problem", [
    ((), "", "is empty, and the container has a new user namespace"),
    ((IDMap(1, 1000, 1),), "", "container id 0 is not mapped"),
    ((IDMap(0, 1000, 0),), "[0].size", "is 0"),
    ((IDMap(0, 1000, 1), IDMap(ALL_IDS, 2000, 1)), "[1].container_id", "go beyond the last"),
    ((IDMap(0, ALL_IDS, 1),), "[0].host_id", "go beyond the last"),
    ((IDMap(0, 1, ALL_IDS),), "[0].host_id", "go beyond the last"),
    ((IDMap(0, 1000, 10), IDMap(9, 2000, 1)), "[1].container_id", "overlaps the range of uid_mappings[0]"),
    ((IDMap(5, 1009, 1), IDMap(0, 1000, 5), IDMap(6, 1002, 3)), "[2].host_id", "overlaps the range of uid_mappings[1]"),
    (tuple(IDMap(i, i, 1) for i in range(341)), "", "341 ranges; the kernel takes 340"),
])
def test_an_id_map_is_one_that_the_kernel_takes(
        tmp_path: Path, mappings: tuple[IDMap, ...], path: str, problem: str) -> None:
    user = Namespaces([Namespace(NamespaceType.NEWUSER)])
    config = Config(rootfs=str(tmp_path), namespaces=user, uid_mappings=mappings, gid_mappings=MAP)
    error = refusal(config)
    assert error.path == f"uid_mappings{path}"
    assert problem in error.problem and error.hint
    config = Config(rootfs=str(tmp_path), namespaces=user, uid_mappings=MAP, gid_mappings=mappings)
    assert refusal(config).path == f"gid_mappings{path}"


def test_a_user_namespace_to_join_has_its_maps_already(tmp_path: Path) -> None:
    config = Config(rootfs=str(tmp_path), namespaces=Namespaces([
        Namespace(NamespaceType.NEWUSER, "/proc/self/ns/user")]))
    ConfigValidator().validate(config)
    config.uid_mappings = (IDMap(5, 5, 0),)
    assert refusal(config).path == "uid_mappings[0].size"


# --- ours, by field

BIND = int(MS.BIND)


@pytest.mark.parametrize("change, path, problem", [
    # mounts
    ({"mounts": [Mount("x", "", "tmpfs")]}, "mounts[0].destination", "is empty"),
    ({"mounts": [PROC, Mount("x", "a", "tmpfs")]}, "mounts[1].destination", "expected an absolute path, got 'a'"),
    ({"mounts": [Mount("x", "/", "tmpfs")]}, "mounts[0].destination", "would hide the root file system"),
    ({"mounts": [Mount("x", "//./", "tmpfs")]}, "mounts[0].destination", "would hide the root file system"),
    ({"mounts": [Mount("x", "/a/..", "tmpfs")]}, "mounts[0].destination", "goes up again with '..'"),
    ({"mounts": [Mount("x", "/a/../proc/sys", "tmpfs")]}, "mounts[0].destination", "goes up again with '..'"),
    ({"mounts": [Mount("/x", "/proc/sys", "bind", BIND)]}, "mounts[0].destination", "is inside /proc"),
    ({"mounts": [Mount("x", "//proc/.//sys/", "tmpfs")]}, "mounts[0].destination", "'/proc/sys' is inside /proc"),
    ({"mounts": [Mount("/x", "/proc/cpuinfo/x", "bind", BIND)]}, "mounts[0].destination", "is inside /proc"),
    ({"mounts": [Mount("/x", "/proc/self/attr", "bind", BIND)]}, "mounts[0].destination", "is inside /proc"),
    ({"mounts": [Mount("tmpfs", "/proc", "tmpfs")]}, "mounts[0].destination", "nothing but a proc file system"),
    ({"mounts": [Mount("/x", "/proc/", "proc", BIND)]}, "mounts[0].destination", "nothing but a proc file system"),
    ({"mounts": [Mount("x", "/a")]}, "mounts[0].device", "is missing"),
    ({"mounts": [Mount("", "/a", "bind")]}, "mounts[0].source", "is empty"),
    ({"mounts": [Mount("x", "/a", "", BIND)]}, "mounts[0].source", "expected an absolute path, got 'x'"),
    ({"mounts": [Mount("/x", "/a", "bind", BIND, data="mode=1")]}, "mounts[0].data", "a bind mount has no options"),
    ({"mounts": [Mount("x", "/a", "tmpfs", MS.SHARED)]}, "mounts[0].flags", "MS_SHARED needs a call of its own"),
    ({"mounts": [Mount("x", "/a", "tmpfs", 0, (MS.SLAVE, MS.REC))]}, "mounts[0].propagation_flags[1]",
     "MS_REC is no propagation"),
    ({"mounts": [Mount("x", "/a", "tmpfs", 0, (MS.SLAVE | MS.SHARED,))]}, "mounts[0].propagation_flags[0]",
     "MS_SLAVE|MS_SHARED is no propagation"),
    ({"mounts": [Mount("/x", "/a", "bind", BIND, uid_mappings=MAP)]}, "mounts[0].gid_mappings", "is empty"),
    ({"mounts": [Mount("/x", "/a", "bind", BIND, uid_mappings=MAP, gid_mappings=(IDMap(),))]},
     "mounts[0].gid_mappings[0].size", "is 0"),
    ({"mounts": [Mount("x", "/a", "tmpfs", uid_mappings=MAP, gid_mappings=MAP)]}, "mounts[0].uid_mappings",
     "only a bind mount can be id-mapped"),
    ({"mounts": [Mount("x", "/a", "tmpfs", postmount_cmds=(Command(),))]}, "mounts[0].postmount_cmds[0].path",
     "is empty"),
    ({"mounts": [PROC, Mount("x", "/a", "tmpfs", relabel="x")]}, "mounts[1].relabel", "'x' is neither z nor Z"),
    ({"root_propagation": MS.NOSUID}, "rootPropagation", "MS_NOSUID is no propagation"),
    # paths
    ({"mask_paths": ["/a", "b"]}, "mask_paths[1]", "expected an absolute path, got 'b'"),
    ({"mask_paths": [""]}, "mask_paths[0]", "is empty"),
    ({"readonly_paths": ["/"]}, "readonly_paths[0]", "'/' is not below the root"),
    ({"readonly_paths": ["/a/../.."]}, "readonly_paths[0]", "is not below the root"),
    # devices
    ({"devices": [Device(0, "/dev/a")]}, "devices[0].type", "0 is no type of node"),
    ({"devices": [Device(97, "/dev/a")]}, "devices[0].type", "97 is no type of node"),
    ({"devices": [Device(99, "dev/a")]}, "devices[0].path", "expected an absolute path"),
    ({"devices": [Device(99, "/dev/../../a")]}, "devices[0].path", "goes up again"),
    ({"devices": [Device(99, "/")]}, "devices[0].path", "would hide the root"),
    ({"devices": [Device(99, "/dev/a", WILDCARD, 0)]}, "devices[0].major", "-1 is not between 0 and 4095"),
    ({"devices": [Device(99, "/dev/a", 4096, 0)]}, "devices[0].major", "4096 is not between 0 and 4095"),
    ({"devices": [Device(98, "/dev/a", 0, 1 << 20)]}, "devices[0].minor", "1048576 is not between 0 and 1048575"),
    ({"devices": [Device(99, "/dev/a", file_mode=0o060666)]}, "devices[0].file_mode",
     "0o60666 is no mode of such a node"),
    ({"devices": [Device(99, "/dev/a", permissions="rx")]}, "devices[0].permissions", "'rx' is not made of r, w and m"),
    ({"devices": [Device(99, "/dev/a", uid=ALL_IDS)]}, "devices[0].uid", "4294967295 is nobody's id"),
    ({"devices": [Device(99, "/dev/a", gid=ALL_IDS)]}, "devices[0].gid", "4294967295 is nobody's id"),
    # names
    ({"hostname": "h" * 65}, "hostname", "65 bytes; the kernel takes 64"),
    ({"domainname": "ü" * 33}, "domainname", "66 bytes; the kernel takes 64"),
    # kernel parameters
    ({"sysctl": {"kernel.panic": "1"}}, 'sysctl["kernel.panic"]', "belongs to the host"),
    ({"sysctl": {"kernel.shmmni_x": "1"}}, 'sysctl["kernel.shmmni_x"]', "belongs to the host"),
    ({"sysctl": {"kernel.shmmni.x": "1"}}, 'sysctl["kernel.shmmni.x"]', "belongs to the host"),
    ({"sysctl": {"netx.a": "1"}}, 'sysctl["netx.a"]', "belongs to the host"),
    ({"sysctl": {"net": "1"}}, "sysctl.net", "belongs to the host"),
    ({"sysctl": {"vm.swappiness": "1"}}, 'sysctl["vm.swappiness"]', "belongs to the host"),
    ({"sysctl": {"kernel.hostname": "x"}}, 'sysctl["kernel.hostname"]', "is not set this way"),
    ({"sysctl": {"net/../kernel/panic": "1"}}, 'sysctl["net/../kernel/panic"]',
     "is not the name of a kernel parameter"),
    ({"sysctl": {"net.//.kernel": "1"}}, 'sysctl["net.//.kernel"]', "is not the name of a kernel parameter"),
    ({"sysctl": {"net..a": "1"}}, 'sysctl["net..a"]', "is not the name of a kernel parameter"),
    ({"sysctl": {"/net/a": "1"}}, 'sysctl["/net/a"]', "is not the name of a kernel parameter"),
    ({"sysctl": {"net.a.": "1"}}, 'sysctl["net.a."]', "is not the name of a kernel parameter"),
    ({"sysctl": {"Net.a": "1"}}, 'sysctl["Net.a"]', "is not the name of a kernel parameter"),
    ({"sysctl": {"net.a b": "1"}}, 'sysctl["net.a b"]', "is not the name of a kernel parameter"),
    ({"sysctl": {"": "1"}}, 'sysctl[""]', "is not the name of a kernel parameter"),
    ({"sysctl": {"kernel.sem": "1", "kernel/sem": "2"}}, 'sysctl["kernel/sem"]',
     "is the same parameter as 'kernel.sem'"),
    # the process
    ({"rlimits": [Rlimit(7, 1, 2)]}, "rlimits[0].soft", "2 is above hard, 1"),
    ({"rlimits": [Rlimit(7), Rlimit(1), Rlimit(7)]}, "rlimits[2].type", "rlimits[0] has type 7 already"),
    ({"capabilities": ["CAP_KILL", "CAP_FOO"]}, "capabilities[1]", "'CAP_FOO' is not a capability"),
    ({"capabilities": Capabilities(ambient=("CAP_",))}, "capabilities.ambient[0]", "'CAP_' is not a capability"),
    ({"capabilities": Capabilities(effective=("CAP_KILL",))}, "capabilities.effective[0]", "CAP_KILL is not permitted"),
    ({"capabilities": Capabilities(permitted=("CAP_KILL",), ambient=("CAP_KILL",))}, "capabilities.ambient[0]",
     "CAP_KILL is not inheritable"),
    # the filter of system calls
    ({"seccomp": Seccomp()}, "seccomp.default_action", "is missing"),
    ({"seccomp": Seccomp(Action.NOTIFY)}, "seccomp.default_action", "cannot be NOTIFY"),
    ({"seccomp": Seccomp(Action.ALLOW, default_errno_ret=1)}, "seccomp.default_errno_ret",
     "goes with ERRNO and TRACE, not with ALLOW"),
    ({"seccomp": Seccomp(Action.ALLOW, ("amd64", "vax"))}, "seccomp.architectures[1]", "'vax' is no machine we know"),
    *[({"seccomp": Seccomp(Action.ALLOW, (), (Syscall("read", Action.LOG), call))}, f"seccomp.syscalls[1].{field}",
       problem) for call, field, problem in (
        (Syscall("", Action.ERRNO), "name", "is missing"),
        (Syscall("", Action.ERRNO, (), ("a", "")), "names[1]", "is empty"),
        (Syscall("write"), "action", "is missing"),
        (Syscall("write", Action.TRAP, errno_ret=0), "errno_ret", "goes with ERRNO and TRACE, not with TRAP"),
        (Syscall("write", Action.ERRNO, errno_ret=4096), "errno_ret", "4096 is above 4095"),
        (Syscall("write", Action.ERRNO, (Arg(0, op=Operator.EQUAL_TO),) * 7), "args", "7 conditions"),
        (Syscall("write", Action.ERRNO, (Arg(0, op=Operator.EQUAL_TO), Arg(1))), "args[1].op", "is missing"),
        (Syscall("write", Action.ERRNO, (Arg(3, op=Operator.EQUAL_TO),) * 2), "args[1].index",
         "args[0] has index 3 already"),
        (Syscall("", Action.KILL, (), ("write", "execve")), "action", "denies execve: the program could not be"),
        (Syscall("", Action.NOTIFY, (), ("write", "execve")), "action", "denies execve"),
        (Syscall("", Action.NOTIFY, (), ("write", "sendmsg")), "action", "denies sendmsg: the child could not hand"),
    )],
    ({"seccomp": Seccomp(Action.ERRNO, (), (Syscall("read", Action.ALLOW),))}, "seccomp.default_action",
     "denies execve: the program could not be started"),
    ({"seccomp": Seccomp(Action.ALLOW, listener_path="/x")}, "seccomp.listener_path", "and there is none"),
    ({"seccomp": Seccomp(Action.ALLOW, (), (Syscall("read", Action.NOTIFY),), listener_path="x")},
     "seccomp.listener_path", "expected an absolute path, got 'x'"),
    ({"seccomp": Seccomp(Action.ALLOW, (), (Syscall("read", Action.NOTIFY),), listener_metadata="x")},
     "seccomp.listener_metadata", "needs listener_path"),
    ({"seccomp": Seccomp(Action.ALLOW, flags=0x8)}, "seccomp.flags", "0x8 cannot be asked for"),
    ({"seccomp": Seccomp(Action.ALLOW, flags=0x20)}, "seccomp.flags", "WAIT_KILLABLE_RECV is for an action NOTIFY"),
    ({"additional_groups": ["audio", ""]}, "additional_groups[1]", "'' is not a group"),
    ({"additional_groups": ["a:b"]}, "additional_groups[0]", "'a:b' is not a group"),
    ({"additional_groups": ["-1"]}, "additional_groups[0]", "-1 is not between 0 and 4294967294"),
    ({"additional_groups": ["4294967295"]}, "additional_groups[0]", "4294967295 is not between"),
    ({"additional_groups": ["9" * 5000]}, "additional_groups[0]", "99... is not between"),
    ({"additional_groups": ["٣"]}, "additional_groups[0]", "٣ is not between"),
    ({"time_offsets": {"realtime": TimeOffset()}}, "time_offsets.realtime", "is none of monotonic, boottime"),
    ({"mounts": [PROC, Mount("x", "/a", "tmpfs", relabel="zZ")]}, "mounts[1].relabel", "shared and private at once"),
    ({"apparmor_profile": "a\nb"}, "apparmor_profile", "is not the name of a profile"),
    ({"apparmor_profile": " web"}, "apparmor_profile", "' web' is not the name of a profile"),
    ({"apparmor_profile": "w" * 5000}, "apparmor_profile", "ww...' is not the name of a profile"),
    ({"process_label": "container_t"}, "process_label", "'container_t' is not an SELinux context"),
    ({"process_label": "u:r:t:s0 x"}, "process_label", "'u:r:t:s0 x' is not an SELinux context"),
    ({"mount_label": "u::t:s0"}, "mount_label", "'u::t:s0' is not an SELinux context"),
    ({"landlock": Landlock()}, "landlock", "restricts nothing"),
    ({"landlock": Landlock(handled_fs=("execute", "fly"))}, "landlock.handled_fs[1]", "'fly' is none of Landlock's"),
    ({"landlock": Landlock(scoped=("all", "signals"))}, "landlock.scoped[1]", "'signals' is none"),
    ({"landlock": Landlock(scoped=("all",)), "no_new_privileges": False}, "landlock", "needs no_new_privileges"),
    ({"no_new_privileges": True, "landlock": Landlock(("all",), (LandlockPaths(("usr",), ("read",)),))},
     "landlock.paths[0].paths[0]", "expected an absolute path, got 'usr'"),
    ({"no_new_privileges": True, "landlock": Landlock(("all",), (LandlockPaths(("/usr",), ()),))},
     "landlock.paths[0].access", "is empty"),
    ({"no_new_privileges": True, "landlock": Landlock(("all",), (LandlockPaths(("/usr",), ("bind_tcp",)),))},
     "landlock.paths[0].access[0]", "'bind_tcp' is none"),
    ({"no_new_privileges": True, "landlock": Landlock(("all",), (), (), (LandlockPorts((80,), ("bind_tcp",)),))},
     "landlock.ports[0]", "allows what is not restricted: handled_net is empty"),
    ({"cgroups": Cgroup(name="a/b")}, "cgroups.name", "'a/b' is not the name of a directory"),
    ({"cgroups": Cgroup(name="..")}, "cgroups.name", "'..' is not the name of a directory"),
    ({"cgroups": Cgroup(parent="a/../b")}, "cgroups.parent", "goes up with '..'"),
    # limits
    ({"cgroups": Cgroup(memory=9, memory_swap=8)}, "cgroups.memory_swap", "8 is below memory, 9"),
    ({"cgroups": Cgroup(memory_swap=8)}, "cgroups.memory_swap", "needs a limit of memory"),
    ({"cgroups": Cgroup(memory=9, memory_reservation=10)}, "cgroups.memory", "9 is below memory_reservation, 10"),
    ({"cgroups": Cgroup(memory_low=1, memory_reservation=1)}, "cgroups.memory_low", "another name for memory_res"),
    ({"cgroups": Cgroup(cpu_weight=1, cpu_shares=2)}, "cgroups.cpu_weight", "is another name for cpu_shares"),
    ({"cgroups": Cgroup(cpu_period=999)}, "cgroups.cpu_period", "999 is not between 1000 and 1000000"),
    ({"cgroups": Cgroup(cpu_quota=999)}, "cgroups.cpu_quota", "999 µs is less than the kernel takes"),
    ({"cgroups": Cgroup(blkio_weight=9)}, "cgroups.blkio_weight", "9 is not between 10 and 1000"),
    ({"cgroups": Cgroup(blkio_weight_device=(WeightDevice(8, 0, 0, 1001),))},
     "cgroups.blkio_weight_device[0].leafWeight", "1001 is not between"),
    ({"cgroups": Cgroup(allowed_devices=(Device(112, "", 1, 1, "r"),))}, "cgroups.allowed_devices[0].type", "112 is"),
    ({"cgroups": Cgroup(denied_devices=(Device(99, "", 1, 1, ""),))}, "cgroups.denied_devices[0].permissions", "''"),
    ({"cgroups": Cgroup(denied_devices=(Device(99, "", 1, 1, "x"),))}, "cgroups.denied_devices[0].permissions", "'x'"),
    ({"cgroups": Cgroup(denied_devices=(Device(99, "", 1, 1, "r"),))}, "cgroups.denied_devices", "means nothing where"),
    ({"cgroups": Cgroup(unified={"../memory.max": "1"})}, 'cgroups.unified["../memory.max"]', "is not the name"),
    ({"cgroups": Cgroup(unified={"memory": "1"})}, "cgroups.unified.memory", "is not the name"),
    ({"cgroups": Cgroup(unified={"memory.max": " "})}, 'cgroups.unified["memory.max"]', "is empty"),
])
def test_a_rule_that_does_not_hold_is_one_complaint(
        config: Config, change: dict[str, Any], path: str, problem: str) -> None:
    if len(NEW) < len(NamespaceType):  # a kernel without time namespaces
        config.namespaces = Namespaces(Namespace(kind) for kind in NEW)
        config.time_offsets = {}
    for name, value in change.items():
        setattr(config, name, value)
    error = refusal(config)
    assert error.path == path
    assert problem in error.problem
    assert len(str(error)) < 350


UNBUILT: dict[str, Any] = {
    "cgroups.scope_prefix": "x",
}


@pytest.mark.parametrize("path", [path for path in NOT_YET if "[]" not in path])
def test_a_field_whose_room_is_not_built_is_refused(config: Config, path: str) -> None:
    parent, _, name = path.rpartition(".")
    setattr(config.cgroups if parent else config, name, UNBUILT.get(path, 1))
    error = refusal(config)
    assert (error.path, error.problem) == (path, f"{name} is not supported yet by this version")
    assert error.hint == "leave it out"


def test_a_field_that_says_what_is_so_anyway_is_not_refused(tmp_path: Path) -> None:
    config = Config.from_json({**Config().to_json(), "rootfs": str(tmp_path), "cgroups": Cgroup().to_json()})
    ConfigValidator().validate(config)
    config.mount_label = ""
    ConfigValidator().validate(config)


def test_what_this_version_cannot_do_is_a_field_of_the_format() -> None:
    for path in NOT_YET:
        parent, _, name = path.rpartition(".")
        assert hasattr({"": Config, "cgroups": Cgroup, "mounts[]": Mount}[parent], name)


@pytest.mark.parametrize("key, kind", [
    ("net.ipv4.ip_forward", "NEWNET"), ("net/ipv4/conf/eth0.100/forwarding", "NEWNET"), ("kernel.msgmax", "NEWIPC"),
    ("kernel.sem", "NEWIPC"), ("fs.mqueue.msg_max", "NEWIPC"), ("kernel.domainname", "NEWUTS"),
    ("user.max_user_namespaces", "NEWUSER")])
def test_a_kernel_parameter_needs_the_namespace_that_has_it(tmp_path: Path, key: str, kind: str) -> None:
    config = Config(rootfs=str(tmp_path), sysctl={key: "1"})
    error = refusal(config)
    assert (error.path, error.problem) == (f'sysctl["{key}"]', f"needs a namespace of type {kind}")
    config.namespaces.add(NamespaceType(kind), f"/proc/self/ns/{NamespaceType(kind).file}")
    assert "is our own" in refusal(config).problem
    config.uid_mappings = config.gid_mappings = MAP if kind == "NEWUSER" else ()
    config.namespaces.add(NamespaceType(kind))
    ConfigValidator().validate(config)


def test_what_was_changed_behind_the_records_back_is_checked_again(config: Config) -> None:
    config.sysctl["net.x"] = 1  # type: ignore[assignment]
    assert str(refusal(config)) == 'sysctl["net.x"]: expected a string, got 1'
    config.sysctl = {}
    config.time_offsets["monotonic"] = 5  # type: ignore[assignment]
    assert refusal(config).path == "time_offsets.monotonic"


def test_a_misspelt_capability_is_told_its_name(config: Config) -> None:
    for name in ("chown", "CHOWN", "cap_chown"):
        config.capabilities = (name,)
        assert refusal(config).hint == "did you mean 'CAP_CHOWN'?"


@pytest.mark.parametrize("path", sorted(validate.PROC_FILES))
def test_what_the_kernel_tells_of_the_host_can_be_replaced(config: Config, path: str) -> None:
    config.mounts = (PROC, Mount("/x", path, "bind", BIND))
    ConfigValidator().validate(config)


def test_the_hosts_proc_can_be_bound_on_proc(config: Config) -> None:
    config.mounts = (Mount("/proc", "/proc", "bind", BIND | MS.REC),)
    ConfigValidator().validate(config)


def test_validation_leaves_no_descriptor_behind(config: Config, leaves_nothing: Any) -> None:
    config.namespaces.add(NamespaceType.NEWIPC, "/proc/self/ns/ipc")
    config.sysctl = {}
    ConfigValidator().validate(config)
    config.namespaces.add(NamespaceType.NEWIPC, "/proc/self/ns/uts")
    refusal(config)
