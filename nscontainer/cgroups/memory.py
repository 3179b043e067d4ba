"""Memory: how much there may be, and how much there is.

Lesson  Who is above memory.high is slowed down, who would be above memory.max is killed; memory.low is left alone.
Read    "Memory" in the kernel's admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst
"""
from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT, EOPNOTSUPP

from ..errors import ConfigInvalid
from .settings import Setting, limited
from .stats import MemoryData, key_values, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..resources import Cgroup
    from .reader import Reader, Snapshot
    from .stats import CgroupStats

__all__ = ["ONLY_V1", "ONLY_V2", "count_v1", "count_v2", "swap_alone", "v1", "v2"]

ONLY_V1 = ("memory_swappiness", "oom_kill_disable", "kernel_memory_tcp")
ONLY_V2 = ("memory_min", "memory_high")


def swap_alone(limits: Cgroup) -> int | None:
    """Return the swap that version 2 limits by itself, where ours is memory and swap together; -1: unlimited."""
    memory, both = limits.memory, limits.memory_swap
    if both == 0:
        return -1 if memory == -1 else None
    if both == -1 or memory == -1:
        return both
    if memory == 0:
        raise ConfigInvalid("cgroups.memory_swap", "cannot be told from memory without a limit of memory",
                            hint="set cgroups.memory too: memory_swap is both together")
    if both < memory:
        raise ConfigInvalid("cgroups.memory_swap", f"{both} is below memory, {memory}",
                            hint="it is memory and swap together")
    return both - memory


def v2(limits: Cgroup) -> Iterator[Setting]:
    """What version 2 is told. Swap comes first, so that a lower limit of memory does not push everything there."""
    swap = swap_alone(limits)
    if swap is not None:
        # Without swap accounting there is no file; then neither swap nor a limit of it is what one would miss.
        yield Setting("memory_swap", "memory.swap.max", limited(swap), optional=(ENOENT,) if swap <= 0 else ())
    if limits.memory:
        yield Setting("memory", "memory.max", limited(limits.memory))
    for field, file in (("memory_reservation", "low"), ("memory_low", "low"), ("memory_min", "min"),
                        ("memory_high", "high")):
        if value := getattr(limits, field):
            yield Setting(field, f"memory.{file}", limited(value))


def v1(limits: Cgroup) -> Iterator[Setting]:
    """What version 1 is told. It takes no memory above memory and swap together, at any time: whichever fits first."""
    if limits.memory:
        yield Setting("memory", "memory.limit_in_bytes", str(limits.memory), retry=True)
    both = -1 if limits.memory == -1 and not limits.memory_swap else limits.memory_swap
    if both:
        yield Setting("memory_swap", "memory.memsw.limit_in_bytes", str(both), retry=True,
                      optional=(ENOENT,) if both == -1 else ())
    for field in ("memory_reservation", "memory_low"):
        if value := getattr(limits, field):
            yield Setting(field, "memory.soft_limit_in_bytes", str(value))
    if limits.kernel_memory:
        # Kernels have refused it, left it out and ignored it in turn; it can be set before the first process only.
        yield Setting("kernel_memory", "memory.kmem.limit_in_bytes", str(limits.kernel_memory),
                      optional=(ENOENT, EOPNOTSUPP, EBUSY, EINVAL))
    if limits.kernel_memory_tcp:
        yield Setting("kernel_memory_tcp", "memory.kmem.tcp.limit_in_bytes", str(limits.kernel_memory_tcp))
    if limits.oom_kill_disable:
        yield Setting("oom_kill_disable", "memory.oom_control", "1")
    if limits.memory_swappiness is not None and limits.memory_swappiness >= 0:
        yield Setting("memory_swappiness", "memory.swappiness", str(limits.memory_swappiness))


def count_v1(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read the counters of version 1."""
    content = read("memory.stat")
    if content is None:
        return
    memory = stats.memory_stats
    memory.stats = key_values(content)
    memory.cache = memory.stats.get("cache", 0)
    memory.usage = _data(read, "memory", required=True)
    memory.swap_usage = _data(read, "memory.memsw")           # without swap accounting it is not there
    memory.kernel_usage = _data(read, "memory.kmem")          # nor is this in every kernel
    # The limits in force, be they our own or those of a cgroup above; and two files less to hold open.
    memory.usage.limit = memory.stats.get("hierarchical_memory_limit", 0)
    memory.swap_usage.limit = memory.stats.get("hierarchical_memsw_limit", 0)
    if (control := read("memory.oom_control")) is not None:
        memory.oom_kills = key_values(control).get("oom_kill", 0)  # Linux 4.13


def _data(read: Reader | Snapshot, prefix: str, required: bool = False) -> MemoryData:
    if not required and read(f"{prefix}.usage_in_bytes") is None:
        return MemoryData()
    usage, most, failures = (number(read.need(f"{prefix}.{name}"))
                             for name in ("usage_in_bytes", "max_usage_in_bytes", "failcnt"))
    return MemoryData(usage=usage, max_usage=most, failcnt=failures)


def count_v2(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read the counters of version 2, under the names of version 1 where it has them."""
    content = read("memory.stat")
    if content is None:  # the controller memory is not given to this cgroup
        return
    memory = stats.memory_stats
    memory.stats = key_values(content)
    memory.cache = memory.stats.get("file", 0)
    memory.events = key_values(read("memory.events") or "")
    memory.oom_kills = memory.events.get("oom_kill", 0)
    usage, most, swap, swap_most = (number(read(f"memory.{name}") or "0") for name in (
        "current", "peak", "swap.current", "swap.peak"))     # the peaks: Linux 5.19, 6.5
    limit, swap_limit = (number(read(f"memory.{name}") or "max") for name in ("max", "swap.max"))
    memory.usage = MemoryData(usage=usage, max_usage=most, failcnt=memory.events.get("max", 0), limit=limit)
    memory.swap_only = MemoryData(usage=swap, max_usage=swap_most, limit=swap_limit)
    memory.swap_usage = MemoryData(usage=usage + swap, limit=min(limit + swap_limit, (1 << 64) - 1))
    memory.kernel_usage = MemoryData(usage=memory.stats.get("kernel", 0))  # Linux 5.18
