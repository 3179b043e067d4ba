"""Which devices may be opened and made: the rules of a Cgroup, and the list that version 1 keeps of them.

Lesson  A list is "everything but" or "nothing but"; writing "a" to it chooses which, and empties it.
Read    the kernel's cgroup-v1/devices.rst
"""
from __future__ import annotations

from errno import EACCES, EPERM

from ..devices import DEFAULT_ALLOWED_DEVICES, WILDCARD
from ..errors import SyscallError
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..devices import Device
    from ..resources import Cgroup

    Rule = tuple[int, int, int, str]

__all__ = ["Rules", "restricted", "rules_of", "set_v1"]

_ALL = "rwm"


class Rules:
    """Everything but the *exceptions*, or nothing but them: type, major, minor, and what of r, w, m."""

    def __init__(self, allow: bool, exceptions: Iterable[Rule] = ()) -> None:
        self.allow = allow
        merged: dict[tuple[int, int, int], str] = {}
        for kind, major, minor, permissions in exceptions:
            before = merged.get((kind, major, minor), "")
            merged[kind, major, minor] = "".join(p for p in _ALL if p in before + permissions)
        self.exceptions = [(*device, permissions) for device, permissions in merged.items()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rules) and (self.allow, sorted(self.exceptions)) == (
            other.allow, sorted(other.exceptions))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Rules({self.allow}, {self.exceptions})"

    def lines(self) -> list[str]:
        """Return the exceptions as devices.allow and devices.deny take them."""
        return [f"{chr(kind)} {_star(major)}:{_star(minor)} {permissions}"
                for kind, major, minor, permissions in self.exceptions]


def _star(number: int) -> str:
    return "*" if number == WILDCARD else str(number)


def restricted(cgroup: Cgroup) -> bool:
    """Say whether it was said which devices there are to be: otherwise the usual list holds, where it can be had."""
    return bool(cgroup.allowed_devices or cgroup.denied_devices)


def rules_of(cgroup: Cgroup) -> Rules:
    """Return what a Cgroup says. A rule for all devices, of type "a", chooses the list as in version 1."""
    if cgroup.allow_all_devices:
        listed: tuple[Device, ...] = cgroup.denied_devices
    else:
        # Without a word about devices: what every program needs. That those of the host stay closed is the point.
        listed = cgroup.allowed_devices if restricted(cgroup) else DEFAULT_ALLOWED_DEVICES
    rules: list[Rule] = []
    for rule in listed:
        if rule.type == 97:  # "a"
            return Rules(not cgroup.allow_all_devices)
        rules.append((rule.type, rule.major, rule.minor, rule.permissions))
    return Rules(cgroup.allow_all_devices, rules)


def _current(content: str) -> Rules:
    """Return what devices.list says: ``a *:* rwm``, or what is allowed. It hides the exceptions of allow-all."""
    found: list[Rule] = []
    for line in content.splitlines():
        kind, device, permissions = line.split()
        if kind == "a":
            return Rules(True)
        major, _, minor = device.partition(":")
        found.append((ord(kind), *(WILDCARD if number == "*" else int(number) for number in (major, minor)),
                      permissions))  # type: ignore[arg-type]
    return Rules(False, found)


def set_v1(directory: str, rules: Rules, old: Rules | None = None, tolerant: bool = False) -> None:
    """Make the list of a cgroup say *rules*. What it says before and after stays allowed all the time.

    *old* is what is in force, None in a new cgroup; when the kernel refuses, it is put in force again. EPERM: the
    cgroup above does not allow as much. Who is *tolerant* can do without what it does not allow.
    """
    try:
        _change(directory, _current(files.read(f"{directory}/devices.list")), rules, tolerant=tolerant)
    except SyscallError as error:
        if error.errno in (EPERM, EACCES):
            error.hint = "cgroups.allowed_devices: the cgroup above does not allow that device"
        if old is not None:
            _change(directory, _current(files.read(f"{directory}/devices.list")), old, anew=True)
        raise


def _change(directory: str, current: Rules, rules: Rules, *, anew: bool = False, tolerant: bool = False) -> None:
    allow, deny = f"{directory}/devices.allow", f"{directory}/devices.deny"
    if rules.allow:
        # Exceptions to "all" cannot be listed, so they cannot be compared either: from the beginning.
        files.write(allow, "a")
        _write_each(deny, rules.lines())
    elif current.allow or anew:
        files.write(deny, "a")
        _write_each(allow, rules.lines(), tolerant)
    else:
        before, after = current.lines(), rules.lines()
        _write_each(allow, [line for line in after if line not in before], tolerant)
        _write_each(deny, _surplus(current, rules))


def _surplus(current: Rules, rules: Rules) -> list[str]:
    """Return what is to be denied: of each device what was allowed and is not any more."""
    wanted = {rule[:3]: rule[3] for rule in rules.exceptions}
    return Rules(False, [(*rule[:3], left) for rule in current.exceptions
                         if (left := "".join(p for p in rule[3] if p not in wanted.get(rule[:3], "")))]).lines()


def _write_each(path: str, lines: list[str], tolerant: bool = False) -> None:
    """Write lines one by one, through one open file: the kernel takes one rule in one write."""
    try:
        if lines:
            files.write_lines(path, lines)
    except SyscallError as error:
        if not tolerant or error.errno != EPERM:
            raise
        _write_each(path, lines[lines.index(str(error.details["text"])) + 1:], tolerant)
