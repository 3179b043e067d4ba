"""Which counters there are to read, by version.

Lesson  What limits a thing also counts it; pressure is what no controller counts: the time lost for want of something.
Read    cgroups(7), the kernel's accounting/psi.rst
"""
from __future__ import annotations

from . import blkio, cpu, memory, small
from .stats import pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .reader import Reader
    from .stats import CgroupStats

__all__ = ["V1", "count_v2"]

V1 = {
    "cpu": cpu.count_v1, "cpuacct": cpu.count_v1_time, "memory": memory.count_v1, "blkio": blkio.count_v1,
    "hugetlb": small.count_hugetlb_v1, "pids": small.count_pids, "rdma": small.count_rdma, "misc": small.count_misc,
}
_V2 = {
    "memory": memory.count_v2, "io": blkio.count_v2, "hugetlb": small.count_hugetlb_v2, "pids": small.count_pids,
    "rdma": small.count_rdma, "misc": small.count_misc,
}


def count_v2(read: Reader, stats: CgroupStats, *, time: bool = True) -> None:
    """Read what a cgroup of version 2 counts; its CPU time, which every one counts, only on demand."""
    have = read("cgroup.controllers") or ""
    if have != read.controllers:
        read.controllers = have
        read.forget()
    if time:
        cpu.count_v2(read, stats)
    for name in have.split():
        if name in _V2:
            _V2[name](read, stats)
    for name in ("cpu", "memory", "io"):
        if (content := read(f"{name}.pressure")) is not None:
            setattr(stats.pressure, name, pressure(content))
