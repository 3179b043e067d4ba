"""Landlock's three calls."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.landlock import (
    LANDLOCK_ACCESS_FS,
    LANDLOCK_ACCESS_NET,
    LANDLOCK_SCOPE,
    abi_version,
    add_path_rule,
    add_port_rule,
    create_ruleset,
    restrict_self,
)
from nscontainer.sys.prctl import set_no_new_privs


def _abi() -> int:
    try:
        return abi_version()
    except SyscallError:
        return 0


needs_landlock = pytest.mark.skipif(not _abi(), reason="this kernel runs without Landlock")
READ = int(LANDLOCK_ACCESS_FS.READ_FILE)


def test_the_names_are_the_headers() -> None:
    assert [int(right) for right in sorted(LANDLOCK_ACCESS_FS)] == [1 << bit for bit in range(16)]
    assert str(LANDLOCK_ACCESS_FS.REFER | LANDLOCK_ACCESS_FS.EXECUTE) == (
        "LANDLOCK_ACCESS_FS_EXECUTE|LANDLOCK_ACCESS_FS_REFER")
    assert (int(LANDLOCK_ACCESS_NET.CONNECT_TCP), int(LANDLOCK_SCOPE.SIGNAL)) == (2, 2)


@needs_landlock
def test_what_is_not_allowed_is_denied_for_good(in_child: Any, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    for name in ("open/a", "closed"):
        (tmp_path / name).write_text("text")

    def restrict() -> list[Any]:
        ruleset = create_ruleset(READ)
        assert not os.get_inheritable(ruleset)
        folder = os.open(tmp_path / "open", os.O_PATH)
        add_path_rule(ruleset, READ, folder)
        set_no_new_privs()
        restrict_self(ruleset)
        with pytest.raises(PermissionError):
            (tmp_path / "closed").read_text()
        (tmp_path / "closed").write_text("written")  # writing is not restricted
        return [(tmp_path / "open/a").read_text()]

    assert in_child(restrict) == ["text"]


@needs_landlock
@pytest.mark.skipif(_abi() < 4, reason="Landlock knows no ports here")
def test_a_port_that_is_not_allowed_cannot_be_bound(in_child: Any) -> None:
    def restrict() -> list[int]:
        import socket

        ruleset = create_ruleset(0, int(LANDLOCK_ACCESS_NET.BIND_TCP))
        add_port_rule(ruleset, 1, 0)
        set_no_new_privs()
        restrict_self(ruleset)
        first, second = socket.socket(), socket.socket()
        first.bind(("127.0.0.1", 0))
        with pytest.raises(PermissionError):
            second.bind(("127.0.0.1", 1 + first.getsockname()[1] % 60000))
        return [first.getsockname()[1] > 0]

    assert in_child(restrict) == [True]


@needs_landlock
@pytest.mark.needs("user")
def test_one_must_forbid_oneself_new_privileges(as_user: Any) -> None:
    def restrict() -> bool:
        with pytest.raises(SyscallError, match=r"landlock_restrict_self \(flags=0\): EPERM"):
            restrict_self(create_ruleset(READ))
        return True

    assert as_user(restrict)


@needs_landlock
def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(SyscallError, match="landlock_create_ruleset .*ENOMSG"):
        create_ruleset(0)
    with pytest.raises(SyscallError, match="landlock_create_ruleset .*EINVAL"):
        create_ruleset(1 << 62)
    ruleset = create_ruleset(READ)
    folder = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(SyscallError, match="type=PATH_BENEATH, access=LANDLOCK_ACCESS_FS_EXECUTE.*EINVAL"):
            add_path_rule(ruleset, 1, folder)
        with pytest.raises(SyscallError, match="EBADF"):
            add_path_rule(ruleset, READ, -1)
        with pytest.raises(OverflowError):
            add_port_rule(ruleset, 1 << 64, 1)
    finally:
        os.close(folder)
        os.close(ruleset)
