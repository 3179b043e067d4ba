"""Netlink: messages to a part of the kernel, and its answers.

Lesson  A netlink message is a header, a fixed part, and attributes: length, type, value, padded to four bytes; the
        value of some is attributes again. A socket speaks for the network namespace it was opened in, for ever.
Read    netlink(7), the kernel's userspace-api/netlink/intro.rst, include/uapi/linux/netlink.h
Needs   no capability to ask; to change something, CAP_NET_ADMIN in the user namespace that owns the network namespace
"""
from __future__ import annotations

import os
import sys
from ctypes import (Structure, addressof, c_int, c_size_t, c_ssize_t, c_uint, c_uint32, c_ushort, c_void_p,
                    create_string_buffer, sizeof, string_at)
from errno import EAGAIN, EBADMSG, EMSGSIZE, ENOBUFS
from struct import Struct

from ..errors import SyscallError
from .files import close
from .flags import Flags
from .libc import EINTR, encoded, failure, function, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

__all__ = ["NLM_F", "Netlink", "attribute", "attributes", "nested", "string", "unsigned", "words"]


class NLM_F(Flags):
    """The flags of a message."""

    REQUEST = 0x1
    MULTI = 0x2            # one of several, the last of which is NLMSG_DONE
    ACK = 0x4
    ECHO = 0x8
    DUMP_INTR = 0x10       # the table changed while it was read
    DUMP = 0x300           # all entries
    REPLACE = 0x100        # of what is there already
    EXCL = 0x200           # EEXIST when it is there already
    CREATE = 0x400
    APPEND = 0x800


class _Address(Structure):
    """struct sockaddr_nl."""

    _fields_ = [("family", c_ushort), ("pad", c_ushort), ("pid", c_uint32), ("groups", c_uint32)]


_socket = function("socket", c_int, c_int, c_int)
_setsockopt = function("setsockopt", c_int, c_int, c_int, c_void_p, c_uint)
# These wait: for the lock of all interfaces, which somebody may hold while a namespace with many of them goes away.
_sendto = function("sendto", c_int, c_void_p, c_size_t, c_int, c_void_p, c_uint, restype=c_ssize_t, waits=True)
_recvfrom = function("recvfrom", c_int, c_void_p, c_size_t, c_int, c_void_p, c_void_p, restype=c_ssize_t, waits=True)

_AF_NETLINK, _SOCK_RAW, _SOL_NETLINK, _MSG_TRUNC = 16, 3, 270, 0x20
_CAP_ACK, _EXT_ACK, _STRICT_CHK = 10, 11, 12  # all since Linux 4.20: the refused message is not sent back; words are
_NOOP, _ERROR, _DONE, _OVERRUN = 1, 2, 3, 4
_CAPPED, _ACK_TLVS = 0x100, 0x200
_MSG, _MISS_TYPE = 1, 5                       # NLMSGERR_ATTR_*
_REQUEST, _ACK, _DUMP, _DUMP_INTR = 0x1, 0x4, 0x300, 0x10
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_HEADER, _ATTRIBUTE, _INT = Struct("=IHHII"), Struct("=HH"), Struct("=i")
_HEAD = _HEADER.size
_ORDER: Literal["little", "big"] = sys.byteorder
_SIZE = 1 << 15  # the kernel fills no more than this in one go, however large the buffer: af_netlink.c
_MOST = 0xFFFF   # an attribute's length has 16 bits
_TRIES = 10      # at a dump of a table that keeps changing


# --- attributes

def attribute(kind: int, value: bytes = b"") -> bytes:
    """Return one attribute; an empty value is a flag's."""
    size = 4 + len(value)
    if not 0 <= kind <= _TYPE_MASK or size > _MOST:
        raise OverflowError(f"attribute {kind} of {len(value)} bytes out of range")
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def unsigned(kind: int, value: int, bits: int = 32) -> bytes:
    """Return an attribute that is a number of 8, 16, 32 or 64 bits, in this machine's order."""
    if not 0 <= value < 1 << bits:
        raise OverflowError(f"attribute {kind}: {value} does not fit {bits} bits")
    return attribute(kind, value.to_bytes(bits // 8, _ORDER))


def string(kind: int, value: str) -> bytes:
    """Return an attribute that is text, with the NUL that ends it."""
    return attribute(kind, (encoded(value) or b"") + b"\0")


def nested(kind: int, *inside: bytes) -> bytes:
    """Return an attribute that holds others."""
    value = b"".join(inside)
    if not 0 <= kind <= _TYPE_MASK or len(value) + 4 > _MOST:
        raise OverflowError(f"attribute {kind} of {len(value)} bytes out of range")
    return _ATTRIBUTE.pack(len(value) + 4, kind | _NESTED) + value


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in *data* by their type; EBADMSG when they do not fit into it."""
    found: dict[int, bytes] = {}
    at, end = 0, len(data)
    while end - at >= 4:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not 4 <= size <= end - at:
            raise SyscallError("recvfrom", EBADMSG, attribute=kind & _TYPE_MASK, length=size, left=end - at)
        found[kind & _TYPE_MASK] = data[at + 4:at + size]
        at += size + -size % 4
    return found


def words(value: bytes) -> str:
    """Return the text of an attribute without the NUL that ends it."""
    return os.fsdecode(value.rstrip(b"\0"))




# --- messages

class Netlink:
    """A socket to one part of the kernel, in the network namespace of the thread that opens it. For one thread.

    EPROTONOSUPPORT   this kernel is built without that part
    """

    def __init__(self, protocol: int = 0) -> None:
        self._fd = -1
        self._sequence = 0
        if not 0 <= protocol < 32:
            raise ValueError(f"{protocol} is no netlink protocol")
        fd = _socket(_AF_NETLINK, _SOCK_RAW | os.O_CLOEXEC, protocol)
        if fd < 0:
            raise failure("socket", family="AF_NETLINK", protocol=protocol)
        self._fd = fd
        self._buffer = create_string_buffer(_SIZE)
        self._from, self._from_size = _Address(), c_uint()
        try:
            on = c_int(1)
            for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHK):
                if _setsockopt(fd, _SOL_NETLINK, option, addressof(on), sizeof(on)) < 0:
                    raise failure("setsockopt", level="SOL_NETLINK", option=option)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close(fd)

    __del__ = close

    def change(self, name: str, kind: int, flags: int, body: bytes, path: object = None, /, **details: object) -> None:
        """Send a message and wait until the kernel has done it; *name*, *path* and *details* are for the error."""
        for _ in self._messages(name, path, details, self._send(kind, flags | _ACK, body)):
            pass  # NLM_F_ECHO would bring some

    def get(self, name: str, kind: int, body: bytes, path: object = None, /, **details: object) -> bytes:
        """Ask for one thing, and return the body of the answer."""
        # With an ack, so that nothing is left in the socket, whatever the answer was.
        answers = [body for _, body in
                   self._messages(name, path, details, self._send(kind, _ACK, body))]
        if len(answers) != 1:
            raise SyscallError(name, EBADMSG, path, **details, message=f"{len(answers)} answers to one question")
        return answers[0]

    def dump(self, name: str, kind: int, body: bytes, path: object = None, /, **details: object) -> list[bytes]:
        """Ask for all entries of a table, and return the bodies.

        EAGAIN   the table was changed whenever it was read
        """
        for _ in range(_TRIES):
            whole, found = True, []
            for flags, entry in self._messages(name, path, details, self._send(kind, _DUMP, body)):
                whole = whole and not flags & _DUMP_INTR
                found.append(entry)
            if whole and not self._interrupted:
                return found
        raise SyscallError(name, EAGAIN, path, **details, message=f"the table changed during each of {_TRIES} looks")

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        """Send one message; return the number that its answers bear."""
        if not 0 <= kind <= 0xFFFF or not 0 <= flags <= 0xFFFF:
            raise OverflowError(f"message type {kind} or flags {hex(flags)} do not fit 16 bits")
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        message = _HEADER.pack(_HEAD + len(body), kind, flags | _REQUEST, self._sequence, 0) + body
        buffer = create_string_buffer(message, len(message))
        kernel = _Address(_AF_NETLINK)
        while _sendto(self._fd, addressof(buffer), len(message), 0, addressof(kernel), sizeof(kernel)) < 0:
            if get_errno() != EINTR:
                raise failure("sendto", family="AF_NETLINK", type=kind, size=len(message))
        return self._sequence

    def _messages(self, name: str, path: object, details: dict[str, Any], sequence: int) -> Iterator[tuple[int, bytes]]:
        """Yield flags and body of each message that answers *sequence*, to the last; its error is raised."""
        self._interrupted = False
        while True:
            data = self._receive()
            at = 0
            while len(data) - at >= _HEAD:
                size, kind, flags, answered, _ = _HEADER.unpack_from(data, at)
                if not _HEAD <= size <= len(data) - at:
                    raise SyscallError("recvfrom", EBADMSG, length=size, left=len(data) - at)
                body = data[at + _HEAD:at + size]
                at += size + -size % 4
                if answered != sequence or kind == _NOOP:
                    continue  # to a question whose asker lost interest
                if kind == _OVERRUN:
                    raise SyscallError(name, ENOBUFS, path, **details)
                if kind in (_ERROR, _DONE):
                    self._interrupted = bool(flags & _DUMP_INTR)
                    _raise_refusal(name, path, details, kind, flags, body)
                    return
                yield flags, body

    def _receive(self) -> bytes:
        """Return what the kernel sent; what somebody else sent is dropped."""
        while True:
            self._from_size.value = sizeof(self._from)
            got = _recvfrom(self._fd, addressof(self._buffer), _SIZE, _MSG_TRUNC, addressof(self._from),
                            addressof(self._from_size))
            if got < 0:
                if get_errno() != EINTR:
                    raise failure("recvfrom", family="AF_NETLINK")
                continue
            if self._from.pid != 0:
                continue
            if got > _SIZE:
                raise SyscallError("recvfrom", EMSGSIZE, family="AF_NETLINK", size=got)
            return string_at(addressof(self._buffer), got)


def _raise_refusal(name: str, path: object, details: dict[str, Any], kind: int, flags: int, body: bytes) -> None:
    """Raise the error that NLMSG_ERROR or NLMSG_DONE tells of, with the kernel's words; zero is no error."""
    if len(body) < _INT.size:
        raise SyscallError("recvfrom", EBADMSG, message="an acknowledgement without its error number")
    number = -_INT.unpack_from(body)[0]
    if number <= 0:  # what is positive in NLMSG_DONE is a length
        return
    said: dict[int, bytes] = {}
    if flags & _ACK_TLVS:
        at = _INT.size
        if kind == _ERROR:  # the header of what was refused and, unless it was left out, all of it
            length = _HEADER.unpack_from(body, at)[0] if len(body) >= at + _HEAD else _HEAD
            at += _HEAD if flags & _CAPPED else length + -length % 4
        said = attributes(body[at:])
    message = words(said[_MSG]) if _MSG in said else None
    if message is None and _MISS_TYPE in said:
        message = f"attribute {int.from_bytes(said[_MISS_TYPE], _ORDER)} is missing"
    raise SyscallError(name, number, path, **details, message=message)
