"""Be told when a cgroup runs out of memory, or short of it.

Lesson  Version 1 adds to an eventfd that was named to it; version 2 changes a file, which inotify sees; and pressure
        raises an exceptional condition, POLLPRI, on a file that was told how much of it matters.
Read    "Memory Thresholds", "OOM Control" and "Memory Pressure" in the kernel's cgroup-v1/memory.rst, memory.events in
        admin-guide/cgroup-v2.rst, accounting/psi.rst, epoll(7)
"""
from __future__ import annotations

import os
from errno import EAGAIN, ENODEV, ENOENT, EOPNOTSUPP

from ..errors import ContainerError, SyscallError
from ..sys.eventfd import eventfd
from ..sys.fds import poll
from ..sys.files import AT_FDCWD, close, openat, write_all
from ..sys.inotify import IN, inotify_add_watch, inotify_init
from . import files
from .stats import key_values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

__all__ = ["LEVELS", "Events", "notify_oom_v1", "notify_oom_v2", "notify_pressure_v1", "notify_pressure_v2"]

# Version 1's words for how short memory is; what they mean for version 2: some or all processes have waited for memory
# so many of 2,000,000 µs. An ordinary user may choose no other window.
LEVELS = {"low": "some 100000 2000000", "medium": "some 400000 2000000", "critical": "full 400000 2000000"}


class Events:
    """Something that happens to a container, again and again, until the container ends.

    ``for count in events`` waits for it, and ``async for count in events`` waits for it in an event loop, with no
    thread; *count* says how often it has happened since the last time. For a loop of one's own there is fileno(),
    which becomes readable, and take(). It is a context manager; whatever it holds goes with close().
    """

    def __init__(self, pidfd: int, source: int, held: tuple[int, ...] = (), *, urgent: bool = False) -> None:
        """Take over *pidfd*, which is the container, *source*, which becomes readable (or *urgent*), and *held*."""
        from select import EPOLL_CLOEXEC, EPOLLIN, EPOLLPRI, epoll

        self._pidfd, self._source, self._held, self._urgent = pidfd, source, held, urgent
        self._epoll = epoll(flags=EPOLL_CLOEXEC)
        self._epoll.register(pidfd, EPOLLIN)
        self._epoll.register(source, EPOLLPRI if urgent else EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when it has happened, and when the container has ended."""
        return self._epoll.fileno()

    def take(self) -> int | None:
        """Return how often it has happened, None once the container has ended: to be called when fileno() is readable.

        0 is a false alarm.
        """
        if self._epoll.closed:
            return None
        ended = bool(poll((self._pidfd,), 0))
        count = self._count(ended)
        if count:
            return count
        if ended:
            self.close()
            return None
        return 0

    def _count(self, ended: bool) -> int:
        """Read how often it has happened."""
        raise NotImplementedError

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        while not self._epoll.closed:
            self._epoll.poll()
            count = self.take()
            if count:
                return count
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        from asyncio import get_running_loop

        loop = get_running_loop()
        while not self._epoll.closed:
            happened: Any = loop.create_future()
            fd = self.fileno()
            loop.add_reader(fd, _wake, happened)
            try:
                await happened
            finally:
                loop.remove_reader(fd)
            count = self.take()
            if count:
                return count
        raise StopAsyncIteration

    def close(self) -> None:
        """Stop being told."""
        if not self._epoll.closed:
            self._epoll.close()
            for fd in (self._pidfd, self._source, *self._held):
                close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_epoll"):
            self.close()


def _wake(happened: Any) -> None:
    if not happened.done():  # it may be called twice before the loop gets to whoever waits
        happened.set_result(None)


class _Counted(Events):
    """What version 1 adds to an eventfd. It adds one more when the cgroup is removed."""

    directory = ""

    def _count(self, ended: bool) -> int:
        try:
            count = int(memoryview(os.read(self._source, 8)).cast("Q")[0])
        except OSError as error:
            if error.errno != EAGAIN:
                raise
            return 0
        return count if os.path.isdir(self.directory) else count - 1


class _Watched(Events):
    """A number in a file of version 2 that inotify watches."""

    known = 0

    def _count(self, ended: bool) -> int:
        try:
            os.read(self._source, 1 << 14)  # which changes there were does not matter: the file says more
        except OSError as error:
            if error.errno != EAGAIN:
                raise
        before, self.known = self.known, _oom_kills(self._held[0], self.known)
        return self.known - before


class _Pressed(Events):
    """A trigger of version 2: that it went off is all there is to know."""

    def _count(self, ended: bool) -> int:
        return int(not ended)


def _oom_kills(fd: int, gone: int = 0) -> int:
    try:
        return key_values(os.pread(fd, 4096, 0).decode()).get("oom_kill", 0)
    except OSError as error:
        if error.errno != ENODEV:  # the cgroup has been removed: nothing more can be known
            raise
        return gone


def notify_oom_v2(directory: str, pidfd: int) -> Events:
    """Be told of processes that are killed because the cgroup has no memory left. It takes over *pidfd*."""
    opened = [pidfd]
    try:
        path = f"{directory}/memory.events"
        opened.append(_open(path, os.O_RDONLY))
        opened.append(inotify_init())
        inotify_add_watch(opened[-1], path, IN.MODIFY)
        events = _Watched(pidfd, opened[2], (opened[1],))
    except BaseException:
        _close(opened)
        raise
    events.known = _oom_kills(opened[1])
    return events


def notify_oom_v1(directory: str, pidfd: int) -> Events:
    """Be told when the cgroup has no memory left, whoever is killed for it. It takes over *pidfd*."""
    return _registered(directory, pidfd, "memory.oom_control", "")


def notify_pressure_v1(directory: str, pidfd: int, level: str) -> Events:
    """Be told when the kernel has trouble to find memory for the cgroup. It takes over *pidfd*."""
    return _registered(directory, pidfd, "memory.pressure_level", f" {level}")


def _registered(directory: str, pidfd: int, name: str, arguments: str) -> Events:
    opened = [pidfd]
    try:
        opened.append(eventfd())
        opened.append(_open(f"{directory}/{name}", os.O_RDONLY))
        files.write(f"{directory}/cgroup.event_control", f"{opened[1]} {opened[2]}{arguments}")
        events = _Counted(pidfd, opened[1], (opened[2],))
    except BaseException:
        _close(opened)
        raise
    events.directory = directory
    return events


def notify_pressure_v2(directory: str, pidfd: int, level: str) -> Events:
    """Be told when processes of the cgroup have waited for memory for long. It takes over *pidfd*."""
    opened = [pidfd]
    try:
        opened.append(_open(f"{directory}/memory.pressure", os.O_RDWR | os.O_NONBLOCK))
        try:
            write_all(opened[1], LEVELS[level].encode() + b"\0")
        except SyscallError as error:
            raise SyscallError("write", error.errno or 0, f"{directory}/memory.pressure", text=LEVELS[level]) from None
        return _Pressed(pidfd, opened[1], urgent=True)
    except BaseException:
        _close(opened)
        raise


def _open(path: str, flags: int) -> int:
    try:
        return openat(AT_FDCWD, path, flags)
    except SyscallError as error:
        if error.errno not in (ENOENT, EOPNOTSUPP):
            raise
        raise ContainerError(f"nobody counts for {path}: the cgroup does not have that file",
                             hint="it takes the controller memory, and for pressure a kernel that counts it: psi=1"
                             ) from None


def _close(fds: list[int]) -> None:
    for fd in fds:
        close(fd)
