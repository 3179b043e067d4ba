"""The counters of a container: its cgroup's, and those of its network interfaces."""
from __future__ import annotations

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
from .network import counters
from .records import Record, many, one, text, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .cgroups.manager import Manager
    from .config import Network

__all__ = ["BlkioStatEntry", "BlkioStats", "CgroupStats", "CpuStats", "CpuUsage", "HugetlbStats", "MemoryData",
           "MemoryStats", "NetworkInterface", "Resources", "Stats", "ThrottlingData", "collect", "interface",
           "interfaces", "resources"]


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


class Resources:
    """What a program has used, with all its children, until its end."""

    def __init__(self, *, cpu_time: float, user_time: float, system_time: float, peak_memory: int, read_bytes: int,
                 written_bytes: int, oom_kills: int) -> None:
        self.cpu_time = cpu_time              # seconds
        self.user_time = user_time
        self.system_time = system_time
        self.peak_memory = peak_memory        # bytes; 0: version 2 before Linux 5.19
        self.read_bytes = read_bytes          # from disks: what the page cache had does not count
        self.written_bytes = written_bytes
        self.oom_kills = oom_kills            # processes killed for want of memory

    @property
    def oom_killed(self) -> bool:
        """Whether a process was killed because there was no memory left."""
        return self.oom_kills > 0

    def __repr__(self) -> str:
        return f"Resources({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def resources(stats: Stats) -> Resources | None:
    """Sum up the counters of a container, None when it has no cgroup."""
    group = stats.cgroup_stats
    if group is None:
        return None
    usage, memory, second = group.cpu_stats.cpu_usage, group.memory_stats, 1e9
    read, written = (sum(entry.value for entry in group.blkio_stats.io_service_bytes_recursive if entry.op == way)
                     for way in ("Read", "Write"))
    return Resources(cpu_time=usage.total_usage / second, user_time=usage.usage_in_usermode / second,
                     system_time=usage.usage_in_kernelmode / second, peak_memory=memory.usage.max_usage,
                     read_bytes=read, written_bytes=written, oom_kills=memory.oom_kills)


def interface(host_name: str) -> NetworkInterface:
    """Return the counters of a container's interface, given its other end: what the host sends, the container gets."""
    found = counters.read_counters(host_name)
    swapped = {f"{mine}_{what}": found.get(f"{theirs}_{what}", 0)
               for mine, theirs in (("rx", "tx"), ("tx", "rx")) for what in counters.COUNTERS}
    return NetworkInterface(name=host_name, **swapped)


def interfaces(networks: Iterable[Network], pid: int) -> Iterator[NetworkInterface]:
    """Yield the counters of each network but the loopback.

    A veth goes by its name on the host, and is counted there. The others have no end there: they go by their names
    inside, and are counted there, where process *pid* is; if it is 0 they are left out.
    """
    inside: dict[str, dict[str, int]] | None = None
    for network in networks:
        if network.type == "veth":
            yield interface(network.host_interface_name)
        elif network.type != "loopback" and pid:
            inside = counters.read_counters_of(pid) if inside is None else inside
            yield NetworkInterface(name=network.name, **inside.get(network.name, {}))


def collect(manager: Manager | None, networks: Iterable[Network], pid: int = 0) -> Stats:
    """Read the counters of a container, of its cgroup and of its networks; *pid* is its first process, if it runs."""
    return Stats(interfaces=tuple(interfaces(networks, pid)),
                 cgroup_stats=manager.get_stats() if manager is not None else None)
