"""Filter system calls: a program that the kernel asks before each call, and the descriptor on which others answer.

Lesson  A filter sees numbers: the machine, the call, six arguments. It cannot follow a pointer, and is never removed.
Read    seccomp(2), seccomp_unotify(2), Documentation/userspace-api/seccomp_filter.rst in Linux
Needs   CAP_SYS_ADMIN in the user namespace, or no_new_privs
"""
from __future__ import annotations

from ctypes import (
    Structure,
    addressof,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_uint,
    c_uint16,
    c_uint32,
    c_uint64,
    c_ulong,
    c_ushort,
    c_void_p,
    create_string_buffer,
    memset,
    sizeof,
)
from errno import ENOENT

from .bpf_classic import MOST_INSTRUCTIONS
from .flags import Enumeration, Flags
from .libc import EINTR, failure, function, get_errno, syscall

__all__ = [
    "AUDIT_ARCH", "SECCOMP_ADDFD_FLAG", "SECCOMP_FILTER_FLAG", "SECCOMP_RET", "SECCOMP_USER_NOTIF_FLAG", "SeccompData",
    "SeccompNotif", "action_available", "notification_add_fd", "notification_receive", "notification_send",
    "notification_set_flags", "notification_sizes", "notification_valid", "set_mode_filter",
]


class SECCOMP_RET(Enumeration):
    """What a filter answers; the low 16 bits carry an errno or a value for a tracer.

    With several filters the strictest answer holds: the one that stands first here.
    """

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    USER_NOTIF = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000


class SECCOMP_FILTER_FLAG(Flags):
    """The flags of SECCOMP_SET_MODE_FILTER."""

    TSYNC = 0x1                # all threads of the process
    LOG = 0x2                  # write every answer but ALLOW to the audit log: Linux 4.14
    SPEC_ALLOW = 0x4           # leave speculative store bypass as it is: Linux 4.17
    NEW_LISTENER = 0x8         # return a descriptor for USER_NOTIF: Linux 5.0
    TSYNC_ESRCH = 0x10         # answer ESRCH for a thread that cannot follow, as NEW_LISTENER needs its result
    WAIT_KILLABLE_RECV = 0x20  # once received, only a fatal signal interrupts the call: Linux 5.19


class SECCOMP_USER_NOTIF_FLAG(Flags):
    """The flags of an answer to a notification."""

    CONTINUE = 0x1             # run the call as it is: Linux 5.5


class SECCOMP_ADDFD_FLAG(Flags):
    """The flags of SECCOMP_IOCTL_NOTIF_ADDFD."""

    SETFD = 0x1                # at the number that is given
    SEND = 0x2                 # and let the call return that number: Linux 5.14


class AUDIT_ARCH(Enumeration):
    """The machines as a filter sees them: linux/audit.h. On x86_64 a number with bit 30 is a call of x32."""

    X86_64 = 0xC000003E
    I386 = 0x40000003
    AARCH64 = 0xC00000B7
    ARM = 0x40000028
    RISCV64 = 0xC00000F3
    PPC64LE = 0xC0000015
    S390X = 0x80000016
    S390 = 0x00000016


class SeccompData(Structure):
    """struct seccomp_data (64 bytes): what a filter sees of a call."""

    _fields_ = [("nr", c_int), ("arch", c_uint32), ("instruction_pointer", c_uint64), ("args", c_uint64 * 6)]


class SeccompNotif(Structure):
    """struct seccomp_notif (80 bytes): a call that waits for an answer."""

    _fields_ = [("id", c_uint64), ("pid", c_uint32), ("flags", c_uint32), ("data", SeccompData)]


class _Response(Structure):
    """struct seccomp_notif_resp (24 bytes)."""

    _fields_ = [("id", c_uint64), ("val", c_int64), ("error", c_int32), ("flags", c_uint32)]


class _AddFd(Structure):
    """struct seccomp_notif_addfd (24 bytes)."""

    _fields_ = [("id", c_uint64), ("flags", c_uint32), ("srcfd", c_uint32), ("newfd", c_uint32),
                ("newfd_flags", c_uint32)]


class _Sizes(Structure):
    """struct seccomp_notif_sizes (6 bytes)."""

    _fields_ = [("notif", c_uint16), ("resp", c_uint16), ("data", c_uint16)]


class _Program(Structure):
    """struct sock_fprog (16 bytes on 64-bit machines)."""

    _fields_ = [("len", c_ushort), ("filter", c_char_p)]


_seccomp = syscall("seccomp", c_uint, c_uint, c_void_p)
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _GET_NOTIF_SIZES = 1, 2, 3


def set_mode_filter(code: bytes, flags: int = 0) -> int:
    """Have every later call of this thread, and of what it becomes and forks, go through *code*: no way back.

    *code* is an array of struct sock_filter. Return the listener's descriptor, closed by execve, with NEW_LISTENER;
    else 0.

    EACCES   neither CAP_SYS_ADMIN in this user namespace nor no_new_privs
    EBUSY    NEW_LISTENER, and an earlier filter has one already
    EINVAL   a flag that this kernel does not know, or no program
    ENOMEM   all filters of this thread together are over 32768 instructions, each counted as 4 more than it has
    """
    count, rest = divmod(len(code), 8)
    if rest or not 0 < count <= MOST_INSTRUCTIONS:
        raise ValueError(f"{len(code)} bytes are no program of 1 to {MOST_INSTRUCTIONS} instructions")
    if not 0 <= flags <= 0xFFFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    program = _Program(count, code)
    result = _seccomp(_SET_MODE_FILTER, int(flags), addressof(program))
    if result < 0:
        raise failure("seccomp", operation="SECCOMP_SET_MODE_FILTER", flags=SECCOMP_FILTER_FLAG(flags),
                      instructions=count)
    return result


def action_available(action: int) -> bool:
    """Say whether this kernel knows an action: Linux 4.14."""
    if not 0 <= action <= 0xFFFFFFFF:
        raise OverflowError(f"action {hex(action)} does not fit 32 bits")
    value = c_uint32(action)
    return _seccomp(_GET_ACTION_AVAIL, 0, addressof(value)) == 0  # EOPNOTSUPP: it does not


def notification_sizes() -> tuple[int, int, int]:
    """Return how large this kernel's seccomp_notif, seccomp_notif_resp and seccomp_data are: Linux 5.0."""
    sizes = _Sizes()
    if _seccomp(_GET_NOTIF_SIZES, 0, addressof(sizes)) < 0:
        raise failure("seccomp", operation="SECCOMP_GET_NOTIF_SIZES")
    return sizes.notif, sizes.resp, sizes.data


_ioctl = function("ioctl", c_int, c_ulong, c_void_p)
_ioctl_value = function("ioctl", c_int, c_ulong, c_ulong)
_ioctl_waiting = function("ioctl", c_int, c_ulong, c_void_p, waits=True)

_NOTIF_RECV, _NOTIF_SEND, _NOTIF_ID_VALID, _NOTIF_ADDFD, _NOTIF_SET_FLAGS = (
    0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104)
_U32, _U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def notification_receive(listener: int, size: int = 80) -> SeccompNotif:
    """Wait for a call and return it; *size* is what notification_sizes() said. poll(2) tells whether one is there.

    ENOENT   the process was killed meanwhile; or, before Linux 6.7 or so, a signal took the call away
    """
    buffer = create_string_buffer(max(size, sizeof(SeccompNotif)))
    while _ioctl_waiting(listener, _NOTIF_RECV, addressof(buffer)) < 0:
        if get_errno() != EINTR:
            raise failure("ioctl", request="SECCOMP_IOCTL_NOTIF_RECV", fd=listener)
        memset(addressof(buffer), 0, len(buffer))  # what is not zero is refused
    return SeccompNotif.from_buffer_copy(buffer)


def notification_send(listener: int, id: int, value: int = 0, error: int = 0, flags: int = 0) -> None:
    """Answer a call: it returns *value*, or -1 and *error*, a positive errno; or it runs, with CONTINUE and neither.

    EINPROGRESS   it has been answered already
    ENOENT        the call is gone
    """
    if not -(1 << 63) <= value < 1 << 63 or not 0 <= error <= 4095 or not 0 <= flags <= _U32 or not 0 <= id <= _U64:
        raise OverflowError(f"id {id}, value {value}, error {error} or flags {flags} out of range")
    response = _Response(id, value, -error, int(flags))
    if _ioctl(listener, _NOTIF_SEND, addressof(response)) < 0:
        raise failure("ioctl", request="SECCOMP_IOCTL_NOTIF_SEND", fd=listener, id=id, value=value, error=error,
                      flags=SECCOMP_USER_NOTIF_FLAG(flags))


def notification_valid(listener: int, id: int) -> bool:
    """Say whether the call still waits: only then was its process, and not a later one of its pid, looked at before."""
    value = c_uint64(id)
    if _ioctl(listener, _NOTIF_ID_VALID, addressof(value)) == 0:
        return True
    if get_errno() != ENOENT:
        raise failure("ioctl", request="SECCOMP_IOCTL_NOTIF_ID_VALID", fd=listener, id=id)
    return False


def notification_add_fd(listener: int, id: int, fd: int, *, at: int | None = None, cloexec: bool = False,
                        send: bool = False) -> int:
    """Give the caller a copy of *fd*, at a number of its own or the lowest free one; return that: Linux 5.9.

    *send* answers the call with it in the same moment: Linux 5.14.

    EMFILE   the caller has no number left
    ENOENT   the call is gone
    """
    if not 0 <= fd <= _U32 or not 0 <= (at or 0) <= _U32 or not 0 <= id <= _U64:
        raise OverflowError(f"id {id}, fd {fd} or at {at} out of range")
    flags = (0 if at is None else 0x1) | (0x2 if send else 0)
    request = _AddFd(id, flags, fd, at or 0, 0o2000000 if cloexec else 0)
    number = _ioctl_waiting(listener, _NOTIF_ADDFD, addressof(request))
    if number < 0:
        raise failure("ioctl", request="SECCOMP_IOCTL_NOTIF_ADDFD", fd=listener, id=id, srcfd=fd,
                      flags=SECCOMP_ADDFD_FLAG(flags))
    return number


def notification_set_flags(listener: int, *, sync_wake_up: bool) -> None:
    """Run the waiting and the answering thread on one CPU in turn: SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6."""
    if _ioctl_value(listener, _NOTIF_SET_FLAGS, 1 if sync_wake_up else 0) < 0:
        raise failure("ioctl", request="SECCOMP_IOCTL_NOTIF_SET_FLAGS", fd=listener)
