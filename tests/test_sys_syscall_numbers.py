"""The table of numbers: every row has a column for every machine, and no number stands twice in a column."""
from __future__ import annotations

import os

import pytest

from nscontainer.sys.syscall_numbers import BY_MACHINE, COMMON, MACHINES, NUMBERS, numbers_for


def test_every_call_has_a_number_on_every_machine() -> None:
    assert {name: len(row) for name, row in BY_MACHINE.items()} == dict.fromkeys(BY_MACHINE, len(MACHINES))


@pytest.mark.parametrize("machine", MACHINES)
def test_no_two_calls_share_a_number(machine: str) -> None:
    numbers = numbers_for(machine)
    assert len(set(numbers.values())) == len(numbers) == len(COMMON) + len(BY_MACHINE)


def test_old_calls_have_lower_numbers_than_common_ones() -> None:
    assert max(max(row) for row in BY_MACHINE.values()) < 403 < min(COMMON.values())


def test_machines_with_the_generic_table_agree() -> None:
    assert numbers_for("aarch64") == numbers_for("riscv64")


def test_a_narrow_program_uses_the_narrow_numbers() -> None:
    assert numbers_for("x86_64", bits=32) == numbers_for("i686") == numbers_for("i386")
    assert numbers_for("aarch64", bits=32) == numbers_for("armv7l")


def test_a_strange_machine_has_no_numbers() -> None:
    assert numbers_for("pdp11") == {}


def test_this_machine_has_its_own() -> None:
    assert numbers_for(os.uname().machine) == NUMBERS
