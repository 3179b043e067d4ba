"""Descriptors: close many, hold a file in memory, make a pipe, hand one to another process, wait for one.

Lesson  A descriptor is this process's number for an open file; SCM_RIGHTS gives another process a number for it too.
Read    close_range(2), memfd_create(2), fcntl(2), pipe(2), socketpair(2), sendmsg(2), recvmsg(2), unix(7), cmsg(3),
        poll(2)
Needs   no capability
"""
from __future__ import annotations

import os
from ctypes import (Structure, addressof, c_char, c_char_p, c_int, c_short, c_size_t, c_ssize_t, c_uint, c_ulong,
                    c_void_p, sizeof, string_at)
from errno import EAGAIN, EBADF, EINVAL, EMSGSIZE
from time import monotonic

from ..errors import SyscallError
from .flags import Enumeration, Flags
from .libc import EINTR, encoded, failure, function, get_errno, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["CLOSE_RANGE", "F_SEAL", "MFD", "SOCK", "add_seals", "close_range", "get_seals", "memfd_create", "pipe2",
           "poll", "receive_descriptors", "send_descriptors", "socketpair"]

_U32, _I31 = 0xFFFFFFFF, 0x7FFFFFFF


class CLOSE_RANGE(Flags):
    """The flags of close_range(2)."""

    UNSHARE = 2
    CLOEXEC = 4       # mark them, leave them open: Linux 5.11


_close_range = syscall("close_range", c_uint, c_uint, c_uint)


def close_range(first: int, last: int = _U32, flags: int = 0) -> None:
    """Close the descriptors from *first* to *last*, or with CLOSE_RANGE_CLOEXEC let execve do it: Linux 5.9.

    EINVAL   *last* is below *first*, or CLOSE_RANGE_CLOEXEC before Linux 5.11
    """
    if not (0 <= first <= _U32 and 0 <= last <= _U32 and 0 <= flags <= _U32):
        raise OverflowError(f"range {first} to {last} or flags {hex(flags)} out of range")
    if _close_range(first, last, flags) < 0:
        raise failure("close_range", first=first, last=last, flags=CLOSE_RANGE(flags))


class MFD(Flags):
    """The flags of memfd_create(2)."""

    CLOEXEC = 0x1
    ALLOW_SEALING = 0x2
    HUGETLB = 0x4
    NOEXEC_SEAL = 0x8     # Linux 6.3
    EXEC = 0x10           # Linux 6.3: say that it is to be executed, for vm.memfd_noexec may be set


class F_SEAL(Flags):
    """What can be forbidden for good to everybody who has the file."""

    SEAL = 0x1            # further seals
    SHRINK = 0x2
    GROW = 0x4
    WRITE = 0x8
    FUTURE_WRITE = 0x10   # writes, but not through mappings that exist
    EXEC = 0x20           # changes of the executable bits: Linux 6.3


_memfd_create = syscall("memfd_create", c_char_p, c_uint)
_fcntl = function("fcntl", c_int, c_int, c_int)

_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 0x1, 0x2, 0x10
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034


def memfd_create(name: str, flags: int = 0, *, allow_sealing: bool = False, executable: bool = False) -> int:
    """Return a file in memory that has no path and goes with its last descriptor; closed by execve.

    *executable* asks for MFD_EXEC; Linux before 6.3 does not know the flag, and lets any such file be executed.

    EACCES   *executable*, and vm.memfd_noexec is 2
    EINVAL   *name* is longer than 249 bytes, or an unknown flag
    """
    flags = int(flags) | _MFD_CLOEXEC | (_MFD_ALLOW_SEALING if allow_sealing else 0)
    if not 0 <= flags <= _U32:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    raw = encoded(name)
    if executable:
        fd = _memfd_create(raw, flags | _MFD_EXEC)
        if fd >= 0:
            return fd
        if get_errno() != EINVAL:
            raise failure("memfd_create", name=name, flags=MFD(flags | _MFD_EXEC))
    fd = _memfd_create(raw, flags)
    if fd < 0:
        raise failure("memfd_create", name=name, flags=MFD(flags))
    return fd


def add_seals(fd: int, seals: int) -> None:
    """Forbid more to everybody: F_ADD_SEALS.

    EBUSY    F_SEAL_WRITE, and it is mapped for writing
    EPERM    sealed against seals, opened for reading only, or made without allow_sealing
    """
    if not 0 <= seals <= _I31:
        raise OverflowError(f"seals {hex(seals)} do not fit 31 bits")
    if _fcntl(fd, _F_ADD_SEALS, seals) < 0:
        raise failure("fcntl", command="F_ADD_SEALS", fd=fd, seals=F_SEAL(seals))


def get_seals(fd: int) -> F_SEAL:
    """Return what is forbidden: F_GET_SEALS. EINVAL: not a file in memory."""
    seals = _fcntl(fd, _F_GET_SEALS, 0)
    if seals < 0:
        raise failure("fcntl", command="F_GET_SEALS", fd=fd)
    return F_SEAL(seals)


_pipe2 = function("pipe2", c_void_p, c_int)


def pipe2(flags: int = 0) -> tuple[int, int]:
    """Return the reading and the writing end of a new pipe, both closed by execve. EMFILE: RLIMIT_NOFILE."""
    if not 0 <= flags <= _I31:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    pair = (c_int * 2)()
    if _pipe2(addressof(pair), flags | os.O_CLOEXEC) < 0:
        raise failure("pipe2", flags=hex(flags))
    return pair[0], pair[1]


class SOCK(Enumeration):
    """What a socket carries."""

    STREAM = 1            # bytes, in order
    DGRAM = 2             # messages
    SEQPACKET = 5         # messages, in order, and an end


_socketpair = function("socketpair", c_int, c_int, c_int, c_void_p)

_AF_UNIX, _SOCK_CLOEXEC = 1, os.O_CLOEXEC


def socketpair(kind: int = SOCK.STREAM) -> tuple[int, int]:
    """Return two connected sockets of AF_UNIX, closed by execve."""
    if not 0 <= kind <= _I31:
        raise OverflowError(f"kind {kind} out of range")
    pair = (c_int * 2)()
    if _socketpair(_AF_UNIX, int(kind) | _SOCK_CLOEXEC, 0, addressof(pair)) < 0:
        raise failure("socketpair", kind=kind)
    return pair[0], pair[1]


class _Iovec(Structure):
    """struct iovec, to receive into."""

    _fields_ = [("base", c_void_p), ("len", c_size_t)]


class _Outgoing(Structure):
    """struct iovec, to send from: it keeps the bytes object alive."""

    _fields_ = [("base", c_char_p), ("len", c_size_t)]


class _Msghdr(Structure):
    """struct msghdr (56 bytes)."""

    _fields_ = [("name", c_void_p), ("namelen", c_uint), ("iov", c_void_p), ("iovlen", c_size_t),
                ("control", c_void_p), ("controllen", c_size_t), ("flags", c_int)]


class _Cmsghdr(Structure):
    """struct cmsghdr (16 bytes), before the descriptors."""

    _fields_ = [("len", c_size_t), ("level", c_int), ("type", c_int)]


# Each of these twice. What is there already, or fits, is done with before another thread could have had the GIL.
_sendmsg = function("sendmsg", c_int, c_void_p, c_int, restype=c_ssize_t)
_recvmsg = function("recvmsg", c_int, c_void_p, c_int, restype=c_ssize_t)
_sendmsg_waiting = function("sendmsg", c_int, c_void_p, c_int, restype=c_ssize_t, waits=True)
_recvmsg_waiting = function("recvmsg", c_int, c_void_p, c_int, restype=c_ssize_t, waits=True)

_HEAD = sizeof(_Cmsghdr)
_SOL_SOCKET, _SCM_RIGHTS = 1, 1
_MSG_CTRUNC, _MSG_TRUNC, _MSG_DONTWAIT, _MSG_WAITALL = 0x8, 0x20, 0x40, 0x100
_MSG_NOSIGNAL, _MSG_CMSG_CLOEXEC = 0x4000, 0x40000000
_ALIGNED = sizeof(c_ulong)
_MOST = 253  # SCM_MAX_FD
# Making a type of array costs more than a call, so these are made once.
_Control = c_char * (_HEAD + 4 * _MOST)  # CMSG_LEN, not CMSG_SPACE: not one descriptor more
_Descriptors = c_int * _MOST
_Byte = c_char * 1


def send_descriptors(fd: int, data: bytes, descriptors: Sequence[int] = ()) -> int:
    """Send *data*, and with its first byte *descriptors*; return how much of *data* was taken.

    The other side gets all descriptors or none; at most 253 go at once.

    EINVAL          more than 253
    EPIPE           the other side is gone; no SIGPIPE
    ETOOMANYREFS    more descriptors under way than RLIMIT_NOFILE, without CAP_SYS_RESOURCE
    """
    if descriptors and not data:
        raise ValueError("descriptors travel with a byte of data at least")
    iov = _Outgoing(data, len(data))
    message = _Msghdr(iov=addressof(iov), iovlen=1)
    if descriptors:
        if len(descriptors) > _MOST:
            raise SyscallError("sendmsg", EINVAL, fd=fd, descriptors=f"{len(descriptors)}, and {_MOST} at most")
        size = _HEAD + 4 * len(descriptors)
        control = _Control()
        header = _Cmsghdr.from_buffer(control)
        header.len, header.level, header.type = size, _SOL_SOCKET, _SCM_RIGHTS
        _Descriptors.from_buffer(control, _HEAD)[:len(descriptors)] = list(descriptors)
        message.control, message.controllen = addressof(control), size
    call, flags = _sendmsg, _MSG_NOSIGNAL | _MSG_DONTWAIT
    while (sent := call(fd, addressof(message), flags)) < 0:
        if get_errno() == EAGAIN and call is _sendmsg:
            call, flags = _sendmsg_waiting, _MSG_NOSIGNAL
        elif get_errno() != EINTR:
            raise failure("sendmsg", fd=fd, size=len(data), descriptors=list(descriptors) or None)
    return sent


def receive_descriptors(fd: int, size: int, max_descriptors: int = 253, *,
                        fill: bool = False) -> tuple[bytes, list[int]]:
    """Receive at most *size* bytes and the descriptors that came with them, closed by execve; no bytes at the end.

    To *fill* is to wait, if there is anything to wait for, until all of *size* is there or the stream ends.
    What does not fit is an error, and then what did fit is closed: half of a message is not a message.

    EAGAIN       non-blocking, and nothing is there
    ECONNRESET   the other side closed and left something unread
    EMSGSIZE     a packet longer than *size*; more descriptors than *max_descriptors*, or than RLIMIT_NOFILE
    """
    if not 0 < size <= _I31 or not 0 <= max_descriptors <= 253:
        raise OverflowError(f"size {size} or max_descriptors {max_descriptors} out of range")
    buffer = bytearray(size)
    iov = _Iovec(addressof(_Byte.from_buffer(buffer)), size)
    message = _Msghdr(iov=addressof(iov), iovlen=1)
    if max_descriptors:
        control = _Control()
        message.control, message.controllen = addressof(control), _HEAD + 4 * max_descriptors
    call, flags = _recvmsg, _MSG_CMSG_CLOEXEC | _MSG_DONTWAIT
    while (got := call(fd, addressof(message), flags)) < 0:
        if get_errno() == EAGAIN and call is _recvmsg:
            call, flags = _recvmsg_waiting, _MSG_CMSG_CLOEXEC | (_MSG_WAITALL if fill else 0)
        elif get_errno() != EINTR:
            raise failure("recvmsg", fd=fd, size=size)
    held = message.controllen
    received = _descriptors_in(string_at(message.control, held)) if held else []
    if message.flags & (_MSG_CTRUNC | _MSG_TRUNC):
        for descriptor in received:
            os.close(descriptor)
        lost = "descriptors: max_descriptors or RLIMIT_NOFILE" if message.flags & _MSG_CTRUNC else "the packet's end"
        raise SyscallError("recvmsg", EMSGSIZE, fd=fd, size=size, max_descriptors=max_descriptors, lost=lost)
    return bytes(buffer[:got]), received


def _descriptors_in(control: bytes) -> list[int]:
    found: list[int] = []
    at = 0
    while at + _HEAD <= len(control):
        header = _Cmsghdr.from_buffer_copy(control, at)
        if header.len < _HEAD:
            break
        if (header.level, header.type) == (_SOL_SOCKET, _SCM_RIGHTS):
            found += (c_int * ((header.len - _HEAD) // 4)).from_buffer_copy(control, at + _HEAD)
        at += header.len + -header.len % _ALIGNED
    return found


class _Pollfd(Structure):
    """struct pollfd."""

    _fields_ = [("fd", c_int), ("events", c_short), ("revents", c_short)]


_poll = function("poll", c_void_p, c_ulong, c_int)
_poll_waiting = function("poll", c_void_p, c_ulong, c_int, waits=True)

_POLLIN, _POLLNVAL = 0x1, 0x20
_POLLED = {count: _Pollfd * count for count in (1, 2, 3)}


def poll(fds: Iterable[int], timeout_ms: int = -1) -> list[int]:
    """Wait until a descriptor has something to read, an end or an error; return those, none after *timeout_ms*.

    A negative timeout never ends. A pidfd is ready once its process has ended.

    EBADF    one of them is not open
    """
    watched = [_Pollfd(fd, _POLLIN) for fd in fds]
    kind = _POLLED.get(len(watched)) or _Pollfd * len(watched)
    array = kind(*watched)
    end = monotonic() + timeout_ms / 1000 if timeout_ms > 0 else 0.0
    call, left = _poll, 0  # a look costs less than handing over the GIL
    while (ready := call(addressof(array), len(watched), left)) <= 0:
        if ready < 0 and get_errno() != EINTR:
            raise failure("poll", fds=[item.fd for item in array], timeout=timeout_ms)
        if timeout_ms == 0 or (call is _poll_waiting and ready == 0):
            return []
        call, left = _poll_waiting, timeout_ms
        if timeout_ms > 0:
            left = min(max(0, round((end - monotonic()) * 1000)), _I31)
    for item in array:
        if item.revents & _POLLNVAL:
            raise SyscallError("poll", EBADF, fd=item.fd)
    return [item.fd for item in array if item.revents]
