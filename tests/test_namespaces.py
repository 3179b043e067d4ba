"""Which namespaces to make and to join, in which order, and what a refusal is told as."""
from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer import namespaces
from nscontainer.config import Config
from nscontainer.errors import ConfigInvalid, SyscallError
from nscontainer.namespaces import MASKS, NS_TYPES, Plan, explain_clone_failure, join, mask_to_enter, members, paths
from nscontainer.sys.clone import CLONE, unshare

ALL = tuple(NS_TYPES)


def config(*kinds: str, **fields: Any) -> Config:
    """Return a configuration with new namespaces of these kinds, and joined ones: "NEWNET=/path"."""
    return Config.from_json({"namespaces": [{"type": kind, "path": path} for kind, _, path in
                                            (word.partition("=") for word in kinds)], **fields})


def inode(path: str) -> int:
    return os.stat(path).st_ino


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The pid of a process in a user, network and UTS namespace of its own; its IPC namespace is owned outside."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            if os.geteuid() == 0:
                unshare(CLONE.NEWIPC)
            unshare(CLONE.NEWUSER)
            unshare(CLONE.NEWNET | CLONE.NEWUTS)
            os.write(writing, b"x")
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        if os.read(reading, 1) != b"x":
            pytest.fail("the process could not make its namespaces")
        yield pid
    finally:
        os.close(reading)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


# --- plans


def test_new_namespaces_are_flags_of_the_clone() -> None:
    plan = Plan(config("NEWNS", "NEWPID", "NEWNET", "NEWUTS", "NEWIPC", "NEWUSER"))
    assert str(CLONE(plan.flags)).split("|") == [
        "CLONE_NEWNS", "CLONE_NEWUTS", "CLONE_NEWIPC", "CLONE_NEWUSER", "CLONE_NEWPID", "CLONE_NEWNET"]
    assert plan.join == []
    assert plan.offsets is None


def test_a_new_cgroup_namespace_is_left_to_the_child() -> None:
    assert Plan(config("NEWCGROUP", "NEWUTS")).flags == CLONE.NEWUTS


def test_clock_offsets_become_lines_of_timens_offsets() -> None:
    offsets = {"monotonic": {"secs": -5}, "boottime": {"secs": 86400, "nanosecs": 7}}
    assert Plan(config("NEWTIME", time_offsets=offsets)).offsets == "monotonic -5 0\nboottime 86400 7\n"
    assert Plan(config("NEWTIME")).offsets is None
    assert Plan(config("NEWUTS", time_offsets=offsets)).offsets is None


def test_every_kind_is_in_the_table() -> None:
    from nscontainer.config import NamespaceType

    assert {kind: (kind.file, int(kind.flag)) for kind in NamespaceType} == {
        kind: row[:2] for kind, row in NS_TYPES.items()}


@pytest.mark.needs("userns", "root")
def test_what_a_joined_user_namespace_owns_is_joined_after_it_and_the_rest_before(elsewhere: int) -> None:
    ns = f"/proc/{elsewhere}/ns"
    with_all = config(f"NEWNET={ns}/net", f"NEWUSER={ns}/user", f"NEWIPC={ns}/ipc", f"NEWUTS={ns}/uts", "NEWPID")
    plan = Plan(with_all)
    try:
        assert [CLONE(mask) for mask, _ in plan.join] == [CLONE.NEWIPC, CLONE.NEWUSER, CLONE.NEWNET, CLONE.NEWUTS]
        found = [os.fstat(fd).st_ino for _, fd in plan.join]
        assert found == [inode(f"{ns}/{name}") for name in ("ipc", "user", "net", "uts")]
        assert plan.flags == CLONE.NEWPID
    finally:
        plan.close()
    assert plan.join == []


@pytest.mark.needs("userns", "root")
def test_joining_in_that_order_arrives(elsewhere: int, in_child: Any) -> None:
    ns = f"/proc/{elsewhere}/ns"

    def enter() -> list[int]:
        plan = Plan(config(f"NEWNET={ns}/net", f"NEWUTS={ns}/uts", f"NEWIPC={ns}/ipc", f"NEWUSER={ns}/user"))
        for mask, fd in plan.join:
            join(fd, mask)
        return [inode(f"/proc/self/ns/{name}") for name in ("net", "uts", "ipc", "user")]

    assert in_child(enter) == [inode(f"{ns}/{name}") for name in ("net", "uts", "ipc", "user")]


@pytest.mark.needs("userns", "user")
def test_an_ordinary_user_joins_what_his_user_namespace_owns(as_user: Any) -> None:
    def enter() -> list[bool]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                unshare(CLONE.NEWUSER | CLONE.NEWUTS)
                os.write(writing, b"x")
                time.sleep(60)
            finally:
                os._exit(1)
        try:
            os.read(reading, 1)
            ns = f"/proc/{pid}/ns"
            wanted = [inode(f"{ns}/{name}") for name in ("uts", "user")]
            plan = Plan(config(f"NEWUTS={ns}/uts", f"NEWUSER={ns}/user"))
            for mask, fd in plan.join:
                join(fd, mask)
            return [inode(f"/proc/self/ns/{name}") == number for name, number in zip(("uts", "user"), wanted)]
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)

    assert as_user(enter) == [True, True]


def test_ones_own_user_namespace_is_not_joined() -> None:
    with_own = config("NEWUSER=/proc/self/ns/user", "NEWUTS=/proc/self/ns/uts")
    plan = Plan(with_own)
    assert [mask for mask, _ in plan.join] == [CLONE.NEWUTS]
    plan.close()
    assert mask_to_enter(with_own) == CLONE.NEWUTS


# --- wrong paths


def test_a_missing_namespace_is_named(leaves_nothing: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"^namespaces\[1\]\.path: cannot open the network namespace '/run/no/such'"
                       r": No such file or directory; has its process ended"):
        Plan(config("NEWUTS=/proc/self/ns/uts", "NEWNET=/run/no/such"))


def test_a_namespace_of_another_kind_is_refused(leaves_nothing: Any) -> None:
    with pytest.raises(ConfigInvalid, match="'/proc/self/ns/pid' is a pid namespace, not a network namespace"):
        Plan(config("NEWNET=/proc/self/ns/pid"))


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, os.mkfifo])
def test_what_is_no_namespace_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "ns")
    with pytest.raises(ConfigInvalid, match="is not a namespace; is it a file that should have had one mounted on it"):
        Plan(config(f"NEWNET={tmp_path}/ns"))


@pytest.mark.needs("user")
def test_a_namespace_that_is_not_ours_to_join_says_what_is_missing(as_user: Any) -> None:
    def enter() -> str:
        fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        with pytest.raises(SyscallError) as caught:
            join(fd, MASKS["NEWNET"])
        return str(caught.value)

    text = as_user(enter)
    assert "EPERM" in text
    assert "; while joining the network namespace: that needs CAP_SYS_ADMIN in the user namespace" in text


@pytest.mark.needs("root")
def test_a_pid_namespace_above_ours_says_so(in_child: Any) -> None:
    def enter() -> str:
        outer = os.open("/proc/self/ns/pid", os.O_RDONLY)
        unshare(CLONE.NEWPID)
        pid = os.fork()
        if pid == 0:
            try:
                join(outer, MASKS["NEWPID"])
            except SyscallError as error:
                os._exit(7 if "a pid namespace must be below our own" in str(error) else 1)
            os._exit(2)
        return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    assert in_child(enter) == "7"


# --- time


@pytest.mark.needs("root", "time_namespace")
def test_a_time_namespace_with_offsets_is_entered_by_its_maker(in_child: Any) -> None:
    def shift() -> list[float]:
        before = time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
        namespaces.make_time_namespace("boottime 864000 0\nmonotonic 3600 0\n")
        pid = os.fork()  # a child is in it as well
        if pid == 0:
            os._exit(0 if time.monotonic() - before[1] > 3599 else 1)
        child = os.waitpid(pid, 0)[1]
        return [time.clock_gettime(time.CLOCK_BOOTTIME) - before[0], time.monotonic() - before[1], child]

    boot, monotonic, child = in_child(shift)
    assert 864000 <= boot < 864060
    assert 3600 <= monotonic < 3660
    assert child == 0


@pytest.mark.needs("userns", "time_namespace")
def test_an_ordinary_user_sets_the_clocks_of_his_user_namespace(as_user: Any) -> None:
    def shift() -> float:
        unshare(CLONE.NEWUSER)
        before = time.monotonic()
        namespaces.make_time_namespace("monotonic 3600 0\n")
        return time.monotonic() - before

    assert 3600 <= as_user(shift) < 3660


@pytest.mark.needs("root", "time_namespace")
def test_a_wrong_offset_is_quoted(in_child: Any) -> None:
    def shift() -> str:
        with pytest.raises(SyscallError) as caught:
            namespaces.make_time_namespace("nonsense 1 1\n")
        return str(caught.value)

    assert in_child(shift).startswith("write on '/proc/self/timens_offsets' (text=nonsense 1 1")


# --- a running container


def test_paths_of_all_kinds() -> None:
    found = paths(config("NEWNET=/run/netns/blue", "NEWUTS"), 42)
    assert list(found) == list(ALL)
    assert found["NEWNET"] == "/run/netns/blue"
    assert found["NEWNS"] == "/proc/42/ns/mnt"
    assert {type(key) for key in found} == {str}


def test_a_further_process_enters_every_listed_kind() -> None:
    assert mask_to_enter(config("NEWNET=/run/netns/blue", "NEWUTS", "NEWUSER")) == (
        CLONE.NEWNET | CLONE.NEWUTS | CLONE.NEWUSER)
    assert mask_to_enter(config()) == 0


def test_descendants_are_the_members_without_a_pid_namespace(in_child: Any) -> None:
    def family() -> list[int]:
        reading, writing = os.pipe()
        init = os.fork()
        if init == 0:
            child = os.fork()
            if child:
                os.write(writing, str(child).encode())
            time.sleep(60)
            os._exit(0)
        child = int(os.read(reading, 20))
        found = members(config("NEWUTS"), init)
        for pid in (child, init):
            os.kill(pid, 9)
        os.waitpid(init, 0)
        return [*[pid in (init, child) for pid in found], *members(config("NEWUTS"), init)]

    assert in_child(family) == [True, True]


@pytest.mark.needs("root")
def test_all_of_a_pid_namespace_are_the_members(in_child: Any) -> None:
    """Its first process, an orphan, one in a pid namespace further down, and one that joined from outside."""
    def family() -> list[int]:
        def stay() -> None:
            time.sleep(60)
            os._exit(0)

        reading, writing = os.pipe()
        unshare(CLONE.NEWPID)
        init = os.fork()
        if init == 0:
            if os.fork() == 0:
                if os.fork() == 0:
                    stay()
                os._exit(0)
            os.wait()
            unshare(CLONE.NEWPID)
            if os.fork() == 0:
                stay()
            os.write(writing, b"x")
            stay()
        os.read(reading, 1)
        joined = os.fork()  # our children to come are born in the namespace too
        if joined == 0:
            stay()
        with_pid = config("NEWPID")
        found = members(with_pid, init)
        os.kill(init, 9)
        os.waitpid(joined, 0)  # before init: its end waits until everybody in its namespace has been waited for
        os.waitpid(init, 0)
        return [len(found), init in found, joined in found, os.getpid() in found, len(members(with_pid, init))]

    assert in_child(family) == [4, True, True, False, 0]


# --- hints


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The host's settings, as the test would have them."""
    made: dict[str, int] = {}
    monkeypatch.setattr(namespaces, "_setting", made.get)
    return made


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("kernel/unprivileged_userns_clone", 0, "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", 1, "kernel.apparmor_restrict_unprivileged_userns=0"),
    ("user/max_user_namespaces", 0, "sysctl -w user.max_user_namespaces=10000"),
    ("something/else", 0, "a changed root, or a seccomp filter"),
])
def test_a_refused_user_namespace_names_the_setting(
        settings: dict[str, int], name: str, value: int, expected: str) -> None:
    settings[name] = value
    assert expected in str(explain_clone_failure(errno.EPERM, CLONE.NEWUSER | CLONE.NEWNS))


def test_a_limit_that_is_reached_is_named(settings: dict[str, int]) -> None:
    settings["user/max_net_namespaces"] = 0
    settings["user/max_user_namespaces"] = 5
    assert "user.max_net_namespaces" in str(explain_clone_failure(errno.ENOSPC, CLONE.NEWUSER | CLONE.NEWNET))
    assert "nested 32 deep" in str(explain_clone_failure(errno.ENOSPC, CLONE.NEWUSER))
    assert "nested 32 deep" in str(explain_clone_failure(errno.EUSERS, CLONE.NEWUSER))


@pytest.mark.parametrize(("number", "expected"), [
    (errno.EPERM, "need CAP_SYS_ADMIN: run as root, or add a user namespace"), (errno.EAGAIN, "too many processes"),
    (errno.ENOMEM, "memory is short"), (errno.EINVAL, "None"), (errno.EIO, "None"),
])
def test_other_failures_have_their_hints(number: int, expected: str) -> None:
    assert expected in str(explain_clone_failure(number, CLONE.NEWNET))


def test_a_kind_that_the_kernel_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: not path.endswith("/time"))
    assert explain_clone_failure(errno.EINVAL, CLONE.NEWTIME | CLONE.NEWNET) == "this kernel has no time namespaces"


def test_settings_are_read_from_the_host() -> None:
    assert namespaces._setting("kernel/pid_max") == int(Path("/proc/sys/kernel/pid_max").read_text())
    assert namespaces._setting("no/such") is None
    assert namespaces._setting("kernel/ostype") is None
