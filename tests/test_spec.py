"""config.json of the OCI runtime specification: what engines write, into our words; and what is wrong, by its path."""
from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles import containerd, docker, make_bundle, merged, minimal, podman
from nscontainer import Capabilities, Config, ConfigInvalid, IDMap, Rlimit
from nscontainer.config import Action, CommandHook
from nscontainer.devices import DEFAULT_SIMPLE_DEVICES
from nscontainer.spec import (
    Bundle,
    Validator,
    features,
    limits_from_json,
    load_bundle,
    process_from_json,
    template,
)
from nscontainer.sys.mount import MS
from nscontainer.sys.mount_api import MOUNT_ATTR

Load = Callable[..., Bundle]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a document as the bundle it would be."""
    def loaded(document: dict[str, Any] | str, **options: Any) -> Bundle:
        options.setdefault("id", "one")
        return load_bundle(make_bundle(tmp_path / "bundle", document), **options)

    return loaded


def _refused(load: Load, document: dict[str, Any] | str, **options: Any) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(document, **options)
    return str(caught.value)


def _linux(**fields: Any) -> dict[str, Any]:
    return minimal(linux=fields)


def _process(**fields: Any) -> dict[str, Any]:
    return minimal(process=fields)


def _mounted(load: Load, **mount: Any) -> Any:
    return load(minimal(mounts=[{"destination": "/d", **mount}])).config.mounts[0]


# --- documents of engines


def test_podmans_document_is_understood(load: Load) -> None:
    bundle = load(podman())
    config = bundle.config
    assert bundle.process is not None
    assert (bundle.process.user, bundle.process.additional_gids, bundle.process.umask) == ("0:0", ("1", "50"), 0o022)
    assert bundle.process.console_size is None
    assert config.rlimits == (Rlimit(type=7, soft=1024, hard=1024), Rlimit(type=6, soft=4096, hard=(1 << 64) - 1))
    assert config.cgroups is not None
    assert (config.cgroups.parent, config.cgroups.name) == ("/libpod_parent", "libpod-abc")
    assert (config.cgroups.memory, config.cgroups.memory_swap) == (64 << 20, 128 << 20)
    assert (config.cgroups.cpu_quota, config.cgroups.cpu_period, config.cgroups.pids_limit) == (50000, 100000, 100)
    assert [(d.path, d.major, d.minor, d.file_mode) for d in config.devices[:1]] == [("/dev/fuse", 10, 229, 0o666)]
    assert config.mounts[-1].copy_up
    assert not config.networks                       # joined: somebody else has set it up
    assert config.seccomp is not None
    assert config.seccomp.default_errno_ret == 38
    assert config.seccomp.architectures == ("amd64", "x86", "x32")
    assert config.annotations["io.container.manager"] == "libpod" == bundle.annotations["io.container.manager"]
    assert bundle.warnings == []


def test_dockers_document_is_understood(load: Load, tmp_path: Path) -> None:
    bundle = load(merged(docker(), {"root": {"path": str(tmp_path)}}), systemd_cgroup=True)
    config = bundle.config
    assert bundle.process is not None
    assert bundle.process.terminal
    assert bundle.process.console_size == (24, 80)
    assert config.rootfs == str(tmp_path)
    assert config.apparmor_profile == "docker-default"
    assert config.no_new_privileges
    assert config.networks[0].type == "loopback"
    hook = config.hooks.prestart[0]
    assert isinstance(hook, CommandHook)
    assert hook.command.args[0] == "libnetwork-setkey"
    assert config.cgroups is not None
    assert (config.cgroups.parent, config.cgroups.scope_prefix, config.cgroups.name) == (
        "system.slice", "docker", "f00")
    assert config.cgroups.__dict__.keys() <= {
        "parent", "scope_prefix", "name", "manager", "allowed_devices", "allow_all_devices"}
    srv = config.mounts[7]
    assert srv.flags == MS.BIND | MS.REC | MS.RDONLY
    assert srv.recursive_set == MOUNT_ATTR.RDONLY
    assert srv.propagation_flags == (MS.PRIVATE | MS.REC,)


def test_containerds_document_is_understood(load: Load) -> None:
    config = load(containerd()).config
    assert config.capabilities == Capabilities()
    group = config.cgroups
    assert group is not None
    assert (group.parent, group.name) == ("/kubepods/burstable/pod1-2-3", "abcdef")
    assert (group.memory, group.memory_swap, group.memory_reservation) == (128 << 20, 128 << 20, 64 << 20)
    assert (group.cpu_shares, group.cpu_quota, group.cpu_period, group.cpu_burst) == (512, 20000, 100000, 1000)
    assert (group.cpuset_cpus, group.cpuset_mems, group.blkio_weight) == ("0-1", "0", 500)
    assert str(group.blkio_throttle_read_bps_device[0]) == "8:0 1048576"
    assert str(group.blkio_throttle_write_iops_device[0]) == "8:0 100"
    assert (group.hugetlb_limit[0].page_size, group.hugetlb_limit[0].limit) == ("2MB", 0)
    assert (group.rdma["mlx5_1"].hca_handles, group.rdma["mlx5_1"].hca_objects) == (3, 10000)
    assert group.unified == {"memory.oom.group": "1", "memory.high": "120000000"}
    assert config.oom_score_adj == 969
    assert config.namespaces.find("NEWIPC").path == "/proc/4026/ns/ipc"  # type: ignore[union-attr]


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_what_other_runtimes_print_is_understood(runtime: str, flags: list[str], tmp_path: Path) -> None:
    program = shutil.which(runtime)
    if program is None:
        pytest.skip(f"needs {runtime}")
    (tmp_path / "rootfs").mkdir()
    subprocess.run([program, "spec", *flags], cwd=tmp_path, check=True)
    bundle = load_bundle(tmp_path, id="one", rootless=bool(flags))
    Validator().validate(bundle.config)
    assert bundle.process is not None
    assert bundle.process.args == ["sh"]


def test_a_bundle_survives_the_way_through_json(load: Load) -> None:
    config = load(podman()).config
    config.hooks = Config().hooks                    # never part of the JSON
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


# --- the document


def test_broken_json_says_line_and_column(load: Load) -> None:
    assert _refused(load, '{\n  "ociVersion": 1.0.0\n}') == "config.json: line 2, column 20: expecting ',' delimiter"


def test_a_key_given_twice_is_refused(load: Load) -> None:
    assert "root: the key is given twice" in _refused(load, '{"ociVersion": "1.0.0", "root": {}, "root": {}}')


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.3.0", "1.0.0-rc5+git.1", "1.99.0"])
def test_every_version_of_the_same_major_is_taken(load: Load, version: str) -> None:
    assert load(minimal(ociVersion=version)).oci_version == version


@pytest.mark.parametrize("version", ["2.0.0", "0.9.0", "1.0", "one", "", "1.0.0.0", "1.x.0"])
def test_another_version_is_refused(load: Load, version: str) -> None:
    assert _refused(load, minimal(ociVersion=version)).startswith("ociVersion: ")


def test_a_missing_version_is_refused(load: Load) -> None:
    document = minimal()
    del document["ociVersion"]
    assert _refused(load, document) == "ociVersion: is missing"


def test_a_bundle_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"JSON specification file '.*/config\.json' not found"):
        load_bundle(tmp_path)
    with pytest.raises(ConfigInvalid, match="the bundle '/nowhere' does not exist"):
        load_bundle("/nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigInvalid, match="is not a directory"):
        load_bundle(tmp_path / "file")


def test_a_config_that_is_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigInvalid, match="is not a file"):
        load_bundle(tmp_path)


def test_unknown_properties_are_ignored(load: Load) -> None:
    document = merged(minimal(), {"future": {"a": 1}, "process": {"mood": "good"}, "linux": {"warp": 9},
                                  "windows": {"layerFolders": ["c:"]}, "root": {"colour": "red"}})
    assert load(document).config == load(minimal()).config


def test_null_is_as_good_as_absent(load: Load) -> None:
    document = merged(minimal(), {"hostname": None, "hooks": None, "annotations": None,
                                  "process": {"capabilities": None, "rlimits": None, "oomScoreAdj": None},
                                  "linux": {"resources": None, "seccomp": None, "devices": None, "sysctl": None}})
    assert load(document).config == load(minimal()).config


@pytest.mark.parametrize(("change", "complaint"), [
    ({"process": {"args": "sh"}}, "process.args: expected a list, got 'sh'"),
    ({"process": {"args": ["sh", 1]}}, "process.args[1]: expected a string, got 1"),
    ({"process": {"terminal": "yes"}}, "process.terminal: expected true or false, got 'yes'"),
    ({"process": {"cwd": "home"}}, "process.cwd: expected an absolute path, got 'home'"),
    ({"process": {"cwd": None}}, "process.cwd: is missing"),
    ({"process": {"user": {"uid": -1}}}, "process.user.uid: -1 is not between 0 and 2147483647"),
    ({"process": {"user": {"uid": 1 << 32}}}, "process.user.uid: 4294967296 is not between 0 and 2147483647"),
    ({"process": {"user": {"additionalGids": [1, "a"]}}},
     "process.user.additionalGids[1]: expected a whole number, got 'a'"),
    ({"process": {"user": {"umask": 512}}}, "process.user.umask: 512 is not between 0 and 511"),
    ({"process": {"env": ["A=1", "=2"]}}, "process.env[1]: expected NAME=value, got '=2'"),
    ({"process": {"oomScoreAdj": 1001}}, "process.oomScoreAdj: 1001 is not between -1000 and 1000"),
    ({"process": {"rlimits": [{"type": "RLIMIT_MOOD", "soft": 1, "hard": 1}]}},
     "process.rlimits[0].type: 'RLIMIT_MOOD' is none of RLIMIT_CPU, "),
    ({"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": -1, "hard": 1}]}},
     "process.rlimits[0].soft: -1 is not between 0 and 18446744073709551615"),
    ({"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}},
     "process.rlimits[0].soft: 2 is above hard, 1"),
    ({"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}},
     "process.rlimits[1].type: RLIMIT_CPU is listed before"),
    ({"process": {"capabilities": {"bounding": "all"}}},
     "process.capabilities.bounding: expected a list, got 'all'"),
    ({"process": {"scheduler": {"policy": "SCHED_MAGIC"}}},
     "process.scheduler.policy: 'SCHED_MAGIC' is none of SCHED_OTHER, "),
    ({"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 10, "nice": 5}}},
     "process.scheduler.nice: means nothing with SCHED_FIFO"),
    ({"process": {"scheduler": {"policy": "SCHED_OTHER", "runtime": 5}}},
     "process.scheduler.runtime: means nothing with SCHED_OTHER"),
    ({"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}},
     "process.ioPriority.priority: 8 is not between 0 and 7"),
    ({"process": {"execCPUAffinity": {"final": "3-1"}}},
     "process.execCPUAffinity.final: '3-1' is not a list such as 0-3,7"),
    ({"root": None}, "root: is missing"),
    ({"root": {"path": "elsewhere"}}, "root.path: '"),
    ({"annotations": {"": "x"}}, "annotations: a key is empty"),
    ({"annotations": {"a": 1}}, "annotations.a: expected a string, got 1"),
    ({"mounts": [{"type": "proc"}]}, "mounts[0].destination: is missing"),
    ({"mounts": [{"destination": "/a", "options": ["rbind"]}]}, "mounts[0].source: is missing"),
    ({"mounts": [{"destination": "/a", "source": "/b\0c", "options": ["bind"]}]},
     "mounts[0].source: holds a NUL byte"),
    ({"mounts": [{"destination": "/a", "type": "proc", "options": ["ro", "tmpcopyup"]}]},
     "mounts[0].options[1]: tmpcopyup is for a tmpfs"),
    ({"mounts": [{"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}]},
     "mounts[0].options[1]: idmap needs uidMappings and gidMappings, here or of the container"),
    ({"hooks": {"poststart": [{"path": "bin"}]}}, "hooks.poststart[0].path: expected an absolute path, got 'bin'"),
    ({"hooks": {"poststart": [{"path": "/bin", "timeout": 0}]}}, "hooks.poststart[0].timeout: 0 is not between 1"),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mood"}]}},
     "linux.namespaces[1].type: 'mood' is none of pid, "),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}},
     "linux.namespaces[1].type: mount is listed before"),
    ({"linux": {"namespaces": [{"type": "pid"}]}}, "linux.namespaces: holds no new mount namespace"),
    ({"linux": {"devices": [{"type": "x", "path": "/dev/x"}]}}, "linux.devices[0].type: 'x' is none of c, u, b, p"),
    ({"linux": {"devices": [{"type": "c", "path": "/dev/x", "major": 1}]}}, "linux.devices[0].minor: is missing"),
    ({"linux": {"rootfsPropagation": "sideways"}}, "linux.rootfsPropagation: 'sideways' is none of "),
    ({"linux": {"personality": {"domain": "BSD"}}}, "linux.personality.domain: 'BSD' is none of LINUX, LINUX32"),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_MAGIC"}}}, "linux.memoryPolicy.mode: 'MPOL_MAGIC' is none of "),
    ({"linux": {"timeOffsets": {"boottime": {"secs": "1"}}}},
     "linux.timeOffsets.boottime.secs: expected a whole number, got '1'"),
    ({"linux": {"netDevices": {"eth0": {"name": 1}}}}, "linux.netDevices.eth0.name: expected a string, got 1"),
    ({"linux": {"intelRdt": {"closID": "a"}}}, "linux.intelRdt: is not supported yet by this version"),
    ({"linux": {"sysctl": {"a": 1}}}, "linux.sysctl.a: expected a string, got 1"),
    ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_MAYBE"}}},
     "linux.seccomp.defaultAction: 'SCMP_ACT_MAYBE' is not a seccomp action"),
    ({"linux": {"seccomp": {"syscalls": []}}}, "linux.seccomp.defaultAction: is missing"),
    ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}}},
     "linux.seccomp.architectures[0]: 'SCMP_ARCH_Z80' is not a seccomp architecture"),
    ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}}},
     "linux.seccomp.flags[0]: 'SECCOMP_FILTER_FLAG_X' is none of "),
    ({"linux": {"resources": {"memory": {"limit": "1G"}}}},
     "linux.resources.memory.limit: expected a whole number, got '1G'"),
    ({"linux": {"resources": {"memory": {"swappiness": 101}}}},
     "linux.resources.memory.swappiness: 101 is not between 0 and 100"),
    ({"linux": {"resources": {"cpu": {"idle": 2}}}}, "linux.resources.cpu.idle: 2 is not between 0 and 1"),
    ({"linux": {"resources": {"devices": [{"allow": True, "type": "c", "access": ""}]}}},
     "linux.resources.devices[0].access: '' is not made of r, w and m"),
    ({"linux": {"resources": {"devices": [
        {"allow": True, "type": "c", "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "w"}]}}},
     "linux.resources.devices[1]: takes back a part of a rule before it"),
    ({"linux": {"cgroupsPath": "../up"}}, "linux.cgroupsPath: '../up' is not the path of a cgroup"),
    ({"linux": {"cgroupsPath": "a:b:c"}}, "linux.cgroupsPath: 'a:b:c' is a unit of systemd's"),
])
def test_what_is_wrong_is_named_by_its_path(load: Load, change: dict[str, Any], complaint: str) -> None:
    assert _refused(load, merged(minimal(), change)).startswith(complaint)


@pytest.mark.parametrize(("change", "complaint"), [
    ({"hostname": "h"}, "hostname: needs a namespace of type NEWUTS"),
    ({"mounts": [{"destination": "/a"}]}, "mounts[0].type: is missing"),
    ({"mounts": [{"destination": "/proc/1", "type": "tmpfs"}]}, "mounts[0].destination: '/proc/1' is inside /proc"),
    ({"mounts": [{"destination": "/a", "source": "/b", "options": ["bind", "size=1"]}]},
     "mounts[0].options: a bind mount has no options of its own, got 'size=1'"),
    ({"linux": {"maskedPaths": ["proc"]}}, "linux.maskedPaths[0]: expected an absolute path"),
    ({"linux": {"sysctl": {"kernel.panic": "1"}}},
     'linux.sysctl["kernel.panic"]: belongs to the host: no namespace has it for itself'),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, "linux.uidMappings: is empty"),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}],
                "uidMappings": [{"containerID": 1, "hostID": 0, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}},
     "linux.uidMappings: container id 0 is not mapped"),
    ({"linux": {"resources": {"memory": {"swap": 5}}}}, "linux.resources.memory.swap: needs a limit of memory"),
    ({"linux": {"resources": {"cpu": {"period": 5}}}}, "linux.resources.cpu.period: 5 is not between"),
    ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_KILL"}}}, "linux.seccomp.defaultAction: denies execve"),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND"}}}, "linux.memoryPolicy.nodes: is empty"),
    ({"linux": {"netDevices": {"eth0": {}}}}, "linux.netDevices: needs a namespace of type NEWNET"),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "network"}], "netDevices": {"eth0": {"name": "a/b"}}}},
     "linux.netDevices.eth0"),
    ({"linux": {"timeOffsets": {"boottime": {"secs": 1}}}}, "linux.timeOffsets: needs a namespace of type NEWTIME"),
    ({"linux": {"netDevices": {"wan0": {}}}}, "linux.netDevices: needs a namespace of type NEWNET"),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "network"}], "netDevices": {"wan0": {"name": "a b"}}}},
     "linux.netDevices.wan0.name: 'a b' is no interface's name"),
])
def test_a_rule_that_does_not_hold_is_named_by_its_path_too(load: Load, change: dict[str, Any],
                                                            complaint: str) -> None:
    config = load(merged(minimal(), change)).config
    with pytest.raises(ConfigInvalid) as caught:
        Validator().validate(config)
    assert str(caught.value).startswith(complaint)


def _places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Find every place in a document, whatever stands there."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from _places(item, (*at, key))


def _replaced(document: dict[str, Any], at: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return changed


def test_whatever_stands_anywhere_is_read_or_refused_with_a_path(tmp_path: Path) -> None:
    document = merged(podman(), {"linux": {"resources": containerd()["linux"]["resources"]}})
    folder = make_bundle(tmp_path, document)
    values: list[Any] = [None, True, -1, 1 << 70, "x", "\0", [None], {"x": {}}]
    for number, at in enumerate(_places(document)):
        for value in values[number % 4::4]:  # all of them everywhere takes a second, and finds no more
            (folder / "config.json").write_text(json.dumps(_replaced(document, at, value)))
            try:
                Validator().validate(load_bundle(folder, id="one").config)
            except ConfigInvalid as error:
                # There; or where it is missed: a namespace that another part needs, a limit without its other half.
                top = error.path.split(".")[0].split("[")[0]
                assert top in (at[0], "linux", "mounts", "hostname"), (at, value, str(error))
                assert "\n" not in str(error)


# --- process


def test_a_container_without_a_process_can_be_described(load: Load) -> None:
    document = minimal()
    del document["process"]
    assert load(document).process is None


def test_unknown_capabilities_are_a_warning_and_left_out(load: Load) -> None:
    bundle = load(_process(capabilities={"bounding": ["CAP_KILL", "CAP_FLY"], "permitted": ["cap_kill"]}))
    assert bundle.config.capabilities == Capabilities(bounding=("CAP_KILL",))
    assert bundle.warnings == [
        "process.capabilities: ignoring unknown or unavailable capabilities: [CAP_FLY, cap_kill]"]


def test_an_ambient_capability_that_cannot_be_is_a_warning(load: Load) -> None:
    sets = {kind: ["CAP_KILL"] for kind in ("bounding", "permitted", "effective", "ambient")}
    bundle = load(_process(capabilities=sets))
    assert bundle.config.capabilities.ambient == ()  # type: ignore[union-attr]
    assert "CAP_KILL" in bundle.warnings[0]
    kept = load(_process(capabilities={**sets, "inheritable": ["CAP_KILL"]}))
    assert kept.config.capabilities.ambient == ("CAP_KILL",)  # type: ignore[union-attr]


def test_without_capabilities_there_are_none(load: Load) -> None:
    assert load(minimal()).config.capabilities == ()


def test_a_process_stands_alone_for_exec() -> None:
    process = process_from_json({"args": ["ls"], "cwd": "/", "user": {"uid": 5, "gid": 6}, "terminal": True})
    assert (process.args, process.user, process.env, process.capabilities) == (["ls"], "5:6", [], None)
    with pytest.raises(ConfigInvalid, match=r"^spec\.cwd: is missing"):
        process_from_json({"args": ["ls"]}, at="spec")
    with pytest.raises(ConfigInvalid, match="^process: expected an object, got a list"):
        process_from_json([])


def test_scheduler_priority_and_cpus_are_understood(load: Load) -> None:
    config = load(_process(
        scheduler={"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "runtime": 1, "deadline": 2,
                   "period": 3},
        ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 3},
        execCPUAffinity={"initial": "0-1, 3", "final": "2"})).config
    assert config.scheduler is not None
    assert (config.scheduler.policy, config.scheduler.flags, config.scheduler.runtime) == (6, 1, 1)
    assert config.io_priority is not None
    assert (config.io_priority.io_class, config.io_priority.priority) == (3, 3)
    assert config.exec_cpu_affinity is not None
    assert (config.exec_cpu_affinity.initial, config.exec_cpu_affinity.final) == ("0-1,3", "2")


# --- mounts and devices


def test_a_relative_source_of_a_bind_counts_from_the_bundle(load: Load, tmp_path: Path) -> None:
    assert _mounted(load, source="data", options=["rbind"]).source == str(tmp_path / "bundle/data")
    assert _mounted(load, source="data", type="tmpfs").source == "data"


def test_a_relative_destination_counts_from_the_root(load: Load) -> None:
    assert load(minimal(mounts=[{"destination": "a/b", "type": "tmpfs"}])).config.mounts[0].destination == "/a/b"


@pytest.mark.parametrize(("options", "type"), [(["bind"], "none"), (["rbind"], ""), ([], "bind"), (["bind"], "tmpfs")])
def test_the_options_make_a_bind_mount(load: Load, options: list[str], type: str) -> None:
    mount = _mounted(load, source="/s", type=type, options=options)
    assert mount.device == "bind"
    assert mount.flags & MS.BIND


def test_a_bind_mount_can_lose_what_its_source_has(load: Load) -> None:
    mount = _mounted(load, source="/s", options=["bind", "rw", "nosuid", "suid", "dev", "nodev"])
    assert mount.flags == MS.BIND | MS.NODEV
    assert mount.clear_flags == MS.RDONLY | MS.NOSUID


def test_recursive_options_of_a_new_file_system_are_plain_ones(load: Load) -> None:
    mount = _mounted(load, type="tmpfs", options=["rro", "rnosuid", "noexec", "rexec", "rnoatime"])
    assert mount.flags == MS.RDONLY | MS.NOSUID | MS.NOATIME
    assert (mount.recursive_set, mount.recursive_clear) == (0, 0)


def test_an_id_mapped_mount_has_its_own_maps_or_the_containers(load: Load) -> None:
    own = {"uidMappings": [{"containerID": 0, "hostID": 7, "size": 1}],
           "gidMappings": [{"containerID": 0, "hostID": 8, "size": 1}]}
    mount = _mounted(load, source="/s", options=["rbind", "ridmap"], **own)
    assert mount.uid_mappings == (IDMap(0, 7, 1),)
    assert mount.gid_mappings == (IDMap(0, 8, 1),)
    assert mount.recursive_set == MOUNT_ATTR.IDMAP
    inherited = load(minimal(mounts=[{"destination": "/d", "source": "/s", "options": ["bind", "idmap"]}],
                             linux={"namespaces": [{"type": "mount"}, {"type": "user"}], **own})).config
    assert inherited.mounts[0].uid_mappings == inherited.uid_mappings == (IDMap(0, 7, 1),)
    assert inherited.mounts[0].recursive_set == 0


@pytest.mark.parametrize(("change", "path"), [
    ({"gidMappings": None}, "mounts[0].gidMappings"),
    ({"options": ["idmap"], "type": "tmpfs"}, "mounts[0].uidMappings"),
    ({"uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]}, "mounts[0].uidMappings[0].size"),
])
def test_a_wrong_id_map_of_a_mount_is_refused(load: Load, change: dict[str, Any], path: str) -> None:
    maps = [{"containerID": 0, "hostID": 7, "size": 1}]
    mount = {"destination": "/d", "source": "/s", "options": ["bind"], "uidMappings": maps, "gidMappings": maps}
    assert _refused(load, minimal(mounts=[{**mount, **change}])).startswith(f"{path}: ")


def test_the_default_devices_stand_beside_the_listed(load: Load) -> None:
    config = load(_linux(devices=[
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5},
        {"path": "/dev/pipe", "type": "p"}])).config
    assert [device.path for device in config.devices] == [
        "/dev/null", "/dev/pipe", *[device.path for device in DEFAULT_SIMPLE_DEVICES if device.path != "/dev/null"]]
    assert (config.devices[0].file_mode, config.devices[0].uid) == (0o600, 5)
    assert (config.devices[1].type, config.devices[1].file_mode) == (ord("p"), 0o666)


@pytest.mark.parametrize(("word", "flags"), [
    ("shared", MS.SHARED), ("rslave", MS.SLAVE | MS.REC), ("private", MS.PRIVATE), ("", MS(0))])
def test_the_roots_propagation_is_understood(load: Load, word: str, flags: MS) -> None:
    assert load(_linux(rootfsPropagation=word)).config.root_propagation == flags


# --- namespaces, hooks, filters


def test_interfaces_of_the_host_are_taken_over_under_the_names_they_are_given(load: Load) -> None:
    config = load(_linux(netDevices={"wan0": {"name": "eth0"}, "wan1": {}})).config
    assert {name: device.name for name, device in config.net_devices.items()} == {"wan0": "eth0", "wan1": ""}


def test_time_offsets_personality_and_memory_policy_are_understood(load: Load) -> None:
    config = load(_linux(
        namespaces=[{"type": "mount"}, {"type": "time"}],
        timeOffsets={"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {"secs": 9}},
        personality={"domain": "LINUX32"},
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0-1, 3", "flags": ["MPOL_F_STATIC_NODES"]})).config
    assert (config.time_offsets["monotonic"].secs, config.time_offsets["monotonic"].nanosecs) == (-5, 7)
    assert config.time_offsets["boottime"].secs == 9
    assert config.personality == 8
    assert config.memory_policy is not None
    assert (config.memory_policy.mode, config.memory_policy.nodes, config.memory_policy.flags) == (2, "0-1,3", 0x8000)


def test_interfaces_to_take_over_are_understood(load: Load) -> None:
    config = load(_linux(netDevices={"eth1": {"name": "wan"}, "eth2": {}, "eth3": {"name": "lan%d"}})).config
    assert {name: device.name for name, device in config.net_devices.items()} == {
        "eth1": "wan", "eth2": "", "eth3": "lan%d"}


def test_all_six_kinds_of_hooks_are_understood(load: Load) -> None:
    entry = {"path": "/h", "args": ["h", "x"], "env": ["A=1"], "timeout": 3}
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    hooks = load(minimal(hooks={kind: [entry] for kind in kinds})).config.hooks
    for listed in (hooks.prestart, hooks.create_runtime, hooks.create_container, hooks.start_container,
                   hooks.poststart, hooks.poststop):
        assert isinstance(listed[0], CommandHook)
        assert (listed[0].command.path, listed[0].command.args, listed[0].command.env, listed[0].timeout) == (
            "/h", ("h", "x"), ("A=1",), 3)


def test_an_empty_filter_is_none(load: Load) -> None:
    assert load(_linux(seccomp={})).config.seccomp is None


def test_the_flags_of_a_filter_are_the_usual_ones_unless_they_are_listed(load: Load) -> None:
    def flags(**fields: Any) -> int | None:
        seccomp = load(_linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", **fields})).config.seccomp
        assert seccomp is not None
        return seccomp.flags

    assert flags() is None
    assert flags(flags=[]) == 0
    assert flags(flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]) == 2


def test_two_conditions_on_one_argument_are_alternatives(load: Load) -> None:
    def rules(*indices: int) -> list[int]:
        args = [{"index": index, "value": 1, "op": "SCMP_CMP_EQ"} for index in indices]
        entry = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": args}
        seccomp = load(_linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})).config.seccomp
        assert seccomp is not None
        assert all((rule.action, rule.errno_ret) == (Action.ERRNO, 5) for rule in seccomp.syscalls)
        return [len(rule.args) for rule in seccomp.syscalls]

    assert rules(0, 1) == [2]
    assert rules(0, 1, 0) == [1, 1, 1]


# --- cgroups


@pytest.mark.parametrize(("path", "parent", "name"), [
    ("/a/b/c", "/a/b", "c"), ("/c", "/", "c"), ("a/c", "a", "c"), ("c", "", "c"), ("", "", "one"),
    ("/a//c/", "/a", "c")])
def test_the_path_of_the_cgroup_is_its_parent_and_its_name(load: Load, path: str, parent: str, name: str) -> None:
    group = load(_linux(cgroupsPath=path)).config.cgroups
    assert group is not None
    assert (group.parent, group.name) == (parent, name)


@pytest.mark.parametrize(("path", "found"), [
    ("a.slice:pre:n", ("a.slice", "pre", "n")), (":pre:n", ("", "pre", "n")), ("", ("", "nscontainer", "one"))])
def test_with_systemd_the_path_is_slice_prefix_and_name(load: Load, path: str, found: tuple[str, ...]) -> None:
    group = load(_linux(cgroupsPath=path), systemd_cgroup=True).config.cgroups
    assert group is not None
    assert (group.parent, group.scope_prefix, group.name) == found
    assert "slice:prefix:name" in _refused(load, _linux(cgroupsPath="/a/b"), systemd_cgroup=True)


def test_an_ordinary_users_container_without_limits_needs_no_cgroup(load: Load) -> None:
    assert load(minimal(), rootless=True).config.cgroups is None
    assert load(_linux(resources={"pids": {"limit": 5}}), rootless=True).config.cgroups is not None
    assert load(minimal(), id="").config.cgroups is None


@pytest.mark.parametrize(("resources", "limits"), [
    ({"memory": {"limit": -1, "swap": -1}}, {"memory": -1, "memory_swap": -1}),
    ({"memory": {"limit": 0, "swap": 0, "kernelTCP": 0, "checkBeforeUpdate": True, "useHierarchy": True}},
     {"memory_check_before_update": True}),
    ({"cpu": {"quota": -5, "shares": 2, "idle": 1}}, {"cpu_quota": -1, "cpu_shares": 2, "cpu_idle": 1}),
    ({"pids": {"limit": -7}}, {"pids_limit": -1}),
    ({"pids": {"limit": 0}}, {"pids_limit": 0}),
    ({"pids": {}, "memory": {}, "cpu": {}, "blockIO": {}, "network": {}, "unified": {}, "rdma": {}}, {}),
])
def test_resources_alone_are_limits(resources: dict[str, Any], limits: dict[str, Any]) -> None:
    assert limits_from_json(resources).__dict__ == limits


def test_limits_that_version_2_has_not_are_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = {"memory": {"swappiness": 5, "kernel": 7, "limit": 9}, "network": {"classID": 1048577},
                 "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}]}}
    monkeypatch.setattr("nscontainer.spec_resources._only_version_2", lambda: False)
    kept = limits_from_json(resources)
    assert (kept.memory_swappiness, kept.net_cls_classid, kept.blkio_weight_device[0].leaf_weight) == (
        5, "1048577", 20)
    monkeypatch.setattr("nscontainer.spec_resources._only_version_2", lambda: True)
    warnings: list[str] = []
    left = limits_from_json(resources, warnings=warnings)
    assert left.__dict__.keys() == {"memory", "blkio_weight_device"}
    assert left.blkio_weight_device[0].leaf_weight == 0
    assert len(warnings) == 3


def _rules(load: Load, *rules: dict[str, Any], **options: Any) -> tuple[bool, list[str]]:
    group = load(_linux(cgroupsPath="/c", resources={"devices": list(rules)}), **options).config.cgroups
    assert group is not None
    listed = group.denied_devices if group.allow_all_devices else group.allowed_devices
    return group.allow_all_devices, [device.cgroup_string() for device in listed]


_ALWAYS = ["c *:* m", "b *:* m", "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 1:5 rwm", "c 1:9 rwm",
           "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm"]


def test_device_rules_are_obeyed_in_their_order(load: Load) -> None:
    deny_all, allow_all = {"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}
    fuse = {"type": "c", "major": 10, "minor": 229}
    assert _rules(load) == (False, _ALWAYS)
    assert _rules(load, deny_all) == (False, _ALWAYS)
    assert _rules(load, allow_all, deny_all) == (False, _ALWAYS)
    assert _rules(load, allow_all) == (True, [])
    assert _rules(load, {**fuse, "allow": True, "access": "rw"}, deny_all) == (False, _ALWAYS)
    assert _rules(load, deny_all, {**fuse, "allow": True, "access": "rw"}) == (False, ["c 10:229 rw", *_ALWAYS])
    assert _rules(load, {**fuse, "allow": True, "access": "rw"}, {**fuse, "allow": False, "access": "w"}) == (
        False, ["c 10:229 r", *_ALWAYS])
    assert _rules(load, allow_all, {**fuse, "allow": False, "access": "rwm"}) == (True, ["c 10:229 rwm"])
    assert _rules(load, {"allow": True, "type": "b", "major": 8, "access": "r"}) == (False, ["b 8:* r", *_ALWAYS])


def test_an_ordinary_user_gets_the_usual_devices_where_they_can_be_had(load: Load) -> None:
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    assert _rules(load, rule, rootless=True, id="x") == (False, [])


# --- what spec and features print


@pytest.mark.parametrize("rootless", [False, True])
def test_the_template_is_a_valid_config(load: Load, rootless: bool) -> None:
    document = template(rootless=rootless)
    bundle = load(document, rootless=rootless)
    Validator().validate(bundle.config)
    assert bundle.warnings == []
    json.dumps(document)


def test_the_template_is_safe(load: Load) -> None:
    config = load(template()).config
    assert config.no_new_privileges
    assert config.readonlyfs
    assert config.seccomp is not None
    assert isinstance(config.capabilities, Capabilities)
    assert config.capabilities.inheritable == config.capabilities.ambient == ()
    assert {namespace.type.value for namespace in config.namespaces} == {
        "NEWPID", "NEWNET", "NEWIPC", "NEWUTS", "NEWNS", "NEWCGROUP"}
    assert "/proc/kcore" in config.mask_paths
    assert "/proc/sys" in config.readonly_paths


def test_features_tell_the_truth_about_mount_options(load: Load) -> None:
    document = features()
    assert document["ociVersionMin"] == "1.0.0"
    for option in document["mountOptions"]:
        extra = {"idmap": ["bind"], "ridmap": ["bind"]}.get(option, [])
        maps = {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]} if extra else {}
        mount = _mounted(load, type="tmpfs", source="/s", options=[*extra, option], **maps)
        assert option not in mount.data.split(",")


def test_features_list_what_a_config_may_hold(load: Load) -> None:
    linux = features()["linux"]
    load(_linux(namespaces=[{"type": kind} for kind in linux["namespaces"]]))
    load(_process(capabilities={"bounding": linux["capabilities"]}))
    for word in linux["seccomp"]["archs"]:
        load(_linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": [word]}))
    for word in linux["seccomp"]["actions"]:
        load(_linux(seccomp={"defaultAction": word}))
    load(_linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "flags": linux["seccomp"]["knownFlags"]}))
    for word in linux["seccomp"]["operators"]:
        load(_linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 0, "op": word}]}]}))
    for word in linux["memoryPolicy"]["modes"]:
        load(_linux(memoryPolicy={"mode": word, "flags": linux["memoryPolicy"]["flags"]}))
