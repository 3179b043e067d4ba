"""SECURITY.md and the tests tell of the same attacks, and every test that it names is there."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECURITY = (HERE.parent.parent / "SECURITY.md").read_text()
WHY_NOT = ("open: ", "cannot apply: ", "the config's affair: ")


def _functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield each test of a file, by the name that pytest gives it within the file."""
    for node in ast.parse(path.read_text()).body:
        inner = [(f"{node.name}::", inside) for inside in node.body] if isinstance(node, ast.ClassDef) else [("", node)]
        for prefix, found in inner:
            if isinstance(found, ast.FunctionDef) and found.name.startswith("test_"):
                yield prefix + found.name, found


def _attacks() -> Iterator[tuple[str, list[str]]]:
    """Yield each test of the package, as SECURITY.md writes it, and the attacks that it is marked with."""
    for path in HERE.glob("test_*.py"):
        for name, node in _functions(path):
            if path.name != "test_list.py":
                marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call)
                         and isinstance(mark.func, ast.Name) and mark.func.id == "attack"]
                ids = [ast.literal_eval(id) for mark in marks for id in mark.args]
                yield f"`attacks/{path.name}::{name}`", ids


def _rows() -> list[str]:
    lines = SECURITY.partition("## Published attacks")[2].partition("\n## ")[0].splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


def _named(text: str) -> list[str]:
    return re.findall(r"`((?:attacks/)?test_\w+\.py::[\w:]+)`", text)


def test_the_list_has_every_test_and_every_name_that_a_test_bears() -> None:
    missing, count = [], 0
    for test, ids in _attacks():
        named = [id for row in _rows() if test in row for id in row.strip("| ").partition(" | ")[0].split(", ")]
        missing += [(test, id) for id in ids or ["any"] if id not in named]
        count += 1
    assert missing == []
    assert count > 40


def test_every_test_that_is_named_is_there() -> None:
    named = set(_named(SECURITY))
    files = {name.partition("::")[0] for name in named}
    there = {f"{file}::{name}" for file in files if (HERE.parent / file).exists()
             for name, _ in _functions(HERE.parent / file)}
    assert named - there == set()
    assert len(named) > 70


def test_every_attack_has_a_test_or_a_reason() -> None:
    neither = [row for row in _rows() if not _named(row) and not row.split(" | ")[2].startswith(WHY_NOT)]
    assert neither == []
