"""Landlock: what of files, ports and processes the program may reach, beside what its users and namespaces allow.

Lesson  Namespaces decide what there is; Landlock, what of it one may touch. No other runtime for containers has it.
Read    landlock(7); the kernel's userspace-api/landlock.rst
Needs   Linux 5.13; no_new_privs

Rights go by the kernel's names in lower case, and a few words stand for several. What is listed as handled is denied,
but for the rules: so a right that nobody lists stays as it is. A kernel knows the rights of its ABI. A *strict*
description asks for all of its rights or fails; any other does without those that the kernel does not have, but never
without Landlock altogether.

Two calls, for the rules are files that are opened with more rights than the program will have::

    ruleset = prepare(wanted)      after the root has changed, before the user does
    enter(ruleset)                 after no_new_privs and everything that opens a file
"""
from __future__ import annotations

import os
import stat
from errno import EAFNOSUPPORT, ENOENT, ENOTDIR

from ..config import Landlock
from ..errors import ConfigInvalid, SyscallError, SystemError_
from ..sys.files import close
from ..sys.landlock import (
    LANDLOCK_ACCESS_FS,
    LANDLOCK_ACCESS_NET,
    LANDLOCK_SCOPE,
    abi_version,
    add_path_rule,
    add_port_rule,
    create_ruleset,
    restrict_self,
)
from ..sys.openat2 import RESOLVE, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FS", "NET", "SCOPES", "LandlockNotEnabled", "abi", "check", "enter", "known_to", "prepare"]

_READ = int(LANDLOCK_ACCESS_FS.READ_FILE | LANDLOCK_ACCESS_FS.READ_DIR)
_OF_FILES = 0x1 | 0x2 | 0x4 | 0x4000 | 0x8000
_ALL_FS, _IOCTL = 0xFFFF, 0x8000

# The words of a description, and the rights they stand for.
FS = {**{name.lower(): int(right) for name, right in LANDLOCK_ACCESS_FS.__members__.items()},
      "read": _READ, "write": _ALL_FS & ~(_READ | _IOCTL | 1), "all": _ALL_FS}
NET = {**{name.lower(): int(right) for name, right in LANDLOCK_ACCESS_NET.__members__.items()}, "all": 3}
SCOPES = {**{name.lower(): int(scope) for name, scope in LANDLOCK_SCOPE.__members__.items()}, "all": 3}

# From which ABI on, and from which Linux, a kernel knows which rights: of files, of ports, and scopes.
_VERSIONS = (
    (1, "5.13", (0x1FFF, 0, 0)),
    (2, "5.19", (0x2000, 0, 0)),
    (3, "6.2", (0x4000, 0, 0)),
    (4, "6.7", (0, 3, 0)),
    (5, "6.10", (0x8000, 0, 0)),
    (6, "6.12", (0, 0, 3)),
)
_PATH, _NO_MAGICLINKS = os.O_PATH, int(RESOLVE.NO_MAGICLINKS)


class LandlockNotEnabled(SystemError_):
    """Landlock was asked for, and this kernel has none."""


def abi() -> int:
    """Return the version that the kernel offers, 0 for no Landlock at all."""
    try:
        return abi_version()
    except SyscallError as error:
        if not error.unsupported:
            raise
        return 0


def known_to(version: int) -> tuple[int, int, int]:
    """Return the rights to files, to ports, and the scopes that an ABI knows."""
    fs = net = scopes = 0
    for since, _, more in _VERSIONS:
        if since <= version:
            fs, net, scopes = fs | more[0], net | more[1], scopes | more[2]
    return fs, net, scopes


def _mask(table: dict[str, int], words: Iterable[str]) -> int:
    mask = 0
    for word in words:
        mask |= table[word]
    return mask


def check(wanted: Landlock, version: int) -> None:
    """Refuse what an ABI cannot do: LandlockNotEnabled for 0, and ConfigInvalid where *wanted* is strict."""
    if not version:
        raise LandlockNotEnabled("landlock: this kernel has no Landlock, or was booted without it",
                                 hint="Linux 5.13 has it; lsm= on the kernel's command line must list it")
    if not wanted.strict:
        return
    lists = (("handled_fs", FS, wanted.handled_fs), ("handled_net", NET, wanted.handled_net),
             ("scoped", SCOPES, wanted.scoped))
    known = known_to(version)
    for kind, (name, table, words) in enumerate(lists):
        for index, word in enumerate(words):
            missing = table[word] & ~known[kind]
            if missing:
                since, linux = next((row[0], row[1]) for row in reversed(_VERSIONS) if row[2][kind] & missing)
                raise ConfigInvalid(f"landlock.{name}[{index}]",
                                    f"{word!r} takes ABI {since}, Linux {linux}; this kernel has ABI {version}",
                                    hint="without strict, what the kernel lacks is left out")


def prepare(wanted: Landlock, version: int | None = None) -> int:
    """Open what the rules name, in the root we are in, and return the ruleset; -1 when nothing is left to restrict.

    A path that is not there grants nothing; a strict description fails on it. *version* makes do with an older ABI.
    """
    version = abi() if version is None else version
    check(wanted, version)
    known_fs, known_net, known_scopes = known_to(version)
    fs, net = _mask(FS, wanted.handled_fs) & known_fs, _mask(NET, wanted.handled_net) & known_net
    scoped = _mask(SCOPES, wanted.scoped) & known_scopes
    if not (fs or net or scoped):
        return -1  # of what is listed, this kernel knows nothing
    ruleset = create_ruleset(fs, net, scoped)
    try:
        _add_rules(ruleset, wanted, fs, net)
    except BaseException:
        close(ruleset)
        raise
    return ruleset


def _add_rules(ruleset: int, wanted: Landlock, fs: int, net: int) -> None:
    for path_rule in wanted.paths:
        access = _mask(FS, path_rule.access) & fs
        for path in path_rule.paths if access else ():
            _allow(ruleset, access, path, wanted.strict)
    for port_rule in wanted.ports:
        access = _mask(NET, port_rule.access) & net
        for port in port_rule.ports if access else ():
            try:
                add_port_rule(ruleset, access, port)
            except SyscallError as error:
                if error.errno != EAFNOSUPPORT:  # without TCP there is nothing to allow
                    raise


def _allow(ruleset: int, access: int, path: str, strict: bool) -> None:
    try:
        fd = openat2(-100, path, _PATH, resolve=_NO_MAGICLINKS)
    except SyscallError as error:
        if strict or error.errno not in (ENOENT, ENOTDIR):
            error.hint = "a path of landlock.paths"
            raise
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _OF_FILES
        if access:
            add_path_rule(ruleset, access, fd)
    finally:
        close(fd)


def enter(ruleset: int) -> None:
    """Restrict this process, and what it becomes, to what *ruleset* leaves; then close that."""
    restrict_self(ruleset)
    close(ruleset)
