"""The names of containers, and of the directories that keep their state."""
from __future__ import annotations

import os

from .errors import InvalidIdFormat

__all__ = ["directory_of", "valid_id"]

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


def valid_id(id: str, *, oci: bool = False) -> bool:
    """Say whether *id* may name a container: 1 to 1024 letters, digits and underscores; OCI callers also use ``+-.``"""
    if not isinstance(id, str) or not 1 <= len(id) <= 1024:
        return False
    return set(id) <= (_LETTERS | set("+.-")) and id not in (".", "..") if oci else set(id) <= _LETTERS


def directory_of(root: str, id: str, *, oci: bool = False) -> str:
    """Return where the state of a container is kept; InvalidIdFormat."""
    if not valid_id(id, oci=oci):
        raise InvalidIdFormat(f"{id!r} is not a container id: 1 to 1024 letters, digits and underscores"
                              + (", +, . and -" if oci else ""))
    # NAME_MAX is 255. A longer id gets a digest; the dot in the name keeps it apart from ids without one.
    if len(id) > 255:
        from hashlib import sha256  # almost nobody has such ids

        return os.path.join(root, f"{id[:180]}.{sha256(id.encode()).hexdigest()}")
    return os.path.join(root, id)
