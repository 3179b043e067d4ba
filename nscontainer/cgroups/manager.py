"""What every manager of a container's cgroups can do, and which one this host gets.

Lesson  Processes are put into a cgroup one by one, and their children are born in it: so put in the first.
Read    cgroups(7), clone(2) on CLONE_INTO_CGROUP
"""
from __future__ import annotations

import os
from _thread import allocate_lock
from errno import EBUSY, ENOENT, ENOSPC, EOPNOTSUPP, ESRCH

from ..errors import ContainerError, SyscallError
from ..sys.files import AT_FDCWD, close, openat
from ..sys.process import kill
from . import delegation, files, freezer
from .paths import UNIFIED, NotFoundError, find_hierarchies, relative_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config import Config
    from ..resources import Cgroup, FreezerState
    from .counters import Later
    from .notify import Events
    from .paths import Hierarchy
    from .reader import Reader
    from .settings import Setting
    from .stats import CgroupStats

__all__ = ["Manager", "manager_for"]

SIGKILL = 9
# Fields of a Cgroup that no controller's file obeys.
_NO_LIMITS = frozenset(("name", "parent", "allow_all_devices", "allowed_devices", "denied_devices", "freezer",
                        "scope_prefix", "manager", "memory_check_before_update"))
PATIENCE = 10.0  # seconds for killed processes to end: one that has gigabytes to give back takes a while


def manager_for(cgroup: Cgroup, paths: dict[str, str] | None = None) -> Manager:
    """Return the manager for a container's cgroup: of version 2 where the host has nothing else, else of version 1.

    systemd makes it when *cgroup* says so, by its manager or by a prefix for the scope's name.
    *paths* are those of a container that exists: what get_paths() of its manager said.
    """
    hierarchies = None if paths else find_hierarchies()
    unified = list(paths) == [UNIFIED] if paths else [h.controllers for h in hierarchies or ()] == [(UNIFIED,)]
    if cgroup.manager == "systemd" or cgroup.scope_prefix and not cgroup.manager:
        from .systemd import LegacyScope, UnifiedScope

        return (UnifiedScope if unified else LegacyScope)(cgroup, paths, hierarchies)
    if unified:  # the other version is not even loaded
        from .v2 import UnifiedManager

        return UnifiedManager(cgroup, paths, hierarchies)
    from .v1 import LegacyManager

    return LegacyManager(cgroup, paths, hierarchies)


class Manager:
    """The cgroups of one container. They are made when they are first needed."""

    def __init__(self, cgroup: Cgroup, paths: dict[str, str] | None = None,
                 hierarchies: list[Hierarchy] | None = None) -> None:
        self.cgroup = cgroup
        self._relative = "" if paths else relative_path(cgroup)
        self._paths = dict(paths) if paths else {}
        self._known = hierarchies
        self._readers: dict[str, Reader] = {}
        self._reading = allocate_lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._paths or relative_path(self.cgroup)!r})"

    # --- placement

    def _hierarchies(self) -> list[Hierarchy]:
        if self._known is None:
            self._known = find_hierarchies()
        return self._known

    def _make(self) -> None:
        """Make the directories, unless they are there already."""
        if self._paths:
            return
        relative = self._relative or relative_path(self.cgroup)
        made: list[str] = []
        paths: dict[str, str] = {}
        try:
            for hierarchy in self._hierarchies():
                try:
                    directory = self._directory(hierarchy, relative)
                    if self._make_one(hierarchy, directory):
                        made.append(directory)
                except SyscallError as error:
                    if error.errno not in files.FORBIDDEN:
                        raise
                    continue  # an ordinary user may have been given one tree and not another; none at all is an error
                paths.update(dict.fromkeys(hierarchy.controllers, directory))
            if not paths:
                raise ContainerError(
                    f"no cgroup {relative!r} can be made: permission denied",
                    hint="run as root, or in a cgroup of one's own, as systemd-run --user --scope -p Delegate=yes "
                    "gives one, or leave cgroups out of the config")
            self._paths = paths
            if self.frozen():
                raise ContainerError(f"the cgroup {self._best()} is frozen: whoever enters it stops",
                                     hint="a cgroup above it is: thaw that")
            self._obey(self.cgroup)
        except BaseException:
            self._paths = {}
            files.remove_all(made)
            raise

    def _directory(self, hierarchy: Hierarchy, relative: str) -> str:
        """Return where in one tree the cgroup belongs."""
        return hierarchy.directory(relative)

    def _make_one(self, hierarchy: Hierarchy, directory: str) -> bool:
        """Make the directory in one tree; False when it was there. It must not be in use."""
        if files.make_directory(directory):
            if hierarchy.controllers[0] == UNIFIED:
                delegation.enable(hierarchy.mount_point, directory)
                delegation.become_threaded(directory, self._needed(self.cgroup))
            return True
        self._refuse_used(directory)
        freezer.thaw_leftover(directory)
        return False

    def _refuse_used(self, directory: str) -> None:
        """See to it that nobody is in a cgroup that was there before."""
        if pids := files.get_pids(directory):
            some = ", ".join(map(str, pids[:10]))
            raise ContainerError(f"the cgroup {directory} is in use by other processes: {some}",
                                 hint="each container needs a cgroup of its own: cgroups.name")

    def adopt(self, pid: int) -> None:
        """Take in the first process, where it could not be born inside: systemd makes a scope around a process."""

    def apply(self, pid: int) -> None:
        """Put a process into the cgroups; in those it is in already nothing is done.

        From outside that takes milliseconds: the kernel waits until no process of the host is amidst a fork. Who is
        born with directory_fd(), and enters by entry_fds(), is in for nothing.
        """
        self._make()
        said = files.read(f"/proc/{pid}/cgroup").split("\n")
        for hierarchy in self._hierarchies():
            directory = self._paths.get(hierarchy.controllers[0])
            if directory is not None and not _is_in(said, hierarchy, directory):
                self._enter(directory, pid)

    def _enter(self, directory: str, pid: int) -> None:
        try:
            files.write(f"{directory}/cgroup.procs", str(pid))
        except SyscallError as error:
            error.hint = _WHY_NOT.get(error.errno or 0)
            raise

    def directory_fd(self) -> int | None:
        """Return a descriptor of the directory of version 2, for a process to be born in: clone3 with a cgroup.

        None where there is no version 2. The caller closes it.
        """
        self._make()
        directory = self._paths.get(UNIFIED)
        return None if directory is None else openat(AT_FDCWD, directory, os.O_RDONLY | os.O_DIRECTORY)

    def entry_fds(self) -> list[int]:
        """Return descriptors by which a process of one thread enters the cgroups of version 1: it writes b"0" to each.

        The kernel lets a thread move itself without any wait. The caller closes them.
        """
        return []

    def get_paths(self) -> dict[str, str]:
        """Return the directory of each controller, "" for version 2: what state.json keeps."""
        return dict(self._paths)

    def exists(self) -> bool:
        """Say whether there is a cgroup."""
        return any(map(os.path.isdir, self._paths.values()))

    # --- processes

    def get_pids(self) -> list[int]:
        """Return the processes in the cgroup and below it, in our pid namespace's numbers."""
        directory = self._best()
        return [] if directory is None else files.get_pids(directory)

    def _best(self) -> str | None:
        """Return the directory whose processes are the container's: that of a controller nobody lends to others."""
        for controller in (UNIFIED, "freezer", "devices", "pids"):
            if controller in self._paths:
                return self._paths[controller]
        return next(iter(self._paths.values()), None)

    def kill(self) -> None:
        """Kill every process in the cgroup, and wait until they have ended. ContainerError when one has not."""
        at_once = self._kill_at_once()
        if at_once and "freezer" in self._paths and self.frozen():
            self.freeze(False)  # version 1 delivers no signal before
        if files.until(lambda: not self.get_pids(), 0.1 if at_once else 0):
            return
        self._kill_one_by_one()
        if not files.until(lambda: not self.get_pids(), PATIENCE):
            raise ContainerError(f"processes {', '.join(map(str, self.get_pids()))} have not ended within "
                                 f"{PATIENCE:g} seconds after SIGKILL")

    def _kill_at_once(self) -> bool:
        """Let the kernel kill everybody; False when there is no version 2, or no cgroup.kill: before Linux 5.14."""
        if UNIFIED not in self._paths:
            return False
        try:
            files.write(f"{self._paths[UNIFIED]}/cgroup.kill", "1")
        except SyscallError as error:
            if error.errno not in (*files.GONE, EOPNOTSUPP):  # a threaded cgroup has the file, but not the power
                raise
            return False
        return True

    def _kill_one_by_one(self) -> None:
        """Signal everybody while nobody can fork or end, so that no number can go to a stranger meanwhile."""
        try:
            self.freeze(True)
            frozen = True
        except ContainerError:
            frozen = False  # no freezer, or something will not freeze: then whoever forks is caught in a later round
        try:
            for _ in range(1 if frozen else 10):
                for pid in self.get_pids():
                    try:
                        kill(pid, SIGKILL)
                    except SyscallError as error:
                        if error.errno != ESRCH:
                            raise
        finally:
            if frozen:
                self.freeze(False)

    # --- state

    def freeze(self, state: FreezerState | bool) -> None:
        """Freeze the processes ("FROZEN" or True) or let them run ("THAWED" or False), and wait until that is done."""
        if state == "":
            return
        frozen = state is True or state == "FROZEN"
        if "freezer" in self._paths:
            freezer.freeze_v1(self._paths["freezer"], frozen)
        elif UNIFIED in self._paths:
            freezer.freeze_v2(self._paths[UNIFIED], frozen)
        else:
            raise ContainerError(f"the container's cgroup {self.cgroup.name!r} has no freezer",
                                 hint="mount the cgroup controller freezer, or cgroup version 2")

    def frozen(self) -> bool:
        """Say whether the processes are frozen, by us or by anybody."""
        if "freezer" in self._paths:
            return freezer.frozen_v1(self._paths["freezer"])
        return UNIFIED in self._paths and freezer.frozen_v2(self._paths[UNIFIED])

    # --- limits

    def set(self, config: Config) -> None:
        """Have the cgroup obey a new configuration; when the kernel refuses a part of it, all stays as it was.

        What the new configuration leaves out stays in force: -1 lifts a limit.
        """
        new = config.cgroups
        if new is None:
            return
        if not self._paths:
            self._relative, self.cgroup = relative_path(new), new
            return
        was = self.frozen() if new.freezer else None
        self.freeze(new.freezer)
        try:
            self._obey(new, self.cgroup)
        except BaseException:
            if was is not None:
                self.freeze(was)
            raise
        self.cgroup = new

    def _obey(self, new: Cgroup, old: Cgroup | None = None) -> None:
        """Write the limits of *new*; with *old*, the processes are there already, and a failure is undone."""
        devices = self._obey_devices(new, old)
        try:
            self._obey_limits(new, old)
        except BaseException:
            if devices and old is not None:
                self._obey_devices(old, new)
            raise

    def _obey_devices(self, new: Cgroup, old: Cgroup | None) -> bool:
        """Let the processes have the devices of *new*, and say whether anything had to be done for that."""
        if new.allow_all_devices and not new.denied_devices and (old is None or old.allow_all_devices):
            return False  # what a cgroup begins with
        from .devices import restricted, rules_of, set_v1

        rules = rules_of(new)
        before = None if old is None else rules_of(old)
        if rules == before:
            return False
        usual = not restricted(new)
        try:
            if "devices" in self._paths:
                set_v1(self._paths["devices"], rules, before, tolerant=usual)
            elif UNIFIED in self._paths:
                from .devices_bpf import set_v2

                set_v2(self._paths[UNIFIED], rules)
            elif not usual:
                raise NotFoundError("devices", hint="cgroups.allowed_devices needs that controller, or version 2")
        except SyscallError as error:
            # Who has no right to restrict devices has none to make their nodes either, and no more than an ordinary
            # user's to those that are there. So the usual list can be missed, but not one that was asked for.
            if usual and error.errno in files.FORBIDDEN:
                return False
            raise
        return True

    def _obey_limits(self, new: Cgroup, old: Cgroup | None) -> None:
        if not new.__dict__.keys() <= _NO_LIMITS:  # else nothing of it is even loaded
            from .controllers import settings
            from .settings import write_settings

            legacy = self._paths.keys() - {UNIFIED}
            unified = delegation.controllers(self._paths[UNIFIED]) if legacy and UNIFIED in self._paths else (
                () if legacy else None)
            if old is not None and new.memory_check_before_update and new.memory > 0:
                self._check_memory(new)
            write_settings(self._directory_of, [*settings(new, legacy, unified)], undo=old is not None,
                           explain=self._explain, then=lambda: self._agree(new, old))

    def _agree(self, new: Cgroup, old: Cgroup | None) -> None:
        """Have whoever else sets limits here know of the new ones; if that fails, the old ones hold."""

    def _check_memory(self, new: Cgroup) -> None:
        """Refuse a limit that would have version 2 kill somebody at once."""
        name = "memory.usage_in_bytes" if "memory" in self._paths else "memory.current"
        used = int(files.read_or_none(f"{self._directory_of('memory')}/{name}") or 0)
        if used > new.memory:
            raise ContainerError(f"cgroups.memory: {new.memory} is below the {used} bytes in use",
                                 hint="choose more, or leave memory_check_before_update out")

    def _needed(self, cgroup: Cgroup) -> frozenset[str]:
        """Return the controllers of version 2 that its limits need."""
        if cgroup.__dict__.keys() <= _NO_LIMITS:
            return frozenset()
        from .controllers import wanted

        return wanted(cgroup)

    def _directory_of(self, controller: str) -> str:
        return self._paths.get(controller) or self._paths[UNIFIED]

    def _explain(self, setting: Setting, error: SyscallError) -> str | None:
        """Say why a file of version 2 is not there: its controller is not, most often."""
        controller = setting.file.partition(".")[0]
        if error.errno != ENOENT or controller in self._paths or controller == "cgroup":
            return None
        directory = self._paths[UNIFIED]
        if controller in delegation.controllers(directory):
            return None
        top = next(h.mount_point for h in self._hierarchies() if h.controllers[0] == UNIFIED)
        return f"cgroups.{setting.field}: {delegation.why_missing(top, directory, controller)[0]}"

    # --- counters

    def get_stats(self) -> CgroupStats:
        """Read the counters."""
        from .stats import CgroupStats

        stats, later = CgroupStats(), {}  # type: tuple[CgroupStats, Later]
        with self._reading:
            self._count(stats, later)
        object.__setattr__(stats, "later", later)
        return stats

    def _count(self, stats: CgroupStats, later: Later) -> None:
        raise NotImplementedError

    def _reader(self, directory: str) -> Reader:
        reader = self._readers.get(directory)
        if reader is None:
            from .reader import Reader

            reader = self._readers[directory] = Reader(directory)
        return reader

    def _close_readers(self) -> None:
        with self._reading:
            while self._readers:
                self._readers.popitem()[1].close()

    # --- events

    def notify_oom(self, pidfd: int) -> Events:
        """Be told when there is no memory left, until the process of *pidfd* ends. It takes over the descriptor."""
        from .notify import notify_oom_v1, notify_oom_v2

        if "memory" in self._paths:
            return notify_oom_v1(self._paths["memory"], pidfd)
        return notify_oom_v2(self._of_version_2(pidfd), pidfd)

    def notify_memory_pressure(self, pidfd: int, level: str) -> Events:
        """Be told when memory is short: "low", "medium" or "critical". It takes over the descriptor."""
        from .notify import LEVELS, notify_pressure_v1, notify_pressure_v2

        if level not in LEVELS:
            close(pidfd)
            raise ContainerError(f"{level!r} is no level of memory pressure: one of {', '.join(LEVELS)}")
        if "memory" in self._paths:
            return notify_pressure_v1(self._paths["memory"], pidfd, level)
        return notify_pressure_v2(self._of_version_2(pidfd), pidfd, level)

    def _of_version_2(self, pidfd: int) -> str:
        if UNIFIED not in self._paths:
            close(pidfd)
            raise NotFoundError("memory", hint="mount the cgroup controller memory, or cgroup version 2")
        return self._paths[UNIFIED]

    def destroy(self) -> None:
        """Remove the cgroups. They must have no processes; that they are gone already is fine."""
        self._close_readers()
        if self._paths:
            files.remove_all(dict.fromkeys(self._paths.values()))
            self._paths, self._known = {}, None


def _is_in(said: list[str], hierarchy: Hierarchy, directory: str) -> bool:
    """Say whether /proc/PID/cgroup has the process in *directory*. When in doubt, no: entering again does no harm."""
    end = f":{hierarchy.cgroup(directory)}"
    return any(line.endswith(end) and line[:-len(end)].partition(":")[2].split(",")[0] in hierarchy.controllers
               for line in said)


_WHY_NOT = {
    ESRCH: "the process has ended",
    EBUSY: "the cgroup gives controllers to cgroups below it, so it can have no processes itself",
    ENOSPC: "the cgroup has no CPUs or no memory nodes: cpuset.cpus, cpuset.mems",
    EOPNOTSUPP: "the cgroup is threaded, or one above it is",
}
