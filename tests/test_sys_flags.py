"""Bits and numbers with names: they print as in C and stay integers."""
from __future__ import annotations

import pickle

import pytest

from nscontainer.sys.flags import Enumeration, Flags
from nscontainer.sys.mount import MS


class Colour(Enumeration):
    """A few numbers."""

    RED = 1
    BLUE = 5


class Bits(Flags):
    """A few bits, and the name of no bit."""

    NONE = 0
    LOW = 1
    HIGH = 8


def test_flags_print_as_c_spells_them() -> None:
    assert str(MS.NOSUID | MS.NODEV) == "MS_NOSUID|MS_NODEV"
    assert f"{MS.RDONLY}" == "MS_RDONLY"
    assert str(MS(0)) == "0"
    assert str(Bits(0x11)) == "Bits_LOW|0x10"


def test_flags_combine_into_flags_and_remain_integers() -> None:
    both = Bits.LOW | Bits.HIGH
    assert isinstance(both, Bits)
    assert both == 9
    assert both & ~Bits.LOW == Bits.HIGH
    assert both ^ Bits.LOW == Bits.HIGH
    assert isinstance(2 | Bits.LOW, Bits)
    assert Bits.LOW in both
    assert Bits.HIGH not in Bits.LOW


def test_an_enumeration_knows_its_members_and_no_others() -> None:
    assert Colour(5) is Colour.BLUE
    assert Colour["RED"] is Colour.RED
    assert [member.name for member in Colour] == ["RED", "BLUE"]
    assert len(Colour) == 2
    assert str(Colour.RED) == "Colour.RED"
    with pytest.raises(ValueError, match="4 is not a valid Colour"):
        Colour(4)


def test_members_survive_pickling() -> None:
    assert pickle.loads(pickle.dumps(Colour.BLUE)) is Colour.BLUE
    assert pickle.loads(pickle.dumps(MS.BIND)) == MS.BIND
