"""SECURITY.md and the tests tell of the same attacks."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent


def _attacks() -> Iterator[tuple[str, list[str]]]:
    """Yield each test of the package, as SECURITY.md writes it, and the attacks that it is marked with."""
    for path in HERE.glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and path.name != "test_list.py":
                marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call)
                         and isinstance(mark.func, ast.Name) and mark.func.id == "attack"]
                ids = [ast.literal_eval(id) for mark in marks for id in mark.args]
                yield f"`attacks/{path.name}::{node.name}`", ids


def test_the_list_has_every_test_and_every_name_that_a_test_bears() -> None:
    rows = (HERE.parent.parent / "SECURITY.md").read_text().partition("## Published attacks")[2].splitlines()
    missing, count = [], 0
    for test, ids in _attacks():
        named = " ".join(row for row in rows if test in row).replace(",", " ").split()
        missing += [(test, id) for id in ids or ["any"] if id not in named]
        count += 1
    assert missing == []
    assert count > 40
