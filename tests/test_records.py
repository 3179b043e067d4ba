"""Records and their JSON: what a field takes, what it says of what it does not take, and what text is no JSON."""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nscontainer import records
from nscontainer.errors import ConfigInvalid
from nscontainer.records import (
    Record,
    Word,
    boolean,
    choice,
    dumps,
    integer,
    loads,
    loads_trusted,
    many,
    many_by_name,
    mapping,
    numbers,
    one,
    pathname,
    pathnames,
    seconds,
    strings,
    text,
    unsigned,
)
from nscontainer.sys.flags import Enumeration


class Colour(Word):
    NONE = ""
    RED = "red"
    BLUE = "blue"


class Size(Enumeration):
    SMALL = 1
    LARGE = 2


class Part(Record):
    """A part of a whole."""

    name: str = text()
    weight: int = unsigned(8)


class Whole(Record):
    """One field of each kind."""

    title: str = text("untitled")
    place: str = pathname()
    ready: bool = boolean()
    count: int = integer(-5, 5, key="theCount")
    level: int | None = integer(0, 9, None)
    delay: float | None = seconds()
    colour: Colour = choice(Colour, Colour.NONE)
    size: Size | None = choice(Size)
    words: tuple[str, ...] = strings()
    places: tuple[str, ...] = pathnames()
    bits: tuple[int, ...] = numbers(0, 255)
    labels: dict[str, str] = mapping()
    main: Part | None = one(Part)
    parts: tuple[Part, ...] = many(Part)
    named: dict[str, Part] = many_by_name(Part)


FULL = {
    "title": "t", "place": "/p", "ready": True, "theCount": -5, "level": 9, "delay": 0.5, "colour": "red", "size": 2,
    "words": ["a", ""], "places": ["/"], "bits": [0, 255], "labels": {"a.b": "c"}, "main": {"name": "m", "weight": 1},
    "parts": [{"name": "p", "weight": 2}], "named": {"n": {"name": "", "weight": 3}},
}


def invalid(value: object, at: str = "") -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        Whole.from_json(value, at)
    assert "\n" not in str(caught.value)
    return caught.value


# --- records


def test_what_is_read_is_written_again_key_by_key() -> None:
    whole = Whole.from_json(FULL)
    assert whole.to_json() == FULL
    assert list(whole.to_json()) == list(FULL)
    assert whole.count == -5 and whole.colour is Colour.RED and whole.size is Size.LARGE
    assert whole.parts == (Part(name="p", weight=2),)


def test_a_record_without_values_writes_every_default() -> None:
    assert Whole().to_json() == Whole.from_json({}).to_json() == {
        "title": "untitled", "place": "", "ready": False, "theCount": 0, "level": None, "delay": None, "colour": "",
        "size": None, "words": [], "places": [], "bits": [], "labels": {}, "main": None, "parts": [], "named": {}}


def test_written_lists_and_objects_are_nobody_elses() -> None:
    Whole().to_json()["words"].append("x")
    Whole().to_json()["labels"]["x"] = "y"
    assert Whole().to_json() == Whole.from_json({}).to_json()
    Whole().labels["x"] = "y"
    assert Whole().labels == {}


def test_what_is_packed_unpacks_to_the_same_and_holds_no_defaults() -> None:
    whole = Whole.from_json(FULL)
    again = Whole.unpack(loads_trusted(dumps(whole.pack())))
    assert again == whole
    assert again.to_json() == FULL and type(again.words) is tuple and again.colour is Colour.RED
    assert Whole().pack() == Whole(title="untitled", words=(), main=None, ready=False).pack() == {}
    assert Whole(words=[]).pack() == {}  # type: ignore[arg-type]


def test_a_copy_shares_nothing_that_can_change() -> None:
    whole = Whole.from_json(FULL)
    other = whole.copy()
    assert other == whole
    other.labels["x"] = "y"
    other.parts[0].name = "changed"
    assert whole == Whole.from_json(FULL) != other


def test_null_is_an_empty_list_or_object_and_nothing_else() -> None:
    empty = {"words": None, "places": None, "bits": None, "labels": None, "parts": None, "named": None, "main": None}
    assert Whole.from_json(empty) == Whole()
    for key in ("title", "place", "ready", "theCount", "colour"):
        assert invalid({key: None}).path == key


def test_a_constructor_takes_what_python_has_at_hand() -> None:
    values: dict[str, Any] = {"words": ["a"], "places": [Path("/c")], "parts": [Part("p"), {"name": "q"}]}
    whole = Whole("t", Path("/a/b"), size=Size.SMALL, count=Size.LARGE, **values)  # type: ignore[arg-type]
    assert (whole.title, whole.place, whole.words, whole.places) == ("t", "/a/b", ("a",), ("/c",))
    assert type(whole.count) is int and whole.count == 2
    assert whole.parts == (Part(name="p"), Part(name="q"))


def test_an_unknown_name_is_refused_wherever_it_is_given() -> None:
    with pytest.raises(TypeError, match=r"Whole has no field 'titel'$"):
        Whole(titel="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="did you mean 'title'"):
        Whole(Title="x")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="no field 'titel'"):
        Whole().titel = "x"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="twice"):
        Whole("x", title="y")  # type: ignore[misc]
    with pytest.raises(TypeError, match="2 fields, got 3 values"):
        Part("x", 1, 2)  # type: ignore[call-arg]
    error = invalid({"parts": [{}, {"weigth": 1}]})
    assert (error.path, error.problem, error.hint) == ("parts[1].weigth", "unknown key", None)
    assert invalid({"count": 1}).hint == "did you mean 'theCount'?"
    assert invalid({"the_count": 1}).hint == "did you mean 'theCount'?"
    assert invalid({"a\nb": 1}).path == '["a\\nb"]'


def test_an_assigned_value_is_checked_like_any_other() -> None:
    whole = Whole()
    whole.words = ["a", "b"]  # type: ignore[assignment]
    assert whole.words == ("a", "b")
    with pytest.raises(ConfigInvalid, match=r"^theCount: 6 is not between -5 and 5$"):
        whole.count = 6
    with pytest.raises(ConfigInvalid, match=r"^words\[1\]: expected a string, got 3$"):
        Whole(words=["a", 3])  # type: ignore[arg-type]
    assert whole.count == 0
    whole.level = 3
    whole.level = None
    assert whole == Whole(words=("a", "b"))


def test_records_are_compared_by_value_and_not_hashed() -> None:
    assert Part("a", 1) == Part("a", weight=1) != Part("a", 2)
    assert Whole() == Whole(labels={}) and Whole().labels == {}
    assert Part() != Whole() and Part() != "Part()"
    with pytest.raises(TypeError, match="unhashable"):
        hash(Part())


def test_a_record_shows_what_differs_from_the_default() -> None:
    whole = Whole(title="x", parts=(Part("p"),), colour=Colour.RED)
    assert not whole.labels  # looking makes no difference
    assert repr(whole) == "Whole(title='x', parts=(Part(name='p'),), colour=Colour.RED)"


def test_a_record_of_a_record_has_the_fields_of_both() -> None:
    class More(Part):
        extra: bool = boolean()

    assert More.from_json({"name": "x", "extra": True}) == More(name="x", extra=True)
    assert Part().to_json() == {"name": "", "weight": 0}


HUGE = 10 ** 5000
JUNK: list[Any] = [
    True, False, 0, 1, -1, 6, 256, 1 << 64, HUGE, 1.5, float("nan"), float("inf"), "", "x", "a\0b", "\ud800", b"x",
    [], ["x"], [1], [None], [[]], {}, {"x": "y"}, {"x": 1}, {"x": {}}, {"\0": "y"}, object(), None]
FITS: dict[str, Any] = {  # which of the junk is none
    "title": ["", "x"], "place": ["", "x"], "ready": [True, False], "theCount": [0, 1, -1], "level": [0, 1, 6, None],
    "delay": [1, 6, 256, 1.5, None], "colour": [""], "size": [1, None], "words": [[], ["x"], None],
    "places": [[], ["x"], None], "bits": [[], [1], None], "labels": [{}, {"x": "y"}, None], "main": [{}, None],
    "parts": [[], None], "named": [{}, {"x": {}}, None]}


@pytest.mark.parametrize("key", FULL)
def test_junk_is_one_complaint_with_its_path(key: str) -> None:
    for junk in JUNK:
        if any(type(junk) is type(fit) and junk == fit for fit in FITS[key]):
            Whole.from_json({key: junk})
        else:
            error = invalid({key: junk}, at="it")
            assert error.path.startswith(f"it.{key}"), junk
            assert len(str(error)) < 300


@pytest.mark.parametrize("junk", [None, 1, "x", [], [["title", "x"]], True])
def test_a_record_is_read_of_an_object_only(junk: object) -> None:
    assert invalid(junk, at="config").path == "config"
    assert "expected an object" in str(invalid(junk))


@pytest.mark.parametrize("value, complaint", [
    ({"title": 5}, "title: expected a string, got 5"),
    ({"title": "a\0b"}, r"title: holds a NUL byte: 'a\x00b'; the kernel would cut the string there"),
    ({"title": "\udc80"}, r"title: is not valid Unicode: '\udc80'; every name must be UTF-8"),
    ({"ready": 1}, "ready: expected true or false, got 1"),
    ({"theCount": True}, "theCount: expected a whole number, got true"),
    ({"theCount": 1.0}, "theCount: expected a whole number, got 1.0"),
    ({"theCount": HUGE}, "theCount: a number of 16610 bits is not between -5 and 5"),
    ({"delay": 0}, "delay: expected a number of seconds above zero, got 0"),
    ({"colour": "green"}, "colour: 'green' is none of red, blue"),
    ({"size": 0}, "size: 0 is none of 1 (SMALL), 2 (LARGE)"),
    ({"words": "a"}, "words: expected a list, got 'a'"),
    ({"labels": {"a b": 1}}, 'labels["a b"]: expected a string, got 1'),
    ({"named": {"n": {"weight": 256}}}, "named.n.weight: 256 is not between 0 and 255"),
    ({"parts": [{}, {"weight": -1}]}, "parts[1].weight: -1 is not between 0 and 255"),
    ({"title": ["x" * 10_000]}, "title: expected a string, got a list"),
])
def test_a_complaint_says_where_and_what(value: object, complaint: str) -> None:
    assert str(invalid(value)) == complaint


# --- text


def test_text_is_read_as_the_json_module_reads_it() -> None:
    document = {"a": [1, -2, 1.5, True, False, None, "ü\n\t\"\\/", ""], "b": {"c": {}, "d": []}, "😀": "\u2028"}
    for source in (json.dumps(document), json.dumps(document, indent=2), json.dumps(document, ensure_ascii=False)):
        assert loads(source) == loads(source.encode()) == loads(f" \r\n\t{source}\n") == document
    assert loads("7") == 7 and loads('"\\ud83d\\ude00"') == "😀"


def test_text_is_written_as_the_json_module_writes_it() -> None:
    document = {"a": [1, -2.5, True, False, None, "ü\n\"\\\0😀", Size.LARGE, Colour.RED],
                "b": {"c": {}, "d": [], "e": ()}}
    assert dumps(document) == json.dumps(document, separators=(",", ":"))
    for indent in (2, "\t"):
        assert dumps(document, indent) == json.dumps(document, indent=indent)
    with pytest.raises(TypeError, match="a Part has no JSON form"):
        dumps([Part()])
    with pytest.raises(ValueError, match="float"):
        dumps(float("nan"))


@pytest.mark.parametrize("source, complaint", [
    ("", "line 1, column 1: expected a value"),
    (" \n ", "line 2, column 2: expected a value"),
    ("{\n  'a': 1}", "line 2, column 3: expecting property name enclosed in double quotes"),
    ('[1,\n2', "line 2, column 2: expecting ',' delimiter"),
    ("[1]\n\n x", "line 3, column 2: text after the end of the JSON value"),
    ('"a\nb"', "line 1, column 3: invalid control character at"),
    ("[tru]", "line 1, column 2: expected a value"),
    ('{"a": 1, "b": {"c": 1, "d": [{"e": 1, "e": 2}]}}', "b.d[0].e: the key is given twice"),
    ('{"a": {"x": 1, "x": 1}, "a": 1}', "a: the key is given twice"),
    ('{"a": [NaN]}', "a[0]: NaN is not a JSON number"),
    ('{"a": {"b c": -Infinity}}', 'a["b c"]: -Infinity is not a JSON number'),
    ('{"a": 1e999}', "a: the number 1e999 is too large"),
    (f'{{"a": {"9" * 5000}}}', "a: a number of 5000 digits is too large"),
    ('{"a": "\\ud800"}', "a: holds half of a surrogate pair: that is no character"),
    ('{"\\udc00": 1}', "holds half of a surrogate pair: that is no character"),
    ("[\n\"\ud800\"]", "line 2, column 2: half of a surrogate pair"),
    (b'{"a":\n "\xff"}', "line 2: byte 8 is not UTF-8"),
    (b"\xef\xbb\xbf{}", "begins with a byte order mark; JSON is plain UTF-8: RFC 8259"),
    ('{"a": 1}'.encode("utf-16"), "line 1: byte 0 is not UTF-8"),
    ("[" * 101 + "]" * 101, "lists and objects are nested more than 100 deep"),
    ('{"a":[' * 51 + "]}" * 51, "lists and objects are nested more than 100 deep"),
    ("[" * 200_000, "lists and objects are nested more than 100 deep"),
    (b'"' + b"x" * (16 << 20) + b'"', "more than 16 MiB of JSON"),
])
def test_text_that_is_not_strict_json_is_one_complaint(source: str | bytes, complaint: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        loads(source)
    # 3.13 says of a missing comma and a trailing one more than its predecessors.
    assert str(caught.value).replace("illegal trailing comma before end of array", "") == complaint


def test_a_complaint_about_text_is_led_by_what_it_is() -> None:
    with pytest.raises(ConfigInvalid, match=r"^state\.json: line 1, column 1: expected a value$"):
        loads("", at="state.json")
    with pytest.raises(ConfigInvalid, match=r"^process\.args\[0\]: NaN"):
        loads('{"args": [NaN]}', at="process")


@pytest.mark.parametrize("source", [
    "[" * 100 + "]" * 100,
    "[" + ",".join(['{"a":[]}'] * 5000) + "]",
    '["' + "[" * 500 + '", "' + "]" * 500 + '"]',              # brackets in strings nest nothing
    '["\\"' + "[" * 500 + '", "\\\\", "' + "{" * 500 + '"]',
    '{"' + "}" * 500 + '": "' + "{" * 500 + '"}',
])
def test_depth_is_counted_where_it_is(source: str) -> None:
    assert loads(source) == json.loads(source)


def test_brackets_in_strings_do_not_hide_depth() -> None:
    for source in ('["]",' * 101 + "1" + "]" * 101, '["\\"]",' * 101, '["\\\\","]",' * 101, '{"}":' * 101):
        with pytest.raises(ConfigInvalid, match="nested more than 100 deep"):
            loads(source)


def test_long_digits_cost_no_time() -> None:
    with pytest.raises(ConfigInvalid, match="a number of 4000000 digits"):
        loads("1" * 4_000_000)


@pytest.mark.parametrize("source", ["9" * 39, "-1e5", "0.1"])
def test_ordinary_numbers_are_numbers(source: str) -> None:
    assert loads(source) == json.loads(source)


def test_without_the_c_half_the_json_package_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    monkeypatch.setitem(sys.modules, "_json", None)
    where = importlib.util.find_spec("nscontainer.strictjson")
    assert where is not None and where.loader is not None
    module = importlib.util.module_from_spec(where)
    where.loader.exec_module(module)
    assert module.make_scanner is not records.loads.__globals__["make_scanner"]
    document = {"a": [1, 1.5, "ü", None, {"b": ()}]}
    assert module.dumps(document) == dumps(document)
    assert module.loads(json.dumps(document)) == module.loads_trusted(json.dumps(document)) == loads(dumps(document))
    for source, complaint in (("[NaN]", r"\[0\]: NaN"), ('{"a":1,"a":1}', "a: the key"), ("[,]", "line 1, column 2")):
        with pytest.raises(ConfigInvalid, match=f"^{complaint}"):
            module.loads(source)


# --- words


def test_a_word_is_a_string_with_a_name() -> None:
    assert Colour("red") is Colour.RED is Colour["RED"]
    word: str = Colour.RED
    assert word == "red" and f"{word}" == "red" and {word: 1}["red"] == 1
    assert [word.name for word in Colour] == ["NONE", "RED", "BLUE"] and len(Colour) == 3
    with pytest.raises(ValueError, match="'green' is not a valid Colour"):
        Colour("green")
