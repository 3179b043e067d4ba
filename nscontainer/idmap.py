"""Give a user namespace its ids, from outside: uid_map, setgroups, gid_map of another process.

Lesson  In a new user namespace no id has a name yet; who made it may map his own, and root or a helper of root more.
Read    user_namespaces(7), subuid(5), subgid(5), newuidmap(1), newgidmap(1)
Needs   CAP_SETUID and CAP_SETGID outside for more than one's own id, or newuidmap and newgidmap, which have them

A group can be there to keep its members out of something. So who maps his own gid without root's help must first
give up setgroups(2) in the namespace, for good, lest he leave such a group that way: CVE-2014-8989.
"""
from __future__ import annotations

import os
from errno import ENOENT, EPERM

from .config import IDMap
from .errors import ContainerError, SyscallError
from .hooks import find_program, run_program
from .security import procfs
from .sys.files import AT_FDCWD, close, close_all, openat, read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Mappings = Sequence[IDMap]
    Range = tuple[int, int]  # first id, how many

__all__ = ["default_mappings", "subordinate_ranges", "write"]

_HELPERS = {"uid": "newuidmap", "gid": "newgidmap"}
_FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
_LARGEST_FILE = 10 << 20
_IDS = (1 << 32) - 1  # 2**32 - 1 itself is no id, but the kernel's "none"
_PATH = "/usr/local/bin:/usr/bin:/bin"


def write(pid: int, uid_mappings: Mappings, gid_mappings: Mappings) -> None:
    """Map the ids of the user namespace that *pid*, a child of ours, is the first process of.

    What the kernel lets us write ourselves is written directly; for the rest newuidmap and newgidmap are asked. What
    came of it is read back: CVE-2018-18955 was a kernel that mapped other ids than it was told to.
    """
    opened = [procfs.open_procfs()]
    try:
        try:
            opened.append(procfs.open_file(opened[0], str(pid), os.O_PATH | os.O_DIRECTORY))
        except SyscallError as error:
            if error.errno != ENOENT:
                raise
            raise ContainerError(f"cannot map the ids of process {pid}: it has ended") from None
        _map(opened[1], pid, "uid", uid_mappings)
        _map(opened[1], pid, "gid", gid_mappings)
    finally:
        close_all(opened)


def _map(process: int, pid: int, kind: str, mappings: Mappings) -> None:
    if not mappings:
        return
    wanted = [(entry.container_id, entry.host_id, entry.size) for entry in mappings]
    content = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in wanted)
    try:
        _put(process, f"{kind}_map", content)
    except SyscallError as error:
        if error.errno != EPERM:
            raise
        if kind == "gid" and len(wanted) == 1 and wanted[0][1:] == (os.getegid(), 1):
            _put(process, "setgroups", "deny")
            _put(process, "gid_map", content)
        else:
            _ask_helper(pid, kind, wanted)
    made = [tuple(map(int, line.split())) for line in _get(process, f"{kind}_map").splitlines()]
    if sorted(made) != sorted(wanted):  # from six lines on the kernel keeps them in its own order
        raise ContainerError(f"the {kind} mapping of process {pid} became {made}, not {wanted}")


def _put(process: int, name: str, content: str) -> None:
    procfs.write(process, name, content)


def _get(process: int, name: str) -> str:
    return procfs.read(process, name).decode()


# ------------------------------------------------------------------------------------------------------ the helpers

def _find_helper(kind: str) -> str | None:
    return find_program(_HELPERS[kind], os.environ.get("PATH") or _PATH)


def _ask_helper(pid: int, kind: str, wanted: Sequence[tuple[int, int, int]]) -> None:
    """Have newuidmap or newgidmap write the map: it is root's, and knows what root has allowed us."""
    name, path = _HELPERS[kind], _find_helper(kind)
    own = os.geteuid() if kind == "uid" else os.getegid()
    if path is None:
        raise ContainerError(
            f"mapping more than one's own {kind} {own} needs {name}, which is not in PATH",
            hint=f"install uidmap (Debian, Ubuntu, Alpine: shadow-uidmap, Fedora: shadow-utils), or map only {own}")
    numbers = [str(number) for line in wanted for number in line]
    try:
        outcome = run_program(path, [name, str(pid), *numbers], {}, stdout=True)
    except OSError as error:
        raise ContainerError(f"cannot run {path}: {error.strerror}") from None
    if outcome.problem:
        raise ContainerError(f"{path} {outcome.problem}", hint=_explain(kind, own, wanted, path))


def _explain(kind: str, own: int, wanted: Sequence[tuple[int, int, int]], path: str) -> str:
    file, uid = _FILES[kind], os.getuid()
    name = _name_of(uid)
    who = f"the user {name or uid}"
    ranges = subordinate_ranges(name, file, uid)
    if not ranges:
        return f"no range in {file} for {who}: usermod --add-sub{kind}s 100000-165535 {name or uid}"
    for _, first, size in wanted:
        if (first, size) != (own, 1) and not _covered(first, size, ranges):
            owned = ", ".join(f"{start} to {start + count - 1}" for start, count in ranges)
            return f"{who} has the {kind}s {owned} in {file}, and not all of {first} to {first + size - 1}"
    return f"is {path} setuid root, or has it file capabilities? See getcap(8)"


def _covered(first: int, size: int, ranges: Iterable[Range]) -> bool:
    return any(start <= first and first + size <= start + count for start, count in ranges)


# -------------------------------------------------------------------------------------------------- subordinate ids

def subordinate_ranges(user: str | None, file: str, uid: int | None = None) -> list[Range]:
    """Return the ranges, first id and count, that a file such as /etc/subuid gives to the user of that name or uid.

    Names are compared whole. Lines that are not ``user:first:count`` in decimal, with ids that exist, give nothing.
    """
    owners = {str(owner) for owner in (user, uid) if owner is not None and owner != ""}
    ranges = []
    for line in _content(file).split("\n"):
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in owners and not line.startswith("#"):
            first, count = _decimal(fields[1]), _decimal(fields[2])
            if first is not None and count and first + count <= _IDS:
                ranges.append((first, count))
    return ranges


def _decimal(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= 10 else None


def _content(file: str) -> str:
    try:
        fd = openat(AT_FDCWD, file, os.O_RDONLY)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return ""
    try:
        return read_all(fd, _LARGEST_FILE).decode("utf-8", "surrogateescape")
    finally:
        close(fd)


def _name_of(uid: int) -> str | None:
    """Return the caller's name. We are on the host and nobody but ourselves, so NSS may be asked."""
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return None


def default_mappings() -> tuple[tuple[IDMap, ...], tuple[IDMap, ...]]:
    """Return the uid and gid mappings for a container of an ordinary user: root inside is himself.

    The ids from 1 on are his first subordinate ranges, when he has both and the helpers that can map them are here.
    """
    own = os.geteuid(), os.getegid()
    mappings = [(IDMap(container_id=0, host_id=number, size=1),) for number in own]
    if all(_find_helper(kind) for kind in _HELPERS):
        name = _name_of(os.getuid())
        ranges = [next(iter(subordinate_ranges(name, file, os.getuid())), None) for file in _FILES.values()]
        more = [IDMap(container_id=1, host_id=one[0], size=one[1]) for number, one in zip(own, ranges)
                if one is not None and not one[0] <= number < one[0] + one[1]]
        if len(more) == 2:
            return (*mappings[0], more[0]), (*mappings[1], more[1])
    return mappings[0], mappings[1]
