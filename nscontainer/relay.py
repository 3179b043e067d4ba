"""Stand between the user and a program: pass signals on, and be its terminal's other side.

Lesson  A pseudo-terminal is a pair. The program has one end for its terminal; what is typed goes into the other, and
        what the program writes comes out of it. The real terminal is set to raw, so that all keys reach the program's.
Read    pty(7), termios(3), ioctl_tty(2), signal(7)
"""
from __future__ import annotations

import os
import select
import time
from _signal import SIG_DFL, SIG_IGN, getsignal, set_wakeup_fd, signal
from errno import EAGAIN, EIO, EPIPE, ESRCH

from . import pid1
from .errors import SyscallError
from .sys.terminal import get_window_size, make_raw, restore, set_window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .console import Console
    from .process import ExitState, Process

__all__ = ["TIMED_OUT", "Relay"]

TIMED_OUT = 124  # what timeout(1) says
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT, SIGSTOP, SIGTSTP, SIGWINCH = (
    1, 2, 3, 9, 10, 12, 15, 18, 19, 20, 28)
FORWARDED = (SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM)
_BLOCK = 1 << 16


class Relay:
    """From before a program starts to after its end: ``with`` it, start the process, and attend() to it.

    With *terminal* the process gets a console, and our own terminal is raw until the end of the ``with``.
    """

    def __init__(self, process: Process, timeout: float | None = None, *, terminal: bool = False,
                 inside: bool = False) -> None:
        self._process, self._timeout, self._terminal = process, timeout, terminal
        self._console: Console | None = None   # with *inside*, there is one after the start
        if terminal and inside:
            process.want_console(*_size())
        elif terminal:
            self._console = process.new_console(os.geteuid())
        self._saved: Any = None                # how our terminal was
        self._handlers: dict[int, Any] = {}    # what was there before ours
        self._asked = 0                        # the signal that SIGKILL was sent in place of
        self._typed = b""                      # read from stdin, not yet taken by the program's terminal
        self._reading = terminal               # stdin
        self._at_terminal = os.isatty(0)

    def __enter__(self) -> Relay:
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        set_wakeup_fd(self._waker, warn_on_full_buffer=False)  # the C handler writes the number of each signal there
        caught = FORWARDED if not self._terminal else (*FORWARDED, SIGTSTP, SIGCONT, SIGWINCH)
        for number in caught:
            if getsignal(number) is not SIG_IGN:  # nohup(1), or a job in the background: not for us, so not for it
                self._handlers[number] = signal(number, _nothing)
        if self._console is not None:
            os.set_blocking(self._console.fileno(), False)
            self._copy_size()
        if self._terminal:
            self._take_terminal()
        return self

    def __exit__(self, *_: object) -> None:
        self._release_terminal()
        for number, handler in self._handlers.items():
            signal(number, handler if handler is not None else SIG_DFL)
        set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._waker)
        self._close_console()

    def attend(self) -> int:
        """Pass on what there is to pass on until the program ends; return the exit code for it."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        watch = self._process.fileno()
        if self._terminal and self._console is None and self._process.console is not None:
            self._console = self._process.console
            os.set_blocking(self._console.fileno(), False)
            self._copy_size()
        try:
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                ready = self._ready(watch, left)
                if self._wake in ready:
                    self._handle_signals()
                self._pass_bytes(ready)
                if watch in ready:
                    return self._ended(self._process.wait())
                if left is not None and left <= 0:
                    self._send(SIGKILL)
                    self._ended(self._process.wait())
                    return TIMED_OUT
        finally:
            os.close(watch)

    def _ready(self, watch: int, left: float | None) -> dict[int, int]:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        if self._console is not None:
            poll.register(self._console.fileno(), select.POLLIN | (select.POLLOUT if self._typed else 0))
            if self._reading and not self._typed:  # no faster than the program takes it
                poll.register(0, select.POLLIN)
        return dict(poll.poll(None if left is None else max(0, int(left * 1000) + 1)))

    def _ended(self, state: ExitState) -> int:
        while self._show():  # the last words: everybody who could write more is dead
            pass
        return 128 + self._asked if self._asked and state.returncode == -SIGKILL else state.exit_status

    # --- signals

    def _handle_signals(self) -> None:
        for number in os.read(self._wake, 1024):
            if number in FORWARDED:
                self._send(number)
            elif number == SIGWINCH:
                self._copy_size()
            elif number == SIGTSTP:  # somebody stops us from outside: a Ctrl-Z goes to the program's terminal
                self._release_terminal()
                os.kill(os.getpid(), SIGSTOP)
            elif number == SIGCONT:
                self._take_terminal()
                self._copy_size()

    def _send(self, number: int) -> None:
        try:
            if pid1.send(self._process, number):
                self._asked = number
        except SyscallError as error:
            if error.errno != ESRCH:  # it has ended just now
                raise

    # --- terminals

    def _take_terminal(self) -> None:
        if self._saved is None and self._at_terminal:
            self._saved = make_raw(0)

    def _release_terminal(self) -> None:
        if self._saved is not None:
            saved, self._saved = self._saved, None
            try:
                restore(0, saved)
            except SyscallError as error:
                if error.errno != EIO:  # hung up: there is no terminal to restore
                    raise

    def _copy_size(self) -> None:
        for fd in (0, 1):
            if self._console is not None and os.isatty(fd):
                set_window_size(self._console.fileno(), *get_window_size(fd))
                return

    def _lose_terminal(self) -> None:
        """Do to the program's terminal what has been done to ours: hang up."""
        self._send(SIGHUP)  # closing sends one too, but process 1 may have no handler for it
        self._close_console()

    def _close_console(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None

    def _pass_bytes(self, ready: dict[int, int]) -> None:
        if 0 in ready:
            self._type()
        if self._console is not None and self._typed:
            self._give()
        if self._console is not None and self._console.fileno() in ready and self._show() is False:
            # No process has the terminal open just now. One may open it again, so only the program's end is the end;
            # until then poll would return at once, for ever.
            time.sleep(0.05)

    def _type(self) -> None:
        """Take what has been typed."""
        try:
            data = os.read(0, _BLOCK)
        except OSError as error:
            if error.errno != EIO:  # our terminal is gone
                raise
            data = b""
        if data:
            self._typed = data
            return
        self._reading = False
        if self._at_terminal:
            self._lose_terminal()
        else:
            self._typed = b"\4"  # end of file, as one would type it

    def _give(self) -> None:
        """Pass on as much as the program's terminal takes now."""
        assert self._console is not None
        try:
            taken = self._typed[:os.write(self._console.fileno(), self._typed)]
        except OSError as error:
            if error.errno not in (EAGAIN, EIO):
                raise
            return
        self._typed = self._typed[len(taken):]
        self._interrupt(taken)

    def _interrupt(self, typed: bytes) -> None:
        """Make Ctrl-C and Ctrl-\\ end a program that has no handler for their signals: see pid1."""
        from termios import ISIG, VINTR, VQUIT, tcgetattr

        assert self._console is not None
        terminal = self._console.fileno()
        modes = tcgetattr(terminal)
        for key, number in ((VINTR, SIGINT), (VQUIT, SIGQUIT)):
            pressed = modes[3] & ISIG and modes[6][key] in typed
            if pressed and os.tcgetpgrp(terminal) == self._process.pid and pid1.shielded(self._process.pid, number):
                self._send(number)

    def _show(self) -> bool | None:
        """Pass on what the program has written: True if there was something, None if not, False at the end."""
        if self._console is None:
            return False
        try:
            data = self._console.read(_BLOCK)
        except BlockingIOError:
            return None
        shown = bool(data)
        while data:
            try:
                data = data[os.write(1, data):]
            except BlockingIOError:  # somebody has made our terminal non-blocking
                select.select((), (1,), ())
            except OSError as error:
                if error.errno not in (EPIPE, EIO):
                    raise
                self._lose_terminal()
                return False
        return shown


def _size() -> tuple[int, int]:
    """Return how large our own terminal is; zeros where it is none."""
    for fd in (0, 1):
        if os.isatty(fd):
            return get_window_size(fd)
    return 0, 0


def _nothing(*_: object) -> None:
    """Handle a signal: the wakeup descriptor has its number already."""
