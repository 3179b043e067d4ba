"""Which counters there are to read, by version: read at once, and understood when somebody asks.

Lesson  What limits a thing also counts it; pressure is what no controller counts: the time lost for want of something.
Read    cgroups(7), the kernel's accounting/psi.rst
"""
from __future__ import annotations

from _functools import partial

from . import blkio, cpu, memory, small
from .stats import pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    from .reader import Reader, Snapshot
    from .stats import CgroupStats

    Later = dict[str, list[Callable[[CgroupStats], None]]]
    Count = Callable[[Union[Reader, Snapshot], CgroupStats], None]

__all__ = ["V1", "count", "count_v2"]

# By controller: the part of CgroupStats, and what fills it.
V1: dict[str, tuple[str, Count]] = {
    "cpu": ("cpu_stats", cpu.count_v1), "cpuacct": ("cpu_stats", cpu.count_v1_time),
    "memory": ("memory_stats", memory.count_v1), "blkio": ("blkio_stats", blkio.count_v1),
    "hugetlb": ("hugetlb_stats", small.count_hugetlb_v1), "pids": ("pids_stats", small.count_pids),
    "rdma": ("rdma_stats", small.count_rdma), "misc": ("misc_stats", small.count_misc),
}
_V2: dict[str, tuple[str, Count]] = {
    "memory": ("memory_stats", memory.count_v2), "io": ("blkio_stats", blkio.count_v2),
    "hugetlb": ("hugetlb_stats", small.count_hugetlb_v2), "pids": ("pids_stats", small.count_pids),
    "rdma": ("rdma_stats", small.count_rdma), "misc": ("misc_stats", small.count_misc),
}


def count(read: Reader, counters: list[tuple[str, Count]], stats: CgroupStats, later: Later) -> None:
    """Read the files of one directory now, and put what makes counters of them into *later*, by part.

    The first time everything is counted at once: that is how the reader learns which files there are to read.
    """
    if not read.known:
        for _, fill in counters:
            fill(read, stats)
        read.known = True
        return
    said = read.snapshot()
    for part, fill in counters:
        later.setdefault(part, []).append(partial(_fill, fill, said))


def _fill(fill: Count, said: Snapshot, stats: CgroupStats) -> None:
    fill(said, stats)


def count_v2(read: Reader, stats: CgroupStats, later: Later, *, time: bool = True) -> None:
    """Read what a cgroup of version 2 counts; its CPU time, which every one counts, only on demand."""
    have = read("cgroup.controllers") or ""
    if have != read.controllers:
        read.controllers, read.known = have, False
        read.forget()
    counters = [_V2[name] for name in have.split() if name in _V2]
    if time:
        counters.append(("cpu_stats", cpu.count_v2))
    counters.append(("pressure", _count_pressure))
    count(read, counters, stats, later)


def _count_pressure(read: Reader | Snapshot, stats: CgroupStats) -> None:
    for name in ("cpu", "memory", "io"):
        if (content := read(f"{name}.pressure")) is not None:
            setattr(stats.pressure, name, pressure(content))
