"""The commands that tell: ``state``, ``list``, ``ps``, ``features``; and ``spec``, which writes a config.json."""
from __future__ import annotations

import os

from .cli_glance import Glance, ids
from .cli_options import UsageError
from .cli_report import say
from .cli_root import only_id, state_root
from .errors import ContainerError, ContainerNotExists
from .hooks import find_program
from .strictjson import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cli_oci import OciContainer

__all__ = ["features", "list_all", "ps", "spec", "state"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def state(options: dict[str, Any], operands: list[str]) -> int:
    """Print what a container is and does."""
    say(dumps(Glance(state_root(options), only_id(operands)).to_json(), "  "))
    return 0


def list_all(options: dict[str, Any], operands: list[str]) -> int:
    """Print what containers there are."""
    if operands:
        raise UsageError(f"takes no argument, got {operands[0]!r}")
    wanted = _format(options)
    if not os.path.isdir(root := state_root(options)):
        if options.get("root"):
            raise ContainerError(f"there is no state root {root!r}")
        found = []
    else:
        found = [described for id in ids(root) if (described := _described(root, id))]
    if options.get("quiet"):
        say("".join(f"{one['id']}\n" for one in found))
    elif wanted == "json":
        say(dumps(found or None) + "\n")
    else:
        rows = [_COLUMNS, *(tuple(str(one[name.lower()]) for name in _COLUMNS) for one in found)]
        widths = [max(len(row[at]) for row in rows) + 4 for at in range(len(_COLUMNS))]
        say("".join("".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() + "\n" for row in rows))
    return 0


def _described(root: str, id: str) -> dict[str, Any] | None:
    try:
        container = Glance(root, id)
        return {**container.to_json(), "owner": _owner(os.stat(container.directory).st_uid)}
    except (ContainerNotExists, FileNotFoundError):
        return None  # deleted since we looked


def _owner(uid: int) -> str:
    try:
        from pwd import getpwuid

        return getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"#{uid}"


def ps(options: dict[str, Any], operands: list[str]) -> int:
    """Print the processes of a container."""
    if not operands:
        raise UsageError("a container ID is required")
    wanted = _format(options)
    from .cli_oci import Engine  # all of the library

    container: OciContainer = Engine(options).load(operands[0])
    pids = container.processes()
    if wanted == "json":
        say(dumps(pids) + "\n")
        return 0
    lines = _output_of("ps", operands[1:] or ["-ef"]).splitlines()
    head = lines[0].split() if lines else []
    if "PID" not in head:
        raise ContainerError("couldn't find PID field in ps output")
    at = head.index("PID")
    say("\n".join([lines[0], *(line for line in lines[1:] if _is_of(line.split(), at, pids))]) + "\n")
    return 0


def _is_of(words: list[str], at: int, pids: list[int]) -> bool:
    return len(words) > at and words[at].isdecimal() and int(words[at]) in pids


def _output_of(program: str, args: list[str]) -> str:
    """Return what a program of the host prints."""
    path = find_program(program, os.environ.get("PATH") or _PATH)
    if path is None:
        raise ContainerError(f"there is no {program!r} in PATH", hint="use --format json")
    read, write = os.pipe()
    try:
        pid = os.posix_spawn(path, [program, *args], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
        os.close(write)
        write = -1
        with open(read, "rb", closefd=False) as file:
            text = file.read()
        if os.waitpid(pid, 0)[1]:
            raise ContainerError(f"{program} {' '.join(args)} has failed")
        return text.decode("utf-8", "surrogateescape")
    finally:
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)


def features(options: dict[str, Any], operands: list[str]) -> int:
    """Print what this runtime can do."""
    if operands:
        raise UsageError(f"takes no argument, got {operands[0]!r}")
    from .spec import features as found

    say(dumps(found(), "    ") + "\n")
    return 0


def spec(options: dict[str, Any], operands: list[str]) -> int:
    """Write a config.json into the bundle; never over one that is there."""
    if operands:
        raise UsageError(f"takes no argument, got {operands[0]!r}")
    from .spec import template

    path = os.path.join(options.get("bundle") or ".", "config.json")
    content = dumps(template(rootless=options.get("rootless") is True), "\t") + "\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise ContainerError(f"File {path} exists. Remove it first") from None
    except OSError as error:
        raise ContainerError(f"cannot write {path!r}: {error.strerror}") from None
    try:
        say(content, fd)
    finally:
        os.close(fd)
    return 0


def _format(options: dict[str, Any]) -> str:
    wanted = str(options.get("format", "table"))
    if wanted not in ("table", "json"):
        raise UsageError(f"--format: expected table or json, got {wanted!r}")
    return wanted
