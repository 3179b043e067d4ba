"""A /proc of our own: what others mount over theirs does not matter, or is refused."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import host
from mounting import MODES, contained
from nscontainer.errors import SetupError, SyscallError
from nscontainer.security import procfs
from nscontainer.security.procfs import attribute, open_file, open_procfs, plain_procfs, read, set_attribute, write
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.files import MAGIC, fstatfs
from nscontainer.sys.mount import MS, mount

SCORE = "/proc/self/oom_score_adj"


def refusing(call: str, number: int) -> Callable[..., Any]:
    """Return what takes the place of a call that a filter, or a missing right, denies."""
    def denied(*_: object, **__: object) -> Any:
        raise SyscallError(call, number)

    return denied


def alone() -> None:
    """Have mounts of our own, that nobody else sees."""
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)


def divert(victim: Path) -> None:
    """Mount a file of somebody else over our score: CVE-2025-52881 did it with files of /proc itself."""
    victim.write_text("untouched")
    mount(str(victim), SCORE, flags=MS.BIND)


def real_score() -> int:
    """Ask a proc file system that nobody has mounted upon."""
    return int(read(open_procfs(), "self/oom_score_adj"))


def test_it_is_proc_and_our_own_files_are_in_it() -> None:
    proc = open_procfs()
    try:
        assert fstatfs(proc).type == MAGIC.PROC
        assert os.fstat(proc).st_ino == 1
        assert read(proc, "self/stat").startswith(b"%d (" % os.getpid())
    finally:
        os.close(proc)


@pytest.mark.needs("root")
def test_it_is_attached_nowhere_and_has_what_is_needed() -> None:
    for whole in (False, True):
        proc = open_procfs(whole=whole)
        try:
            assert os.fstat(proc).st_dev != os.stat("/proc").st_dev
            assert os.access("sys/kernel", os.F_OK, dir_fd=proc) is whole
            assert f"{os.major(os.fstat(proc).st_dev)}:{os.minor(os.fstat(proc).st_dev)} " not in Path(
                "/proc/self/mountinfo").read_text()
        finally:
            os.close(proc)


@pytest.mark.needs("root")
def test_what_is_mounted_over_a_file_is_not_what_is_written(in_child: Any, tmp_path: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: a write to /proc that went elsewhere."""
    def attack() -> tuple[str, int]:
        alone()
        divert(tmp_path / "victim")
        Path(SCORE).write_text("naive")  # the attack works on who writes to the path
        assert (tmp_path / "victim").read_text() == "naive"
        (tmp_path / "victim").write_text("untouched")
        write(open_procfs(), "self/oom_score_adj", "345")
        return (tmp_path / "victim").read_text(), real_score()

    assert in_child(attack) == ["untouched", 345]


@pytest.mark.needs("root")
def test_a_copy_of_proc_is_the_second_way_and_leaves_behind_what_is_mounted_on_it(
        in_child: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attack() -> tuple[str, int, bool]:
        alone()
        divert(tmp_path / "victim")
        monkeypatch.setattr(procfs, "fsopen", refusing("fsopen", errno.EPERM))
        proc = open_procfs()
        write(proc, "self/oom_score_adj", "346")
        same = os.fstat(proc).st_dev == os.stat("/proc").st_dev
        monkeypatch.undo()
        return (tmp_path / "victim").read_text(), real_score(), same

    assert in_child(attack) == ["untouched", 346, True]


@pytest.mark.needs("root")
def test_proc_as_it_is_is_the_last_way_and_then_a_diverted_write_is_refused(
        in_child: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attack() -> list[Any]:
        alone()
        monkeypatch.setattr(procfs, "fsopen", refusing("fsopen", errno.ENOSYS))
        monkeypatch.setattr(procfs, "open_tree", refusing("open_tree", errno.EPERM))
        proc = open_procfs()
        write(proc, "self/oom_score_adj", "347")
        divert(tmp_path / "victim")
        with pytest.raises(SyscallError, match="something is mounted over it") as caught:
            write(proc, "self/oom_score_adj", "1")
        monkeypatch.undo()
        return [caught.value.errno, (tmp_path / "victim").read_text(), real_score()]

    assert in_child(attack) == [errno.EXDEV, "untouched", 347]


@pytest.mark.needs("root")
@pytest.mark.parametrize("source", ["tmpfs", "/proc/self", "/proc/sys"])
def test_what_is_not_the_root_of_a_proc_is_refused(in_child: Any, source: str) -> None:
    """A look-alike: an empty directory with a file attr/exec in it, or a lower folder of the real one."""
    def attack() -> str:
        alone()
        if source == "tmpfs":
            mount("tmpfs", "/proc", "tmpfs")
            os.makedirs("/proc/self")
            Path(SCORE).write_text("0")
        else:
            mount(os.path.realpath(source), "/proc", flags=MS.BIND)
        before = len(os.listdir("/dev/fd/")) if os.path.isdir("/dev/fd/") else 0
        with pytest.raises(SetupError) as caught:
            plain_procfs()
        assert not before or len(os.listdir("/dev/fd/")) == before
        return str(caught.value)

    assert "not the root of a proc file system" in in_child(attack)


@pytest.mark.needs("root")
def test_without_any_proc_root_makes_its_own(in_child: Any) -> None:
    def hidden() -> bool:
        alone()
        mount("tmpfs", "/proc", "tmpfs")
        return read(open_procfs(), "self/stat").startswith(b"%d (" % os.getpid())

    assert in_child(hidden)


@pytest.mark.parametrize("path", ["self/root/etc/passwd", "self/cwd", "self/exe", "self/fd/0", "self/ns/mnt",
                                  "../etc/passwd", "/etc/passwd", "self/../../etc/passwd"])
def test_a_link_or_a_name_that_leads_out_is_refused(path: str) -> None:
    proc = open_procfs()
    try:
        with pytest.raises(SyscallError) as caught:
            open_file(proc, path)
        assert caught.value.errno in (errno.ELOOP, errno.EXDEV)
        assert caught.value.filename == path
    finally:
        os.close(proc)


@pytest.mark.parametrize("user", MODES)
def test_process_one_of_new_namespaces_finds_itself(user: bool) -> None:
    def find() -> list[Any]:
        proc = open_procfs()  # in a user namespace a new one, unless the host has hidden part of its own
        write(proc, "self/oom_score_adj", "500")
        return [read(proc, "self/oom_score_adj").strip().decode(), int(read(proc, "self/stat").split()[0]) > 0]

    assert contained(find, user=user) == ["500", True]


@pytest.mark.needs("user", "userns")
def test_an_ordinary_user_has_proc_as_it_is(as_user: Any) -> None:
    def look() -> bool:
        proc = open_procfs()
        own = read(proc, "self/stat").startswith(b"%d " % os.getpid())
        return own and os.fstat(proc).st_dev == os.stat("/proc").st_dev

    assert as_user(look)


@pytest.mark.needs("root")
def test_a_parameter_is_that_of_our_own_namespace(in_child: Any) -> None:
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()

    def change() -> str:
        unshare(CLONE.NEWNET)
        proc = open_procfs(whole=True)
        write(proc, "sys/net/ipv4/ip_forward", "1" if before.strip() == "0" else "0")
        return read(proc, "sys/net/ipv4/ip_forward").decode()

    assert in_child(change) != before
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


def test_a_write_that_the_kernel_refuses_says_what_and_where() -> None:
    proc = open_procfs()
    try:
        with pytest.raises(SyscallError, match=r"write on 'self/oom_score_adj' \(text=much\): EINVAL"):
            write(proc, "self/oom_score_adj", "much")
        with pytest.raises(SyscallError, match="EFBIG"):
            read(proc, "self/status", limit=10)
    finally:
        os.close(proc)


def test_nothing_is_left_open(leaves_nothing: Any) -> None:
    for _ in range(3):
        os.close(open_procfs())
        os.close(open_procfs(whole=True))


# --- attributes


def fake(folder: Path, *names: str) -> int:
    """Make something like /proc with these attributes of the calling thread; return its descriptor."""
    for name in names:
        path = folder / "thread-self" / "attr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def test_a_modules_own_directory_comes_first(tmp_path: Path) -> None:
    proc = fake(tmp_path, "exec", "apparmor/exec")
    set_attribute(proc, "exec", "exec web", "apparmor")
    assert (tmp_path / "thread-self/attr/apparmor/exec").read_text() == "exec web"
    assert (tmp_path / "thread-self/attr/exec").read_text() == ""
    assert attribute(proc, "exec", "apparmor") == "exec web"
    os.close(proc)


def test_an_older_kernel_has_one_directory_for_all(tmp_path: Path) -> None:
    proc = fake(tmp_path, "exec")
    set_attribute(proc, "exec", "exec web", "apparmor")
    assert (tmp_path / "thread-self/attr/exec").read_text() == "exec web"
    assert attribute(proc, "exec", "apparmor") == "exec web"
    os.close(proc)


def test_a_profile_that_is_not_there_is_not_asked_for_elsewhere(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = fake(tmp_path, "exec", "apparmor/exec")
    monkeypatch.setattr(procfs, "write_all", refusing("write", errno.ENOENT))  # as AppArmor answers an unknown name
    with pytest.raises(SyscallError, match="write on 'thread-self/attr/apparmor/exec' .*ENOENT"):
        set_attribute(proc, "exec", "exec web", "apparmor")
    os.close(proc)


def test_a_trailing_nul_or_newline_is_no_part_of_a_label(tmp_path: Path) -> None:
    proc = fake(tmp_path, "current")
    for written in ("u:r:t:s0\0", "u:r:t:s0\n", "u:r:t:s0"):
        (tmp_path / "thread-self/attr/current").write_text(written)
        assert attribute(proc, "current") == "u:r:t:s0"
    os.close(proc)


@pytest.mark.skipif(host.missing("apparmor") is None or host.missing("selinux") is None, reason="a module answers here")
def test_without_a_module_an_attribute_is_empty_and_setting_one_fails() -> None:
    proc = open_procfs()
    try:
        assert attribute(proc, "current") == attribute(proc, "current", "apparmor") == ""
        with pytest.raises(SyscallError, match="EINVAL"):
            set_attribute(proc, "exec", "u:r:t:s0")
    finally:
        os.close(proc)
