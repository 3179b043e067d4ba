"""A session keyring of the container's own.

Lesson  Keys are in no namespace: a process has those of its parent, a login's Kerberos tickets among them.
Read    keyrings(7), session-keyring(7), keyctl(2)
Needs   nothing

KEYCTL_JOIN_SESSION_KEYRING with a name enters any keyring of that name whose owner lets us search it. A container
that can guess the name of the next one, and runs as the same user, would have its keys. So the name ends in a number
that nobody can guess, and what is joined is always new. Nor does a further process of the container join the first
one's keyring: for that it would have to be open to everybody of that user. It gets one for itself.
"""
from __future__ import annotations

import os
from errno import EDQUOT, ENOSYS, EPERM

from ..errors import SyscallError
from ..sys.keyctl import KEY_SPEC, get_keyring_id, join_session_keyring

__all__ = ["join_new", "keyring_name"]

_SESSION = int(KEY_SPEC.SESSION_KEYRING)


def keyring_name(id: str) -> str:
    """Return a name for a new keyring of the container *id*, as /proc/keys shows it: ``_ses.web.1f4c…``."""
    return f"_ses.{id}.{os.urandom(8).hex()}"


def join_new(id: str) -> int:
    """Exchange the inherited session keyring for an empty one; return its number, or 0 where keys are out of reach."""
    try:
        return join_session_keyring(keyring_name(id))
    except SyscallError as error:
        if error.errno == ENOSYS or error.errno == EPERM and _filtered():
            return 0  # this kernel has no keys, or a filter keeps us, and what we become, from all of them
        if error.errno == EDQUOT:
            error.hint = "the user has as many keys as /proc/sys/kernel/keys allows; no_new_keyring needs none"
        raise


def _filtered() -> bool:
    """Say whether a filter, as engines have, denies keyctl(2) itself: of this command the kernel never says EPERM."""
    try:
        get_keyring_id(_SESSION)
    except SyscallError as error:
        return error.errno == EPERM
    return False
