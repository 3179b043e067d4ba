"""Ceilings on what a process may use.

Lesson  Each limit is two numbers: soft is enforced, hard is how far the process itself may raise soft.
Read    prlimit(2), getrlimit(2)
Needs   to raise a hard limit, or for another user's process: CAP_SYS_RESOURCE in the initial user namespace
"""
from __future__ import annotations

from ctypes import Structure, addressof, c_int, c_uint, c_uint64, c_void_p

from .flags import Enumeration
from .libc import failure, syscall

__all__ = ["RLIMIT", "RLIM_INFINITY", "prlimit"]

RLIM_INFINITY = (1 << 64) - 1


class RLIMIT(Enumeration):
    """What can be limited; MIPS and SPARC number five of them otherwise."""

    CPU = 0
    FSIZE = 1
    DATA = 2
    STACK = 3
    CORE = 4
    RSS = 5
    NPROC = 6
    NOFILE = 7
    MEMLOCK = 8
    AS = 9
    LOCKS = 10
    SIGPENDING = 11
    MSGQUEUE = 12
    NICE = 13
    RTPRIO = 14
    RTTIME = 15


class _Rlimit64(Structure):
    """struct rlimit64."""

    _fields_ = [("soft", c_uint64), ("hard", c_uint64)]


_prlimit64 = syscall("prlimit64", c_int, c_uint, c_void_p, c_void_p)


def prlimit(pid: int, resource: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the (soft, hard) limits of *pid*, 0 for this process, and set new ones when *limits* are given.

    EINVAL   soft above hard, or no such resource
    EPERM    a hard limit would be raised without CAP_SYS_RESOURCE, or NOFILE above /proc/sys/fs/nr_open
    """
    if not 0 <= resource <= 0x7FFFFFFF or not 0 <= pid <= 0x7FFFFFFF:
        raise OverflowError(f"resource {resource} or pid {pid} out of range")
    old = _Rlimit64()
    new = None
    if limits is not None:
        if not all(0 <= limit <= RLIM_INFINITY for limit in limits):
            raise OverflowError(f"limits {limits} do not fit 64 bits")
        new = _Rlimit64(*limits)
    if _prlimit64(pid, resource, addressof(new) if new is not None else None, addressof(old)) < 0:
        name = f"RLIMIT_{RLIMIT(resource).name}" if resource in set(RLIMIT) else resource
        raise failure("prlimit", resource=name, pid=pid, limits=limits)
    return old.soft, old.hard
