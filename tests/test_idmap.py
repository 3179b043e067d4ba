"""User namespace maps: who may write them, who has to ask, and what went wrong."""
from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import host
import pytest

from nscontainer import idmap
from nscontainer.config import IDMap
from nscontainer.errors import ContainerError, SyscallError
from nscontainer.idmap import default_mappings, subordinate_ranges, write
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.prctl import set_dumpable


def maps(*lines: tuple[int, int, int]) -> tuple[IDMap, ...]:
    return tuple(IDMap(container_id=inside, host_id=outside, size=size) for inside, outside, size in lines)


class Newcomer:
    """A child in a user namespace that nobody has mapped yet."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                unshare(CLONE.NEWUSER)
                set_dumpable(True)
                os.write(writing, b"x")
                time.sleep(60)
            finally:
                os._exit(1)
        os.close(writing)
        ready = os.read(reading, 1)
        os.close(reading)
        assert ready == b"x"

    def file(self, name: str) -> str:
        return " ".join(Path(f"/proc/{self.pid}/{name}").read_text().split())

    def __enter__(self) -> Newcomer:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.mark.needs("root")
def test_root_writes_any_map_itself_and_setgroups_stays_allowed(leaves_nothing: Any) -> None:
    with Newcomer() as child:
        write(child.pid, maps((0, 100000, 1000), (1000, 5000, 1)), maps((0, 200000, 65536)))
        assert child.file("uid_map") == "0 100000 1000 1000 5000 1"
        assert child.file("gid_map") == "0 200000 65536"
        assert child.file("setgroups") == "allow"


@pytest.mark.needs("root")
def test_more_than_five_lines_are_mapped_and_read_back() -> None:
    """CVE-2018-18955: from six lines on the kernel sorts them, and once mixed two orders up."""
    lines = [(number, 300000 - number * 10, 1) for number in reversed(range(40))]
    with Newcomer() as child:
        write(child.pid, maps(*lines), maps(*lines))
        assert child.file("uid_map").startswith("0 300000 1 1 299990 1")


@pytest.mark.needs("root")
def test_a_map_that_the_kernel_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Newcomer() as child:
        monkeypatch.setattr(idmap, "_get", lambda *_: "0 100000 999\n")
        with pytest.raises(ContainerError, match=r"the uid mapping of process \d+ became .*999.*, not .*1000"):
            write(child.pid, maps((0, 100000, 1000)), ())


@pytest.mark.needs("root")
def test_overlapping_lines_are_the_kernels_to_refuse() -> None:
    expected = r"write on 'uid_map' \(text=0 1 10, 5 100 10\): EINVAL"
    with Newcomer() as child, pytest.raises(SyscallError, match=expected):
        write(child.pid, maps((0, 1, 10), (5, 100, 10)), ())


def test_a_process_that_has_ended_is_no_riddle(leaves_nothing: Any) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(ContainerError, match=f"cannot map the ids of process {pid}: it has ended"):
        write(pid, maps((0, 0, 1)), maps((0, 0, 1)))


@pytest.mark.needs("userns", "user")
def test_an_ordinary_user_maps_himself_without_help_and_gives_up_setgroups(as_user: Any, tmp_path: Path) -> None:
    def map_own_ids() -> list[str]:
        os.environ["PATH"] = "/no/helpers"
        with Newcomer() as child:
            write(child.pid, maps((0, os.geteuid(), 1)), maps((7, os.getegid(), 1)))
            return [child.file(name) for name in ("uid_map", "gid_map", "setgroups")]

    account = host.ordinary_user()
    assert as_user(map_own_ids) == [f"0 {account.uid} 1", f"7 {account.gid} 1", "deny"]


@pytest.mark.needs("userns", "user")
def test_without_the_helpers_an_ordinary_user_learns_what_to_install(as_user: Any) -> None:
    def map_more() -> str:
        os.environ["PATH"] = "/no/helpers:."
        with Newcomer() as child, pytest.raises(ContainerError) as caught:
            write(child.pid, maps((0, os.geteuid(), 1), (1, 100000, 10)), ())
        return str(caught.value)

    text = as_user(map_more)
    assert "needs newuidmap, which is not in PATH" in text
    assert "install uidmap" in text


@pytest.mark.needs("userns", "newuidmap", "subuid")
def test_an_ordinary_user_gets_his_ranges_through_the_helpers(as_user: Any) -> None:
    def map_default() -> list[Any]:
        uids, gids = default_mappings()
        with Newcomer() as child:
            write(child.pid, uids, gids)
            return [child.file("uid_map"), child.file("gid_map"), child.file("setgroups")]

    account = host.ordinary_user()
    first, count = subordinate_ranges(account.name, "/etc/subuid")[0]
    group, groups = subordinate_ranges(account.name, "/etc/subgid")[0]
    assert as_user(map_default) == [
        f"0 {account.uid} 1 1 {first} {count}", f"0 {account.gid} 1 1 {group} {groups}", "allow"]


@pytest.mark.needs("userns", "newuidmap", "subuid")
def test_ids_outside_of_the_range_are_named(as_user: Any) -> None:
    def map_too_much() -> str:
        with Newcomer() as child, pytest.raises(ContainerError) as caught:
            write(child.pid, maps((0, os.geteuid(), 1), (1, 3000000000, 10)), ())
        return str(caught.value)

    text = as_user(map_too_much)
    first, count = subordinate_ranges(host.ordinary_user().name, "/etc/subuid")[0]
    assert "newuidmap ended with exit status 1: " in text
    assert f"has the uids {first} to {first + count - 1} in /etc/subuid, " in text
    assert "not all of 3000000000 to 3000000009" in text


@pytest.mark.needs("userns", "user")
def test_a_helper_that_fails_for_a_user_without_ranges_says_what_to_add(as_user: Any, user_tmp_path: Path) -> None:
    (user_tmp_path / "newuidmap").write_text("#!/bin/sh\nenv; echo no luck; exit 1\n")
    (user_tmp_path / "newuidmap").chmod(0o755)

    def map_more() -> str:
        os.environ["PATH"] = str(user_tmp_path)
        os.environ["LD_PRELOAD_LIKE"] = "leaked"
        idmap._FILES["uid"] = str(user_tmp_path / "subuid")
        with Newcomer() as child, pytest.raises(ContainerError) as caught:
            write(child.pid, maps((0, os.geteuid(), 1), (1, 100000, 10)), ())
        return str(caught.value)

    text = as_user(map_more)
    assert "no luck" in text
    assert "leaked" not in text
    assert "/subuid for the user" in text
    assert "usermod --add-subuids 100000-165535" in text


# --- default mappings


@pytest.mark.needs("user")
def test_without_helpers_the_default_is_ones_own_id(as_user: Any) -> None:
    def default() -> Any:
        os.environ["PATH"] = "/no/helpers"
        return [[entry.to_json() for entry in mappings] for mappings in default_mappings()]

    account = host.ordinary_user()
    assert as_user(default) == [[maps((0, account.uid, 1))[0].to_json()], [maps((0, account.gid, 1))[0].to_json()]]


@pytest.mark.needs("newuidmap", "user")
@pytest.mark.parametrize("subgid", ["", "someone:1000000:100\n", "{user}:{gid}:10\n"])
def test_with_half_of_what_it_takes_the_default_is_ones_own_id(as_user: Any, user_tmp_path: Path, subgid: str) -> None:
    account = host.ordinary_user()
    (user_tmp_path / "subuid").write_text(f"{account.uid}:1000000:100\n")
    (user_tmp_path / "subgid").write_text(subgid.format(user=account.uid, gid=account.gid - 5))

    def default() -> Any:
        idmap._FILES.update(uid=str(user_tmp_path / "subuid"), gid=str(user_tmp_path / "subgid"))
        return [len(mappings) for mappings in default_mappings()]

    assert as_user(default) == [1, 1]


# --- subordinate ids


@pytest.mark.parametrize(("content", "expected"), [
    ("bob:100000:65536\n", [(100000, 65536)]),
    ("bob:100000:65536", [(100000, 65536)]),
    ("alice:1:1\nbob:100000:10\nbob:200000:20\n", [(100000, 10), (200000, 20)]),
    ("  bob:100000:10  \r\n", [(100000, 10)]),
    ("1000:300000:5\n", [(300000, 5)]),
    ("bob:4294967000:295\n", [(4294967000, 295)]),
    ("", []),
    ("\n\n#bob:1:1\n# bob:1:1\n", []),
    ("bobby:1:1\nbo:1:1\nbob2:1:1\nxbob:1:1\nBOB:1:1\n", []),
    ("10001:1:1\n100:1:1\n01000:1:1\n", []),
    ("bob:100000\nbob:100000:10:3\nbob\n:100000:10\n", []),
    ("bob:-1:10\nbob:1:-10\nbob:+1:10\nbob:0x10:10\nbob:1_0:10\nbob: 1:10\nbob:1: 10\nbob::10\n", []),
    ("bob:1:0\nbob:1:4294967295\nbob:4294967295:1\nbob:99999999999999999999:1\nbob:1:99999999999999999999\n", []),
    ("bob:\u0661\u0660:\u0661\n", []),
    ("b\udcffb:1:1\nbob:100000:10\n", [(100000, 10)]),
])
def test_only_lines_that_mean_the_user_give_ranges(tmp_path: Path, content: str, expected: Any) -> None:
    (tmp_path / "subuid").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert subordinate_ranges("bob", str(tmp_path / "subuid"), 1000) == expected


def test_a_missing_file_gives_nothing_and_so_does_nobody(tmp_path: Path) -> None:
    assert subordinate_ranges("bob", str(tmp_path / "none"), 1000) == []
    (tmp_path / "subuid").write_text(":1:1\nNone:1:1\n")
    assert subordinate_ranges(None, str(tmp_path / "subuid")) == []
    assert subordinate_ranges("", str(tmp_path / "subuid")) == []
