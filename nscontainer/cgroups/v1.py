"""Cgroups of version 1: a directory per controller, and on a hybrid host one of version 2 beside them.

Lesson  Every controller has a tree of its own, so being in a cgroup means sitting in up to a dozen directories.
Read    cgroups(7), the kernel's admin-guide/cgroup-v1/
"""
from __future__ import annotations

import os

from ..errors import SyscallError
from ..sys.files import AT_FDCWD, close, openat
from . import files
from .manager import Manager
from .paths import UNIFIED
from .stats import CgroupStats, MemoryData, key_values, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .paths import Hierarchy

__all__ = ["LegacyManager"]

_NANOSECONDS = 1_000_000_000


class LegacyManager(Manager):
    """A cgroup in each hierarchy that is mounted."""

    def _make_one(self, hierarchy: Hierarchy, directory: str) -> bool:
        made = super()._make_one(hierarchy, directory)
        if "cpuset" in hierarchy.controllers:
            _inherit_cpuset(directory, hierarchy.mount_point)
        return made

    def entry_fds(self) -> list[int]:
        self._make()
        directories = dict.fromkeys(path for controller, path in self._paths.items() if controller != UNIFIED)
        opened: list[int] = []
        try:
            for directory in directories:
                # Not cgroup.procs: moving a whole process makes the kernel wait, even when it has one thread.
                opened.append(openat(AT_FDCWD, f"{directory}/tasks", os.O_WRONLY))
        except BaseException:
            for fd in opened:
                close(fd)
            raise
        return opened

    def get_stats(self) -> CgroupStats:
        stats = CgroupStats()
        for controller, count in (("cpu", _count_throttling), ("cpuacct", _count_cpu), ("memory", _count_memory)):
            if controller in self._paths:
                count(self._paths[controller], stats)
        return stats


def _inherit_cpuset(directory: str, top: str) -> None:
    """Give a cgroup the CPUs and memory nodes of the one above: a new one has none, and takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        empty: list[str] = []
        content = files.read(f"{directory}/{name}").strip()
        while not content and directory != top:
            empty.append(directory)
            directory = os.path.dirname(directory)
            content = files.read(f"{directory}/{name}").strip()
        for below in reversed(empty):
            files.write(f"{below}/{name}", content)
        directory = empty[0] if empty else directory


def _count_throttling(directory: str, stats: CgroupStats) -> None:
    found = key_values(files.read_or_none(f"{directory}/cpu.stat") or "")
    throttling = stats.cpu_stats.throttling_data
    throttling.periods = found.get("nr_periods", 0)
    throttling.throttled_periods = found.get("nr_throttled", 0)
    throttling.throttled_time = found.get("throttled_time", 0)


def _count_cpu(directory: str, stats: CgroupStats) -> None:
    ticks = key_values(files.read(f"{directory}/cpuacct.stat"))
    tick = _NANOSECONDS // os.sysconf("SC_CLK_TCK")
    usage = stats.cpu_stats.cpu_usage
    usage.total_usage = number(files.read(f"{directory}/cpuacct.usage"))
    usage.percpu_usage = [number(word) for word in files.read(f"{directory}/cpuacct.usage_percpu").split()]
    usage.usage_in_usermode = ticks.get("user", 0) * tick
    usage.usage_in_kernelmode = ticks.get("system", 0) * tick


def _count_memory(directory: str, stats: CgroupStats) -> None:
    content = files.read_or_none(f"{directory}/memory.stat")
    if content is None:
        return
    memory = stats.memory_stats
    memory.stats = key_values(content)
    memory.cache = memory.stats.get("cache", 0)
    memory.usage = _memory_data(f"{directory}/memory")
    memory.swap_usage = _memory_data(f"{directory}/memory.memsw")       # without swap accounting it is not there
    memory.kernel_usage = _memory_data(f"{directory}/memory.kmem")      # nor is this in every kernel


def _memory_data(prefix: str) -> MemoryData:
    try:
        return MemoryData(usage=number(files.read(f"{prefix}.usage_in_bytes")),
                          max_usage=number(files.read(f"{prefix}.max_usage_in_bytes")),
                          failcnt=number(files.read(f"{prefix}.failcnt")))
    except SyscallError as error:
        if error.errno in files.GONE and prefix.rpartition(".")[2] in ("memsw", "kmem"):
            return MemoryData()
        raise
