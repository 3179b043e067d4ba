"""Limits as people write them, "256M" of memory and 1.5 CPUs, made into those of a Cgroup.

Lesson  The kernel counts in bytes and microseconds; a CPU and a half is 150 ms of CPU time in every 100 ms.
Read    cgroups(7), sysfs(5) on /sys/dev/block
"""
from __future__ import annotations

import os

from .errors import ConfigInvalid
from .resources import Cgroup, ThrottleDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Union

    Amount = Union[int, str]
    Traffic = Union[int, str, Mapping[str, "Amount"]]

__all__ = ["amount", "block_device", "limits"]

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
_MOST = (1 << 63) - 1
_PERIOD = 100_000    # µs
_TRAFFIC = {"read": "read_bps", "write": "write_bps", "read_ops": "read_iops", "write_ops": "write_iops"}


def amount(value: Amount, where: str) -> int:
    """Return a number of bytes: ``268435456``, ``"256M"``, ``"256MiB"``, ``"1.5G"``. Each unit is 1024 of the last.

    ConfigInvalid is led by *where* it was given.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= _MOST:
            return int(value)
    elif isinstance(value, str):
        plain = value.strip().upper()
        for end in ("IB", "B"):
            if plain.endswith(end):
                plain = plain[:-len(end)]
                break
        unit = plain[-1:] if plain[-1:].isalpha() else ""
        digits = plain[:len(plain) - len(unit)]
        whole, _, fraction = digits.partition(".")
        if unit in _UNITS and digits.isascii() and whole.isdecimal() and (fraction.isdecimal() or digits == whole):
            scale = 1 << _UNITS[unit]
            found = int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
            if found <= _MOST and len(digits) < 40:
                return found
    raise ConfigInvalid(where, f"expected bytes as in 268435456, '256M' or '1.5G', got {value!r}")


def _ceiling(value: Any, where: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigInvalid(where, f"expected a whole number from 1, got {value!r}")
    return value


def limits(name: str, *, memory: Amount | None = None, swap: Amount | None = None, cpus: float | None = None,
           cpuset: str | None = None, pids: int | None = None,
           io: Mapping[str | os.PathLike[str], Traffic] | None = None) -> Cgroup | None:
    """Return a Cgroup with these limits, None when there are none; ConfigInvalid names the argument at fault.

    *memory* — bytes; who takes more is killed. *swap* — bytes beside them; without it as much as memory, 0: none.
    *cpus* — how much CPU time there is in each second of real time. *cpuset* — which CPUs: "0-3,7".
    *pids* — processes and threads at a time.
    *io* — for each block device, or any file on it, bytes per second, ``{"/dev/vda": "10M"}``; or each way by itself,
    ``{"/": {"read": "50M", "write": "10M", "read_ops": 1000, "write_ops": 100}}``.
    """
    group = Cgroup(name=name)
    if memory is not None:
        group.memory = _at_least(amount(memory, "memory"), 1 << 20, "memory", "a program needs a mebibyte, at least")
        group.memory_swap = group.memory + (group.memory if swap is None else amount(swap, "swap"))
    elif swap is not None:
        raise ConfigInvalid("swap", "means nothing without memory", hint="limit memory too")
    if cpus is not None:
        if isinstance(cpus, bool) or not isinstance(cpus, (int, float)) or not 0.01 <= cpus <= 10_000:
            raise ConfigInvalid("cpus", f"expected a number from 0.01, as in 1.5, got {cpus!r}")
        group.cpu_quota, group.cpu_period = round(cpus * _PERIOD), _PERIOD
    if cpuset is not None:
        group.cpuset_cpus = _cpu_list(cpuset)
    if pids is not None:
        group.pids_limit = _ceiling(pids, "pids", 1 << 22)
    for path, wanted in (io or {}).items():
        _throttle(group, os.fspath(path), wanted)
    return group if len(group.__dict__) > 1 else None


def _at_least(value: int, least: int, where: str, hint: str) -> int:
    if value < least:
        raise ConfigInvalid(where, f"{value} bytes are too little", hint=hint)
    return value


def _cpu_list(text: str) -> str:
    for part in text.split(",") if isinstance(text, str) else [""]:
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and first.isascii() and (last.isdecimal() and last.isascii() if dash else True)
                and int(first) <= int(last or first)):
            raise ConfigInvalid("cpuset", f"expected CPUs as in '0-3,7', got {text!r}")
    return text


def _throttle(group: Cgroup, path: str, wanted: Traffic) -> None:
    where = f"io[{path!r}]"
    major, minor = block_device(path, where)
    each: Mapping[str, Amount] = {"read": wanted, "write": wanted} if isinstance(wanted, (int, str)) else wanted
    for way, value in each.items():
        if way not in _TRAFFIC:
            raise ConfigInvalid(where, f"{way!r} is none of {', '.join(_TRAFFIC)}")
        at = f"{where}[{way!r}]"
        rate = _ceiling(value, at, _MOST) if way.endswith("_ops") else _at_least(
            amount(value, at), 1, at, "leave it out where there is to be no limit")
        field = f"blkio_throttle_{_TRAFFIC[way]}_device"
        setattr(group, field, (*getattr(group, field), ThrottleDevice(major=major, minor=minor, rate=rate)))


def block_device(path: str, where: str) -> tuple[int, int]:
    """Return the numbers of a disk, given its node or any file on it; of a partition the whole disk's.

    The kernel counts traffic by disk, whatever part of it.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigInvalid(where, f"{path!r}: {os.strerror(error.errno or 0).lower()}",
                            hint="name a disk, or a file on it") from None
    number = status.st_rdev if status.st_mode & 0o170000 == 0o060000 else status.st_dev
    major, minor = os.major(number), os.minor(number)
    entry = f"/sys/dev/block/{major}:{minor}"
    if not os.path.exists(entry):
        raise ConfigInvalid(where, f"{path!r} is on no disk, but on {major}:{minor}",
                            hint="name a block device: lsblk(8) lists them")
    if os.path.exists(f"{entry}/partition"):
        with open(f"{entry}/../dev", encoding="ascii") as file:
            major, minor = map(int, file.read().split(":"))
    return major, minor
