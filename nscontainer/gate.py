"""The gate: where the first process of a container waits for the word to become its program.

Lesson  A process can be made by one program and started by another, if it waits on something that outlives the first:
        a socket that listens, whose descriptor is the process's own, and whose name is in the state directory.
Read    unix(7), accept(2); the OCI runtime specification, runtime.md, "Create" and "Start"

A fifo would do the same for other runtimes, and has to be opened by the container's process, from a root of which it
is no part. A socket is only accepted from; and once that is done it is a link like any other (sync.py), by which errors
of the last steps come back, descriptors too.
"""
from __future__ import annotations

import os
from errno import ECONNREFUSED, ECONNRESET, ENOENT, EPIPE
from fcntl import LOCK_EX, flock

from . import sync
from .errors import SetupError, SyscallError
from .sys.files import AT_FDCWD, close, exists, openat, unlinkat
from .sys.unix import connect, listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .sync import Message

__all__ = ["hear_out", "is_shut", "knock", "listener", "make"]

NAME = "start.sock"


def make(directory: str) -> int:
    """Make the gate of the container whose state is in *directory*, and return what its process is to wait on."""
    folder = openat(AT_FDCWD, directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return listen(f"/proc/self/fd/{folder}/{NAME}")  # a socket's path has 107 bytes at most
    finally:
        close(folder)


def is_shut(directory: str) -> bool:
    """Say whether the container, if it lives, has not been started."""
    return exists(f"{directory}/{NAME}")


def knock(directory: str) -> int | None:
    """Say go to the process that waits, and return the link to it; None when nobody waits any more.

    Of several who knock, one is let in.
    """
    folder = openat(AT_FDCWD, directory, os.O_RDONLY | os.O_DIRECTORY)
    link = -1
    try:
        flock(folder, LOCK_EX)  # the process takes the first who comes, and ends when that one says nothing
        link = connect(f"/proc/self/fd/{folder}/{NAME}")
        unlinkat(folder, NAME)  # before the word: at every moment, what the name says is true
        sync.send(link, {"go": True})
        return link
    except SyscallError as error:
        if link >= 0:
            close(link)
        if error.errno not in (ECONNREFUSED, ECONNRESET, ENOENT, EPIPE):
            raise
        return None
    finally:
        close(folder)


def listener(link: int) -> int:
    """Return the descriptor on which the program's system calls will ask; it is the caller's now."""
    message, received = sync.receive(link)
    if message is not None and "error" in message:
        raise sync.failure_of(message["error"])
    if message is None or not received:
        raise _ended()
    return received[0]


def hear_out(link: int) -> None:
    """Wait until the program runs; raise what was in its way."""
    messages: list[Message] = []
    try:
        messages = sync.receive_rest(link)
    except SyscallError as error:
        if error.errno != ECONNRESET:
            raise
    for message in messages:
        if "error" in message:
            raise sync.failure_of(message["error"])
    if not any("exec" in message for message in messages):
        raise _ended()


def _ended() -> SetupError:
    return SetupError("the container's process ended before its program ran")
