"""How a test says which published attacks it is about."""
from __future__ import annotations

from typing import Any

import pytest

__all__ = ["attack", "library_only"]


def attack(*ids: str, falls: bool | dict[str, list[Any]] = False) -> pytest.MarkDecorator:
    """Name the rows of the list that a test is about.

    *falls*: it must work against the careless double, too; by a dict, with these values of these parameters only.
    """
    return pytest.mark.attack(*ids, falls=falls)


def library_only(why: str) -> pytest.MarkDecorator:
    """Mark a test that no command of another runtime can be asked."""
    return pytest.mark.library_only(why)
