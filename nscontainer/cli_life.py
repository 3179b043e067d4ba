"""The commands between a container's making and its end: ``start``, ``kill``, ``delete``, ``pause``, ``resume``."""
from __future__ import annotations

import os
from errno import ESRCH

from . import gate, pid1
from .cli_glance import Glance
from .cli_options import UsageError
from .cli_root import only_id, state_root
from .errors import ContainerError, ContainerNotExists, ContainerNotRunning, SyscallError
from .sys.files import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cli_oci import Engine, OciContainer

__all__ = ["delete", "kill", "pause", "resume", "start"]

SIGKILL, SIGTERM = 9, 15
_SIGNALS = ("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN "
            "TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS").split()
_ALSO = {"CLD": 17, "IOT": 6, "POLL": 29, "UNUSED": 31, "RTMIN": 34, "RTMAX": 64}


def _engine(options: dict[str, Any]) -> Engine:
    from .cli_oci import Engine  # all of the library: only where something is to be changed

    return Engine(options)


def _loaded(options: dict[str, Any], operands: list[str]) -> OciContainer:
    return _engine(options).load(only_id(operands))


def start(options: dict[str, Any], operands: list[str]) -> int:
    """Start a container that waits."""
    found = Glance(state_root(options), only_id(operands))
    condition = found.condition()
    if condition != "created":
        raise ContainerNotRunning({"stopped": "cannot start a container that has stopped",
                                   "running": "cannot start an already running container"}.get(
                                       condition, f"cannot start a container that is {condition}"))
    manager = os.environ.get("NOTIFY_SOCKET")
    notifier = None
    if manager and os.path.isdir(f"{found.directory}/notify"):
        from .cli_notify import Notifier  # few have a service manager that waits for a word

        notifier = Notifier(found.directory, manager)
    try:
        if found.about.get("asks") or found.about.get("hooks", {}).get("poststart"):
            _loaded(options, operands).release()
        else:
            _release(found)
    except ContainerNotRunning:
        raise ContainerNotRunning("cannot start an already running container") from None  # by somebody else, just now
    except BaseException:
        found.init.kill()
        raise
    if notifier is not None:
        notifier.pass_on(found.init.pid)
    return 0


def _release(found: Glance) -> None:
    link = gate.knock(found.directory)
    if link is None:
        raise ContainerNotRunning("somebody was quicker")
    try:
        gate.hear_out(link)
    finally:
        close(link)


def kill(options: dict[str, Any], operands: list[str]) -> int:
    """Send a signal."""
    id = only_id(operands, 2)
    number = _signal(operands[1]) if len(operands) > 1 else SIGTERM
    found = Glance(state_root(options), id)
    condition = found.condition()
    try:
        if condition == "stopped":
            raise ContainerNotRunning("container not running")
        if condition == "created" and pid1.shielded(found.init.pid, number):
            number = SIGKILL  # what waits is no program yet that could have a handler
        if number == SIGKILL and (condition == "paused" or not found.has_pid_namespace()):
            _engine(options).load(id).send(number)
        else:
            _send(found, number)
    except ContainerNotRunning:
        if not options.get("all"):
            raise
    return 0


def _send(found: Glance, number: int) -> None:
    try:
        found.init.signal(number)
    except SyscallError as error:
        if error.errno != ESRCH:
            raise
        raise ContainerNotRunning("container not running") from None


def _signal(word: str) -> int:
    name = word.upper()
    name = name[3:] if name.startswith("SIG") else name
    if word.isascii() and word.isdecimal() and int(word) <= 64:
        return int(word)
    if name in _SIGNALS:
        return _SIGNALS.index(name) + 1
    base, sign, distance = name.partition("+") if "+" in name else name.partition("-")
    if base in _ALSO and (not sign or base.startswith("RT") and distance.isascii() and distance.isdecimal()):
        number = _ALSO[base] + (int(f"{sign}{distance}") if sign else 0)
        if not sign or 34 <= number <= 64:
            return number
    raise UsageError(f'unknown signal "{word}"')


def delete(options: dict[str, Any], operands: list[str]) -> int:
    """Remove a container."""
    id, force = only_id(operands), bool(options.get("force"))
    try:
        container = _engine(options).load(id)
    except ContainerNotExists:
        if not force:
            raise
        if os.path.isdir(state_root(options)):
            _engine(options).clear(id)
        return 0
    condition = container.condition()
    if condition in ("running", "paused") and not force:
        raise ContainerError(f"cannot delete container {id} that is not stopped: {condition}")
    container.end()
    container.erase(options)
    return 0


def pause(options: dict[str, Any], operands: list[str]) -> int:
    """Freeze all processes."""
    container = _loaded(options, operands)
    condition = container.condition()
    if condition not in ("running", "created"):
        raise ContainerNotRunning(f"container not running or created: {condition}")
    container.pause()
    return 0


def resume(options: dict[str, Any], operands: list[str]) -> int:
    """Let them run on."""
    container = _loaded(options, operands)
    condition = container.condition()
    if condition != "paused":
        raise ContainerError(f"container not paused: {condition}")
    container.resume()
    return 0
