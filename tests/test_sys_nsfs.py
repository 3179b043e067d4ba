"""Namespaces held by a descriptor."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.nsfs import get_nstype, get_owner_uid, get_parent, get_userns

InChild = Callable[..., Any]


def _open(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)


@pytest.mark.parametrize(("kind", "flag"), [
    ("mnt", CLONE.NEWNS), ("uts", CLONE.NEWUTS), ("ipc", CLONE.NEWIPC), ("net", CLONE.NEWNET), ("pid", CLONE.NEWPID),
    ("user", CLONE.NEWUSER), ("cgroup", CLONE.NEWCGROUP)])
def test_a_namespace_says_what_it_is(kind: str, flag: CLONE) -> None:
    fd = _open(kind)
    found = get_nstype(fd)
    os.close(fd)
    assert found == flag
    assert str(found) == str(flag)


def _nobody() -> int:
    """How a user without a mapping reads: whoever made a user namespace has none in it yet."""
    return int(Path("/proc/sys/kernel/overflowuid").read_text())


@pytest.mark.needs("userns")
def test_a_user_namespace_has_an_owner_and_owns(as_user: InChild) -> None:
    def look() -> list[Any]:
        unshare(CLONE.NEWUSER | CLONE.NEWUTS)
        own = os.fstat(_open("user")).st_ino
        owner = get_userns(_open("uts"))
        seen = [os.fstat(owner).st_ino == own, os.get_inheritable(owner), get_owner_uid(_open("user")) == _nobody()]
        try:
            get_parent(_open("user"))
        except SyscallError as error:
            return [*seen, str(error).partition(" (")[0], "EPERM" in str(error)]
        return seen

    assert as_user(look) == [True, False, True, "ioctl", True]


@pytest.mark.needs("root")
def test_a_pid_namespace_has_a_parent(in_child: InChild) -> None:
    def look() -> bool:
        before = os.fstat(_open("pid")).st_ino
        unshare(CLONE.NEWPID)
        reader, writer = os.pipe()
        pid = os.fork()  # the namespace is there once its first process is
        if pid == 0:
            os.read(reader, 1)
            os._exit(0)
        parent = get_parent(os.open("/proc/self/ns/pid_for_children", os.O_RDONLY))
        os.write(writer, b"x")
        os.waitpid(pid, 0)
        return os.fstat(parent).st_ino == before

    assert in_child(look)


def test_what_is_no_namespace_is_refused() -> None:
    fd = os.open("/", os.O_RDONLY)
    for attempt in (get_nstype, get_userns, get_parent, get_owner_uid):
        with pytest.raises(SyscallError, match=rf"ioctl \(request=NS_GET_\w+, fd={fd}\): ENOTTY"):
            attempt(fd)
    os.close(fd)
