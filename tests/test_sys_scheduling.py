"""sched_setattr(2), sched_setaffinity(2), ioprio_set(2)."""
from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer import SyscallError
from nscontainer.sys.scheduling import (
    IOPRIO_CLASS,
    IOPRIO_WHO,
    SCHED,
    SCHED_FLAG,
    ioprio_set,
    sched_setaffinity,
    sched_setattr,
)

InChild = Callable[..., Any]


def test_a_policy_and_a_nice_value_are_set(in_child: InChild) -> None:
    def lower() -> list[int]:
        sched_setattr(0, SCHED.BATCH, SCHED_FLAG.RESET_ON_FORK, nice=5)
        return [os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, 0)]

    assert in_child(lower) == [os.SCHED_BATCH, 5]


@pytest.mark.needs("user")
def test_going_up_takes_a_capability(as_user: InChild) -> None:
    def rise() -> int | None:
        with pytest.raises(SyscallError) as caught:
            sched_setattr(0, SCHED.FIFO, priority=10)
        return caught.value.errno

    assert as_user(rise) == errno.EPERM


def test_the_kernel_refuses_values_that_do_not_go_together() -> None:
    with pytest.raises(SyscallError) as caught:
        sched_setattr(0, SCHED.FIFO, priority=0)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.call == "sched_setattr"


def test_a_thread_is_bound_to_cpus(in_child: InChild) -> None:
    def bind() -> list[int]:
        sched_setaffinity(0, 1 << max(os.sched_getaffinity(0)))
        return sorted(os.sched_getaffinity(0))

    assert in_child(bind) == [max(os.sched_getaffinity(0))]


def test_cpus_that_do_not_exist_are_refused() -> None:
    with pytest.raises(SyscallError) as caught:
        sched_setaffinity(0, 1 << 8000)
    assert caught.value.errno == errno.EINVAL


def test_the_rank_at_the_disk_is_set_for_a_whole_group(in_child: InChild) -> None:
    ionice = shutil.which("ionice") or pytest.skip("needs ionice")

    def lower() -> str:
        os.setsid()
        ioprio_set(IOPRIO_WHO.PGRP, 0, IOPRIO_CLASS.IDLE, 0)
        return subprocess.check_output([ionice, "-p", str(os.getpid())], text=True)

    assert in_child(lower).startswith("idle")


@pytest.mark.parametrize("call", [
    lambda: sched_setattr(-1, 0), lambda: sched_setattr(0, 1 << 32), lambda: sched_setattr(0, 0, nice=20),
    lambda: sched_setattr(0, 1, priority=100), lambda: sched_setattr(0, 6, runtime=1 << 64),
    lambda: sched_setaffinity(0, 0), lambda: sched_setaffinity(1 << 31, 1), lambda: ioprio_set(1, 0, 4, 0),
    lambda: ioprio_set(1, 0, 1, 8), lambda: ioprio_set(1, -1, 1, 0)])
def test_values_that_c_would_cut_are_refused(call: Callable[[], None]) -> None:
    with pytest.raises(OverflowError):
        call()
