"""System calls that ask: a program's call waits until whoever holds the listener has answered.

Lesson  A filter may leave the decision to another process, which can do the call in the caller's place.
Read    seccomp_unotify(2); the OCI runtime specification, config-linux.md, "The Container Process State"
Needs   CAP_SYS_PTRACE over the process to read its memory

    with listener:
        for call in listener:
            if call.name == "mkdirat" and allowed(call.text(1)):
                call.respond(os.mkdir(translated(call.text(1))) or 0)
            else:
                call.respond(error=errno.EPERM)

To go on (``continue_``) is no decision about safety: the program may change what its arguments point to meanwhile.
"""
from __future__ import annotations

import errno
import os
from select import POLLIN, poll

from ..errors import SyscallError
from ..strictjson import dumps
from ..sys.fds import send_descriptors
from ..sys.files import close
from ..sys.seccomp import (
    SECCOMP_USER_NOTIF_FLAG,
    notification_add_fd,
    notification_receive,
    notification_send,
    notification_sizes,
    notification_valid,
)
from ..sys.unix import connect
from .seccomp_compiler import machine_of, numbers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..sys.seccomp import SeccompNotif

__all__ = ["Listener", "Notification", "hand_over"]

_CONTINUE = int(SECCOMP_USER_NOTIF_FLAG.CONTINUE)
_names: dict[str, dict[int, str]] = {}


class Notification:
    """A call that waits for an answer.

    *args* are the six registers as they are; the methods read one as C would. *pid* is the caller's in our own pid
    namespace, 0 when it has none there.
    """

    __slots__ = ("_listener", "args", "flags", "id", "instruction_pointer", "machine", "number", "pid")

    def __init__(self, listener: int, raw: SeccompNotif) -> None:
        self._listener = listener
        self.id: int = raw.id
        self.pid: int = raw.pid
        self.flags: int = raw.flags
        self.machine, self.number = machine_of(raw.data.arch, raw.data.nr)
        self.instruction_pointer: int = raw.data.instruction_pointer
        self.args: tuple[int, ...] = tuple(raw.data.args)

    def __repr__(self) -> str:
        return f"Notification({self.name}({', '.join(map(hex, self.args))}), pid={self.pid})"

    @property
    def name(self) -> str:
        """The call's name on its machine, or its number where it has none."""
        if self.machine not in _names:
            _names[self.machine] = {number: name for name, number in numbers_of(self.machine).items()}
        return _names[self.machine].get(self.number, str(self.number))

    def integer(self, index: int) -> int:
        """An argument as a C int: its low 32 bits, signed."""
        low = self.args[index] & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low

    def long(self, index: int) -> int:
        """An argument as a signed number of 64 bits."""
        value = self.args[index]
        return value - (1 << 64) if value >> 63 else value

    def text(self, index: int, limit: int = 4096) -> str:
        """The string that an argument points to, such as a path; ValueError when it has no end within *limit* bytes."""
        address, data = self.args[index], b""
        while b"\0" not in data:
            if len(data) >= limit:
                raise ValueError(f"argument {index} is no string of less than {limit} bytes")
            # Not beyond a page: what follows may not be mapped.
            data += self.memory(address + len(data), min(4096 - (address + len(data)) % 4096, limit - len(data)))
        return os.fsdecode(data[:data.index(b"\0")])

    def memory(self, address: int, size: int) -> bytes:
        """Read the caller's memory; ENOENT when the call is gone, EIO where nothing is mapped."""
        try:
            fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._check()
            raise
        try:
            self._check()  # else the pid might be another's by now
            data = os.pread(fd, size, address)
        finally:
            os.close(fd)
        self._check()  # else the memory might be that of another call, or another program
        return data

    def valid(self) -> bool:
        """Say whether the call still waits."""
        return notification_valid(self._listener, self.id)

    def _check(self) -> None:
        if not self.valid():
            raise SyscallError("ioctl", errno.ENOENT, request="SECCOMP_IOCTL_NOTIF_ID_VALID", id=self.id)

    def respond(self, value: int = 0, *, error: int = 0) -> None:
        """Have the call return *value*, or fail with *error*, a positive errno. ENOENT when it is gone."""
        notification_send(self._listener, self.id, 0 if error else value, error)

    def continue_(self) -> None:
        """Have the kernel do the call after all, with whatever its arguments point to by now."""
        notification_send(self._listener, self.id, flags=_CONTINUE)

    def add_fd(self, fd: int, *, at: int | None = None, cloexec: bool = False, send: bool = False) -> int:
        """Give the caller a copy of *fd*, *at* a number or the lowest free one; *send* makes that the call's result."""
        return notification_add_fd(self._listener, self.id, fd, at=at, cloexec=cloexec, send=send)


class Listener:
    """The descriptor on which calls wait: iterate, or ``receive``. One listener serves one filter's processes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = notification_sizes()[0]

    def __repr__(self) -> str:
        return f"Listener({self._fd})"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Notification]:
        while (call := self.receive()) is not None:
            yield call

    def fileno(self) -> int:
        """Return the descriptor, for poll(2) and its kin; -1 after close."""
        return self._fd

    def receive(self, timeout: float | None = None) -> Notification | None:
        """Wait for a call; None when no process is left that could make one. TimeoutError after *timeout* seconds."""
        waiting = poll()
        waiting.register(self._fd, POLLIN)
        while True:
            ready = waiting.poll(None if timeout is None else timeout * 1000)
            if not ready:
                raise TimeoutError(f"no system call within {timeout:g} seconds")
            if not ready[0][1] & POLLIN:
                return None  # POLLHUP
            try:
                return Notification(self._fd, notification_receive(self._fd, self._size))
            except SyscallError as error:
                if error.errno != errno.ENOENT:  # the caller was killed between the two
                    raise

    def close(self) -> None:
        """Give it up. Calls that wait, and all to come, fail with ENOSYS."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close(fd)

    __del__ = close


def hand_over(path: str, listener: int, pid: int, state: dict[str, Any], metadata: str = "") -> None:
    """Send a listener to whoever listens at *path*, as the OCI specification says: one state, one descriptor, the end.

    *pid* is the filtered process; *state* the container's, whose pid is its first process.
    """
    message: dict[str, Any] = {"ociVersion": state.get("ociVersion", ""), "fds": ["seccompFd"], "pid": pid,
                               "state": state}
    if metadata:
        message["metadata"] = metadata
    data = dumps(message).encode()
    fd = connect(path)
    try:
        sent = send_descriptors(fd, data, [listener])
        while sent < len(data):
            sent += send_descriptors(fd, data[sent:])
    finally:
        close(fd)
