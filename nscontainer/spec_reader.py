"""Read a stranger's JSON objects, property by property: each checked, each complaint led by where it stands.

Lesson  A configuration comes from a program that may be newer than ours. What it says that we have no name for is
        ignored, as the specification wants; what it says wrongly is never guessed at.
Read    the OCI runtime specification, config.md, "Extensibility" and "Valid values"
"""
from __future__ import annotations

from .errors import ConfigInvalid
from .records import Wrong, boolean, mapping, shown, strings, text
from .strictjson import joined, shortened, step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["I64", "U32", "U64", "Object"]

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
I64 = (1 << 63) - 1
_text, _boolean, _strings, _mapping = text().read, boolean().read, strings().read, mapping().read


class Object:
    """A JSON object, and its path. A property that is null is absent: so Go writes what it does not have."""

    __slots__ = ("at", "values")

    def __init__(self, value: Any, at: str = "") -> None:
        if not isinstance(value, dict):
            raise ConfigInvalid(at, f"expected an object, got {shown(value)}")
        self.values: dict[str, Any] = value
        self.at = at

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def path(self, key: str, *more: str | int) -> str:
        """Return where a property stands, or what is in it."""
        path = joined(self.at, step(key))
        for one in more:
            path = joined(path, step(one))
        return path

    def wrong(self, key: str, problem: str, hint: str | None = None) -> ConfigInvalid:
        """Return the error for a property."""
        return ConfigInvalid(self.path(key), problem, hint=hint)

    def missing(self, key: str) -> ConfigInvalid:
        """Return the error for a property that must be there."""
        return self.wrong(key, "is missing")

    def _read(self, key: str, read: Any) -> Any:
        try:
            return read(self.values[key])
        except Wrong as wrong:
            raise wrong.invalid(self.path(key)) from None

    def text(self, key: str, default: str | None = "") -> str:
        """A string; with None for a default it must be there."""
        if self.values.get(key) is None:
            if default is None:
                raise self.missing(key)
            return default
        return self._read(key, _text)  # type: ignore[no-any-return]

    def boolean(self, key: str) -> bool:
        """True or false; false where it is absent."""
        return self.values.get(key) is not None and bool(self._read(key, _boolean))

    def integer(self, key: str, low: int, high: int) -> int | None:
        """A whole number within bounds, None where it is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, f"expected a whole number, got {shown(value)}")
        if not low <= value <= high:
            raise self.wrong(key, f"{shown(value)} is not between {low} and {high}")
        return value

    def number(self, key: str, low: int, high: int, default: int | None = 0) -> int:
        """A whole number within bounds; with None for a default it must be there."""
        value = self.integer(key, low, high)
        if value is not None:
            return value
        if default is None:
            raise self.missing(key)
        return default

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty where it is absent."""
        return () if self.values.get(key) is None else self._read(key, _strings)

    def numbers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers within bounds."""
        listed = self._list(key)
        for index, value in enumerate(listed):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigInvalid(self.path(key, index), f"expected a whole number, got {shown(value)}")
            if not low <= value <= high:
                raise ConfigInvalid(self.path(key, index), f"{shown(value)} is not between {low} and {high}")
        return tuple(listed)

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose values are strings."""
        return {} if self.values.get(key) is None else self._read(key, _mapping)

    def word(self, key: str, words: Mapping[str, T], default: str | None = None) -> T:
        """What one of several words stands for; without a default it must be there."""
        value = self.text(key, default)
        if value not in words:
            raise self.wrong(key, f"{shortened(value)!r} is none of {', '.join(words)}")
        return words[value]

    def words(self, key: str, words: Mapping[str, T]) -> list[T]:
        """What each of a list of words stands for."""
        listed = self.strings(key)
        for index, value in enumerate(listed):
            if value not in words:
                raise ConfigInvalid(self.path(key, index), f"{shortened(value)!r} is none of {', '.join(words)}")
        return [words[value] for value in listed]

    def object(self, key: str) -> Object | None:
        """An object in this one, None where it is absent."""
        value = self.values.get(key)
        return None if value is None else Object(value, self.path(key))

    def objects(self, key: str) -> list[Object]:
        """A list of objects; empty where it is absent."""
        return [Object(value, self.path(key, index)) for index, value in enumerate(self._list(key))]

    def named(self, key: str) -> list[tuple[str, Object]]:
        """The objects in an object, with their names."""
        inner = self.object(key)
        return [] if inner is None else [(name, Object(value, inner.path(name)))
                                         for name, value in inner.values.items()]

    def _list(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, f"expected a list, got {shown(value)}")
        return value
