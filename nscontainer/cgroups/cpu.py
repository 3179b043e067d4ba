"""CPU time: a share of it, a ceiling on it, and how much was used.

Lesson  A weight counts only while others want to run as well; a quota stops the group even on an idle machine.
Read    "CPU" in the kernel's admin-guide/cgroup-v2.rst, scheduler/sched-bwc.rst, sched-rt-group.rst
"""
from __future__ import annotations

import os
from math import ceil, log2

from ..errors import ContainerError
from .settings import Setting
from .stats import key_values, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..resources import Cgroup
    from .reader import Reader, Snapshot
    from .stats import CgroupStats

__all__ = ["ONLY_V1", "ONLY_V2", "count_v1", "count_v1_time", "count_v2", "v1", "v2", "weight"]

ONLY_V1 = ("cpu_rt_runtime", "cpu_rt_period")
ONLY_V2 = ("cpu_weight",)
_LEAST, _MOST = 2, 262144    # of cpu.shares, as the kernel clamps it
_NANOSECONDS = 1_000_000_000


def weight(shares: int, *, linear: bool = False) -> int:
    """Return cpu.weight (1 to 10000) for cpu.shares (2 to 262144); 0, unset, stays 0.

    The default, 1024, becomes the default, 100. *linear* is how runtimes converted until 2025, and how a kubelet may
    still do for the cgroups it makes itself: 1024 becomes 39.
    """
    if shares == 0:
        return 0
    shares = min(max(shares, _LEAST), _MOST)
    if linear:
        return 1 + (shares - 2) * 9999 // 262142
    if shares == _MOST:
        return 10000
    logarithm = log2(shares)
    return ceil(10 ** ((logarithm * logarithm + 125 * logarithm) / 612 - 7 / 34))


def v2(limits: Cgroup) -> Iterator[Setting]:
    """What version 2 is told."""
    if limits.cpu_idle is not None:
        yield Setting("cpu_idle", "cpu.idle", str(limits.cpu_idle))
    if limits.cpu_idle != 1:  # one that idles has no weight: the kernel refuses it
        if limits.cpu_weight:
            yield Setting("cpu_weight", "cpu.weight", str(limits.cpu_weight))
        elif limits.cpu_shares:
            yield Setting("cpu_shares", "cpu.weight", str(weight(limits.cpu_shares)))
    if limits.cpu_burst:
        yield Setting("cpu_burst", "cpu.max.burst", str(limits.cpu_burst), retry=True)
    if limits.cpu_quota or limits.cpu_period:
        quota = str(limits.cpu_quota) if limits.cpu_quota > 0 else "max"
        yield Setting("cpu_quota" if limits.cpu_quota else "cpu_period", "cpu.max",
                      f"{quota} {limits.cpu_period or 100000}", retry=True)


def v1(limits: Cgroup) -> Iterator[Setting]:
    """What version 1 is told. Where period and quota bound each other, whichever fits goes first."""
    if limits.cpu_idle is not None:
        yield Setting("cpu_idle", "cpu.idle", str(limits.cpu_idle))
    if limits.cpu_shares and limits.cpu_idle != 1:
        if not _LEAST <= limits.cpu_shares <= _MOST:  # the kernel would take the nearest, and say nothing
            raise ContainerError(f"cgroups.cpu_shares: {limits.cpu_shares} is not between {_LEAST} and {_MOST}",
                                 hint="1024 is what a group without has")
        yield Setting("cpu_shares", "cpu.shares", str(limits.cpu_shares))
    for field, file in (("cpu_rt_period", "cpu.rt_period_us"), ("cpu_rt_runtime", "cpu.rt_runtime_us"),
                        ("cpu_period", "cpu.cfs_period_us"), ("cpu_quota", "cpu.cfs_quota_us"),
                        ("cpu_burst", "cpu.cfs_burst_us")):
        if value := getattr(limits, field):
            yield Setting(field, file, str(value), retry=True)


def count_v1(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read how often the ceiling was met."""
    found = key_values(read("cpu.stat") or "")
    throttling = stats.cpu_stats.throttling_data
    throttling.periods = found.get("nr_periods", 0)
    throttling.throttled_periods = found.get("nr_throttled", 0)
    throttling.throttled_time = found.get("throttled_time", 0)
    throttling.bursts, throttling.burst_time = found.get("nr_bursts", 0), found.get("burst_time", 0)


def count_v1_time(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read the time used: the controller cpuacct."""
    ticks = key_values(read.need("cpuacct.stat"))
    tick = _NANOSECONDS // os.sysconf("SC_CLK_TCK")
    usage = stats.cpu_stats.cpu_usage
    usage.total_usage = number(read.need("cpuacct.usage"))
    usage.percpu_usage = [number(word) for word in read.need("cpuacct.usage_percpu").split()]
    usage.usage_in_usermode = ticks.get("user", 0) * tick
    usage.usage_in_kernelmode = ticks.get("system", 0) * tick


def count_v2(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read the time used, and how often the ceiling was met."""
    found = key_values(read("cpu.stat") or "")
    usage, throttling = stats.cpu_stats.cpu_usage, stats.cpu_stats.throttling_data
    usage.total_usage = found.get("usage_usec", 0) * 1000
    usage.usage_in_usermode = found.get("user_usec", 0) * 1000
    usage.usage_in_kernelmode = found.get("system_usec", 0) * 1000
    throttling.periods = found.get("nr_periods", 0)  # these only with the controller cpu
    throttling.throttled_periods = found.get("nr_throttled", 0)
    throttling.throttled_time = found.get("throttled_usec", 0) * 1000
    throttling.bursts, throttling.burst_time = found.get("nr_bursts", 0), found.get("burst_usec", 0) * 1000
