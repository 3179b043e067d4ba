"""What is remembered of a container: Status, State and state.json."""
from __future__ import annotations

import os
from errno import EINVAL, ENOENT, ESRCH

from .config import Config
from .errors import ContainerNotExists, SyscallError, SystemError_
from .records import Record, mapping, one, strings, text, unsigned
from .strictjson import dumps, loads
from .sys.fds import poll
from .sys.files import write_all
from .sys.flags import Enumeration
from .sys.pidfd import pidfd_open, pidfd_send_signal
from .sys.procfs import process_stat

__all__ = ["STATE_FILE", "State", "Status", "Stranger", "load_state", "prepare_state", "publish_state",
           "start_time"]

STATE_FILE = "state.json"


class Status(Enumeration):
    """What a container is doing. A container whose first process has ended is DESTROYED, whoever waits for it."""

    RUNNING = 1
    PAUSING = 2
    PAUSED = 3
    CHECKPOINTED = 4
    DESTROYED = 5


class State(Record):
    """A container as state.json has it."""

    id: str = text()
    init_process_pid: int = unsigned(32)
    init_process_start: str = text()                             # field 22 of /proc/PID/stat: ticks since boot
    config: Config = one(Config)
    cgroup_paths: dict[str, str] = mapping()                     # controller → directory
    namespace_paths: dict[str, str] = mapping()                  # NEWNET … → path
    external_descriptors: tuple[str, ...] = strings()            # what 0, 1 and 2 of the first process were


def start_time(pid: int) -> str:
    """Return when the process started, in clock ticks since boot: with the pid it names one process for good."""
    return str(process_stat(pid).start_time)


def prepare_state(directory: str, state: State) -> None:
    """Write *state* under a name that nobody reads. publish_state() makes it true, once the program runs."""
    fd = os.open(f"{directory}/{STATE_FILE}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # No fsync: state.json describes processes, and none of them outlives a crash of the machine.
        write_all(fd, dumps(state.to_json()).encode("ascii") + b"\n")
    finally:
        os.close(fd)


def publish_state(directory: str) -> None:
    """Put the prepared state in place: rename(2) is atomic, so a reader sees all of it or what was there before."""
    os.rename(f"{directory}/{STATE_FILE}.new", f"{directory}/{STATE_FILE}")


def load_state(directory: str, container: str) -> State:
    """Read state.json; ContainerNotExists when there is none."""
    path = os.path.join(directory, STATE_FILE)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise ContainerNotExists(f"container {container!r} does not exist") from None
    try:
        return State.from_json(loads(content))
    except ValueError as error:
        raise SystemError_(f"{path} is damaged: {error}") from None


class Stranger:
    """The first process of a container that another program started: no child of ours, so it cannot be waited for."""

    def __init__(self, pid: int, started: str) -> None:
        self.pid, self._pidfd = pid, -1
        try:
            self._pidfd = pidfd_open(pid)
            # The pid may have gone to somebody else since; the descriptor, once checked, stays with who it is now.
            if start_time(pid) != started:
                self._close()
        except OSError as error:
            if error.errno not in (ESRCH, ENOENT, EINVAL):
                raise
            self._close()

    def poll(self) -> bool:
        """Say whether it has ended. A zombie has."""
        return self._pidfd < 0 or bool(poll((self._pidfd,), 0))

    def signal(self, number: int) -> None:
        """Send a signal; ESRCH after the end."""
        if self._pidfd < 0:
            raise SyscallError("pidfd_send_signal", ESRCH, pid=self.pid)
        pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Kill it and wait for the end."""
        if not self.poll():
            self.signal(9)
            poll((self._pidfd,), -1)

    def share(self) -> int:
        """Return a descriptor of the process for somebody else to keep; ESRCH after the end."""
        if self._pidfd < 0:
            raise SyscallError("pidfd_open", ESRCH, pid=self.pid)
        return os.dup(self._pidfd)

    def _close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    __del__ = _close
