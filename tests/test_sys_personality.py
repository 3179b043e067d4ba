"""personality(2) and set_mempolicy(2)."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer import SyscallError
from nscontainer.sys.mempolicy import MPOL, MPOL_F, set_mempolicy
from nscontainer.sys.personality import PER, personality

InChild = Callable[..., Any]


def test_a_personality_changes_what_uname_says(in_child: InChild) -> None:
    def narrow() -> list[Any]:
        before = personality(PER.LINUX32)
        return [before, personality(0xFFFFFFFF), os.uname().machine]

    before, after, machine = in_child(narrow)
    assert (before & 0xFF, after) == (PER.LINUX, PER.LINUX32)
    assert machine != os.uname().machine or os.uname().machine not in ("x86_64", "aarch64")


def test_a_memory_policy_is_seen_in_numa_maps(in_child: InChild) -> None:
    def bind() -> str:
        try:
            set_mempolicy(MPOL.BIND, MPOL_F.STATIC_NODES, 1)
        except SyscallError as error:
            if error.errno == errno.ENOSYS:
                return "bind"
            raise
        return Path("/proc/self/numa_maps").read_text().split()[1] if os.path.exists("/proc/self/numa_maps") else "bind"

    assert in_child(bind).startswith("bind")


def test_the_kernel_refuses_nodes_where_there_may_be_none() -> None:
    with pytest.raises(SyscallError) as caught:
        set_mempolicy(MPOL.DEFAULT, 0, 1)
    assert caught.value.errno in (errno.EINVAL, errno.ENOSYS)


@pytest.mark.parametrize("call", [
    lambda: personality(-1), lambda: personality(1 << 32), lambda: set_mempolicy(1 << 13),
    lambda: set_mempolicy(0, 1 << 16), lambda: set_mempolicy(2, 0, 1 << 1024)])
def test_values_that_c_would_cut_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(OverflowError):
        call()
