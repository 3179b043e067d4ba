"""Limits: what is written for which wish, on either version, and what happens when the kernel refuses."""
from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer.cgroups import blkio, controllers, cpu, delegation, files, memory, settings, small
from nscontainer.cgroups.manager import Manager, manager_for
from nscontainer.cgroups.paths import Hierarchy, NotFoundError
from nscontainer.cgroups.settings import Setting, previous, write_settings
from nscontainer.cgroups.v1 import LegacyManager
from nscontainer.cgroups.v2 import UnifiedManager
from nscontainer.config import Config
from nscontainer.errors import ConfigInvalid, ContainerError, SyscallError
from nscontainer.resources import Cgroup, HugepageLimit, IfPrioMap, RdmaLimit, ThrottleDevice, WeightDevice

V1 = ("cpuset", "devices", "memory", "cpu", "cpuacct", "blkio", "hugetlb", "net_cls", "net_prio", "freezer", "pids",
      "rdma")
MIB = 1 << 20


def v1(**limits: Any) -> list[tuple[str, str]]:
    return [(one.file, one.text) for one in controllers.settings(Cgroup(**limits), V1, ())]


def v2(**limits: Any) -> list[tuple[str, str]]:
    return [(one.file, one.text) for one in controllers.settings(Cgroup(**limits), (), None)]


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a write replace what a file said, as it does in a cgroup."""
    real = files.write

    def write(path: str, content: str) -> None:
        if os.path.isfile(path) and not path.startswith("/sys/"):
            os.truncate(path, 0)
        real(path, content)

    monkeypatch.setattr(files, "write", write)


# --- conversions


@pytest.mark.parametrize(("shares", "weight", "linear"), [
    (0, 0, 0), (1, 1, 1), (2, 1, 1), (1024, 100, 39), (262144, 10000, 10000), (300000, 10000, 10000),
])
def test_shares_become_a_weight_and_the_default_the_default(shares: int, weight: int, linear: int) -> None:
    assert cpu.weight(shares) == weight
    assert cpu.weight(shares, linear=True) == linear


def test_more_shares_are_never_less_weight() -> None:
    weights = [cpu.weight(shares) for shares in range(2, 262145, 61)]
    assert weights == sorted(weights)
    assert (weights[0], max(weights)) == (1, cpu.weight(262141))


@pytest.mark.parametrize(("before", "after"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_a_blkio_weight_becomes_an_io_weight(before: int, after: int) -> None:
    assert blkio.weight(before) == after


@pytest.mark.parametrize(("limit", "both", "swap"), [
    (-1, 0, -1), (-1, -1, -1), (0, -1, -1), (0, 0, None), (100, 0, None), (100, -1, -1), (-1, 500, 500),
    (100, 300, 200), (100, 100, 0),
])
def test_swap_is_told_from_memory(limit: int, both: int, swap: int | None) -> None:
    assert memory.swap_alone(Cgroup(memory=limit, memory_swap=both)) == swap


@pytest.mark.parametrize(("limit", "both", "problem"), [
    (0, 100, "without a limit of memory"), (200, 100, "100 is below memory, 200"),
])
def test_swap_that_makes_no_sense_is_refused(limit: int, both: int, problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        v2(memory=limit, memory_swap=both)


# --- version 2


@pytest.mark.parametrize(("limits", "expected"), [
    ({}, []),
    ({"name": "x", "parent": "y"}, []),
    ({"pids_limit": 33}, [("pids.max", "33")]),
    ({"pids_limit": 0}, [("pids.max", "1")]),
    ({"pids_limit": -1}, [("pids.max", "max")]),
    ({"memory": 64 * MIB, "memory_swap": 64 * MIB}, [("memory.swap.max", "0"), ("memory.max", "67108864")]),
    ({"memory": -1}, [("memory.swap.max", "max"), ("memory.max", "max")]),
    ({"memory_reservation": 5, "memory_min": 3, "memory_high": -1},
     [("memory.low", "5"), ("memory.min", "3"), ("memory.high", "max")]),
    ({"memory_low": 5}, [("memory.low", "5")]),
    ({"kernel_memory": 5, "memory_swappiness": -1}, []),
    ({"cpu_shares": 1024}, [("cpu.weight", "100")]),
    ({"cpu_weight": 77}, [("cpu.weight", "77")]),
    ({"cpu_quota": 50000}, [("cpu.max", "50000 100000")]),
    ({"cpu_quota": 5000, "cpu_period": 7000, "cpu_burst": 9}, [("cpu.max.burst", "9"), ("cpu.max", "5000 7000")]),
    ({"cpu_quota": -1}, [("cpu.max", "max 100000")]),
    ({"cpu_period": 7000}, [("cpu.max", "max 7000")]),
    ({"cpu_idle": 1, "cpu_shares": 1024}, [("cpu.idle", "1")]),
    ({"cpu_idle": 0, "cpu_shares": 1024}, [("cpu.idle", "0"), ("cpu.weight", "100")]),
    ({"cpuset_cpus": "0-3,7", "cpuset_mems": "0"}, [("cpuset.cpus", "0-3,7"), ("cpuset.mems", "0")]),
    ({"blkio_weight": 500}, [("io.bfq.weight", "500")]),
    ({"blkio_weight_device": [WeightDevice(8, 0, 500)]}, [("io.bfq.weight", "8:0 500")]),
    ({"blkio_throttle_read_bps_device": [ThrottleDevice(8, 0, 9)],
      "blkio_throttle_write_iops_device": [ThrottleDevice(8, 16, 7), ThrottleDevice(8, 0, 0)]},
     [("io.max", "8:0 rbps=9"), ("io.max", "8:16 wiops=7"), ("io.max", "8:0 wiops=max")]),
    ({"blkio_throttle_write_bps_device": [ThrottleDevice(8, 0, 1)],
      "blkio_throttle_read_iops_device": [ThrottleDevice(8, 0, 2)]},
     [("io.max", "8:0 wbps=1"), ("io.max", "8:0 riops=2")]),
    ({"hugetlb_limit": [HugepageLimit("64kB", 5)]}, [("hugetlb.64KB.max", "5"), ("hugetlb.64KB.rsvd.max", "5")]),
    ({"rdma": {"mlx5_1": RdmaLimit(2, -1), "x": RdmaLimit(hca_objects=3), "y": RdmaLimit()}},
     [("rdma.max", "mlx5_1 hca_handle=2 hca_object=max"), ("rdma.max", "x hca_object=3")]),
    ({"unified": {"misc.max": "a 5\nb 6\n", "cgroup.max.depth": "2"}},
     [("misc.max", "a 5"), ("misc.max", "b 6"), ("cgroup.max.depth", "2")]),
])
def test_version_2_is_told(limits: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert v2(**limits) == expected


@pytest.mark.parametrize(("limits", "name"), [
    ({"memory_swappiness": 60}, "memory_swappiness"), ({"oom_kill_disable": True}, "oom_kill_disable"),
    ({"kernel_memory_tcp": 5}, "kernel_memory_tcp"), ({"cpu_rt_runtime": 5}, "cpu_rt_runtime"),
    ({"blkio_leaf_weight": 50}, "blkio_leaf_weight"), ({"net_cls_classid": "0x1"}, "net_cls_classid"),
    ({"net_prio_ifpriomap": [IfPrioMap("lo", 1)]}, "net_prio_ifpriomap"),
])
def test_what_version_2_does_not_have_is_refused(limits: dict[str, Any], name: str) -> None:
    with pytest.raises(ContainerError, match=f"cgroups.{name}: version 2 of cgroups has no such limit; leave it out"):
        v2(**limits)
    assert v1(**limits)


@pytest.mark.parametrize("name", ["../x/memory.max", "a/b.c", "memory", ".max", "cgroup.procs", "cgroup.kill",
                                  "cgroup.freeze", "cgroup.subtree_control", "cgroup.type", "memory.", "a.\nb"])
def test_a_name_of_unified_is_that_of_a_limit(name: str) -> None:
    with pytest.raises(ConfigInvalid, match="cgroups.unified"):
        list(small.unified(Cgroup(unified={name: "1"})))


# --- version 1


@pytest.mark.parametrize(("limits", "expected"), [
    ({"cpuset_cpus": "1-3", "cpuset_mems": "1"}, [("cpuset.cpus", "1-3"), ("cpuset.mems", "1")]),
    ({"memory": 500 * MIB, "memory_reservation": 300 * MIB},
     [("memory.limit_in_bytes", "524288000"), ("memory.soft_limit_in_bytes", "314572800")]),
    ({"memory": 9, "memory_swap": 500 * MIB},
     [("memory.limit_in_bytes", "9"), ("memory.memsw.limit_in_bytes", "524288000")]),
    ({"memory": -1}, [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")]),
    ({"kernel_memory": 5, "kernel_memory_tcp": 6},
     [("memory.kmem.limit_in_bytes", "5"), ("memory.kmem.tcp.limit_in_bytes", "6")]),
    ({"memory_swappiness": 0, "oom_kill_disable": True}, [("memory.oom_control", "1"), ("memory.swappiness", "0")]),
    ({"memory_swappiness": -1}, []),
    ({"cpu_shares": 512}, [("cpu.shares", "512")]),
    ({"cpu_quota": 5000, "cpu_period": 7000, "cpu_rt_runtime": 5000, "cpu_rt_period": 7000, "cpu_burst": 3},
     [("cpu.rt_period_us", "7000"), ("cpu.rt_runtime_us", "5000"), ("cpu.cfs_period_us", "7000"),
      ("cpu.cfs_quota_us", "5000"), ("cpu.cfs_burst_us", "3")]),
    ({"blkio_weight": 200, "blkio_leaf_weight": 300}, [("blkio.weight", "200"), ("blkio.leaf_weight", "300")]),
    ({"blkio_weight_device": [WeightDevice(8, 0, 500, 300), WeightDevice(8, 1, 400)]},
     [("blkio.weight_device", "8:0 500"), ("blkio.leaf_weight_device", "8:0 300"), ("blkio.weight_device", "8:1 400")]),
    ({f"blkio_throttle_{name}_device": [ThrottleDevice(8, 0, 2048)]
      for name in ("read_bps", "write_bps", "read_iops", "write_iops")},
     [(f"blkio.throttle.{name}_device", "8:0 2048") for name in ("read_bps", "write_bps", "read_iops", "write_iops")]),
    ({"hugetlb_limit": [HugepageLimit("2MB", 512)]},
     [("hugetlb.2MB.limit_in_bytes", "512"), ("hugetlb.2MB.rsvd.limit_in_bytes", "512")]),
    ({"net_cls_classid": "0x100001"}, [("net_cls.classid", "0x100001")]),
    ({"net_prio_ifpriomap": [IfPrioMap("test", 5)]}, [("net_prio.ifpriomap", "test 5")]),
    ({"pids_limit": 7}, [("pids.max", "7")]),
    ({"rdma": {"x": RdmaLimit(1)}}, [("rdma.max", "x hca_handle=1")]),
])
def test_version_1_is_told(limits: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert v1(**limits) == expected


@pytest.mark.parametrize(("limits", "problem"), [
    ({"memory_high": 5}, "cgroups.memory_high: version 1 of cgroups has no such limit"),
    ({"cpu_weight": 5}, "cgroups.cpu_weight: version 1 of cgroups has no such limit"),
    ({"cpu_shares": 1}, "cgroups.cpu_shares: 1 is not between 2 and 262144"),
    ({"cpu_shares": 262145}, "cgroups.cpu_shares: 262145 is not between"),
    ({"unified": {"memory.high": "5"}}, "mountpoint for memory not found"),
])
def test_what_version_1_does_not_have_is_refused(limits: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContainerError, match=problem):
        v1(**limits)


def test_a_limit_without_its_controller_is_refused_and_one_of_version_2_beside_will_do() -> None:
    limits = Cgroup(hugetlb_limit=(HugepageLimit("2MB", 512),))
    with pytest.raises(NotFoundError, match="mountpoint for hugetlb not found; cgroups.hugetlb_limit needs"):
        list(controllers.settings(limits, ("cpu",), ("misc",)))
    assert next(iter(controllers.settings(limits, ("cpu",), ("hugetlb",)))).file == "hugetlb.2MB.max"


def test_the_needed_controllers_are_known_by_their_new_names() -> None:
    limits = Cgroup(blkio_weight=100, net_cls_classid="1", memory=5,
                    unified={"misc.max": "a 1", "cgroup.pressure": "0"})
    assert controllers.wanted(limits) == {"io", "memory", "misc"}
    assert controllers.wanted(Cgroup(memory=0, memory_swappiness=None)) == set()


# --- writing


@pytest.fixture
def group(tmp_path: Path) -> Path:
    for name, text in (("memory.max", "max\n"), ("cpu.max", "max 100000\n"), ("io.weight", "default 100\n8:0 50\n"),
                       ("pids.max", "5\n")):
        (tmp_path / name).write_text(text)
    return tmp_path


def write(group: Path, *wanted: Setting, **options: Any) -> None:
    write_settings(lambda controller: str(group), wanted, **options)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have writes fail: file, errno, and how many times."""
    real = files.write

    def arrange(file: str, number: int, times: int = 99) -> list[str]:
        left = [times]
        log: list[str] = []

        def write(path: str, content: str) -> None:
            log.append(f"{os.path.basename(path)}={content}")
            if path.endswith(f"/{file}") and left[0] > 0:
                left[0] -= 1
                raise SyscallError("write", number, path, text=content)
            real(path, content)

        monkeypatch.setattr(files, "write", write)
        return log

    return arrange


def test_a_refused_limit_takes_back_those_before_it(group: Path, refuse: Any) -> None:
    refuse("pids.max", errno.EINVAL)
    with pytest.raises(SyscallError) as caught:
        write(group, Setting("memory", "memory.max", "9"), Setting("cpu_quota", "cpu.max", "5 1000"),
              Setting("pids_limit", "pids.max", "-7"))
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, f"{group}/pids.max")
    assert "text=-7" in str(caught.value) and "pids_limit" in str(caught.value)
    assert (group / "memory.max").read_text() == "max"
    assert (group / "cpu.max").read_text() == "max 100000"


def test_what_cannot_be_taken_back_is_said(group: Path, refuse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = refuse("memory.max", errno.EBUSY)
    monkeypatch.setattr(settings, "_write", lambda directory, setting, written: (
        written.append((f"{group}/memory.max", "7")) if setting.file == "memory.max" else
        files.write(f"{group}/memory.max", setting.text)))
    with pytest.raises(SyscallError, match=r"could not be set back: .*/memory.max to '7'"):
        write(group, Setting("memory", "memory.max", "9"), Setting("pids_limit", "pids.max", "8"))
    assert log == ["memory.max=8", "memory.max=7", "memory.max=7"]


def test_two_limits_that_bound_each_other_are_tried_in_both_orders(group: Path, refuse: Any) -> None:
    log = refuse("memory.max", errno.EINVAL, times=1)
    write(group, Setting("memory", "memory.max", "9", retry=True), Setting("pids_limit", "pids.max", "8"))
    assert log == ["memory.max=9", "pids.max=8", "memory.max=9"]
    refuse("memory.max", errno.EINVAL)
    with pytest.raises(SyscallError, match="of memory and swap together"):
        write(group, Setting("memory", "memory.max", "9", retry=True))


def test_a_file_that_is_missing_may_have_a_substitute_or_mean_nothing(group: Path) -> None:
    write(group, Setting("blkio_weight", "io.bfq.weight", "500", instead=(("io.weight", "4950"),)))
    assert (group / "io.weight").read_text() == "4950"
    write(group, Setting("memory_swap", "memory.swap.max", "max", optional=(errno.ENOENT,)))
    with pytest.raises(SyscallError, match=r"memory.swap.max' \(text=5\): ENOENT.*this kernel does not have that file"):
        write(group, Setting("memory_swap", "memory.swap.max", "5"))


@pytest.mark.parametrize(("file", "number", "words"), [
    ("cpuset.cpus", errno.EACCES, "a set can only be narrowed"), ("memory.max", errno.EROFS, "mounted read-only"),
    ("memory.limit_in_bytes", errno.EBUSY, "use more than that already"), ("io.max", errno.ENODEV, "whole disk"),
    ("memory.max", errno.EACCES, "not been delegated"), ("cpu.max", errno.EINVAL, "periods from 1000"),
    ("hugetlb.3MB.max", errno.ENOENT, "no huge pages of that size"), ("pids.max", errno.EIO, "the wish of cgroups.x"),
])
def test_an_error_says_why(group: Path, refuse: Any, file: str, number: int, words: str) -> None:
    refuse(file, number)
    with pytest.raises(SyscallError, match=words) as caught:
        write(group, Setting("x", file, "1"), undo=False)
    assert errno.errorcode[number] in str(caught.value)


@pytest.mark.parametrize(("file", "text", "before", "back"), [
    ("memory.max", "9", "max\n", "max"), ("cpuset.cpus", "1", "\n", "\n"),
    ("cpu.max", "5 9", "max 100000\n", "max 100000"),
    ("io.max", "8:0 rbps=5", "8:16 rbps=1\n8:0 rbps=2 wbps=max\n", "8:0 rbps=2 wbps=max"),
    ("io.max", "8:0 rbps=5", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
    ("io.weight", "5", "default 100\n8:0 50\n", "100"), ("io.weight", "8:0 5", "default 100\n8:0 50\n", "8:0 50"),
    ("io.weight", "8:1 5", "default 100\n", "8:1 default"), ("misc.max", "a 5", "a max\nb 3\n", "a max"),
    ("blkio.throttle.read_bps_device", "8:0 5", "", "8:0 0"), ("net_prio.ifpriomap", "lo 5", "lo 0\neth0 2\n", "lo 0"),
    ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "0"),
    ("rdma.max", "x hca_handle=1", "x hca_handle=max hca_object=3\n", "x hca_handle=max hca_object=3"),
])
def test_the_text_that_takes_a_limit_back(file: str, text: str, before: str, back: str) -> None:
    assert previous(file, text, before) == back


# --- managers on fake directories


def test_set_obeys_a_new_configuration_and_keeps_the_old_one_when_it_cannot(group: Path, refuse: Any) -> None:
    manager = UnifiedManager(Cgroup(name="x"), {"": str(group)})
    manager.set(Config(cgroups=Cgroup(name="x", memory=100, pids_limit=7)))
    assert ((group / "memory.max").read_text(), (group / "pids.max").read_text()) == ("100", "7")
    assert manager.cgroup.memory == 100
    refuse("cpu.max", errno.EINVAL)
    with pytest.raises(SyscallError):
        manager.set(Config(cgroups=Cgroup(name="x", memory=50, cpu_quota=5000)))
    assert (group / "memory.max").read_text() == "100"
    assert manager.cgroup.memory == 100


def test_version_1_writes_to_each_controllers_directory(tmp_path: Path) -> None:
    for name, file in (("memory", "limit_in_bytes"), ("pids", "max")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.{file}").write_text("1\n")
    manager = LegacyManager(Cgroup(name="x"), {name: str(tmp_path / name) for name in ("memory", "pids")})
    manager.set(Config(cgroups=Cgroup(name="x", memory=100, pids_limit=7)))
    assert (tmp_path / "memory" / "memory.limit_in_bytes").read_text() == "100"
    assert (tmp_path / "pids" / "pids.max").read_text() == "7"


def test_a_limit_below_what_is_in_use_is_refused_on_demand(group: Path) -> None:
    (group / "memory.current").write_text("200\n")
    manager = UnifiedManager(Cgroup(name="x"), {"": str(group)})
    with pytest.raises(ContainerError, match="cgroups.memory: 100 is below the 200 bytes in use"):
        manager.set(Config(cgroups=Cgroup(name="x", memory=100, memory_check_before_update=True)))
    manager.set(Config(cgroups=Cgroup(name="x", memory=200, memory_check_before_update=True)))


# --- handing down controllers


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A version 2 tree top/a/b in which writes to subtree_control do what the kernel does; *busy* ones refuse."""
    busy: dict[str, int] = {}
    for path in ("", "a", "a/b"):
        directory = tmp_path / path
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text("" if path else "cpu memory\n")
        (directory / "cgroup.subtree_control").write_text("")
        (directory / "cgroup.procs").write_text("" if path else "1\n")
        if path:
            (directory / "cgroup.type").write_text("domain\n")

    def write(path: str, content: str) -> None:
        directory = os.path.dirname(path)
        name = os.path.relpath(directory, tmp_path)
        if name in busy:
            raise SyscallError("write", busy[name], path)
        if not path.endswith("subtree_control"):
            raise SyscallError("openat", errno.ENOENT, path)
        given = Path(path).read_text().split() + [word[1:] for word in content.split()]
        Path(path).write_text(" ".join(given))
        for below in Path(directory).iterdir():
            if below.is_dir():
                (below / "cgroup.controllers").write_text(" ".join(given))

    monkeypatch.setattr(files, "write", write)
    return tmp_path, busy


def test_controllers_are_handed_down_level_by_level(tree: Any) -> None:
    top, _ = tree
    delegation.enable(str(top), str(top / "a/b"))
    assert delegation.controllers(str(top / "a/b")) == ["cpu", "memory"]
    assert delegation.handed_down(str(top / "a/b")) == set()


def test_who_has_processes_hands_down_nothing_and_the_error_says_so(tree: Any) -> None:
    top, busy = tree
    (top / "a/cgroup.procs").write_text("17\n")
    delegation.enable(str(top), str(top / "a/b"))
    assert delegation.controllers(str(top / "a/b")) == []
    (top / "a/cgroup.type").write_text("domain threaded\n")  # the kernel's own answer, then
    busy["a"] = errno.EBUSY
    delegation.enable(str(top), str(top / "a/b"))
    assert delegation.controllers(str(top / "a/b")) == []
    why, level = delegation.why_missing(str(top), str(top / "a/b"), "memory")
    assert level == str(top / "a")
    assert "has processes (17), and one that has processes cannot give the controller memory" in why
    assert delegation.why_missing(str(top), str(top / "a/b"), "rdma")[1] is None
    manager = UnifiedManager(Cgroup(name="b"), {"": str(top / "a/b")}, [Hierarchy(("",), str(top), "/", "/a")])
    with pytest.raises(SyscallError, match=r"cgroups\.memory: the cgroup .*/a has processes \(17\)"):
        manager.set(Config(cgroups=Cgroup(name="b", memory=100)))


def test_beside_our_own_cgroup_there_may_be_what_below_it_is_not(tree: Any) -> None:
    top, busy = tree
    hierarchy = Hierarchy(("",), str(top), "/", "/a")
    limited = UnifiedManager(Cgroup(name="box", memory=100))
    (top / "a/cgroup.procs").write_text("")
    assert limited._directory(hierarchy, "box") == str(top / "a/box")
    (top / "a/cgroup.procs").write_text("17\n")
    (top / "a/cgroup.subtree_control").write_text("")
    busy["a"] = errno.EBUSY
    assert limited._directory(hierarchy, "box") == str(top / "box")
    assert limited._directory(hierarchy, "/a/box") == str(top / "a/box")
    assert UnifiedManager(Cgroup(name="box"))._directory(hierarchy, "box") == str(top / "a/box")


def test_below_threaded_cgroups_all_are_threaded(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    top, _ = tree
    monkeypatch.setattr(files, "write", lambda path, content: Path(path).write_text(content))
    (top / "a/cgroup.type").write_text("domain invalid\n")
    with pytest.raises(ContainerError, match="can only be threaded, and so have no controller memory"):
        delegation.become_threaded(str(top / "a"), {"cpu", "memory"})
    delegation.become_threaded(str(top / "a"), {"cpu"})
    assert (top / "a/cgroup.type").read_text() == "threaded"


def test_the_sizes_of_huge_pages_are_written_as_in_the_files(tmp_path: Path) -> None:
    for name in ("hugepages-64kB", "hugepages-2048kB", "hugepages-1048576kB", "other"):
        (tmp_path / name).mkdir()
    assert small.page_sizes(str(tmp_path)) == ["64KB", "2MB", "1GB"]
    assert small.page_sizes(str(tmp_path / "none")) == []
    with pytest.raises(ConfigInvalid, match="'huge' is no size of a page"):
        v1(hugetlb_limit=[HugepageLimit("huge", 1)])


# --- the kernel

hosts = pytest.mark.parametrize("host", [pytest.param("v1", marks=pytest.mark.needs("root", "cgroup1")),
                                         pytest.param("v2", marks=pytest.mark.needs("root", "cgroup2_controllers"))])


@pytest.fixture
def live(leaves_nothing: Any) -> Iterator[Any]:
    """Make managers of this host, whose cgroups exist, and remove them afterwards."""
    made: list[Manager] = []

    def make(**limits: Any) -> Any:
        manager = manager_for(Cgroup(name=f"nscontainer-live-{os.getpid()}-{len(made)}", **limits))
        made.append(manager)
        if (fd := manager.directory_fd()) is not None:
            os.close(fd)
        return manager

    yield make
    for manager in made:
        manager.kill()
        manager.destroy()


def said(manager: Any, *names: str) -> list[str]:
    """Return what the files of either version say, by the names of both."""
    version = int("memory" not in manager.get_paths())
    return [Path(manager._directory_of(name.split("|")[version].partition(".")[0]),
                 name.split("|")[version]).read_text().strip() for name in names]


MEMORY, PIDS = "memory.limit_in_bytes|memory.max", "pids.max|pids.max"


@hosts
def test_limits_can_be_raised_and_lowered_together(live: Any, host: str) -> None:
    manager = live(memory=64 * MIB, memory_swap=64 * MIB, pids_limit=50)
    assert said(manager, MEMORY, PIDS) == [str(64 * MIB), "50"]
    for size in (128, 32, 64):
        manager.set(Config(cgroups=Cgroup(name="x", memory=size * MIB, memory_swap=size * MIB)))
        assert said(manager, MEMORY, PIDS) == [str(size * MIB), "50"]
    manager.set(Config(cgroups=Cgroup(name="x", memory=-1, pids_limit=-1)))
    assert said(manager, PIDS) == ["max"]
    assert int(said(manager, MEMORY)[0].replace("max", str(1 << 62))) > 1 << 50


@hosts
def test_a_refused_set_leaves_the_old_limits_whole(live: Any, host: str) -> None:
    manager = live(memory=64 * MIB, pids_limit=50, cpu_quota=50000)
    before = said(manager, MEMORY, PIDS, "cpu.cfs_quota_us|cpu.max", "cpuset.cpus|cpuset.cpus")
    with pytest.raises(SyscallError, match=r"cpuset.cpus' \(text=4000\)"):
        manager.set(Config(cgroups=Cgroup(name="x", memory=128 * MIB, pids_limit=7, cpu_quota=70000,
                                          cpuset_cpus="4000")))
    assert said(manager, MEMORY, PIDS, "cpu.cfs_quota_us|cpu.max", "cpuset.cpus|cpuset.cpus") == before
    assert manager.cgroup.pids_limit == 50


@hosts
def test_a_refused_start_leaves_no_cgroup(live: Any, host: str, leaves_nothing: Any) -> None:
    with pytest.raises(SyscallError, match="cpuset.cpus"):
        live(memory=64 * MIB, cpuset_cpus="4000")


@hosts
def test_what_the_kernel_takes_it_says_again(live: Any, host: str) -> None:
    manager = live(cpu_shares=512, cpu_quota=5000, cpu_period=7000, cpu_burst=1000, cpuset_cpus="0",
                   memory_reservation=32 * MIB)
    assert said(manager, "cpu.shares|cpu.weight", "cpuset.cpus|cpuset.cpus",
                "memory.soft_limit_in_bytes|memory.low") == (
        ["512", "0", str(32 * MIB)] if host == "v1" else [str(cpu.weight(512)), "0", str(32 * MIB)])
    assert said(manager, "cpu.cfs_period_us|cpu.max") == (["7000"] if host == "v1" else ["5000 7000"])


BOMB = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


@hosts
@pytest.mark.parametrize("at_once", [True, False])
def test_a_bomb_of_500_ends_within_a_second(
        live: Any, host: str, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not at_once:  # before Linux 5.14, or no version 2
        monkeypatch.setattr(Manager, "_kill_at_once", lambda self: False)
    manager = live(pids_limit=500)
    bomb = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()\n" + BOMB], stdin=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, start_new_session=True)
    manager.apply(bomb.pid)
    assert bomb.stdin is not None
    bomb.stdin.write(b"\n")
    bomb.stdin.close()
    deadline = time.monotonic() + 20
    while len(manager.get_pids()) < 490 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(manager.get_pids()) >= 490
    start = time.monotonic()
    manager.kill()
    took = time.monotonic() - start
    bomb.wait(10)
    assert manager.get_pids() == []
    assert took < (15 if os.environ.get("NSCONTAINER_VM") else 1)
