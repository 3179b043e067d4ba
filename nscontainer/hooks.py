"""Run the programs and callables that a user has hooked to moments of a container's life.

Lesson  posix_spawn(3) makes a process without copying the caller: safe beside threads, and quick beside gigabytes.
Read    posix_spawn(3), pidfd_open(2), setpgid(2), the OCI runtime specification on hooks
"""
from __future__ import annotations

import os
from errno import EACCES, EBADF, ECHILD, ENOENT, ENOTDIR, ESRCH
from time import monotonic

from .config import Command, CommandHook, FunctionHook, HookState
from .errors import ConfigInvalid, ContainerError, SyscallError
from .records import dumps
from .sys.fds import memfd_create, poll
from .sys.files import close_all, fcntl_dupfd, fcntl_getfd, write_all
from .sys.pidfd import WaitResult, pidfd_exit_status, pidfd_open, wait_pidfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Union

    State = Union[HookState, dict[str, Any]]

__all__ = ["Outcome", "find_program", "run", "run_command", "run_program"]

LAST_WORDS = 4096  # bytes of what a failed program wrote that its error quotes
_CHUNK = 65536     # what a pipe holds
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Python ignores SIGPIPE and SIGXFSZ, and execve keeps that. SIGKILL and SIGSTOP cannot be set, 32 and 33 are libc's.
_SIGNALS = [number for number in range(1, 32) if number not in (9, 19)]


class Outcome:
    """How a program ended, after how many seconds it had to be killed if so, and the last of what it wrote."""

    def __init__(self, ended: WaitResult, killed_after: float | None, words: bytes) -> None:
        self.ended, self.killed_after = ended, killed_after
        self.words = words.decode(errors="replace").strip()

    @property
    def problem(self) -> str | None:
        """What was wrong with its end, in words; None after exit status 0."""
        if self.killed_after is not None:
            how = f"had not ended after {self.killed_after:g} seconds and was killed"
        elif self.ended.status is None:  # somebody else in this program waits for all children: it may have failed
            how = "ended, and its exit status was taken by another part of this program"
        elif self.ended.signal:
            how = f"was killed by signal {self.ended.signal}"
        elif self.ended.returncode:
            how = f"ended with exit status {self.ended.returncode}"
        else:
            return None
        return f"{how}: {self.words}" if self.words else how


def run(hook: CommandHook | FunctionHook, state: State, *, inherit_env: bool = True) -> None:
    """Run one hook and wait for its end; ContainerError when it fails or takes longer than its timeout.

    A hook without an environment of its own gets the caller's. In the container that would be the image's, and with
    it LD_PRELOAD (CVE-2025-23266): there *inherit_env* is False, and it gets an empty one.
    """
    if isinstance(hook, FunctionHook):
        hook.fn(state if isinstance(state, HookState) else HookState.from_json(state))
        return
    command = hook.command
    if command is None or not command.path.startswith("/"):
        raise ConfigInvalid("hook.path", f"expected an absolute path, got {command.path if command else None!r}")
    env = _variables(command.env) if command.env else os.environ if inherit_env else {}
    told = dumps(state.to_json() if isinstance(state, HookState) else state).encode()
    try:
        outcome = run_program(command.path, command.args or (command.path,), env, told, hook.timeout)
    except OSError as error:
        raise ContainerError(f"cannot run the hook {command.path!r}: {error.strerror}") from None
    if outcome.problem:
        raise ContainerError(f"the hook {command.path!r} {outcome.problem}")


def run_command(command: Command) -> None:
    """Run a command that belongs to a mount and wait for its end; ContainerError when it fails.

    Only for a process with one thread: to start the command in its *dir*, we go there ourselves.
    """
    env: Mapping[str, str] = _variables(command.env) if command.env else os.environ
    path = find_program(command.path, env.get("PATH") or os.environ.get("PATH") or _DEFAULT_PATH)
    if path is None:
        raise ContainerError(f"cannot run the command {command.path!r}: not found in PATH")
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if command.dir else -1
    try:
        if here >= 0:
            os.chdir(command.dir)
        outcome = run_program(path, (command.path, *command.args), env, stdout=True)
    except OSError as error:
        where = f" in {command.dir!r}" if command.dir else ""
        raise ContainerError(f"cannot run the command {command.path!r}{where}: {error.strerror}") from None
    finally:
        if here >= 0:
            os.fchdir(here)
            os.close(here)
    if outcome.problem:
        raise ContainerError(f"the command {command.path!r} {outcome.problem}")


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigInvalid("env", f"expected NAME=value, got {pair!r}")
        variables[name] = value
    return variables


def find_program(name: str, path: str) -> str | None:
    """Return the file that *name* means: itself when it has a slash, else in the absolute directories of *path*."""
    if "/" in name:
        return name
    for directory in path.split(":"):
        if directory.startswith("/") and name:
            candidate = f"{directory.rstrip('/')}/{name}"
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
                return candidate
    return None


def run_program(path: str, args: Sequence[str], env: Mapping[str, str], stdin: bytes = b"",
                timeout: float | None = None, *, stdout: bool = False) -> Outcome:
    """Run the program at *path* in a process group of its own, and wait for its end; OSError when it cannot start.

    It gets three descriptors and nothing else of ours. What it writes to its standard error, and with *stdout* to
    its standard output, is read as it comes, and its end kept. After *timeout* seconds the group is killed.
    """
    opened = [memfd_create("stdin")]
    try:
        # Pipes, and not /dev/null even for what nobody wants: in a container that path is the image's.
        opened += os.pipe()
        opened += os.pipe()
        given, waste, waste_end, words, words_end = [_above(fd, opened) for fd in opened[:]]
        write_all(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, words_end if stdout else waste_end, 1),
            (os.POSIX_SPAWN_DUP2, words_end, 2), *[(os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()]]
        pid = os.posix_spawn(path, list(args), env, file_actions=actions, setpgroup=0, setsigmask=(),
                             setsigdef=_SIGNALS)
        return _attend(pid, waste, words, timeout)
    finally:
        close_all(opened)


def _above(fd: int, opened: list[int]) -> int:
    """Return *fd* clear of 0, 1 and 2, which may be free in the caller, and are the targets of dup2."""
    if fd < 3:
        opened.append(fd := fcntl_dupfd(fd, 3))
    return fd


def _inherited() -> list[int]:
    """Return the descriptors from 3 on that execve would keep; one that another thread opens meanwhile is missed."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError as error:
        if error.errno not in (ENOENT, ENOTDIR, EACCES):
            raise
        return []  # no /proc: we are a container's process, all of whose descriptors execve closes
    found = []
    for name in names:
        if name.isdecimal() and int(name) > 2:
            try:
                if not fcntl_getfd(int(name)):
                    found.append(int(name))
            except SyscallError as error:
                if error.errno != EBADF:  # the one that listdir itself had open
                    raise
    return found


def _attend(pid: int, waste: int, words: int, timeout: float | None) -> Outcome:
    """Read what the process writes until it ends, and wait for it."""
    try:
        pidfd = pidfd_open(pid)
    except SyscallError as error:
        if error.errno != ESRCH:
            _kill(pid)
            os.waitpid(pid, 0)
            raise
        return Outcome(WaitResult(pid, None), None, b"")
    deadline = None if timeout is None else monotonic() + timeout
    last, killed_after = b"", None
    watched = [pidfd, waste, words]
    try:
        while True:
            left = -1 if deadline is None else max(0, round((deadline - monotonic()) * 1000))
            ready = poll(watched, left)
            for fd in ready:
                if fd != pidfd:
                    data = os.read(fd, _CHUNK)
                    last = (last + data)[-LAST_WORDS:] if fd == words else last
                    if not data:
                        watched.remove(fd)
            if pidfd in ready:
                break
            if deadline is not None and monotonic() >= deadline:
                killed_after, deadline = timeout, None
                _kill(pid)
        if words in watched and poll((words,), 0):  # written between our last look and its end
            last = (last + os.read(words, _CHUNK))[-LAST_WORDS:]
        return Outcome(_reap(pid, pidfd), killed_after, last)
    except BaseException:  # KeyboardInterrupt among them: nobody else would wait for it
        _kill(pid)
        _reap(pid, pidfd)
        raise
    finally:
        os.close(pidfd)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        pass  # it has just ended


def _reap(pid: int, pidfd: int) -> WaitResult:
    try:
        ended = wait_pidfd(pidfd)
    except SyscallError as error:
        if error.errno != ECHILD:
            raise
        ended = None
    return ended or WaitResult(pid, pidfd_exit_status(pidfd))
