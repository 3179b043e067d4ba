"""Signal the first process of a pid namespace as one would signal any other.

Lesson  The kernel shields process 1 of a pid namespace: without a handler of its own for a signal, it never gets it.
        From outside only SIGKILL and SIGSTOP always work.
Read    pid_namespaces(7), signal(7); SigBlk, SigIgn and SigCgt in proc_pid_status(5)

A program that knows nothing of containers has no handler for SIGTERM, and whoever sends one expects that to end it. So
we look whether it has, and where it has not, do what the kernel would have done to any other process.
"""
from __future__ import annotations

from .sys.procfs import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .process import Process

__all__ = ["send", "shielded"]

SIGKILL = 9
# What does not end a process by default: nothing at all, CHLD, CONT, URG, WINCH; and STOP, TSTP, TTIN, TTOU stop it.
_HARMLESS = frozenset({0, 17, 18, 19, 20, 21, 22, 23, 28})


def send(process: Process, number: int) -> bool:
    """Send a signal; say whether it had to be SIGKILL in its place. ESRCH after the process's end."""
    killing = number != SIGKILL and shielded(process, number)
    process.signal(SIGKILL if killing else number)
    return killing


def shielded(process: Process, number: int) -> bool:
    """Say whether a signal that would end any other process does nothing to this one."""
    if number in _HARMLESS:
        return False
    try:
        masks = status(process.pid)
    except FileNotFoundError:
        return False  # it has ended, and the signal itself will tell
    return not any(int(masks[name], 16) >> (number - 1) & 1 for name in ("SigCgt", "SigIgn", "SigBlk"))
