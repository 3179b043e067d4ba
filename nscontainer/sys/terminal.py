"""Terminals: make a pair, make one the controlling terminal, set its size and its manners.

Lesson  A pseudo-terminal is two descriptors: what is written to the master arrives at the slave as if typed.
Read    pts(4), ioctl_tty(2), TIOCGPTPEER(2const), TIOCSCTTY(2const), TIOCSWINSZ(2const), termios(3), ptmx(4)
Needs   a devpts; to take a terminal away from another session: CAP_SYS_ADMIN
"""
from __future__ import annotations

import os
from ctypes import Structure, addressof, c_int, c_ubyte, c_uint, c_ulong, c_ushort, c_void_p

from .files import AT_FDCWD, close, openat
from .libc import EINTR, failure, function, get_errno

__all__ = ["get_window_size", "make_raw", "open_pty", "peer", "restore", "set_controlling_terminal", "set_window_size",
           "unlock"]

# These hold on x86, ARM, RISC-V and s390x; Alpha, MIPS, PowerPC and SPARC have numbers of their own for some.
_PPC = os.uname().machine.startswith("ppc")
_TIOCSCTTY, _TIOCGPTPEER = 0x540E, 0x20005441 if _PPC else 0x5441
_TIOCGPTN, _TIOCSPTLCK = (0x40045430, 0x80045431) if _PPC else (0x80045430, 0x40045431)
_TIOCGWINSZ, _TIOCSWINSZ = (0x40087468, 0x80087467) if _PPC else (0x5413, 0x5414)

_ioctl = function("ioctl", c_int, c_ulong, c_void_p)
_tcgetattr = function("tcgetattr", c_int, c_void_p)
_tcsetattr = function("tcsetattr", c_int, c_int, c_void_p, waits=True)
_cfmakeraw = function("cfmakeraw", c_void_p)
_TCSADRAIN = 1


def open_pty() -> tuple[int, int, str]:
    """Return master, slave and the slave's path on this host's devpts; execve closes both descriptors.

    ENOSPC   no more terminals: /proc/sys/kernel/pty/max
    ENOENT   no /dev/ptmx
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = openat(AT_FDCWD, "/dev/ptmx", flags)
    try:
        number = unlock(master)
        return master, peer(master, flags), f"/dev/pts/{number}"
    except BaseException:
        close(master)
        raise


def unlock(master: int) -> int:
    """Let the slave of a new *master* be opened, and return its number: TIOCSPTLCK, TIOCGPTN."""
    number, unlocked = c_uint(), c_int(0)
    if _ioctl(master, _TIOCSPTLCK, addressof(unlocked)) < 0:
        raise failure("ioctl", request="TIOCSPTLCK")
    if _ioctl(master, _TIOCGPTN, addressof(number)) < 0:
        raise failure("ioctl", request="TIOCGPTN")
    return number.value


def peer(master: int, flags: int) -> int:
    """Open the slave of *master* without any path, which another devpts could answer: TIOCGPTPEER, Linux 4.13.

    EIO      the master is locked
    ENOTTY   not a master
    """
    if not 0 <= flags <= 0x7FFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 31 bits")
    fd = _ioctl(master, _TIOCGPTPEER, flags)
    if fd < 0:
        raise failure("ioctl", request="TIOCGPTPEER", fd=master)
    return fd


def set_controlling_terminal(fd: int = 0) -> None:
    """Make *fd* the terminal of this session, whose leader this process must be.

    EPERM    not a session leader, or the session has one, or the terminal is another session's
    """
    if _ioctl(fd, _TIOCSCTTY, None) < 0:
        raise failure("ioctl", request="TIOCSCTTY", fd=fd)


class _Winsize(Structure):
    """struct winsize."""

    _fields_ = [(name, c_ushort) for name in ("rows", "columns", "xpixel", "ypixel")]


def get_window_size(fd: int) -> tuple[int, int]:
    """Return rows and columns."""
    size = _Winsize()
    if _ioctl(fd, _TIOCGWINSZ, addressof(size)) < 0:
        raise failure("ioctl", request="TIOCGWINSZ", fd=fd)
    return size.rows, size.columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Set rows and columns; the foreground processes get SIGWINCH."""
    if not 0 <= rows <= 0xFFFF or not 0 <= columns <= 0xFFFF:
        raise OverflowError(f"{rows} rows of {columns} columns do not fit 16 bits")
    size = _Winsize(rows, columns)
    if _ioctl(fd, _TIOCSWINSZ, addressof(size)) < 0:
        raise failure("ioctl", request="TIOCSWINSZ", fd=fd)


_Termios = c_ubyte * 128  # struct termios of libc is 60 bytes, on PowerPC 64


def make_raw(fd: int) -> bytes:
    """Pass on every byte as it is typed, and return what restore() needs."""
    now = _Termios()
    if _tcgetattr(fd, addressof(now)) < 0:
        raise failure("tcgetattr", fd=fd)
    before = bytes(now)
    _cfmakeraw(addressof(now))
    _set(fd, now)
    return before


def restore(fd: int, saved: bytes) -> None:
    """Put back the manners that make_raw() found."""
    _set(fd, _Termios.from_buffer_copy(saved))


def _set(fd: int, termios: object) -> None:
    while _tcsetattr(fd, _TCSADRAIN, termios) < 0:
        if get_errno() != EINTR:
            raise failure("tcsetattr", fd=fd)
