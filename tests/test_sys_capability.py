"""Capabilities: read, given up, counted."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.capability import CAP, capget, capset, last_cap
from nscontainer.sys.procfs import status

InChild = Callable[..., Any]


def test_the_last_capability_is_the_one_proc_tells() -> None:
    assert last_cap() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def test_names_have_the_kernels_numbers() -> None:
    assert [int(cap) for cap in CAP] == list(range(41))
    assert (CAP.KILL, CAP.SYS_ADMIN, CAP.SETFCAP, CAP.CHECKPOINT_RESTORE) == (5, 21, 31, 40)


def test_the_sets_are_those_of_proc() -> None:
    found = status()
    assert capget() == tuple(int(found[name], 16) for name in ("CapEff", "CapPrm", "CapInh"))
    assert capget(1) == tuple(int(status(1)[name], 16) for name in ("CapEff", "CapPrm", "CapInh"))


@pytest.mark.needs("root")
def test_what_is_given_up_does_not_come_back(in_child: InChild) -> None:
    def give_up() -> list[Any]:
        low, high = 1 << CAP.KILL, 1 << CAP.CHECKPOINT_RESTORE
        _, permitted, _ = capget()
        permitted &= ~(1 << CAP.MKNOD)
        capset(low | high & permitted, permitted, low)
        seen = [set_ == wanted for set_, wanted in zip(capget(), (low | high & permitted, permitted, low))]
        try:
            capset(0, permitted | 1 << CAP.MKNOD, 0)
        except SyscallError as error:
            return [*seen, str(error)]
        return seen

    *seen, message = in_child(give_up)
    assert seen == [True, True, True]
    assert message.endswith("EPERM, Operation not permitted")
    assert message.startswith("capset (effective=0x0, permitted=0x")


def test_nobody_has_no_sets() -> None:
    with pytest.raises(SyscallError, match=r"capget \(pid=2147483647\): ESRCH"):
        capget(0x7FFFFFFF)


@pytest.mark.parametrize("mask", [-1, 1 << 64])
def test_a_mask_that_does_not_fit_is_refused(mask: int) -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        capset(mask, 0, 0)
