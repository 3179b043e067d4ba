"""Words into flags, flags into attributes, attributes onto mounts; with and without mount_setattr(2)."""
from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.mounts.bind import copy
from nscontainer.mounts.options import attach, attributes, changed, parse, propagate, set_attributes
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.files import ST, fstatfs
from nscontainer.sys.libc import intercept
from nscontainer.sys.mount import MS, mount
from nscontainer.sys.mount_api import MOUNT_ATTR

InChild = Callable[..., Any]


# --- words


@pytest.mark.parametrize("words, flags", [
    ([], MS(0)),
    (["defaults"], MS(0)),
    (["ro", "nosuid", "nodev", "noexec"], MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC),
    (["rbind"], MS.BIND | MS.REC),
    (["bind", "remount"], MS.BIND | MS.REMOUNT),
    (["sync", "dirsync", "mand", "lazytime", "iversion", "silent"],
     MS.SYNCHRONOUS | MS.DIRSYNC | MS.MANDLOCK | MS.LAZYTIME | MS.I_VERSION | MS.SILENT),
    (["noatime", "nodiratime", "relatime", "strictatime", "nosymfollow"],
     MS.NOATIME | MS.NODIRATIME | MS.RELATIME | MS.STRICTATIME | MS.NOSYMFOLLOW),
    (["ro", "rw"], MS(0)),
    (["rw", "ro"], MS.RDONLY),
    (["nosuid", "suid", "nodev", "dev", "noexec", "exec", "sync", "async"], MS(0)),
])
def test_words_become_flags_and_the_last_of_two_counts(words: list[str], flags: MS) -> None:
    assert parse(words).flags == flags
    assert parse(words).data == ""


def test_every_word_of_the_specification_is_known() -> None:
    known = (
        "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime "
        "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev "
        "rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid "
        "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw "
        "shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap ").split()
    assert [word for word in known if parse([word]).data] == []


def test_what_nobody_knows_is_for_the_file_system_in_order() -> None:
    options = parse(["mode=755", "nosuid", "size=64k", "", "newinstance"])
    assert (options.data, options.flags) == ("mode=755,size=64k,newinstance", MS.NOSUID)


def test_each_propagation_is_a_call_of_its_own() -> None:
    assert parse(["rslave", "shared"]).propagation == (MS.SLAVE | MS.REC, MS.SHARED)


@pytest.mark.parametrize("words, sets, clears", [
    (["rro", "rnosuid"], MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID, MOUNT_ATTR(0)),
    (["rrw"], MOUNT_ATTR(0), MOUNT_ATTR.RDONLY),
    (["rro", "rrw"], MOUNT_ATTR(0), MOUNT_ATTR.RDONLY),
    (["rnoatime"], MOUNT_ATTR.NOATIME, MOUNT_ATTR._ATIME),
    (["rnodiratime", "rrelatime"], MOUNT_ATTR.NODIRATIME, MOUNT_ATTR._ATIME),
])
def test_recursive_words_are_for_mount_setattr(words: list[str], sets: MOUNT_ATTR, clears: MOUNT_ATTR) -> None:
    options = parse(words)
    assert (options.recursive_set, options.recursive_clear, options.flags) == (sets, clears, 0)


# --- flags


@pytest.mark.parametrize("flags, attrs", [
    (MS(0), MOUNT_ATTR(0)),
    (MS.RDONLY | MS.NOEXEC, MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOEXEC),
    (MS.BIND | MS.REC | MS.REMOUNT | MS.SILENT, MOUNT_ATTR(0)),
    (MS.STRICTATIME | MS.NOATIME, MOUNT_ATTR.STRICTATIME),    # do_mount() decides so too
    (MS.NOATIME | MS.RELATIME, MOUNT_ATTR.NOATIME),
    (MS.NODIRATIME | MS.NOSYMFOLLOW, MOUNT_ATTR.NODIRATIME | MOUNT_ATTR.NOSYMFOLLOW),
])
def test_flags_become_attributes(flags: MS, attrs: MOUNT_ATTR) -> None:
    assert attributes(flags) == attrs


def test_a_word_about_access_times_replaces_what_the_mount_had() -> None:
    assert changed(MS.RELATIME) == (0, MOUNT_ATTR._ATIME)
    assert changed(MS.NOSUID) == (MOUNT_ATTR.NOSUID, 0)


# --- mounts


@pytest.fixture(params=["mount_setattr", "mount"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Attributes by mount_setattr(2), and as before Linux 5.12 by mount(2)."""
    def wrap(name: str, call: Callable[..., int]) -> Callable[..., int]:
        def missing(*arguments: Any) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

        return missing if name == "mount_setattr" else call

    if request.param == "mount":
        intercept(wrap)
    yield request.param
    intercept(None)


def _tree(folder: Path) -> None:
    """Mount a tmpfs with another one below it and a third on top of that, in a namespace of our own."""
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)
    mount("top", str(folder), "tmpfs", MS.NOSUID | MS.NOATIME)
    for name in ("below", "target"):
        (folder / name).mkdir()
    mount("below", str(folder / "below"), "tmpfs", MS.NODEV)
    (folder / "below/deeper").mkdir()
    mount("deeper", str(folder / "below/deeper"), "tmpfs", MS.NOEXEC)


def _flags(path: Path) -> int:
    fd = os.open(path, os.O_PATH)
    try:
        return fstatfs(fd).flags & (ST.RDONLY | ST.NOSUID | ST.NODEV | ST.NOEXEC | ST.NOATIME)
    finally:
        os.close(fd)


@pytest.mark.needs("root")
def test_attributes_come_on_top_of_those_a_mount_has(in_child: InChild, tmp_path: Path, way: str) -> None:
    def change() -> list[int]:
        _tree(tmp_path)
        set_attributes(os.open(tmp_path, os.O_PATH), MOUNT_ATTR.RDONLY)
        return [_flags(tmp_path), _flags(tmp_path / "below")]

    assert in_child(change) == [ST.RDONLY | ST.NOSUID | ST.NOATIME, ST.NODEV]


@pytest.mark.needs("root")
def test_recursive_attributes_reach_every_mount_below(in_child: InChild, tmp_path: Path, way: str) -> None:
    def change() -> list[int]:
        _tree(tmp_path)
        set_attributes(os.open(tmp_path, os.O_PATH), MOUNT_ATTR.RDONLY, MOUNT_ATTR.NOEXEC, recursive=True)
        return [_flags(tmp_path / name) for name in (".", "below", "below/deeper")]

    assert in_child(change) == [ST.RDONLY | ST.NOSUID | ST.NOATIME, ST.RDONLY | ST.NODEV, ST.RDONLY]


@pytest.mark.needs("root")
def test_a_copy_has_its_attributes_and_the_original_does_not(in_child: InChild, tmp_path: Path, way: str) -> None:
    def change() -> list[int]:
        _tree(tmp_path)
        tree = copy(os.open(tmp_path / "below", os.O_PATH), recursive=True)
        to = os.open(tmp_path / "target", os.O_PATH)
        attach(tree, to, (MOUNT_ATTR.NOSUID, 0, False), (MOUNT_ATTR.RDONLY, 0, True))
        return [_flags(tmp_path / name) for name in ("below", "target", "target/deeper")]

    assert in_child(change) == [ST.NODEV, ST.NODEV | ST.NOSUID | ST.RDONLY, ST.NOEXEC | ST.RDONLY]


@pytest.mark.needs("root")
@pytest.mark.parametrize("flags, shown", [(MS.NOATIME, "noatime"), (MS.RELATIME, "relatime"), (MS.STRICTATIME, "")])
def test_access_times_are_one_choice_of_three(in_child: InChild, tmp_path: Path, way: str, flags: MS,
                                              shown: str) -> None:
    def change() -> list[str]:
        _tree(tmp_path)
        fd = os.open(tmp_path, os.O_PATH)
        set_attributes(fd, *changed(flags))
        set_attributes(fd, MOUNT_ATTR.NODIRATIME)  # and the choice outlives other changes
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {tmp_path} " in line)
        return sorted(word for word in line.split()[5].split(",") if word.endswith("time"))

    assert in_child(change) == sorted([*([shown] if shown else []), "nodiratime"])


@pytest.mark.needs("root")
def test_a_directory_that_is_no_mount_is_an_error(in_child: InChild, tmp_path: Path, way: str) -> None:
    def change() -> str:
        _tree(tmp_path)
        with pytest.raises(SyscallError) as caught:
            set_attributes(os.open(tmp_path / "target", os.O_PATH), MOUNT_ATTR.RDONLY)
        return errno.errorcode[caught.value.errno or 0]

    assert in_child(change) == "EINVAL"


@pytest.mark.needs("root")
@pytest.mark.parametrize("flags, shown", [(MS.SHARED, [True, False]), (MS.SHARED | MS.REC, [True, True])])
def test_propagation_is_set_for_one_mount_or_for_all_below(in_child: InChild, tmp_path: Path, way: str, flags: MS,
                                                           shown: list[bool]) -> None:
    def change() -> list[bool]:
        _tree(tmp_path)
        propagate(os.open(tmp_path, os.O_PATH), flags)
        lines = {line.split()[4]: line for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        return ["shared:" in lines[str(path)] for path in (tmp_path, tmp_path / "below")]

    assert in_child(change) == shown
