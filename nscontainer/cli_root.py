"""Where the containers of the commands are: the state root, and ids below it."""
from __future__ import annotations

import os
from errno import ENOENT

from .cli_options import UsageError
from .errors import InvalidIdFormat
from .ids import directory_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["is_rootless", "only_id", "place_of", "state_root"]


def state_root(options: dict[str, Any]) -> str:
    """Return the directory of the containers' states."""
    given = options.get("root")
    if given is not None:
        if not given or os.path.abspath(given) == "/":
            raise UsageError(f"--root: {given!r} cannot be the state root")
        return str(os.path.abspath(given))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and runtime.startswith("/") and (os.geteuid() != 0 or _in_user_namespace()):
        return f"{runtime.rstrip('/')}/nscontainer"
    if os.geteuid() != 0:
        raise UsageError("XDG_RUNTIME_DIR is not set, so an ordinary user has to give --root")
    return "/run/nscontainer"


def is_rootless(options: dict[str, Any]) -> bool:
    """Say whether to leave out what an ordinary user cannot do: --rootless, by default a look at who we are."""
    word = str(options.get("rootless", "auto")).lower()
    if word == "auto":
        return os.geteuid() != 0 or _in_user_namespace()
    if word not in ("true", "false"):
        raise UsageError(f"--rootless: expected true, false or auto, got {word!r}")
    return word == "true"


def _in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return False


def only_id(operands: list[str], most: int = 1) -> str:
    """Return the id, which must be there, and not much else."""
    if not operands or not operands[0]:
        raise UsageError("a container ID is required")
    if len(operands) > most:
        raise UsageError(f"takes {most} argument{'s' * (most > 1)} at most, got {len(operands)}")
    return operands[0]


def place_of(root: str, id: str) -> str:
    """Return the state directory of a container of that id."""
    try:
        return directory_of(root, id, oci=True)
    except InvalidIdFormat as error:
        raise InvalidIdFormat(f"invalid container ID format: {error}") from None
