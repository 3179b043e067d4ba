"""Start a zygote, have it clone processes, and see each of them through to its program.

The zygote's executable is sealed: CVE-2019-5736 was a container that overwrote its runtime through /proc/PID/exe, and
our runtime is the host's python3. What the zygote executes is either the interpreter seen through a read-only overlay
that is mounted nowhere, or a sealed copy in memory; opening that for writing fails, whoever asks.
"""
from __future__ import annotations

import os
import sys
from _thread import allocate_lock
from errno import ECONNRESET, EINVAL, EPIPE

from . import sync
from .errors import ContainerError, SetupError, SyscallError
from .handles import SIGKILL, Child, reap_stray
from .sys.fds import F_SEAL, SOCK, add_seals, memfd_create, poll, socketpair
from .sys.files import AT_FDCWD, close, close_all, fcntl_dupfd, openat
from .sys.libc import require_kernel
from .sys.mount_api import MOUNT_ATTR, fsconfig_create, fsconfig_string, fsmount, fsopen
from .sys.pidfd import pidfd_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sync import Message

__all__ = ["Birth", "Zygote", "ZygoteGone", "seal_interpreter"]

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
# Imports the package by its folder, so that a vendored or renamed copy starts itself and not its host package.
# Appended, not prepended: what lies beside the package must not stand in for the standard library.
_BOOTSTRAP = (
    "import gc, sys; gc.disable(); sys.path.append(sys.argv[1]); "
    "__import__(sys.argv[2] + '.zygote', fromlist=['main']).main()"
)
# Isolated and without site-packages; nor does it take any PYTHON* variable or LD_PRELOAD, for its environment holds
# nothing of the caller's. It writes bytecode where the caller does: most of what it imports nobody else does.
_OPTIONS = ("-I", "-S", *(["-B"] if sys.dont_write_bytecode else []), "-X", "utf8", "-X", "disable-remote-debug",
            "-c", _BOOTSTRAP, os.path.dirname(_PACKAGE), os.path.basename(_PACKAGE), "nscontainer-zygote")


_PATIENCE = 500  # ms, after which we look whether the zygote is still alive


class ZygoteGone(SetupError):
    """The zygote ended while it was asked for a process."""


class Birth:
    """The making of one process, from the request to the moment its program runs.

    ``with`` it: whatever goes wrong inside kills and reaps what was made so far.
    """

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._link = -1
        self._early: list[Message] = []
        self._half = sync.Half()
        self._helped = False
        self._helper: Child | None = None
        self._asked: Child | None = None  # the zygote that is to make it
        self.child: Child | None = None
        self.looks = False  # which pages of its memory it will have written to, for those after it

    def __enter__(self) -> Birth:
        self._zygote.births += 1
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._zygote.births -= 1
        self._end(error)

    def dismiss(self) -> None:
        """End a process that is not needed after all."""
        self._end(self)

    def _end(self, error: object) -> None:
        failed = True  # also when the end itself does not go well
        lost = False
        try:
            try:
                if error is not None and self._link >= 0:
                    self._born()  # a process that we have not heard of yet is ours all the same, and ours to reap
            except SyscallError:
                lost = self.child is None  # it may be there; the error that is on its way was first
            except ContainerError:
                pass  # it never came to be, or failed too
            finally:
                self._part()
                if lost:
                    reap_stray(sync.NAME)
            failed = error is not None
        finally:
            if failed and self.child is not None:
                self.child.kill()

    def _part(self) -> None:
        try:
            self.hang_up()
        finally:
            if self._helper is not None:
                self._helper.kill()  # it has cloned what it was made for, or never will

    def hang_up(self) -> None:
        """Close the link: a child that still waits to hear what to be goes away."""
        link, self._link = self._link, -1
        try:
            self._half.drop()
        finally:
            if link >= 0:
                close(link)

    def request(self, flags: int, join: Sequence[tuple[int, int]] = (), *, cgroup: int | None = None,
                offsets: str | None = None, oom_score_adj: int | None = None, early: bool = False) -> None:
        """Ask for a process with *flags*, in the namespaces of *join* (pairs of a CLONE mask and a descriptor).

        *early* — nobody waits for it yet: it has time to make itself ready.
        """
        self._request = {"flags": int(flags), "join": [int(mask) for mask, _ in join], "offsets": offsets,
                         "oom": oom_score_adj, "cgroup": cgroup is not None, "early": early}
        self._descriptors = [*[fd for _, fd in join], *([] if cgroup is None else [cgroup])]
        self._helped = bool(join or offsets)
        self._ask()

    def _ask(self) -> None:
        self.hang_up()
        self._link, theirs = socketpair(SOCK.STREAM)
        try:
            self._asked = self._zygote.ask(self._request, [theirs, *self._descriptors])
        except BaseException:
            self.hang_up()  # nobody has heard of it
            raise
        finally:
            close(theirs)

    def waits(self) -> bool:
        """Say whether the process has been made, and waits to hear what to be."""
        try:
            return self._born().poll() is None and self._link >= 0
        except SetupError:
            return False

    def born(self) -> Child:
        """Wait until the process is there; it waits to hear what to be."""
        try:
            return self._born()
        except ZygoteGone:  # killed, by the kernel for want of memory perhaps: a new one may be luckier, once
            self._zygote.end(self._asked)  # its sockets are closed before it is known to have ended
            self._ask()
            return self._born()

    def _born(self) -> Child:
        failed = None
        while self.child is None or self._helped and self._helper is None:
            self._await_news()
            message, received = self._read()
            if message is None:
                raise failed or self._silence()
            if "pid" in message:
                self.child = _child(message["pid"], received)
            elif "helper" in message:
                self._helper = _child(message["helper"], received)
            elif "error" in message:
                failed = sync.failure_of(message["error"])  # it may be quicker than the zygote, and must be reaped
            else:
                self._early.append(message)
        if failed is not None:
            raise failed
        return self.child

    def _await_news(self) -> None:
        """Wait for a message about the new process, as long as there is somebody to send one."""
        sender = self._helper or self._asked
        assert sender is not None
        while not poll((self._link,), _PATIENCE):
            if sender.poll() is not None and not poll((self._link,), 0):
                # It was killed between the clone and the message. The child holds the other end of our link, and goes
                # when this one is closed; all we know of it is its name.
                self.hang_up()
                reap_stray(sync.NAME)
                if sender is self._helper:
                    raise SetupError("the helper that joins namespaces was killed while it cloned a process")
                raise ZygoteGone("the zygote was killed while it cloned a process")

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Say something to the child. If it is gone, the next hear() explains why."""
        try:
            sync.send(self._link, message, descriptors)
        except SyscallError as error:
            if error.errno not in (EPIPE, ECONNRESET):
                raise

    def hear(self) -> Message:
        """Return what the child asks for. Its errors are raised here."""
        message = self._early.pop(0) if self._early else self._read()[0]
        if message is None:
            raise self._silence()
        if "error" in message:
            raise sync.failure_of(message["error"])
        return message

    def receive(self) -> tuple[Message, int]:
        """Return a message that brings a descriptor: a listener or a terminal; it is the caller's now."""
        message, received = self._read()
        if message is None:
            raise self._silence()
        if "error" in message:
            raise sync.failure_of(message["error"])
        return message, received[0]

    def runs(self) -> None:
        """Wait until the program runs; raise what was in its way. For a child that has nothing more to ask."""
        try:
            messages = [*self._early, *sync.receive_rest(self._link)]
        except SyscallError as error:
            if error.errno != ECONNRESET:
                raise
            messages = []
        for message in messages:  # "exec" and then an error, when execve came back
            if "error" in message:
                raise sync.failure_of(message["error"])
            if "own" in message:
                self._zygote.learn(message["own"])
        if not any("exec" in message for message in messages):
            raise self._silence()

    def _read(self) -> tuple[Message | None, list[int]]:
        try:
            return sync.receive(self._link, self._half)
        except SyscallError as error:
            if error.errno != ECONNRESET:
                raise
            return None, []

    def _silence(self) -> SetupError:
        """Make the error for a link that was closed without a word."""
        if self.child is None and self._helper is None:
            return ZygoteGone(f"the zygote ended before it could clone a process{self._zygote.last_words()}")
        ended = None if self.child is None else self.child.poll(1)
        if ended is None:
            return SetupError("the new process closed its link before its program ran")
        how = f"was killed by signal {ended.signal}" if ended.signal else f"ended with status {ended.returncode}"
        return SetupError(f"the new process {how} before its program ran")


def _child(pid: int, received: list[int]) -> Child:
    # Without a descriptor, for want of memory perhaps: a child of ours keeps its number until we wait for it.
    return Child(pid, received[0] if received else pidfd_open(pid))


class Zygote:
    """The process our processes are cloned from; started when first asked, gone with its owner.

    *init_args* — the command line of a program that calls ``Factory("").start_initialization()``, an absolute path
    first. It is for programs that are no Python script to be run by an interpreter, such as frozen ones.
    """

    def __init__(self, init_args: Sequence[str] = ()) -> None:
        self._args = list(init_args)
        self._lock = allocate_lock()
        self._control = -1
        self._words = -1  # its standard error, until it serves
        self._process: Child | None = None
        self._owner = 0
        self._spare: Birth | None = None
        self._flags = -1  # what the last process was cloned with, and perhaps the next one will be
        self._looked = False
        self.births = 0   # under way at this moment; only for a guess, so threads may miscount

    def __repr__(self) -> str:
        return f"Zygote(pid={self._process.pid if self._process else None})"

    @property
    def pid(self) -> int | None:
        """The zygote's process, None before the first use."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it if it does not run yet. It loads while the caller goes on."""
        with self._lock:
            # After a fork this object is a copy, and the zygote behind it somebody else's: its clones would be too.
            if self._owner != os.getpid() or self._control < 0 or self._process is None or self._process.poll():
                self._stop()
                self._start()

    def ask(self, request: Message, descriptors: Sequence[int]) -> Child | None:
        """Send one request, whole: other threads wait their turn. Return the process that it went to."""
        for _ in range(2):
            self.start()
            with self._lock:
                try:
                    sync.send(self._control, request, descriptors)
                    return self._process
                except SyscallError as error:
                    if error.errno not in (EPIPE, ECONNRESET):
                        raise
                    words = self.last_words()
                    self._stop()  # it ends, or has ended: the next start makes another
        raise ZygoteGone(f"the zygote has ended{words}")

    def birth(self, flags: int) -> Birth:
        """Return the birth of a process with *flags* and no other wish: one made ahead, or a new one."""
        with self._lock:
            spare = self._spare
            if spare is not None and self._flags == flags and self._owner == os.getpid():
                self._spare = None
            else:
                spare = None
        if spare is not None:
            waits = False
            try:
                waits = spare.waits()
            finally:
                if not waits:
                    spare.dismiss()
            if waits:
                spare.looks, self._looked = not self._looked, True
                return spare
        birth = Birth(self)
        try:
            birth.request(flags)
        except BaseException:
            birth.dismiss()
            raise
        return birth

    def prepare(self, flags: int) -> None:
        """Have a process made ahead, if this looks like one of many alike that are started one by one.

        It waits in namespaces of its own to hear what to be. Who needs it next saves the time of a clone.
        """
        again, self._flags = self._flags == flags, flags
        if self._spare is not None or not again or self.births > 1:
            return
        spare = Birth(self)
        try:
            spare.request(flags, early=True)
        except (SyscallError, ZygoteGone):
            spare.dismiss()
            return  # too many descriptors, or no memory: the next start will take longer, or tell
        with self._lock:
            if self._spare is None and self._flags == flags:
                self._spare = spare
                return
        spare.dismiss()  # another thread was quicker

    def learn(self, pages: list[tuple[int, int]]) -> None:
        """Have the zygote know which pages a process needs, for those that are made ahead."""
        try:
            self.ask({"pages": pages}, [])
        except (SyscallError, ZygoteGone):
            pass  # as above: this was to make others faster

    def end(self, process: Child | None) -> None:
        """End the zygote if it is still *process*: that one serves no longer."""
        with self._lock:
            if self._process is process:
                self._stop()

    def last_words(self) -> str:
        """What it wrote to standard error while it started, for an error message."""
        try:
            text = os.pread(self._words, 1 << 16, 0).decode(errors="replace").strip()
        except OSError:
            return ""  # never started: the words are an ornament of the error that is on its way
        return f": {text.splitlines()[-1]}" if text else ""  # of a traceback, the error

    def close(self) -> None:
        """End it. Containers that run go on running."""
        with self._lock:
            self._stop()

    __del__ = close

    def rest(self) -> None:
        """End the process that was made ahead, if there is one: for a program that will start nothing for a while."""
        with self._lock:
            self._rest()

    def _rest(self) -> None:
        if self._spare is not None:
            if self._owner == os.getpid():
                self._spare.dismiss()
            else:  # after a fork it is somebody else's
                self._spare.hang_up()
            self._spare = None  # not sooner: if it could not be killed, the next to end it will try again

    def _stop(self) -> None:
        self._rest()
        opened = [fd for fd in (self._control, self._words) if fd >= 0]
        self._control = self._words = -1
        try:
            close_all(opened)
        finally:
            if self._process is not None and self._owner == os.getpid():
                self._process.kill()
            self._process = None  # not sooner: if it could not be killed, the next one to stop it will try again

    def _start(self) -> None:
        require_kernel()
        self._owner = os.getpid()
        self._looked = False
        args = self._args or [os.path.realpath(sys.executable), *_OPTIONS]
        control, theirs = socketpair(SOCK.STREAM)
        opened = [theirs]
        try:
            self._words = memfd_create("nscontainer-zygote")
            opened.append(sealed := seal_interpreter(args[0]))
            opened.append(owner := pidfd_open(self._owner))
            # Targets of dup2 are 0 to 4: no source may be among them.
            sources: list[int] = []
            for fd in (theirs, owner, self._words, sealed):
                opened.append(fcntl_dupfd(fd, 10))  # one by one: whichever fails, those before are closed
                sources.append(opened[-1])
            try:
                pid = os.posix_spawn(
                    f"/proc/self/fd/{sources[3]}", args, {"_LIBCONTAINER_INITTYPE": "zygote"},
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                        (os.POSIX_SPAWN_DUP2, 0, 1),
                        (os.POSIX_SPAWN_DUP2, sources[2], 2),
                        (os.POSIX_SPAWN_DUP2, sources[0], 3),
                        (os.POSIX_SPAWN_DUP2, sources[1], 4),
                    ],
                    setsigmask=[], setsigdef=_ALL_SIGNALS)
            except OSError as error:
                raise SyscallError("posix_spawn", error.errno or 0, args[0]) from None
            try:
                self._process = Child(pid, pidfd_open(pid))
            except BaseException:
                os.kill(pid, SIGKILL)
                os.waitpid(pid, 0)
                raise
            self._control = control
        except BaseException:
            close(control)
            raise
        finally:
            close_all(opened)


# SIGKILL and SIGSTOP cannot be set; 32 and 33 are the C library's own.
_ALL_SIGNALS = [number for number in range(1, 32) if number not in (9, 19)]


def seal_interpreter(path: str) -> int:
    """Return a descriptor to execute the program at *path* by, through which nobody can write to it.

    An overlay of its folder and another, read-only and attached nowhere, costs 0.2 ms and no memory, and needs root.
    A sealed copy in memory serves everybody else, and folders that overlay does not take.
    """
    folder, name = os.path.split(os.path.realpath(path))  # an absolute symlink would lead out of the overlay
    try:
        return _open_through_overlay(folder, name)
    except SyscallError:  # EPERM: not root; ENODEV, EINVAL, ELOOP: no overlay here: the copy is as safe
        return _copy_to_memory(path)


def _open_through_overlay(folder: str, name: str) -> int:
    opened = [fsopen("overlay")]
    try:
        if ":" in folder or "," in folder or "\\" in folder:
            raise SyscallError("fsconfig", EINVAL, folder)
        # Overlay wants two layers when it is to be read-only; any folder beside the first will do for the second.
        fsconfig_string(opened[0], "lowerdir", f"{folder}:{_PACKAGE}")
        fsconfig_create(opened[0])
        opened.append(fsmount(opened[0], int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV)))
        opened.append(openat(opened[1], name, os.O_PATH | os.O_NOFOLLOW))
        while len(opened) > 1:
            close(opened.pop(0))
        return opened.pop()
    finally:
        close_all(opened)


def _copy_to_memory(path: str) -> int:
    opened = [openat(AT_FDCWD, path, os.O_RDONLY)]
    try:
        opened.append(memfd_create("nscontainer", allow_sealing=True, executable=True))
        while os.sendfile(opened[1], opened[0], None, 1 << 30):
            pass
        add_seals(opened[1], F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.WRITE)
        close(opened.pop(0))
        return opened.pop()
    except OSError as error:
        raise error if isinstance(error, SyscallError) else SyscallError("sendfile", error.errno or 0, path) from None
    finally:
        close_all(opened)
