"""Capabilities: root's power in forty-one pieces.

Lesson  A process holds them in sets: what it uses (effective), may take up (permitted), may pass on (inheritable).
Read    capabilities(7), capget(2), capset(2)
Needs   to add to inheritable beyond the bounding set: CAP_SETPCAP; nothing adds to permitted
"""
from __future__ import annotations

from ctypes import Structure, addressof, c_int, c_uint32, c_void_p
from errno import EINVAL

from ..errors import SyscallError
from .flags import Enumeration
from .libc import failure, function
from .prctl import capbset_read

__all__ = ["CAP", "capget", "capset", "last_cap"]


class CAP(Enumeration):
    """The capabilities, by number: linux/capability.h of Linux 5.9, the last to add one."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_PACCT = 20
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TIME = 25
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31
    MAC_OVERRIDE = 32
    MAC_ADMIN = 33
    SYSLOG = 34
    WAKE_ALARM = 35
    BLOCK_SUSPEND = 36
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


class _Header(Structure):
    """struct __user_cap_header_struct."""

    _fields_ = [("version", c_uint32), ("pid", c_int)]


class _Data(Structure):
    """struct __user_cap_data_struct, twice: the capabilities below 32, then the rest."""

    _fields_ = [(name + half, c_uint32) for half in ("_low", "_high")
                for name in ("effective", "permitted", "inheritable")]


_VERSION_3 = 0x20080522
_capget = function("capget", c_void_p, c_void_p)
_capset = function("capset", c_void_p, c_void_p)


def last_cap() -> int:
    """Return the number of the last capability this kernel has, as /proc/sys/kernel/cap_last_cap does, without /proc.

    PR_CAPBSET_READ answers EINVAL for one that does not exist. Linux 5.9 and later have 40 at least.
    """
    last = int(CAP.CHECKPOINT_RESTORE)
    while last < 63:
        try:
            capbset_read(last + 1)
        except SyscallError as error:
            if error.errno != EINVAL:
                raise
            break
        last += 1
    return last


def capget(pid: int = 0) -> tuple[int, int, int]:
    """Return a process's effective, permitted and inheritable sets, a bit for each capability; 0 is this process.

    ESRCH    no such process
    """
    header, data = _Header(_VERSION_3, pid), _Data()
    if _capget(addressof(header), addressof(data)) < 0:
        raise failure("capget", pid=pid)
    return (data.effective_low | data.effective_high << 32, data.permitted_low | data.permitted_high << 32,
            data.inheritable_low | data.inheritable_high << 32)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Replace this thread's sets, a bit for each capability.

    EPERM    a permitted one that is not permitted now, an effective one that is not permitted, or an inheritable one
             beyond what is permitted or bounded
    """
    for mask in (effective, permitted, inheritable):
        if not 0 <= mask < 1 << 64:
            raise OverflowError(f"{hex(mask)} does not fit 64 bits")
    low = 0xFFFFFFFF
    header = _Header(_VERSION_3, 0)
    data = _Data(effective & low, permitted & low, inheritable & low,
                 effective >> 32, permitted >> 32, inheritable >> 32)
    if _capset(addressof(header), addressof(data)) < 0:
        raise failure("capset", effective=hex(effective), permitted=hex(permitted), inheritable=hex(inheritable))
