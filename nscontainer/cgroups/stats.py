"""What the processes of a cgroup have used: the counters, by libcontainer's names and JSON keys.

Lesson  A cgroup counts what its processes use, and keeps counting for those that have ended.
Read    the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/, cgroups(7)

A counter that the host does not keep is 0, or an empty list.
"""
from __future__ import annotations

from ..errors import ContainerError
from ..records import Field, Record, Wrong, many, many_by_name, text, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BlkioStatEntry", "BlkioStats", "CgroupStats", "CpuStats", "CpuUsage", "HugetlbStats", "MemoryData",
           "MemoryStats", "ThrottlingData", "key_values", "number"]

_U64 = (1 << 64) - 1


def _part(kind: type[Record]) -> Any:
    """A record that is always there."""
    return Field(kind.read, fresh=kind, write=kind.to_json, pack=kind.pack, unpack=kind.unpack)


def _counts() -> Any:
    def read(values: Any) -> list[int]:
        if not isinstance(values, (list, tuple)) or not all(type(value) is int for value in values):
            raise Wrong("expected a list of whole numbers")
        return list(values)

    return Field(read, fresh=list, write=list, pack=list)


def _counts_by_name() -> Any:
    def read(values: Any) -> dict[str, int]:
        if not isinstance(values, dict) or not all(type(value) is int for value in values.values()):
            raise Wrong("expected an object of whole numbers")
        return dict(values)

    return Field(read, fresh=dict, write=dict, pack=dict)


class _Counters(Record):
    """A record some of whose parts are made when they are first looked at."""

    def to_json(self) -> dict[str, Any]:
        for name in self._fields:
            getattr(self, name)
        return super().to_json()


class ThrottlingData(Record):
    """How often CPU bandwidth ran out."""

    periods: int = unsigned(64)              # with processes that wanted to run
    throttled_periods: int = unsigned(64)
    throttled_time: int = unsigned(64)       # ns


class CpuUsage(_Counters):
    """CPU time, in nanoseconds."""

    total_usage: int = unsigned(64)
    percpu_usage: list[int] = _counts()
    usage_in_kernelmode: int = unsigned(64)
    usage_in_usermode: int = unsigned(64)


class CpuStats(_Counters):
    """CPU."""

    cpu_usage: CpuUsage = _part(CpuUsage)
    throttling_data: ThrottlingData = _part(ThrottlingData)


class MemoryData(Record):
    """One kind of memory: now, at most so far, and how often the limit was hit."""

    usage: int = unsigned(64)                # bytes
    max_usage: int = unsigned(64)            # bytes
    failcnt: int = unsigned(64)


class MemoryStats(_Counters):
    """Memory; the page cache is part of *usage*, and of *cache* alone."""

    cache: int = unsigned(64)                # bytes
    usage: MemoryData = _part(MemoryData)
    swap_usage: MemoryData = _part(MemoryData)      # memory and swap together
    kernel_usage: MemoryData = _part(MemoryData)
    stats: dict[str, int] = _counts_by_name()       # every line of memory.stat


class BlkioStatEntry(Record):
    """A counter of one block device."""

    major: int = unsigned(64)
    minor: int = unsigned(64)
    op: str = text()                         # "Read", "Write", "Sync", …
    value: int = unsigned(64)


class BlkioStats(Record):
    """Traffic with block devices."""

    io_service_bytes_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)   # bytes
    io_serviced_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)        # operations
    io_queued_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry, key="io_queue_recursive")
    io_service_time_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)    # ns
    io_wait_time_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)       # ns
    io_merged_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)          # operations
    io_time_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)            # ms
    sectors_recursive: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)


class HugetlbStats(Record):
    """Huge pages of one size."""

    usage: int = unsigned(64)                # bytes
    max_usage: int = unsigned(64)            # bytes
    failcnt: int = unsigned(64)


class CgroupStats(_Counters):
    """Everything counted of one cgroup."""

    cpu_stats: CpuStats = _part(CpuStats)
    memory_stats: MemoryStats = _part(MemoryStats)
    blkio_stats: BlkioStats = _part(BlkioStats)
    hugetlb_stats: dict[str, HugetlbStats] = many_by_name(HugetlbStats)             # by page size: "2MB"


def number(word: str) -> int:
    """Return a counter of a control file: decimal, "max" for no limit; a negative one has wrapped and is 0."""
    word = word.strip()
    if word == "max":
        return _U64
    try:
        return min(max(int(word), 0), _U64)
    except ValueError:
        raise ContainerError(f"a control file should hold a number, and holds {word!r}") from None


def key_values(content: str) -> dict[str, int]:
    """Return the lines ``key value`` of a control file."""
    found = {}
    for line in content.splitlines():
        words = line.split()
        if len(words) != 2:
            raise ContainerError(f"a line of a control file should be a name and a number, and is {line!r}")
        found[words[0]] = number(words[1])
    return found
