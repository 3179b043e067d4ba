"""Control files and the directories they are in: read, write, make, remove, list.

Lesson  The interface of a cgroup is mkdir(2), rmdir(2), and a few words in small files.
Read    cgroups(7)
"""
from __future__ import annotations

import os
from errno import EACCES, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP, EPERM, EROFS, ESRCH
from time import monotonic, sleep

from ..errors import ContainerError, SyscallError
from ..sys.files import AT_FDCWD, AT_REMOVEDIR, close, mkdirat, openat, read_all, unlinkat, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["FORBIDDEN", "GONE", "get_pids", "make_directory", "read", "read_if_readable", "read_or_none", "remove_all",
           "until", "write", "write_lines"]

LARGEST = 64 << 20            # bytes; a list of four million processes has 30 MB
GONE = (ENOENT, ENODEV)       # the cgroup was removed: before the open, or while the file was open
FORBIDDEN = (EACCES, EPERM, EROFS)
PATIENCE = 2.0                # seconds for the kernel to let go of a cgroup whose processes have ended


def read(path: str) -> str:
    """Return what a control file says."""
    fd = openat(AT_FDCWD, path, os.O_RDONLY)
    try:
        return read_all(fd, LARGEST).decode("utf-8", "surrogateescape")
    except SyscallError as error:
        raise SyscallError("read", error.errno or 0, path) from None
    finally:
        close(fd)


def read_or_none(path: str) -> str | None:
    """Return what a control file says, None when there is none."""
    try:
        return read(path)
    except SyscallError as error:
        if error.errno in GONE:
            return None
        raise


def read_if_readable(path: str) -> str | None:
    """Return what a control file says, None when it is not there or only takes."""
    try:
        return read(path)
    except SyscallError as error:
        if error.errno in (*GONE, *FORBIDDEN, EINVAL, EOPNOTSUPP):
            return None
        raise


def write(path: str, content: str) -> None:
    """Tell a control file something, in one write(2)."""
    write_lines(path, (content,))


def write_lines(path: str, lines: Sequence[str]) -> None:
    """Tell a control file several things, each in one write(2)."""
    fd, line = -1, lines[0]
    try:
        fd = openat(AT_FDCWD, path, os.O_WRONLY)
        for line in lines:
            write_all(fd, line.encode())
    except SyscallError as error:  # whichever call it was: it is the text that did not get there
        raise SyscallError("write", error.errno or 0, path, text=line) from None
    finally:
        if fd >= 0:
            close(fd)


def make_directory(path: str) -> bool:
    """Make a directory and those above it; return False when it was there already."""
    try:
        mkdirat(AT_FDCWD, path, 0o755)
    except SyscallError as error:
        if error.errno == EEXIST:
            return False
        if error.errno != ENOENT:
            raise
        make_directory(os.path.dirname(path))
        return make_directory(path)
    return True


def _inside(directory: str) -> list[str]:
    """Return the cgroups below a cgroup, the deepest first."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found += [*_inside(entry.path), entry.path]
    except OSError as error:
        if error.errno not in GONE:
            raise SyscallError("getdents64", error.errno or 0, directory) from None
    return found


def get_pids(directory: str) -> list[int]:
    """Return the processes in a cgroup and in those below it; not those that our pid namespace has no number for."""
    found: set[int] = set()
    for path in (directory, *_inside(directory)):
        try:
            found.update(map(int, read(f"{path}/cgroup.procs").split()))
        except SyscallError as error:
            if error.errno == EOPNOTSUPP:  # a threaded cgroup: its processes are listed further up, among others
                found.update(_processes_of(path))
            elif error.errno not in GONE:
                raise
    return sorted(found - {0})


def _processes_of(directory: str) -> list[int]:
    """Return the processes whose threads a threaded cgroup has."""
    found = []
    for thread in (read_or_none(f"{directory}/cgroup.threads") or "").split():
        try:
            status = read_or_none(f"/proc/{thread}/status") or ""
        except SyscallError as error:
            if error.errno != ESRCH:  # it has ended while we looked
                raise
            continue
        found += [int(line[5:]) for line in status.split("\n") if line.startswith("Tgid:")]
    return found


def remove_all(directories: Iterable[str]) -> None:
    """Remove cgroups and those below them; that one is gone is fine. ContainerError for one that has processes."""
    deadline = monotonic() + PATIENCE
    for directory in directories:
        pause = 0.0005
        while not _removed(directory):
            for below in _inside(directory):
                _removed(below)
            if _removed(directory):
                break
            if monotonic() > deadline:
                pids = ", ".join(map(str, get_pids(directory)[:10])) or "of another pid namespace"
                raise ContainerError(f"cannot remove the cgroup {directory}: it has processes: {pids}",
                                     hint="kill them, or move them elsewhere")
            sleep(pause)
            pause = min(pause * 2, 0.05)


def _removed(directory: str) -> bool:
    try:
        unlinkat(AT_FDCWD, directory, AT_REMOVEDIR)
    except SyscallError as error:
        if error.errno in (EBUSY, ENOTEMPTY):
            return False
        if error.errno not in GONE:
            raise
    return True


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Ask *done* again and again, for so many seconds at most; return what it said last."""
    deadline, pause = monotonic() + seconds, 0.0001
    while not done():
        if monotonic() > deadline:
            return done()
        sleep(pause)
        pause = min(pause * 2, 0.01)
    return True
