"""Users and groups by the files of one root: ``"user:group"`` into ids, without asking anybody else.

Lesson  The kernel knows numbers only; a name is a line in a text file, and whose file it is decides who that is.
Read    passwd(5), group(5), nsswitch.conf(5), setgroups(2), credentials(7)

The C library would answer through NSS, which loads libraries from the root it runs in: in a container, the image's,
with the host's rights. So /etc/passwd and /etc/group are parsed here. A number always means an id, never a name that
looks like one: an image's user "1000" could have uid 0 (CVE-2016-3697).
"""
from __future__ import annotations

import os
import stat
from errno import ENOENT, ENOTDIR, EFBIG

from .errors import ContainerError, SyscallError
from .records import Record, numbers, strings, text, unsigned
from .sys.files import AT_FDCWD, close, fstat, read_all
from .sys.openat2 import RESOLVE, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import IO, Any, TypeVar, Union

    Source = Union[str, bytes, IO[Any]]
    Path = Union[str, os.PathLike[str]]
    Entry = TypeVar("Entry", "User", "Group")
    Fields = list[str]

__all__ = [
    "ExecUser", "Group", "IdRangeError", "User", "current_group", "current_user", "get_additional_groups",
    "get_additional_groups_path", "get_exec_user", "get_exec_user_path", "get_group", "get_group_path", "get_passwd",
    "get_passwd_path", "lookup_gid", "lookup_group", "lookup_uid", "lookup_user", "parse_group", "parse_group_file",
    "parse_group_file_filter", "parse_group_filter", "parse_id", "parse_passwd", "parse_passwd_file",
    "parse_passwd_file_filter", "parse_passwd_filter", "resolve",
]

PASSWD, GROUP = "/etc/passwd", "/etc/group"
LARGEST = 10 << 20          # bytes of a file; a group of ten thousand members has 100 KiB
LARGEST_ID = (1 << 31) - 1  # above, ids have wrapped to 0 in other programs: CVE-2024-40635
_LONGEST_NUMBER = len(str(LARGEST_ID))


class User(Record):
    """A line of passwd(5)."""

    name: str = text()
    password: str = text()
    uid: int = unsigned(64)
    gid: int = unsigned(64)
    gecos: str = text()
    home: str = text()
    shell: str = text()


class Group(Record):
    """A line of group(5); *list* are the names of its members."""

    name: str = text()
    password: str = text()
    gid: int = unsigned(64)
    list: tuple[str, ...] = strings()


class ExecUser(Record):
    """Who a program is to be: its ids, its supplementary groups, and where it is at home."""

    uid: int = unsigned(31)
    gid: int = unsigned(31)
    sgids: tuple[int, ...] = numbers(0, LARGEST_ID)
    home: str = text()


class IdRangeError(ContainerError, ValueError):
    """A user or group id is not between 0 and 2**31 - 1."""


# ----------------------------------------------------------------------------------------------------------- numbers

def _is_number(word: str) -> bool:
    """Say whether *word* is digits and nothing else; ``int`` takes " 1", "+1", "1_0" and other scripts' digits too."""
    return word.isascii() and word.isdecimal()


def parse_id(word: str, what: str = "id") -> int:
    """Return the id that *word* is in decimal: ``[0-9]+``; IdRangeError when it is too large, or no number at all."""
    if not _is_number(word):
        raise IdRangeError(f"{word!r} is not a {what}: expected a decimal number")
    digits = word.lstrip("0") or "0"
    if len(digits) > _LONGEST_NUMBER or int(digits) > LARGEST_ID:
        raise IdRangeError(f"{what} {word[:40]} is not between 0 and {LARGEST_ID}")
    return int(digits)


def _id_in_file(word: str, line: Fields, where: str) -> int:
    """Return an id of a line we have settled on. Garbage must not become 0, which is root."""
    try:
        return parse_id(word)
    except IdRangeError:
        raise ContainerError(f"the entry {line[0]!r} in {where} has the id {word[:40]!r}, "
                             f"which is not a number between 0 and {LARGEST_ID}") from None


# ------------------------------------------------------------------------------------------------------------- files

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not block, a terminal not become ours
_NO_MAGICLINKS = int(RESOLVE.NO_MAGICLINKS)


def _content(path: str) -> str | None:
    """Return what is in a file that a stranger has put there, or None when there is none.

    Symlinks are followed, for they cannot lead out of the root we are in; those of /proc can, and are not. Only a
    regular file of a sane size is read: the image's could be /dev/zero, a FIFO, or 10 GB of nothing (CVE-2024-9676).
    """
    try:
        fd = openat2(AT_FDCWD, path, _OPEN, resolve=_NO_MAGICLINKS)
    except SyscallError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return None
        raise
    try:
        if not stat.S_ISREG(fstat(fd).st_mode):
            raise ContainerError(f"{path} is not a regular file")
        raw = read_all(fd, LARGEST)
    except SyscallError as error:
        if error.errno == EFBIG:
            raise ContainerError(f"{path} is larger than {LARGEST >> 20} MiB") from None
        raise
    finally:
        close(fd)
    return _decoded(raw, path)


def _decoded(raw: bytes, path: str) -> str:
    if b"\0" in raw:
        raise ContainerError(f"{path} is damaged: it holds a NUL byte")
    return raw.decode("utf-8", "surrogateescape")


def _text_of(source: Source, what: str) -> str:
    """Return the text of what a caller passes: a string, bytes, or an open file."""
    if source is None:
        raise ContainerError(f"no {what} data to read")
    data = source if isinstance(source, (str, bytes)) else source.read()
    return data if isinstance(data, str) else _decoded(data, what)


def _lines(content: str | None) -> Iterator[Fields]:
    """Split the lines into their fields; empty lines do not count."""
    for line in (content or "").split("\n"):
        if stripped := line.strip():
            yield stripped.split(":")


def _lenient(word: str) -> int:
    """A listing shows every line, and 0 where a number should be; nobody is made of it."""
    return int(word) if _is_number(word) and len(word) < 20 else 0


def _user(line: Fields) -> User:
    name, password, uid, gid, gecos, home, shell = (*line, *[""] * 7)[:7]
    return User(name=_shown(name), password=_shown(password), uid=_lenient(uid), gid=_lenient(gid),
                gecos=_shown(gecos), home=_shown(home), shell=_shown(shell))


def _group(line: Fields) -> Group:
    name, password, gid, members = (*line, *[""] * 4)[:4]
    return Group(name=_shown(name), password=_shown(password), gid=_lenient(gid),
                 list=tuple(_shown(member) for member in members.split(",")) if members else ())


def _shown(word: str) -> str:
    """Replace what is not UTF-8: a record holds text that can be printed."""
    return word if word.isascii() else word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# --------------------------------------------------------------------------------------------------------- listings

def parse_passwd(source: Source) -> list[User]:
    """Return all users of passwd(5) text, which is a string, bytes or an open file."""
    return parse_passwd_filter(source, None)


def parse_passwd_filter(source: Source, wanted: Callable[[User], bool] | None) -> list[User]:
    """Return the users of passwd(5) text that *wanted* says yes to."""
    return _wanted([_user(line) for line in _lines(_text_of(source, "passwd"))], wanted)


def parse_passwd_file(path: Path) -> list[User]:
    """Return all users of a file."""
    return parse_passwd_file_filter(path, None)


def parse_passwd_file_filter(path: Path, wanted: Callable[[User], bool] | None) -> list[User]:
    """Return the users of a file that *wanted* says yes to."""
    return parse_passwd_filter(_existing(path), wanted)


def parse_group(source: Source) -> list[Group]:
    """Return all groups of group(5) text, which is a string, bytes or an open file."""
    return parse_group_filter(source, None)


def parse_group_filter(source: Source, wanted: Callable[[Group], bool] | None) -> list[Group]:
    """Return the groups of group(5) text that *wanted* says yes to."""
    return _wanted([_group(line) for line in _lines(_text_of(source, "group"))], wanted)


def parse_group_file(path: Path) -> list[Group]:
    """Return all groups of a file."""
    return parse_group_file_filter(path, None)


def parse_group_file_filter(path: Path, wanted: Callable[[Group], bool] | None) -> list[Group]:
    """Return the groups of a file that *wanted* says yes to."""
    return parse_group_filter(_existing(path), wanted)


def _wanted(entries: list[Entry], wanted: Callable[[Entry], bool] | None) -> list[Entry]:
    return entries if wanted is None else [entry for entry in entries if wanted(entry)]


def _existing(path: Path) -> str:
    content = _content(os.fspath(path))
    if content is None:
        raise SyscallError("openat2", ENOENT, os.fspath(path))
    return content


def get_passwd_path() -> str:
    """Return where users are listed."""
    return PASSWD


def get_group_path() -> str:
    """Return where groups are listed."""
    return GROUP


def get_passwd() -> str:
    """Return the text of /etc/passwd."""
    return _existing(PASSWD)


def get_group() -> str:
    """Return the text of /etc/group."""
    return _existing(GROUP)


def lookup_user(name: str) -> User:
    """Return the first user of /etc/passwd by that name."""
    return _first(parse_passwd_file_filter(PASSWD, lambda user: user.name == name), f"user {name!r}", PASSWD)


def lookup_uid(uid: int) -> User:
    """Return the first user of /etc/passwd with that uid."""
    return _first(parse_passwd_file_filter(PASSWD, lambda user: user.uid == uid), f"user with the uid {uid}", PASSWD)


def current_user() -> User:
    """Return the user of /etc/passwd who runs this program."""
    return lookup_uid(os.getuid())


def lookup_group(name: str) -> Group:
    """Return the first group of /etc/group by that name."""
    return _first(parse_group_file_filter(GROUP, lambda group: group.name == name), f"group {name!r}", GROUP)


def lookup_gid(gid: int) -> Group:
    """Return the first group of /etc/group with that gid."""
    return _first(parse_group_file_filter(GROUP, lambda group: group.gid == gid), f"group with the gid {gid}", GROUP)


def current_group() -> Group:
    """Return the group of /etc/group that this program runs as."""
    return lookup_gid(os.getgid())


def _first(found: list[Entry], what: str, path: str) -> Entry:
    if not found:
        raise ContainerError(f"no {what} in {path}")
    return found[0]


# ----------------------------------------------------------------------------------------------- who a program runs as

class _Database:
    """The two files as far as somebody has asked for them, and what an error calls them."""

    def __init__(self, passwd: Callable[[], str | None], group: Callable[[], str | None],
                 passwd_name: str, group_name: str) -> None:
        self._read_passwd, self._read_group = passwd, group
        self.passwd_name, self.group_name = passwd_name, group_name
        self._groups: list[Fields] | None = None

    def user(self, word: str) -> Fields | None:
        """Return the first user with that name, or with that uid when *word* is a number."""
        number = parse_id(word, "uid") if _is_number(word) else None
        for line in _lines(self._read_passwd()):
            if len(line) > 2 and (_same_id(line[2], number) if number is not None else line[0] == word):
                return line
        return None

    def groups(self) -> list[Fields]:
        """Return the lines of the groups."""
        if self._groups is None:
            self._groups = list(_lines(self._read_group()))
        return self._groups

    def gid(self, word: str) -> int:
        """Return the gid of a group given by name, or by its gid, which need not be in the file."""
        if _is_number(word):
            return parse_id(word, "gid")
        for line in self.groups():
            if len(line) > 2 and line[0] == word:
                return _id_in_file(line[2], line, self.group_name)
        raise ContainerError(f"no group {word!r} in {self.group_name}",
                             hint="add it to the image, or give a gid, which need not be in any file")

    def gids_of_member(self, name: str) -> list[int]:
        """Return the gids of the groups that list *name*."""
        if not name:  # "" is in every empty list of members
            return []
        return [_id_in_file(line[2], line, self.group_name) for line in self.groups()
                if len(line) > 3 and name in line[3].split(",")]

    def exec_user(self, spec: str, defaults: ExecUser) -> ExecUser:
        """Return who *spec* is."""
        user_part, _, group_part = spec.partition(":")
        uid, gid, home = defaults.uid, defaults.gid, defaults.home
        sgids: Iterable[int] = defaults.sgids
        line = self.user(user_part or str(uid))
        if line is not None:
            uid = _id_in_file(line[2], line, self.passwd_name)
            gid = _id_in_file(line[3] if len(line) > 3 else "", line, self.passwd_name)
            home = line[5] if len(line) > 5 else ""
        elif user_part:
            if not _is_number(user_part):
                raise ContainerError(f"no user {user_part!r} in {self.passwd_name}",
                                     hint="add it to the image, or give a uid, which need not be in any file")
            uid = parse_id(user_part, "uid")
        if group_part:
            gid = self.gid(group_part)
        elif line is not None:
            sgids = self.gids_of_member(line[0]) or sgids
        return ExecUser(uid=uid, gid=gid, sgids=tuple(dict.fromkeys(sgids)), home=home)

    def additional(self, words: Iterable[str]) -> list[int]:
        """Return the gids of the groups named, each once."""
        return list(dict.fromkeys([self.gid(word) for word in words]))


def _same_id(word: str, number: int) -> bool:
    return _is_number(word) and len(word) < 20 and int(word) == number


def _database(passwd: Source | None, group: Source | None) -> _Database:
    return _Database(lambda: None if passwd is None else _text_of(passwd, "passwd"),
                     lambda: None if group is None else _text_of(group, "group"), "the passwd data", "the group data")


def get_exec_user(spec: str, defaults: ExecUser | None, passwd: Source | None, group: Source | None) -> ExecUser:
    """Return who *spec* is by the text of passwd(5) and group(5), either of which may be None.

    *spec* is "", "user", "uid", "user:group" and so on. What it leaves open comes from the user's line, or else from
    *defaults*. Supplementary groups are those that list the user, unless a group is given.
    """
    return _database(passwd, group).exec_user(spec, defaults or ExecUser())


def get_exec_user_path(spec: str, defaults: ExecUser | None, passwd_path: Path, group_path: Path) -> ExecUser:
    """Return who *spec* is by two files; one that is not there counts as empty."""
    return _by_path(passwd_path, group_path).exec_user(spec, defaults or ExecUser())


def get_additional_groups(groups: Iterable[str], group: Source | None) -> list[int]:
    """Return the gids of *groups*, names or gids, each once and in order; without the text of group(5), gids only."""
    return _database(None, group).additional(groups)


def get_additional_groups_path(groups: Iterable[str], path: Path) -> list[int]:
    """Return the gids of *groups* by a file, which may be missing."""
    return _by_path(PASSWD, path).additional(groups)


def _by_path(passwd: Path, group: Path) -> _Database:
    return _Database(lambda: _content(os.fspath(passwd)), lambda: _content(os.fspath(group)),
                     os.fspath(passwd), os.fspath(group))


def resolve(spec: str, additional_groups: Sequence[str] = ()) -> ExecUser:
    """Return who a program of the container is to be, when the container's root is our own by now.

    An empty *spec* is whoever we are. The supplementary groups are exactly those of the container's files and the
    additional ones: what the caller was a member of on the host does not count.
    """
    database = _Database(lambda: _content(PASSWD), lambda: _content(GROUP),
                         "the container's /etc/passwd", "the container's /etc/group")
    found = database.exec_user(spec, ExecUser(uid=os.getuid(), gid=os.getgid(), home="/"))
    if additional_groups:
        found.sgids = tuple(dict.fromkeys([*found.sgids, *database.additional(additional_groups)]))
    found.home = found.home or "/"
    return found
