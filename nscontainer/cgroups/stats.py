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
           "MemoryStats", "PidsStats", "Pressure", "PressureStats", "RdmaStats", "Stall", "ThrottlingData",
           "key_values", "number", "pressure"]

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


def _percent() -> Any:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Wrong("expected a number")
        return float(value)

    return Field(read, default=0.0)


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
    bursts: int = unsigned(64)               # periods that took more than the quota: Linux 5.15
    burst_time: int = unsigned(64)           # ns


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
    """One kind of memory: now, at most so far, how often the limit was hit, and the limit.

    Without one that is 2**64 - 1, or on version 1 2**63 less a page; 0 where nobody says.
    """

    usage: int = unsigned(64)                # bytes
    max_usage: int = unsigned(64)            # bytes
    failcnt: int = unsigned(64)
    limit: int = unsigned(64)                # bytes


class MemoryStats(_Counters):
    """Memory; the page cache is part of *usage*, and of *cache* alone."""

    cache: int = unsigned(64)                # bytes
    usage: MemoryData = _part(MemoryData)
    swap_usage: MemoryData = _part(MemoryData)      # memory and swap together
    kernel_usage: MemoryData = _part(MemoryData)
    swap_only: MemoryData = _part(MemoryData)       # swap without memory: version 2
    stats: dict[str, int] = _counts_by_name()       # every line of memory.stat
    events: dict[str, int] = _counts_by_name()      # every line of memory.events: version 2
    oom_kills: int = unsigned(64)                   # processes killed because there was no memory left


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
    io_cost: tuple[BlkioStatEntry, ...] = many(BlkioStatEntry)      # iocost's own, version 2: "cost.usage" in µs, …


class HugetlbStats(Record):
    """Huge pages of one size."""

    usage: int = unsigned(64)                # bytes
    max_usage: int = unsigned(64)            # bytes
    failcnt: int = unsigned(64)


class PidsStats(Record):
    """Processes and threads."""

    current: int = unsigned(64)
    limit: int = unsigned(64)                # 0: none


class RdmaStats(Record):
    """What is used of one RDMA device."""

    hca_handles: int = unsigned(64)
    hca_objects: int = unsigned(64)


class Stall(Record):
    """How much of the time processes waited for something they had too little of: the kernel's accounting/psi.rst."""

    avg10: float = _percent()                # of the last 10 seconds
    avg60: float = _percent()
    avg300: float = _percent()
    total: int = unsigned(64)                # µs, since the group was made


class Pressure(_Counters):
    """Waiting for one thing: some of the processes, or all that had anything to do at all."""

    some: Stall = _part(Stall)
    full: Stall = _part(Stall)               # of CPU: Linux 5.13


class PressureStats(_Counters):
    """Waiting: version 2, on a kernel that keeps count (CONFIG_PSI, the boot parameter psi=1)."""

    cpu: Pressure = _part(Pressure)
    memory: Pressure = _part(Pressure)
    io: Pressure = _part(Pressure)


class CgroupStats(_Counters):
    """Everything counted of one cgroup, at one moment; what the kernel said of a part is taken apart when asked for."""

    __slots__ = ("later",)

    cpu_stats: CpuStats = _part(CpuStats)
    memory_stats: MemoryStats = _part(MemoryStats)
    blkio_stats: BlkioStats = _part(BlkioStats)
    hugetlb_stats: dict[str, HugetlbStats] = many_by_name(HugetlbStats)             # by page size: "2MB"
    pids_stats: PidsStats = _part(PidsStats)
    rdma_stats: dict[str, RdmaStats] = many_by_name(RdmaStats)                      # by device
    misc_stats: dict[str, int] = _counts_by_name()                                  # by resource
    pressure: PressureStats = _part(PressureStats)

    def _whole(self) -> CgroupStats:
        for name in self._fields:
            getattr(self, name)
        return self

    def pack(self) -> dict[str, Any]:
        return super(CgroupStats, self._whole()).pack()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CgroupStats) and super(CgroupStats, self._whole()).__eq__(other._whole()) is True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return super(CgroupStats, self._whole()).__repr__()


class _Part:
    """A part of CgroupStats: counted when it is first looked at, by what is in *later* under its name."""

    def __init__(self, field: Any) -> None:
        self.field = field

    def __get__(self, record: Any, owner: type) -> Any:
        if record is not None:
            for count in getattr(record, "later", {}).pop(self.field.name, ()):
                count(record)
        if record is not None and self.field.name in record.__dict__:
            return record.__dict__[self.field.name]
        return self.field.__get__(record, owner)


for _field in CgroupStats._fields.values():
    setattr(CgroupStats, _field.name, _Part(_field))


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


def pressure(content: str) -> Pressure:
    """Return what a file such as memory.pressure says."""
    found = Pressure()
    for line in content.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        if kind in ("some", "full"):
            setattr(found, kind, Stall(total=number(values.get("total", "0")), **{
                name: float(values.get(name, 0)) for name in ("avg10", "avg60", "avg300")}))
    return found
