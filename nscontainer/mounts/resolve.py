"""A path inside the root file system, opened so that no symlink leads out.

Lesson  Whoever checks a path and then uses it has looked it up twice. Opened once, below a descriptor, it is the thing.
Read    openat2(2), path_resolution(7), open(2) on O_PATH
Needs   nothing; RESOLVE_IN_ROOT is Linux 5.6, and where a filter forbids openat2 we walk ourselves

Every function takes the root's descriptor and a path of the container, and returns a descriptor (O_PATH, mostly) that
is the caller's to close. A symlink of the image means what it means inside: its ``/`` is the container's root, and
``..`` stays below it. The links of /proc/PID that lead to a file without a path (exe, cwd, fd/N) are refused.
CVE-2021-30465, CVE-2024-45310 and CVE-2026-41579 are what happened to those who did this with path names.
"""
from __future__ import annotations

import os
from errno import EEXIST, EINVAL, ELOOP, ENOENT, ENOSYS, ENOTDIR

from ..errors import SetupError, SyscallError
from ..sys.files import MAGIC, close, fcntl_dupfd, fstatfs, mkdirat, openat, readlinkat
from ..sys.openat2 import RESOLVE, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["DIRECTORY", "FILE", "destination", "existing", "made", "parent", "walk"]

DIRECTORY: Final = 0o040000   # S_IFDIR, S_IFREG: what to make when nothing is there
FILE: Final = 0o100000

MOST_LINKS: Final = 40        # MAXSYMLINKS, path_resolution(7)
_MOST_TRIES = 128             # how often somebody else may undo what we make
_S_IFMT, _S_IFLNK = 0o170000, 0o120000
_PROC = int(MAGIC.PROC)

_O_PATH = os.O_PATH
_FLAGS = {DIRECTORY: os.O_PATH | os.O_DIRECTORY, FILE: os.O_PATH}
_LOOK = os.O_PATH | os.O_NOFOLLOW
_NEW_FILE = os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_INSIDE = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_PLAIN = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS)


def existing(root_fd: int, path: str) -> int:
    """Open what *path* means inside. ENOENT: nothing, or a link to nothing."""
    try:
        return openat2(root_fd, path, _O_PATH, resolve=_INSIDE)
    except SyscallError as error:
        if error.errno != ENOSYS:
            raise
    return walk(root_fd, path)


def made(root_fd: int, path: str, kind: int = DIRECTORY, links: bool = True) -> int:
    """Open what *path* means inside, and make it when it is missing: folders 0755, an empty file 0644, less the umask.

    With *kind* DIRECTORY anything else there is ENOTDIR; with FILE it may be either. Without *links* a symlink
    anywhere on the way is ELOOP.
    """
    try:
        # The common case, in one call: it is there, and no symlink is in the way.
        return openat2(root_fd, path, _FLAGS[kind], resolve=_PLAIN)
    except SyscallError as error:
        if error.errno == ELOOP and links:
            pass
        elif error.errno not in (ENOENT, ENOSYS):
            raise
        else:
            return walk(root_fd, path, kind, links)
    try:
        return openat2(root_fd, path, _FLAGS[kind], resolve=_INSIDE)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
    return walk(root_fd, path, kind)


def destination(root_fd: int, path: str, kind: int = DIRECTORY, links: bool = True) -> int:
    """Open the place to mount something on, and make it when it is missing.

    It is not the root, however one may write or link that, and not inside a /proc unless *path* says so: what may
    be covered there validate.py knows, and a link of the image shall not get around it (CVE-2019-19921).
    """
    fd = made(root_fd, path, kind, links)
    here, root = os.fstat(fd), os.fstat(root_fd)
    if here.st_ino == root.st_ino and here.st_dev == root.st_dev:
        raise SetupError(f"{path!r} is the container's root itself", errno=EINVAL, filename=path,
                         hint="a mount there would hide the root file system: give that directory as rootfs")
    if fstatfs(fd).type == _PROC and path[:6] != "/proc/" and path != "/proc":
        raise SetupError(f"{path!r} leads into a proc file system", errno=ELOOP, filename=path,
                         hint="look for a symlink in the image that is on the way")
    return fd


def parent(root_fd: int, path: str) -> tuple[int, str]:
    """Open the folder that *path* is in, made when it is missing; return it with the last part of the path."""
    head, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise SetupError(f"{path!r} does not name a file", errno=EINVAL, filename=path)
    return made(root_fd, head or "/"), name


def walk(root_fd: int, path: str, kind: int = 0, links: bool = True) -> int:
    """Do what openat2 with RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS does, part by part, and make what is missing.

    *kind* 0 makes nothing. ``..`` goes back to the descriptor we came from, never to where the directory may have
    been moved meanwhile; so a rename can confuse the walk, but not lead it out.
    """
    if not path:
        raise _refused(path, ENOENT)
    trail = [root_fd]                # the directories from the root to here; a file only as the last
    names = path.split("/")[::-1]    # still to go, the next one last
    followed = tries = 0
    inside = True                    # is the last of trail a directory?
    try:
        while names:
            name = names.pop()
            if not inside:           # also for a/b/ and a/b/. where b is a file
                raise _refused(path, ENOTDIR)
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) > 1:
                    close(trail.pop())
                continue
            fd = _looked_up(trail[-1], name)
            if fd < 0:
                tries += 1
                if not kind or tries > _MOST_TRIES:
                    raise _refused(path, ENOENT)
                if kind == DIRECTORY or any(part not in ("", ".") for part in names):
                    _make_directory(trail[-1], name)
                    names.append(name)   # and look again: what is there now is what counts
                    continue
                fd = _new_file(trail[-1], name)
                if fd < 0:
                    names.append(name)
                    continue
            found = os.fstat(fd).st_mode & _S_IFMT
            if found != _S_IFLNK:
                trail.append(fd)
                inside = found == DIRECTORY
                continue
            try:
                followed += 1
                target = _target(fd)
                if not links or followed > MOST_LINKS or target is None:
                    raise _refused(path, ELOOP)
            finally:
                close(fd)
            if target[:1] == "/":
                while len(trail) > 1:
                    close(trail.pop())
            names += target.split("/")[::-1]
        if kind == DIRECTORY and not inside:
            raise _refused(path, ENOTDIR)
        return trail.pop() if len(trail) > 1 else fcntl_dupfd(root_fd)
    finally:
        for fd in trail[1:]:
            close(fd)


def _refused(path: str, number: int) -> SyscallError:
    return SyscallError("walk", number, path)


def _looked_up(folder: int, name: str) -> int:
    """Open one part, whatever it is; -1 when there is nothing."""
    try:
        return openat(folder, name, _LOOK)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
    return -1


def _make_directory(folder: int, name: str) -> None:
    try:
        mkdirat(folder, name, 0o755)
    except SyscallError as error:
        if error.errno != EEXIST:  # somebody else was quicker; the next look shows with what
            raise


def _new_file(folder: int, name: str) -> int:
    """Make an empty file, never through a link; -1 when something is there by now."""
    try:
        return openat(folder, name, _NEW_FILE, 0o644)
    except SyscallError as error:
        if error.errno != EEXIST:
            raise
    return -1


def _target(link: int) -> str | None:
    """Return where a symlink leads, or None for one of those in /proc that lead past all paths.

    Their text is what d_path makes of the file: absolute, or like ``pipe:[4711]``. The other links there are plain.
    """
    target = readlinkat(link, "")
    if (target[:1] in ("/", "(") or ":" in target) and fstatfs(link).type == _PROC:
        return None
    return target
