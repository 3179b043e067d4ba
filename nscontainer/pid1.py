"""Signal the first process of a pid namespace as one would signal any other.

Lesson  The kernel shields process 1 of a pid namespace: without a handler of its own for a signal, it never gets it.
        From outside only SIGKILL and SIGSTOP always work.
Read    pid_namespaces(7), signal(7); SigBlk, SigIgn and SigCgt in proc_pid_status(5)

A program that knows nothing of containers has no handler for SIGTERM, and whoever sends one expects that to end it. So
we look whether it has, and where it has not, do what the kernel would have done to any other process.
"""
from __future__ import annotations

import time

from .sys.procfs import status
from .sys.syscall_numbers import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .process import Process

__all__ = ["send", "shielded"]

SIGKILL = 9
# What does not end a process by default: nothing at all, CHLD, CONT, URG, WINCH; and STOP, TSTP, TTIN, TTOU stop it.
_HARMLESS = frozenset({0, 17, 18, 19, 20, 21, 22, 23, 28})
_PATIENCE = 50  # milliseconds


def send(process: Process, number: int) -> bool:
    """Send a signal; say whether it had to be SIGKILL in its place. ESRCH after the process's end."""
    killing = number != SIGKILL and shielded(process.pid, number)
    process.signal(SIGKILL if killing else number)
    return killing


def shielded(pid: int, number: int) -> bool:
    """Say whether a signal that would end any other process does nothing to this one.

    A process that holds the signal back may do so for a moment, as a shell does while it forks, or because it fetches
    its signals itself: signalfd(2), sigwaitinfo(2). For the first we wait; what lasts longer is taken for the second.
    """
    if number in _HARMLESS:
        return False
    for _ in range(_PATIENCE):
        try:
            masks = status(pid)
            if _has(masks, number, "SigCgt") or _has(masks, number, "SigIgn"):
                return False
            if not _has(masks, number, "SigBlk"):
                return not _fetches_signals(pid)
        except (FileNotFoundError, ProcessLookupError):
            return False  # it has ended, and the signal itself will tell
        time.sleep(0.001)
    return False


def _has(masks: dict[str, str], number: int, name: str) -> bool:
    return bool(int(masks[name], 16) >> (number - 1) & 1)


def _fetches_signals(pid: int) -> bool:
    """Say whether the process sits in sigwaitinfo(2): what it waits for there does not show as held back."""
    try:
        with open(f"/proc/{pid}/syscall", "rb", buffering=0) as file:
            return file.read(32).split()[:1] == [b"%d" % NUMBERS.get("rt_sigtimedwait", -1)]
    except PermissionError:
        return False  # a setuid program's, or ptrace(2) is forbidden altogether
