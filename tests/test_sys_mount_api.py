"""Mounts in steps, on descriptors."""
from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.files import ST, fstatfs, openat
from nscontainer.sys.libc import intercept
from nscontainer.sys.mount import MS, mount
from nscontainer.sys.mount_api import (
    AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR, MOVE_MOUNT, OPEN_TREE, fsconfig_create, fsconfig_fd,
    fsconfig_flag, fsconfig_path, fsconfig_reconfigure, fsconfig_string, fsmount, fsopen, fspick, mount_setattr,
    move_mount, open_tree,
)

InChild = Callable[..., Any]
HERE = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH


def _private_namespace() -> None:
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)


def _tmpfs(attrs: int = 0, **parameters: str) -> int:
    context = fsopen("tmpfs")
    for key, value in parameters.items():
        fsconfig_string(context, key, value)
    fsconfig_create(context)
    mounted = fsmount(context, attrs)
    os.close(context)
    return mounted


@pytest.mark.needs("root")
def test_a_file_system_is_complete_before_it_has_a_place(in_child: InChild, tmp_path: Path) -> None:
    def make() -> list[Any]:
        _private_namespace()
        mounted = _tmpfs(MOUNT_ATTR.NODEV | MOUNT_ATTR.NOSUID, mode="750", size="65536")
        before = os.path.ismount(tmp_path)
        target = os.open(tmp_path, os.O_PATH)
        move_mount(mounted, "", target, "", HERE)
        flags = fstatfs(mounted).flags
        return [before, os.path.ismount(tmp_path), os.stat(tmp_path).st_mode & 0o777, flags & 0xF,
                fstatfs(mounted).size, os.get_inheritable(mounted)]

    assert in_child(make) == [False, True, 0o750, ST.NODEV | ST.NOSUID, 65536, False]


@pytest.mark.needs("root")
def test_a_refusal_carries_the_words_of_the_file_system(in_child: InChild) -> None:
    def refuse() -> list[str]:
        _private_namespace()
        words = []
        for attempt in (lambda fd: fsconfig_string(fd, "colour", "green"), lambda fd: fsconfig_flag(fd, "colour"),
                        lambda fd: fsconfig_string(fd, "mode", "green"), lambda fd: fsconfig_fd(fd, "colour", 0),
                        lambda fd: fsconfig_path(fd, "colour", AT_FDCWD, "/"), fsmount):
            context = fsopen("tmpfs")
            try:
                attempt(context)
            except SyscallError as error:
                words.append(str(error))
            os.close(context)
        return words

    words = in_child(refuse)
    assert words[0] == ("fsconfig (command=FSCONFIG.SET_STRING, key=colour, value=green, "
                        "message=tmpfs: Unknown parameter 'colour'): EINVAL, Invalid argument")
    assert "Unknown parameter 'colour'" in words[1]
    assert "mode" in words[2]
    assert [text.partition(",")[0] for text in words[3:5]] == [
        "fsconfig (command=FSCONFIG.SET_FD", "fsconfig (command=FSCONFIG.SET_PATH"]
    assert words[5] == "fsmount (attrs=0): EINVAL, Invalid argument"


@pytest.mark.needs("root")
def test_a_copy_of_a_mount_outlives_nothing_but_its_descriptor(in_child: InChild, tmp_path: Path) -> None:
    def copy() -> list[Any]:
        _private_namespace()
        mount("tmpfs", str(tmp_path), "tmpfs")
        (tmp_path / "below").mkdir()
        mount("tmpfs", str(tmp_path / "below"), "tmpfs")
        (tmp_path / "below" / "file").touch()
        alone = open_tree(AT_FDCWD, str(tmp_path), OPEN_TREE.CLONE)
        whole = open_tree(AT_FDCWD, str(tmp_path), OPEN_TREE.CLONE | AT_RECURSIVE)
        return [os.listdir(openat(fd, "below", os.O_RDONLY)) for fd in (alone, whole)] + [os.get_inheritable(whole)]

    assert in_child(copy) == [[], ["file"], False]


@pytest.mark.needs("root")
def test_a_mounted_file_system_is_picked_up_and_changed(in_child: InChild, tmp_path: Path) -> None:
    def change() -> list[int]:
        _private_namespace()
        mount("tmpfs", str(tmp_path), "tmpfs", data="size=65536")
        context = fspick(AT_FDCWD, str(tmp_path))
        fsconfig_string(context, "size", "131072")
        fsconfig_reconfigure(context)
        return [os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize, int(os.get_inheritable(context))]

    assert in_child(change) == [131072, 0]


@pytest.mark.needs("root", "kernel_5_12")
def test_attributes_reach_all_mounts_below(in_child: InChild, tmp_path: Path) -> None:
    def seal() -> list[int]:
        _private_namespace()
        mount("tmpfs", str(tmp_path), "tmpfs")
        (tmp_path / "below").mkdir()
        mount("tmpfs", str(tmp_path / "below"), "tmpfs")
        fd = os.open(tmp_path, os.O_PATH)
        below = os.open(tmp_path / "below", os.O_PATH)
        mount_setattr(fd, "", AT_EMPTY_PATH, set=MOUNT_ATTR.NOEXEC)
        seen = [fstatfs(fd).flags & 0xF, fstatfs(below).flags & 0xF]
        mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, set=MOUNT_ATTR.RDONLY, clear=MOUNT_ATTR.NOEXEC,
                      propagation=MS.PRIVATE)
        return [*seen, fstatfs(fd).flags & 0xF, fstatfs(below).flags & 0xF]

    assert in_child(seal) == [ST.NOEXEC, 0, ST.RDONLY, ST.RDONLY]


@pytest.mark.needs("root", "kernel_5_12")
def test_a_map_must_come_from_a_user_namespace(in_child: InChild) -> None:
    def remap() -> str:
        _private_namespace()
        try:
            mount_setattr(_tmpfs(), "", AT_EMPTY_PATH, set=MOUNT_ATTR.IDMAP, userns_fd=os.open("/", os.O_RDONLY))
        except SyscallError as error:
            return str(error)
        return "accepted"

    assert in_child(remap).endswith("set=MOUNT_ATTR_IDMAP, clear=0, propagation=0x0): EINVAL, Invalid argument")


def test_a_kernel_without_the_call_says_so() -> None:
    def refuse(name: str, call: Callable[..., int]) -> Callable[..., int]:
        def refused(*_: Any) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

        return refused

    intercept(refuse)
    try:
        with pytest.raises(SyscallError) as caught:
            mount_setattr(AT_FDCWD, "/", 0, set=MOUNT_ATTR.RDONLY)
    finally:
        intercept(None)
    assert caught.value.unsupported


@pytest.mark.needs("root")
def test_an_unknown_type_is_named() -> None:
    with pytest.raises(SyscallError, match=r"fsopen \(type=nofs\): ENODEV"):
        fsopen("nofs")


def test_flags_that_do_not_fit_are_refused() -> None:
    for attempt in (lambda: open_tree(AT_FDCWD, "/", 1 << 32), lambda: move_mount(0, "", 0, "", -1),
                    lambda: fsmount(0, 1 << 32), lambda: fspick(AT_FDCWD, "/", -1),
                    lambda: mount_setattr(0, "", 0, set=1 << 64), lambda: mount_setattr(0, "", 0, clear=-1),
                    lambda: mount_setattr(0, "", 0, userns_fd=-1)):
        with pytest.raises(OverflowError):
            attempt()
