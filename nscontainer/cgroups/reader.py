"""Control files that are read again and again: opened once, and then read by descriptor.

Lesson  To open a file of a cgroup costs as much as to read it; pread(2) at 0 makes the kernel say it anew.
Read    pread(2), getrlimit(2) on RLIMIT_NOFILE
"""
from __future__ import annotations

import os
from errno import EMFILE, ENFILE, ENODEV, ENOENT, EOPNOTSUPP

from ..errors import SyscallError
from ..sys.resource import RLIMIT, prlimit

__all__ = ["Reader", "Snapshot"]

_BLOCK = 1 << 14     # bytes; a longer file is read in several steps
_held = [0]          # descriptors of all readers of this process


class Reader:
    """The control files of one directory: ``read("memory.stat")`` is what it says, None when there is no such file.

    That there is no such file is remembered until forget() is called. No more than half of the descriptors that this
    process may have are held by readers; what goes beyond is opened anew each time.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.controllers = ""          # what cgroup.controllers said last
        self.known = False             # whether all files that matter have been read once
        self._fds: dict[str, int] = {}
        self._unheld: set[str] = set()
        self._absent: set[str] = set()

    def __call__(self, name: str) -> str | None:
        try:
            fd = self._fds.get(name)
            if fd is not None:
                data = os.pread(fd, _BLOCK, 0)
                return (data if len(data) < _BLOCK else _rest(fd, data)).decode("utf-8", "surrogateescape")
            return None if name in self._absent else self._first(name)
        except OSError as error:
            # Gone: it was removed. EOPNOTSUPP: a file of pressure, on a kernel that was told not to count.
            if error.errno in (ENOENT, ENODEV, EOPNOTSUPP):
                return None
            raise SyscallError("read", error.errno or 0, f"{self.directory}/{name}") from None

    def snapshot(self) -> Snapshot:
        """Read all files that were ever there when asked for, and return what they say now."""
        texts: dict[str, bytes] = {}
        pread = os.pread
        for name, fd in self._fds.items():
            try:
                data = pread(fd, _BLOCK, 0)
                texts[name] = data if len(data) < _BLOCK else _rest(fd, data)
            except OSError as error:
                if error.errno not in (ENODEV, EOPNOTSUPP):
                    raise SyscallError("read", error.errno or 0, f"{self.directory}/{name}") from None
        for name in self._unheld:
            if (content := self(name)) is not None:
                texts[name] = content.encode("utf-8", "surrogateescape")
        return Snapshot(self.directory, texts)

    def need(self, name: str) -> str:
        """Return what a file says that must be there."""
        content = self(name)
        if content is None:
            raise SyscallError("openat", ENOENT, f"{self.directory}/{name}")
        return content

    def _first(self, name: str) -> str:
        """Open a file, read it, and keep it open as long as there are descriptors to spare."""
        try:
            fd = os.open(f"{self.directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == ENOENT:
                self._absent.add(name)
            elif error.errno in (EMFILE, ENFILE):
                self.close()
            raise
        try:
            content = _rest(fd, b"").decode("utf-8", "surrogateescape")
            if _held[0] < prlimit(0, RLIMIT.NOFILE)[0] // 2:
                self._fds[name], fd = fd, -1
                self._unheld.discard(name)
                _held[0] += 1
            else:
                self._unheld.add(name)
            return content
        finally:
            if fd >= 0:
                os.close(fd)

    def forget(self) -> None:
        """Look again for the files that were not there: a cgroup of version 2 may have got a controller."""
        self._absent.clear()

    def close(self) -> None:
        """Close what is open; a later read opens it again."""
        fds, self._fds = self._fds, {}
        self._unheld.update(fds)
        for fd in fds.values():
            _held[0] -= 1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Snapshot:
    """What the control files of one directory said at one moment."""

    def __init__(self, directory: str, texts: dict[str, bytes]) -> None:
        self.directory, self._texts = directory, texts

    def __call__(self, name: str) -> str | None:
        """Return what a file said, None when there was none."""
        data = self._texts.get(name)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def need(self, name: str) -> str:
        """Return what a file said that must be there."""
        content = self(name)
        if content is None:
            raise SyscallError("openat", ENOENT, f"{self.directory}/{name}")
        return content


def _rest(fd: int, data: bytes) -> bytes:
    while more := os.pread(fd, _BLOCK, len(data)):
        data += more
        if len(more) < _BLOCK:
            break  # the kernel says each of these files in one piece
    return data
