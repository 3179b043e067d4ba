"""Run a function in a forked child: for what cannot be undone, such as unshare, chroot and setuid."""
from __future__ import annotations

import json
import linecache
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ChildFailed", "run_in_child"]

try:
    raise LookupError("once, so that whatever formatting a traceback imports is imported before a root changes")
except LookupError:
    traceback.format_exc()


class ChildFailed(AssertionError):
    """The function raised in the child; the message holds the child's traceback. *type* is the exception's name."""

    def __init__(self, message: str, type: str) -> None:
        super().__init__(message)
        self.type = type


def run_in_child(function: Callable[..., Any], *arguments: Any, timeout: float = 20.0, **named: Any) -> Any:
    """Call *function* in a forked child and return its result, which must survive JSON.

    What it raises becomes ChildFailed, with the child's traceback; pytest.skip there skips here. A child that has not
    answered after *timeout* seconds is killed. Descriptors stay open in the child, the answer's own among them: a
    function that closes all of them forks once more.
    """
    name: str = getattr(function, "__name__", repr(function))
    if hasattr(function, "__code__"):
        linecache.getlines(function.__code__.co_filename)
    sys.stdout.flush()
    sys.stderr.flush()
    answer = os.memfd_create("answer")  # a pipe would end only with the last grandchild that inherited it
    pid = os.fork()
    if pid == 0:
        try:
            _answer(answer, function, arguments, named)
        finally:
            os._exit(99)
    with os.fdopen(answer, "rb") as file:
        status = _wait(pid, timeout, name)
        file.seek(0)
        raw = file.read()
    if status != 0 or not raw:
        raise ChildFailed(f"{name} {_ending(status)} before it returned", "Died")
    kind, *rest = json.loads(raw)
    if kind == "result":
        return rest[0]
    if kind == "skipped":
        pytest.skip(rest[0])
    raise ChildFailed(f"{rest[0]} in the child that ran {name}:\n{rest[1]}", rest[0])


def _answer(answer: int, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    linecache.checkcache = lambda *_: None  # after a change of root it would forget
    try:
        reply = json.dumps(["result", function(*arguments, **named)])
    except pytest.skip.Exception as skipped:
        reply = json.dumps(["skipped", str(skipped)])
    except BaseException as error:
        reply = json.dumps(["raised", type(error).__name__, traceback.format_exc()])
    sys.stdout.flush()
    sys.stderr.flush()
    raw = reply.encode()
    while raw:
        raw = raw[os.write(answer, raw):]
    os._exit(0)


def _wait(pid: int, timeout: float, name: str) -> int:
    """Wait for the child, no longer than *timeout*, and return its raw status."""
    pidfd = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + timeout
        if waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return os.waitpid(pid, 0)[1]
        where = _where(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except BaseException:  # pytest-timeout raises in here too
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it had been waited for already
        raise
    finally:
        os.close(pidfd)
    raise ChildFailed(f"{name} was still running in its child after {timeout:g} s, {where}", "Timeout")


def _where(pid: int) -> str:
    """Say what a process is doing, as well as /proc can tell."""
    try:
        state = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("State:"))
        call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        kernel = Path(f"/proc/{pid}/wchan").read_text() or "0"
    except OSError as error:
        return f"and /proc tells no more: {error.strerror}"
    return f"{state.split(None, 1)[1]}, system call {call}, in {kernel}"


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"left with exit code {os.WEXITSTATUS(status)}"
