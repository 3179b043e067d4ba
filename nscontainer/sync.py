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
        {"terminal": path} + it     the master of the container's own terminal
        {"waits": true}             I stand before my gate; after your go this link ends, and the next is a connection
                                    to the gate: its caller says go, and hears what follows here
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

from .errors import Frame, ProgramNotExecutable, ProgramNotFound, SetupError, SyscallError, frames_of
from .strictjson import dumps, loads_trusted
from .sys.fds import receive_descriptors, send_descriptors
from .sys.files import close_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Message = dict[str, Any]

__all__ = ["NAME", "Half", "describe", "failure_of", "frames_from", "receive", "receive_rest", "send"]

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


class Half:
    """As much of a message as has arrived: bytes, and descriptors."""

    def __init__(self) -> None:
        self.data = b""
        self.descriptors: list[int] = []

    def drop(self) -> None:
        """Forget it; nobody reads on."""
        descriptors, self.data, self.descriptors = self.descriptors, b"", []
        close_all(descriptors)


def receive(link: int, half: Half | None = None) -> tuple[Message | None, list[int]]:
    """Return the next message and its descriptors, or (None, []) when the other side has closed the link.

    When a call fails, or a signal's handler raises, what has arrived is dropped; or it stays in *half*, and a further
    call reads on from there.
    """
    got = Half() if half is None else half
    try:
        while True:
            if not _fill(link, 4, got):
                return None, []
            size = int.from_bytes(got.data[:4], "little")
            if size:
                break
            got.data = b""
        _fill(link, 4 + size, got)
        message, descriptors = loads_trusted(got.data[4:].decode("ascii")), got.descriptors
        got.data, got.descriptors = b"", []
        return message, descriptors
    except BaseException:
        if half is None:
            got.drop()
        raise


def receive_rest(link: int) -> list[Message]:
    """Return all messages until the other side closes the link: one wait, where each would be one. No descriptors."""
    data = b""
    try:
        while more := receive_descriptors(link, _MOST_OF_A_REST, 0, fill=True)[0]:
            data += more
    except SyscallError as error:
        if error.errno != errno.ECONNRESET:  # it has ended without having read all that we sent: what it said counts
            raise
    messages = []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        if end > len(data):
            raise SyscallError("recvmsg", errno.ECONNRESET)
        messages.append(loads_trusted(data[4:end].decode("ascii")))
        data = data[end:]
    return messages


def _fill(link: int, size: int, got: Half) -> bool:
    """Read until there are *size* bytes; False when the stream ends before a message, ECONNRESET when in one."""
    while len(got.data) < size:
        data, received = receive_descriptors(link, size - len(got.data))
        got.data += data
        got.descriptors += received
        if not data:
            if got.data or got.descriptors:
                raise SyscallError("recvmsg", errno.ECONNRESET)
            return False
    return True


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


def failure_of(report: Message) -> SetupError:
    """Make the error that a child's report stands for."""
    kinds = {"ProgramNotFound": ProgramNotFound, "ProgramNotExecutable": ProgramNotExecutable}
    kind = kinds.get(report["kind"], SetupError)
    message = report["message"] if kind is not SetupError else f"{report['step']}: {report['message']}"
    return kind(message, step=report["step"], call=report["call"], errno=report["errno"], filename=report["filename"],
                hint=report["hint"], frames=frames_from(report["frames"]))
