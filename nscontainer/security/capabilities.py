"""Capabilities: names into sets, and the order in which a process gives them up.

Lesson  Root's power comes in pieces. Five sets say which a thread has, may have, and can regain by execve.
Read    capabilities(7), capset(2), prctl(2)
Needs   CAP_SETPCAP, to shrink the bounding set

The two functions stand around the change of the user::

    drop_bounding(sets, last_cap)   needs CAP_SETPCAP, which the change may take away
    set_keepcaps(True)              else setresuid from root empties the permitted set
    setresuid(...)                  empties the effective and the ambient set all the same
    apply(sets)                     every set to what was asked for; execve then forgets keepcaps

A flat list of names is the bounding, the effective and the permitted set. The inheritable and the ambient set stay
empty: filling the inheritable one, as runtimes once did by default, let a program with file capabilities gain what
its user should not have (CVE-2022-24769 and its kin).
"""
from __future__ import annotations

from errno import EPERM

from ..config import Capabilities
from ..errors import ConfigInvalid, SyscallError
from ..sys.capability import CAP, capget, capset
from ..sys.prctl import cap_ambient_clear_all, cap_ambient_raise, capbset_drop, capbset_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Union

    Wanted = Union[None, Sequence[str], dict[str, Sequence[str]], Capabilities]

__all__ = ["NAMES", "Sets", "apply", "drop_bounding", "lacking", "names_of", "sets_of"]

NAMES = {f"CAP_{cap.name}": int(cap) for cap in CAP}
_LAST_NAME = max(NAMES.values())
_KINDS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class Sets:
    """The five sets, each a number whose bit N is capability N."""

    __slots__ = _KINDS

    def __init__(self, bounding: int = 0, effective: int = 0, permitted: int = 0, inheritable: int = 0,
                 ambient: int = 0) -> None:
        self.bounding, self.effective, self.permitted = bounding, effective, permitted
        self.inheritable, self.ambient = inheritable, ambient

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sets) and all(getattr(self, kind) == getattr(other, kind) for kind in _KINDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sets({', '.join(f'{kind}={getattr(self, kind):#x}' for kind in _KINDS)})"


def sets_of(wanted: Wanted, last_cap: int) -> Sets:
    """Return the sets that a config asks for: a flat list of names, the five by name, or None for no power at all.

    *last_cap* is the last capability that the running kernel knows; later ones are left out, for nobody can have them.
    An ambient capability must be permitted and inheritable too: capabilities(7); one that is not is left out.
    """
    if isinstance(wanted, Capabilities):
        wanted = {kind: getattr(wanted, kind) for kind in _KINDS}
    if not isinstance(wanted, dict):
        flat = _mask(wanted or (), last_cap)
        return Sets(flat, flat, flat)
    sets = Sets(*[_mask(wanted.get(kind) or (), last_cap) for kind in _KINDS])
    sets.ambient &= sets.permitted & sets.inheritable
    return sets


def _mask(names: Iterable[str], last_cap: int) -> int:
    mask = 0
    for name in names:
        number = NAMES.get(name)
        if number is None:
            raise ConfigInvalid("capabilities", f"{name!r} is not a capability", hint="such as CAP_NET_BIND_SERVICE")
        if number <= last_cap:
            mask |= 1 << number
    return mask


def lacking(wanted: Wanted, last_cap: int) -> list[str]:
    """Return the names that sets_of leaves out, since the running kernel does not know them: OCI wants a warning."""
    if last_cap >= _LAST_NAME:
        return []
    if isinstance(wanted, Capabilities):
        wanted = {kind: getattr(wanted, kind) for kind in _KINDS}
    lists = wanted.values() if isinstance(wanted, dict) else (wanted or (),)
    return sorted({name for names in lists for name in names if NAMES.get(name, 0) > last_cap})


def names_of(mask: int) -> list[str]:
    """Return the names of the capabilities in *mask*."""
    return [name for name, number in NAMES.items() if mask >> number & 1]


def drop_bounding(sets: Sets, last_cap: int) -> None:
    """Take everything but ``sets.bounding`` out of the bounding set: what is gone there, no execve brings back."""
    keep = sets.bounding
    for number in range(last_cap + 1):
        if not keep >> number & 1:
            try:
                capbset_drop(number)
            except SyscallError as error:
                # Without CAP_SETPCAP a process may still be what was asked for: somebody has dropped it before.
                if error.errno != EPERM or capbset_read(number):
                    error.hint = "CAP_SETPCAP is needed to shrink the bounding set"
                    raise


def apply(sets: Sets, spare: int = 0) -> None:
    """Set the effective, permitted, inheritable and ambient sets.

    What this process holds of *spare* stays permitted besides, until execve: it computes that set anew.
    """
    try:
        capset(sets.effective, sets.permitted | (spare and spare & capget()[1]), sets.inheritable)
    except SyscallError as error:
        if error.errno == EPERM:
            error.hint = _why_not(sets)
        raise
    cap_ambient_clear_all()
    number, rest = 0, sets.ambient
    while rest:
        if rest & 1:
            cap_ambient_raise(number)
        number, rest = number + 1, rest >> 1


def _why_not(sets: Sets) -> str | None:
    """Say which of the wanted capabilities cannot be had: nobody can set what he does not hold."""
    _, permitted, inheritable = capget()
    reasons = (
        (sets.permitted & ~permitted, "this process does not hold {}; leave that out, or start as who holds it"),
        (sets.effective & ~sets.permitted, "{} would be effective without being permitted"),
        (sets.inheritable & ~(permitted | inheritable), "this process does not hold {}: it cannot be inheritable"),
        (sets.inheritable & ~(sets.bounding | inheritable), "{} would be inheritable, and is not in the bounding set"),
    )
    for missing, reason in reasons:
        if missing:
            return reason.format(", ".join(names_of(missing)))
    return None
