"""Config: libcontainer's fields under libcontainer's keys, both ways, and the few methods."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nscontainer import config as configs
from nscontainer.config import (
    Action,
    Arg,
    Capabilities,
    Cgroup,
    Command,
    CommandHook,
    Config,
    CPUAffinity,
    Device,
    FreezerState,
    FunctionHook,
    Hooks,
    HookState,
    HugepageLimit,
    IDMap,
    IfPrioMap,
    IOPriority,
    Landlock,
    LandlockPaths,
    LandlockPorts,
    MemoryPolicy,
    Mount,
    Namespace,
    Namespaces,
    NamespaceType,
    NetDevice,
    Network,
    OCIState,
    Operator,
    Rlimit,
    Route,
    Scheduler,
    Seccomp,
    Syscall,
    ThrottleDevice,
    TimeOffset,
    WeightDevice,
    host_id,
)
from nscontainer.errors import ConfigInvalid
from nscontainer.records import Record, dumps, loads, loads_trusted
from nscontainer.sys.clone import CLONE
from nscontainer.sys.mount import MS

# The keys of libcontainer v0.0.6, in its order, and after them ours.
KEYS: dict[type[Record], tuple[str, str]] = {
    Config: ((
        "no_pivot_root parent_death_signal pivot_dir rootfs readonlyfs rootPropagation mounts devices mount_label "
        "hostname namespaces capabilities networks routes cgroups apparmor_profile process_label rlimits oom_score_adj "
        "additional_groups uid_mappings gid_mappings mask_paths readonly_paths sysctl seccomp version"),
        ("domainname no_new_privileges umask time_offsets ephemeral landlock no_new_keyring net_devices scheduler "
         "io_priority exec_cpu_affinity personality memory_policy make_cwd bundle annotations")),
    Rlimit: ("type hard soft", ""),
    IDMap: ("container_id host_id size", ""),
    Namespace: ("type path", ""),
    Mount: ("source destination device flags propagation_flags data relabel premount_cmds postmount_cmds",
            "recursive_set recursive_clear uid_mappings gid_mappings copy_up clear_flags"),
    Command: ("path args env dir", ""),
    Device: ("type path major minor permissions file_mode uid gid", ""),
    Network: (("type name bridge mac_address address gateway ipv6_address ipv6_gateway mtu txqueuelen "
               "host_interface_name hairpin_mode"), "parent mode"),
    NetDevice: ("", "name"),
    Route: ("destination source gateway interface_name", ""),
    HookState: ("version id pid root", ""),
    OCIState: ("version id pid root", "ociVersion status bundle annotations"),
    HugepageLimit: ("page_size limit", ""),
    IfPrioMap: ("interface priority", ""),
    WeightDevice: ("major minor weight leafWeight", ""),
    ThrottleDevice: ("major minor rate", ""),
    Seccomp: ("default_action architectures syscalls",
              "default_errno_ret flags listener_path listener_metadata strict"),
    Syscall: ("name action args", "names errno_ret"),
    Arg: ("index value value_two op", ""),
    Cgroup: ((
        "name parent allow_all_devices allowed_devices denied_devices memory memory_reservation memory_swap "
        "kernel_memory memory_swappiness oom_kill_disable cpu_shares cpu_quota cpu_period cpu_rt_runtime cpu_rt_period "
        "cpuset_cpus cpuset_mems blkio_weight blkio_leaf_weight blkio_weight_device blkio_throttle_read_bps_device "
        "blkio_throttle_write_bps_device blkio_throttle_read_iops_device blkio_throttle_write_iops_device freezer "
        "hugetlb_limit scope_prefix net_prio_ifpriomap net_cls_classid"), (
        "pids_limit memory_min memory_low memory_high memory_check_before_update kernel_memory_tcp cpu_weight "
        "cpu_burst cpu_idle rdma unified")),
    Capabilities: ("", "bounding effective permitted inheritable ambient"),
    TimeOffset: ("", "secs nanosecs"),
    Landlock: ("", "handled_fs paths handled_net ports scoped strict"),
    LandlockPaths: ("", "paths access"),
    LandlockPorts: ("", "ports access"),
    Scheduler: ("", "policy flags nice priority runtime deadline period"),
    IOPriority: ("", "io_class priority"),
    CPUAffinity: ("", "initial final"),
    MemoryPolicy: ("", "mode flags nodes"),
    CommandHook: ("", "command timeout"),
    Hooks: ("", ""),  # never serialised
}

COMMAND = Command(path="/bin/true", args=("a",), env=("A=b",), dir="/tmp")
DEVICE = Device(99, "/dev/fuse", 10, 229, "rwm", 0o666, 1, 2)
FULL = Config(
    no_pivot_root=True, parent_death_signal=9, pivot_dir="p", rootfs="/r", readonlyfs=True,
    root_propagation=MS.PRIVATE | MS.REC,
    mounts=(Mount("s", "/d", "tmpfs", MS.NOSUID, (MS.SHARED,), "size=1m", "z", (COMMAND,), (COMMAND,), 1, 2,
                  (IDMap(0, 1, 2),), (IDMap(3, 4, 5),), True, 6),),
    devices=(DEVICE,), mount_label="ml", hostname="h",
    namespaces=Namespaces([Namespace(NamespaceType.NEWNS, "/p")]), capabilities=("CAP_KILL",),
    networks=(Network("veth", "eth0", "b", "m", "a", "g", "6", "7", 1500, 9, "v", True, "p", "l2"),),
    routes=(Route("d", "s", "g", "i"),),
    cgroups=Cgroup(
        "n", "p", True, (DEVICE,), (DEVICE,), 1, 2, 3, 4, 60, True, 5, 6, 7, 8, 9, "0-1", "0", 10, 11,
        (WeightDevice(8, 0, 500, 600),), (ThrottleDevice(8, 0, 1),), (ThrottleDevice(8, 0, 2),),
        (ThrottleDevice(8, 0, 3),), (ThrottleDevice(8, 0, 4),), FreezerState.FROZEN, (HugepageLimit("2MB", 12),),
        "scope", (IfPrioMap("eth0", 5),), "0x1"),
    apparmor_profile="ap", process_label="pl", rlimits=(Rlimit(7, 2, 1),), oom_score_adj=-1000,
    additional_groups=("g",), uid_mappings=(IDMap(0, 1000, 1),), gid_mappings=(IDMap(0, 1000, 1),), mask_paths=("/m",),
    readonly_paths=("/o",), sysctl={"net.ipv4.ip_forward": "1"},
    seccomp=Seccomp(Action.ALLOW, ("x86_64",), (
        Syscall("getcwd", Action.ERRNO, (Arg(0, 1, 2, Operator.MASK_EQUAL_TO),), ("pwd",), 38),),
        1, 2, "/l", "m", True),
    version="1", domainname="d", no_new_privileges=True, umask=0o77, time_offsets={"monotonic": TimeOffset(-1, 2)},
    ephemeral=True, landlock=Landlock(("read",), (LandlockPaths(("/usr",), ("read",)),), ("all",),
                                      (LandlockPorts((80,), ("bind_tcp",)),), ("signal",), True), no_new_keyring=True,
    net_devices={"eth1": NetDevice("wan")},
    scheduler=Scheduler(6, 1, 2, 3, 4, 5, 6), io_priority=IOPriority(2, 3), exec_cpu_affinity=CPUAffinity("0", "1"),
    personality=8, memory_policy=MemoryPolicy(2, 0x8000, "0"), make_cwd=True, bundle="/b", annotations={"a": "b"})


@pytest.mark.parametrize("kind", KEYS)
def test_the_keys_are_libcontainers_and_then_ours(kind: type[Record]) -> None:
    theirs, ours = KEYS[kind]
    assert list(kind().to_json()) == [*theirs.split(), *ours.split()]


def test_every_record_of_the_module_is_in_the_table() -> None:
    assert {value for value in vars(configs).values() if isinstance(value, type) and issubclass(value, Record)} \
        == {*KEYS, Record}


def test_a_config_with_every_field_goes_through_json_and_back() -> None:
    empty = Config().to_json()
    assert [key for key, value in FULL.to_json().items() if value == empty[key]] == []
    for indent in (None, 2):
        assert Config.from_json(loads(dumps(FULL.to_json(), indent))) == FULL
    assert Config.from_json(loads(dumps(Config().to_json()))) == Config()


def test_a_config_with_every_field_goes_to_another_process_and_back() -> None:
    assert Config.unpack(loads_trusted(dumps(FULL.pack()))) == FULL == FULL.copy()
    again = Config.unpack(loads_trusted(dumps(FULL.pack())))
    assert dumps(again.to_json()) == dumps(FULL.to_json())
    assert again.namespaces.clone_flags() == FULL.namespaces.clone_flags()
    assert Config().pack() == {}


def test_go_writes_null_where_nothing_is_set() -> None:
    go = {key: None if value in ([], {}) else value for key, value in Config().to_json().items()}
    assert Config.from_json({**go, "oom_score_adj": 0}) == Config(oom_score_adj=0)


def test_hooks_are_not_part_of_the_json() -> None:
    config = Config(hooks=Hooks(prestart=(FunctionHook(print), CommandHook(COMMAND, 1.5))))
    assert "hooks" not in {key.lower() for key in config.to_json()} and "hooks" not in config.pack()
    assert config.copy().hooks == config.hooks and config.copy().hooks is not config.hooks
    assert Config().hooks == Hooks() and not Config().hooks.poststop
    with pytest.raises(ConfigInvalid, match=r"^Hooks: unknown key; this part is not kept as JSON: set it on"):
        Config.from_json({"Hooks": {}})
    with pytest.raises(ConfigInvalid, match=r"^prestart\[1\]: expected a CommandHook or FunctionHook, got a builtin"):
        Hooks(prestart=(FunctionHook(print), print))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a callable, not 'x'"):
        FunctionHook("x")  # type: ignore[arg-type]


def test_a_command_hook_goes_to_another_process() -> None:
    hook = CommandHook(COMMAND, timeout=2)
    assert CommandHook.unpack(loads_trusted(dumps(hook.pack()))) == hook


@pytest.mark.parametrize("value", [["CAP_KILL", "CAP_CHOWN"], [], {"bounding": ["CAP_KILL"], "ambient": []}])
def test_capabilities_are_a_list_or_five(value: Any) -> None:
    config = Config.from_json({"capabilities": value})
    assert Config.from_json(loads(dumps(config.to_json()))) == config
    assert Config.unpack(loads_trusted(dumps(config.pack()))) == config
    assert isinstance(config.capabilities, Capabilities if isinstance(value, dict) else tuple)
    assert Config.unpack(config.pack()).capabilities == config.capabilities


@pytest.mark.parametrize("value, complaint", [
    ({"rootfs": 5}, "rootfs: expected a string, got 5"),
    ({"rootfs": "/a\0"}, r"rootfs: holds a NUL byte: '/a\x00'; the kernel would cut the string there"),
    ({"root_propagation": 1}, "root_propagation: unknown key; did you mean 'rootPropagation'?"),
    ({"readonlyfs": "yes"}, "readonlyfs: expected true or false, got 'yes'"),
    ({"mounts": [{}, {"flags": 1 << 32}]}, "mounts[1].flags: 4294967296 is not between 0 and 4294967295"),
    ({"mounts": {"a": {}}}, "mounts: expected a list, got an object"),
    ({"mounts": [{"premount_cmds": [{"args": [None]}]}]},
     "mounts[0].premount_cmds[0].args[0]: expected a string, got null"),
    ({"namespaces": [{"type": "NEWFOO"}]},
     "namespaces[0].type: 'NEWFOO' is none of NEWNET, NEWPID, NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWCGROUP, NEWTIME"),
    ({"namespaces": ["NEWNS"]}, "namespaces[0]: expected an object, got 'NEWNS'"),
    ({"devices": [{"type": "c"}]}, "devices[0].type: expected a whole number, got 'c'"),
    ({"capabilities": "CAP_KILL"},
     "capabilities: expected a list of names, or an object of five lists, got 'CAP_KILL'"),
    ({"capabilities": {"bounding": [1]}}, "capabilities.bounding[0]: expected a string, got 1"),
    ({"cgroups": {"memory": 1 << 63}},
     "cgroups.memory: 9223372036854775808 is not between -1 and 9223372036854775807"),
    ({"cgroups": {"freezer": "frozen"}}, "cgroups.freezer: 'frozen' is none of FROZEN, THAWED"),
    ({"cgroups": {"blkio_weight": 65536}}, "cgroups.blkio_weight: 65536 is not between 0 and 65535"),
    ({"rlimits": [{"type": 16}]}, "rlimits[0].type: 16 is not between 0 and 15"),
    ({"rlimits": [{"soft": -1}]}, "rlimits[0].soft: -1 is not between 0 and 18446744073709551615"),
    ({"oom_score_adj": 1001}, "oom_score_adj: 1001 is not between -1000 and 1000"),
    ({"umask": 0o1000}, "umask: 512 is not between 0 and 511"),
    ({"parent_death_signal": 65}, "parent_death_signal: 65 is not between 0 and 64"),
    ({"uid_mappings": [{"host_id": -1}]}, "uid_mappings[0].host_id: -1 is not between 0 and 4294967295"),
    ({"sysctl": {"net.x": 1}}, 'sysctl["net.x"]: expected a string, got 1'),
    ({"seccomp": {"default_action": 0}},
     ("seccomp.default_action: 0 is none of 1 (KILL), 2 (ERRNO), 3 (TRAP), 4 (ALLOW), 5 (TRACE), "
      "6 (KILL_PROCESS), 7 (LOG), 8 (NOTIFY)")),
    ({"seccomp": {"syscalls": [{"args": [{"index": 6}]}]}},
     "seccomp.syscalls[0].args[0].index: 6 is not between 0 and 5"),
    ({"no_new_privileges": 1}, "no_new_privileges: expected true or false, got 1"),
    ({"time_offsets": {"monotonic": {"nanosecs": 10 ** 9}}},
     "time_offsets.monotonic.nanosecs: 1000000000 is not between 0 and 999999999"),
    (None, "expected an object, got null"),
])
def test_a_wrong_value_is_named_by_its_path(value: Any, complaint: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Config.from_json(value)
    assert str(caught.value) == complaint


def test_a_path_of_pathlib_is_a_path() -> None:
    paths: dict[str, Any] = {"rootfs": Path("/r"), "mask_paths": [Path("/m")]}
    config = Config(**paths, mounts=(Mount(Path("/s"), Path("/d")),))  # type: ignore[arg-type]
    assert (config.rootfs, config.mask_paths, config.mounts[0].source) == ("/r", ("/m",), "/s")
    with pytest.raises(ConfigInvalid, match="hostname: expected a string, got a PosixPath"):
        Config(hostname=Path("h"))  # type: ignore[arg-type]


# --- namespaces


def test_a_type_of_namespace_knows_its_file_and_its_flag() -> None:
    assert {kind.file: kind.flag for kind in NamespaceType} == {
        "net": CLONE.NEWNET, "pid": CLONE.NEWPID, "mnt": CLONE.NEWNS, "uts": CLONE.NEWUTS, "ipc": CLONE.NEWIPC,
        "user": CLONE.NEWUSER, "cgroup": CLONE.NEWCGROUP, "time": CLONE.NEWTIME}
    assert [*NamespaceType][:6] == ["NEWNET", "NEWPID", "NEWNS", "NEWUTS", "NEWIPC", "NEWUSER"]


def test_a_namespace_is_found_by_its_path_or_by_a_process_in_it() -> None:
    assert Namespace(NamespaceType.NEWNS).get_path(7) == "/proc/7/ns/mnt"
    assert Namespace(NamespaceType.NEWNS, "/run/ns").get_path(7) == "/run/ns"


def test_namespaces_can_be_added_found_and_removed() -> None:
    namespaces = Namespaces()
    namespaces.add(NamespaceType.NEWNET, "/a")
    namespaces.add(NamespaceType.NEWUTS)
    namespaces.add(NamespaceType.NEWNET)  # listed already: it is a new one now
    assert namespaces == [Namespace(NamespaceType.NEWNET), Namespace(NamespaceType.NEWUTS)]
    assert namespaces.contains("NEWUTS") and not namespaces.contains(NamespaceType.NEWPID)
    assert namespaces.remove_type("NEWNET") is True
    assert namespaces.remove_type("NEWNET") is False
    assert namespaces.remove_type(NamespaceType.NEWUTS) and namespaces == []


def test_clone_flags_are_those_of_the_new_namespaces() -> None:
    config = Config()
    config.namespaces.add(NamespaceType.NEWNS)
    config.namespaces.add(NamespaceType.NEWPID)
    config.namespaces.add(NamespaceType.NEWNET, "/run/ns")
    assert config.namespaces.clone_flags() == CLONE.NEWNS | CLONE.NEWPID
    assert config.namespaces.creates("NEWNS") and not config.namespaces.creates("NEWNET")
    assert Namespaces().clone_flags() == 0


@pytest.mark.parametrize("method, field", [("host_uid", "uid_mappings"), ("host_gid", "gid_mappings")])
def test_root_of_the_container_is_root_or_what_it_is_mapped_to(method: str, field: str) -> None:
    config = Config()
    assert getattr(config, method)() == 0
    config.namespaces.add(NamespaceType.NEWUSER)
    for mappings in ((), (IDMap(1, 1000, 1),)):
        setattr(config, field, mappings)
        with pytest.raises(ConfigInvalid, match=f"{field}: the container's id 0 is not mapped"):
            getattr(config, method)()
    setattr(config, field, [IDMap(1, 5, 9), IDMap(0, 1000, 1)])
    assert getattr(config, method)() == 1000


def test_an_id_is_mapped_by_the_range_it_is_in() -> None:
    mappings = (IDMap(0, 1000, 1), IDMap(10, 2000, 5))
    assert [host_id(mappings, id) for id in (0, 1, 9, 10, 14, 15)] == [1000, None, None, 2000, 2004, None]


# --- lines for control files


def test_limits_read_as_their_control_files_take_them() -> None:
    assert WeightDevice(8, 0, 500, 300).weight_string() == "8:0 500"
    assert WeightDevice(8, 0, 500, 300).leaf_weight_string() == "8:0 300"
    assert str(ThrottleDevice(8, 0, 1024)) == "8:0 1024"
    assert IfPrioMap("eth0", 5).cgroup_string() == "eth0 5"
    assert Cgroup().memory_swappiness is None and Cgroup(memory_swappiness=-1).memory_swappiness == -1
