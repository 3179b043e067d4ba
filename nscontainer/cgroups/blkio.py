"""Block devices: shares and ceilings of their traffic, and how much there was. Version 2 calls it io.

Lesson  A ceiling holds for any disk; a share needs a scheduler that deals in shares: CFQ once, BFQ or iocost today.
Read    "IO" in the kernel's admin-guide/cgroup-v2.rst, cgroup-v1/blkio-controller.rst, block/bfq-iosched.rst
"""
from __future__ import annotations

from ..errors import ContainerError
from .settings import Setting
from .stats import BlkioStatEntry, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..resources import Cgroup
    from .reader import Reader, Snapshot
    from .stats import CgroupStats

__all__ = ["ONLY_V1", "ONLY_V2", "count_v1", "count_v2", "v1", "v2", "weight"]

ONLY_V1 = ("blkio_leaf_weight",)
ONLY_V2 = ()
_THROTTLES = (("read_bps", "rbps"), ("write_bps", "wbps"), ("read_iops", "riops"), ("write_iops", "wiops"))


def weight(blkio: int) -> int:
    """Return io.weight (1 to 10000) for blkio.weight (10 to 1000)."""
    return 1 + (blkio - 10) * 9999 // 990


def v2(limits: Cgroup) -> Iterator[Setting]:
    """What version 2 is told: by BFQ's file, which takes version 1's weights, or by iocost's."""
    if limits.blkio_weight:
        yield Setting("blkio_weight", "io.bfq.weight", str(limits.blkio_weight),
                      instead=(("io.weight", str(weight(limits.blkio_weight))),))
    for device in limits.blkio_weight_device:
        if device.leaf_weight:
            raise ContainerError("cgroups.blkio_weight_device: version 2 of cgroups knows no leaf_weight")
        if device.weight:
            of = f"{device.major}:{device.minor}"
            yield Setting("blkio_weight_device", "io.bfq.weight", device.weight_string(),
                          instead=(("io.weight", f"{of} {weight(device.weight)}"),))
    for name, key in _THROTTLES:
        field = f"blkio_throttle_{name}_device"
        for ceiling in getattr(limits, field):
            yield Setting(field, "io.max", f"{ceiling.major}:{ceiling.minor} {key}={ceiling.rate or 'max'}")


def v1(limits: Cgroup) -> Iterator[Setting]:
    """What version 1 is told: by CFQ's files, which went with Linux 5.0, or by BFQ's."""
    if limits.blkio_weight:
        yield Setting("blkio_weight", "blkio.weight", str(limits.blkio_weight),
                      instead=(("blkio.bfq.weight", str(limits.blkio_weight)),))
    if limits.blkio_leaf_weight:
        yield Setting("blkio_leaf_weight", "blkio.leaf_weight", str(limits.blkio_leaf_weight))
    for device in limits.blkio_weight_device:
        if device.weight:
            yield Setting("blkio_weight_device", "blkio.weight_device", device.weight_string(),
                          instead=(("blkio.bfq.weight_device", device.weight_string()),))
        if device.leaf_weight:
            yield Setting("blkio_weight_device", "blkio.leaf_weight_device", device.leaf_weight_string())
    for name, _ in _THROTTLES:
        field = f"blkio_throttle_{name}_device"
        for ceiling in getattr(limits, field):
            yield Setting(field, f"blkio.throttle.{name}_device", str(ceiling))


# Counters of version 1: our name and the file's, with CFQ and with BFQ.
_RECURSIVE = (
    ("io_service_bytes_recursive", "io_service_bytes_recursive"),
    ("io_serviced_recursive", "io_serviced_recursive"),
    ("io_queued_recursive", "io_queued_recursive"),
    ("io_service_time_recursive", "io_service_time_recursive"),
    ("io_wait_time_recursive", "io_wait_time_recursive"),
    ("io_merged_recursive", "io_merged_recursive"),
    ("io_time_recursive", "time_recursive"),
    ("sectors_recursive", "sectors_recursive"),
)


def count_v1(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read the counters of whichever scheduler counts: CFQ, BFQ, or the throttle, which sees every device."""
    for prefix in ("blkio", "blkio.bfq"):
        if _entries(read(f"{prefix}.io_serviced_recursive")):
            for name, file in _RECURSIVE:
                setattr(stats.blkio_stats, name, _entries(read(f"{prefix}.{file}")))
            return
    for name, file in (("io_service_bytes_recursive", "io_service_bytes"), ("io_serviced_recursive", "io_serviced")):
        content = read(f"blkio.throttle.{file}_recursive")
        if content is None:
            content = read(f"blkio.throttle.{file}")
        setattr(stats.blkio_stats, name, _entries(content))


def _entries(content: str | None) -> tuple[BlkioStatEntry, ...]:
    """Return the lines ``8:0 Read 100`` and ``8:0 100``; not the sum in the line ``Total 100``."""
    found = []
    for line in (content or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "Total":
            continue
        major, colon, minor = words[0].partition(":") if words else ("", "", "")
        if not colon or not 2 <= len(words) <= 3:
            raise ContainerError(f"a line of a control file should be a device and a number, and is {line!r}")
        found.append(BlkioStatEntry(major=number(major), minor=number(minor), op=words[1] if len(words) == 3 else "",
                                    value=number(words[-1])))
    return tuple(found)


_IO_STAT = {
    "rbytes": ("io_service_bytes_recursive", "Read"), "wbytes": ("io_service_bytes_recursive", "Write"),
    "dbytes": ("io_service_bytes_recursive", "Discard"), "rios": ("io_serviced_recursive", "Read"),
    "wios": ("io_serviced_recursive", "Write"), "dios": ("io_serviced_recursive", "Discard"),
}


def count_v2(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read io.stat: under the names of version 1 what those have, and iocost's own words as they are."""
    found: dict[str, list[BlkioStatEntry]] = {}
    for line in (read("io.stat") or "").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                continue  # "…": a device whose counters the kernel could not read
            name, operation = _IO_STAT.get(key, ("io_cost", key))
            if name == "io_cost" and not value.replace(".", "").isdecimal():
                continue
            found.setdefault(name, []).append(BlkioStatEntry(
                major=number(major), minor=number(minor), op=operation, value=number(value.partition(".")[0])))
    for name, entries in found.items():
        setattr(stats.blkio_stats, name, tuple(entries))
