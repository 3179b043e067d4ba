"""Bits and numbers with names, printed as C spells them.

Lesson  A flag argument is a number; its meaning is the header's name for each bit.
Read    the manual page of the call that takes it

``enum`` would do, but importing it costs more than every mount of a container; type checkers see it all the same.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import IntEnum as Enumeration
    from enum import IntFlag as Flags
else:
    class _Named(type):
        """Turn the integers of a class body into members of the class."""

        def __new__(meta, name, bases, namespace):
            members = {key: value for key, value in namespace.items() if type(value) is int and key[0] != "_"}
            cls = super().__new__(meta, name, bases, {k: v for k, v in namespace.items() if k not in members})
            cls.__members__ = {}
            for key, value in members.items():
                member = int.__new__(cls, value)
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

    class Enumeration(int, metaclass=_Named):
        """One of several numbers."""

        def __new__(cls, value):
            for member in cls.__members__.values():
                if member == value:
                    return member
            raise ValueError(f"{value!r} is not a valid {cls.__name__}")

        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value}>"

        def __str__(self):
            return f"{type(self).__name__}.{self.name}"

        __format__ = object.__format__

        def __reduce__(self):
            return type(self), (self.value,)

    class Flags(int, metaclass=_Named):
        """Any of several bits: ``str(MS.NOSUID | MS.NODEV)`` is ``MS_NOSUID|MS_NODEV``."""

        def __or__(self, other):
            return type(self)(int(self) | int(other))

        def __and__(self, other):
            return type(self)(int(self) & int(other))

        def __xor__(self, other):
            return type(self)(int(self) ^ int(other))

        def __invert__(self):
            return type(self)(~int(self))

        __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

        def __contains__(self, other):
            return int(self) & int(other) == int(other)

        def __str__(self):
            rest, words = int(self), []
            for name, bit in type(self).__members__.items():
                if bit and rest & bit == bit:
                    words.append(f"{type(self).__name__}_{name}")
                    rest &= ~int(bit)
            return "|".join(words + [hex(rest)] * (rest != 0)) or "0"

        def __repr__(self):
            return f"<{self}>"

        __format__ = object.__format__

__all__ = ["Enumeration", "Flags"]
