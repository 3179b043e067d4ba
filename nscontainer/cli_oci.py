"""Containers as engines know them: made by one command, started, signalled and deleted by others.

Read    the OCI runtime specification, runtime.md, "Lifecycle"

What state.json does not say of a container is in a file of its own beside it: when it was made, and the hooks of the
times to come.
"""
from __future__ import annotations

import os
import time
from errno import ESRCH

from . import gate, hooks, pid1
from .cgroups.manager import manager_for
from .cgroups.notify import Events
from .cli_glance import ABOUT, about_of
from .cli_report import log
from .cli_root import place_of, state_root
from .config import CommandHook, Hooks
from .container import Container
from .errors import ContainerError, ContainerNotExists, ContainerNotRunning, IdInUse, SyscallError
from .factory import Factory
from .handles import Stranger
from .resources import Cgroup
from .spec import Validator
from .state import NEW_STATE_FILE, Status, prepare_state, publish_state, remove_state
from .strictjson import dumps, loads
from .sys.files import AT_FDCWD, close, fcntl_dupfd, openat, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Config
    from .spawner import Zygote

__all__ = ["Engine", "OciContainer"]

SIGKILL = 9
PATIENCE = 10.0  # seconds for a killed process to end

class OciContainer(Container):
    """A container of an engine: it has a bundle, and may be created and not started."""

    def __init__(self, id: str, config: Config, zygote: Zygote, directory: str, **fields: Any) -> None:
        super().__init__(id, config, zygote, directory, **fields)
        self.directory = directory
        self.about: dict[str, Any] = about_of(directory)
        if "hooks" in self.about:
            config.hooks = Hooks(**{name: tuple(CommandHook.from_json(hook) for hook in given)
                                    for name, given in self.about["hooks"].items()})

    def describe(self) -> None:
        """Remember what state.json does not."""
        moment = time.time_ns()
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9))
        config = self._config
        self.about = {
            "asks": self._asks(), "created": f"{seconds}.{moment % 10**9:09}Z",
            "cgroup": None if config.cgroups is None else config.cgroups.to_json(),
            "hooks": {name: [hook.to_json() for hook in getattr(config.hooks, name) if isinstance(hook, CommandHook)]
                      for name in ("poststart", "poststop")}}
        fd = openat(AT_FDCWD, f"{self.directory}/{ABOUT}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, dumps(self.about).encode("ascii"))
        finally:
            close(fd)

    @property
    def pid(self) -> int:
        """The first process; 0 after its end."""
        return 0 if self._init is None or self._init.poll() else self._init.pid

    def condition(self) -> str:
        """Say in the specification's word what it is doing."""
        status = self.status()
        if status is Status.RUNNING:
            return "created" if gate.is_shut(self.directory) else "running"
        return "paused" if status is Status.PAUSED else "stopped"

    def enter_as(self, config: Config) -> None:
        """Have the next process take what *config* says of it; in this object alone."""
        self._config = config

    def send(self, number: int) -> None:
        """Send a signal; SIGKILL to everybody where no pid namespace ends with the first process."""
        condition = self.condition()
        if condition == "stopped" or self._init is None:
            raise ContainerNotRunning("container not running")
        if condition == "created" and pid1.shielded(self._init.pid, number):
            number = SIGKILL  # what waits is no program yet that could have a handler
        if number == SIGKILL and self._manager is not None and not self._config.namespaces.creates("NEWPID"):
            self._manager.kill()
        try:
            self._init.signal(number)
        except SyscallError as error:
            if error.errno != ESRCH:
                raise
            if number != SIGKILL:
                raise ContainerNotRunning("container not running") from None
        if number == SIGKILL and condition == "paused" and self._manager is not None:
            self._manager.freeze(False)  # version 1 delivers no signal before

    def end(self) -> None:
        """Kill it and wait for the end."""
        if self.condition() != "stopped" and self._init is not None:
            self.send(SIGKILL)
            if not self._init.poll(PATIENCE):
                raise ContainerError(f"container {self.id!r} has not ended within {PATIENCE:g} seconds after SIGKILL")

    def save(self) -> None:
        """Write state.json anew, after the configuration has changed."""
        prepare_state(self.directory, self.state())
        publish_state(self.directory)

    def watch(self) -> Events:
        """Be told when memory runs out, and when the container ends; only of the end where nobody counts memory."""
        try:
            return self.notify_oom()
        except ContainerError:
            if self._init is None:
                raise
        return Silence(self._init.share())

    def erase(self, options: dict[str, Any]) -> None:
        """Remove what is left of it, and run its last hooks: whatever becomes of one, the others run."""
        last, self._config.hooks.poststop = self._config.hooks.poststop, ()
        _forget_notify(self.directory)
        self.destroy()
        for hook in last:
            try:
                hooks.run(hook, self._hook_state(0, "stopped"))
            except ContainerError as error:
                log(options, "warning", f"poststop: {error}")


class Silence(Events):
    """Nothing that happens but the end."""

    def __init__(self, pidfd: int) -> None:
        super().__init__(pidfd, fcntl_dupfd(pidfd))

    def _count(self, ended: bool) -> int:
        return 0


def _forget_notify(directory: str) -> None:
    if os.path.isdir(f"{directory}/notify"):
        from .cli_notify import remove_directory

        remove_directory(directory)


class Engine(Factory):
    """The containers below one --root."""

    _container = OciContainer

    def __init__(self, options: dict[str, Any], zygote: Zygote | None = None) -> None:
        root = state_root(options)
        if zygote is None and not os.path.isdir(root):
            raise ContainerNotExists("container does not exist")
        super().__init__(root, oci_ids=True, validator=Validator())
        if zygote is not None:
            self.zygote = zygote

    def create(self, id: str, config: Config) -> OciContainer:
        """Make a container that has not been started, with the words for it that engines know."""
        try:
            made = super().create(id, config)
        except IdInUse:
            raise IdInUse("container with given ID already exists", hint=f"delete {id!r}, or choose another") from None
        assert isinstance(made, OciContainer)
        return made

    def load(self, id: str) -> OciContainer:
        """Return the container of that id."""
        try:
            found = super().load(id)
        except ContainerNotExists:
            raise ContainerNotExists("container does not exist") from None
        assert isinstance(found, OciContainer)
        return found

    def _directory(self, id: str) -> str:
        return place_of(self.root, id)

    def clear(self, id: str) -> None:
        """Remove what a command that was killed has left of a container that never came to be."""
        directory = self._directory(id)
        try:
            with open(f"{directory}/{NEW_STATE_FILE}", "rb") as file:
                state = loads(file.read())
            process = Stranger(int(state["init_process_pid"]), str(state["init_process_start"]))
            process.kill()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (ValueError, KeyError, TypeError):
            pass  # half written, and whoever wrote it was alone with its process, which ends with its link
        if not os.path.isdir(directory):
            return
        cgroup = about_of(directory).get("cgroup")
        if cgroup is not None:
            manager = manager_for(Cgroup.from_json(cgroup))
            held = manager.directory_fd()  # finds it, or makes it
            if held is not None:
                close(held)
            manager.kill()
            manager.destroy()
        _forget_notify(directory)
        remove_state(directory)
