"""JSON text, strictly: parse what a stranger has written, and say where it is wrong.

Lesson  JSON leaves a reader to decide what a key given twice means, how large a number is, how deep a list; attackers
        live on two readers that decide differently.
Read    RFC 8259, sections 4, 6, 8 and 9

On CPython's `_json`, the C half of the json package, alone: json itself imports re, which takes milliseconds.
"""
from __future__ import annotations

from .errors import ConfigInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["dumps", "joined", "loads", "loads_trusted", "shortened", "step"]

LONGEST = 16 << 20  # bytes; the largest real config.json are a thousandth of this
DEEPEST = 100       # lists and objects in each other; ours are 7 deep
_SPACE = " \t\n\r"


def _unfit(value: object) -> Any:
    raise TypeError(f"a {type(value).__name__} has no JSON form")


if TYPE_CHECKING:
    def make_scanner(rules: Any, /) -> Callable[[str, int], tuple[Any, int]]: ...
    def encode(value: Any, level: int, /) -> tuple[str, ...]: ...
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner
        encode = make_encoder(None, _unfit, encode_basestring_ascii, None, ":", ",", False, False, False)
    except ImportError:  # a Python without C: then time does not matter
        json = __import__("json")
        _encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False, default=_unfit)

        def encode(value, level):
            return (_encoder.encode(value),)

        def make_scanner(rules):
            return json.JSONDecoder(object_pairs_hook=rules.object_pairs_hook, parse_float=rules.parse_float,
                                    parse_int=rules.parse_int, parse_constant=rules.parse_constant).scan_once


def step(key: str | int) -> str:
    """Return a key or an index as it stands in a path: ``rlimits``, ``[0]``, ``["kernel.shmmni"]``."""
    if isinstance(key, int):
        return f"[{key}]"
    return key if key.isidentifier() else f"[{dumps(shortened(key))}]"


def joined(at: str, path: str) -> str:
    """Return the path *path* below *at*: ``mounts[0]`` and ``source`` are ``mounts[0].source``."""
    return f"{at}.{path}" if at and path and path[0] != "[" else at + path


def shortened(value: str) -> str:
    """Return *value*, or its beginning: an error is one line."""
    return value if len(value) <= 80 else f"{value[:77]}..."


class _Fault:
    """Stands in a parsed document where something is wrong, until the document is complete and has paths."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class _Trusting:
    """What the C scanner wants to know, when the text is our own: json.decoder.JSONDecoder has the same names."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, float


class _Strict:
    """The same for a stranger's text: nothing that two readers could understand in two ways."""

    strict = True
    object_hook = array_hook = None

    def __init__(self) -> None:
        self.faults: list[_Fault] = []

    def fault(self, problem: str) -> _Fault:
        self.faults.append(_Fault(problem))
        return self.faults[-1]

    def object_pairs_hook(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen = set()
            for key, _ in pairs:
                if key in seen:
                    made[key] = self.fault("the key is given twice")
                seen.add(key)
        return made

    def parse_int(self, digits: str) -> Any:
        # int() of very many digits takes minutes up to Python 3.10, and is a ValueError from 3.11.
        return int(digits) if len(digits) < 40 else self.fault(f"a number of {len(digits)} digits is too large")

    def parse_float(self, digits: str) -> Any:
        number = float(digits)
        return number if number - number == 0 else self.fault(f"the number {shortened(digits)} is too large")

    def parse_constant(self, word: str) -> Any:
        return self.fault(f"{word} is not a JSON number")


_trusting_scanner = make_scanner(_Trusting)


def loads_trusted(text: str) -> Any:
    """Parse what dumps() has written in another process of ours."""
    return _trusting_scanner(text, 0)[0]


def loads(source: str | bytes, at: str = "") -> Any:
    """Parse a stranger's JSON; ConfigInvalid, led by *at*, says where it is wrong.

    Refused besides bad syntax: more than 16 MiB, more than 100 levels, anything but UTF-8, a key twice in one object,
    NaN and Infinity, numbers beyond all bounds, half a surrogate pair.
    """
    text = _decoded(source, at)
    if text.count("[") + text.count("{") > DEEPEST and _too_deep(text):
        raise ConfigInvalid(at, f"lists and objects are nested more than {DEEPEST} deep")
    rules = _Strict()
    begin = len(text) - len(text.lstrip(_SPACE))
    try:
        try:
            value, end = make_scanner(rules)(text, begin)
        except SystemError:  # up to Python 3.11 it raises JSONDecodeError only where json has been imported
            __import__("json.decoder")
            value, end = make_scanner(rules)(text, begin)
    except StopIteration as stop:
        raise ConfigInvalid(at, f"{_position(text, stop.value)}: expected a value") from None
    except ValueError as error:  # JSONDecodeError, which the C scanner imports when it needs it
        problem, index = str(getattr(error, "msg", error)), getattr(error, "pos", 0)
        raise ConfigInvalid(at, f"{_position(text, index)}: {problem[:1].lower()}{problem[1:]}") from None
    rest = text[end:].lstrip(_SPACE)
    if rest:
        raise ConfigInvalid(at, f"{_position(text, len(text) - len(rest))}: text after the end of the JSON value")
    if rules.faults or "\\u" in text:
        for where, item in _walk(value, at):
            if isinstance(item, _Fault):
                raise ConfigInvalid(where, item.problem)
            if isinstance(item, str) and not item.isascii():
                try:
                    item.encode()
                except UnicodeEncodeError:
                    raise ConfigInvalid(where, "holds half of a surrogate pair: that is no character") from None
        if rules.faults:  # inside a value that a second one with the same key has replaced
            raise ConfigInvalid(at, rules.faults[0].problem)
    return value


def _decoded(source: str | bytes, at: str) -> str:
    if len(source) > LONGEST:
        raise ConfigInvalid(at, f"more than {LONGEST >> 20} MiB of JSON")
    try:
        if isinstance(source, str):
            text = source
            if not text.isascii():
                text.encode()
        else:
            text = source.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid(at, f"line {line}: byte {error.start} is not UTF-8") from None
    except UnicodeEncodeError as error:
        raise ConfigInvalid(at, f"{_position(error.object, error.start)}: half of a surrogate pair") from None
    if text[:1] == "\ufeff":
        raise ConfigInvalid(at, "begins with a byte order mark", hint="JSON is plain UTF-8: RFC 8259")
    return text


def _position(text: str, index: int) -> str:
    return f"line {text.count(chr(10), 0, index) + 1}, column {index - text.rfind(chr(10), 0, index)}"


def _too_deep(text: str) -> bool:
    """Say whether brackets nest too deep, before the scanner, which takes C stack for each level, finds out."""
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])  # less all that stands in strings
    brackets = outside.encode("ascii", "replace").translate(_ALL_SQUARE, _NO_BRACKETS)
    for _ in range(DEEPEST):  # each round takes away the innermost pairs
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            break
        brackets = inner
    return len(brackets) > DEEPEST or b"[]" in brackets


_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ALL_SQUARE = bytes.maketrans(b"{}", b"[]")


def _walk(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Go through all values and keys, each with its path."""
    yield at, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield at, key
            yield from _walk(item, joined(at, step(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{at}[{index}]")


def dumps(value: Any, indent: int | str | None = None) -> str:
    """Return *value* as ASCII text: in one line, or indented by so many spaces or by that string."""
    if indent is None:
        return "".join(encode(value, 0))
    return _pretty(value, " " * indent if isinstance(indent, int) else indent, "\n")


def _pretty(value: Any, indent: str, newline: str) -> str:
    inner = newline + indent
    if isinstance(value, dict) and value:
        pairs = [f"{dumps(key)}: {_pretty(item, indent, inner)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(pairs)}{newline}}}"
    if isinstance(value, (list, tuple)) and value:
        return f"[{inner}{f',{inner}'.join([_pretty(item, indent, inner) for item in value])}{newline}]"
    return dumps(value)
