"""Users and groups: libcontainer's cases, and what an image can put in its files."""
from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from nscontainer import user
from nscontainer.errors import ContainerError, SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MS, mount
from nscontainer.user import (
    ExecUser,
    IdRangeError,
    get_additional_groups,
    get_additional_groups_path,
    get_exec_user,
    get_exec_user_path,
    parse_group,
    parse_id,
    parse_passwd,
    resolve,
)

PASSWD = """\
root:x:0:0:root user:/root:/bin/bash
adm:x:42:43:adm:/var/adm:/bin/false
this is just some garbage data
"""
GROUP = """\
root:x:0:root
adm:x:43:
grp:x:1234:root,adm
this is just some garbage data
"""
DEFAULTS = ExecUser(uid=8888, gid=8888, sgids=(8888,), home="/8888")


def someone(uid: int, gid: int, home: str, *sgids: int) -> ExecUser:
    return ExecUser(uid=uid, gid=gid, sgids=sgids, home=home)


# --- the lists


def test_passwd_lines_become_users() -> None:
    users = parse_passwd(PASSWD)
    assert [(one.name, one.uid, one.gid) for one in users[:2]] == [("root", 0, 0), ("adm", 42, 43)]
    assert len(users) == 3
    assert (users[0].gecos, users[0].home, users[0].shell) == ("root user", "/root", "/bin/bash")


def test_group_lines_become_groups() -> None:
    groups = parse_group("root:x:0:root\nadm:x:4:root,adm,daemon\nempty:x:5:\n")
    assert [(one.name, one.gid, len(one.list)) for one in groups] == [("root", 0, 1), ("adm", 4, 3), ("empty", 5, 0)]


@pytest.mark.parametrize("source", [PASSWD, PASSWD.encode(), io.StringIO(PASSWD), io.BytesIO(PASSWD.encode())])
def test_a_list_comes_as_text_bytes_or_an_open_file(source: Any) -> None:
    assert [one.name for one in user.parse_passwd_filter(source, lambda one: one.uid == 42)] == ["adm"]


def test_short_and_long_lines_lose_or_ignore_fields() -> None:
    assert parse_passwd("bob\n\n  \n:::::\na:x:1:2:g:/h:/s:more:more\n  spaced:x:7:7::/:/s  \n") == [
        user.User(name="bob"), user.User(),
        user.User(name="a", password="x", uid=1, gid=2, gecos="g", home="/h", shell="/s"),
        user.User(name="spaced", password="x", uid=7, gid=7, home="/", shell="/s")]


def test_no_source_is_an_error() -> None:
    nothing: Any = None
    with pytest.raises(ContainerError, match="no passwd data"):
        parse_passwd(nothing)
    with pytest.raises(ContainerError, match="no group data"):
        parse_group(nothing)


def test_files_are_read_and_filtered(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text(PASSWD)
    (tmp_path / "group").write_text(GROUP)
    assert len(user.parse_passwd_file(tmp_path / "passwd")) == 3
    found = user.parse_group_file_filter(tmp_path / "group", lambda one: "adm" in one.list)
    assert [one.name for one in found] == ["grp"]
    assert len(user.parse_group_file(tmp_path / "group")) == 4
    with pytest.raises(SyscallError, match="ENOENT"):
        user.parse_passwd_file(tmp_path / "none")


def test_the_hosts_lists_are_looked_up() -> None:
    assert (user.get_passwd_path(), user.get_group_path()) == ("/etc/passwd", "/etc/group")
    assert user.lookup_user("root").uid == user.lookup_uid(0).uid == 0
    assert user.lookup_group("root").gid == user.lookup_gid(0).gid == 0
    assert "root:" in user.get_passwd()
    assert "root:" in user.get_group()
    with pytest.raises(ContainerError, match="no user 'no such user' in /etc/passwd"):
        user.lookup_user("no such user")
    with pytest.raises(ContainerError, match="no group with the gid 4000000000 in /etc/group"):
        user.lookup_gid(4000000000)


# --- who a program runs as


@pytest.mark.parametrize(("spec", "expected"), [
    ("root", someone(0, 0, "/root", 0, 1234)),
    ("adm", someone(42, 43, "/var/adm", 1234)),
    ("root:adm", someone(0, 43, "/root", *DEFAULTS.sgids)),
    ("adm:1234", someone(42, 1234, "/var/adm", *DEFAULTS.sgids)),
    ("42:1234", someone(42, 1234, "/var/adm", *DEFAULTS.sgids)),
    ("1337:1234", someone(1337, 1234, DEFAULTS.home, *DEFAULTS.sgids)),
    ("1337", someone(1337, DEFAULTS.gid, DEFAULTS.home, *DEFAULTS.sgids)),
    ("", DEFAULTS),
    (":adm", someone(8888, 43, "/8888", 8888)),
    ("adm:", someone(42, 43, "/var/adm", 1234)),
    ("00042", someone(42, 43, "/var/adm", 1234)),
])
def test_a_spec_is_looked_up_and_completed(spec: str, expected: ExecUser) -> None:
    assert get_exec_user(spec, DEFAULTS, PASSWD, GROUP) == expected


@pytest.mark.parametrize("spec", [
    "notuser", "notuser:notgroup", "root:notgroup", "notuser:adm", "8888:notgroup", "notuser:8888", "-1:0", "0:-1",
    "-5:-2", "a:b:c", "adm:1:2", "+1", " 1", "1 ", "1_0", "0x1", "1.0", "\u0661", "\u00b9", "0:+1",
    "this is no user",
])
def test_an_unknown_name_is_an_error(spec: str) -> None:
    with pytest.raises(ContainerError, match=r"^no (user|group) '"):
        get_exec_user(spec, None, PASSWD, GROUP)


@pytest.mark.parametrize("text", [
    *map(str, [1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 63]), pytest.param("1" * 5000, id="5000 digits")])
def test_an_id_that_other_programs_would_wrap_is_refused(text: str) -> None:
    for spec in (text, f"0:{text}"):
        with pytest.raises(IdRangeError, match="is not between 0 and 2147483647"):
            get_exec_user(spec, None, PASSWD, GROUP)
    with pytest.raises(IdRangeError):
        get_additional_groups([text], GROUP)


def test_the_largest_id_is_fine() -> None:
    assert get_exec_user("2147483647:2147483647", None, None, None) == someone(2147483647, 2147483647, "")
    assert parse_id("0002147483647") == 2147483647


def test_a_number_is_never_a_name() -> None:
    """CVE-2016-3697: an image whose user 1000 has the uid 0."""
    passwd = "1000:x:0:0::/evil:/bin/sh\nreal:x:1000:5::/home:/bin/sh\n"
    assert get_exec_user("1000", None, passwd, None) == someone(1000, 5, "/home")
    assert get_exec_user("1000", None, "1000:x:0:0::/evil:/bin/sh\n", "7:x:0:\n") == someone(1000, 0, "")
    assert get_exec_user("0:7", None, passwd, "7:x:0:\n").gid == 7
    assert get_additional_groups(["7"], "7:x:0:\n") == [7]


@pytest.mark.parametrize("line", [
    "bob:x::5::/:", "bob:x:abc:5::/:", "bob:x:-1:5::/:", "bob:x:4294967296:5::/:", "bob:x: 0:5::/:", "bob:x:5",
    "bob:x:5:x::/:", "bob:x:5:2147483648::/:"])
def test_an_entry_without_an_id_does_not_make_anybody_root(line: str) -> None:
    with pytest.raises(ContainerError, match="the entry 'bob' in the passwd data has the id"):
        get_exec_user("bob", None, line, None)


def test_a_group_without_a_gid_is_not_group_0() -> None:
    with pytest.raises(ContainerError, match="the entry 'staff' in the group data has the id ''"):
        get_exec_user("1:staff", None, None, "staff:x::\n")
    with pytest.raises(ContainerError, match="the entry 'staff' in the group data"):
        get_exec_user("bob", None, "bob:x:1:1::/:\n", "staff:x:no:bob\n")


@pytest.mark.parametrize(("spec", "passwd", "group", "expected"), [
    ("", "root:x:0:0::/root:/bin/sh\n", None, someone(0, 0, "/root")),
    ("root", "root:x:0:0::/root:/bin/sh\n", None, someone(0, 0, "/root")),
    ("0", None, None, someone(0, 0, "")),
    ("0:0", None, None, someone(0, 0, "")),
])
def test_missing_data_counts_as_empty(spec: str, passwd: str | None, group: str | None, expected: ExecUser) -> None:
    assert get_exec_user(spec, None, passwd, group) == expected


def test_a_user_without_a_name_is_in_no_group() -> None:
    assert get_exec_user("5", None, ":x:5:5::/:\n", "wheel:x:10:\nadm:x:11:a,,b\n").sgids == ()


def test_files_are_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text(PASSWD)
    assert get_exec_user_path("adm", None, tmp_path / "passwd", tmp_path / "none") == someone(42, 43, "/var/adm")
    with pytest.raises(ContainerError, match=f"no user 'bob' in {tmp_path}/passwd"):
        get_exec_user_path("bob", None, tmp_path / "passwd", tmp_path / "none")


# --- additional groups


@pytest.mark.parametrize(("groups", "expected"), [
    ([], []), (["adm"], [43]), (["adm", "grp"], [43, 1234]), (["43"], [43]), (["10001"], [10001]),
    (["adm", "43"], [43]), (["43", "adm"], [43]), (["adm", "adm"], [43]), (["0", "root", "00"], [0]),
])
def test_additional_groups_are_each_there_once(groups: list[str], expected: list[int]) -> None:
    assert get_additional_groups(groups, GROUP) == expected


@pytest.mark.parametrize("group", ["nobody", "-1", "+5", "", "grp "])
def test_an_unknown_additional_group_is_an_error(group: str) -> None:
    with pytest.raises(ContainerError, match="no group"):
        get_additional_groups([group], GROUP)


def test_without_a_file_only_numbers_are_groups(tmp_path: Path) -> None:
    assert get_additional_groups(["1234", "5678"], None) == [1234, 5678]
    assert get_additional_groups_path(["1234", "5678"], tmp_path / "none") == [1234, 5678]
    with pytest.raises(ContainerError, match="no group 'fake'"):
        get_additional_groups(["fake"], None)


# --- inside a container's root


@pytest.fixture
def inside(tmp_path: Path, in_child: Any) -> Any:
    """Call resolve() in a child whose root is tmp_path; return what it says, or the text of its error."""
    (tmp_path / "etc").mkdir(mode=0o755)

    def run(*arguments: Any) -> Any:
        def ask() -> Any:
            os.chroot(tmp_path)
            os.chdir("/")
            try:
                found = resolve(*arguments)
            except ContainerError as error:
                return str(error)
            return [found.uid, found.gid, list(found.sgids), found.home]

        return in_child(ask, timeout=10)

    return run


@pytest.mark.needs("root")
def test_without_any_file_numbers_work_and_home_is_the_root(inside: Any) -> None:
    assert inside("") == [0, 0, [], "/"]
    assert inside("1000") == [1000, 0, [], "/"]
    assert inside("1000:5", ["6", "7", "6"]) == [1000, 5, [6, 7], "/"]


@pytest.mark.needs("root")
def test_names_are_the_images_and_an_error_says_where_it_looked(inside: Any, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").write_text("bob:x:1000:1000::/home/bob:/bin/sh\nnohome:x:5:5:::\n")
    (tmp_path / "etc/group").write_text("bob:x:1000:\nwheel:x:10:bob\n")
    assert inside("bob", ["wheel", "99"]) == [1000, 1000, [10, 99], "/home/bob"]
    assert inside("nohome") == [5, 5, [], "/"]
    assert inside("alice").startswith("no user 'alice' in the container's /etc/passwd; ")
    assert inside("bob:staff").startswith("no group 'staff' in the container's /etc/group; ")
    assert inside("bob", ["staff"]).startswith("no group 'staff' in the container's /etc/group; ")


@pytest.mark.needs("root")
def test_the_groups_of_whoever_started_it_are_not_inherited(inside: Any) -> None:
    before = os.getgroups()
    os.setgroups([4, 27])
    try:
        assert inside("1000") == [1000, 0, [], "/"]
    finally:
        os.setgroups(before)


def _hole(path: str, size: int) -> None:
    Path(path).touch()
    os.truncate(path, size)


@pytest.mark.needs("root")
@pytest.mark.parametrize(("make", "expected"), [
    (os.mkfifo, "/etc/passwd is not a regular file"),
    (os.mkdir, "/etc/passwd is not a regular file"),
    (lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)), "/etc/passwd is not a regular file"),
    (lambda path: os.symlink("passwd", path), "openat2 on '/etc/passwd'"),
    (lambda path: _hole(path, 10 << 30), "/etc/passwd is larger than 10 MiB"),
    (lambda path: _hole(path, 4096), "/etc/passwd is damaged: it holds a NUL byte"),
])
def test_what_an_image_puts_in_place_of_a_file_neither_blocks_nor_fills_memory(
        inside: Any, tmp_path: Path, make: Any, expected: str) -> None:
    """CVE-2024-9676."""
    make(str(tmp_path / "etc/passwd"))
    assert inside("bob").startswith(expected)


@pytest.mark.needs("root")
def test_a_link_is_followed_inside_the_root_only(inside: Any, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("bob:x:7:7::/b:/s\n")
    (tmp_path / "etc/passwd").symlink_to("../../../../store")
    assert inside("bob") == [7, 7, [], "/b"]
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/etc/nowhere")
    assert inside("root").startswith("no user 'root'")


@pytest.mark.needs("root")
def test_no_link_of_proc_leads_out(inside: Any, tmp_path: Path, in_child: Any) -> None:
    """An open descriptor of the host behind /proc/self/fd is a way out that no root stops."""
    def ask() -> str:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        (tmp_path / "proc").mkdir()
        mount("proc", str(tmp_path / "proc"), "proc")
        kept = os.open("/etc", os.O_RDONLY)
        (tmp_path / "etc/passwd").symlink_to(f"/proc/self/fd/{kept}/passwd")
        os.chroot(tmp_path)
        with pytest.raises(SyscallError) as caught:
            resolve("root")
        return str(caught.value)

    assert "ELOOP" in in_child(ask)
