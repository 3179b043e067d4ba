"""Every exception of the package.

    ContainerError                      something about a container went wrong; code says what kind
    ├── IdInUse                         create: the id has a state directory already
    ├── InvalidIdFormat                 create, load: not an id
    ├── ContainerNotExists              load, state: nobody by that id
    ├── ContainerPaused                 start: frozen processes cannot be joined
    ├── ContainerNotStopped             destroy: it still runs
    ├── ContainerNotRunning             signal, pause: it does not run
    ├── ProcessNotExecuted              pid, signal, wait: before a successful start
    ├── ConfigInvalid (ValueError)      the description is wrong; led by its JSON path
    ├── ConsoleExists                   a process has one console at most
    └── SystemError_                    the kernel or the host said no
        ├── SyscallError (OSError)      a call failed: which, on what, with what, and which errno
        ├── SetupError (OSError)        a step of the new process failed before its program ran
        │   ├── ProgramNotFound (FileNotFoundError)
        │   └── ProgramNotExecutable (PermissionError)
        └── KernelTooOld                below Linux 5.10
"""
from __future__ import annotations

import errno as _errno
import os
import sys
import time

from .sys.flags import Enumeration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType
    from typing import Any, Protocol

    class Writer(Protocol):
        """Anything with a ``write(str)``."""

        def write(self, text: str, /) -> Any: ...

__all__ = [
    "ConfigInvalid", "ConsoleExists", "ContainerError", "ContainerNotExists", "ContainerNotRunning",
    "ContainerNotStopped", "ContainerPaused", "ErrorCode", "Frame", "IdInUse", "InvalidIdFormat", "KernelTooOld",
    "ProcessNotExecuted", "ProgramNotExecutable", "ProgramNotFound", "SetupError", "SyscallError", "SystemError_",
    "capture", "frames_of",
]


class ErrorCode(Enumeration):
    """The kind of a ContainerError; the numbers and the texts are libcontainer's."""

    ID_IN_USE = 0
    INVALID_ID_FORMAT = 1
    CONTAINER_NOT_EXISTS = 2
    CONTAINER_PAUSED = 3
    CONTAINER_NOT_STOPPED = 4
    CONTAINER_NOT_RUNNING = 5
    PROCESS_NOT_EXECUTED = 6
    CONFIG_INVALID = 7
    CONSOLE_EXISTS = 8
    SYSTEM_ERROR = 9

    def __str__(self) -> str:
        return _TEXTS.get(int(self), "Unknown error")


_TEXTS = {  # PROCESS_NOT_EXECUTED has no text of its own in libcontainer
    0: "Id already in use", 1: "Invalid format", 2: "Container does not exist", 3: "Container paused",
    4: "Container is not stopped", 5: "Container is not running", 7: "Invalid configuration",
    8: "Console exists for process", 9: "System error",
}


class Frame:
    """One line of a stack: where the code stood when an error was made."""

    def __init__(self, file: str, function: str, package: str, line: int) -> None:
        self.file, self.function, self.package, self.line = file, function, package, line

    def __repr__(self) -> str:
        return f"Frame({self.package}.{self.function}, {self.file}@{self.line})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> list[Any]:
        """Four plain values, for the way from one process to another."""
        return [self.file, self.function, self.package, self.line]


def _frame(frame: FrameType, line: int) -> Frame:
    code = frame.f_code
    return Frame(os.path.basename(code.co_filename), code.co_name, frame.f_globals.get("__name__", "?"), line)


def capture(skip: int = 0) -> list[Frame]:
    """Return the stack of the caller, innermost first; *skip* leaves out that many of the innermost."""
    frames, frame = [], sys._getframe(1 + skip) if skip >= 0 else None
    while frame is not None:
        frames.append(_frame(frame, frame.f_lineno))
        frame = frame.f_back
    return frames


def frames_of(traceback: TracebackType | None) -> list[Frame]:
    """Return the frames an exception passed on its way, innermost first."""
    frames: list[Frame] = []
    while traceback is not None:
        frames.insert(0, _frame(traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


class ContainerError(Exception):
    """Something about a container went wrong.

    ``str()`` is one line: what was attempted, on what, what came back and, after a semicolon, what to do about it.
    """

    code = ErrorCode.SYSTEM_ERROR

    def __init__(self, message: str = "", *, hint: str | None = None, frames: Iterable[Frame] = ()) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint
        self.timestamp = time.time()
        self._child_frames = list(frames)

    @property
    def frames(self) -> list[Frame]:
        """Where it happened, innermost first: the child's frames, when a child failed, then the caller's."""
        return self._child_frames + frames_of(self.__traceback__)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def detail(self, writer: Writer) -> None:
        """Write a report of several lines: time, code, message, and every frame."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.timestamp))
        writer.write(f"Timestamp: {stamp}\nCode: {self.code}\n\nMessage: {self}\n\nFrames:\n")
        for index, frame in enumerate(self.frames):
            writer.write(f"---\n{index}: {frame.function}\nPackage: {frame.package}\nFile: {frame.file}@{frame.line}\n")


class IdInUse(ContainerError):
    """The id is taken: another container has it, or left its state directory behind."""

    code = ErrorCode.ID_IN_USE


class InvalidIdFormat(ContainerError):
    """A container's id is 1 to 1024 letters, digits and underscores."""

    code = ErrorCode.INVALID_ID_FORMAT


class ContainerNotExists(ContainerError):
    """No container has this id, or the one that had it is gone."""

    code = ErrorCode.CONTAINER_NOT_EXISTS


class ContainerPaused(ContainerError):
    """A frozen container cannot take in another process: it would freeze on entry."""

    code = ErrorCode.CONTAINER_PAUSED


class ContainerNotStopped(ContainerError):
    """The container still runs: signal it and wait first."""

    code = ErrorCode.CONTAINER_NOT_STOPPED


class ContainerNotRunning(ContainerError):
    """There is no process to signal, freeze or enter."""

    code = ErrorCode.CONTAINER_NOT_RUNNING


class ProcessNotExecuted(ContainerError):
    """The process has not been started, or its start failed."""

    code = ErrorCode.PROCESS_NOT_EXECUTED


class ConfigInvalid(ContainerError, ValueError):
    """The description of a container is wrong; *path* is where, as in ``mounts[2].destination``."""

    code = ErrorCode.CONFIG_INVALID

    def __init__(self, path: str, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {problem}" if path else problem, hint=hint)
        self.path, self.problem = path, problem


class ConsoleExists(ContainerError):
    """The process has a console already."""

    code = ErrorCode.CONSOLE_EXISTS


class SystemError_(ContainerError):
    """The kernel, a tool or the host said no."""


class SyscallError(SystemError_, OSError):
    """The kernel refused: which call, on which path, with what, and which errno."""

    _message = ""

    def __init__(self, call: str, number: int, path: object = None, **details: object) -> None:
        super().__init__()
        self.call, self.details = call, details
        self.errno, self.filename = number, _shown(path)
        # The words are put together only when somebody wants them: many an errno is expected, and handled.

    @property
    def message(self) -> str:
        """What was attempted, on what, with what, and what came back."""
        if not self._message:
            number = self.errno or 0
            text = _errno.errorcode.get(number, f"errno {number}")
            given = ", ".join(f"{name}={value}" for name, value in self.details.items() if value is not None)
            where = "" if self.filename is None else f" on {self.filename!r}"
            self._message = f"{self.call}{where}{f' ({given})' if given else ''}: {text}, {os.strerror(number)}"
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self._message = text

    @property
    def strerror(self) -> str:  # type: ignore[override]
        """The kernel's answer in words: strerror(3)."""
        return os.strerror(self.errno or 0)

    @property
    def unsupported(self) -> bool:
        """This kernel, or this file system, does not have the call at all."""
        return self.errno in (_errno.ENOSYS, _errno.EOPNOTSUPP)


def _shown(path: object) -> object:
    return os.fsdecode(path) if isinstance(path, bytes) else path


class SetupError(SystemError_, OSError):
    """A step of the new process failed before its program ran; nothing of the program was executed.

    *step* is the step's name in init.STEPS, *call* the kernel's or None, *errno* its answer or None.
    """

    def __init__(self, message: str, *, step: str | None = None, call: str | None = None, errno: int | None = None,
                 filename: str | None = None, hint: str | None = None, frames: Iterable[Frame] = ()) -> None:
        super().__init__(message, hint=hint, frames=frames)
        self.step, self.call, self.errno, self.filename = step, call, errno, filename
        self.strerror = None if errno is None else os.strerror(errno)


class ProgramNotFound(SetupError, FileNotFoundError):
    """The program is not in the container: neither at its path nor in the PATH of the process."""


class ProgramNotExecutable(SetupError, PermissionError):
    """The program is there and the process may not execute it, or no loader here can."""


class KernelTooOld(SystemError_):
    """nscontainer needs Linux 5.10 or later."""
