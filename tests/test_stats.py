"""Counters: of a cgroup, of either version, and of network interfaces."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nscontainer import stats
from nscontainer.cgroups import reader, small
from nscontainer.cgroups.stats import CgroupStats, key_values, number
from nscontainer.cgroups.v1 import LegacyManager
from nscontainer.cgroups.v2 import UnifiedManager
from nscontainer.config import Network
from nscontainer.errors import ConfigInvalid, ContainerError, SyscallError
from nscontainer.network import counters, inside
from nscontainer.records import dumps, loads
from nscontainer.resources import Cgroup
from nscontainer.stats import NetworkInterface, Stats, collect
from nscontainer.sys.clone import CLONE, unshare

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def fill(directory: Path, files: dict[str, str]) -> str:
    """Write control files as a kernel would show them."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(content)
    return str(directory)


MEMORY = {"memory.stat": "cache 512\nhierarchical_memory_limit 8192\nhierarchical_memsw_limit 9000\n",
          "memory.usage_in_bytes": "2048\n",
          "memory.max_usage_in_bytes": "4096\n", "memory.failcnt": "3\n"}
CPUACCT = {"cpuacct.stat": "user 50\nsystem 20\n", "cpuacct.usage": "123456789\n", "cpuacct.usage_percpu": "100 200 \n"}


# --- version 1


@pytest.fixture
def legacy(tmp_path: Path) -> Any:
    """Make a manager of version 1 whose controllers' directories hold these files."""
    def make(**controllers: dict[str, str]) -> LegacyManager:
        return LegacyManager(Cgroup(name="x"), {n: fill(tmp_path / n, files) for n, files in controllers.items()})

    return make


def test_cpu_time_is_in_nanoseconds(legacy: Any) -> None:
    usage = legacy(cpuacct=CPUACCT).get_stats().cpu_stats.cpu_usage
    assert usage.total_usage == 123456789
    assert usage.percpu_usage == [100, 200]
    assert (usage.usage_in_usermode, usage.usage_in_kernelmode) == (50 * TICK, 20 * TICK)


def test_throttling_is_counted_and_what_is_unknown_is_ignored(legacy: Any) -> None:
    text = "nr_periods 2000\nnr_throttled 200\nthrottled_time 18446744073709551615\nnr_new 4\n"
    throttling = legacy(cpu={"cpu.stat": text}).get_stats().cpu_stats.throttling_data
    assert (throttling.periods, throttling.throttled_periods, throttling.throttled_time) == (2000, 200, (1 << 64) - 1)


def test_no_counters_are_zeros(legacy: Any) -> None:
    assert legacy(cpu={}, memory={}).get_stats() == CgroupStats()
    assert legacy().get_stats() == CgroupStats()


@pytest.mark.parametrize("line", ["nr_periods", "nr_periods a", "nr_periods 1 2"])
def test_a_damaged_line_is_an_error(legacy: Any, line: str) -> None:
    with pytest.raises(ContainerError, match=r"should be a name and a number|should hold a number, and holds 'a'"):
        legacy(cpu={"cpu.stat": line}).get_stats()


def test_memory_with_and_without_swap_accounting(legacy: Any) -> None:
    swap = {name.replace("memory.", "memory.memsw."): "7\n" for name in MEMORY if name != "memory.stat"}
    for extra, expected in ((swap, (7, 7, 7)), ({}, (0, 0, 0))):
        memory = legacy(memory={**MEMORY, **extra}).get_stats().memory_stats
        assert (memory.cache, len(memory.stats)) == (512, 3)
        assert (memory.usage.usage, memory.usage.max_usage, memory.usage.failcnt) == (2048, 4096, 3)
        assert (memory.usage.limit, memory.swap_usage.limit) == (8192, 9000)
        assert (memory.swap_usage.usage, memory.swap_usage.max_usage, memory.swap_usage.failcnt) == expected
        for name in extra:
            os.unlink(f"{legacy(memory={}).get_paths()['memory']}/{name}")


@pytest.mark.parametrize("name", ["memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt"])
def test_plain_memory_must_be_whole(legacy: Any, name: str) -> None:
    with pytest.raises(SyscallError, match=name):
        legacy(memory={key: value for key, value in MEMORY.items() if key != name}).get_stats()


def test_a_controller_whose_files_are_gone_is_an_error(legacy: Any) -> None:
    with pytest.raises(SyscallError, match=r"cpuacct\.stat"):
        legacy(cpuacct={}).get_stats()


# --- version 2


@pytest.fixture
def unified(tmp_path: Path) -> Any:
    return lambda **files: UnifiedManager(Cgroup(name="x"), {"": fill(tmp_path / "v2", {
        name.replace("__", "."): content for name, content in files.items()})})


def test_version_2_counts_by_the_same_names(unified: Any) -> None:
    found = unified(
        cgroup__controllers="cpu memory\n",
        cpu__stat="usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9\n",
        memory__stat="anon 5\nfile 6\nkernel 7\n", memory__current="100\n", memory__peak="200\n",
        memory__swap__current="50\n", memory__events="low 0\nhigh 0\nmax 8\noom 1\n").get_stats()
    usage, throttling, memory = found.cpu_stats.cpu_usage, found.cpu_stats.throttling_data, found.memory_stats
    assert (usage.total_usage, usage.usage_in_usermode, usage.usage_in_kernelmode) == (30_000, 10_000, 20_000)
    assert (throttling.periods, throttling.throttled_periods, throttling.throttled_time) == (4, 2, 9_000)
    assert (memory.usage.usage, memory.usage.max_usage, memory.usage.failcnt) == (100, 200, 8)
    assert (memory.cache, memory.swap_usage.usage, memory.kernel_usage.usage) == (6, 150, 7)


def test_version_2_without_controllers_counts_nothing(unified: Any) -> None:
    assert unified().get_stats() == CgroupStats()
    assert UnifiedManager(Cgroup(name="x")).get_stats() == CgroupStats()


# --- all of it, and again

V2_FILES = {
    "cgroup.controllers": "cpu io memory hugetlb pids rdma misc\n",
    "cpu.stat": "usage_usec 30\nnr_bursts 3\nburst_usec 4\n",
    "memory.stat": "anon 5\nfile 6\n", "memory.current": "100\n", "memory.max": "max\n", "memory.swap.current": "50\n",
    "memory.swap.max": "70\n", "memory.swap.peak": "60\n", "memory.events": "max 8\noom_kill 2\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n8:16 rbytes=9\n",
    "pids.current": "3\n", "pids.max": "max\n",
    "rdma.current": "mlx hca_handle=2 hca_object=max\n", "misc.current": "a 5\nb 0\n",
    "memory.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.10 avg60=0.00 total=7\n",
}


def test_version_2_counts_everything(tmp_path: Path) -> None:
    found = UnifiedManager(Cgroup(name="x"), {"": fill(tmp_path / "g", V2_FILES)}).get_stats()
    throttling, memory = found.cpu_stats.throttling_data, found.memory_stats
    assert (throttling.bursts, throttling.burst_time) == (3, 4000)
    assert (memory.oom_kills, memory.events["max"], memory.usage.limit) == (2, 8, (1 << 64) - 1)
    assert (memory.swap_only.usage, memory.swap_only.max_usage, memory.swap_only.limit) == (50, 60, 70)
    assert (found.pids_stats.current, found.pids_stats.limit) == (3, 0)
    assert (found.rdma_stats["mlx"].hca_handles, found.misc_stats) == (2, {"a": 5, "b": 0})
    assert [(entry.minor, entry.op, entry.value) for entry in found.blkio_stats.io_service_bytes_recursive] == [
        (0, "Read", 1), (0, "Write", 2), (0, "Discard", 5), (16, "Read", 9)]
    assert [(entry.op, entry.value) for entry in found.blkio_stats.io_serviced_recursive] == [
        ("Read", 3), ("Write", 4), ("Discard", 6)]
    assert [(entry.op, entry.value) for entry in found.blkio_stats.io_cost] == [("cost.usage", 7)]
    waited = found.pressure.memory
    assert (waited.some.avg10, waited.some.avg60, waited.some.total, waited.full.total) == (1.5, 0.25, 77, 7)
    assert found.pressure.cpu.some.total == 0


def test_the_second_look_sees_what_has_changed_and_only_that_moment(tmp_path: Path) -> None:
    manager = UnifiedManager(Cgroup(name="x"), {"": fill(tmp_path / "g", V2_FILES)})
    first = manager.get_stats()
    same = manager.get_stats()
    assert same == first and dumps(manager.get_stats().to_json()) == dumps(first.to_json())
    assert "some=Stall(total=77" in repr(manager.get_stats())
    second = manager.get_stats()
    (tmp_path / "g" / "memory.current").write_text("200\n")
    third = manager.get_stats()
    assert (second.memory_stats.usage.usage, third.memory_stats.usage.usage) == (100, 200)
    assert second != third and third.copy() == third
    assert third.cpu_stats.cpu_usage.total_usage == 30_000


def test_a_controller_that_is_given_later_is_counted(tmp_path: Path) -> None:
    directory = tmp_path / "g"
    manager = UnifiedManager(Cgroup(name="x"), {"": fill(directory, {"cgroup.controllers": "\n"})})
    assert manager.get_stats().pids_stats.current == 0
    assert manager.get_stats() == CgroupStats()
    fill(directory, {"cgroup.controllers": "pids\n", "pids.current": "7\n"})
    assert manager.get_stats().pids_stats.current == 7
    assert manager.get_stats().pids_stats.current == 7


def test_files_stay_open_until_the_cgroup_goes_and_no_more_than_half_of_what_there_may_be(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened() -> int:
        return sum(os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path))
                   for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}"))

    manager = UnifiedManager(Cgroup(name="x"), {"": fill(tmp_path / "g", V2_FILES)})
    expected = manager.get_stats()
    assert opened() == len(V2_FILES)
    manager._close_readers()
    assert opened() == 0
    most = 2 * (reader._held[0] + 3)
    monkeypatch.setattr(reader, "prlimit", lambda *_: (most, 99))
    assert manager.get_stats() == expected == manager.get_stats()
    assert opened() == 3
    manager._close_readers()
    assert opened() == 0


def test_blkio_counts_by_whichever_scheduler_there_is(legacy: Any) -> None:
    serviced = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:0 Total 30\nTotal 30\n"
    files = {"blkio.io_serviced_recursive": serviced, "blkio.io_service_bytes_recursive": "8:0 Read 100\nTotal 100\n",
             "blkio.time_recursive": "8:0 7\n", "blkio.sectors_recursive": "8:16 1024\n",
             "blkio.throttle.io_serviced": "8:0 Read 99\n"}
    found = legacy(blkio=files).get_stats().blkio_stats
    assert [(one.op, one.value) for one in found.io_serviced_recursive] == [
        ("Read", 10), ("Write", 20), ("Sync", 5), ("Total", 30)]
    assert [(one.major, one.minor, one.op, one.value) for one in found.io_time_recursive] == [(8, 0, "", 7)]
    assert [(one.minor, one.value) for one in found.sectors_recursive] == [(16, 1024)]
    assert found.io_merged_recursive == ()


@pytest.mark.parametrize("prefix", ["blkio.throttle.", "blkio.bfq."])
def test_blkio_without_cfq_counts_too(legacy: Any, prefix: str) -> None:
    end = "_recursive" if "bfq" in prefix else ""
    found = legacy(blkio={
        "blkio.io_serviced_recursive": "", f"{prefix}io_service_bytes{end}": "8:0 Read 1\n252:0 Write 2\nTotal 3\n",
        f"{prefix}io_serviced{end}": "8:0 Read 4\n"}).get_stats().blkio_stats
    assert [one.value for one in found.io_service_bytes_recursive] == [1, 2]
    assert [one.value for one in found.io_serviced_recursive] == [4]


@pytest.mark.parametrize("line", ["8:0 Read 100 100", "8:0 Read Write", "8:0", "eight Read 1"])
def test_a_damaged_line_of_blkio_is_an_error(legacy: Any, line: str) -> None:
    with pytest.raises(ContainerError, match="of a control file should|a control file should hold"):
        legacy(blkio={"blkio.io_serviced_recursive": line}).get_stats()


def test_huge_pages_are_counted_by_size(legacy: Any, unified: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "_sizes", [["2MB"]])
    files = {"hugetlb.2MB.usage_in_bytes": "128\n", "hugetlb.2MB.max_usage_in_bytes": "256\n",
             "hugetlb.2MB.failcnt": "100\n"}
    one = legacy(hugetlb=files).get_stats().hugetlb_stats["2MB"]
    assert (one.usage, one.max_usage, one.failcnt) == (128, 256, 100)
    one = unified(cgroup__controllers="hugetlb", hugetlb__2MB__current="128\n",
                  hugetlb__2MB__events="max 3\n").get_stats().hugetlb_stats["2MB"]
    assert (one.usage, one.failcnt) == (128, 3)


@pytest.mark.parametrize("name", ["usage_in_bytes", "max_usage_in_bytes", "failcnt"])
def test_huge_pages_must_be_whole(legacy: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(small, "_sizes", [["2MB"]])
    with pytest.raises(SyscallError, match=f"hugetlb.2MB.{name}"):
        legacy(hugetlb={f"hugetlb.2MB.{other}": "1\n" for other in ("usage_in_bytes", "max_usage_in_bytes", "failcnt")
                        if other != name}).get_stats()


def test_what_a_program_has_used_is_summed_up(unified: Any) -> None:
    found = stats.resources(Stats(cgroup_stats=unified(
        cgroup__controllers="cpu io memory", cpu__stat="usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
        memory__stat="file 1\n", memory__peak="200\n", memory__events="oom_kill 1\n",
        io__stat="8:0 rbytes=1 wbytes=2\n8:16 rbytes=10 wbytes=20\n").get_stats()))
    assert found is not None
    assert (found.cpu_time, found.user_time, found.system_time) == (1.5, 1.0, 0.5)
    assert (found.peak_memory, found.read_bytes, found.written_bytes) == (200, 11, 22)
    assert found.oom_killed
    assert "oom_kills=1" in repr(found)
    assert stats.resources(Stats()) is None


# --- numbers


@pytest.mark.parametrize(("word", "expected"), [
    ("7\n", 7), (" 7 ", 7), ("-12345", 0), ("-9223372036854775809", 0), ("max\n", (1 << 64) - 1),
    (str(1 << 70), (1 << 64) - 1),
])
def test_a_counter_never_leaves_its_64_bits(word: str, expected: int) -> None:
    assert number(word) == expected


def test_lines_are_pairs() -> None:
    assert key_values("a 1\nb 2\n") == {"a": 1, "b": 2}
    assert key_values("") == {}


# --- the records


def test_the_json_has_libcontainers_keys() -> None:
    found = Stats(interfaces=(NetworkInterface(name="veth0", rx_bytes=1, tx_dropped=2),), cgroup_stats=CgroupStats())
    assert_holds(found.to_json(), {
        "Interfaces": [{"Name": "veth0", "RxBytes": 1, "RxPackets": 0, "RxErrors": 0, "RxDropped": 0,
                        "TxBytes": 0, "TxPackets": 0, "TxErrors": 0, "TxDropped": 2}],
        "CgroupStats": {
            "cpu_stats": {
                "cpu_usage": {"total_usage": 0, "percpu_usage": [], "usage_in_kernelmode": 0, "usage_in_usermode": 0},
                "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0}},
            "memory_stats": {
                "cache": 0, "stats": {}, **{name: {"usage": 0, "max_usage": 0, "failcnt": 0}
                                            for name in ("usage", "swap_usage", "kernel_usage")}},
            "blkio_stats": {f"{name}_recursive": [] for name in (
                "io_service_bytes", "io_serviced", "io_queue", "io_service_time", "io_wait_time", "io_merged",
                "io_time", "sectors")},
            "hugetlb_stats": {}}})


def assert_holds(found: Any, expected: Any) -> None:
    """Check that an object has what is expected, at least."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_holds(found[key], value)
    else:
        assert found == expected


def test_the_records_survive_json(legacy: Any) -> None:
    found = Stats(cgroup_stats=legacy(memory=MEMORY, cpuacct=CPUACCT).get_stats())
    assert Stats.from_json(loads(dumps(found.to_json()))) == found


@pytest.mark.parametrize("wrong", [{"stats": {"a": "b"}}, {"stats": []}, {"usage": 7}])
def test_what_is_no_counter_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"^CgroupStats\.memory_stats\."):
        Stats.from_json({"CgroupStats": {"memory_stats": wrong}})
    with pytest.raises(ConfigInvalid, match="percpu_usage"):
        Stats.from_json({"CgroupStats": {"cpu_stats": {"cpu_usage": {"percpu_usage": [1.5]}}}})


# --- interfaces


def test_what_the_host_sends_the_container_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    host = {f"{way}_{what}": value for value, (way, what) in enumerate(
        (way, what) for way in ("rx", "tx") for what in counters.COUNTERS)}
    monkeypatch.setattr(counters, "read_counters", lambda name: host if name == "veth0" else {})
    found = collect(None, [Network(type="loopback"), Network(type="veth", host_interface_name="veth0"),
                           Network(type="veth")])
    assert found.cgroup_stats is None
    assert [one.name for one in found.interfaces] == ["veth0", ""]
    first = found.interfaces[0]
    assert (first.tx_bytes, first.tx_packets, first.tx_errors, first.tx_dropped) == (0, 1, 2, 3)
    assert (first.rx_bytes, first.rx_packets, first.rx_errors, first.rx_dropped) == (4, 5, 6, 7)
    assert found.interfaces[1] == NetworkInterface()


def test_the_counters_of_an_interface_are_the_kernels() -> None:
    found = counters.read_counters("lo")
    assert sorted(found) == sorted(f"{way}_{what}" for way in ("rx", "tx") for what in counters.COUNTERS)
    assert sorted(counters.read_counters_of(os.getpid())["lo"]) == sorted(found)
    assert found["rx_bytes"] <= int(Path("/sys/class/net/lo/statistics/rx_bytes").read_text())
    assert counters.read_counters("") == {}


@pytest.mark.parametrize("name", ["../lo", "..", ".", "lo/statistics"])
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"networks\.host_interface_name"):
        counters.read_counters(name)


def test_a_missing_interface_is_an_error() -> None:
    with pytest.raises(SyscallError, match="nosuch0"):
        stats.interface("nosuch0")


# --- the container's side


@pytest.mark.needs("root")
def test_the_loopback_interface_of_a_new_network_is_up_afterwards(in_child: Any) -> None:
    def configure() -> list[bool]:
        unshare(CLONE.NEWNET)
        before = Path("/proc/self/net/fib_trie").read_text()
        inside.configure_inside([Network(type="loopback", name="lo")])
        return ["127.0.0.1" in text for text in (before, Path("/proc/self/net/fib_trie").read_text())]

    assert in_child(configure) == [False, True]


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"^networks\[0\]\.type: expected one of loop.*, got 'carrier pigeon'"):
        inside.configure_inside([Network(type="carrier pigeon")])
