"""A session keyring for each process of a container, that nobody else has or can guess."""
from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, finish, run_in, standard, with_user_namespace
from nscontainer import PIPE, Factory, Process
from nscontainer.errors import SyscallError
from nscontainer.security import keyring
from nscontainer.security.keyring import join_new, keyring_name
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
from test_security_procfs import refusing
from test_sys_keyctl import pytestmark as needs_keys

pytestmark = needs_keys

def rings(id: str, text: str) -> set[str]:
    """Return the names of a container's keyrings in what /proc/keys shows."""
    return {word.rstrip(":") for word in text.split() if word.startswith(f"_ses.{id}.")}


def test_what_the_caller_has_on_his_is_out_of_reach(in_child: Any) -> None:
    def leave() -> str:
        join_session_keyring()
        add_key("user", "ticket", b"secret", KEY_SPEC.SESSION_KEYRING)
        serial = join_new("web")
        assert serial == get_keyring_id(KEY_SPEC.SESSION_KEYRING)
        with pytest.raises(SyscallError, match="ENOKEY"):
            search(KEY_SPEC.SESSION_KEYRING, "user", "ticket")
        return describe(serial)[4]

    assert in_child(leave).startswith("_ses.web.")


def test_nobody_can_have_made_it_before(in_child: Any) -> None:
    """With the id alone for a name, a container could wait on the keyring of the next."""
    assert keyring_name("web") != keyring_name("web")

    def trap() -> int:
        trapped = join_session_keyring("_ses.web")
        setperm(trapped, 0x3F3F3F3F)
        join_session_keyring()
        return int(join_new("web") != trapped and not describe(KEY_SPEC.SESSION_KEYRING)[3] & KEY.USR_SEARCH)

    assert in_child(trap) == 1


def test_a_kernel_without_keys_has_none_to_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "join_session_keyring", refusing("keyctl", errno.ENOSYS))
    assert join_new("web") == 0


def test_a_filter_that_denies_all_keys_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container of Docker; the program inherits the filter."""
    monkeypatch.setattr(keyring, "join_session_keyring", refusing("keyctl", errno.EPERM))
    with pytest.raises(SyscallError, match="EPERM"):  # only this one is denied: keys can be read
        join_new("web")
    monkeypatch.setattr(keyring, "get_keyring_id", refusing("keyctl", errno.EPERM))
    assert join_new("web") == 0


def test_too_many_keys_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "join_session_keyring", refusing("keyctl", errno.EDQUOT))
    with pytest.raises(SyscallError, match="EDQUOT.*no_new_keyring"):
        join_new("web")


# --- whole containers


@pytest.mark.needs("root", "busybox")
@pytest.mark.parametrize("user", [False, True])
def test_each_process_of_a_container_has_one_of_its_own(
        factory: Factory, busybox_template: Path, container_id: Any, user: bool) -> None:
    config = with_user_namespace(busybox_template, 0, 0, 65536) if user else standard(busybox_template)
    id = container_id()
    with factory.create(id, config) as container:
        first = Process(["sh", "-c", "cat /proc/keys; echo; cat"], env=ENVIRONMENT, stdin=PIPE, stdout=PIPE)
        container.start(first)
        own = rings(id, "".join(line.decode() for line in iter(first.stdout.readline, b"\n")))
        further = rings(id, run_in(container, "cat", "/proc/keys")[0])
        first.stdin.close()
        finish(first)
        assert len(own) == 1
        assert len(further - own) == 1


@pytest.mark.needs("root", "busybox")
def test_the_callers_can_be_kept(factory: Factory, busybox_template: Path, in_child: Any) -> None:
    def keep() -> list[bool]:
        name = "nscontainer-test-kept"
        join_session_keyring(name)
        found = []
        for kept in (True, False):
            with factory.__class__(str(factory.root)) as own, own.create(
                    f"kept_{kept}", standard(busybox_template, no_new_keyring=kept)) as container:
                text, _ = run_in(container, "cat", "/proc/keys")
                found.append(f"_ses.kept_{kept}" not in text)
        return found

    assert in_child(keep) == [True, False]
