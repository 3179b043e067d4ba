"""AppArmor: the profile that the program gets at its execve.

Lesson  A profile is bound to a process by name. To ask for it takes a write; execve is when it comes into force.
Read    apparmor(7), aa_change_onexec(2), proc_pid_attr(5), apparmor.d(5)
Needs   a kernel with AppArmor enabled, and the profile loaded: apparmor_parser(8)
"""
from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENOENT, EPERM

from ..errors import SyscallError, SystemError_
from ..sys.files import close
from .procfs import attribute, open_procfs, plain_procfs, set_attribute

__all__ = ["ApparmorNotEnabled", "apply_profile", "current_profile", "is_enabled"]

_ENABLED = "/sys/module/apparmor/parameters/enabled"
_HINTS = {
    ENOENT: "no such profile is loaded: see aa-status(8), load it with apparmor_parser(8)",
    EINVAL: "it is not the name of a profile",
    EACCES: "the profile we run under ourselves does not allow this change: 'change_profile' in apparmor.d(5)",
    EPERM: "no_new_privileges and the profile we run under ourselves do not allow this change",
}


class ApparmorNotEnabled(SystemError_):
    """A profile was asked for, and this kernel does not run AppArmor."""


def is_enabled() -> bool:
    """Say whether the running kernel has AppArmor, and has it switched on.

    libcontainer also wanted apparmor_parser and no variable ``container``. Neither is needed to apply a profile; a
    container may well apply one of its own namespace's.
    """
    try:
        fd = os.open(_ENABLED, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.read(fd, 1) == b"Y"
    finally:
        os.close(fd)


def apply_profile(name: str, proc: int | None = None) -> None:
    """Have the next execve of this thread enter the profile *name*; nothing happens when that is empty.

    *name* may stack several: ``a//&b``. *proc* is what open_procfs returned, if there is one already.
    ApparmorNotEnabled where there is none: the program must not run unconfined.
    """
    if not name:
        return
    own = open_procfs() if proc is None else proc
    try:
        set_attribute(own, "exec", f"exec {name}", "apparmor")
    except SyscallError as error:
        if not is_enabled():
            raise ApparmorNotEnabled(f"AppArmor profile {name!r}: AppArmor is not enabled on this kernel") from None
        error.hint = _HINTS.get(error.errno or 0)
        raise
    finally:
        if proc is None:
            close(own)


def current_profile(pid: int | None = None) -> str:
    """Return the profile and mode of a process, by default of the caller: ``unconfined``, ``web (enforce)``.

    Empty without AppArmor.
    """
    proc = plain_procfs()
    try:
        return attribute(proc, "current", "apparmor", "thread-self" if pid is None else str(pid))
    finally:
        close(proc)
