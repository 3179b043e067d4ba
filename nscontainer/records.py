"""Records: classes whose fields know their JSON, and say where a value is wrong; and the JSON text itself.

A record is its field lines; everything else follows from them::

    class Rlimit(Record):
        type: int = integer(0, 15)
        soft: int = unsigned(64)

    Rlimit.from_json({"type": 7, "soft": -1}, at="rlimits[0]")
    # ConfigInvalid: rlimits[0].soft: -1 is not between 0 and 18446744073709551615

A value is checked once, when it enters: in ``from_json``, in the constructor, or when it is assigned. An unknown name
is refused in all three, for a misspelt restriction would otherwise restrict nothing.

An instance holds only what differs from the class, where the defaults are; so ``pack``, the form for our own two
processes, is little more than a copy of a dict.
"""
from __future__ import annotations

import os

from .errors import ConfigInvalid
from .strictjson import dumps, joined, loads, loads_trusted, shortened, step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum
    from typing import Any, ClassVar

    from typing_extensions import Self, dataclass_transform

    Read = Callable[[Any], Any]  # checks a value, returns what to store, raises Wrong

    class Word(str, Enum):
        """One of several words."""
else:
    def dataclass_transform():
        return lambda cls: cls

    class _Words(type):
        """Turn the strings of a class body into members of the class."""

        def __new__(meta, name, bases, namespace):
            members = {k: v for k, v in namespace.items() if type(v) is str and k[0] != "_"}
            cls = super().__new__(meta, name, bases, {k: v for k, v in namespace.items() if k not in members})
            cls.__members__ = {}
            for key, value in members.items():
                member = str.__new__(cls, value)
                member.name, member.value = key, value
                cls.__members__[key] = member
                setattr(cls, key, member)
            return cls

        def __iter__(cls):
            return iter(cls.__members__.values())

        def __len__(cls):
            return len(cls.__members__)

        def __getitem__(cls, name):
            return cls.__members__[name]

    class Word(str, metaclass=_Words):
        """One of several words: a str that knows its name, as enum would make it (see sys/flags.py)."""

        def __new__(cls, value):
            for member in cls.__members__.values():
                if member == value:
                    return member
            raise ValueError(f"{value!r} is not a valid {cls.__name__}")

        def __repr__(self):
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self):
            return type(self), (self.value,)

__all__ = [
    "Field", "Record", "Word", "Wrong", "boolean", "choice", "dumps", "integer", "loads", "loads_trusted", "many",
    "many_by_name", "mapping", "numbers", "one", "pathname", "pathnames", "seconds", "strings", "text", "unsigned",
]

_new = object.__new__


class Wrong(Exception):
    """A value is not what its field takes. A reader raises it; whoever knows where the value stands adds the path."""

    def __init__(self, problem: str, path: str = "", hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.path, self.hint = problem, path, hint

    def under(self, key: str | int) -> Wrong:
        """Put one step in front of the path."""
        self.path = joined(step(key), self.path)
        return self

    def invalid(self, at: str) -> ConfigInvalid:
        """Return the error for the outside."""
        return ConfigInvalid(joined(at, self.path), self.problem, hint=self.hint)


def shown(value: object) -> str:
    """Return how a complaint shows a value, whatever it is and however large."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(int(value)) if value.bit_length() <= 128 else f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(shortened(str.__str__(value)))
    return repr(value) if isinstance(value, float) else f"a {type(value).__name__}"


# ---------------------------------------------------------------------------------------------------------- fields

class Field:
    """What one line of a record says: key, default, and how a value is checked, written, packed and unpacked.

    *read* makes a checked value of anything; *write* makes JSON of a value. A *pack* is a *write* by attribute names,
    *unpack* its reverse without any check. None stands for "as it is". A *fresh* default is made for each record.
    """

    __slots__ = ("default", "fresh", "key", "name", "pack", "read", "serialised", "unpack", "write")

    def __init__(self, read: Read, *, default: Any = None, fresh: Callable[[], Any] | None = None,
                 key: str | None = None, write: Read | None = None, pack: Read | None = None,
                 unpack: Read | None = None, serialised: bool = True) -> None:
        self.read, self.default, self.fresh, self.key, self.serialised = read, default, fresh, key, serialised
        self.write, self.pack, self.unpack = write, pack, unpack
        self.name = ""

    def __get__(self, record: Any, owner: type) -> Any:
        # Only a field with a fresh default stays in its class; it gets here when the record has no value of its own.
        if record is None:
            return self
        value = record.__dict__[self.name] = self.fresh() if self.fresh else self.default
        return value


def _text(value: Any) -> str:
    if type(value) is not str:
        if not isinstance(value, str):
            raise Wrong(f"expected a string, got {shown(value)}")
        value = str.__str__(value)
    if "\0" in value:
        raise Wrong(f"holds a NUL byte: {shown(value)}", hint="the kernel would cut the string there")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Wrong(f"is not valid Unicode: {shown(value)}", hint="every name must be UTF-8") from None
    return value  # type: ignore[no-any-return]


def _pathname(value: Any) -> str:
    return _text(value if type(value) is str or not hasattr(value, "__fspath__") else os.fsdecode(value))


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise Wrong(f"expected true or false, got {shown(value)}")


def _number(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"expected a whole number, got {shown(value)}")
    if not low <= value <= high:
        raise Wrong(f"{shown(value)} is not between {low} and {high}")
    return int(value)  # a flag or an enumeration becomes its number


def _each(read: Read, values: Any) -> tuple[Any, ...]:
    if values is None:  # Go writes null for an empty list
        return ()
    if not isinstance(values, (list, tuple)):
        raise Wrong(f"expected a list, got {shown(values)}")
    done: list[Any] = []
    try:
        for value in values:
            done.append(read(value))
    except Wrong as wrong:
        raise wrong.under(len(done)) from None
    return tuple(done)


def _each_value(read: Read, values: Any) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Wrong(f"expected an object, got {shown(values)}")
    done: dict[str, Any] = {}
    for key, value in values.items():
        try:
            done[_text(key)] = read(value)
        except Wrong as wrong:
            raise wrong.under(key if isinstance(key, str) else str(key)) from None
    return done


def text(default: str | None = "", *, key: str | None = None) -> Any:
    """A string without NUL; None only where that is the default."""
    return Field(_text, default=default, key=key)


def pathname(default: str | None = "", *, key: str | None = None) -> Any:
    """A string that names a file; the constructor takes a pathlib.Path as well."""
    return Field(_pathname, default=default, key=key)


def boolean(default: bool = False, *, key: str | None = None) -> Any:
    """True or false, and nothing that merely looks like it."""
    return Field(_boolean, default=default, key=key)


def integer(low: int, high: int, default: int | None = 0, *, key: str | None = None) -> Any:
    """A whole number from *low* to *high*."""
    def read(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        return _number(value, low, high)

    return Field(read, default=default, key=key)


def unsigned(bits: int, default: int | None = 0, *, key: str | None = None) -> Any:
    """A whole number that fits so many bits."""
    return integer(0, (1 << bits) - 1, default, key=key)


def seconds(default: float | None = None, *, key: str | None = None) -> Any:
    """A time span above zero, in seconds; a fraction is welcome."""
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1 << 31:
            raise Wrong(f"expected a number of seconds above zero, got {shown(value)}")
        return value

    return Field(read, default=default, key=key)


def choice(kind: Any, default: Any = None, *, key: str | None = None) -> Any:
    """One member of an Enumeration or of a Word."""
    members = {member.value: member for member in kind}

    def read(value: Any) -> Any:
        if type(value) is bool or not isinstance(value, (int, str)) or value not in members:
            among = ", ".join(w if isinstance(w, str) else f"{w} ({members[w].name})" for w in members if w != "")
            raise Wrong(f"{shown(value)} is none of {among}")
        return members[value]

    return Field(read, default=default, key=key, write=type(next(iter(members))), unpack=members.__getitem__)


def strings(*, key: str | None = None) -> Any:
    """A list of strings."""
    return Field(lambda values: _each(_text, values), default=(), key=key, write=list, unpack=tuple)


def pathnames(*, key: str | None = None) -> Any:
    """A list of strings that name files."""
    return Field(lambda values: _each(_pathname, values), default=(), key=key, write=list, unpack=tuple)


def numbers(low: int, high: int, *, key: str | None = None) -> Any:
    """A list of whole numbers."""
    read = integer(low, high).read
    return Field(lambda values: _each(read, values), default=(), key=key, write=list, unpack=tuple)


def mapping(*, key: str | None = None) -> Any:
    """An object whose values are strings."""
    return Field(lambda values: _each_value(_text, values), fresh=dict, key=key, write=dict, pack=dict)


def one(kind: type[Record], *, key: str | None = None) -> Any:
    """A record, or null."""
    return Field(kind.read, key=key, write=kind.to_json, pack=kind.pack, unpack=kind.unpack)


def many(kind: type[Record], *, key: str | None = None) -> Any:
    """A list of records."""
    read, unpack = kind.read, kind.unpack
    return Field(lambda values: _each(read, values), default=(), key=key,
                 write=lambda values: [value.to_json() for value in values],
                 pack=lambda values: [value.pack() for value in values],
                 unpack=lambda values: tuple([unpack(value) for value in values]))


def many_by_name(kind: type[Record], *, key: str | None = None) -> Any:
    """An object whose values are records."""
    read, unpack = kind.read, kind.unpack
    return Field(lambda values: _each_value(read, values), fresh=dict, key=key,
                 write=lambda values: {name: value.to_json() for name, value in values.items()},
                 pack=lambda values: {name: value.pack() for name, value in values.items()},
                 unpack=lambda values: {name: unpack(value) for name, value in values.items()})


# --------------------------------------------------------------------------------------------------------- records

@dataclass_transform()
class Record:
    """A thing with typed fields: made by name or in order, compared by value, changed by assignment."""

    _fields: ClassVar[dict[str, Field]] = {}
    _readers: ClassVar[dict[str, tuple[str, Any, Read]]]             # by key: name, default, read
    _writers: ClassVar[dict[str, tuple[str | None, Read | None]]]    # by name: key, write
    _packers: ClassVar[dict[str, Read | None]]                       # by name; None leaves the field out
    _unpackers: ClassVar[dict[str, Read]]
    _blank: ClassVar[dict[str, Any]]                  # the JSON of a record without values of its own …
    _containers: ClassVar[tuple[tuple[str, type], ...]]              # … less its lists and objects, made for each

    if not TYPE_CHECKING:  # a type checker makes __init__ of the field lines
        def __init__(self, *values, **named):
            fields = self._fields
            if values:
                named = {**_in_order(type(self), values, named), **named}
            store = self.__dict__
            for name, value in named.items():
                field = fields.get(name)
                if field is None:
                    raise TypeError(_no_such(type(self), name, fields))
                if value is not field.default or field.fresh:
                    taken = _taken(field, value)
                    if taken is not field.default:
                        store[name] = taken

        def __setattr__(self, name, value):
            field = self._fields.get(name)
            if field is None:
                raise AttributeError(_no_such(type(self), name, self._fields))
            self.__dict__[name] = value if value is field.default and not field.fresh else _taken(field, value)

    def __init_subclass__(cls) -> None:
        own = [(name, field) for name, field in vars(cls).items() if type(field) is Field]
        for name, field in own:
            field.name, field.key = name, field.key or name
            if field.fresh is None:
                setattr(cls, name, field.default)
        cls._fields = {**cls._fields, **dict(own)}
        _tabulate(cls, cls._fields)

    @classmethod
    def read(cls, value: Any) -> Any:
        """Make a record of a JSON object, and let a record through; raise Wrong for anything else."""
        if not isinstance(value, dict):
            if isinstance(value, cls):
                return value
            raise Wrong(f"expected an object, got {shown(value)}")
        record = _new(cls)
        store, readers = record.__dict__, cls._readers
        key: Any = ""
        try:
            for key, item in value.items():
                entry = readers.get(key)
                if entry is None:
                    raise Wrong("unknown key", hint=_instead(cls, key))
                name, default, read = entry
                if item is not default:
                    stored = read(item)
                    if stored is not default:
                        store[name] = stored
        except Wrong as wrong:
            raise wrong.under(key) from None
        return record

    @classmethod
    def from_json(cls, value: object, at: str = "") -> Self:
        """Make a record of a parsed JSON object; ConfigInvalid names the first wrong value by its path below *at*."""
        try:
            return cls.read(value)  # type: ignore[no-any-return]
        except Wrong as wrong:
            raise wrong.invalid(at) from None

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts with every key, ready for dumps()."""
        out, writers = self._blank.copy(), self._writers
        for container, empty in self._containers:
            out[container] = empty()
        for name, value in self.__dict__.items():
            key, write = writers[name]
            if key is not None:  # else it is never written
                out[key] = value if write is None or value is None else write(value)
        return out

    def pack(self) -> dict[str, Any]:
        """Return plain values by attribute name, defaults left out: cheap, for our own other process."""
        data, packers = self.__dict__.copy(), self._packers
        if packers and not packers.keys().isdisjoint(data):
            for name, pack in packers.items():
                if name in data:
                    if pack is None:
                        del data[name]
                    elif data[name] is not None:
                        data[name] = pack(data[name])
        return data

    @classmethod
    def unpack(cls, data: dict[str, Any]) -> Self:
        """Make a record of what pack() returned, and believe it; *data* becomes the record's own."""
        record, unpackers = _new(cls), cls._unpackers
        for name in data:
            if name in unpackers and data[name] is not None:
                data[name] = unpackers[name](data[name])
        record.__dict__.update(data)
        return record

    def copy(self) -> Self:
        """Return a record that shares nothing changeable with this one, but for callables."""
        other = self.unpack(self.pack())
        for name, value in self.__dict__.items():
            if self._writers[name][0] is None:
                other.__dict__[name] = value.copy() if isinstance(value, Record) else value
        return other

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        if self.__dict__ == other.__dict__:
            return True
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        given = []
        for name, value in self.__dict__.items():
            field = self._fields[name]
            if value != (field.fresh() if field.fresh else field.default):
                given.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"


def _tabulate(cls: Any, fields: dict[str, Field]) -> None:
    """Lay out what the fields say so that reading and writing are look-ups."""
    readers: dict[str, Any] = {}
    writers: dict[str, Any] = {}
    packers: dict[str, Any] = {}
    unpackers: dict[str, Any] = {}
    blank: dict[str, Any] = {}
    containers = []
    for name, field in fields.items():
        key, default, write = field.key, field.default, field.write
        if not field.serialised:
            writers[name], packers[name] = (None, None), None
            continue
        writers[name] = key, write
        if field.pack is not None:
            packers[name] = field.pack
        if field.unpack is not None:
            unpackers[name] = field.unpack
        if field.fresh is not None:
            default = field  # nothing is it
            containers.append((key, dict if field.fresh is dict else list))
        elif default == ():
            containers.append((key, list))
        readers[key], blank[key] = (name, default, field.read), None  # type: ignore[index]
        if field.fresh is None and default is not None:
            blank[key] = default if write is None else write(default)  # type: ignore[index]
    cls._readers, cls._writers, cls._packers, cls._unpackers = readers, writers, packers, unpackers
    cls._blank, cls._containers = blank, tuple(containers)


def _in_order(cls: Any, values: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    if len(values) > len(cls._fields):
        raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, got {len(values)} values")
    given = dict(zip(cls._fields, values))
    for name in given:
        if name in named:
            raise TypeError(f"{cls.__name__} got {name!r} twice")
    return given


def _taken(field: Field, value: Any) -> Any:
    try:
        return field.read(value)
    except Wrong as wrong:
        raise wrong.invalid(field.key or field.name) from None


def _alike(name: object, names: Any) -> str | None:
    plain = str(name).lower().replace("_", "").replace("-", "")
    return next((other for other in names if other.lower().replace("_", "") == plain), None)


def _no_such(cls: type, name: str, names: Any) -> str:
    other = _alike(name, names)
    return f"{cls.__name__} has no field {shortened(name)!r}" + (f"; did you mean {other!r}?" if other else "")


def _instead(cls: Any, key: object) -> str | None:
    other, name = _alike(key, cls._readers), _alike(key, cls._fields)
    if other is None and name is not None:
        if not cls._fields[name].serialised:
            return "this part is not kept as JSON: set it on the object"
        other = cls._fields[name].key
    return f"did you mean {other!r}?" if other else None
