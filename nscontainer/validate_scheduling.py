"""The rules of when and where a program runs: scheduler, CPUs, memory nodes, rank at the disk.

Lesson  Each policy takes some values and would silently pass over the others; who writes them expects something.
Read    sched(7), sched_setattr(2), set_mempolicy(2)
"""
from __future__ import annotations

from .errors import ConfigInvalid
from .strictjson import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .config import Config, MemoryPolicy, Scheduler

__all__ = ["IO_CLASSES", "MEMORY_FLAGS", "MEMORY_POLICIES", "POLICIES", "SCHEDULER_FLAGS", "check"]

# The specification's words. The classes in sys/ have the same; to have those, the caller would load what only the
# child calls.
POLICIES: Final = {f"SCHED_{name}": number for number, name in enumerate(
    ("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"))}
SCHEDULER_FLAGS: Final = {f"SCHED_FLAG_{name}": 1 << bit for bit, name in enumerate(
    ("RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"))}
IO_CLASSES: Final = {f"IOPRIO_CLASS_{name}": number for number, name in enumerate(("RT", "BE", "IDLE"), 1)}
MEMORY_POLICIES: Final = {f"MPOL_{name}": number for number, name in enumerate(
    ("DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "PREFERRED_MANY", "WEIGHTED_INTERLEAVE"))}
MEMORY_FLAGS: Final = {f"MPOL_F_{name}": 1 << bit for bit, name in enumerate(
    ("NUMA_BALANCING", "RELATIVE_NODES", "STATIC_NODES"), 13)}

HIGHEST: Final = 8191       # CPU or node: CONFIG_NR_CPUS goes no further on any machine
_NICE = (0, 3)              # OTHER, BATCH
_REAL_TIME = (1, 2)         # FIFO, RR
_DEADLINE = 6
_SCHEDULERS = tuple(POLICIES)
_FLAGS = sum(SCHEDULER_FLAGS.values())
_NO_NODES = (0, 4)          # MPOL_DEFAULT, MPOL_LOCAL
_SOME_NODES = (2, 3, 5, 6)  # MPOL_BIND, INTERLEAVE, PREFERRED_MANY, WEIGHTED_INTERLEAVE
_MODE_FLAGS = sum(MEMORY_FLAGS.values())


def check(config: Config) -> None:
    """Raise ConfigInvalid unless the values go together."""
    if config.scheduler is not None:
        _scheduler(config.scheduler)
    if config.io_priority is not None and not config.io_priority.io_class:
        raise ConfigInvalid("io_priority.io_class", "is missing", hint="1 is real-time, 2 best effort, 3 idle")
    if config.memory_policy is not None:
        _memory_policy(config.memory_policy)
    if config.exec_cpu_affinity is not None:
        for name in ("initial", "final"):
            _list(f"exec_cpu_affinity.{name}", getattr(config.exec_cpu_affinity, name))


def _scheduler(wanted: Scheduler) -> None:
    policy = wanted.policy
    if wanted.nice and policy not in _NICE:
        raise _idle("nice", policy, "SCHED_OTHER and SCHED_BATCH")
    if wanted.priority and policy not in _REAL_TIME:
        raise _idle("priority", policy, "SCHED_FIFO and SCHED_RR")
    if not wanted.priority and policy in _REAL_TIME:
        raise ConfigInvalid("scheduler.priority", f"is missing: {_SCHEDULERS[policy]} has priorities from 1 to 99")
    for name in ("runtime", "deadline", "period"):
        if getattr(wanted, name) and policy != _DEADLINE:
            raise _idle(name, policy, "SCHED_DEADLINE")
    if policy == _DEADLINE and not wanted.runtime:
        raise ConfigInvalid("scheduler.runtime", "is missing: SCHED_DEADLINE gives so many ns of each period")
    if wanted.flags & ~_FLAGS:
        raise ConfigInvalid("scheduler.flags", f"{wanted.flags & ~_FLAGS:#x} is no flag of sched_setattr(2)")


def _idle(name: str, policy: int, where: str) -> ConfigInvalid:
    return ConfigInvalid(f"scheduler.{name}", f"means nothing with {_SCHEDULERS[policy]}", hint=f"it is for {where}")


def _memory_policy(wanted: MemoryPolicy) -> None:
    _list("memory_policy.nodes", wanted.nodes)
    if wanted.nodes and wanted.mode in _NO_NODES:
        raise ConfigInvalid("memory_policy.nodes", "MPOL_DEFAULT and MPOL_LOCAL take no nodes", hint="leave it empty")
    if not wanted.nodes and wanted.mode in _SOME_NODES:
        raise ConfigInvalid("memory_policy.nodes", "is empty, and this policy is about nodes", hint="such as 0-1,3")
    if wanted.flags & ~_MODE_FLAGS:
        raise ConfigInvalid("memory_policy.flags", f"{wanted.flags & ~_MODE_FLAGS:#x} is no flag of set_mempolicy(2)")


def _list(at: str, listed: str) -> None:
    for part in listed.split(",") if listed else ():
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first, first)
        if not all(number.isascii() and number.isdecimal() and len(number) < 6 for number in numbers) \
                or not int(numbers[0]) <= int(numbers[1]) <= HIGHEST:
            raise ConfigInvalid(at, f"{shortened(listed)!r} is not a list such as 0-3,7")
