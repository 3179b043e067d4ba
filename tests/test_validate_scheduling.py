"""Which values of scheduler, CPUs, memory nodes and rank at the disk go together."""
from __future__ import annotations

from typing import Any

import pytest

from nscontainer import Config, ConfigInvalid
from nscontainer.config import CPUAffinity, IOPriority, MemoryPolicy, Scheduler
from nscontainer.sys.mempolicy import MPOL, MPOL_F
from nscontainer.sys.scheduling import IOPRIO_CLASS, SCHED, SCHED_FLAG
from nscontainer.validate_scheduling import (
    IO_CLASSES,
    MEMORY_FLAGS,
    MEMORY_POLICIES,
    POLICIES,
    SCHEDULER_FLAGS,
    check,
)


@pytest.mark.parametrize(("words", "prefix", "kernel"), [
    (POLICIES, "SCHED_", SCHED), (SCHEDULER_FLAGS, "SCHED_FLAG_", SCHED_FLAG),
    (IO_CLASSES, "IOPRIO_CLASS_", IOPRIO_CLASS),
    (MEMORY_POLICIES, "MPOL_", MPOL), (MEMORY_FLAGS, "MPOL_F_", MPOL_F)])
def test_the_words_are_the_kernels(words: dict[str, int], prefix: str, kernel: Any) -> None:
    assert words == {prefix + member.name: int(member) for member in kernel}


@pytest.mark.parametrize("fields", [
    {"scheduler": Scheduler(policy=SCHED.OTHER, nice=-20)},
    {"scheduler": Scheduler(policy=SCHED.RR, priority=1, flags=0x7F)},
    {"scheduler": Scheduler(policy=SCHED.DEADLINE, runtime=1, deadline=2, period=3)},
    {"io_priority": IOPriority(io_class=1, priority=7)},
    {"memory_policy": MemoryPolicy(mode=MPOL.PREFERRED)},
    {"memory_policy": MemoryPolicy(mode=MPOL.BIND, nodes="0-1,7", flags=0xE000)},
    {"exec_cpu_affinity": CPUAffinity(initial="0", final="0-3,5")},
    {"exec_cpu_affinity": CPUAffinity()},
])
def test_what_goes_together_passes(fields: dict[str, Any]) -> None:
    check(Config(**fields))


@pytest.mark.parametrize(("fields", "path"), [
    ({"scheduler": Scheduler(policy=SCHED.IDLE, nice=1)}, "scheduler.nice"),
    ({"scheduler": Scheduler(policy=SCHED.BATCH, priority=1)}, "scheduler.priority"),
    ({"scheduler": Scheduler(policy=SCHED.FIFO)}, "scheduler.priority"),
    ({"scheduler": Scheduler(policy=SCHED.FIFO, priority=1, deadline=1)}, "scheduler.deadline"),
    ({"scheduler": Scheduler(policy=SCHED.DEADLINE)}, "scheduler.runtime"),
    ({"scheduler": Scheduler(flags=0x80)}, "scheduler.flags"),
    ({"io_priority": IOPriority(priority=1)}, "io_priority.io_class"),
    ({"memory_policy": MemoryPolicy(mode=MPOL.LOCAL, nodes="0")}, "memory_policy.nodes"),
    ({"memory_policy": MemoryPolicy(mode=MPOL.INTERLEAVE)}, "memory_policy.nodes"),
    ({"memory_policy": MemoryPolicy(mode=MPOL.BIND, nodes="0", flags=1)}, "memory_policy.flags"),
    *[({"exec_cpu_affinity": CPUAffinity(final=text)}, "exec_cpu_affinity.final")
      for text in ("a", "1-", "-1", "3-1", "1,,2", "8192", "999999", "1 2", "٣", "0-1-2")],
])
def test_what_does_not_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        check(Config(**fields))
    assert caught.value.path == path
