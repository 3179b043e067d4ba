"""The part of a config that becomes a cgroup: where it is, and how much its processes may use.

Lesson  A cgroup is a directory; a limit is a file in it.
Read    cgroups(7), the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/
"""
from __future__ import annotations

from .devices import Device
from .records import Record, Word, boolean, choice, integer, many, many_by_name, mapping, text, unsigned

__all__ = ["Cgroup", "CgroupManager", "FreezerState", "HugepageLimit", "IfPrioMap", "RdmaLimit", "ThrottleDevice",
           "WeightDevice"]

_I64 = (1 << 63) - 1


class FreezerState(Word):
    """What the freezer is to do with the processes: stop them, let them run, or nothing."""

    UNDEFINED = ""
    FROZEN = "FROZEN"
    THAWED = "THAWED"


class CgroupManager(Word):
    """Who makes the cgroup: we ourselves, systemd, or whoever the rest of the config speaks of."""

    ANY = ""
    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


class HugepageLimit(Record):
    """How much memory may be in huge pages of one size."""

    page_size: str = text()              # "2MB", "1GB": base 1024
    limit: int = unsigned(64)            # bytes


class IfPrioMap(Record):
    """The priority of the group's packets on one interface: cgroup-v1/net_prio.rst."""

    interface: str = text()
    priority: int = integer(0, _I64)

    def cgroup_string(self) -> str:
        """Return the line for net_prio.ifpriomap."""
        return f"{self.interface} {self.priority}"


class WeightDevice(Record):
    """The share of one block device, against the other groups'."""

    major: int = integer(0, _I64)
    minor: int = integer(0, _I64)
    weight: int = unsigned(16)           # 10 to 1000
    leaf_weight: int = unsigned(16, key="leafWeight")

    def weight_string(self) -> str:
        """Return the line for blkio.weight_device."""
        return f"{self.major}:{self.minor} {self.weight}"

    def leaf_weight_string(self) -> str:
        """Return the line for blkio.leaf_weight_device."""
        return f"{self.major}:{self.minor} {self.leaf_weight}"


class ThrottleDevice(Record):
    """A ceiling on the traffic with one block device."""

    major: int = integer(0, _I64)
    minor: int = integer(0, _I64)
    rate: int = unsigned(64)             # bytes/s or operations/s

    def __str__(self) -> str:
        return f"{self.major}:{self.minor} {self.rate}"


class RdmaLimit(Record):
    """How much of one RDMA device may be used; None: as inherited, -1: no limit."""

    hca_handles: int | None = integer(-1, (1 << 31) - 1, None, key="hcaHandles")
    hca_objects: int | None = integer(-1, (1 << 31) - 1, None, key="hcaObjects")


class Cgroup(Record):
    """A group of processes and its limits; 0, empty and None stand for "as inherited"."""

    name: str = text()                   # the group itself
    parent: str = text()                 # the path it is made in; with systemd, the slice
    allow_all_devices: bool = boolean()  # all but denied_devices; else none but allowed_devices
    allowed_devices: tuple[Device, ...] = many(Device)   # where nothing is allowed or denied: DEFAULT_ALLOWED_DEVICES
    denied_devices: tuple[Device, ...] = many(Device)
    memory: int = integer(-1, _I64)              # bytes; -1: unlimited
    memory_reservation: int = integer(-1, _I64)  # bytes; what reclaim leaves alone as long as it can
    memory_swap: int = integer(-1, _I64)         # bytes of memory and swap together; -1: unlimited
    kernel_memory: int = integer(-1, _I64)       # bytes; no kernel since 6.1 enforces it, and version 2 never did
    memory_swappiness: int | None = integer(-1, 100, None)   # -1, like None, leaves it alone
    oom_kill_disable: bool = boolean()
    cpu_shares: int = integer(0, _I64)           # relative weight; 1024 is what a group without has
    # libcontainer wrote the next four under two keys, and so lost them all: these keys are ours.
    cpu_quota: int = integer(-1, _I64)           # µs of CPU time in each period
    cpu_period: int = integer(0, _I64)           # µs
    cpu_rt_runtime: int = integer(-1, _I64)      # µs
    cpu_rt_period: int = integer(0, _I64)        # µs
    cpuset_cpus: str = text()                    # "0-3,7"
    cpuset_mems: str = text()
    blkio_weight: int = unsigned(16)             # 10 to 1000
    blkio_leaf_weight: int = unsigned(16)
    blkio_weight_device: tuple[WeightDevice, ...] = many(WeightDevice)
    blkio_throttle_read_bps_device: tuple[ThrottleDevice, ...] = many(ThrottleDevice)
    blkio_throttle_write_bps_device: tuple[ThrottleDevice, ...] = many(ThrottleDevice)
    blkio_throttle_read_iops_device: tuple[ThrottleDevice, ...] = many(ThrottleDevice)
    blkio_throttle_write_iops_device: tuple[ThrottleDevice, ...] = many(ThrottleDevice)
    freezer: FreezerState = choice(FreezerState, FreezerState.UNDEFINED)
    hugetlb_limit: tuple[HugepageLimit, ...] = many(HugepageLimit)
    scope_prefix: str = text()                   # of the systemd scope's name; with one, systemd makes the cgroup
    net_prio_ifpriomap: tuple[IfPrioMap, ...] = many(IfPrioMap)
    net_cls_classid: str = text()                # "0x100001": the handle that tc(8) matches
    # What follows is ours; libcontainer did not have it yet.
    manager: CgroupManager = choice(CgroupManager, CgroupManager.ANY)
    pids_limit: int | None = integer(-1, _I64, None)     # processes and threads; -1: unlimited
    memory_min: int = integer(-1, _I64)                  # bytes that reclaim never takes: version 2
    memory_low: int = integer(-1, _I64)                  # version 2's name for memory_reservation
    memory_high: int = integer(-1, _I64)                 # bytes above which it is slowed down: version 2
    memory_check_before_update: bool = boolean()         # refuse a limit below what is in use
    kernel_memory_tcp: int = integer(-1, _I64)           # bytes of TCP buffers: version 1
    cpu_weight: int = integer(0, 10000)                  # instead of cpu_shares: version 2, 1 to 10000
    cpu_burst: int = integer(0, _I64)                    # µs a quiet period may leave to a later one: Linux 5.14
    cpu_idle: int | None = integer(0, 1, None)           # 1: run only when nobody else wants to: Linux 5.15
    rdma: dict[str, RdmaLimit] = many_by_name(RdmaLimit) # by device: "mlx5_1"
    unified: dict[str, str] = mapping()                  # files of version 2 and what to write: {"misc.max": "a 5"}
