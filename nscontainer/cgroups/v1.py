"""Cgroups of version 1: a directory per controller, and on a hybrid host one of version 2 beside them.

Lesson  Every controller has a tree of its own, so being in a cgroup means sitting in up to a dozen directories.
Read    cgroups(7), the kernel's admin-guide/cgroup-v1/
"""
from __future__ import annotations

import os

from ..sys.files import AT_FDCWD, close, openat
from . import files
from .manager import Manager
from .paths import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .counters import Count, Later
    from .paths import Hierarchy
    from .stats import CgroupStats

__all__ = ["LegacyManager"]


class LegacyManager(Manager):
    """A cgroup in each hierarchy that is mounted."""

    def _make_one(self, hierarchy: Hierarchy, directory: str) -> bool:
        made = super()._make_one(hierarchy, directory)
        if "cpuset" in hierarchy.controllers:
            _inherit_cpuset(directory, hierarchy.mount_point)
        return made

    def entry_fds(self) -> list[int]:
        self._make()
        directories = dict.fromkeys(path for controller, path in self._paths.items() if controller != UNIFIED)
        opened: list[int] = []
        try:
            for directory in directories:
                # Not cgroup.procs: moving a whole process makes the kernel wait, even when it has one thread.
                opened.append(openat(AT_FDCWD, f"{directory}/tasks", os.O_WRONLY))
        except BaseException:
            for fd in opened:
                close(fd)
            raise
        return opened

    def _count(self, stats: CgroupStats, later: Later) -> None:
        from .counters import V1, count, count_v2

        if UNIFIED in self._paths:  # a hybrid host: controllers that version 1 does not use, and pressure
            count_v2(self._reader(self._paths[UNIFIED]), stats, later, time="cpuacct" not in self._paths)
        together: dict[str, list[tuple[str, Count]]] = {}  # cpu and cpuacct have one directory, as a rule
        for controller, counter in V1.items():
            if controller in self._paths:
                together.setdefault(self._paths[controller], []).append(counter)
        for directory, counters in together.items():
            count(self._reader(directory), counters, stats, later)


def _inherit_cpuset(directory: str, top: str) -> None:
    """Give a cgroup the CPUs and memory nodes of the one above: a new one has none, and takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        empty: list[str] = []
        content = files.read(f"{directory}/{name}").strip()
        while not content and directory != top:
            empty.append(directory)
            directory = os.path.dirname(directory)
            content = files.read(f"{directory}/{name}").strip()
        for below in reversed(empty):
            files.write(f"{below}/{name}", content)
        directory = empty[0] if empty else directory
