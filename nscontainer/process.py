"""Process: what to run in a container, and where its streams go. ExitState: how it ended."""
from __future__ import annotations

import os
from errno import EBADF
from time import monotonic

from .config import Capabilities
from .console import Console, new_console
from .errors import ConfigInvalid, ConsoleExists, ContainerError, ProcessNotExecuted, SyscallError
from .sys.fds import memfd_create, pipe2
from .sys.files import AT_FDCWD, close_all, openat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import IO, Any, Union

    from .handles import Child
    from .security.notify import Listener
    from .sync import Message
    from .sys.pidfd import WaitResult

    Stream = Union[None, int, bytes, IO[bytes], Any]

__all__ = ["DEVNULL", "PIPE", "STDOUT", "ExitState", "Process", "Streams"]

PIPE, STDOUT, DEVNULL = -1, -2, -3  # subprocess's numbers


class ExitState:
    """How a process ended.

    *returncode* is the exit status, or minus the signal's number, as subprocess has it; *signal* the number or None.
    Both are None in the one case where nobody can know: another part of this program waited for the process first, on
    a kernel before Linux 6.15.
    """

    def __init__(self, pid: int, returncode: int | None, signal: int | None = None) -> None:
        self.pid, self.returncode, self.signal = pid, returncode, signal

    @property
    def exit_status(self) -> int:
        """The status a shell would report: 128 + N after signal N."""
        return 255 if self.returncode is None else self.returncode if self.returncode >= 0 else 128 - self.returncode

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExitState) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        known = f"signal={self.signal}" if self.signal else f"returncode={self.returncode}"
        how = "unknown" if self.returncode is None else known
        return f"ExitState(pid={self.pid}, {how})"


class Process:
    """A program to be run in a container by ``container.start(process)``.

    *args* — the program and its arguments; a name without a slash is looked up in the PATH of *env*.
    *env* — ``"NAME=value"`` strings; HOME is added when missing. *user* — ``""``, ``user``, ``uid``, ``user:group`` …,
    by the container's own files. *cwd* — where to start, ``/`` by default.
    *stdin*, *stdout*, *stderr* — None or DEVNULL: /dev/null; a descriptor; an object with ``fileno()``; PIPE: after the
    start the attribute is the pipe's file object; bytes, for stdin; an object with ``read`` or ``write``: a thread
    copies; STDOUT, for stderr.
    *extra_files* — descriptors or files that become 3, 4, … in the program, None to leave a number out; nothing else is
    passed on.
    *capabilities* — None: those of the container; else names, or Capabilities, for this process alone.
    """

    def __init__(self, args: Sequence[str | bytes | os.PathLike[str]], env: Iterable[str] = (), user: str = "",
                 cwd: str = "", stdin: Stream = None, stdout: Stream = None, stderr: Stream = None,
                 extra_files: Iterable[Any] = (), capabilities: Iterable[str] | Capabilities | None = None) -> None:
        if isinstance(args, (str, bytes)):  # its letters are strings too, and the first of them would be the program
            raise ConfigInvalid("process.args", f"expected the program and its arguments as a list, got {args!r}")
        self.args = [os.fsdecode(arg) for arg in args]
        self.env, self.user, self.cwd = list(env), user, os.fspath(cwd)
        # What was asked for; after the start, in the place of PIPE, its file object: no type checker sees which.
        self.stdin: Any = stdin
        self.stdout: Any = stdout
        self.stderr: Any = stderr
        self.extra_files = list(extra_files)
        if capabilities is not None and not isinstance(capabilities, Capabilities):
            capabilities = tuple(capabilities)
        self.capabilities = capabilities
        self.console: Console | None = None
        self.console_path: str | None = None
        self.terminal: tuple[int, int] | None = None
        self.listener: Listener | None = None    # on which its system calls ask: Action.NOTIFY
        self._child: Child | None = None
        self._streams: Streams | None = None

    def __repr__(self) -> str:
        pid = f", pid={self._child.pid}" if self._child else ""
        return f"Process({self.args!r}{pid})"

    @property
    def pid(self) -> int:
        """Its process id in the caller's pid namespace."""
        return self._started().pid

    def fileno(self) -> int:
        """A pidfd that becomes readable when the process ends: for selectors and event loops. The caller closes it."""
        return self._started().share()

    def signal(self, number: int) -> None:
        """Send it a signal; ContainerError with errno ESRCH after its end."""
        self._started().signal(int(number))

    def poll(self) -> ExitState | None:
        """Return how it ended, or None while it runs."""
        ended = self._started().poll()
        return None if ended is None else _exit_state(ended)

    def wait(self, timeout: float | None = None, *, check: bool = False) -> ExitState:
        """Wait until it has ended and its copied streams are at their ends. TimeoutError after *timeout* seconds.

        What went wrong with a copied stream is raised here, once; wait again to learn how the process ended. With
        *check*, an end other than exit status 0 raises ContainerError.
        """
        deadline = None if timeout is None else monotonic() + timeout
        ended = self._started().poll(timeout)
        if ended is None:
            raise TimeoutError(f"{self!r} still runs after {timeout} seconds")
        if self._streams is not None and not self._streams.join(deadline):
            raise TimeoutError(f"{self!r} has ended, and after {timeout} seconds somebody still holds its streams open")
        if self._streams is not None:
            self._streams.check()
        state = _exit_state(ended)
        if check and state.returncode != 0:
            raise ContainerError(f"{self.args[0]!r} ended with {state}")
        return state

    def new_console(self, rootuid: int = 0) -> Console:
        """Give it a terminal of its own, owned by *rootuid*, and return the other end."""
        self._no_console_yet()
        self.console = new_console(rootuid, rootuid)
        self.console_path = self.console.path
        return self.console

    def want_console(self, rows: int = 0, columns: int = 0) -> None:
        """Have it get a terminal of the container's own devpts, so large; after the start, *console* is the other end.

        Unlike new_console()'s it has a name in there, also for a further process.
        """
        self._no_console_yet()
        self.terminal = rows, columns

    def take_console(self, message: Message, master: int) -> None:
        """Take the other end: the container calls this."""
        self.console_path = message["terminal"]
        self.console = Console(master, message["terminal"])

    def console_from_path(self, path: str | os.PathLike[str]) -> None:
        """Make the terminal at *path* its console."""
        self._no_console_yet()
        self.console_path = os.fspath(path)

    def _no_console_yet(self) -> None:
        if self.console_path is not None or self.terminal is not None:
            raise ConsoleExists(f"the process has the console {self.console_path!r} already")

    def _started(self) -> Child:
        if self._child is None:
            raise ProcessNotExecuted(f"{self!r} has not been started")
        return self._child

    def check(self) -> None:
        """Refuse what cannot be started, before anything is made: ConfigInvalid with the argument's name."""
        if self._child is not None:
            raise ConfigInvalid("process", f"{self!r} was started before; make another Process")
        if not self.args or not self.args[0]:
            raise ConfigInvalid("process.args", "expected a program, got nothing")
        for index, pair in enumerate(self.env):
            if not isinstance(pair, str) or pair.find("=") < 1:
                raise ConfigInvalid(f"process.env[{index}]", f"expected NAME=value, got {pair!r}")
        for where, texts in (("args", self.args), ("env", self.env), ("cwd", [self.cwd]), ("user", [self.user])):
            for index, text in enumerate(texts):
                if "\0" in text:
                    at = f"[{index}]" if where in ("args", "env") else ""
                    raise ConfigInvalid(f"process.{where}{at}", "holds a NUL byte")

    def started(self, child: Child, streams: Streams) -> None:
        """Take on the running process: the container calls this."""
        streams.attach(self)
        self._child, self._streams = child, streams


def _exit_state(ended: WaitResult) -> ExitState:
    return ExitState(ended.pid, ended.returncode, ended.signal)


class Streams:
    """The descriptors of one process while it is being made: what to give away, what to keep, what to copy."""

    def __init__(self, process: Process) -> None:
        self.give: list[int] = []         # stdin, stdout, stderr, then the extra files
        self.extra: list[int | None] = []  # for 3, 4, …: which of the given one it is
        self.console: int | None = None
        self._ours: list[int] = []        # closed once they have been given
        self._null = -1
        self._kept: dict[str, int] = {}   # our ends of pipes, by the stream's name
        self._copies: list[tuple[int, Any, bool]] = []
        self._threads: list[Any] = []
        self._failed: list[Exception] = []  # in the threads
        try:
            if process.console_path is not None:
                self._open_console(process)
            else:
                for name in ("stdin", "stdout", "stderr"):
                    self.give.append(self._open(name, getattr(process, name) if process.terminal is None else None))
            for index, file in enumerate(process.extra_files):
                self.extra.append(None if file is None else len(self.give))
                if file is not None:
                    self.give.append(_descriptor(f"process.extra_files[{index}]", file))
        except BaseException:
            self.abandon()
            raise

    def _own(self, fd: int) -> int:
        self._ours.append(fd)
        return fd

    def _open_console(self, process: Process) -> None:
        path = process.console_path
        assert path is not None
        if process.console is not None:
            slave = self._own(process.console.take_slave())
        else:
            try:
                slave = self._own(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC))
            except OSError as error:
                raise ConfigInvalid("process.console", f"cannot open {path!r}: {error.strerror}") from None
            if not os.isatty(slave):
                raise ConfigInvalid("process.console", f"{path!r} is not a terminal")
        self.console = slave
        self.give += [slave] * 3

    def _open(self, name: str, wanted: Stream) -> int:
        reading = name == "stdin"
        if wanted is None or wanted == DEVNULL:
            if self._null < 0:
                self._null = self._own(openat(AT_FDCWD, "/dev/null", os.O_RDWR | os.O_NONBLOCK))
            return self._null
        if isinstance(wanted, int) and wanted == PIPE:
            return self._pipe(name, reading)
        if isinstance(wanted, int) and wanted == STDOUT and name == "stderr":
            return self.give[1]
        if reading and isinstance(wanted, (bytes, bytearray, memoryview)):
            return self._own(_in_memory(wanted))
        method = "read" if reading else "write"
        if not isinstance(wanted, int) and not _has_descriptor(wanted) and hasattr(wanted, method):
            end = self._pipe(name, reading)
            self._copies.append((self._kept.pop(name), wanted, reading))
            return end
        return _descriptor(f"process.{name}", wanted)

    def _pipe(self, name: str, reading: bool) -> int:
        read, write = pipe2()
        theirs, self._kept[name] = (read, write) if reading else (write, read)
        return self._own(theirs)

    def given(self) -> None:
        """Close what has been passed on."""
        ours, self._ours = self._ours, []
        close_all(ours)

    def abandon(self) -> None:
        """Close everything: the start has failed."""
        opened = [*self._ours, *self._kept.values(), *[fd for fd, _, _ in self._copies]]
        self._ours, self._kept, self._copies = [], {}, []
        close_all(opened)

    def attach(self, process: Process) -> None:
        """Turn the pipes into file objects of the process, and start to copy. What fails is left to abandon()."""
        opened: dict[str, Any] = {}
        try:
            while self._kept:
                name, fd = next(iter(self._kept.items()))
                opened[name] = os.fdopen(fd, "wb" if name == "stdin" else "rb")
                del self._kept[name]
            if self._copies:
                from threading import Thread  # importing it costs more than most starts; few processes need it

                while self._copies:
                    fd, stream, reading = self._copies[0]
                    work = _feed if reading else _drain
                    copy = Thread(target=_copy, args=(work, fd, stream, self._failed), daemon=True)
                    copy.start()
                    del self._copies[0]
                    if not reading:  # a program need not read all that it was offered
                        self._threads.append(copy)
        except (OSError, RuntimeError) as error:  # RuntimeError: no further thread
            for file in opened.values():
                file.close()
            raise ContainerError(f"cannot attach to the streams of {process!r}: {error}") from None
        for name, file in opened.items():
            setattr(process, name, file)

    def join(self, deadline: float | None = None) -> bool:
        """Wait until everything the process wrote has been copied; False when that is not so by *deadline*."""
        for copy in self._threads:
            copy.join(None if deadline is None else max(0.0, deadline - monotonic()))
        return not any(copy.is_alive() for copy in self._threads)

    def check(self) -> None:
        """Raise, once, what went wrong while streams were copied."""
        if self._failed:
            error, self._failed[:] = self._failed[0], []
            raise ContainerError(f"while copying a stream: {type(error).__name__}: {error}") from error


def _has_descriptor(file: Any) -> bool:
    try:
        return isinstance(file.fileno(), int)
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError: BytesIO
        return False


def _descriptor(where: str, file: Any) -> int:
    """Return the descriptor of *file*, which must be open."""
    fd = file if isinstance(file, int) and not isinstance(file, bool) else None
    if fd is None and _has_descriptor(file):
        fd = file.fileno()
    if fd is None or fd < 0:
        raise ConfigInvalid(where, f"expected a descriptor, a file or one of PIPE, DEVNULL, STDOUT, got {file!r}")
    try:
        os.fstat(fd)
    except OSError as error:
        problem = "is not an open descriptor" if error.errno == EBADF else f"cannot be used: {error.strerror}"
        raise ConfigInvalid(where, f"{fd} {problem}") from None
    return fd


def _in_memory(data: bytes | bytearray | memoryview) -> int:
    """Return a file in memory that holds *data*: no thread is needed to feed it, and nobody can wait for anybody."""
    fd = memfd_create("stdin")
    try:
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(fd, view):]
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise SyscallError("write", error.errno or 0, "stdin", size=memoryview(data).nbytes) from None
        raise


def _copy(work: Callable[[int, Any], None], fd: int, stream: Any, failed: list[Exception]) -> None:
    try:
        try:
            work(fd, stream)
        finally:
            os.close(fd)
    except Exception as error:
        failed.append(error)  # a thread has nobody to raise it to: wait() will


def _feed(fd: int, stream: Any) -> None:
    try:
        while data := stream.read(65536):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view):]
    except BrokenPipeError:
        pass  # the program has read all that it wanted


def _drain(fd: int, stream: Any) -> None:
    while data := os.read(fd, 65536):
        stream.write(data)
