"""Processes and namespaces: born into, left, entered."""
from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import host
import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, clone3, setns, unshare
from nscontainer.sys.pidfd import WaitResult, pidfd_open, wait_pidfd

InChild = Callable[..., Any]


def _namespace(kind: str, pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def test_a_clone_is_a_process_that_its_pidfd_waits_for(in_child: InChild) -> None:
    def clone() -> list[Any]:
        pid, pidfd = clone3(0)
        if pid == 0:
            os._exit(7 if pidfd == -1 else 8)
        return [wait_pidfd(pidfd) == WaitResult(pid, 7 << 8), os.get_inheritable(pidfd)]

    assert in_child(clone) == [True, False]


def test_an_exit_signal_makes_it_an_ordinary_child(in_child: InChild) -> None:
    def clone() -> bool:
        pid, _ = clone3(0, exit_signal=signal.SIGCHLD)
        if pid == 0:
            os._exit(3)
        return os.waitpid(pid, 0) == (pid, 3 << 8)

    assert in_child(clone)


def test_a_child_of_the_parent_is_the_clones_sibling(in_child: InChild) -> None:
    def clone() -> list[bool]:
        reader, writer = os.pipe()
        zygote = os.fork()
        if zygote == 0:
            pid, _ = clone3(CLONE.PARENT)
            if pid == 0:
                os._exit(5)
            os.write(writer, str(pid).encode())
            os._exit(0)
        os.waitpid(zygote, 0)
        pid = int(os.read(reader, 20))
        return [os.waitpid(pid, 0) == (pid, 5 << 8)]

    assert in_child(clone) == [True]


@pytest.mark.needs("root")
def test_a_clone_is_born_into_namespaces_of_its_own(in_child: InChild) -> None:
    def clone() -> list[str]:
        reader, writer = os.pipe()
        pid, pidfd = clone3(CLONE.NEWUTS | CLONE.NEWPID | CLONE.NEWIPC)
        if pid == 0:
            os.write(writer, f"{os.getpid()} {_namespace('uts')} {_namespace('net')}".encode())
            os._exit(0)
        wait_pidfd(pidfd)
        return os.read(reader, 100).decode().split()

    pid, uts, net = in_child(clone)
    assert pid == "1"
    assert uts != _namespace("uts")
    assert net == _namespace("net")


@pytest.mark.needs("root", "cgroup2")
def test_a_clone_is_born_into_a_cgroup(in_child: InChild) -> None:
    own = host.own_cgroup()
    assert own is not None
    directory = own / f"nscontainer-clone-{os.getpid()}"

    def clone() -> str:
        reader, writer = os.pipe()
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        pid, pidfd = clone3(0, cgroup=fd)
        if pid == 0:
            os.write(writer, Path("/proc/self/cgroup").read_bytes())
            os._exit(0)
        wait_pidfd(pidfd)
        return os.read(reader, 4096).decode()

    directory.mkdir()
    try:
        text = in_child(clone)
    finally:
        directory.rmdir()
    assert any(line.startswith("0::/") and line.endswith(f"/{directory.name}") for line in text.splitlines())


@pytest.mark.parametrize("flag", [CLONE.VM, CLONE.THREAD, CLONE.SIGHAND, CLONE.SETTLS, CLONE.CHILD_SETTID])
def test_what_python_cannot_survive_is_refused(flag: CLONE) -> None:
    with pytest.raises(ValueError, match=f"Python cannot run in a child made with {flag}"):
        clone3(flag | CLONE.NEWUTS)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        clone3(1 << 64)
    with pytest.raises(OverflowError, match="64 bits"):
        clone3(-1)
    with pytest.raises(ValueError, match="not a signal"):
        clone3(0, exit_signal=65)
    with pytest.raises(OverflowError, match="32 bits"):
        unshare(CLONE.INTO_CGROUP)
    with pytest.raises(OverflowError, match="32 bits"):
        setns(0, -1)


def test_a_refused_clone_says_with_which_flags() -> None:
    with pytest.raises(SyscallError) as caught:
        clone3(CLONE.NEWNS | CLONE.FS)
    assert str(caught.value) == "clone3 (flags=CLONE_FS|CLONE_PIDFD|CLONE_NEWNS): EINVAL, Invalid argument"


@pytest.mark.needs("root")
def test_unshare_leaves_a_namespace_and_setns_returns(in_child: InChild) -> None:
    def leave_and_return() -> list[str]:
        home = os.open("/proc/self/ns/uts", os.O_RDONLY)
        before = _namespace("uts")
        unshare(CLONE.NEWUTS)
        away = _namespace("uts")
        setns(home, CLONE.NEWUTS)
        return [before, away, _namespace("uts")]

    before, away, after = in_child(leave_and_return)
    assert before != away
    assert before == after


@pytest.mark.needs("root")
def test_a_pidfd_joins_several_namespaces_at_once(in_child: InChild) -> None:
    def join() -> list[bool]:
        pid, pidfd = clone3(CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET)
        if pid == 0:
            time.sleep(20)
            os._exit(0)
        try:
            setns(pidfd, CLONE.NEWUTS | CLONE.NEWIPC)
            return [_namespace(kind) == _namespace(kind, pid) for kind in ("uts", "ipc", "net")]
        finally:
            os.kill(pid, signal.SIGKILL)
            wait_pidfd(pidfd)

    assert in_child(join) == [True, True, False]


def test_setns_takes_only_the_kind_it_was_told() -> None:
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        with pytest.raises(SyscallError) as caught:
            setns(fd, CLONE.NEWNET)
    finally:
        os.close(fd)
    assert caught.value.errno == errno.EINVAL
    assert f"setns (fd={fd}, flags=CLONE_NEWNET)" in str(caught.value)


@pytest.mark.needs("userns")
def test_an_ordinary_user_may_make_a_user_namespace(as_user: InChild) -> None:
    def unshare_user() -> bool:
        before = _namespace("user")
        unshare(CLONE.NEWUSER)
        return _namespace("user") != before

    assert as_user(unshare_user)


def test_a_pidfd_of_oneself_joins_nothing_by_itself() -> None:
    fd = pidfd_open(os.getpid())
    try:
        with pytest.raises(SyscallError, match="EINVAL"):
            setns(fd)
    finally:
        os.close(fd)
