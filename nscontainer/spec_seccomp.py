"""The filter of system calls of a config.json.

Read    the OCI runtime specification, config-linux.md, "Seccomp"; seccomp(2)
"""
from __future__ import annotations

from .config import Arg, Seccomp, Syscall
from .errors import ConfigInvalid
from .security.seccomp import convert_string_to_action, convert_string_to_arch, convert_string_to_operator
from .spec_reader import U64, Object
from .sys.seccomp import SECCOMP_FILTER_FLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["seccomp"]

# TSYNC is about the other threads of the process; the one that puts the filter on has none.
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0, "SECCOMP_FILTER_FLAG_LOG": int(SECCOMP_FILTER_FLAG.LOG),
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": int(SECCOMP_FILTER_FLAG.SPEC_ALLOW),
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": int(SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV),
}
# Machines that the specification knows and we do not. A profile may list them all; no program of theirs runs on a
# machine of ours, so a filter is as strict without them.
_FOREIGN = frozenset(f"SCMP_ARCH_{name}" for name in (
    "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PARISC", "PARISC64",
    "LOONGARCH64", "M68K", "SH", "SHEB"))


def seccomp(linux: Object) -> Seccomp | None:
    """Read `seccomp`; an empty object stands for no filter."""
    given = linux.object("seccomp")
    if given is None or not any(value is not None for value in given.values.values()):
        return None
    return Seccomp(
        default_action=_convert(given, "defaultAction", convert_string_to_action),
        default_errno_ret=given.integer("defaultErrnoRet", 0, 0xFFFF),
        architectures=tuple(_architectures(given)),
        flags=sum(set(given.words("flags", _FLAGS))) if "flags" in given else None,
        listener_path=given.text("listenerPath"),
        listener_metadata=given.text("listenerMetadata"),
        syscalls=tuple([rule for entry in given.objects("syscalls") for rule in _rules(entry)]),
    )


def _architectures(given: Object) -> list[str]:
    listed = []
    for index, word in enumerate(given.strings("architectures")):
        if word not in _FOREIGN:
            listed.append(_converted(given.path("architectures", index), word, convert_string_to_arch))
    return listed


def _rules(entry: Object) -> list[Syscall]:
    names = entry.strings("names")
    if not names:
        raise entry.wrong("names", "names no system call")
    action = _convert(entry, "action", convert_string_to_action)
    errno = entry.integer("errnoRet", 0, 0xFFFF)
    conditions = [Arg(index=arg.number("index", 0, 5, None), value=arg.number("value", 0, U64, None),
                      value_two=arg.number("valueTwo", 0, U64), op=_convert(arg, "op", convert_string_to_operator))
                  for arg in entry.objects("args")]
    if len({condition.index for condition in conditions}) == len(conditions):
        together = [tuple(conditions)]
    else:
        # The specification says that all conditions of an entry must hold. Of two about one argument every runtime
        # since the first has meant either, and profiles are written for that.
        together = [(condition,) for condition in conditions]
    return [Syscall(names=names, action=action, errno_ret=errno, args=args) for args in together]


def _convert(given: Object, key: str, convert: Callable[[str], T]) -> T:
    return _converted(given.path(key), given.text(key, None), convert)


def _converted(at: str, word: str, convert: Callable[[str], T]) -> T:
    try:
        return convert(word)
    except ConfigInvalid as error:
        raise ConfigInvalid(at, error.problem, hint=error.hint) from None
