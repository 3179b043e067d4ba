"""Who a process is; changed in a forked child."""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.credentials import getgroups, getresgid, getresuid, setgroups, setresgid, setresuid, setsid

InChild = Callable[..., Any]


def test_ids_are_those_that_python_sees() -> None:
    assert getresuid() == os.getresuid()
    assert getresgid() == os.getresgid()
    assert sorted(getgroups()) == sorted(os.getgroups())


@pytest.mark.needs("root")
def test_all_ids_change_and_root_is_gone(in_child: InChild) -> None:
    def change() -> list[Any]:
        setgroups([5, 7, 4294967294])
        setresgid(1001, 1002, 1003)
        setresuid(2001, 2002, 2003)
        try:
            setresuid(0, 0, 0)
        except SyscallError as error:
            return [getgroups(), getresgid(), getresuid(), str(error)]
        return []

    assert in_child(change) == [
        [5, 7, 4294967294], [1001, 1002, 1003], [2001, 2002, 2003],
        "setresuid (real=0, effective=0, saved=0): EPERM, Operation not permitted"]


@pytest.mark.needs("root")
def test_groups_can_be_given_up_altogether(in_child: InChild) -> None:
    def clear() -> list[int]:
        setgroups([1, 2])
        setgroups([])
        return getgroups()

    assert in_child(clear) == []


@pytest.mark.parametrize("wrong", [-1, (1 << 32) - 1, 1 << 32])
def test_an_id_that_is_none_is_refused_before_the_kernel_misreads_it(wrong: int) -> None:
    refused = pytest.raises(OverflowError, match="is not between 0 and 4294967294")
    with refused:
        setresuid(wrong, 0, 0)
    with refused:
        setresuid(0, 0, wrong)
    with refused:
        setresgid(0, wrong, 0)
    with refused:
        setgroups([0, wrong])


def test_a_session_is_begun_once(in_child: InChild) -> None:
    def begin() -> list[Any]:
        session = setsid()
        try:
            setsid()
        except SyscallError as error:
            return [session == os.getpid() == os.getsid(0), str(error)]
        return []

    assert in_child(begin) == [True, "setsid: EPERM, Operation not permitted"]
