"""Keys and keyrings."""
from __future__ import annotations

import os
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.keyctl import (
    KEY,
    KEY_SPEC,
    add_key,
    describe,
    get_keyring_id,
    join_session_keyring,
    search,
    setperm,
)

FRESH = int(KEY.POS_VIEW | KEY.POS_READ | KEY.POS_WRITE | KEY.POS_SEARCH | KEY.POS_LINK | KEY.POS_SETATTR
            | KEY.USR_VIEW | KEY.USR_READ | KEY.USR_LINK)


def _keys() -> str | None:
    try:
        get_keyring_id(KEY_SPEC.SESSION_KEYRING)
    except SyscallError as error:
        if error.errno in (1, 38):  # EPERM of a filter, ENOSYS
            return str(error)
    return None


pytestmark = pytest.mark.skipif(_keys() is not None, reason=f"no keys here: {_keys()}")


def test_a_named_session_keyring_is_new_and_ours(in_child: Any) -> None:
    def join() -> list[Any]:
        name = f"nscontainer-test-{os.getpid()}"
        serial = join_session_keyring(name)
        return [*describe(KEY_SPEC.SESSION_KEYRING), name, serial == get_keyring_id(KEY_SPEC.SESSION_KEYRING)]

    kind, uid, _, permissions, found, name, same = in_child(join)
    assert (kind, uid, found, same) == ("keyring", os.geteuid(), name, True)
    assert permissions == FRESH


def test_a_key_is_found_until_the_session_keyring_is_exchanged(in_child: Any) -> None:
    def exchange() -> bool:
        join_session_keyring()
        key = add_key("user", "secret", b"\0value", KEY_SPEC.SESSION_KEYRING)
        assert search(KEY_SPEC.SESSION_KEYRING, "user", "secret") == key
        join_session_keyring()
        with pytest.raises(SyscallError, match=r"keyctl \(command=SEARCH, .*name=secret\): ENOKEY"):
            search(KEY_SPEC.SESSION_KEYRING, "user", "secret")
        return True

    assert in_child(exchange)


def test_a_keyring_that_may_be_searched_is_joined_by_its_name(in_child: Any) -> None:
    """Why a container's is not to have a name that can be guessed."""
    def join() -> bool:
        name = f"nscontainer-test-{os.getpid()}"
        first = join_session_keyring(name)
        setperm(first, FRESH | KEY.USR_SEARCH)
        add_key("user", "planted", b"x", first)
        pid = os.fork()
        if pid == 0:
            try:
                join_session_keyring()
                os._exit(join_session_keyring(name) != first)
            finally:
                os._exit(2)
        return os.waitpid(pid, 0)[1] == 0

    assert in_child(join)


def test_numbers_that_do_not_fit_are_refused() -> None:
    for wrong in (lambda: describe(1 << 31), lambda: describe(-9), lambda: setperm(-3, 1 << 32)):
        with pytest.raises(OverflowError):
            wrong()
    with pytest.raises(ValueError, match="NUL"):
        join_session_keyring("a\0b")
    with pytest.raises(SyscallError, match=r"command=DESCRIBE"):
        describe(2147483647)
