"""A container as a unit of systemd: the scope's name, the slice it lies in, and limits as properties.

Lesson  A unit's name is its place, too: a-b.slice lies in a.slice, and a scope in the slice that it names.
Read    systemd.scope(5), systemd.slice(5), systemd.resource-control(5), org.freedesktop.systemd1(5)
"""
from __future__ import annotations

from ..devices import WILDCARD
from ..errors import ConfigInvalid
from . import blkio, cpu, memory
from .devices import rules_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..resources import Cgroup

    Property = tuple[str, tuple[str, Any]]     # name, and signature and value

__all__ = ["as_enforced", "cpu_mask", "device_properties", "limit_properties", "scope_properties", "slice_name",
           "slice_path", "unit_name"]

INFINITY = (1 << 64) - 1
_LONGEST = 255       # UNIT_NAME_MAX
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\")
_PERIOD = 100_000    # µs, the kernel's

# Which systemd first took a property. It is told nothing it would refuse; the control files are written all the same.
_SINCE = {
    "TasksAccounting": 227, "TasksMax": 227, "IOAccounting": 230, "IOWeight": 230, "MemoryMax": 231, "MemoryHigh": 231,
    "MemoryLow": 231, "MemorySwapMax": 232, "CPUWeight": 232, "MemoryMin": 240, "CPUQuotaPeriodUSec": 242,
    "AllowedCPUs": 244, "AllowedMemoryNodes": 244, "OOMPolicy": 253,
}
_NUMERIC_DEVICES = 240   # takes "char-136" and a path of a device that is not there
_IDLE_WEIGHT = 252       # CPUWeight=idle


def unit_name(cgroup: Cgroup) -> str:
    """Return the name of the container's scope."""
    for field, text in (("scope_prefix", cgroup.scope_prefix), ("name", cgroup.name)):
        if wrong := sorted(set(text) - _LETTERS):
            raise ConfigInvalid(f"cgroups.{field}", f"the name of a unit of systemd cannot have {''.join(wrong)!r}")
    if not cgroup.name:
        raise ConfigInvalid("cgroups.name", "a scope of systemd needs a name")
    if cgroup.name.endswith(".slice"):
        raise ConfigInvalid("cgroups.name", f"{cgroup.name!r} is a slice, and slices have no processes",
                            hint="name the scope; the slice goes to cgroups.parent")
    name = f"{cgroup.scope_prefix}-{cgroup.name}.scope"
    if len(name) > _LONGEST:
        raise ConfigInvalid("cgroups.name", f"{name!r} is longer than systemd takes: {_LONGEST} letters")
    return name


def slice_name(cgroup: Cgroup, user: bool) -> str:
    """Return the slice that the scope lies in."""
    slice_path(cgroup.parent or "-.slice")
    return cgroup.parent or ("user.slice" if user else "system.slice")


def slice_path(name: str) -> str:
    """Return where a slice lies: each dash of its name is a level. "a-b.slice" is at "/a.slice/a-b.slice"."""
    stem = name[:-6]
    words = stem.split("-")
    if not name.endswith(".slice") or not stem or stem != "-" and not all(words) or not set(stem) <= _LETTERS:
        raise ConfigInvalid("cgroups.parent", f"{name!r} is not the name of a slice of systemd",
                            hint="such a name looks like system.slice, or a-b.slice for one in a.slice")
    if stem == "-":
        return ""
    return "".join(f"/{'-'.join(words[:length])}.slice" for length in range(1, len(words) + 1))


def scope_properties(cgroup: Cgroup, slice: str, pid: int, *, unified: bool, version: int) -> list[Property]:
    """Return what makes a scope of ours: the process, where, and that the cgroups below it are not systemd's."""
    found: list[Property] = [
        ("Description", ("s", f"libcontainer container {cgroup.name}")),
        ("Slice", ("s", slice)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [pid])),
        ("MemoryAccounting", ("b", True)),
        ("CPUAccounting", ("b", True)),
        ("IOAccounting" if unified else "BlockIOAccounting", ("b", True)),
        ("TasksAccounting", ("b", True)),
        ("DefaultDependencies", ("b", False)),   # else it would be stopped before those that depend on it
    ]
    group = cgroup.unified.get("memory.oom.group", "").strip()
    if group in ("0", "1"):
        found.append(("OOMPolicy", ("s", "kill" if group == "1" else "continue")))
    return _known(found, version)


def limit_properties(cgroup: Cgroup, *, unified: bool, version: int) -> list[Property]:
    """Return the limits that systemd knows of, so that it does not set them back when it sets others."""
    found = [*(_v2(cgroup, version) if unified else _v1(cgroup)), *_cpu_time(cgroup)]
    if cgroup.pids_limit is not None:
        found.append(("TasksMax", ("t", _amount(cgroup.pids_limit or 1))))  # TasksMax=0 is refused
    for field, name in (("cpuset_cpus", "AllowedCPUs"), ("cpuset_mems", "AllowedMemoryNodes")):
        if text := getattr(cgroup, field):
            found.append((name, ("ay", cpu_mask(text, f"cgroups.{field}"))))
    if unified:
        found += _from_files(cgroup)
    return _known(found, version)


def _known(properties: list[Property], version: int) -> list[Property]:
    return [one for one in properties if version >= _SINCE.get(one[0], 0)]


def _amount(value: int) -> int:
    return INFINITY if value < 0 else value


def _v1(cgroup: Cgroup) -> Iterator[Property]:
    for name, value in (("MemoryLimit", cgroup.memory), ("CPUShares", cgroup.cpu_shares),
                        ("BlockIOWeight", cgroup.blkio_weight)):
        if value:
            yield name, ("t", _amount(value))


def _v2(cgroup: Cgroup, version: int) -> Iterator[Property]:
    for name, value in (
            ("MemoryMax", cgroup.memory), ("MemoryLow", cgroup.memory_reservation or cgroup.memory_low),
            ("MemoryHigh", cgroup.memory_high), ("MemoryMin", cgroup.memory_min)):
        if value:
            yield name, ("t", _amount(value))
    swap = memory.swap_alone(cgroup)
    if swap is not None:
        yield "MemorySwapMax", ("t", _amount(swap))
    if cgroup.cpu_idle == 1:
        if version >= _IDLE_WEIGHT:
            yield "CPUWeight", ("t", 0)
    elif weight := cgroup.cpu_weight or cpu.weight(cgroup.cpu_shares):
        yield "CPUWeight", ("t", weight)
    if cgroup.blkio_weight:
        yield "IOWeight", ("t", blkio.weight(cgroup.blkio_weight))


# --- CPU time

def _per_second(quota: int, period: int) -> int:
    """Return µs of CPU time in each second, as exact as systemd has it: 10 ms."""
    return -(-(quota * 1_000_000 // (period or _PERIOD)) // 10_000) * 10_000


def _cpu_time(cgroup: Cgroup) -> Iterator[Property]:
    if cgroup.cpu_period:
        yield "CPUQuotaPeriodUSec", ("t", cgroup.cpu_period)
    if cgroup.cpu_quota or cgroup.cpu_period:
        quota = _per_second(cgroup.cpu_quota, cgroup.cpu_period) if cgroup.cpu_quota > 0 else INFINITY
        yield "CPUQuotaPerSecUSec", ("t", quota)


def as_enforced(cgroup: Cgroup) -> Cgroup:
    """Return the limits as systemd has them: with a quota rounded up as it does.

    Were the exact one written to the control file, systemd would one day write its own over it.
    """
    if cgroup.cpu_quota <= 0:
        return cgroup
    quota = _per_second(cgroup.cpu_quota, cgroup.cpu_period) * (cgroup.cpu_period or _PERIOD) // 1_000_000
    if quota == cgroup.cpu_quota:
        return cgroup
    rounded = cgroup.copy()
    rounded.cpu_quota = quota
    return rounded


def cpu_mask(text: str, where: str) -> bytes:
    """Return a list as in "0-3,7" as bits, the lowest first."""
    mask = 0
    for part in text.replace("\n", "").split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first and not dash:
            continue
        numbers = (first, last if dash else first)
        if not all(number.isascii() and number.isdecimal() and int(number) < 1 << 16 for number in numbers):
            raise ConfigInvalid(where, f"{text!r} is not a list as in '0-3,7'")
        low, high = map(int, numbers)
        if low > high:
            raise ConfigInvalid(where, f"{text!r}: {part.strip()!r} runs backwards")
        mask |= ((1 << (high - low + 1)) - 1) << low
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


# --- the files of cgroups.unified

_AMOUNTS = {"memory.max": "MemoryMax", "memory.low": "MemoryLow", "memory.high": "MemoryHigh",
            "memory.min": "MemoryMin", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax"}
_MASKS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def _from_files(cgroup: Cgroup) -> Iterator[Property]:
    """Return what of the control files systemd has a property for. Whether a text is right, the kernel will say."""
    for file, text in cgroup.unified.items():
        word = text.strip()
        number = INFINITY if word == "max" else int(word) if word.isascii() and word.isdecimal() else None
        if file in _AMOUNTS and number is not None:
            yield _AMOUNTS[file], ("t", number)
        elif file == "cpu.weight" and number is not None:
            yield "CPUWeight", ("t", number)
        elif file in _MASKS:
            yield _MASKS[file], ("ay", cpu_mask(word, f"cgroups.unified[{file!r}]"))
        elif file == "cpu.max":
            quota, _, period = word.partition(" ")
            if all(part.isascii() and part.isdecimal() for part in (period or "1", "1" if quota == "max" else quota)):
                if period:
                    yield "CPUQuotaPeriodUSec", ("t", int(period))
                limit = INFINITY if quota == "max" else _per_second(int(quota), int(period or 0))
                yield "CPUQuotaPerSecUSec", ("t", limit)


# --- devices

def device_properties(cgroup: Cgroup, version: int) -> list[Property]:
    """Return which devices there are to be.

    systemd has no list of exceptions to "all", nor words for "any device of this minor number". Where that is wanted
    it is told "all", and what is allowed is ours alone to enforce.
    """
    everything: list[Property] = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    rules = rules_of(cgroup)
    if rules.allow or version < _NUMERIC_DEVICES:
        return everything
    allowed = []
    for kind, major, minor, permissions in rules.exceptions:
        word = "block" if kind == ord("b") else "char"
        if major == WILDCARD and minor != WILDCARD:
            return everything
        path = f"{word}-*" if major == WILDCARD else f"{word}-{major}" if minor == WILDCARD else (
            f"/dev/{word}/{major}:{minor}")
        allowed.append((path, permissions))
    # Its list can only be added to, except that an empty one empties it.
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", [])), ("DeviceAllow", ("a(ss)", allowed))]
