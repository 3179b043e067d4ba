"""Files below a directory that is held by a descriptor.

Lesson  A path is looked up anew at each use, and may mean something else by then; a descriptor stays what it is.
Read    openat(2), mkdirat(2), mknodat(2), symlinkat(2), linkat(2), unlinkat(2), renameat2(2), readlinkat(2),
        fchmodat(2), fchownat(2), fstatfs(2), dup3(2), fcntl(2), read(2), write(2), chroot(2)
Needs   CAP_MKNOD for devices, in the initial user namespace; CAP_CHOWN, CAP_FOWNER, CAP_SYS_CHROOT

A path that is absolute, and a ``..`` or a symlink in one that is not, leads out of the directory: openat2.py does not.
"""
from __future__ import annotations

import os
from ctypes import (Structure, addressof, c_char_p, c_int, c_long, c_size_t, c_ssize_t, c_uint, c_ulong, c_void_p,
                    create_string_buffer, string_at)
from errno import EACCES, EFBIG, ENOENT, ENOTDIR

from ..errors import SyscallError
from .flags import Enumeration, Flags
from .libc import EINTR, encoded, failure, function, get_errno, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AT", "AT_EMPTY_PATH", "AT_FDCWD", "AT_RECURSIVE", "AT_REMOVEDIR", "AT_SYMLINK_NOFOLLOW", "MAGIC", "RENAME", "ST",
    "Statfs", "chdir", "chroot", "close", "close_all", "dup3", "exists", "fchdir", "fchmod", "fchmodat", "fchmodat2",
    "fchownat",
    "fcntl_dupfd", "fcntl_getfd", "fcntl_getfl", "fcntl_setfd", "fcntl_setfl", "fstat", "fstatfs", "getcwd", "linkat",
    "listdir", "mkdirat", "mknodat", "openat", "read", "read_all", "readlinkat", "renameat2", "stat", "symlinkat",
    "umask", "unlinkat", "write", "write_all",
]


class AT(Flags):
    """How a call of this family understands its path."""

    SYMLINK_NOFOLLOW = 0x100
    REMOVEDIR = 0x200         # unlinkat: the same bit as AT_EACCESS
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000       # the path is "": the descriptor itself is meant
    RECURSIVE = 0x8000        # open_tree, mount_setattr


AT_FDCWD = -100               # in place of a descriptor: the working directory
# Plain integers: combining these costs nothing, and most of the child's calls carry one.
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_EMPTY_PATH, AT_RECURSIVE = 0x100, 0x200, 0x1000, 0x8000

_O_CLOEXEC = os.O_CLOEXEC
_U32, _MODES, _I31 = 0xFFFFFFFF, 0o7777, 0x7FFFFFFF

_openat = function("openat", c_int, c_char_p, c_int, c_uint)
_openat_waiting = function("openat", c_int, c_char_p, c_int, c_uint, waits=True)  # a FIFO waits for its other end
_NEVER_WAITS = os.O_NONBLOCK | os.O_PATH | os.O_DIRECTORY
_close = function("close", c_int)
_dup3 = function("dup3", c_int, c_int, c_int)


def openat(dirfd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open *path* below *dirfd*; the descriptor is closed by execve, always.

    ELOOP    O_NOFOLLOW, and it is a symlink
    EMFILE   RLIMIT_NOFILE;  ENFILE the whole system
    ENXIO    O_NONBLOCK|O_WRONLY, and nobody reads the FIFO; a device without a driver
    """
    if not 0 <= flags <= _I31 or not 0 <= mode <= _MODES:
        raise OverflowError(f"flags {hex(flags)} or mode {oct(mode)} out of range")
    name = encoded(path)
    call = _openat if flags & _NEVER_WAITS else _openat_waiting
    while (fd := call(dirfd, name, flags | _O_CLOEXEC, mode)) < 0:
        if get_errno() != EINTR:
            raise failure("openat", path, dirfd=dirfd, flags=hex(flags))
    return fd


def close(fd: int) -> None:
    """Close *fd*. Never call it again after an error: Linux has let go of the number by then, even after EINTR.

    EBADF    not open: somebody closed a number that may be another's by now
    """
    if _close(fd) < 0 and get_errno() != EINTR:
        raise failure("close", fd=fd)


def close_all(fds: Iterable[int]) -> None:
    """Close each of *fds*; the first error is raised once all of them are closed."""
    failed = None
    for fd in fds:
        try:
            close(fd)
        except SyscallError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def dup3(old: int, new: int, flags: int = 0) -> None:
    """Make *new* what *old* is, in one step; *flags* is O_CLOEXEC or nothing.

    EBADF    *old* is not open, or *new* is beyond RLIMIT_NOFILE
    EINVAL   they are the same
    """
    while _dup3(old, new, flags) < 0:
        if get_errno() != EINTR:
            raise failure("dup3", old=old, new=new)


_mkdirat = function("mkdirat", c_int, c_char_p, c_uint)
_mknodat = syscall("mknodat", c_int, c_char_p, c_uint, c_uint)  # a macro in glibc before 2.33
_symlinkat = function("symlinkat", c_char_p, c_int, c_char_p)
_linkat = function("linkat", c_int, c_char_p, c_int, c_char_p, c_int)
_unlinkat = function("unlinkat", c_int, c_char_p, c_int)
_faccessat = function("faccessat", c_int, c_char_p, c_int, c_int)
_renameat2 = syscall("renameat2", c_int, c_char_p, c_int, c_char_p, c_uint)
_readlinkat = function("readlinkat", c_int, c_char_p, c_void_p, c_size_t, restype=c_ssize_t)


def mkdirat(dirfd: int, path: str | bytes, mode: int = 0o777) -> None:
    """Make a directory. The umask is subtracted from *mode*, and set-id bits are ignored."""
    if not 0 <= mode <= _MODES:
        raise OverflowError(f"mode {oct(mode)} out of range")
    if _mkdirat(dirfd, encoded(path), mode) < 0:
        raise failure("mkdirat", path, dirfd=dirfd, mode=oct(mode))


def mknodat(dirfd: int, path: str | bytes, mode: int, device: int = 0) -> None:
    """Make a file of the type in *mode* (S_IFREG, S_IFIFO, S_IFCHR …); *device* is what os.makedev returns.

    EEXIST   something is there, a dangling symlink included: a symlink is never followed
    EPERM    no CAP_MKNOD outside of every user namespace (0:0 is free: Linux 4.18), or a device cgroup forbids it
    """
    if not 0 <= mode <= 0o177777 or not 0 <= device <= _U32:
        raise OverflowError(f"mode {oct(mode)} or device {hex(device)} out of range")
    if _mknodat(dirfd, encoded(path), mode, device) < 0:
        raise failure("mknodat", path, dirfd=dirfd, mode=oct(mode), device=f"{os.major(device)}:{os.minor(device)}")


def symlinkat(target: str | bytes, dirfd: int, path: str | bytes) -> None:
    """Make *path* a symlink to *target*; EEXIST when anything is there."""
    if _symlinkat(encoded(target), dirfd, encoded(path)) < 0:
        raise failure("symlinkat", path, dirfd=dirfd, target=target)


def linkat(from_fd: int, from_path: str | bytes, to_fd: int, to_path: str | bytes, flags: int = 0) -> None:
    """Give a file another name. EXDEV: not on the same mount."""
    if not 0 <= flags <= _I31:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    if _linkat(from_fd, encoded(from_path), to_fd, encoded(to_path), flags) < 0:
        raise failure("linkat", to_path, source=from_path, flags=AT(flags))


def unlinkat(dirfd: int, path: str | bytes, flags: int = 0) -> None:
    """Remove a name, or with AT_REMOVEDIR an empty directory.

    EBUSY    something is mounted there in this namespace
    EISDIR   a directory, without AT_REMOVEDIR
    """
    if not 0 <= flags <= _I31:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    if _unlinkat(dirfd, encoded(path), flags) < 0:
        raise failure("unlinkat", path, dirfd=dirfd, flags=AT(flags))


def exists(path: str) -> bool:
    """Say whether something is there that we may look at: os.path.exists, which would hand over the GIL meanwhile."""
    if _faccessat(AT_FDCWD, encoded(path), 0, 0) == 0:
        return True
    if get_errno() not in (ENOENT, ENOTDIR, EACCES):
        raise failure("faccessat", path)
    return False


class RENAME(Flags):
    """The flags of renameat2(2)."""

    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


def renameat2(from_fd: int, from_path: str | bytes, to_fd: int, to_path: str | bytes, flags: int = 0) -> None:
    """Give a file another name in place of its old one. EINVAL: the file system does not know *flags*."""
    if not 0 <= flags <= _U32:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    if _renameat2(from_fd, encoded(from_path), to_fd, encoded(to_path), flags) < 0:
        raise failure("renameat2", to_path, source=from_path, flags=RENAME(flags))


def readlinkat(dirfd: int, path: str | bytes) -> str:
    """Return what a symlink holds; with an empty *path*, the one that *dirfd* (O_PATH|O_NOFOLLOW) is.

    EINVAL   not a symlink;  ENOENT an empty path, and the descriptor is not a symlink
    """
    buffer = create_string_buffer(4096)  # PATH_MAX: no file system stores a longer one
    size = _readlinkat(dirfd, encoded(path), addressof(buffer), 4096)
    if size < 0:
        raise failure("readlinkat", path, dirfd=dirfd)
    return os.fsdecode(string_at(addressof(buffer), size))


_fchmod = function("fchmod", c_int, c_uint)
_fchmodat = function("fchmodat", c_int, c_char_p, c_uint, c_int)
_fchmodat2 = syscall("fchmodat2", c_int, c_char_p, c_uint, c_uint)
_fchownat = function("fchownat", c_int, c_char_p, c_uint, c_uint, c_int)


def fchmod(fd: int, mode: int) -> None:
    """Set the permissions of an open file. EBADF: opened with O_PATH."""
    if not 0 <= mode <= _MODES:
        raise OverflowError(f"mode {oct(mode)} out of range")
    if _fchmod(fd, mode) < 0:
        raise failure("fchmod", fd=fd, mode=oct(mode))


def fchmodat(dirfd: int, path: str | bytes, mode: int) -> None:
    """Set the permissions of *path*, through a symlink if it is one."""
    if not 0 <= mode <= _MODES:
        raise OverflowError(f"mode {oct(mode)} out of range")
    if _fchmodat(dirfd, encoded(path), mode, 0) < 0:
        raise failure("fchmodat", path, dirfd=dirfd, mode=oct(mode))


def fchmodat2(dirfd: int, path: str | bytes, mode: int, flags: int = 0) -> None:
    """Set the permissions of *path*; with AT_EMPTY_PATH those of an O_PATH descriptor: Linux 6.6, ENOSYS before."""
    if not 0 <= mode <= _MODES or not 0 <= flags <= _U32:
        raise OverflowError(f"mode {oct(mode)} or flags {hex(flags)} out of range")
    if _fchmodat2(dirfd, encoded(path), mode, flags) < 0:
        raise failure("fchmodat2", path, dirfd=dirfd, mode=oct(mode), flags=AT(flags))


def fchownat(dirfd: int, path: str | bytes, uid: int, gid: int, flags: int = 0) -> None:
    """Set owner and group; -1 leaves one as it is. With AT_EMPTY_PATH, of the descriptor, O_PATH or not.

    EINVAL   an id without a mapping in the user namespace
    EPERM    no CAP_CHOWN over the file's ids
    """
    if not (-1 <= uid < _U32 and -1 <= gid < _U32 and 0 <= flags <= _I31):
        raise OverflowError(f"uid {uid}, gid {gid} or flags {hex(flags)} out of range")
    if _fchownat(dirfd, encoded(path), uid & _U32, gid & _U32, flags) < 0:
        raise failure("fchownat", path, dirfd=dirfd, uid=uid, gid=gid, flags=AT(flags))


def fstat(fd: int) -> os.stat_result:
    """Return what stat(2) says about *fd*, O_PATH or not."""
    try:
        return os.fstat(fd)
    except OSError as error:
        raise SyscallError("fstat", error.errno or 0, fd=fd) from None


def stat(path: str) -> os.stat_result:
    """Return what stat(2) says about *path*, or about what it leads to."""
    try:
        return os.stat(path)
    except OSError as error:
        raise SyscallError("stat", error.errno or 0, path) from None


def listdir(path: str) -> list[str]:
    """Return the names in a directory, in no order: getdents64(2)."""
    try:
        return os.listdir(path)
    except OSError as error:
        raise SyscallError("listdir", error.errno or 0, path) from None


class MAGIC(Enumeration):
    """What kind of file system a file is on; <linux/magic.h> has PROC_SUPER_MAGIC and so on."""

    PROC = 0x9FA0
    SYSFS = 0x62656572
    TMPFS = 0x01021994
    RAMFS = 0x858458F6
    DEVPTS = 0x1CD1
    MQUEUE = 0x19800202
    CGROUP = 0x27E0EB
    CGROUP2 = 0x63677270
    NSFS = 0x6E736673
    PIDFS = 0x50494446
    OVERLAYFS = 0x794C7630
    SECURITYFS = 0x73636673
    SELINUX = 0xF97CFF8C
    DEBUGFS = 0x64626720
    TRACEFS = 0x74726163
    BPF = 0xCAFE4A11
    HUGETLBFS = 0x958458F6
    FUSE = 0x65735546
    NFS = 0x6969
    EXT4 = 0xEF53             # ext2 and ext3 too
    XFS = 0x58465342
    BTRFS = 0x9123683E


class ST(Flags):
    """The flags of a mount as fstatfs(2) shows them."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 0x10
    MANDLOCK = 0x40
    NOATIME = 0x400
    NODIRATIME = 0x800
    RELATIME = 0x1000
    NOSYMFOLLOW = 0x2000


_word = c_uint if os.uname().machine == "s390x" else c_long


class _Statfs(Structure):
    """struct statfs."""

    _fields_ = [("type", _word), ("bsize", _word), ("blocks", c_ulong), ("bfree", c_ulong), ("bavail", c_ulong),
                ("files", c_ulong), ("ffree", c_ulong), ("fsid", c_int * 2), ("namelen", _word), ("frsize", _word),
                ("flags", _word), ("spare", c_long * 8)]


class Statfs:
    """What fstatfs(2) says: *type* is one of MAGIC or a number, *flags* are ST of the mount, sizes are in bytes."""

    __slots__ = ("available", "flags", "free", "free_inodes", "inodes", "size", "type")

    def __init__(self, type: int, flags: int, size: int, free: int, available: int, inodes: int,
                 free_inodes: int) -> None:
        self.type, self.flags, self.size, self.free, self.available = type, flags, size, free, available
        self.inodes, self.free_inodes = inodes, free_inodes


_fstatfs = function("fstatfs", c_int, c_void_p, waits=True)

_ST_VALID = 0x20  # the kernel's own sign that it filled in the flags


def fstatfs(fd: int) -> Statfs:
    """Say which file system *fd* is on and how that is mounted: the way to know a real /proc from a look-alike."""
    raw = _Statfs()
    while _fstatfs(fd, addressof(raw)) < 0:
        if get_errno() != EINTR:
            raise failure("fstatfs", fd=fd)
    return Statfs(raw.type & _U32, raw.flags & ~_ST_VALID, raw.blocks * raw.bsize, raw.bfree * raw.bsize,
                  raw.bavail * raw.bsize, raw.files, raw.ffree)


_read = function("read", c_int, c_void_p, c_size_t, restype=c_ssize_t, waits=True)
_write = function("write", c_int, c_char_p, c_size_t, restype=c_ssize_t, waits=True)


def read(fd: int, size: int) -> bytes:
    """Read at most *size* bytes; none at the end."""
    if not 0 <= size <= _I31:
        raise OverflowError(f"size {size} out of range")
    buffer = create_string_buffer(size)
    while (got := _read(fd, addressof(buffer), size)) < 0:
        if get_errno() != EINTR:
            raise failure("read", fd=fd, size=size)
    return string_at(addressof(buffer), got)


def read_all(fd: int, limit: int) -> bytes:
    """Read to the end; EFBIG when there are more than *limit* bytes, for nobody asked for a part."""
    data = b""
    while chunk := read(fd, min(limit + 1 - len(data), 65536)):
        data += chunk
        if len(data) > limit:
            raise SyscallError("read", EFBIG, fd=fd, limit=limit)
    return data


def write(fd: int, data: bytes) -> int:
    """Write once; return how many bytes were taken. EPIPE also raises SIGPIPE, which Python ignores."""
    while (put := _write(fd, data, len(data))) < 0:
        if get_errno() != EINTR:
            raise failure("write", fd=fd, size=len(data))
    return put


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*, in one call where the file takes it so: control files need that."""
    put = write(fd, data)
    while put < len(data):
        data = data[put:]
        put = write(fd, data)


_fcntl = function("fcntl", c_int, c_int, c_long)

_F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 1, 2, 3, 4, 1030
_FD_CLOEXEC = 1


def fcntl_dupfd(fd: int, minimum: int = 0) -> int:
    """Return a duplicate that is the lowest free number from *minimum* on, closed by execve: F_DUPFD_CLOEXEC."""
    new = _fcntl(fd, _F_DUPFD_CLOEXEC, minimum)
    if new < 0:
        raise failure("fcntl", command="F_DUPFD_CLOEXEC", fd=fd, minimum=minimum)
    return new


def fcntl_getfd(fd: int) -> bool:
    """Say whether execve closes *fd*: F_GETFD."""
    flags = _fcntl(fd, _F_GETFD, 0)
    if flags < 0:
        raise failure("fcntl", command="F_GETFD", fd=fd)
    return bool(flags & _FD_CLOEXEC)


def fcntl_setfd(fd: int, cloexec: bool) -> None:
    """Let execve close *fd*, or keep it: F_SETFD."""
    if _fcntl(fd, _F_SETFD, _FD_CLOEXEC if cloexec else 0) < 0:
        raise failure("fcntl", command="F_SETFD", fd=fd, cloexec=cloexec)


def fcntl_getfl(fd: int) -> int:
    """Return how the file was opened, os.O_NONBLOCK among it: F_GETFL."""
    flags = _fcntl(fd, _F_GETFL, 0)
    if flags < 0:
        raise failure("fcntl", command="F_GETFL", fd=fd)
    return flags


def fcntl_setfl(fd: int, flags: int) -> None:
    """Set O_APPEND, O_NONBLOCK and their like, for everybody who shares the open file: F_SETFL."""
    if not 0 <= flags <= _I31:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    if _fcntl(fd, _F_SETFL, flags) < 0:
        raise failure("fcntl", command="F_SETFL", fd=fd, flags=hex(flags))


_chdir = function("chdir", c_char_p)
_fchdir = function("fchdir", c_int)
_chroot = function("chroot", c_char_p)
_umask = function("umask", c_uint)


def chdir(path: str | bytes) -> None:
    """Make *path* the working directory."""
    if _chdir(encoded(path)) < 0:
        raise failure("chdir", path)


def fchdir(fd: int) -> None:
    """Make the directory *fd* (O_PATH will do) the working directory."""
    if _fchdir(fd) < 0:
        raise failure("fchdir", fd=fd)


def chroot(path: str | bytes) -> None:
    """Make *path* the root. The working directory stays where it is: outside, unless chdir follows."""
    if _chroot(encoded(path)) < 0:
        raise failure("chroot", path)


def getcwd() -> str:
    """Return the working directory; one outside of the root reads ``(unreachable)/…`` or is ENOENT.

    ENOENT   it was removed, or a libc that hides what is unreachable
    """
    try:
        return os.getcwd()
    except OSError as error:
        raise SyscallError("getcwd", error.errno or 0) from None


def umask(mask: int) -> int:
    """Set which permissions new files do not get; return the old mask. It cannot fail."""
    if not 0 <= mask <= 0o777:
        raise OverflowError(f"mask {oct(mask)} out of range")
    return _umask(mask)
