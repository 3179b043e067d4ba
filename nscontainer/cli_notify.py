"""Pass on a container's word that it is ready, to the service manager that started us: sd_notify(3).

Lesson  A service manager believes only the processes of its service, and a container's are in another pid namespace or
        in none of its cgroups; so we stand in between, with a socket of our own that the container sees.
Read    sd_notify(3), systemd.service(5) on Type=notify, unix(7)
"""
from __future__ import annotations

import os
from errno import EEXIST
from sys import byteorder

# The C half of socket, which alone costs milliseconds.
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, socket

from .config import Mount
from .errors import SyscallError
from .handles import Stranger, start_time
from .sys.fds import pipe2, poll
from .sys.files import AT_FDCWD, close, close_all, listdir, mkdirat, unlinkat
from .sys.mount import MS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config

__all__ = ["VARIABLE", "Notifier", "make_directory", "mount_for", "remove_directory"]

INSIDE, NAME, SOCKET = "/run/notify", "notify", "notify.sock"
VARIABLE = f"NOTIFY_SOCKET={INSIDE}/{SOCKET}"
_BARRIER = 30_000  # ms: how long we wait until the manager has read what we said


def mount_for(config: Config, directory: str) -> None:
    """Have the container see the directory that will have our socket; it cannot put anything there itself."""
    config.mounts = (*config.mounts, Mount(
        source=f"{directory}/{NAME}", destination=INSIDE, device="bind",
        flags=int(MS.BIND | MS.NOSUID | MS.NOEXEC | MS.NODEV | MS.RDONLY)))


def make_directory(directory: str) -> None:
    """Make the directory, in the state directory of a container that has been created."""
    try:
        mkdirat(AT_FDCWD, f"{directory}/{NAME}", 0o755)
    except SyscallError as error:
        if error.errno != EEXIST:
            raise


def remove_directory(directory: str) -> None:
    """Remove it with all that is in it."""
    path = f"{directory}/{NAME}"
    if os.path.isdir(path):
        for name in listdir(path):
            unlinkat(AT_FDCWD, f"{path}/{name}")
        os.rmdir(path)


class Notifier:
    """Our socket, and the manager's. Made before the program runs, so that no word is lost."""

    def __init__(self, directory: str, manager: str) -> None:
        self._manager = f"\0{manager[1:]}" if manager.startswith("@") else manager
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        folder = os.open(f"{directory}/{NAME}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if SOCKET in listdir(f"/proc/self/fd/{folder}"):
                unlinkat(folder, SOCKET)  # of a start that failed
            self._socket.bind(f"/proc/self/fd/{folder}/{SOCKET}")
            os.chmod(SOCKET, 0o777, dir_fd=folder)
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(folder)

    def pass_on(self, pid: int) -> None:
        """Wait until the container is ready, and say so; or until its first process, *pid*, has ended."""
        try:
            end = Stranger(pid, start_time(pid)).share()
        except OSError:
            self._socket.close()
            return  # it has ended
        try:
            while self._socket.fileno() in poll((end, self._socket.fileno())):
                for line in self._socket.recv(4096).split(b"\n"):
                    if line.startswith(b"READY="):
                        self._tell(line, pid)
                        return
        finally:
            close(end)
            self._socket.close()

    def _tell(self, ready: bytes, pid: int) -> None:
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        read, write = pipe2()
        opened = [read, write]
        try:
            manager.connect(self._manager)
            manager.send(ready)
            manager.send(b"MAINPID=%d" % pid)
            manager.sendmsg([b"BARRIER=1"], [(SOL_SOCKET, SCM_RIGHTS, write.to_bytes(4, byteorder))])
            close(opened.pop())
            poll((read,), _BARRIER)  # the manager closes its copy of the other end when it gets there
        finally:
            close_all(opened)
            manager.close()
