"""The table of controllers: which fields of a Cgroup each obeys, on which version, and what counts for it.

Lesson  Version 1 and version 2 limit nearly the same things, by other names, in other units.
Read    cgroups(7)
"""
from __future__ import annotations

from ..errors import ContainerError
from . import blkio, cpu, memory, small
from .paths import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from ..resources import Cgroup
    from .settings import Setting

    Settings = Callable[[Cgroup], Iterable[Setting]]

__all__ = ["TABLE", "Controller", "settings", "wanted"]


class Controller:
    """One thing that can be limited."""

    def __init__(self, v1: str, v2: str, fields: tuple[str, ...], settings_v1: Settings | None,
                 settings_v2: Settings | None, *, only_v1: tuple[str, ...] = (), only_v2: tuple[str, ...] = ()) -> None:
        self.v1, self.v2 = v1, v2          # its names; "" where a version has it not
        self.fields = fields               # of Cgroup
        self.settings_v1, self.settings_v2 = settings_v1, settings_v2
        self.only_v1, self.only_v2 = only_v1, only_v2

    def wishes(self, limits: Cgroup) -> list[str]:
        """Return the fields that say something."""
        given, known = limits.__dict__, type(limits)._fields
        return [name for name in self.fields  # {}: looked at, or read from JSON
                if name in given and given[name] != {} and given[name] != known[name].default]


# In the order of writing.
TABLE = (
    Controller("pids", "pids", ("pids_limit",), small.pids, small.pids),
    Controller("memory", "memory", (
        "memory", "memory_reservation", "memory_swap", "kernel_memory", "memory_swappiness", "oom_kill_disable",
        "memory_min", "memory_low", "memory_high", "kernel_memory_tcp"), memory.v1, memory.v2,
        only_v1=memory.ONLY_V1, only_v2=memory.ONLY_V2),
    Controller("blkio", "io", (
        "blkio_weight", "blkio_leaf_weight", "blkio_weight_device", "blkio_throttle_read_bps_device",
        "blkio_throttle_write_bps_device", "blkio_throttle_read_iops_device", "blkio_throttle_write_iops_device"),
        blkio.v1, blkio.v2, only_v1=blkio.ONLY_V1),
    Controller("cpu", "cpu", (
        "cpu_shares", "cpu_weight", "cpu_quota", "cpu_period", "cpu_rt_runtime", "cpu_rt_period", "cpu_burst",
        "cpu_idle"), cpu.v1, cpu.v2, only_v1=cpu.ONLY_V1, only_v2=cpu.ONLY_V2),
    Controller("cpuset", "cpuset", ("cpuset_cpus", "cpuset_mems"), small.cpuset, small.cpuset),
    Controller("hugetlb", "hugetlb", ("hugetlb_limit",), small.hugetlb_v1, small.hugetlb_v2),
    Controller("rdma", "rdma", ("rdma",), small.rdma, small.rdma),
    Controller("net_cls", "", ("net_cls_classid",), small.net_cls, None),
    Controller("net_prio", "", ("net_prio_ifpriomap",), small.net_prio, None),
)


def settings(limits: Cgroup, legacy: Collection[str], unified: Collection[str] | None) -> Iterator[Setting]:
    """Return what is to be written for all the wishes of a Cgroup.

    *legacy* are the controllers of version 1 that are mounted, *unified* those that version 2 has; None: any.
    """
    for controller in TABLE:
        wishes = controller.wishes(limits)
        if not wishes:
            continue
        if controller.v1 in legacy:
            make, missing, version = controller.settings_v1, controller.only_v2, 1
        else:
            if controller.v2 and unified is not None and controller.v2 not in unified:
                raise NotFoundError(controller.v1, hint=f"cgroups.{wishes[0]} needs that controller")
            make, missing, version = controller.settings_v2, controller.only_v1, 2
        for name in wishes:
            if make is None or name in missing and limits.__dict__[name] != -1:
                raise ContainerError(f"cgroups.{name}: version {version} of cgroups has no such limit",
                                     hint="leave it out on this host")
        assert make is not None
        yield from make(limits)
    for setting in small.unified(limits):
        name = setting.file.partition(".")[0]
        if unified is not None and name not in (*unified, "cgroup"):
            raise NotFoundError(name, hint=f"cgroups.unified[{setting.file!r}] needs that controller of version 2")
        yield setting


def wanted(limits: Cgroup) -> frozenset[str]:
    """Return the controllers of version 2 that the wishes need."""
    names = {controller.v2 for controller in TABLE if controller.wishes(limits)}
    return frozenset(names | {file.partition(".")[0] for file in limits.unified}) - {"", "cgroup"}
