"""What parent and child say to each other: length-prefixed JSON on a socket, descriptors beside it.

A frame is four bytes of length, then that much JSON; a length of zero brings descriptors only, for SCM_RIGHTS takes
253 of them at a time. JSON because both ends can print it and neither can be made to run code by it, as with pickle.

The caller owns one control socket to its zygote and makes one link, a socket pair, for each process it wants.

    on the control socket, caller to zygote
        {"flags", "join", "offsets", "oom", "cgroup", "early"}
                                    clone a process; the link's other end comes as a descriptor. An early one is made
                                    before anybody needs it
        {"pages": runs}             what such a one should copy of your memory while it waits: warm.py
    on the link, to the caller
        {"helper": pid}             a process that joins namespaces; it exits once it has cloned the real one
        {"pid": pid} + a pidfd      the real one; it is the caller's own child
        {"map": true}               I sit in a new user namespace: write my maps, then tell me what to be
        {"hook": kind, "index": n}  run this callable, and say when it is done
        {"listener": true} + it     the filter of system calls is on, and leaves some of them to you to answer
        {"exec": true}              all steps are done; when the link closes now, the program runs
        {"error": {...}}            a step failed: see describe()
    on the link, to the child
        {"kind", "config", …}       what to be, and the descriptors it is to have
        {"go": true}                the hook has run
"""
from __future__ import annotations

import errno
import os

from .errors import Frame, SyscallError, frames_of
from .strictjson import dumps, loads_trusted
from .sys.fds import receive_descriptors, send_descriptors
from .sys.files import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Message = dict[str, Any]

__all__ = ["NAME", "describe", "frames_from", "receive", "receive_rest", "send"]

NAME = "nscontainer-zyg"  # the comm of a zygote, and of its clones until they execute their program
_MOST_OF_A_REST = 1 << 16
MOST_DESCRIPTORS = 253  # SCM_MAX_FD


def send(link: int, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message, all of it; EPIPE when the other side is gone."""
    while len(descriptors) > MOST_DESCRIPTORS:
        send_descriptors(link, bytes(4), descriptors[:MOST_DESCRIPTORS])
        descriptors = descriptors[MOST_DESCRIPTORS:]
    body = dumps(message).encode("ascii")
    frame = len(body).to_bytes(4, "little") + body
    sent = send_descriptors(link, frame, descriptors)
    while sent < len(frame):
        sent += send_descriptors(link, frame[sent:])


def receive(link: int) -> tuple[Message | None, list[int]]:
    """Return the next message and its descriptors, or (None, []) when the other side has closed the link."""
    descriptors: list[int] = []
    size = 0
    try:
        while size == 0:
            head = _exactly(link, 4, descriptors)
            if not head:
                if descriptors:
                    raise SyscallError("recvmsg", errno.ECONNRESET)
                return None, []
            size = int.from_bytes(head, "little")
        body = _exactly(link, size, descriptors)
        if not body:
            raise SyscallError("recvmsg", errno.ECONNRESET)
        return loads_trusted(body.decode("ascii")), descriptors
    except BaseException:
        for fd in descriptors:
            close(fd)
        raise


def receive_rest(link: int) -> list[Message]:
    """Return all messages until the other side closes the link: one wait, where each would be one. No descriptors."""
    data = b""
    while more := receive_descriptors(link, _MOST_OF_A_REST, 0, fill=True)[0]:
        data += more
    messages = []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        if end > len(data):
            raise SyscallError("recvmsg", errno.ECONNRESET)
        messages.append(loads_trusted(data[4:end].decode("ascii")))
        data = data[end:]
    return messages


def _exactly(link: int, size: int, descriptors: list[int]) -> bytes:
    """Read *size* bytes; nothing at the end of the stream, ECONNRESET when it ends in between."""
    data, received = receive_descriptors(link, size)
    descriptors += received
    while 0 < len(data) < size:
        more, received = receive_descriptors(link, size - len(data))
        descriptors += received
        if not more:
            raise SyscallError("recvmsg", errno.ECONNRESET)
        data += more
    return data


def describe(error: BaseException, step: str) -> Message:
    """Put an exception into plain values: what SetupError is made of on the other side."""
    number = getattr(error, "errno", None)
    filename = getattr(error, "filename", None)
    return {
        "step": step,
        "kind": type(error).__name__,
        "call": getattr(error, "call", None),
        "errno": number if isinstance(number, int) else None,
        "filename": os.fsdecode(filename) if isinstance(filename, (str, bytes)) else None,
        "message": str(getattr(error, "message", "")) or f"{type(error).__name__}: {error}",
        "hint": getattr(error, "hint", None),
        "frames": [frame.to_json() for frame in frames_of(error.__traceback__)],
    }


def frames_from(values: list[list[Any]]) -> list[Frame]:
    """Return the child's frames that describe() sent."""
    return [Frame(*value) for value in values]
