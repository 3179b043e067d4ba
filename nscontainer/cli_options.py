"""What a command line may say: options, commands, and how one is taken apart."""
from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Union

    Value = Union[str, bool, list[str]]

__all__ = ["HELP", "OCI_VERSION", "Command", "Option", "UsageError", "parse", "passed_descriptors"]

OCI_VERSION = "1.3.0"  # of the runtime specification
_SWITCHES = {"true": True, "false": False, "1": True, "0": False, "t": True, "f": False}


class UsageError(Exception):
    """The command line makes no sense: one line, and exit code 2; 1 from a command that other runtimes have too."""


class Option:
    """``--name`` or, with a *value* to show for it in the help, ``--name VALUE``; *many*: it may be given again."""

    def __init__(self, names: str, value: str, about: str, *, many: bool = False) -> None:
        self.names, self.value, self.about, self.many = names.split(), value, about, many

    @property
    def key(self) -> str:
        """Under which name parse() returns it."""
        return self.names[0][2:]


HELP = Option("--help -h", "", "show this text")


class Command:
    """One command: its module has ``run(zygote, options, operands)`` if it makes processes, else without a zygote.

    A *module* may be followed by a colon and another name than ``run``. To a command of the *oci* family, the options
    in front of its name are options too; its own may stand behind operands unless these begin the line of a *program*;
    and *failure* is its exit code whenever something goes wrong.
    """

    def __init__(self, name: str, operands: str, summary: str, module: str, options: tuple[Option, ...], *,
                 clones: bool, notes: str = "", oci: bool = False, program: bool = True, failure: int = 1) -> None:
        self.name, self.operands, self.summary = name, operands, summary
        self.module, _, function = module.partition(":")
        self.function = function or "run"
        self.options, self.clones, self.notes = options, clones, notes
        self.oci, self.program, self.failure = oci, program, failure


def parse(options: Sequence[Option], arguments: Sequence[str], *,
          program: bool = True) -> tuple[dict[str, Value], list[str]]:
    """Split *arguments* into the options given, by their first name, and the operands.

    Options end at ``--``; and at the first operand when that begins the line of a *program*, whose options are its own.
    """
    by_name = {name: option for option in options for name in option.names}
    given: dict[str, Value] = {}
    operands: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            operands.append(word)
            if program:
                break
            continue
        name, equals, value = word.partition("=")
        option = by_name.get(name) or by_name.get(f"-{name}")  # some write a long option with one dash
        if option is None:
            raise UsageError(f"unknown option {name!r}")
        if not option.value:
            if equals and value.lower() not in _SWITCHES:
                raise UsageError(f"option {name} takes no value")
            given[option.key] = not equals or _SWITCHES[value.lower()]
            continue
        if not equals:
            if not rest:
                raise UsageError(f"option {name} needs a value: {option.value}")
            value = rest.pop(0)
        if option.many:
            earlier = given.setdefault(option.key, [])
            assert isinstance(earlier, list)
            earlier.append(value)
        else:
            given[option.key] = value
    return given, operands + rest


def passed_descriptors(options: dict[str, Any]) -> list[int]:
    """Return the descriptors from 3 on that the program is to have: LISTEN_FDS and --preserve-fds.

    To be asked before we open anything ourselves: what is not open now would be something of ours later.
    sd_listen_fds(3) has LISTEN_PID say whom LISTEN_FDS is for.
    """
    listening = os.environ.get("LISTEN_FDS", "") if os.environ.get("LISTEN_PID") == str(os.getpid()) else ""
    count = 0
    for name, text in (("LISTEN_FDS", listening), ("--preserve-fds", options.get("preserve-fds", ""))):
        if text:
            if not (text.isascii() and text.isdecimal() and int(text) < 1 << 16):
                raise UsageError(f"{name}: expected a number, got {text!r}")
            count += int(text)
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(f"--preserve-fds: descriptor {fd} is not open") from None
    return list(range(3, 3 + count))
