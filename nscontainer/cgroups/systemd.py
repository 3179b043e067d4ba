"""Cgroups that systemd makes: a transient scope around the container's first process.

Lesson  A cgroup below systemd's is systemd's. With Delegate=yes a scope and all below it are lent: we write its
        files ourselves, and tell systemd the same limits, so that it never sets others.
Read    systemd.scope(5), systemd.resource-control(5), org.freedesktop.systemd1(5), "Control Group APIs and Delegation"
"""
from __future__ import annotations

import os
from _functools import partial

from ..errors import ContainerError
from . import files, unit
from .dbus import BusError, connect
from .devices import rules_of
from .manager import Manager
from .paths import UNIFIED
from .v1 import LegacyManager
from .v2 import UnifiedManager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..resources import Cgroup
    from .paths import Hierarchy
    from .unit import Property

__all__ = ["LegacyScope", "Systemd", "UnifiedScope", "has_own_manager", "use_systemd"]

_SYSTEMD, _OBJECT = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_MANAGER = f"{_SYSTEMD}.Manager"
_BUS, _BUS_OBJECT = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_JOB_ENDS = f"type='signal',path='{_OBJECT}',interface='{_MANAGER}',member='JobRemoved'"
_NO_SUCH_UNIT, _UNIT_EXISTS = f"{_SYSTEMD}.NoSuchUnit", f"{_SYSTEMD}.UnitExists"


def use_systemd() -> bool:
    """Say whether systemd runs here and answers us."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    try:
        with Systemd(has_own_manager()) as systemd:
            return systemd.version > 0
    except BusError:
        return False


def has_own_manager() -> bool:
    """Say whether our scopes are made by our user's own systemd: only root of the host is heard by the system's."""
    return os.geteuid() != 0 or files.read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]


class Systemd:
    """A conversation with the manager of the system, or of a *user*. ``with`` it."""

    def __init__(self, user: bool) -> None:
        self._bus = connect(user)

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def _call(self, member: str, signature: str = "", *arguments: Any, answer: str = "") -> list[Any]:
        return self._bus.call(_SYSTEMD, _OBJECT, _MANAGER, member, signature, *arguments, answer=answer)

    def _property(self, name: str) -> str:
        value, = self._bus.call(_SYSTEMD, _OBJECT, "org.freedesktop.DBus.Properties", "Get", "ss", _MANAGER, name,
                                answer="v")
        return str(value)

    @property
    def version(self) -> int:
        """The number of "252.39-1~deb12u2", of "v245"."""
        text = self._property("Version").lstrip("v")
        digits = text[:next((at for at, letter in enumerate(text) if not "0" <= letter <= "9"), len(text))]
        return int(digits or 0)

    @property
    def control_group(self) -> str:
        """The cgroup below which it makes all others; "" for the root."""
        return self._property("ControlGroup").rstrip("/")

    def _listen(self) -> None:
        """Hear of the ends of jobs."""
        if self._bus.daemon:  # else there is nobody in between who would have to pass them on
            self._bus.call(_BUS, _BUS_OBJECT, _BUS, "AddMatch", "s", _JOB_ENDS)
        self._bus.collect(_MANAGER, "JobRemoved", "uoss")
        self._call("Subscribe")

    def _await(self, job: str) -> str:
        """Wait until a job has ended, and return how: "done", or not."""
        return str(self._bus.await_signal("JobRemoved", 1, job)[3])

    def start(self, name: str, properties: list[Property]) -> str:
        """Have a unit be made, and return the job. ContainerError when there is one of that name already."""
        self._listen()
        call = partial(self._call, "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "replace", properties, [],
                       answer="o")
        try:
            try:
                return str(call()[0])
            except BusError as error:
                if error.name != _UNIT_EXISTS:
                    raise
                self.reset_failed(name)  # one whose processes ended badly is kept for us to look at
                return str(call()[0])
        except BusError as error:
            if error.name != _UNIT_EXISTS:
                raise
            raise ContainerError(f"the scope {name} is in use", hint="each container needs one of its own: "
                                 "cgroups.scope_prefix and cgroups.name") from None

    def started(self, name: str, job: str) -> None:
        """Wait until the unit is there."""
        if (result := self._await(job)) != "done":
            raise ContainerError(f"systemd could not make the scope {name}: its job ended as {result!r}",
                                 hint=f"its journal says why: journalctl -e --unit {name}")

    def stop(self, name: str) -> None:
        """Have a unit end, and wait until it has; that it is gone already is fine."""
        self._listen()
        try:
            job, = self._call("StopUnit", "ss", name, "replace", answer="o")
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise
            return
        self._await(job)
        self.reset_failed(name)

    def reset_failed(self, name: str) -> None:
        """Have a unit that has failed be forgotten; that it is gone already is fine."""
        try:
            self._call("ResetFailedUnit", "s", name)
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise

    def set(self, name: str, properties: list[Property]) -> None:
        """Change a unit that is there, until it ends: all of it, or nothing."""
        self._call("SetUnitProperties", "sba(sv)", name, True, properties)


class Scope(Manager):
    """The scope of one container. It is made around the first process, and ends with the last one."""

    def __init__(self, cgroup: Cgroup, paths: dict[str, str] | None = None,
                 hierarchies: list[Hierarchy] | None = None) -> None:
        super().__init__(cgroup, paths, hierarchies)
        self._user = has_own_manager()
        self._unit, self._slice = unit.unit_name(cgroup), unit.slice_name(cgroup, self._user)
        self._ours = bool(paths)   # there is a unit, and it was made for this container
        self._at = ""              # its path in every hierarchy

    # --- placement

    def _make(self) -> None:
        """Forget a scope that has ended: it takes a process to make one."""
        home = self._paths.get(UNIFIED) or self._paths.get("name=systemd")  # where systemd itself keeps count
        if home and not files.get_pids(home):
            self.destroy()

    def adopt(self, pid: int) -> None:
        """Make the scope around a process."""
        self.apply(pid)

    def apply(self, pid: int) -> None:
        self._make()
        if not self._ours:
            self._start(pid)
        super().apply(pid)

    def _start(self, pid: int) -> None:
        unified, wishes = self._unified(), self.cgroup
        with Systemd(self._user) as systemd:
            version = systemd.version
            properties = [
                *unit.scope_properties(wishes, self._slice, pid, unified=unified, version=version),
                *unit.limit_properties(wishes, unified=unified, version=version),
                *self._device_properties(wishes, version)]
            self._at = f"{systemd.control_group}{unit.slice_path(self._slice)}/{self._unit}"
            job = systemd.start(self._unit, properties)
            self._ours = True
            systemd.started(self._unit, job)
        super()._make()

    def _directory(self, hierarchy: Hierarchy, relative: str) -> str:
        root = hierarchy.root.rstrip("/")
        return hierarchy.mount_point + (self._at[len(root):] if self._at.startswith(f"{root}/") else self._at)

    def _refuse_used(self, directory: str) -> None:
        """Take it as it is: systemd has made it, and put the process there."""

    def _unified(self) -> bool:
        return isinstance(self, UnifiedManager)

    # --- limits

    def _obey_limits(self, new: Cgroup, old: Cgroup | None) -> None:
        super()._obey_limits(unit.as_enforced(new), old and unit.as_enforced(old))

    def _agree(self, new: Cgroup, old: Cgroup | None) -> None:
        if old is not None:  # else it was told at the start
            with Systemd(self._user) as systemd:
                systemd.set(self._unit, unit.limit_properties(new, unified=self._unified(), version=systemd.version))

    def _device_properties(self, cgroup: Cgroup, version: int) -> list[Property]:
        # A user's manager could not enforce them: it may load no program that would.
        return [] if self._user else unit.device_properties(cgroup, version)

    def _obey_devices(self, new: Cgroup, old: Cgroup | None) -> bool:
        if old is None or self._user or rules_of(new) == rules_of(old):
            return super()._obey_devices(new, old)
        self._tell_devices(new)
        try:
            return super()._obey_devices(new, old)
        except BaseException:
            self._tell_devices(old)
            raise

    def _tell_devices(self, cgroup: Cgroup) -> None:
        # In version 1 systemd denies all before it allows some: nobody is to notice.
        still = "freezer" in self._paths and not self.frozen()
        with Systemd(self._user) as systemd:
            properties = self._device_properties(cgroup, systemd.version)
            if still:
                self.freeze(True)
            try:
                systemd.set(self._unit, properties)
            finally:
                if still:
                    self.freeze(False)

    # --- the end

    def destroy(self) -> None:
        """Have systemd end the scope, and remove what is left. It must have no processes."""
        try:
            if self._ours:
                with Systemd(self._user) as systemd:
                    systemd.stop(self._unit)
        finally:
            super().destroy()  # an empty scope that we could say nothing about ends by itself
            self._ours = False


class UnifiedScope(Scope, UnifiedManager):
    """A scope on a host with version 2 alone."""


class LegacyScope(Scope, LegacyManager):
    """A scope on a host with version 1: in the trees that systemd leaves alone, we make the same path."""
