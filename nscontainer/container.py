"""Container: start programs in it, look at it, signal, freeze and destroy it."""
from __future__ import annotations

import os
from _thread import RLock
from errno import ENOENT, ESRCH

from . import gate, hooks, idmap, namespaces, validate
from .cgroups.manager import manager_for
from .config import Action, CommandHook, Config, HookState, OCIState
from .errors import (
    ConfigInvalid,
    ContainerError,
    ContainerNotExists,
    ContainerNotRunning,
    ContainerNotStopped,
    ContainerPaused,
    SyscallError,
)
from .handles import SIGKILL, start_time
from .process import Streams
from .security import procfs
from .security.capabilities import lacking, sets_of
from .spawner import Birth
from .state import State, Status, prepare_state, publish_state, remove_state
from .sys.capability import last_cap
from .sys.clone import CLONE
from .sys.files import AT_FDCWD, close, close_all, exists, openat, readlinkat
from .sys.resource import prlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cgroups.manager import Manager
    from .cgroups.notify import Events
    from .config import Network
    from .handles import Child, Stranger
    from .network.outside import Wiring
    from .process import Process
    from .spawner import Zygote
    from .stats import Stats
    from .sync import Message

__all__ = ["Container"]

OUTSIDE, INSIDE = ("prestart", "create_runtime"), ("create_container", "start_container")
# What a further process takes from the container's config; the rest was the first one's business.
_FOR_ENTERING = ("namespaces", "rlimits", "additional_groups", "parent_death_signal", "no_new_privileges", "umask",
                 "apparmor_profile", "process_label", "landlock", "no_new_keyring", "scheduler", "io_priority",
                 "exec_cpu_affinity", "personality", "memory_policy")
_CONFINED = ("apparmor_profile", "process_label", "mount_label", "landlock")   # by security modules a host may lack


class Container:
    """A container: a configuration, a state directory and, between start and its end, a first process.

    Made by ``factory.create`` and ``factory.load``. Its methods may be called from any thread. As a context manager it
    is killed and destroyed at the end.
    """

    def __init__(self, id: str, config: Config, zygote: Zygote, directory: str | None, *,
                 init: Child | Stranger | None = None, cgroup_paths: dict[str, str] | None = None) -> None:
        self.id = id
        self._config, self._zygote, self._directory = config, zygote, directory
        self._init = init
        self._started = start_time(init.pid) if init is not None and not init.poll() else ""
        self._descriptors: tuple[str, ...] = ()
        self._manager: Manager | None = manager_for(config.cgroups, cgroup_paths) if config.cgroups else None
        self._destroyed = False
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"Container({self.id!r}, {self.status().name.lower()})"

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._init is not None:
                if self._manager is not None and self.status() is Status.PAUSED:
                    self._init.signal(SIGKILL)
                    self._manager.freeze(False)  # version 1 delivers no signal before
                self._init.kill()
            self.destroy()

    def config(self) -> Config:
        """Return a copy of its configuration."""
        return self._config.copy()

    def status(self) -> Status:
        """Say what it is doing, asking the kernel each time."""
        with self._lock:
            if self._init is None or self._init.poll():
                marked = self._directory is not None and exists(f"{self._directory}/checkpoint")
                return Status.CHECKPOINTED if marked else Status.DESTROYED
            return Status.PAUSED if self._manager is not None and self._manager.frozen() else Status.RUNNING

    def state(self) -> State:
        """Describe it as state.json does; ContainerNotExists when its first process is gone."""
        with self._lock:
            if self.status() is Status.DESTROYED or self._init is None:
                raise ContainerNotExists(f"container {self.id!r} is not running")
            return self._state(self._init.pid)

    def _state(self, pid: int) -> State:
        return State(
            id=self.id, init_process_pid=pid, init_process_start=self._started or start_time(pid), config=self._config,
            cgroup_paths=self._manager.get_paths() if self._manager is not None else {},
            namespace_paths=namespaces.paths(self._config, pid), external_descriptors=self._descriptors)

    def processes(self) -> list[int]:
        """Return the pids, in the caller's pid namespace, of all its processes."""
        with self._lock:
            if self._manager is not None:
                return self._manager.get_pids()
            if self._init is None or self._init.poll():
                return []
            return namespaces.members(self._config, self._init.pid)

    def stats(self) -> Stats:
        """Read its counters: the cgroup's, and those of its network interfaces on the host."""
        from .stats import collect  # its records cost most of a millisecond to make

        pid = 0 if self._init is None or self._init.poll() else self._init.pid
        return collect(self._manager, self._config.networks, pid)

    def attach_network(self, network: Network) -> None:
        """Give it one more interface, while it runs. The config has it from then on."""
        with self._lock:
            if self._init is None or self._init.poll():
                raise ContainerNotRunning(f"container {self.id!r} is not running")
            from .network import outside

            config, first = self._config.copy(), len(self._config.networks)
            config.networks = outside.named((*config.networks, network))
            validate.needed_namespaces(config, {one.type: one.path for one in config.namespaces})
            validate.networks(config, {})
            wiring = outside.wire(config.networks, self._init.pid, self._alias(), first)
            try:
                if self._init.poll():  # then its pid may have been somebody else's by now
                    raise ContainerNotRunning(f"container {self.id!r} has ended")
                wiring.set_up(f"networks[{first}]", config.networks[first])
                self._reconfigure(config)
            except BaseException:
                wiring.take_back()
                raise
            finally:
                wiring.close()

    def detach_network(self, name: str) -> None:
        """Take away the interface that is called *name* inside; ConfigInvalid when its config has none such."""
        with self._lock:
            if self._init is None or self._init.poll():
                raise ContainerNotRunning(f"container {self.id!r} is not running")
            config = self._config.copy()
            gone = [one for one in config.networks if one.name == name and one.type != "loopback"]
            if not gone:
                raise ConfigInvalid("networks", f"none has the name {name!r}")
            from .network import outside

            namespace = outside.open_network(self._init.pid)
            try:
                outside.remove(gone, self._alias(), namespace)
            finally:
                close(namespace)
            config.networks = tuple(one for one in config.networks if one not in gone)
            self._reconfigure(config)

    def _reconfigure(self, config: Config) -> None:
        """Have state.json say what it has become."""
        before, self._config = self._config, config
        try:
            if self._directory is not None and self._init is not None:
                prepare_state(self._directory, self._state(self._init.pid))
                publish_state(self._directory)
        except BaseException:
            self._config = before
            raise

    def _alias(self) -> str:
        from .network.outside import label

        return label(self.id, self._directory)

    def _wired(self) -> bool:
        """Whether it has interfaces that somebody must make: most containers have the loopback's alone."""
        config = self._config
        return bool(config.net_devices) or any(network.type != "loopback" for network in config.networks)

    def _clear_links(self) -> None:
        """Remove the interfaces that are left of it."""
        if not self._wired():
            return
        from .network import outside

        outside.clear(self._config, self._alias())

    def notify_oom(self) -> Events:
        """Be told when it runs out of memory: see cgroups/notify.py. It ends when the container does."""
        with self._lock:
            manager, init = self._limited()
            return manager.notify_oom(init.share())

    def notify_memory_pressure(self, level: str = "low") -> Events:
        """Be told when it runs short of memory: "low", "medium" or "critical"."""
        with self._lock:
            manager, init = self._limited()
            return manager.notify_memory_pressure(init.share(), level)

    def _limited(self) -> tuple[Manager, Child | Stranger]:
        if self._init is None or self._init.poll():
            raise ContainerNotRunning(f"container {self.id!r} is not running")
        if self._manager is None:
            raise ContainerError(f"container {self.id!r} has no cgroup, and only a cgroup counts memory",
                                 hint="give its config a cgroup: config.cgroups")
        return self._manager, self._init

    def set(self, config: Config) -> None:
        """Replace its configuration, and have its cgroup obey the new one."""
        with self._lock:
            if self._manager is not None:
                self._manager.set(config)
            self._config = config

    def signal(self, number: int) -> None:
        """Send a signal to its first process."""
        with self._lock:
            if self._init is None:
                raise ContainerNotRunning(f"container {self.id!r} has not been started")
            try:
                self._init.signal(int(number))
            except SyscallError as error:
                if error.errno != ESRCH:
                    raise
                raise ContainerNotRunning(
                    f"container {self.id!r} is not running: its first process has ended") from None

    def pause(self) -> None:
        """Freeze all its processes."""
        self._freeze(True)

    def resume(self) -> None:
        """Let them run on."""
        self._freeze(False)

    def _freeze(self, frozen: bool) -> None:
        with self._lock:
            if self.status() not in (Status.RUNNING, Status.PAUSED):
                raise ContainerNotRunning(f"container {self.id!r} is not running")
            if self._manager is None:
                raise ContainerError(f"container {self.id!r} has no cgroup, and only a cgroup can be frozen",
                                     hint="give its config a cgroup: config.cgroups")
            self._manager.freeze(frozen)

    def start(self, process: Process, *, hold: bool = False) -> None:
        """Run *process*: as the first one, which makes the container, or as a further one in a container that runs.

        With *hold*, which is for the first, everything is made ready, and its program runs after release(), which any
        program may call that loads the container.
        """
        with self._lock:
            process.check()
            if self._destroyed:
                raise self._gone()
            status = self.status()
            if status is Status.PAUSED:
                raise ContainerPaused(f"container {self.id!r} is paused", hint="resume it before a start")
            if status is Status.CHECKPOINTED:
                raise ContainerNotRunning(f"container {self.id!r} is checkpointed", hint="restore it")
            if not self._config.__dict__.keys().isdisjoint(_CONFINED):
                from .confinement import require

                require(self._config)
            streams = Streams(process)
            child = None
            try:
                if status is Status.RUNNING:
                    child = self._enter(process, streams)
                else:
                    child = self._begin(process, streams, hold)
                process.started(child, streams)
            except BaseException:
                try:
                    if child is not None:
                        child.kill()
                finally:
                    streams.abandon()
                raise

    def _gone(self) -> ContainerNotExists:
        return ContainerNotExists(f"container {self.id!r} has been destroyed")

    def release(self) -> None:
        """Let the program of a container run that was started on hold."""
        with self._lock:
            link = gate.knock(self._directory) if self._directory is not None and self._init is not None else None
            if link is None or self._init is None:
                raise ContainerNotRunning(f"container {self.id!r} does not wait to be started")
            try:
                if self._asks() and (filter := self._filter()) and filter["notifies"]:
                    self._pass_listener(gate.listener(link), None, self._init.pid, "created")
                gate.hear_out(link)
            finally:
                close(link)
            self._run_poststart(self._init.pid)

    def _begin(self, process: Process, streams: Streams, hold: bool) -> Child:
        """Make the container around its first process."""
        if self._wired():
            from .network import outside

            if self._started:
                self._clear_links()  # of the last time: they go some moments after the process
            self._config = self._config.copy()
            self._config.networks = outside.named(self._config.networks)
        config = self._config
        if config.mount_label:
            from .confinement import relabel_mounts

            relabel_mounts(config)
        plan = namespaces.Plan(config)
        cgroup: int | None = None
        entries: list[int] = []
        maps: list[int] = []
        filter = self._filter()
        wiring: Wiring | None = None
        try:
            plain = self._manager is None and not plan.join and not plan.offsets and not hold
            with self._zygote.birth(plan.flags) if plain else Birth(self._zygote) as birth:
                try:
                    cgroup, entries = self._ways_into_cgroup()
                    if not plain:
                        # /proc/self of a child in a user namespace is the host root's: the score is set out here.
                        birth.request(plan.flags, plan.join, cgroup=cgroup, offsets=plan.offsets,
                                      oom_score_adj=config.oom_score_adj if plan.join else None)
                    message, descriptors = self._message("standard", process, streams, config.pack(), entries,
                                                         filter)
                    message["look"] = birth.looks and not streams.extra
                    for at in self._map_mounts(maps):
                        message["mount_maps"][str(at)] = len(descriptors)
                        descriptors.append(maps[-1])
                    if hold and self._directory is not None:
                        message["gate"] = len(descriptors)
                        maps.append(gate.make(self._directory))
                        descriptors.append(maps[-1])
                    child = birth.born()
                    if self._manager is not None:
                        self._manager.adopt(child.pid)  # before it hears what to be: it is nobody yet, and alone
                    if plan.flags & CLONE.NEWUSER:
                        birth.hear()
                        idmap.write(child.pid, config.uid_mappings, config.gid_mappings)
                        if config.oom_score_adj is not None and not plan.join:
                            self._adjust_oom_score(child.pid, config.oom_score_adj)
                    self._raise_limits(child.pid)
                    if self._wired():
                        wiring = outside.wire(config.networks, child.pid, self._alias(), 0, config.net_devices)
                    birth.tell(message, descriptors)
                    self._remember(child, streams)
                    streams.given()
                    if process.terminal is not None:
                        process.take_console(*birth.receive())
                    if plain:
                        self._zygote.prepare(plan.flags)
                    for _ in range(_wishes(message["hooks"])):
                        wish = birth.hear()
                        self._run_hooks(wish["hook"], wish["index"], child.pid)
                        birth.tell({"go": True})
                    if hold:
                        birth.hear()  # it waits
                        if self._directory is not None:
                            publish_state(self._directory)
                        birth.tell({"go": True})
                        self._init = child
                        return child
                    if filter is not None and filter["notifies"]:
                        self._pass_listener(birth.receive()[1], process, child.pid, "creating")
                    birth.runs()
                    if self._directory is not None:
                        publish_state(self._directory)
                    self._init = child
                    self._run_poststart(child.pid)
                    return child
                finally:  # inside: should closing fail, the child is not to live
                    close_all([*plan.take(), *maps, *entries, *([] if cgroup is None else [cgroup])])
        except BaseException:
            self._init = None
            try:
                if wiring is not None:
                    wiring.take_back()
            finally:
                self._clear_cgroup()
            raise
        finally:
            if wiring is not None:
                wiring.close()

    def _ways_into_cgroup(self) -> tuple[int | None, list[int]]:
        """Make the cgroup, and return what gets a process into it.

        That is a directory of version 2 to be born in, and files of version 1 for the process to write itself into.
        """
        if self._manager is None:
            return None, []
        directory = self._manager.directory_fd()
        try:
            return directory, self._manager.entry_fds()
        except BaseException:
            if directory is not None:
                close(directory)
            raise

    def _remember(self, child: Child, streams: Streams) -> None:
        """Prepare state.json, while the child is busy."""
        links = {fd: readlinkat(AT_FDCWD, f"/proc/self/fd/{fd}") for fd in streams.give[:3]}
        self._descriptors = tuple(links[fd] for fd in streams.give[:3])
        if self._directory is None:
            return
        try:
            self._started = start_time(child.pid)
            prepare_state(self._directory, self._state(child.pid))
        except SyscallError as error:
            if error.errno == ENOENT:  # another program has destroyed it meanwhile
                raise self._gone() from None
            raise

    def _enter(self, process: Process, streams: Streams) -> Child:
        """Add a process to the container."""
        assert self._init is not None
        filter = self._filter()
        target = self._init.share()
        cgroup: int | None = None
        entries: list[int] = []
        with Birth(self._zygote) as birth:
            try:
                cgroup, entries = self._ways_into_cgroup()
                packed = self._config.pack()
                birth.request(0, [(namespaces.mask_to_enter(self._config), target)], cgroup=cgroup,
                              oom_score_adj=self._config.oom_score_adj)
                packed = {name: packed[name] for name in _FOR_ENTERING if name in packed}
                message, descriptors = self._message("setns", process, streams, packed, entries, filter)
                child = birth.born()
                self._raise_limits(child.pid)
                birth.tell(message, descriptors)
                streams.given()
                if process.terminal is not None:
                    process.take_console(*birth.receive())
                if filter is not None and filter["notifies"]:
                    self._pass_listener(birth.receive()[1], process, child.pid, "running")
                birth.runs()
                self._init.keep(child)
                return child
            finally:  # inside: should closing fail, the child is not to live
                close_all([target, *entries, *([] if cgroup is None else [cgroup])])

    def _clear_cgroup(self) -> None:
        """Kill whoever is left in the cgroup, in a container without a pid namespace for example, and remove it."""
        if self._manager is not None:
            self._manager.kill()
            self._manager.destroy()

    def _filter(self) -> Message | None:
        """Compile the filter of system calls; the child gets ready bytes."""
        if self._config.seccomp is None:
            return None
        from .security.seccomp_compiler import compile_profile  # most containers have no filter

        filter = compile_profile(self._config.seccomp)
        if filter.skipped:
            from warnings import warn

            warn(f"no machine has a system call {', '.join(filter.skipped)}: left out", RuntimeWarning, stacklevel=4)
        return {"code": filter.code.hex(), "flags": filter.flags, "notifies": filter.notifies}

    def _asks(self) -> bool:
        """Say whether the profile leaves some system calls to somebody to answer."""
        profile = self._config.seccomp
        return profile is not None and Action.NOTIFY in (
            profile.default_action, *(rule.action for rule in profile.syscalls))

    def _pass_listener(self, listener: int, process: Process | None, pid: int, status: str) -> None:
        """Give the listener to the program that the config names, or to whoever has the process object."""
        from .security.notify import Listener, hand_over

        profile = self._config.seccomp
        if profile is None or not profile.listener_path:
            if process is None:
                close(listener)
                raise ContainerError("nobody is there to answer for system calls that ask",
                                     hint="seccomp.listener_path names the socket of the program that does")
            process.listener = Listener(listener)
            return
        state = {"ociVersion": self._config.version, "id": self.id, "status": status,
                 "pid": pid if self._init is None else self._init.pid, "bundle": os.path.dirname(self._config.rootfs)}
        try:
            hand_over(profile.listener_path, listener, pid, state, profile.listener_metadata)
        except SyscallError as error:
            error.hint = "seccomp.listener_path names the socket of the program that answers for this container"
            raise
        finally:
            close(listener)

    def _message(self, kind: str, process: Process, streams: Streams, packed: Message, entries: list[int],
                 filter: Message | None) -> tuple[Message, list[int]]:
        """Put together what the child is to be, and the descriptors it is to have; it knows them by their place."""
        wanted = process.capabilities if process.capabilities is not None else self._config.capabilities
        sets = sets_of(wanted, last_cap())
        if unknown := lacking(wanted, last_cap()):
            from warnings import warn

            warn(f"this kernel does not know {', '.join(unknown)}: left out", RuntimeWarning, stacklevel=4)
        hook_lists = self._config.hooks
        inside: dict[str, list[Message | None]] = {
            name: [hook.pack() if isinstance(hook, CommandHook) else None for hook in getattr(hook_lists, name)]
            for name in INSIDE}
        given = len(streams.give)
        packed.pop("seccomp", None)
        message: Message = {
            "kind": kind, "config": packed, "args": process.args, "env": process.env, "user": process.user,
            "cwd": process.cwd or "/", "stdio": [0, 1, 2], "extra": streams.extra,
            "console": 0 if streams.console is not None else None, "console_path": process.console_path,
            "capabilities": [sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient],
            "cgroups": list(range(given, given + len(entries))), "mount_maps": {}, "last_cap": last_cap(),
            "state": self._hook_state(0).to_json(), "seccomp": filter, "gate": None, "terminal": process.terminal,
            "hooks": {**inside, "create_runtime": any(getattr(hook_lists, name) for name in OUTSIDE)},
            "look": False,
        }
        return message, [*streams.give, *entries]

    def _map_mounts(self, opened: list[int]) -> Iterator[int]:
        """For each id-mapped mount, append a user namespace with its map to *opened*, and yield which mount it is."""
        for at, mount in enumerate(self._config.mounts):
            if not (mount.uid_mappings or mount.gid_mappings):
                continue
            with Birth(self._zygote) as birth:
                birth.request(CLONE.NEWUSER)
                holder = birth.born()
                birth.hear()
                idmap.write(holder.pid, mount.uid_mappings, mount.gid_mappings)
                opened.append(openat(AT_FDCWD, f"/proc/{holder.pid}/ns/user", os.O_RDONLY))
                birth.hang_up()  # nothing to become: it goes away
                holder.poll(None)
            yield at

    def _adjust_oom_score(self, pid: int, score: int) -> None:
        proc = procfs.open_procfs()
        try:
            procfs.write(proc, f"{pid}/oom_score_adj", str(score))
        finally:
            close(proc)

    def _raise_limits(self, pid: int) -> None:
        """Raise the child's hard limits where the config wants more: that takes root of the host, which we may be."""
        for at, limit in enumerate(self._config.rlimits):
            soft, hard = prlimit(pid, limit.type)
            if limit.hard > hard:
                try:
                    prlimit(pid, limit.type, (soft, limit.hard))
                except SyscallError as error:
                    error.hint = f"rlimits[{at}].hard is above the caller's own hard limit; CAP_SYS_RESOURCE may raise"
                    raise

    def _run_hooks(self, kind: str, index: int | None, pid: int) -> None:
        state = self._hook_state(pid)
        if index is None:
            for name in OUTSIDE:
                for hook in getattr(self._config.hooks, name):
                    hooks.run(hook, state)
        else:
            hooks.run(getattr(self._config.hooks, kind)[index], state)

    def _run_poststart(self, pid: int) -> None:
        for hook in self._config.hooks.poststart:
            hooks.run(hook, self._hook_state(pid, "running"))

    def _hook_state(self, pid: int, status: str = "creating") -> HookState:
        """Describe the container for a hook; an engine's container says more of itself than ours."""
        config = self._config
        if config.bundle:
            return OCIState(version=config.version, id=self.id, pid=pid, root=config.rootfs,
                            oci_version=config.version, status=status, bundle=config.bundle,
                            annotations=config.annotations)
        return HookState(version=config.version, id=self.id, pid=pid, root=config.rootfs)

    def destroy(self) -> None:
        """Remove what is left of it: processes, cgroup, state directory. ContainerNotStopped while it runs."""
        with self._lock:
            status = self.status()
            if status is not Status.DESTROYED:
                raise ContainerNotStopped(f"container {self.id!r} is {status.name.lower()}",
                                          hint="signal it, and wait for its process, before destroying it")
            self._clear_cgroup()
            self._clear_links()
            if self._directory is not None:
                remove_state(self._directory)
            self._init = None
            if not self._destroyed:
                self._destroyed = True
                for hook in self._config.hooks.poststop:
                    hooks.run(hook, self._hook_state(0, "stopped"))


def _wishes(hook_lists: Message) -> int:
    """Return how many times the child will ask us to run a hook: once for all outside, and for each callable inside."""
    inside: int = sum(hook_lists[name].count(None) for name in INSIDE)
    return inside + bool(hook_lists["create_runtime"])
