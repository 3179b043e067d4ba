"""run and Popen: subprocess's habit, in a container made for one program.

    >>> run(["sh", "-c", "id -u; hostname"], capture_output=True, text=True).stdout
    '0\\nsandbox\\n'

The names, attributes and exceptions are subprocess's. What differs, because there is a container around the program:

- it is process 1 of its own pid namespace, and all it leaves behind ends with it;
- it does not inherit the environment (see :func:`.sandbox.environment`), nor any descriptor that is not passed on;
- it is in a session of its own, so a Ctrl-C at the terminal is the caller's alone: while run(), wait() or communicate()
  are interrupted by it, they kill the container.
"""
from __future__ import annotations

import io
import os
import selectors
import sys
import time
import warnings
from errno import EAGAIN, EPIPE, ESRCH
from itertools import count
from subprocess import CalledProcessError, CompletedProcess, SubprocessError, TimeoutExpired

from . import pid1
from .container import Container
from .errors import SyscallError
from .process import DEVNULL, PIPE, STDOUT, Process
from .sandbox import HOSTNAME, describe, environment, starting_directory
from .spawner import Zygote
from .sys.files import close_all
from .units import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import IO, Any, Union

    from .config import Seccomp
    from .process import ExitState
    from .sandbox import MountLike, NetworkLike, Path
    from .stats import Resources
    from .units import Amount, Traffic

    Argument = Union[str, bytes, os.PathLike[str]]

__all__ = ["DEVNULL", "PIPE", "STDOUT", "CalledProcessError", "CompletedProcess", "OutputLimitExceeded", "Popen",
           "SubprocessError", "TimeoutExpired", "run"]

SIGTERM, SIGKILL = 15, 9
_BLOCK = 1 << 16  # what a pipe holds
_zygote = Zygote()  # one for the whole program; it starts with the first container
_numbers = count(1)
_abandoned: list[tuple[Process, Container]] = []  # whose Popen is gone while they run: to be reaped one day


class OutputLimitExceeded(SubprocessError):
    """The program wrote more than *output_limit* bytes to a pipe, and was killed."""

    def __init__(self, cmd: Any, limit: int, output: bytes | None = None, stderr: bytes | None = None) -> None:
        super().__init__(cmd, limit, output, stderr)
        self.cmd, self.limit, self.output, self.stderr = cmd, limit, output, stderr

    @property
    def stdout(self) -> bytes | None:
        """The same as *output*."""
        return self.output

    def __str__(self) -> str:
        return f"Command {self.cmd!r} wrote more than {self.limit} bytes"


class Popen:
    """A program in a container of its own; every parameter that subprocess.Popen has too means the same.

    *rootfs* — the folder that is its /; None: a copy-on-write view of this host, whose changes vanish.
    *ephemeral* — let changes to *rootfs* vanish as well. *read_only* — let there be none: / is mounted read-only.
    *mounts* — what else it sees of the host: ``"SRC:DST"``, ``"SRC:DST:ro"``, ``(src, dst)``, or Mount.
    *network* — "none": only a loopback interface; "host": the host's network; "no-abstract-sockets": that, without the
    Unix sockets of the host that are no files (Linux 6.12); Veth(…), or several: interfaces beside the loopback's.
    *user* — a name or number of the container's own user database, or ``user:group``; the container's root by default.
    *env* — all its variables; None: PATH, LANG and TERM, and nothing else of the caller's.
    *cwd* — in the container; by default /, or on a view of this host where the caller is.
    *capabilities* — names to keep instead of the fourteen that engines agree on.
    *seccomp* — "default" leaves a program the system calls it needs; "unconfined" leaves it all; or a profile.
    *pass_fds* — descriptors it gets under the same numbers.
    *output_limit* — bytes that communicate() takes from one pipe; of a program that writes more, it makes an end.
    *memory*, *swap*, *cpus*, *cpuset*, *pids*, *io* — limits: see :func:`.units.limits`. With any of them *resources*
    tells, after the end, what was used.

    A container cannot be made without rights: as an ordinary user it gets a user namespace, with that user as its root.
    """

    def __init__(self, args: Argument | Sequence[Argument], bufsize: int = -1, *, stdin: Any = None, stdout: Any = None,
                 stderr: Any = None, universal_newlines: bool | None = None, text: bool | None = None,
                 encoding: str | None = None, errors: str | None = None, pass_fds: Iterable[int] = (),
                 env: Mapping[str, str] | None = None, cwd: Path | None = None, user: str | int = "",
                 rootfs: Path | None = None, ephemeral: bool | None = None, read_only: bool = False,
                 hostname: str = HOSTNAME, network: NetworkLike = "none", mounts: Iterable[MountLike] = (),
                 capabilities: Iterable[str] | None = None, seccomp: str | Seccomp = "default",
                 output_limit: int | None = None,
                 memory: Amount | None = None, swap: Amount | None = None, cpus: float | None = None,
                 cpuset: str | None = None, pids: int | None = None,
                 io: Mapping[str | os.PathLike[str], Traffic] | None = None) -> None:
        self.returncode: int | None = None
        self.resources: Resources | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.args = args
        self.encoding, self.errors = encoding, errors
        self._container: Container | None = None
        if not isinstance(bufsize, int):
            raise TypeError("bufsize must be an integer")
        if text is not None and universal_newlines is not None and bool(text) != bool(universal_newlines):
            raise SubprocessError("text and universal_newlines are one and the same: pass one of them")
        self.text_mode = bool(encoding or errors or text or universal_newlines)
        self._limit = output_limit
        self._watch = -1
        self._asked = 0  # the signal that SIGKILL was sent in place of
        self._input: memoryview | None = None
        self._read: dict[str, list[bytes]] = {}
        self._taken = {"stdout": 0, "stderr": 0}  # bytes
        _reap_abandoned()
        number = next(_numbers)
        cgroup = limits(f"nscontainer-run-{os.getpid()}-{number}", memory=memory, swap=swap, cpus=cpus, cpuset=cpuset,
                        pids=pids, io=io)
        config = describe(rootfs=rootfs, ephemeral=ephemeral, read_only=read_only, hostname=hostname, network=network,
                          mounts=mounts, capabilities=capabilities, seccomp=seccomp, limits=cgroup)
        theirs: list[int] = []
        try:
            streams = {name: self._stream(name, wanted, theirs, bufsize)
                       for name, wanted in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr))}
            words = [args] if isinstance(args, (str, bytes, os.PathLike)) else args
            self._process = Process(
                words, env=environment(rootfs, env, str(user)), user=str(user), cwd=starting_directory(rootfs, cwd),
                extra_files=_numbered(pass_fds), **streams)
            container = Container(f"run_{os.getpid()}_{number}", config, _zygote, None)
            container.start(self._process)
        except BaseException:
            self._close_pipes()
            raise
        finally:
            close_all(theirs)
        self._container, self._limited = container, cgroup is not None
        self.pid = self._process.pid

    def _stream(self, name: str, wanted: Any, theirs: list[int], bufsize: int) -> Any:
        """Return what Process is to take for a stream; of a pipe keep our end, and put the other into *theirs*."""
        if wanted is None:  # inherited, as subprocess has it
            number = ("stdin", "stdout", "stderr").index(name)
            try:
                # Where the caller has closed it, the number may be a descriptor of ours by now: a pipe, a socket to
                # the zygote. Those close on exec; a standard stream does not, or subprocess would not pass it either.
                return number if os.get_inheritable(number) else DEVNULL
            except OSError:
                return DEVNULL
        if not (isinstance(wanted, int) and wanted == PIPE):
            return wanted
        read, write = os.pipe()
        their, our = (read, write) if name == "stdin" else (write, read)
        theirs.append(their)
        setattr(self, name, self._file(name, our, bufsize))
        return their

    def _file(self, name: str, fd: int, bufsize: int) -> IO[Any]:
        try:
            file = open(fd, "wb" if name == "stdin" else "rb", -1 if bufsize == 1 else bufsize)  # noqa: SIM115
        except BaseException:
            os.close(fd)
            raise
        if not self.text_mode:
            return file
        try:
            return io.TextIOWrapper(file, self.encoding or _locale_encoding(), self.errors,
                                    line_buffering=bufsize == 1, write_through=bufsize != 1)
        except BaseException:  # no such encoding
            file.close()
            raise

    def __repr__(self) -> str:
        args = repr(self.args)
        if len(args) > 80:
            args = args[:76] + "..."
        return f"<{type(self).__name__}: returncode: {self.returncode} args: {args}>"

    @property
    def universal_newlines(self) -> bool:
        """Whether the pipes carry text."""
        return self.text_mode

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        try:
            self._close_pipes()
        finally:
            if kind is not None and not issubclass(kind, Exception):
                self.kill()  # KeyboardInterrupt, SystemExit: nobody is going to wait
            self.wait()

    def _close_pipes(self) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # what was left in the buffer will not be read any more

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_watch", -1) >= 0:
            os.close(self._watch)
            self._watch = -1
        container = getattr(self, "_container", None)
        if container is None or self.returncode is not None:
            return
        _warn(f"the container of process {self.pid} still runs", ResourceWarning, source=self)
        if self.poll() is None:
            _abandoned.append((self._process, container))

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the program ends: for selectors and event loops.

        It belongs to this object and stays open as long as that. ContainerError with errno ESRCH when the end is known.
        """
        if self._watch < 0:
            self._watch = self._process.fileno()
        return self._watch

    def poll(self) -> int | None:
        """Return the return code if the program has ended, else None."""
        if self.returncode is None:
            ended = self._process.poll()
            if ended is not None:
                self._settle(ended)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program's end and return its return code; TimeoutExpired after *timeout* seconds."""
        if self.returncode is None:
            try:
                ended = self._process.wait(timeout)
            except TimeoutError:
                raise TimeoutExpired(self.args, timeout or 0) from None
            except KeyboardInterrupt:
                self._end()
                raise
            self._settle(ended)
        assert self.returncode is not None
        return self.returncode

    def _settle(self, ended: ExitState) -> None:
        """Take note of the end, and clear away the container."""
        # Nobody can know the status of a child that other code of this program has waited for, before Linux 6.15:
        # subprocess says 0 then, but that would be success.
        code = ended.exit_status if ended.returncode is None else ended.returncode
        self.returncode = -self._asked if self._asked and code == -SIGKILL else code
        if self._container is not None:
            if self._limited:
                from .stats import resources

                self.resources = resources(self._container.stats())
            self._container.destroy()

    def _end(self) -> None:
        """Kill the container, and wait until it is gone."""
        self.kill()
        self.wait()

    def send_signal(self, signal: int) -> None:
        """Send the program a signal; nothing happens when it has ended.

        The kernel lets no signal end process 1 that it has no handler for. Such a one, SIGTERM to a sleep, is carried
        out as the default says, by SIGKILL, and the return code is minus the number asked for.
        """
        if self.poll() is not None:
            return
        try:
            if pid1.send(self._process, int(signal)):
                self._asked = int(signal)
        except SyscallError as error:
            if error.errno != ESRCH:  # it has ended in between
                raise

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill the program and with it every process of the container."""
        self.send_signal(SIGKILL)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send *input*, read all output, wait for the end; return what came from stdout and stderr.

        After TimeoutExpired, which kills nothing, a further call goes on where this one stopped.
        """
        if self._read and input:
            raise ValueError("Cannot send input after starting communication")
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._exchange(input, timeout, deadline)
            self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            self._end()
            raise
        except TimeoutExpired:
            raise TimeoutExpired(self.args, timeout or 0, *self._partial()) from None
        return self._result("stdout"), self._result("stderr")

    def _exchange(self, input: Any, timeout: float | None, deadline: float | None) -> None:
        """Write to and read from all pipes at once, until those we read are at their ends."""
        with selectors.PollSelector() as selector:
            for name in ("stdout", "stderr"):
                stream = getattr(self, name)
                if stream is not None:
                    self._read.setdefault(name, [])
                    if not stream.closed:
                        selector.register(stream, selectors.EVENT_READ, name)
            if self.stdin is not None and not self.stdin.closed:
                self._begin_input(input)
                if self._input:
                    selector.register(self.stdin, selectors.EVENT_WRITE, "stdin")
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                ready = selector.select(None if left is None else max(0.0, left))
                if not ready and left is not None and left <= 0:
                    raise TimeoutExpired(self.args, timeout or 0)
                for key, _ in ready:
                    name = key.data
                    if not (self._write_some() if name == "stdin" else self._read_some(name, key.fd)):
                        selector.unregister(key.fileobj)
                        getattr(self, name).close()

    def _begin_input(self, input: Any) -> None:
        assert self.stdin is not None
        if self._input is None:
            try:
                self.stdin.flush()
            except BrokenPipeError:
                pass  # the program reads no more: neither will it read what follows
            if self.text_mode and input:
                input = input.encode(self.stdin.encoding, self.stdin.errors)  # type: ignore[attr-defined]
            self._input = memoryview(input or b"").cast("B")
            os.set_blocking(self.stdin.fileno(), False)  # of this end only; the program's is another open file
        if not self._input:
            self._close_input()

    def _close_input(self) -> None:
        assert self.stdin is not None
        try:
            self.stdin.close()
        except BrokenPipeError:
            pass  # the program ended without reading it all

    def _write_some(self) -> bool:
        """Write as much as fits now; say whether there is more to write."""
        assert self.stdin is not None and self._input is not None
        try:
            self._input = self._input[os.write(self.stdin.fileno(), self._input):]
        except OSError as error:
            if error.errno == EPIPE:  # the program reads no more
                self._input = memoryview(b"")
            elif error.errno != EAGAIN:
                raise
        return bool(self._input)

    def _read_some(self, name: str, fd: int) -> bool:
        """Read what is there now; say whether more may come."""
        data = os.read(fd, _BLOCK)
        self._read[name].append(data)
        self._taken[name] += len(data)
        if self._limit is not None and self._taken[name] > self._limit:
            self._end()
            raise OutputLimitExceeded(self.args, self._limit, *self._partial())
        return bool(data)

    def _partial(self) -> tuple[bytes | None, bytes | None]:
        out, err = (b"".join(self._read.get(name, ())) or None for name in ("stdout", "stderr"))
        return out, err

    def _result(self, name: str) -> Any:
        stream: Any = getattr(self, name)
        if stream is None:
            return None
        data = b"".join(self._read[name])
        if not self.text_mode:
            return data
        return data.decode(stream.encoding, stream.errors).replace("\r\n", "\n").replace("\r", "\n")


def _numbered(pass_fds: Iterable[int]) -> list[int | None]:
    """Return the list whose item 0 becomes descriptor 3, item 1 descriptor 4, …; None where there is to be none."""
    wanted = sorted(set(pass_fds))
    if wanted and wanted[0] < 3:
        raise ValueError(f"pass_fds: {wanted[0]} is a standard stream, which stdin, stdout and stderr are for")
    return [fd if fd in wanted else None for fd in range(3, wanted[-1] + 1)] if wanted else []


def _locale_encoding() -> str:
    from locale import getpreferredencoding

    return "utf-8" if sys.flags.utf8_mode else getpreferredencoding(False)


def _reap_abandoned() -> None:
    """Clear away the containers of forgotten Popen objects that have ended since."""
    for entry in _abandoned[:]:
        process, container = entry
        if process.poll() is not None:
            try:
                _abandoned.remove(entry)
            except ValueError:
                continue  # another thread has just done it
            container.destroy()


def run(args: Argument | Sequence[Argument], *, input: Any = None, capture_output: bool = False,
        timeout: float | None = None, check: bool = False, **options: Any) -> CompletedProcess[Any]:
    """Run a program in a container of its own, wait for its end, and return a CompletedProcess: as subprocess.run does.

    *input* goes to its standard input. *capture_output* collects what it writes. After *timeout* seconds the container
    is killed and TimeoutExpired raised. With *check*, an exit status other than 0 raises CalledProcessError. Everything
    else is a parameter of Popen: *rootfs*, *mounts*, *network*, *user*, *env*, *cwd*, *text*, *read_only* …

    ProgramNotFound, which is a FileNotFoundError, means that the container has no such program.
    """
    if input is not None:
        if options.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        options["stdin"] = PIPE
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        options["stdout"] = options["stderr"] = PIPE
    with Popen(args, **options) as process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException:  # whatever it was, TimeoutExpired or the caller's own signal handler: leave nothing
            process.kill()
            raise  # __exit__ waits
    assert process.returncode is not None
    if check and process.returncode:
        raise CalledProcessError(process.returncode, args, stdout, stderr)
    return CompletedProcess(args, process.returncode, stdout, stderr)
