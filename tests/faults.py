"""Make one kernel call fail: of the caller, of its zygote, or of what the zygote clones.

All of them share a page of memory. The test writes into it which call is to fail, by its name and as the how manieth
of that name; each process writes into it what it calls and where, and that it has failed.

The zygote loads this too, an interpreter without site-packages: nothing dear is imported here.
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

__all__ = ["CALLER", "CHILD", "DEATH", "FURTHER", "ZYGOTE", "Call", "Faults", "init_args", "serve"]

# Whose call. CHILD and FURTHER have been cloned once and twice from the zygote's program: where namespaces are joined,
# the first clone is the helper and the second becomes the container's process.
ZYGOTE, CHILD, FURTHER, CALLER = 0, 1, 2, 3
DEATH = -1  # in the place of an errno: SIGKILL, before the call

# What the package calls as os.NAME and can fail; os retries by itself after EINTR.
_OS_CALLS = ("chdir", "chmod", "close", "dup2", "fchdir", "fchown", "fdopen", "fstat", "getcwd", "kill", "killpg",
             "listdir", "lseek", "lstat", "makedirs", "open", "pipe", "posix_spawn", "pread", "read", "readlink",
             "rmdir", "scandir", "sendfile", "stat", "waitpid", "write")
_BOOTSTRAP = "import sys; sys.path[:0] = sys.argv[1:3]; import faults; faults.serve(sys.argv[3])"
_PACKAGE, _SYS = "nscontainer.", "nscontainer.sys."
_WHOLE = ("spawner.prepare", "spawner.learn", "spawner.dismiss")  # where it is all the same which call it is
_LOGS, _LOG, _SIZE = 32, 1 << 15, 1 << 21


class _Page(Structure):
    """What the processes share; zeros mean that nothing is to fail."""

    _fields_ = [
        ("serial", c_int),                                  # another one for each plan: begin to count
        ("who", c_int), ("name", c_char * 32), ("nth", c_int), ("number", c_int),
        ("onwards", c_int),                                 # and every later one of that name, in every process
        ("within", c_char * 64),                            # the function it is made in
        ("fired", c_int), ("where", c_char * 64),           # how often it has failed, and in which function first
        ("idle", c_int),                                    # the zygote waits for requests
        # What each process calls; the first two logs are the zygote's and the caller's, the others the clones' in turn.
        ("clones", c_int), ("whose", c_int * _LOGS), ("logged", c_int * _LOGS), ("log", (c_char * _LOG) * _LOGS),
    ]


class Call:
    """One call that a process makes: its name, the how manieth of that name it is, and the function it is made in."""

    def __init__(self, who: int, name: str, nth: int, where: str) -> None:
        self.who, self.name, self.nth, self.where = who, name, nth, where

    def __repr__(self) -> str:
        return f"{('zygote', 'child', 'further', 'caller')[self.who]}: {self.name} #{self.nth} in {self.where}"


class Faults:
    """One process's view of the page."""

    def __init__(self, path: str, who: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, _SIZE)
        self._page = _Page.from_buffer(mmap.mmap(fd, _SIZE))
        os.close(fd)
        self._who, self._slot = who, 0 if who == ZYGOTE else 1
        self._serial = 0
        self._counts: dict[str, int] = {}
        self._os: dict[str, Any] = {}

    # --- the test's side

    def arm(self, call: Call | None = None, number: int = 0, *, onwards: bool = False) -> None:
        """Begin to count anew, and let *call* answer *number*; with *onwards*, also all of that name that follow it."""
        page = self._page
        page.number = 0
        page.fired, page.where, page.onwards, page.logged[:] = 0, b"", onwards, [0] * _LOGS
        if call is not None:
            page.who, page.name, page.nth, page.number = call.who, call.name.encode(), call.nth, number
            page.within = call.where.encode()
        page.serial += 1

    def disarm(self) -> str | None:
        """Let nothing fail any more; return in which function it has, None when the call was not made."""
        self._page.number = 0
        return str(self._page.where.decode()) if self._page.fired else None

    def calls(self, who: int) -> list[Call]:
        """Return the calls of *who* that were counted since arm()."""
        found = {}
        for slot in range(_LOGS):
            if self._page.whose[slot] == who:
                for entry in bytes(self._page.log[slot])[:self._page.logged[slot]].decode().split():
                    name, nth, where = entry.split("|")
                    found[entry] = Call(who, name, int(nth), where)
        return list(found.values())

    def settle(self, zygote: Zygote) -> None:
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
        for name in _OS_CALLS:
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
            if name == "clone3":
                self._page.clones += 1
            result = call(*args)
            if name == "poll" and self._who == ZYGOTE:
                self._page.idle = 0
            if name == "poll" and result == 0 or name == "recvmsg" and result < 0 and get_errno() == EAGAIN:
                self._counts[name] -= 1  # a look whether there is something to wait for: how many is up to chance
            if name == "clone3" and result == 0:
                self._who, self._slot = self._who + 1, 2 + self._page.clones % (_LOGS - 2)
                self._counts = {}
            return result

        return faulty

    def _wrap_os(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        known = f"os.{name}"

        def faulty(*args: Any, **named: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith(_PACKAGE):
                number = self._strike(known)
                if number and number != EINTR:
                    if name == "close":
                        call(*args)
                    path = [arg for arg in args[:1] if isinstance(arg, (str, bytes))]
                    raise OSError(number, os.strerror(number), *path)
            return call(*args, **named)

        return faulty

    def _strike(self, name: str) -> int:
        """Count one call; return the errno it is to fail with, or 0."""
        page = self._page
        if page.serial != self._serial:
            self._serial, self._counts = page.serial, {}
        count = self._counts[name] = self._counts.get(name, 0) + 1
        where = _where()
        entry, at = f"{name}|{count}|{where} ".encode(), page.logged[self._slot]
        page.whose[self._slot] = self._who
        if at + len(entry) <= _LOG:
            page.log[self._slot][at:at + len(entry)] = entry
            page.logged[self._slot] = at + len(entry)
        number = int(page.number)
        if not number or page.name != name.encode():
            return 0
        again = page.onwards and page.fired
        if not again and (page.fired or (page.who, page.nth, page.within) != (self._who, count, where.encode())):
            return 0
        page.fired += 1
        page.where = page.where or where.encode()
        if number == DEATH:
            os.kill(os.getpid(), 9)
        return number


def _where() -> str:
    """Name the function of the package, above sys, that makes the call; or the one of _WHOLE that it is part of."""
    frame: Any = sys._getframe(2)
    nearest = ""
    while frame is not None:
        module = frame.f_globals["__name__"]
        if module.startswith(_PACKAGE) and not module.startswith(_SYS):
            name = f"{module[len(_PACKAGE):]}.{frame.f_code.co_name}"
            if name in _WHOLE:
                return name
            nearest = nearest or name
        frame = frame.f_back
    return nearest or "?"


def init_args(path: str) -> list[str]:
    """Return what a Factory is to start for a zygote whose calls fail by the page at *path*."""
    here = os.path.dirname(os.path.abspath(__file__))
    return [os.path.realpath(sys.executable), "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP,
            os.path.dirname(here), here, path, "nscontainer-zygote"]


def serve(path: str) -> None:
    """Be that zygote."""
    from nscontainer import Factory, zygote  # noqa: F401  everything must be loaded before it can be intercepted

    Faults(path, ZYGOTE).install()
    Factory("").start_initialization()
