"""Cgroups of version 2: one directory for all controllers.

Lesson  One tree, one place for a process, and a file for everything one may want of it: freeze, kill, count.
Read    cgroups(7), the kernel's admin-guide/cgroup-v2.rst
"""
from __future__ import annotations

import os

from . import delegation
from .manager import Manager
from .paths import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .counters import Later
    from .paths import Hierarchy
    from .stats import CgroupStats

__all__ = ["UnifiedManager"]


class UnifiedManager(Manager):
    """The one cgroup of a container."""

    def _directory(self, hierarchy: Hierarchy, relative: str) -> str:
        """Return where it belongs: below our own cgroup, or beside it when that cannot hand down what is needed.

        Our own has a process, ourselves, and so gives controllers to none below it, unless it is the root.
        """
        directory = hierarchy.directory(relative)
        needed = self._needed(self.cgroup)
        own = hierarchy.directory("")[:-1]
        if not needed or relative.startswith("/") or own == hierarchy.mount_point:
            return directory
        delegation.enable(hierarchy.mount_point, f"{own}/any")
        beside = os.path.dirname(own)
        if needed <= delegation.handed_down(own) or not os.access(f"{beside}/cgroup.procs", os.W_OK):
            return directory  # in the latter case without them: the limits will say who keeps them back
        return f"{beside}/{relative}"

    def _count(self, stats: CgroupStats, later: Later) -> None:
        if UNIFIED in self._paths:
            from .counters import count_v2

            count_v2(self._reader(self._paths[UNIFIED]), stats, later)
