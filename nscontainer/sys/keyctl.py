"""Keys: secrets that the kernel keeps, on rings that processes pass on to their children.

Lesson  A process finds keys on its session keyring. Who shares that, shares them, whatever namespace he is in.
Read    keyrings(7), session-keyring(7), keyctl(2), add_key(2)
Needs   CONFIG_KEYS; no capability
"""
from __future__ import annotations

from ctypes import addressof, c_char_p, c_int, c_size_t, c_ulong, create_string_buffer, sizeof, string_at

from .flags import Enumeration, Flags
from .libc import encoded, failure, syscall

__all__ = ["KEY", "KEY_SPEC", "add_key", "describe", "get_keyring_id", "join_session_keyring", "search", "setperm"]

_I31, _U32 = 0x7FFFFFFF, 0xFFFFFFFF


class KEY_SPEC(Enumeration):
    """Keyrings that need no number."""

    THREAD_KEYRING = -1
    PROCESS_KEYRING = -2
    SESSION_KEYRING = -3
    USER_KEYRING = -4
    USER_SESSION_KEYRING = -5


class KEY(Flags):
    """Permissions on a key: of its possessor, of its owner, of its group, of others."""

    POS_VIEW = 0x01000000
    POS_READ = 0x02000000
    POS_WRITE = 0x04000000
    POS_SEARCH = 0x08000000
    POS_LINK = 0x10000000
    POS_SETATTR = 0x20000000
    USR_VIEW = 0x00010000
    USR_READ = 0x00020000
    USR_WRITE = 0x00040000
    USR_SEARCH = 0x00080000
    USR_LINK = 0x00100000
    USR_SETATTR = 0x00200000
    GRP_VIEW = 0x00000100
    GRP_READ = 0x00000200
    GRP_WRITE = 0x00000400
    GRP_SEARCH = 0x00000800
    GRP_LINK = 0x00001000
    GRP_SETATTR = 0x00002000
    OTH_VIEW = 0x00000001
    OTH_READ = 0x00000002
    OTH_WRITE = 0x00000004
    OTH_SEARCH = 0x00000008
    OTH_LINK = 0x00000010
    OTH_SETATTR = 0x00000020


_keyctl = syscall("keyctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_join = syscall("keyctl", c_int, c_char_p)
_add_key = syscall("add_key", c_char_p, c_char_p, c_char_p, c_size_t, c_int)
_search = syscall("keyctl", c_int, c_ulong, c_char_p, c_char_p, c_int)


def _serial(key: int) -> int:
    if not -8 <= key <= _I31:
        raise OverflowError(f"{key} is no key")
    return key & ((1 << 8 * _WORD) - 1)


_WORD = sizeof(c_ulong)


def get_keyring_id(keyring: int, create: bool = False) -> int:
    """Return the number of a keyring of KEY_SPEC: KEYCTL_GET_KEYRING_ID.

    ENOKEY   there is none, and *create* does not make one
    """
    serial = _keyctl(0, _serial(keyring), int(create), 0, 0)
    if serial < 0:
        raise failure("keyctl", command="GET_KEYRING_ID", keyring=keyring)
    return serial


def join_session_keyring(name: str | None = None) -> int:
    """Replace the session keyring of this process, and return the new one's number: KEYCTL_JOIN_SESSION_KEYRING.

    Without a name it is a new one. With a name it is one of that name in our user namespace that we may search, whoever
    made it; a new one only if there is none.

    EDQUOT   the user has too many keys: /proc/sys/kernel/keys/maxkeys
    ENOSYS   a kernel without keys
    """
    serial = _join(1, encoded(name))
    if serial < 0:
        raise failure("keyctl", command="JOIN_SESSION_KEYRING", name=name)
    return serial


def setperm(key: int, permissions: int) -> None:
    """Set who may do what with a key: KEYCTL_SETPERM. EACCES: neither its owner nor CAP_SYS_ADMIN."""
    if not 0 <= permissions <= _U32:
        raise OverflowError(f"permissions {hex(permissions)} do not fit 32 bits")
    if _keyctl(5, _serial(key), permissions, 0, 0) < 0:
        raise failure("keyctl", command="SETPERM", key=key, permissions=KEY(permissions))


def describe(key: int) -> tuple[str, int, int, int, str]:
    """Return type, uid, gid, permissions and name of a key: KEYCTL_DESCRIBE.

    EKEYREVOKED, EKEYEXPIRED, ENOKEY   it is no more;  EACCES no VIEW permission
    """
    buffer = create_string_buffer(4400)  # a name has at most 4095 bytes
    size = _keyctl(6, _serial(key), addressof(buffer), 4400, 0)
    if size < 0:
        raise failure("keyctl", command="DESCRIBE", key=key)
    kind, uid, gid, permissions, name = string_at(addressof(buffer)).decode("utf-8", "replace").split(";", 4)
    return kind, int(uid), int(gid), int(permissions, 16), name


def add_key(kind: str, name: str, payload: bytes, keyring: int) -> int:
    """Make a key on *keyring*, or change it: add_key(2). Return its number.

    EDQUOT   as for join_session_keyring;  ENOKEY no such keyring;  ENODEV no such *kind*
    """
    serial = _add_key(encoded(kind), encoded(name), payload, len(payload), keyring)
    if serial < 0:
        raise failure("add_key", type=kind, name=name, keyring=keyring)
    return serial


def search(keyring: int, kind: str, name: str) -> int:
    """Find a key on *keyring* and those linked to it: KEYCTL_SEARCH. ENOKEY: there is none that we may search for."""
    serial = _search(10, _serial(keyring), encoded(kind), encoded(name), 0)
    if serial < 0:
        raise failure("keyctl", command="SEARCH", keyring=keyring, type=kind, name=name)
    return serial
