"""Processes: become another program, send a signal, forget what was to be done at one.

Lesson  execve keeps the process and replaces its program; ignored signals, the mask and open descriptors stay.
Read    execve(2), execveat(2), kill(2), getppid(2), sigaction(2), sigprocmask(2), signal(7)
Needs   to signal another user's process: CAP_KILL
"""
from __future__ import annotations

from ctypes import c_char_p, c_int, c_size_t, c_void_p, create_string_buffer

from .libc import encoded, failure, function, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["default_signals", "execve", "execveat", "getppid", "kill"]

_execve = function("execve", c_char_p, c_void_p, c_void_p)
_execveat = syscall("execveat", c_int, c_char_p, c_void_p, c_void_p, c_int)
_kill = function("kill", c_int, c_int)
_getppid = function("getppid")
_rt_sigaction = syscall("rt_sigaction", c_int, c_void_p, c_void_p, c_size_t)
_rt_sigprocmask = syscall("rt_sigprocmask", c_int, c_void_p, c_void_p, c_size_t)
_SIG_SETMASK, _SET_BYTES = 2, 8
_UNCHANGEABLE = (9, 19)  # SIGKILL, SIGSTOP


_Strings = c_char_p * 128  # made once: a type costs more than a call


def _strings(values: Sequence[str | bytes]) -> object:
    """Return an array of C strings that ends in NULL."""
    array = _Strings() if len(values) < 128 else (c_char_p * (len(values) + 1))()
    for index, value in enumerate(values):
        array[index] = encoded(value)
    return array


def execve(path: str | bytes, argv: Sequence[str | bytes], env: Sequence[str | bytes]) -> None:
    """Become the program at *path*; returns only by raising.

    E2BIG    arguments and environment take more than a quarter of the stack's limit, or one more than 128 KiB
    EACCES   not executable, or on a mount with noexec
    ENOENT   no such file, or none of the loader it names
    ENOEXEC  of another machine, or of no known format
    """
    _execve(encoded(path), _strings(argv), _strings(env))
    raise failure("execve", path)


def execveat(dirfd: int, path: str | bytes, argv: Sequence[str | bytes], env: Sequence[str | bytes],
             flags: int = 0) -> None:
    """Become the program at *path* below *dirfd*; with AT_EMPTY_PATH, the one that *dirfd* is.

    ENOENT   also: a script, through a descriptor that execve closes
    """
    if not 0 <= flags <= 0x7FFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    _execveat(dirfd, encoded(path), _strings(argv), _strings(env), flags)
    raise failure("execveat", path, dirfd=dirfd)


def kill(pid: int, signal: int) -> None:
    """Send *signal* to *pid*; to a group when it is negative.

    ESRCH    nobody there
    EPERM    another user's
    """
    if not 0 <= signal <= 64 or not -0x80000000 <= pid <= 0x7FFFFFFF:
        raise OverflowError(f"no such signal or process: {signal}, {pid}")
    if _kill(pid, signal) < 0:
        raise failure("kill", pid=pid, signal=signal)


def getppid() -> int:
    """Return the parent's pid, 0 when it is outside this pid namespace."""
    return _getppid()


def default_signals() -> None:
    """Give every signal its default action and unblock all.

    Python ignores SIGPIPE and SIGXFSZ and catches SIGINT; execve resets what is caught and keeps what is ignored.
    """
    # struct kernel_sigaction of zeros is SIG_DFL without flags; 64 bytes are more than any machine's.
    zeros = create_string_buffer(64)
    for number in range(1, 65):
        if number not in _UNCHANGEABLE and _rt_sigaction(number, zeros, None, _SET_BYTES) < 0:
            raise failure("rt_sigaction", signal=number)
    if _rt_sigprocmask(_SIG_SETMASK, zeros, None, _SET_BYTES) < 0:
        raise failure("rt_sigprocmask")
