"""What a command has to say when something goes wrong: a line for people, and one for the engine's log."""
from __future__ import annotations

import os
import time

from .strictjson import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["log", "say"]

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC | os.O_CLOEXEC | os.O_NOCTTY


def say(text: str, fd: int = 1) -> None:
    """Write to a descriptor: print() would have Python complain once more, at its end, of a pipe that nobody reads."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(fd, data):]


def log(options: dict[str, Any], level: str, message: str, *, plain: str = "") -> None:
    """Write one line to --log in the format asked for; *plain*, if given, to standard error as well.

    Without --log a plain line is all there is, unless JSON is asked for.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if options.get("log-format") == "json":
        line = dumps({"level": level, "msg": message, "time": stamp})
    else:
        line = f"time={dumps(stamp)} level={level} msg={dumps(message)}"
    path = options.get("log")
    try:
        if path:
            fd = os.open(path, _APPEND, 0o644)
            try:
                say(line + "\n", fd)
            finally:
                os.close(fd)
        elif options.get("log-format") == "json":
            plain = line
        if plain:
            say(plain + "\n", 2)
    except OSError:
        pass  # standard error is closed, or its reader is gone, or there is no log: the exit code remains
