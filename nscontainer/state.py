"""What is remembered of a container: Status, State and state.json."""
from __future__ import annotations

import os
from errno import ENOENT, ENOTEMPTY

from .config import Config
from .errors import ContainerNotExists, SyscallError, SystemError_
from .records import Record, mapping, one, strings, text, unsigned
from .strictjson import dumps, loads
from .sys.files import AT_FDCWD, AT_REMOVEDIR, close, listdir, openat, renameat2, unlinkat, write_all
from .sys.flags import Enumeration

__all__ = ["STATE_FILE", "State", "Status", "load_state", "prepare_state", "publish_state",
           "remove_state"]

STATE_FILE, NEW_STATE_FILE = "state.json", "state.json.new"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
_TRIES = 10


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


def prepare_state(directory: str, state: State) -> None:
    """Write *state* under a name that nobody reads. publish_state() makes it true, once the program runs."""
    fd = openat(AT_FDCWD, f"{directory}/{NEW_STATE_FILE}", _CREATE, 0o600)
    try:
        # No fsync: state.json describes processes, and none of them outlives a crash of the machine.
        write_all(fd, dumps(state.to_json()).encode("ascii") + b"\n")
    finally:
        close(fd)


def publish_state(directory: str) -> None:
    """Put the prepared state in place: rename(2) is atomic, so a reader sees all of it or what was there before."""
    renameat2(AT_FDCWD, f"{directory}/{NEW_STATE_FILE}", AT_FDCWD, f"{directory}/{STATE_FILE}")


def remove_state(directory: str) -> None:
    """Remove a state directory; that somebody else does the same at the same time is no error."""
    names = [STATE_FILE, NEW_STATE_FILE]
    for _ in range(_TRIES):
        for name in names:
            _removed(f"{directory}/{name}", 0)
        if _removed(directory, AT_REMOVEDIR):
            return
        names = listdir(directory)
    raise SyscallError("unlinkat", ENOTEMPTY, directory)


def _removed(path: str, flags: int) -> bool:
    """Remove a file or directory; False when it is a directory that is not empty."""
    try:
        unlinkat(AT_FDCWD, path, flags)
    except SyscallError as error:
        if error.errno == ENOTEMPTY:
            return False
        if error.errno != ENOENT:
            raise
    return True


def load_state(directory: str, container: str) -> State:
    """Read state.json; ContainerNotExists when there is none."""
    path = os.path.join(directory, STATE_FILE)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise ContainerNotExists(f"container {container!r} does not exist") from None
    except OSError as error:
        raise SyscallError("open", error.errno or 0, path) from None
    try:
        return State.from_json(loads(content))
    except ValueError as error:
        raise SystemError_(f"{path} is damaged: {error}") from None
