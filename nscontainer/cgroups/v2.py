"""Cgroups of version 2: one directory for all controllers.

Lesson  One tree, one place for a process, and a file for everything one may want of it: freeze, kill, count.
Read    cgroups(7), the kernel's admin-guide/cgroup-v2.rst
"""
from __future__ import annotations

from . import files
from .manager import Manager
from .paths import UNIFIED
from .stats import CgroupStats, MemoryData, key_values, number

__all__ = ["UnifiedManager"]


class UnifiedManager(Manager):
    """The one cgroup of a container."""

    def get_stats(self) -> CgroupStats:
        stats = CgroupStats()
        if UNIFIED in self._paths:
            _count_cpu(self._paths[UNIFIED], stats)
            _count_memory(self._paths[UNIFIED], stats)
        return stats


def _count_cpu(directory: str, stats: CgroupStats) -> None:
    found = key_values(files.read_or_none(f"{directory}/cpu.stat") or "")
    usage, throttling = stats.cpu_stats.cpu_usage, stats.cpu_stats.throttling_data
    usage.total_usage = found.get("usage_usec", 0) * 1000
    usage.usage_in_usermode = found.get("user_usec", 0) * 1000
    usage.usage_in_kernelmode = found.get("system_usec", 0) * 1000
    throttling.periods = found.get("nr_periods", 0)  # these three only with the controller cpu
    throttling.throttled_periods = found.get("nr_throttled", 0)
    throttling.throttled_time = found.get("throttled_usec", 0) * 1000


def _count_memory(directory: str, stats: CgroupStats) -> None:
    content = files.read_or_none(f"{directory}/memory.stat")
    if content is None:  # the controller memory is not given to this cgroup
        return
    memory = stats.memory_stats
    memory.stats = key_values(content)
    memory.cache = memory.stats.get("file", 0)
    events = key_values(files.read_or_none(f"{directory}/memory.events") or "")
    usage, most, swap = (number(files.read_or_none(f"{directory}/memory.{name}") or "0")
                         for name in ("current", "peak", "swap.current"))   # peak: Linux 5.19
    memory.usage = MemoryData(usage=usage, max_usage=most, failcnt=events.get("max", 0))
    memory.swap_usage = MemoryData(usage=usage + swap)                     # version 1 counts both together
    memory.kernel_usage = MemoryData(usage=memory.stats.get("kernel", 0))  # Linux 5.18
