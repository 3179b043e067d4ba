"""Processes held by a descriptor: a pid is used again, a pidfd is not.

Lesson  A pidfd names one process for good. poll(2) finds it readable once the process has ended.
Read    pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), waitid(2)
Needs   to signal: the same user or CAP_KILL; to take a descriptor: the rights of ptrace(2)
"""
from __future__ import annotations

from ctypes import Structure, addressof, c_int, c_uint, c_uint32, c_uint64, c_ulong, c_void_p, sizeof
from errno import EINVAL, ENOTTY, ESRCH

from .libc import EINTR, failure, function, get_errno, syscall

__all__ = ["WaitResult", "pidfd_exit_status", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "wait_pidfd"]


class WaitResult:
    """How a process ended: its pid and its status as wait(2) has it, None when nobody can know."""

    __slots__ = ("pid", "status")

    def __init__(self, pid: int, status: int | None) -> None:
        self.pid, self.status = pid, status

    @property
    def signal(self) -> int | None:
        """The signal that killed it, None when it exited."""
        return None if self.status is None else self.status & 0x7F or None

    @property
    def core_dumped(self) -> bool:
        """Whether the signal left a core dump."""
        return self.status is not None and bool(self.status & 0x80)

    @property
    def returncode(self) -> int | None:
        """What it passed to exit, or minus the signal's number."""
        return None if self.status is None else -self.signal if self.signal else self.status >> 8

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WaitResult) and (self.pid, self.status) == (other.pid, other.status)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"WaitResult(pid={self.pid}, returncode={self.returncode})"


_pidfd_open = syscall("pidfd_open", c_int, c_uint)
_pidfd_send_signal = syscall("pidfd_send_signal", c_int, c_int, c_void_p, c_uint)
_pidfd_getfd = syscall("pidfd_getfd", c_int, c_int, c_uint)


def pidfd_open(pid: int) -> int:
    """Return a descriptor of the process *pid*; it is closed by execve.

    ESRCH    no such process
    EINVAL   a thread that is not its process's first, or no pid at all
    """
    if not -0x80000000 <= pid <= 0x7FFFFFFF:
        raise OverflowError(f"pid {pid} does not fit 32 bits")
    fd = _pidfd_open(pid, 0)
    if fd < 0:
        raise failure("pidfd_open", pid=pid)
    return fd


def pidfd_send_signal(fd: int, signal: int) -> None:
    """Send *signal* to the process; 0 only asks whether it is still there.

    ESRCH    it has ended and was waited for
    EPERM    another user's process
    EINVAL   not a signal, or *fd* is from outside the pid namespace
    """
    if not 0 <= signal <= 64:
        raise ValueError(f"{signal!r} is not a signal")
    if _pidfd_send_signal(fd, signal, None, 0) < 0:
        raise failure("pidfd_send_signal", fd=fd, signal=signal)


def pidfd_getfd(fd: int, target: int) -> int:
    """Return a duplicate of the descriptor that is *target* in the process, closed by execve: Linux 5.6.

    EBADF    it has no such descriptor
    EPERM    ptrace(2) would be refused
    ESRCH    it has ended
    """
    taken = _pidfd_getfd(fd, target, 0)
    if taken < 0:
        raise failure("pidfd_getfd", fd=fd, target=target)
    return taken


class _Siginfo(Structure):
    """siginfo_t of SIGCHLD (128 bytes); on 64-bit machines what follows the code is aligned to a pointer."""

    _fields_ = [("signo", c_int), ("errno", c_int), ("code", c_int), ("padding", c_int * (sizeof(c_void_p) // 8)),
                ("pid", c_int), ("uid", c_uint), ("status", c_int), ("rest", c_int * 25)]


_waitid = function("waitid", c_int, c_uint, c_void_p, c_int)
_waitid_waiting = function("waitid", c_int, c_uint, c_void_p, c_int, waits=True)

_P_PIDFD = 3
_WEXITED, _WNOHANG, _WNOWAIT = 0x4, 0x1, 0x1000000
_WALL = 0x40000000  # also for a child that was cloned without SIGCHLD
_CLD_EXITED, _CLD_DUMPED = 1, 3


def wait_pidfd(fd: int, nohang: bool = False, nowait: bool = False) -> WaitResult | None:
    """Wait until a child ends: waitid(P_PIDFD). With *nohang*, return None while it runs; *nowait* leaves it a zombie.

    ECHILD   not our child, or somebody has waited for it, or SIGCHLD is ignored
    EAGAIN   the descriptor is non-blocking and the child runs (Linux 5.10)
    """
    info = _Siginfo()
    options = _WEXITED | _WALL | (_WNOHANG if nohang else 0) | (_WNOWAIT if nowait else 0)
    call = _waitid if nohang else _waitid_waiting
    while call(_P_PIDFD, fd, addressof(info), options) < 0:
        if get_errno() != EINTR:
            raise failure("waitid", pidfd=fd)
    if not info.pid:
        return None
    if info.code == _CLD_EXITED:
        return WaitResult(info.pid, (info.status & 0xFF) << 8)
    return WaitResult(info.pid, info.status | (0x80 if info.code == _CLD_DUMPED else 0))


class _PidfdInfo(Structure):
    """struct pidfd_info, its first version (64 bytes)."""

    _fields_ = [("mask", c_uint64), ("cgroupid", c_uint64)] + [(name, c_uint32) for name in (
        "pid", "tgid", "ppid", "ruid", "rgid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid", "exit_code")]


_ioctl = function("ioctl", c_int, c_ulong, c_void_p)

_GET_INFO = 0xC040FF0B   # _IOWR(0xFF, 11, 64 bytes)
_INFO_EXIT = 1 << 3


def pidfd_exit_status(fd: int) -> int | None:
    """Return the wait status of a process that has ended and was waited for, by anybody: PIDFD_GET_INFO, Linux 6.15.

    None when it has not, when the pidfd was opened too late, and when this kernel cannot tell.
    """
    info = _PidfdInfo(mask=_INFO_EXIT)
    if _ioctl(fd, _GET_INFO, addressof(info)) < 0:
        if get_errno() in (ENOTTY, EINVAL, ESRCH):  # before 6.13; before 6.15; gone, and nothing was kept
            return None
        raise failure("ioctl", request="PIDFD_GET_INFO", fd=fd)
    return int(info.exit_code) if info.mask & _INFO_EXIT else None
