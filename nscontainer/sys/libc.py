"""The one door to the kernel: declare a C function, call it, turn its errno into a SyscallError.

Lesson  A system call is a number and up to six registers; libc gives most of them a name and keeps the errno.
Read    syscall(2), errno(3), the ctypes documentation

A declaration is a global of the module that wraps it, so that what a module asks of the kernel is read off its top::

    _unshare = function("unshare", c_int)
    _pidfd_open = syscall("pidfd_open", c_int, c_uint)

and :func:`intercept` can put something in between, in every module at once. When nothing is in between, nothing is
paid: the global is the C function itself.

A call holds the GIL unless it says ``waits=True``. Most calls return sooner than a busy thread would hand the GIL
back; a call that may wait for another process must let the others run.
"""
from __future__ import annotations

import ctypes
import os
import sys
from _functools import partial  # functools imports collections: more milliseconds than ctypes itself
from ctypes import c_int, c_long, get_errno
from errno import EINTR

from ..errors import KernelTooOld, SyscallError
from .syscall_numbers import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Call = Callable[..., int]

__all__ = ["EINTR", "encoded", "failure", "function", "get_errno", "intercept", "require_kernel", "syscall"]

OLDEST = (5, 10)
_quick = ctypes.PyDLL(None, use_errno=True)
_waiting = ctypes.CDLL(None, use_errno=True)
_declared: list[tuple[dict[str, Any], str, Call]] = []
_originals: list[tuple[dict[str, Any], str, Call]] = []


def function(name: str, *argtypes: Any, restype: Any = c_int, waits: bool = False) -> Call:
    """Declare a function of libc that returns -1 and sets errno when it fails."""
    call = (_waiting if waits else _quick)[name]  # indexing makes a new object; an attribute would share argtypes
    call.argtypes, call.restype = argtypes, restype
    _declared.append((sys._getframe(1).f_globals, name, call))
    return call


def syscall(name: str, *argtypes: Any, waits: bool = False) -> Call:
    """Declare a call that libc has no name for; it answers -1 and ENOSYS where it has no number."""
    call = (_waiting if waits else _quick)["syscall"]
    call.argtypes, call.restype = (c_long, *argtypes), c_long
    numbered: Call = partial(call, NUMBERS.get(name, -1))
    _declared.append((sys._getframe(1).f_globals, name, numbered))
    return numbered


def failure(call: str, path: object = None, **details: object) -> SyscallError:
    """Return the error for a call that has just answered -1: ``if _mount(...) < 0: raise failure("mount", target)``."""
    return SyscallError(call, get_errno(), path, **details)


def encoded(text: str | bytes | os.PathLike[str] | None) -> bytes | None:
    """Return *text* as C wants it; None stays NULL. C would cut it at a NUL byte, so that is refused."""
    if text is None:
        return None
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise ValueError(f"{text!r} holds a NUL byte")
    return raw


def intercept(wrap: Callable[[str, Call], Call] | None) -> None:
    """Put ``wrap(name, call)`` in the place of every declared call, from now on; None takes it away again.

    This is how calls are traced, counted and made to fail. The wrapped call has the C function's arguments, returns
    its result, and sets errno with ``ctypes.set_errno`` when that is -1. Modules imported later are not reached.
    """
    while _originals:
        namespace, attribute, call = _originals.pop()
        namespace[attribute] = call
    if wrap is None:
        return
    for namespace, name, call in _declared:
        for attribute, value in list(namespace.items()):
            if value is call:
                _originals.append((namespace, attribute, call))
                namespace[attribute] = wrap(name, call)


def require_kernel() -> None:
    """Refuse a kernel below Linux 5.10, where close_range, openat2 and the new mount calls are not all there."""
    release = os.uname().release
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    if not (major + minor).isdecimal() or (int(major), int(minor)) < OLDEST:
        raise KernelTooOld(f"nscontainer needs Linux 5.10 or later, and this is {release}")
