"""Make the n-th call of a process fail: in the caller, in its zygote, or in what the zygote clones.

All of them share one page of memory: the test writes what is to fail, and the process in question writes that it has.
A process counts its own calls, from its birth or from the moment the page was written, whichever was later.

Loaded by the zygote too, an interpreter without site-packages: nothing dear is imported here.
"""
from __future__ import annotations

import mmap
import os
import sys
import time
from ctypes import Structure, c_char, c_int, get_errno, set_errno
from errno import EAGAIN, EINTR

from nscontainer.sys import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nscontainer.spawner import Zygote

__all__ = ["CALLER", "CHILD", "FURTHER", "OS_CALLS", "ZYGOTE", "Faults", "init_args", "serve"]

# Whose call: the numbers of the last two are how often the zygote's program was cloned to make the process. What joins
# namespaces on its way to become a container is cloned twice, and its helper is then the first clone.
ZYGOTE, CHILD, FURTHER, CALLER = 0, 1, 2, 3

# What the package calls as os.NAME, and what can fail.
OS_CALLS = ("chdir", "chmod", "close", "dup2", "fchdir", "fchown", "fstat", "getcwd", "listdir", "lseek", "lstat", "makedirs",
            "open", "pipe", "pipe2", "posix_spawn", "pread", "read", "readlink", "rmdir", "scandir", "sendfile", "stat", "write")

_BOOTSTRAP = "import sys; sys.path[:0] = sys.argv[1:3]; import faults; faults.serve(sys.argv[3])"
_LOG = 1 << 15


class _Page(Structure):
    """What the processes share; zeros mean that nothing is to fail."""

    _fields_ = [
        ("serial", c_int),              # another one for each plan: start to count
        ("who", c_int), ("nth", c_int), ("number", c_int),  # the process, its call, the errno
        ("times", c_int),               # in how many processes
        ("onwards", c_int),             # every call after that one too
        ("fired", c_int),               # in how many processes it has happened
        ("idle", c_int),                # the zygote waits for requests
        ("only", c_char * 32),          # count calls of that name alone
        ("name", c_char * 32),          # the call that failed first
        ("logged", c_int * 4), ("log", (c_char * _LOG) * 4),  # the names of the calls that were counted
    ]


class Faults:
    """One process's view of the page: what it is to do, how often it has called."""

    def __init__(self, path: str, who: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, 1 << 18)
        self._page = _Page.from_buffer(mmap.mmap(fd, 1 << 18))
        os.close(fd)
        self._who = who
        self._serial = self._count = 0
        self._struck = False
        self._os: dict[str, Any] = {}

    # --- the test's side

    def arm(self, zygote: Zygote, who: int, nth: int, number: int, *, times: int = 1, onwards: bool = False,
            only: str = "") -> None:
        """Make the *nth* call of *who* answer *number* in the next processes that come so far, *times* of them."""
        self._settle(zygote)
        page = self._page
        page.who, page.nth, page.number, page.times, page.onwards = who, nth, number, times, onwards
        page.only, page.name, page.fired = only.encode(), b"", 0
        page.logged[:] = [0] * 4
        page.serial += 1

    def disarm(self) -> str:
        """Let nothing fail any more; return the name of the call that did, "" when none was reached."""
        self._page.number = 0
        return str(self._page.name.decode()) if self._page.fired else ""

    def calls(self, who: int) -> list[str]:
        """Return the names of the calls that were counted since arm()."""
        return bytes(self._page.log[who])[:self._page.logged[who]].decode().split()

    def _settle(self, zygote: Zygote) -> None:
        """Wait until the zygote has nothing left to do for the start before."""
        deadline = time.monotonic() + 5
        while not self._page.idle and (process := zygote._process) is not None and process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError("the zygote does not come to rest")
            time.sleep(0.0002)

    # --- the side of the process whose calls are to fail

    def install(self) -> None:
        """Stand between the package and the kernel, from now on."""
        libc.intercept(self._wrap)
        for name in OS_CALLS:
            self._os[name] = getattr(os, name)
            setattr(os, name, self._wrap_os(name, self._os[name]))

    def remove(self) -> None:
        """Step aside."""
        libc.intercept(None)
        while self._os:
            setattr(os, *self._os.popitem())

    def _wrap(self, name: str, call: Callable[..., int]) -> Callable[..., int]:
        def faulty(*args: Any) -> int:
            number = self._strike(name)
            if number:
                if name == "close":
                    call(*args)  # Linux has let go of the descriptor, whatever it answers
                set_errno(number)
                return -1
            if name == "poll" and self._who == ZYGOTE:
                self._page.idle = args[2] < 0
            result = call(*args)
            if name == "poll" and self._who == ZYGOTE:
                self._page.idle = 0
            if name == "poll" and result == 0 or name == "recvmsg" and result < 0 and get_errno() == EAGAIN:
                self._forget(name)  # a look whether there is something to wait for: chance decides how many there are
            if name == "clone3" and result == 0:
                self._who, self._count, self._struck = self._who + 1, 0, False
            return result

        return faulty

    def _wrap_os(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any, **named: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith("nscontainer."):
                number = self._strike(f"os.{name}")
                if number and number != EINTR:  # which os retries by itself
                    if name == "close":
                        call(*args)
                    raise OSError(number, os.strerror(number), *[arg for arg in args[:1] if isinstance(arg, (str, bytes))])
            return call(*args, **named)

        return faulty

    def _strike(self, name: str) -> int:
        """Count one call; return the errno it is to fail with, or 0."""
        page = self._page
        if page.serial != self._serial:
            self._serial, self._count, self._struck = page.serial, 0, False
        if page.only and page.only != name.encode():
            return 0
        self._count += 1
        self._note(name)
        if page.who != self._who or not page.number or self._count < page.nth:
            return 0
        if self._struck:
            return int(page.number) if page.onwards else 0
        if self._count > page.nth or page.fired >= page.times:
            return 0
        self._struck = True
        page.name = page.name or name.encode()
        page.fired += 1
        return int(page.number)

    def _note(self, name: str) -> None:
        word, at = name.encode() + b" ", self._page.logged[self._who]
        if at + len(word) <= _LOG:
            self._page.log[self._who][at:at + len(word)] = word
            self._page.logged[self._who] = at + len(word)

    def _forget(self, name: str) -> None:
        self._count -= 1
        self._page.logged[self._who] -= len(name) + 1


def init_args(path: str) -> list[str]:
    """Return what a Factory is to start for a zygote whose calls fail by the page at *path*."""
    here = os.path.dirname(os.path.abspath(__file__))
    return [os.path.realpath(sys.executable), "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP, os.path.dirname(here), here,
            path, "nscontainer-zygote"]


def serve(path: str) -> None:
    """Be that zygote."""
    from nscontainer import Factory, zygote  # everything must be loaded before it can be intercepted

    assert zygote.main
    Faults(path, ZYGOTE).install()
    Factory("").start_initialization()
