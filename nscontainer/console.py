"""A console: a pseudo-terminal whose slave is a container's, and whose master is ours.

Lesson  What is written to the master arrives at the slave as if it were typed; the container cannot tell.
Read    pts(4), ptmx(4), ioctl_tty(2)
"""
from __future__ import annotations

import os
from errno import EIO, EPERM

from .errors import SyscallError
from .sys.files import AT_EMPTY_PATH, close_all, fchmod, fchownat
from .sys.terminal import open_pty, peer, set_window_size

__all__ = ["Console", "new_console"]

_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC


class Console:
    """The master of a pseudo-terminal; *path* is the slave's name on this host. Close it, or use it in ``with``."""

    def __init__(self, master: int, path: str, slave: int = -1) -> None:
        self.path = path
        self._master, self._slave = master, slave

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Console({self.path!r}{'' if self._master >= 0 else ', closed'})"

    @property
    def fd(self) -> int:
        """The master's descriptor."""
        return self.fileno()

    def fileno(self) -> int:
        """Return the master's descriptor, for selectors and event loops; ValueError after close()."""
        if self._master < 0:
            raise ValueError(f"{self!r}: the console is closed")
        return self._master

    def take_slave(self) -> int:
        """Return a descriptor of the slave for a process to have; whoever takes it closes it.

        Until then one is kept open here: a master whose slave was open once, and is not any more, reads as ended.
        """
        master, slave, self._slave = self.fileno(), self._slave, -1
        return slave if slave >= 0 else peer(master, _FLAGS)

    def read(self, size: int = 65536) -> bytes:
        """Read at most *size* bytes of what the programs write; b"" once all of them have closed the slave."""
        try:
            return os.read(self.fileno(), size)
        except OSError as error:
            if error.errno != EIO:  # how Linux says that nobody has the slave open: pts(4) does not tell
                raise
            return b""

    def write(self, data: bytes) -> int:
        """Type *data*, all of it, and return its length. It waits while the programs read nothing."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self.fileno(), view):]
        return len(data)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the programs the size of their screen; they get SIGWINCH when it has changed."""
        set_window_size(self.fileno(), rows, columns)

    def close(self) -> None:
        """Close the master. Processes that have the slave as their controlling terminal get SIGHUP."""
        opened = [fd for fd in (self._master, self._slave) if fd >= 0]
        self._master = self._slave = -1
        close_all(opened)

    __del__ = close


def new_console(uid: int, gid: int) -> Console:
    """Make a pseudo-terminal that belongs to *uid* and *gid* of this host, and to nobody else."""
    master, slave, path = open_pty()
    console = Console(master, path, slave)
    try:
        fchmod(slave, 0o600)
        try:
            fchownat(slave, "", uid, gid, AT_EMPTY_PATH)
        except SyscallError as error:
            # An ordinary user cannot give it away. It is his already, and so the root's of his user namespace.
            if error.errno != EPERM or os.geteuid() == 0:
                raise
        return console
    except BaseException:
        console.close()
        raise
