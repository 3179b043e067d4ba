"""Ceilings on what a process may use."""
from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.resource import RLIM_INFINITY, RLIMIT, prlimit

InChild = Callable[..., Any]


def test_limits_are_those_that_python_sees() -> None:
    for limit in RLIMIT:
        theirs = resource.prlimit(0, limit)
        assert prlimit(0, limit) == tuple(RLIM_INFINITY if value == resource.RLIM_INFINITY else value
                                          for value in theirs)


def test_names_have_the_numbers_of_this_machine() -> None:
    assert {limit.name: int(limit) for limit in RLIMIT if hasattr(resource, f"RLIMIT_{limit.name}")} == {
        limit.name: getattr(resource, f"RLIMIT_{limit.name}")
        for limit in RLIMIT if hasattr(resource, f"RLIMIT_{limit.name}")}


def test_a_new_limit_answers_with_the_old(in_child: InChild) -> None:
    def lower() -> list[Any]:
        first = prlimit(0, RLIMIT.CORE)
        return [list(first) == list(prlimit(0, RLIMIT.CORE, (0, 0))), prlimit(os.getpid(), RLIMIT.CORE)]

    assert in_child(lower) == [True, [0, 0]]


def test_a_refusal_names_the_limit() -> None:
    with pytest.raises(SyscallError) as caught:
        prlimit(0, RLIMIT.NOFILE, (2, 1))
    assert str(caught.value) == "prlimit (resource=RLIMIT_NOFILE, pid=0, limits=(2, 1)): EINVAL, Invalid argument"
    with pytest.raises(SyscallError, match="resource=99"):
        prlimit(0, 99)


@pytest.mark.parametrize("arguments", [
    (0, RLIMIT.CORE, (-1, 0)), (0, RLIMIT.CORE, (0, 1 << 64)), (0, 1 << 32), (0, -1), (1 << 32, RLIMIT.CORE)])
def test_numbers_that_do_not_fit_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(OverflowError):
        prlimit(*arguments)
