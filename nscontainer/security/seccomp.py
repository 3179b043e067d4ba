"""Filters of system calls: put one on, and the specification's words for what is in it.

Lesson  A process may forbid itself calls, for good. With no_new_privs anybody may; without, a set-user-id program
        could be fooled by calls that fail, so it takes CAP_SYS_ADMIN.
Read    seccomp(2), Documentation/userspace-api/seccomp_filter.rst in Linux
Needs   CAP_SYS_ADMIN in the user namespace, or no_new_privs

The filter is put on in the last moment before execve, under which nothing but execve itself has to be allowed. So the
child keeps CAP_SYS_ADMIN until then where it needs it, as permitted, not effective; execve computes the permitted set
anew from the bounding, inheritable and ambient ones, which it has left before. capabilities(7)
"""
from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENOMEM

from ..config import ARCHITECTURES, Action, Operator
from ..errors import ConfigInvalid, SyscallError
from ..strictjson import shortened
from ..sys.capability import CAP, capget, capset
from ..sys.seccomp import set_mode_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["ADMIN", "convert_string_to_action", "convert_string_to_arch", "convert_string_to_operator", "load"]

ADMIN = 1 << int(CAP.SYS_ADMIN)

_ACTIONS = {f"SCMP_ACT_{action.name}": action for action in Action}
_ACTIONS["SCMP_ACT_KILL_THREAD"] = Action.KILL
_OPERATORS = {
    "SCMP_CMP_NE": Operator.NOT_EQUAL_TO, "SCMP_CMP_LT": Operator.LESS_THAN,
    "SCMP_CMP_LE": Operator.LESS_THAN_OR_EQUAL_TO, "SCMP_CMP_EQ": Operator.EQUAL_TO,
    "SCMP_CMP_GE": Operator.GREATER_THAN_OR_EQUAL_TO, "SCMP_CMP_GT": Operator.GREATER_THAN,
    "SCMP_CMP_MASKED_EQ": Operator.MASK_EQUAL_TO,
}
_OWN_WORDS = {"x86_64": "amd64", "aarch64": "arm64"}  # libcontainer's, where they are not ours
_ARCHITECTURES = {f"SCMP_ARCH_{machine.upper()}": _OWN_WORDS.get(machine, machine)
                  for machine in ARCHITECTURES.values()}

_HINTS = {
    EACCES: "set no_new_privileges, or run with CAP_SYS_ADMIN",
    EBUSY: "this process is under a filter with a listener already, and there can be one only",
    EINVAL: "this kernel may not know one of the flags: WAIT_KILLABLE_RECV needs Linux 5.19",
    ENOMEM: "all filters of a process together have at most 32768 instructions",
}


def load(code: bytes, flags: int, *, raise_admin: bool = False) -> int:
    """Put this thread under a filter; return the listener, or 0. *raise_admin* makes CAP_SYS_ADMIN effective first."""
    if raise_admin:
        effective, permitted, inheritable = capget()
        if permitted & ADMIN and not effective & ADMIN:
            capset(effective | ADMIN, permitted, inheritable)
    try:
        return set_mode_filter(code, flags)
    except SyscallError as error:
        error.hint = _HINTS.get(error.errno or 0)
        raise


def convert_string_to_action(word: str) -> Action:
    """Return the action for a word such as SCMP_ACT_ERRNO."""
    return _known("action", word, _ACTIONS)


def convert_string_to_operator(word: str) -> Operator:
    """Return the operator for a word such as SCMP_CMP_EQ."""
    return _known("operator", word, _OPERATORS)


def convert_string_to_arch(word: str) -> str:
    """Return what ``Seccomp.architectures`` takes for a word such as SCMP_ARCH_X86_64."""
    return _known("architecture", word, _ARCHITECTURES)


def _known(what: str, word: str, words: dict[str, T]) -> T:
    if word not in words:
        raise ConfigInvalid("", f"{shortened(word)!r} is not a seccomp {what}", hint=f"one of {', '.join(words)}")
    return words[word]
