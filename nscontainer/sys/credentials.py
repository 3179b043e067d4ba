"""Who a process is: its users, its groups, its session.

Lesson  A process has a real, an effective and a saved id; giving up root means to set all three.
Read    setresuid(2), setresgid(2), setgroups(2), getgroups(2), setsid(2), credentials(7), user_namespaces(7)
Needs   CAP_SETUID, CAP_SETGID for ids that are not one's own
"""
from __future__ import annotations

from ctypes import addressof, c_int, c_size_t, c_uint, c_void_p

from .libc import failure, function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["getgroups", "getresgid", "getresuid", "setgroups", "setresgid", "setresuid", "setsid"]

_LAST_ID = 0xFFFFFFFE  # one more is -1: "leave it as it is"

_setresuid = function("setresuid", c_uint, c_uint, c_uint)
_setresgid = function("setresgid", c_uint, c_uint, c_uint)
_getresuid = function("getresuid", c_void_p, c_void_p, c_void_p)
_getresgid = function("getresgid", c_void_p, c_void_p, c_void_p)
_setgroups = function("setgroups", c_size_t, c_void_p)
_getgroups = function("getgroups", c_int, c_void_p)
_setsid = function("setsid")


def _check(*ids: int) -> None:
    for number in ids:
        if not 0 <= number <= _LAST_ID:
            raise OverflowError(f"id {number!r} is not between 0 and {_LAST_ID}")


def setresuid(real: int, effective: int, saved: int) -> None:
    """Set all three user ids. Leaving 0 drops capabilities (see prctl.set_keepcaps) and the parent-death signal.

    EAGAIN   RLIMIT_NPROC of the new user, in Linux before 5.14
    EINVAL   an id without a mapping in the user namespace
    EPERM    no CAP_SETUID
    """
    _check(real, effective, saved)
    if _setresuid(real, effective, saved) < 0:
        raise failure("setresuid", real=real, effective=effective, saved=saved)


def setresgid(real: int, effective: int, saved: int) -> None:
    """Set all three group ids. EINVAL: no mapping in the user namespace. EPERM: no CAP_SETGID."""
    _check(real, effective, saved)
    if _setresgid(real, effective, saved) < 0:
        raise failure("setresgid", real=real, effective=effective, saved=saved)


def getresuid() -> tuple[int, int, int]:
    """Return the real, effective and saved user id."""
    ids = (c_uint * 3)()
    at = addressof(ids)
    if _getresuid(at, at + 4, at + 8) < 0:
        raise failure("getresuid")
    return ids[0], ids[1], ids[2]


def getresgid() -> tuple[int, int, int]:
    """Return the real, effective and saved group id."""
    ids = (c_uint * 3)()
    at = addressof(ids)
    if _getresgid(at, at + 4, at + 8) < 0:
        raise failure("getresgid")
    return ids[0], ids[1], ids[2]


def setgroups(groups: Sequence[int]) -> None:
    """Set the supplementary groups, none of them included.

    EINVAL   more than 65536, or one without a mapping
    EPERM    no CAP_SETGID; or /proc/self/setgroups says deny, which a user namespace made without it must
    """
    _check(*groups)
    array = (c_uint * len(groups))(*groups) if groups else None
    if _setgroups(len(groups), array) < 0:
        raise failure("setgroups", groups=list(groups))


def getgroups() -> list[int]:
    """Return the supplementary groups."""
    size = _getgroups(0, None)
    if size < 0:
        raise failure("getgroups")
    if size == 0:
        return []
    array = (c_uint * size)()
    size = _getgroups(size, addressof(array))
    if size < 0:
        raise failure("getgroups")
    return array[:size]


def setsid() -> int:
    """Begin a session without a terminal, and lead it; return its number. EPERM: this process leads a group already."""
    session = _setsid()
    if session < 0:
        raise failure("setsid")
    return session
