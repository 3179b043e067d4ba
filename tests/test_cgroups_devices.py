"""Device rules: the list of version 1, the program of version 2, and what the kernel makes of both."""
from __future__ import annotations

import errno
import itertools
import os
import stat
from pathlib import Path
from struct import iter_unpack
from typing import Any

import pytest

from nscontainer.cgroups import devices, devices_bpf, files
from nscontainer.cgroups.devices import Rules, rules_of, set_v1
from nscontainer.cgroups.devices_bpf import assemble
from nscontainer.cgroups.manager import manager_for
from nscontainer.config import Config
from nscontainer.devices import DEFAULT_ALLOWED_DEVICES, WILDCARD, Device
from nscontainer.errors import SyscallError
from nscontainer.resources import Cgroup
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MNT, MS, mount, umount2

ANY = WILDCARD
_names = itertools.count()


def fresh(**fields: Any) -> Cgroup:
    return Cgroup(name=f"nscontainer-dev-{os.getpid()}-{next(_names)}", **fields)


def device(rule: str) -> Device:
    kind, numbers, permissions = rule.split()
    major, minor = (ANY if number == "*" else int(number) for number in numbers.split(":"))
    return Device(type=ord(kind), major=major, minor=minor, permissions=permissions)


def rules(allow: bool, *lines: str) -> Rules:
    listed = tuple(map(device, lines))
    return rules_of(Cgroup(allow_all_devices=allow, allowed_devices=() if allow else listed,
                           denied_devices=listed if allow else ()))


# --- the rules


def test_without_a_word_the_usual_devices_are_allowed() -> None:
    found = rules_of(Cgroup())
    assert not found.allow
    assert len(found.lines()) == len(DEFAULT_ALLOWED_DEVICES)
    assert "c 1:3 rwm" in found.lines() and "c *:* m" in found.lines()
    assert rules_of(Cgroup(allow_all_devices=True)) == Rules(True)


def test_rules_for_one_device_are_one() -> None:
    assert rules(False, "c 1:3 r", "c 1:3 m", "c 1:3 r").lines() == ["c 1:3 rm"]
    assert rules(False, "c 1:3 rw", "a *:* rwm") == Rules(True)
    assert rules(True, "c 1:3 rw", "a *:* rwm") == Rules(False)
    assert rules(False, "c 1:3 r", "b 8:0 w") == rules(False, "b 8:0 w", "c 1:3 r")


# --- version 1


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A directory whose devices.list says this, and the log of what is written."""
    def make(content: str, refuse: str = "") -> tuple[str, list[str]]:
        (tmp_path / "devices.list").write_text(content)
        log: list[str] = []

        def write_lines(path: str, lines: Any) -> None:
            for line in lines:
                if line == refuse:
                    raise SyscallError("write", errno.EPERM, path, text=line)
                log.append(f"{path.rpartition('.')[2]} {line}")

        monkeypatch.setattr(files, "write_lines", write_lines)
        monkeypatch.setattr(files, "write", lambda path, line: write_lines(path, [line]))
        return str(tmp_path), log

    return make


def test_a_new_group_is_closed_and_then_opened_for_the_allowed(listed: Any) -> None:
    directory, log = listed("a *:* rwm\n")
    set_v1(directory, rules(False, "c 1:5 rwm", "b *:* m"))
    assert log == ["deny a", "allow c 1:5 rwm", "allow b *:* m"]


def test_a_group_is_opened_and_then_closed_for_the_denied(listed: Any) -> None:
    directory, log = listed("a *:* rwm\n")
    set_v1(directory, rules(True, "c 1:3 rwm"))
    assert log == ["allow a", "deny c 1:3 rwm"]


def test_what_stays_allowed_is_not_closed_meanwhile(listed: Any) -> None:
    directory, log = listed("c *:* m\nc 1:3 rwm\nc 1:5 rw\n")
    set_v1(directory, rules(False, "c *:* m", "c 1:3 r", "c 1:8 rwm"), rules(False, "c *:* m", "c 1:3 rwm", "c 1:5 rw"))
    assert log == ["allow c 1:3 r", "allow c 1:8 rwm", "deny c 1:3 wm", "deny c 1:5 rw"]


def test_what_the_group_above_does_not_allow_is_an_error_and_the_old_list_comes_back(listed: Any) -> None:
    directory, log = listed("c 1:3 rwm\n", refuse="c 1:8 rwm")
    with pytest.raises(SyscallError, match="the cgroup above does not allow that device"):
        set_v1(directory, rules(False, "c 1:5 rwm", "c 1:8 rwm"), rules(False, "c 1:3 rwm"))
    assert log == ["allow c 1:5 rwm", "deny a", "allow c 1:3 rwm"]
    directory, log = listed("a *:* rwm\n", refuse="c 1:8 rwm")
    set_v1(directory, rules(False, "c 1:5 rwm", "c 1:8 rwm", "c 1:9 r"), tolerant=True)
    assert log == ["deny a", "allow c 1:5 rwm", "allow c 1:9 r"]


# --- the program, on a machine of our own

ACCESS = {"m": 1, "r": 2, "w": 4}


def verdict(program: bytes, kind: str, access: str, major: int, minor: int) -> int:
    """Run a program as the kernel would, on the few instructions that we use."""
    code = [(op, regs & 15, regs >> 4, offset, value) for op, regs, offset, value in iter_unpack("<BBhi", program)]
    context = [{"b": 1, "c": 2}[kind] | sum(ACCESS[letter] for letter in access) << 16, major, minor]
    register: list[int | None] = [None] * 11
    register[1] = -1  # the pointer to the context: good for loads only
    at = steps = 0
    while True:
        assert 0 <= at < len(code) and steps < 10_000, "the program ran away"
        op, dst, src, offset, value = code[at]
        at, steps, value = at + 1, steps + 1, value & 0xFFFFFFFF
        if op == 0x95:
            answer = register[0]
            assert answer in (0, 1)
            return int(answer)
        if op == 0x05:
            at += offset
            continue
        if op == 0x61:
            assert register[src] == -1 and offset in (0, 4, 8)
            register[dst] = context[offset // 4]
            continue
        if op == 0xBC:
            register[dst] = register[src]
            continue
        if op == 0xB4:
            register[dst] = value
            continue
        left = register[dst]
        assert left is not None and left >= 0, "a register that holds nothing"
        if op == 0x54:
            register[dst] = left & value
        elif op == 0x74:
            register[dst] = left >> value
        elif op in (0x55, 0x5D, 0x45):
            right = register[src] if op == 0x5D else value
            assert right is not None
            at += offset * int(left & right != 0 if op == 0x45 else left != right)
        else:
            raise AssertionError(f"an instruction that we do not use: {op:#x}")


def reference(found: Rules, kind: str, access: str, major: int, minor: int) -> int:
    """What the rules mean: an allowed device must be allowed all of it, a denied one none of it."""
    for its_kind, its_major, its_minor, permissions in found.exceptions:
        if chr(its_kind) == kind and its_major in (ANY, major) and its_minor in (ANY, minor):
            if found.allow and set(access) & set(permissions):
                return 0
            if not found.allow and set(access) <= set(permissions):
                return 1
    return int(found.allow)


SOME = ("c 1:3 r", "c 1:3 w", "c 1:5 rwm", "c 5:* rw", "b *:* m", "c *:7 w", "b 8:0 rm", "b 259:1048575 rwm")


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("lines", [(), SOME[:1], SOME[:3], SOME, SOME[::-1], ("a *:* rwm",), ("c *:* rwm",)])
def test_the_program_answers_as_the_rules_say(allow: bool, lines: tuple[str, ...]) -> None:
    found = rules(allow, *lines) if lines else Rules(allow)
    program = assemble(found)
    for kind, access, major, minor in itertools.product(
            "bc", ("r", "w", "m", "rw", "rwm"), (0, 1, 5, 8, 259, 4095), (0, 3, 5, 7, 1048575)):
        expected = reference(found, kind, access, major, minor)
        assert verdict(program, kind, access, major, minor) == expected, (kind, access, major, minor)


def test_a_number_beyond_31_bits_stays_itself() -> None:
    program = assemble(Rules(False, [(99, 0xFFFFFFFE, 0x80000000, "rwm")]))
    assert verdict(program, "c", "r", 0xFFFFFFFE, 0x80000000) == 1
    assert verdict(program, "c", "r", 0x7FFFFFFE, 0x80000000) == 0


# --- the kernel


def look(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def make_node(directory: Path, kind: int, major: int, minor: int) -> str:
    path = directory / f"node{next(_names)}"
    try:
        os.mknod(path, kind | 0o600, os.makedev(major, minor))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    path.unlink()
    return "yes"


def try_devices(cgroup: Cgroup, directory: Path, later: Cgroup | None = None) -> list[str]:
    """Enter a new cgroup and say which devices can be opened for reading and writing, and made."""
    manager = manager_for(cgroup)
    try:
        manager.apply(os.getpid())
        if later is not None:
            manager.set(Config(cgroups=later))
        return [look("/dev/null", os.O_RDONLY), look("/dev/null", os.O_WRONLY), look("/dev/zero", os.O_RDONLY),
                look("/dev/full", os.O_RDONLY), make_node(directory, stat.S_IFCHR, 1, 7),
                make_node(directory, stat.S_IFBLK, 7, 9)]
    finally:
        for hierarchy in manager._hierarchies():
            Path(hierarchy.mount_point, "cgroup.procs").write_text(str(os.getpid()))
        manager.destroy()


VERDICTS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["yes", "yes", "yes", "yes", "yes", "yes"]),
    ({"allowed_devices": tuple(map(device, ("c 1:3 r", "c 1:5 rw", "c 1:7 m")))},
     ["yes", "EPERM", "yes", "EPERM", "yes", "EPERM"]),
    ({"allow_all_devices": True, "denied_devices": tuple(map(device, ("c 1:3 w", "b *:* m")))},
     ["yes", "EPERM", "yes", "yes", "yes", "EPERM"]),
    ({"allow_all_devices": True, "denied_devices": (device("a *:* rwm"),)}, ["EPERM"] * 6),
    ({"allow_all_devices": True}, ["yes"] * 6),
]


@pytest.mark.needs("root", "cgroup1")
@pytest.mark.parametrize(("wish", "expected"), VERDICTS)
def test_version_1_opens_and_makes_what_is_allowed(
        in_child: Any, leaves_nothing: Any, tmp_path: Path, wish: Any, expected: list[str]) -> None:
    assert in_child(lambda: try_devices(fresh(**wish), tmp_path)) == expected


@pytest.mark.needs("root", "cgroup1")
def test_version_1_changes_its_list_while_processes_are_there(
        in_child: Any, leaves_nothing: Any, tmp_path: Path) -> None:
    found = in_child(lambda: try_devices(fresh(), tmp_path, fresh(**VERDICTS[1][0])))
    assert found == VERDICTS[1][1]
    found = in_child(lambda: try_devices(fresh(**VERDICTS[1][0]), tmp_path, fresh(allow_all_devices=True)))
    assert found == ["yes"] * 6


def pure_v2() -> None:
    """Have nothing but version 2 at its place, in a mount namespace of our own."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return  # it is so; and to mount it anew would change its options, for the whole host
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)
    umount2("/sys/fs/cgroup", MNT.DETACH)
    mount("none", "/sys/fs/cgroup", "cgroup2")


@pytest.mark.needs("root", "cgroup2")
@pytest.mark.parametrize(("wish", "expected"), VERDICTS)
def test_version_2_opens_and_makes_what_is_allowed(
        in_child: Any, leaves_nothing: Any, tmp_path: Path, wish: Any, expected: list[str]) -> None:
    def here() -> list[str]:
        pure_v2()
        return try_devices(fresh(**wish), tmp_path)

    assert in_child(here) == expected


@pytest.mark.needs("root", "cgroup2")
def test_version_2_replaces_its_program(in_child: Any, leaves_nothing: Any, tmp_path: Path) -> None:
    def here() -> list[list[str]]:
        pure_v2()
        return [try_devices(fresh(), tmp_path, fresh(**VERDICTS[1][0])),
                try_devices(fresh(**VERDICTS[1][0]), tmp_path, fresh(allow_all_devices=True))]

    assert in_child(here) == [VERDICTS[1][1], ["yes"] * 6]


@pytest.mark.needs("root", "cgroup2")
def test_whatever_programs_there_are_one_is_left(in_child: Any, leaves_nothing: Any) -> None:
    def here() -> list[int]:
        from nscontainer.sys.bpf import ATTACH, BPF_F, prog_attach, prog_query

        pure_v2()
        directory = "/sys/fs/cgroup/nscontainer-bpf"
        os.mkdir(directory)
        fd = os.open(directory, os.O_RDONLY)
        counts = []
        try:
            for _ in range(2):
                devices_bpf.set_v2(directory, rules_of(Cgroup()))
                counts.append(len(prog_query(fd, ATTACH.CGROUP_DEVICE)))
            for _ in range(2):
                program = devices_bpf._load(assemble(Rules(True)))
                prog_attach(fd, program, ATTACH.CGROUP_DEVICE, BPF_F.ALLOW_MULTI)
                os.close(program)
            counts.append(len(prog_query(fd, ATTACH.CGROUP_DEVICE)))
            devices_bpf.set_v2(directory, rules_of(Cgroup()))
            counts.append(len(prog_query(fd, ATTACH.CGROUP_DEVICE)))
            return counts
        finally:
            os.close(fd)
            os.rmdir(directory)

    assert in_child(here) == [1, 1, 3, 1]


def test_the_usual_list_can_be_missed_but_not_one_that_was_asked_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SyscallError("bpf", errno.EPERM, command="BPF_PROG_LOAD")

    monkeypatch.setattr(devices_bpf, "set_v2", refuse)
    usual = manager_for(Cgroup(name="x", allow_all_devices=True), {"": str(tmp_path)})
    usual.set(Config(cgroups=Cgroup(name="x")))
    with pytest.raises(SyscallError, match="EPERM"):
        usual.set(Config(cgroups=Cgroup(name="x", allowed_devices=(device("c 1:3 r"),))))
    assert not devices.restricted(usual.cgroup)
