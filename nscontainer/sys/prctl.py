"""What a process may say about itself: prctl(2).

Lesson  Some attributes of a process are neither ids nor limits; each is one number behind the same call.
Read    prctl(2) and PR_*(2const), capabilities(7), Documentation/userspace-api/no_new_privs.rst
Needs   CAP_SETPCAP to drop from the bounding set and to set securebits; nothing otherwise
"""
from __future__ import annotations

from ctypes import addressof, c_int, c_ulong, create_string_buffer

from .flags import Enumeration, Flags
from .libc import encoded, failure, function

__all__ = [
    "PR", "SECBIT", "cap_ambient_clear_all", "cap_ambient_is_set", "cap_ambient_lower", "cap_ambient_raise",
    "capbset_drop", "capbset_read", "get_child_subreaper", "get_dumpable", "get_keepcaps", "get_name",
    "get_no_new_privs", "get_pdeathsig", "get_securebits", "set_child_subreaper", "set_dumpable", "set_keepcaps",
    "set_name", "set_no_new_privs", "set_pdeathsig", "set_securebits", "set_timerslack",
]


class PR(Enumeration):
    """The options of prctl(2) that a container has a use for."""

    SET_PDEATHSIG = 1
    GET_PDEATHSIG = 2
    GET_DUMPABLE = 3
    SET_DUMPABLE = 4
    GET_KEEPCAPS = 7
    SET_KEEPCAPS = 8
    SET_NAME = 15
    GET_NAME = 16
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    GET_SECUREBITS = 27
    SET_SECUREBITS = 28
    SET_TIMERSLACK = 29
    SET_CHILD_SUBREAPER = 36
    GET_CHILD_SUBREAPER = 37
    SET_NO_NEW_PRIVS = 38
    GET_NO_NEW_PRIVS = 39
    CAP_AMBIENT = 47


class SECBIT(Flags):
    """What root means to this process; each has a LOCKED bit beside it."""

    NOROOT = 1
    NOROOT_LOCKED = 2
    NO_SETUID_FIXUP = 4
    NO_SETUID_FIXUP_LOCKED = 8
    KEEP_CAPS = 16
    KEEP_CAPS_LOCKED = 32
    NO_CAP_AMBIENT_RAISE = 64
    NO_CAP_AMBIENT_RAISE_LOCKED = 128


_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)


def set_dumpable(dumpable: bool) -> None:
    """Let others of the same user trace this process and read its /proc files, or only root: PR_SET_DUMPABLE."""
    if _prctl(4, 1 if dumpable else 0, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_DUMPABLE, value=dumpable)


def get_dumpable() -> bool:
    """Say whether others of the same user may trace this process: PR_GET_DUMPABLE."""
    value = _prctl(3, 0, 0, 0, 0)
    if value < 0:
        raise failure("prctl", option=PR.GET_DUMPABLE)
    return value == 1  # 2: dumps are for root alone


def set_pdeathsig(signal: int) -> None:
    """Ask for *signal* when the thread that made this process ends; 0 for none: PR_SET_PDEATHSIG.

    A fork, a set-id execve and a change of ids clear it. The parent may be gone already: look at getppid after.
    """
    if not 0 <= signal <= 64:
        raise ValueError(f"{signal!r} is not a signal")
    if _prctl(1, signal, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_PDEATHSIG, signal=signal)


def get_pdeathsig() -> int:
    """Return the signal that comes when the parent ends, or 0: PR_GET_PDEATHSIG."""
    signal = c_int()
    if _prctl(2, addressof(signal), 0, 0, 0) < 0:
        raise failure("prctl", option=PR.GET_PDEATHSIG)
    return signal.value


def set_keepcaps(keep: bool) -> None:
    """Keep the permitted capabilities when the ids change from 0 to others; execve clears this: PR_SET_KEEPCAPS."""
    if _prctl(8, 1 if keep else 0, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_KEEPCAPS, value=keep)


def get_keepcaps() -> bool:
    """Say whether capabilities outlive a change from root: PR_GET_KEEPCAPS."""
    value = _prctl(7, 0, 0, 0, 0)
    if value < 0:
        raise failure("prctl", option=PR.GET_KEEPCAPS)
    return bool(value)


def set_name(name: str) -> None:
    """Set what ps shows for this thread, 15 bytes of it: PR_SET_NAME."""
    raw = create_string_buffer((encoded(name) or b"")[:15], 16)
    if _prctl(15, addressof(raw), 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_NAME, name=name)


def get_name() -> str:
    """Return what ps shows for this thread: PR_GET_NAME."""
    raw = create_string_buffer(16)
    if _prctl(16, addressof(raw), 0, 0, 0) < 0:
        raise failure("prctl", option=PR.GET_NAME)
    return raw.value.decode("utf-8", "surrogateescape")


def _check(capability: int) -> None:
    if not 0 <= capability <= 63:
        raise ValueError(f"{capability!r} is not a capability")


def capbset_read(capability: int) -> bool:
    """Say whether *capability* is in the bounding set. EINVAL: this kernel does not have it."""
    _check(capability)
    value = _prctl(23, capability, 0, 0, 0)
    if value < 0:
        raise failure("prctl", option=PR.CAPBSET_READ, capability=int(capability))
    return bool(value)


def capbset_drop(capability: int) -> None:
    """Take *capability* out of the bounding set, for good. EPERM: no CAP_SETPCAP. EINVAL: the kernel has it not."""
    _check(capability)
    if _prctl(24, capability, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.CAPBSET_DROP, capability=int(capability))


def cap_ambient_is_set(capability: int) -> bool:
    """Say whether *capability* survives execve of a plain file: PR_CAP_AMBIENT_IS_SET."""
    _check(capability)
    value = _prctl(47, 1, capability, 0, 0)
    if value < 0:
        raise failure("prctl", option=PR.CAP_AMBIENT, command="IS_SET", capability=int(capability))
    return bool(value)


def cap_ambient_raise(capability: int) -> None:
    """Let *capability* survive execve. EPERM: not both permitted and inheritable, or SECBIT_NO_CAP_AMBIENT_RAISE."""
    _check(capability)
    if _prctl(47, 2, capability, 0, 0) < 0:
        raise failure("prctl", option=PR.CAP_AMBIENT, command="RAISE", capability=int(capability))


def cap_ambient_lower(capability: int) -> None:
    """Take *capability* out of the ambient set."""
    _check(capability)
    if _prctl(47, 3, capability, 0, 0) < 0:
        raise failure("prctl", option=PR.CAP_AMBIENT, command="LOWER", capability=int(capability))


def cap_ambient_clear_all() -> None:
    """Empty the ambient set."""
    if _prctl(47, 4, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.CAP_AMBIENT, command="CLEAR_ALL")


def get_securebits() -> SECBIT:
    """Return what root means to this process: PR_GET_SECUREBITS."""
    bits = _prctl(27, 0, 0, 0, 0)
    if bits < 0:
        raise failure("prctl", option=PR.GET_SECUREBITS)
    return SECBIT(bits)


def set_securebits(bits: int) -> None:
    """Say what root means to this process and its children: PR_SET_SECUREBITS. EPERM: no CAP_SETPCAP, or locked."""
    if not 0 <= bits <= 0xFFFFFFFF:
        raise OverflowError(f"securebits {hex(bits)} do not fit 32 bits")
    if _prctl(28, bits, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_SECUREBITS, bits=SECBIT(bits))


def set_child_subreaper(reap: bool) -> None:
    """Become the parent of orphaned descendants, in place of process 1: PR_SET_CHILD_SUBREAPER."""
    if _prctl(36, 1 if reap else 0, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_CHILD_SUBREAPER, value=reap)


def get_child_subreaper() -> bool:
    """Say whether orphaned descendants come to this process: PR_GET_CHILD_SUBREAPER."""
    value = c_int()
    if _prctl(37, addressof(value), 0, 0, 0) < 0:
        raise failure("prctl", option=PR.GET_CHILD_SUBREAPER)
    return bool(value.value)


def set_no_new_privs() -> None:
    """Make execve grant nothing, for good, here and in every child: set-id bits, file capabilities."""
    if _prctl(38, 1, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_NO_NEW_PRIVS)


def get_no_new_privs() -> bool:
    """Say whether execve can grant nothing: PR_GET_NO_NEW_PRIVS."""
    value = _prctl(39, 0, 0, 0, 0)
    if value < 0:
        raise failure("prctl", option=PR.GET_NO_NEW_PRIVS)
    return bool(value)


def set_timerslack(nanoseconds: int) -> None:
    """Let timers of this thread be that much late; 0 for the inherited value: PR_SET_TIMERSLACK."""
    if not 0 <= nanoseconds <= 0x7FFFFFFFFFFFFFFF:
        raise OverflowError(f"{nanoseconds} ns out of range")
    if _prctl(29, nanoseconds, 0, 0, 0) < 0:
        raise failure("prctl", option=PR.SET_TIMERSLACK, nanoseconds=nanoseconds)
