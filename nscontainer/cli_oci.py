"""Containers as engines know them: made by one command, started, signalled and deleted by others.

Read    the OCI runtime specification, runtime.md, "Lifecycle"

What state.json does not say of a container is in a file of its own beside it: when it was made, and the hooks of the
times to come.
"""
from __future__ import annotations

import os
import time
from errno import ENOENT, ESRCH

from . import gate, hooks, pid1
from .cgroups.manager import manager_for
from .cgroups.notify import Events
from .cli_options import UsageError
from .cli_report import log
from .config import CommandHook, Hooks
from .container import Container
from .errors import ContainerError, ContainerNotExists, ContainerNotRunning, IdInUse, InvalidIdFormat, SyscallError
from .factory import Factory
from .handles import Stranger
from .resources import Cgroup
from .spec import VERSION, Validator
from .state import NEW_STATE_FILE, STATE_FILE, Status, prepare_state, publish_state, remove_state
from .strictjson import dumps, loads
from .sys.files import AT_FDCWD, close, fcntl_dupfd, openat, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Config
    from .spawner import Zygote

__all__ = ["Engine", "OciContainer", "delete", "kill", "only_id", "pause", "resume", "start", "state_root"]

ABOUT = "oci.json"
SIGKILL, SIGTERM = 9, 15
PATIENCE = 10.0  # seconds for a killed process to end
_SIGNALS = ("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN "
            "TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS").split()
_ALSO = {"CLD": 17, "IOT": 6, "POLL": 29, "UNUSED": 31, "RTMIN": 34, "RTMAX": 64}


class OciContainer(Container):
    """A container of an engine: it has a bundle, and may be created and not started."""

    def __init__(self, id: str, config: Config, zygote: Zygote, directory: str, **fields: Any) -> None:
        super().__init__(id, config, zygote, directory, **fields)
        self.directory = directory
        self.about: dict[str, Any] = _about(directory)
        if "hooks" in self.about:
            config.hooks = Hooks(**{name: tuple(CommandHook.from_json(hook) for hook in given)
                                    for name, given in self.about["hooks"].items()})

    def describe(self) -> None:
        """Remember what state.json does not."""
        moment = time.time_ns()
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9))
        config = self._config
        self.about = {
            "created": f"{seconds}.{moment % 10**9:09}Z",
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

    def to_json(self) -> dict[str, Any]:
        """Describe it for an engine."""
        condition = self.condition()
        described = {"ociVersion": VERSION, "id": self.id, "pid": 0 if condition == "stopped" else self.pid,
                     "status": condition, "bundle": self._config.bundle, "rootfs": self._config.rootfs,
                     "created": self.about.get("created", "")}
        if self._config.annotations:
            described["annotations"] = self._config.annotations
        return {**described, "owner": ""}

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


def _about(directory: str) -> dict[str, Any]:
    try:
        with open(f"{directory}/{ABOUT}", "rb") as file:
            found: dict[str, Any] = loads(file.read())
            return found
    except FileNotFoundError:
        return {}


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
        try:
            return super()._directory(id)
        except InvalidIdFormat as error:
            raise InvalidIdFormat(f"invalid container ID format: {error}") from None

    def ids(self) -> list[str]:
        """Return the ids of all containers."""
        found = []
        for name in sorted(os.listdir(self.root)):
            try:
                with open(f"{self.root}/{name}/{STATE_FILE}", "rb") as file:
                    found.append(str(loads(file.read())["id"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # being made, or half removed: no container
        return found

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
        cgroup = _about(directory).get("cgroup")
        if cgroup is not None:
            manager = manager_for(Cgroup.from_json(cgroup))
            held = manager.directory_fd()  # finds it, or makes it
            if held is not None:
                close(held)
            manager.kill()
            manager.destroy()
        remove_state(directory)


def state_root(options: dict[str, Any]) -> str:
    """Return the directory of the containers' states."""
    given = options.get("root")
    if given is not None:
        if not given or os.path.abspath(given) == "/":
            raise UsageError(f"--root: {given!r} cannot be the state root")
        return str(os.path.abspath(given))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and runtime.startswith("/") and (os.geteuid() != 0 or _in_user_namespace()):
        return f"{runtime.rstrip('/')}/nscontainer"
    if os.geteuid() != 0:
        raise UsageError("XDG_RUNTIME_DIR is not set, so an ordinary user has to give --root")
    return "/run/nscontainer"


def _in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return False


def only_id(operands: list[str], most: int = 1) -> str:
    """Return the id, which must be there, and not much else."""
    if not operands or not operands[0]:
        raise UsageError("a container ID is required")
    if len(operands) > most:
        raise UsageError(f"takes {most} argument{'s' * (most > 1)} at most, got {len(operands)}")
    return operands[0]


def start(options: dict[str, Any], operands: list[str]) -> int:
    """Start a container that waits."""
    container = Engine(options).load(only_id(operands))
    condition = container.condition()
    if condition != "created":
        raise ContainerNotRunning({"stopped": "cannot start a container that has stopped",
                                   "running": "cannot start an already running container"}.get(
                                       condition, f"cannot start a container that is {condition}"))
    try:
        container.release()
    except ContainerNotRunning:
        raise ContainerNotRunning("cannot start an already running container") from None  # by somebody else, just now
    except BaseException:
        container.end()
        raise
    return 0


def kill(options: dict[str, Any], operands: list[str]) -> int:
    """Send a signal."""
    id = only_id(operands, 2)
    number = _signal(operands[1]) if len(operands) > 1 else SIGTERM
    container = Engine(options).load(id)
    try:
        container.send(number)
    except ContainerNotRunning:
        if not options.get("all"):
            raise
    return 0


def _signal(word: str) -> int:
    name = word.upper()
    name = name[3:] if name.startswith("SIG") else name
    if word.isascii() and word.isdecimal() and int(word) <= 64:
        return int(word)
    if name in _SIGNALS:
        return _SIGNALS.index(name) + 1
    base, sign, distance = name.partition("+") if "+" in name else name.partition("-")
    if base in _ALSO and (not sign or base.startswith("RT") and distance.isascii() and distance.isdecimal()):
        number = _ALSO[base] + (int(f"{sign}{distance}") if sign else 0)
        if not sign or 34 <= number <= 64:
            return number
    raise UsageError(f'unknown signal "{word}"')


def delete(options: dict[str, Any], operands: list[str]) -> int:
    """Remove a container."""
    id, force = only_id(operands), bool(options.get("force"))
    try:
        engine = Engine(options)
        container = engine.load(id)
    except ContainerNotExists:
        if not force:
            raise
        if os.path.isdir(state_root(options)):
            engine.clear(id)
        return 0
    condition = container.condition()
    if condition in ("running", "paused") and not force:
        raise ContainerError(f"cannot delete container {id} that is not stopped: {condition}")
    container.end()
    container.erase(options)
    return 0


def pause(options: dict[str, Any], operands: list[str]) -> int:
    """Freeze all processes."""
    container = Engine(options).load(only_id(operands))
    condition = container.condition()
    if condition not in ("running", "created"):
        raise ContainerNotRunning(f"container not running or created: {condition}")
    container.pause()
    return 0


def resume(options: dict[str, Any], operands: list[str]) -> int:
    """Let them run on."""
    container = Engine(options).load(only_id(operands))
    condition = container.condition()
    if condition != "paused":
        raise ContainerError(f"container not paused: {condition}")
    container.resume()
    return 0
