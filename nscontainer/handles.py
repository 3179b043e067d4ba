"""Processes held by a pidfd: a child of ours, which can be waited for, and a stranger, which cannot.

Lesson  The first process of a pid namespace cannot finish ending before everybody in it has been reaped; and whoever
        entered from outside is a child of whoever started it, not of that first process.
Read    pid_namespaces(7), pidfd_open(2), waitid(2), proc_pid_stat(5) on field 22
"""
from __future__ import annotations

from _thread import RLock
from errno import EBADF, ECHILD, EINVAL, ENOENT, ESRCH
from os import P_PID, WEXITED, WNOHANG, getpid, listdir, waitid
from time import monotonic, sleep

from .errors import SyscallError
from .sys.fds import poll
from .sys.files import close, fcntl_dupfd
from .sys.pidfd import WaitResult, pidfd_exit_status, pidfd_open, pidfd_send_signal, wait_pidfd
from .sys.procfs import process_stat

__all__ = ["Child", "Stranger", "reap_stray", "start_time"]

SIGKILL = 9
_A_WHILE = 100  # ms: how soon we notice a process that has entered since we began to wait


def start_time(pid: int) -> str:
    """Return when the process started, in clock ticks since boot: with the pid it names one process for good."""
    return str(process_stat(pid).start_time)


def reap_stray(comm: str, within: float = 1.0) -> None:
    """Reap a child of ours that is about to end and of which only the name is known; give up after *within* seconds."""
    end = monotonic() + within
    while monotonic() < end:
        for name in listdir("/proc"):
            try:
                found = process_stat(name) if name.isdecimal() else None
                if found is None or (found.ppid, found.comm, found.state) != (getpid(), comm, "Z"):
                    continue
                if waitid(P_PID, found.pid, WEXITED | WNOHANG):
                    return
            except (SyscallError, ChildProcessError):
                continue  # it has gone, or another thread was waiting for that one
        sleep(0.002)


class _Handle:
    """What can be done with any process whose pidfd we have. Any thread may do it."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd
        self._lock = RLock()  # a signal handler may ask about a process that its thread is just asking about
        self._inmates: list[Child] = []

    def keep(self, inmate: Child) -> None:
        """Know of a process that has entered this one's namespaces, to reap it when this one is waited for."""
        self._inmates = [*[other for other in self._inmates if other.poll() is None], inmate]

    def _wait(self, timeout: float | None) -> bool:
        """Wait *timeout* seconds (None: for ever) for the end, and reap those inside as they end."""
        end = None if timeout is None else monotonic() + timeout
        while True:
            inmates = [inmate for inmate in self._inmates if inmate.poll() is None]
            left = -1 if end is None else max(0, round((end - monotonic()) * 1000))
            if inmates and not 0 <= left <= _A_WHILE:
                left = _A_WHILE
            try:
                ready = poll((self._pidfd, *[inmate._pidfd for inmate in inmates]), left)
            except SyscallError as error:
                if error.errno != EBADF:  # another thread has waited for one of them, and closed it
                    raise
                continue
            if self._pidfd in ready:
                return True
            if not ready and end is not None and monotonic() >= end:
                return False

    def _send(self, number: int) -> None:
        """Send a signal: pidfd_send_signal(2) cannot hit a stranger that got the same pid."""
        if self._pidfd < 0:
            raise SyscallError("pidfd_send_signal", ESRCH, pid=self.pid)
        pidfd_send_signal(self._pidfd, number)

    def _copy(self) -> int:
        if self._pidfd < 0:
            raise SyscallError("pidfd_open", ESRCH, pid=self.pid)
        return fcntl_dupfd(self._pidfd)

    def _close(self) -> None:
        pidfd, self._pidfd = self._pidfd, -1  # first: after an error the number may be somebody else's
        if pidfd >= 0:
            close(pidfd)

    __del__ = _close


class Child(_Handle):
    """A process cloned for us, and how it ended once that is known."""

    def __init__(self, pid: int, pidfd: int) -> None:
        super().__init__(pid, pidfd)
        self._polling = 0
        self._killed = False
        self._ended: WaitResult | None = None

    def poll(self, timeout: float | None = 0) -> WaitResult | None:
        """Return how the process ended, waiting *timeout* seconds (None: for ever) for that; None while it runs."""
        with self._lock:
            if self._ended is not None:
                return self._ended
            self._polling += 1  # the descriptor stays open while any thread looks at it
        ready = False
        try:
            ready = self._wait(timeout)
        finally:
            with self._lock:
                try:
                    if ready and self._ended is None:
                        self._ended = self._reap()
                finally:
                    self._polling -= 1  # not sooner: a signal handler that polls would close what we are looking at
                if self._ended is not None and not self._polling:
                    self._close()
        return self._ended

    def _reap(self) -> WaitResult:
        try:
            ended = wait_pidfd(self._pidfd, nohang=True)
        except SyscallError as error:
            if error.errno != ECHILD:
                raise
            ended = None
        # Somebody else in this program waited for all its children, or ignores SIGCHLD: Linux 6.15 still knows.
        return ended or WaitResult(self.pid, pidfd_exit_status(self._pidfd))

    def signal(self, number: int) -> None:
        """Send a signal; ESRCH after the end."""
        with self._lock:
            if self._ended is not None:
                raise SyscallError("pidfd_send_signal", ESRCH, pid=self.pid)
            self._send(number)

    def kill(self) -> WaitResult:
        """Kill it and wait for the end."""
        self._killed = True
        try:
            self.signal(SIGKILL)  # before any look at it, which could fail
        except SyscallError as error:
            if error.errno != ESRCH:  # it has ended
                raise
        ended = self.poll(None)
        assert ended is not None
        return ended

    def share(self) -> int:
        """Return a descriptor of the process for somebody else to keep; ESRCH after the end."""
        with self._lock:
            return self._copy()

    def __del__(self) -> None:
        if self._killed and self._ended is None and self._pidfd >= 0:
            try:
                wait_pidfd(self._pidfd, nohang=True)  # kill() was interrupted, and nobody else is to wait for it
            except SyscallError as error:
                if error.errno != ECHILD:
                    raise
        self._close()


class Stranger(_Handle):
    """The first process of a container that another program started."""

    def __init__(self, pid: int, started: str) -> None:
        super().__init__(pid, -1)
        try:
            self._pidfd = pidfd_open(pid)
            # The pid may have gone to somebody else since; the descriptor, once checked, stays with who it is now.
            if start_time(pid) != started:
                self._close()
        except OSError as error:
            if error.errno not in (ESRCH, ENOENT, EINVAL):
                raise
            self._close()

    def poll(self, timeout: float | None = 0) -> bool:
        """Say whether it has ended, waiting *timeout* seconds (None: for ever) for that. A zombie has."""
        return self._pidfd < 0 or self._wait(timeout)

    def signal(self, number: int) -> None:
        """Send a signal; ESRCH after the end."""
        self._send(number)

    def kill(self) -> None:
        """Kill it and wait for the end."""
        if not self.poll():
            self.signal(SIGKILL)
            self.poll(None)

    def share(self) -> int:
        """Return a descriptor of the process for somebody else to keep; ESRCH after the end."""
        return self._copy()
