"""The controllers that take one value or two: cpuset, pids, hugetlb, rdma, net_cls, net_prio, and unified itself.

Lesson  Not all that can be limited is time or memory: process numbers run out, too, and huge pages, and RDMA handles.
Read    cgroups(7), the kernel's admin-guide/cgroup-v2.rst, and cgroup-v1/ with a page for each
"""
from __future__ import annotations

import os
from errno import ENOENT

from ..errors import ConfigInvalid
from .settings import Setting, limited
from .stats import HugetlbStats, PidsStats, RdmaStats, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..resources import Cgroup
    from .reader import Reader, Snapshot
    from .stats import CgroupStats

__all__ = [
    "count_hugetlb_v1", "count_hugetlb_v2", "count_misc", "count_pids", "count_rdma", "cpuset", "hugetlb_v1",
    "hugetlb_v2", "net_cls", "net_prio", "page_sizes", "pids", "rdma", "unified",
]

# The rest of cgroup.* is ours to write: where processes are, whether they run, which controllers there are.
_CORE = ("cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure")


def cpuset(limits: Cgroup) -> Iterator[Setting]:
    """Which CPUs and which memory nodes; the same on both versions."""
    for field in ("cpuset_cpus", "cpuset_mems"):
        if value := getattr(limits, field):
            yield Setting(field, field.replace("_", "."), value)


def pids(limits: Cgroup) -> Iterator[Setting]:
    """How many processes and threads. Where 0 would forbid the first one, engines mean one."""
    if limits.pids_limit is not None:
        yield Setting("pids_limit", "pids.max", limited(limits.pids_limit or 1))


def count_pids(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read how many there are."""
    current = read("pids.current")
    if current is not None:
        limit = (read("pids.max") or "max").strip()
        stats.pids_stats = PidsStats(current=number(current), limit=0 if limit == "max" else number(limit))


# --- huge pages

_sizes: list[list[str]] = []     # of this machine, once known: they do not change


def _own_sizes() -> list[str]:
    if not _sizes:
        _sizes.append(page_sizes())
    return _sizes[0]


def page_sizes(directory: str = "/sys/kernel/mm/hugepages") -> list[str]:
    """Return the sizes of huge pages this machine has, as the files of hugetlb name them: "2MB", "1GB"."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:  # a kernel without
        return []
    kilobytes = (int(name[10:-2]) for name in names if name.startswith("hugepages-") and name[10:-2].isdecimal())
    return [f"{size >> 20}GB" if size >= 1 << 20 else f"{size >> 10}MB" if size >= 1 << 10 else f"{size}KB"
            for size in sorted(kilobytes)]


def _page_size(text: str) -> str:
    size = text.upper()  # libcontainer wrote "64kB"
    if not size[:-2].isdecimal() or size[-2:] not in ("KB", "MB", "GB"):
        raise ConfigInvalid("cgroups.hugetlb_limit", f"{text!r} is no size of a page", hint="it is written as in 2MB")
    return size


def hugetlb_v2(limits: Cgroup) -> Iterator[Setting]:
    """How much in huge pages, when they are touched and, since Linux 5.7, when they are reserved."""
    for limit in limits.hugetlb_limit:
        size = _page_size(limit.page_size)
        yield Setting("hugetlb_limit", f"hugetlb.{size}.max", str(limit.limit))
        yield Setting("hugetlb_limit", f"hugetlb.{size}.rsvd.max", str(limit.limit), optional=(ENOENT,))


def hugetlb_v1(limits: Cgroup) -> Iterator[Setting]:
    """The same for version 1."""
    for limit in limits.hugetlb_limit:
        size = _page_size(limit.page_size)
        yield Setting("hugetlb_limit", f"hugetlb.{size}.limit_in_bytes", str(limit.limit))
        yield Setting("hugetlb_limit", f"hugetlb.{size}.rsvd.limit_in_bytes", str(limit.limit), optional=(ENOENT,))


def count_hugetlb_v1(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read what is in huge pages."""
    for size in _own_sizes():
        usage, most, failures = (number(read.need(f"hugetlb.{size}.{name}"))
                                 for name in ("usage_in_bytes", "max_usage_in_bytes", "failcnt"))
        stats.hugetlb_stats[size] = HugetlbStats(usage=usage, max_usage=most, failcnt=failures)


def count_hugetlb_v2(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read what is in huge pages."""
    for size in _own_sizes():
        current = read(f"hugetlb.{size}.current")
        if current is not None:
            events = (read(f"hugetlb.{size}.events") or "max 0").split()
            stats.hugetlb_stats[size] = HugetlbStats(usage=number(current), failcnt=number(events[1]))


# --- rdma, misc

def rdma(limits: Cgroup) -> Iterator[Setting]:
    """How many handles and objects of each RDMA device; the same on both versions."""
    for device, limit in limits.rdma.items():
        words = [f"{key}={limited(value)}" for key, value in (
            ("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)) if value is not None]
        if words:
            yield Setting("rdma", "rdma.max", " ".join([device, *words]))


def count_rdma(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read how much of each RDMA device is used."""
    for line in (read("rdma.current") or "").splitlines():
        device, *pairs = line.split()
        counts = dict(pair.split("=", 1) for pair in pairs)
        stats.rdma_stats[device] = RdmaStats(hca_handles=number(counts.get("hca_handle", "0")),
                                             hca_objects=number(counts.get("hca_object", "0")))


def count_misc(read: Reader | Snapshot, stats: CgroupStats) -> None:
    """Read how much is used of what only some machines have, such as keys of encrypted guests."""
    for line in (read("misc.current") or "").splitlines():
        name, value = line.split()
        stats.misc_stats[name] = number(value)


# --- network

def net_cls(limits: Cgroup) -> Iterator[Setting]:
    """The class of the group's packets, for tc(8): version 1."""
    if limits.net_cls_classid:
        yield Setting("net_cls_classid", "net_cls.classid", limits.net_cls_classid)


def net_prio(limits: Cgroup) -> Iterator[Setting]:
    """The priority of the group's packets on each interface: version 1."""
    for entry in limits.net_prio_ifpriomap:
        yield Setting("net_prio_ifpriomap", "net_prio.ifpriomap", entry.cgroup_string())


# --- whatever else version 2 has

def unified(limits: Cgroup) -> Iterator[Setting]:
    """Files by name, each line by itself: the kernel takes one value in one write."""
    for name, text in limits.unified.items():
        controller, _, rest = name.partition(".")
        wrong = None
        if not controller or not rest or not set(name) <= _LETTERS:
            wrong = "is not the name of a control file", "names look like memory.high"
        elif controller == "cgroup" and name not in _CORE:
            wrong = "is not a limit", f"of these files one may set {', '.join(_CORE)}"
        elif not text.strip():
            wrong = "is empty", "say what to write"
        if wrong is not None:
            raise ConfigInvalid(f"cgroups.unified[{name!r}]", wrong[0], hint=wrong[1])
        for line in text.splitlines():
            if line.strip():
                yield Setting("unified", name, line)


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
