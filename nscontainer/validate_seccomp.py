"""The rules of a filter of system calls: what seccomp(2), the compiler and the child could not make sense of.

Lesson  A filter decides about the child's own last calls too, so not every filter can be put on.
Read    seccomp(2); for the words, the OCI runtime specification, config-linux.md
"""
from __future__ import annotations

from .config import ARCHITECTURES, Action
from .errors import ConfigInvalid
from .strictjson import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .config import Seccomp, Syscall

__all__ = ["check"]

MOST_ERRNO: Final = 4095    # MAX_ERRNO
# SECCOMP_FILTER_FLAG_*, as in sys/seccomp.py, which every start would have to load only for this.
_FLAGS = {"TSYNC": 0x1, "LOG": 0x2, "SPEC_ALLOW": 0x4, "WAIT_KILLABLE_RECV": 0x20}
_ALL_FLAGS = sum(_FLAGS.values())


def check(profile: Seccomp) -> None:
    """Raise ConfigInvalid unless a filter can be made of *profile*, and a child put under it."""
    if profile.default_action is None:
        raise ConfigInvalid("seccomp.default_action", "is missing", hint="say what happens to calls without a rule")
    if profile.default_action is Action.NOTIFY:
        raise ConfigInvalid("seccomp.default_action", "cannot be NOTIFY: the child could not hand the listener on",
                            hint="list the calls that are to be asked about")
    _errno("seccomp.default_errno_ret", profile.default_action, profile.default_errno_ret)
    for index, word in enumerate(profile.architectures):
        if word.lower() not in ARCHITECTURES:
            raise ConfigInvalid(f"seccomp.architectures[{index}]", f"{shortened(word)!r} is no machine we know",
                                hint=f"one of {', '.join(ARCHITECTURES)}")
    notifies = False
    for index, call in enumerate(profile.syscalls):
        _syscall(f"seccomp.syscalls[{index}]", call)
        notifies = notifies or call.action is Action.NOTIFY
    _listener(profile, notifies)
    _can_begin(profile, "execve", "the program could not be started")
    if notifies:
        _can_begin(profile, "sendmsg", "the child could not hand the listener on")


def _syscall(at: str, call: Syscall) -> None:
    if not call.name and not call.names:
        raise ConfigInvalid(f"{at}.name", "is missing", hint="name a system call")
    for index, name in enumerate(call.names):
        if not name:
            raise ConfigInvalid(f"{at}.names[{index}]", "is empty", hint="name a system call")
    if call.action is None:
        raise ConfigInvalid(f"{at}.action", "is missing", hint="say what happens to the call")
    _errno(f"{at}.errno_ret", call.action, call.errno_ret)
    if len(call.args) > 6:
        raise ConfigInvalid(f"{at}.args", f"{len(call.args)} conditions; a system call has 6 arguments")
    seen: dict[int, int] = {}
    for index, arg in enumerate(call.args):
        if arg.op is None:
            raise ConfigInvalid(f"{at}.args[{index}].op", "is missing", hint="say how the argument is compared")
        if arg.index in seen:  # runc reads this as "or", and the specification as "and"
            raise ConfigInvalid(f"{at}.args[{index}].index", f"args[{seen[arg.index]}] has index {arg.index} already",
                                hint="for one or the other, list the call twice")
        seen[arg.index] = index


def _errno(at: str, action: Action, number: int | None) -> None:
    if number is not None and action not in (Action.ERRNO, Action.TRACE):
        raise ConfigInvalid(at, f"goes with ERRNO and TRACE, not with {action.name}", hint="leave it out")
    if action is Action.ERRNO and (number or 0) > MOST_ERRNO:
        raise ConfigInvalid(at, f"{number} is above {MOST_ERRNO}, the kernel's largest errno", hint="such as 1, EPERM")


def _listener(profile: Seccomp, notifies: bool) -> None:
    for name in ("listener_path", "listener_metadata"):
        if getattr(profile, name) and not notifies:
            raise ConfigInvalid(f"seccomp.{name}", "is for an action NOTIFY, and there is none", hint="leave it out")
    if profile.listener_metadata and not profile.listener_path:
        raise ConfigInvalid("seccomp.listener_metadata", "needs listener_path", hint="it is told to whoever answers")
    if profile.listener_path[:1] not in ("", "/"):
        raise ConfigInvalid("seccomp.listener_path", f"expected an absolute path, got {profile.listener_path!r}",
                            hint="name the socket of whoever answers")
    flags = profile.flags or 0
    if flags & ~_ALL_FLAGS:
        known = ", ".join(f"{name} ({value:#x})" for name, value in _FLAGS.items())
        raise ConfigInvalid("seccomp.flags", f"{flags & ~_ALL_FLAGS:#x} cannot be asked for", hint=f"take from {known}")
    if flags & _FLAGS["WAIT_KILLABLE_RECV"] and not notifies:
        raise ConfigInvalid("seccomp.flags", "WAIT_KILLABLE_RECV is for an action NOTIFY, and there is none",
                            hint="leave it out")


def _can_begin(profile: Seccomp, name: str, otherwise: str) -> None:
    """Refuse a profile under which the child's last calls fail, as far as can be told without their arguments."""
    harmless = (Action.ALLOW, Action.LOG) if name == "sendmsg" or not profile.listener_path else (
        Action.ALLOW, Action.LOG, Action.NOTIFY)
    path, action, maybe = "seccomp.default_action", profile.default_action, False
    default = profile.default_action, profile.default_errno_ret
    for index, call in enumerate(profile.syscalls):
        if name in (call.name, *call.names) and (call.action, call.errno_ret) != default:
            if not call.args:
                path, action, maybe = f"seccomp.syscalls[{index}].action", call.action, False
                break
            maybe = maybe or call.action in harmless
    if action not in harmless and not maybe:
        raise ConfigInvalid(path, f"denies {name}: {otherwise}", hint=f"allow {name}")
