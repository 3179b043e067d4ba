"""The counters of a container: its cgroup's, and those of its network interfaces."""
from __future__ import annotations

from . import network
from .cgroups.stats import (
    BlkioStatEntry,
    BlkioStats,
    CgroupStats,
    CpuStats,
    CpuUsage,
    HugetlbStats,
    MemoryData,
    MemoryStats,
    ThrottlingData,
)
from .records import Record, many, one, text, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cgroups.manager import Manager
    from .config import Network

__all__ = ["BlkioStatEntry", "BlkioStats", "CgroupStats", "CpuStats", "CpuUsage", "HugetlbStats", "MemoryData",
           "MemoryStats", "NetworkInterface", "Stats", "ThrottlingData", "collect", "interface"]


class NetworkInterface(Record):
    """What went through one interface, as the container sees it."""

    name: str = text(key="Name")
    rx_bytes: int = unsigned(64, key="RxBytes")
    rx_packets: int = unsigned(64, key="RxPackets")
    rx_errors: int = unsigned(64, key="RxErrors")
    rx_dropped: int = unsigned(64, key="RxDropped")
    tx_bytes: int = unsigned(64, key="TxBytes")
    tx_packets: int = unsigned(64, key="TxPackets")
    tx_errors: int = unsigned(64, key="TxErrors")
    tx_dropped: int = unsigned(64, key="TxDropped")


class Stats(Record):
    """Everything counted of one container; *cgroup_stats* is None without a cgroup."""

    interfaces: tuple[NetworkInterface, ...] = many(NetworkInterface, key="Interfaces")
    cgroup_stats: CgroupStats | None = one(CgroupStats, key="CgroupStats")


def interface(host_name: str) -> NetworkInterface:
    """Return the counters of a container's interface, given its other end: what the host sends, the container gets."""
    counters = network.read_counters(host_name)
    swapped = {f"{mine}_{what}": counters.get(f"{theirs}_{what}", 0)
               for mine, theirs in (("rx", "tx"), ("tx", "rx")) for what in network.COUNTERS}
    return NetworkInterface(name=host_name, **swapped)


def collect(manager: Manager | None, networks: Iterable[Network]) -> Stats:
    """Read the counters of a container, of each network that has an end on the host."""
    return Stats(
        interfaces=tuple(interface(network.host_interface_name) for network in networks if network.type == "veth"),
        cgroup_stats=manager.get_stats() if manager is not None else None)
