"""When and where a process runs: its scheduling policy, its CPUs, and its turn at the disk.

Lesson  Policies are ranks: a deadline runs before a real-time priority, that before everything normal, and a nice
        value only divides what is left. Reading and writing have ranks of their own.
Read    sched_setattr(2), sched(7), sched_setaffinity(2), ioprio_set(2), the kernel's block/ioprio.rst
Needs   CAP_SYS_NICE in the initial user namespace to go up; going down is free
"""
from __future__ import annotations

from ctypes import (
    Structure,
    addressof,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_uint,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)

from .flags import Enumeration, Flags
from .libc import failure, function, syscall

__all__ = ["IOPRIO_CLASS", "IOPRIO_WHO", "SCHED", "SCHED_FLAG", "ioprio_set", "sched_setaffinity", "sched_setattr"]


class SCHED(Enumeration):
    """The policies."""

    OTHER = 0            # shared by nice values
    FIFO = 1             # real-time: until it waits
    RR = 2               # real-time: in turns
    BATCH = 3
    ISO = 4              # a number without a policy, as yet
    IDLE = 5
    DEADLINE = 6         # so much time in each period


class SCHED_FLAG(Flags):
    """The flags of struct sched_attr."""

    RESET_ON_FORK = 0x1
    RECLAIM = 0x2
    DL_OVERRUN = 0x4
    KEEP_POLICY = 0x8
    KEEP_PARAMS = 0x10
    UTIL_CLAMP_MIN = 0x20
    UTIL_CLAMP_MAX = 0x40


class IOPRIO_CLASS(Enumeration):
    """The ranks at the disk."""

    RT = 1
    BE = 2               # best effort: what everybody has
    IDLE = 3


class IOPRIO_WHO(Enumeration):
    """Whose priority is meant."""

    PROCESS = 1
    PGRP = 2
    USER = 3


class _SchedAttr(Structure):
    """struct sched_attr, its first version (48 bytes)."""

    _fields_ = [("size", c_uint32), ("policy", c_uint32), ("flags", c_uint64), ("nice", c_int32),
                ("priority", c_uint32), ("runtime", c_uint64), ("deadline", c_uint64), ("period", c_uint64)]


_sched_setattr = syscall("sched_setattr", c_int, c_void_p, c_uint)
_sched_setaffinity = function("sched_setaffinity", c_int, c_size_t, c_char_p)
_ioprio_set = syscall("ioprio_set", c_int, c_int, c_int)


def sched_setattr(pid: int, policy: int, flags: int = 0, *, nice: int = 0, priority: int = 0, runtime: int = 0,
                  deadline: int = 0, period: int = 0) -> None:
    """Set the policy of one thread, 0: ourselves. *runtime*, *deadline* and *period* are nanoseconds.

    EPERM    it would go up, and CAP_SYS_NICE is missing; or, for DEADLINE, its CPUs are not all of them
    EINVAL   values that do not go together
    EBUSY    DEADLINE: there is not so much time left
    """
    if not (0 <= pid < 1 << 31 and 0 <= policy < 1 << 32 and 0 <= flags < 1 << 64 and -20 <= nice <= 19
            and 0 <= priority <= 99 and all(0 <= each < 1 << 64 for each in (runtime, deadline, period))):
        raise OverflowError("a value of struct sched_attr is out of range")
    attr = _SchedAttr(sizeof(_SchedAttr), policy, flags, nice, priority, runtime, deadline, period)
    if _sched_setattr(pid, addressof(attr), 0) < 0:
        raise failure("sched_setattr", pid=pid, policy=policy, nice=nice, priority=priority)


def sched_setaffinity(pid: int, mask: int) -> None:
    """Set on which CPUs a thread may run, 0: ourselves; bit N of *mask* is CPU N.

    EINVAL   none of them exists, or is in the cgroup's cpuset
    """
    if not (0 <= pid < 1 << 31 and 0 < mask < 1 << 65536):
        raise OverflowError("no CPUs, or too many")
    size = (mask.bit_length() + 63) // 64 * 8
    if _sched_setaffinity(pid, size, mask.to_bytes(size, "little")) < 0:
        raise failure("sched_setaffinity", pid=pid, mask=hex(mask))


def ioprio_set(which: int, who: int, io_class: int, level: int) -> None:
    """Set the priority, 0 (highest) to 7, of a process, of a process group, or of all of a user's; 0: our own.

    EPERM    IOPRIO_CLASS_RT needs CAP_SYS_ADMIN or CAP_SYS_NICE
    """
    if not (0 <= which <= 3 and 0 <= who < 1 << 31 and 0 <= io_class <= 3 and 0 <= level <= 7):
        raise OverflowError(f"class {io_class}, priority {level} out of range")
    if _ioprio_set(which, who, io_class << 13 | level) < 0:
        raise failure("ioprio_set", which=which, who=who, io_class=io_class, level=level)
