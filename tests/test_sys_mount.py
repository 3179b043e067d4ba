"""Mounts by path: attach, change, detach, pivot. Every one in a mount namespace of a forked child."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MNT, MS, mount, pivot_root, umount2
from nscontainer.sys.procfs import mountinfo

InChild = Callable[..., Any]


def _private_namespace() -> None:
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)


@pytest.mark.needs("root")
def test_a_private_mount_stays_in_its_namespace(in_child: InChild, tmp_path: Path) -> None:
    def mount_here() -> bool:
        _private_namespace()
        mount("tmpfs", str(tmp_path), "tmpfs", MS.NOSUID | MS.NODEV, "mode=751")
        return os.path.ismount(tmp_path) and os.stat(tmp_path).st_mode & 0o777 == 0o751

    assert in_child(mount_here)
    assert not os.path.ismount(tmp_path)


@pytest.mark.needs("root")
def test_a_bind_is_made_read_only_by_a_second_call(in_child: InChild, tmp_path: Path) -> None:
    def bind() -> list[Any]:
        _private_namespace()
        (tmp_path / "to").mkdir()
        mount(str(tmp_path), str(tmp_path / "to"), flags=MS.BIND | MS.RDONLY)  # RDONLY has no effect here
        first = os.access(tmp_path / "to", os.W_OK)
        mount(None, str(tmp_path / "to"), flags=MS.BIND | MS.REMOUNT | MS.RDONLY)
        try:
            (tmp_path / "to" / "file").touch()
        except OSError as error:
            return [first, error.errno]
        return [first, None]

    assert in_child(bind) == [True, errno.EROFS]


@pytest.mark.needs("root")
def test_what_is_in_use_is_detached_lazily(in_child: InChild, tmp_path: Path) -> None:
    def detach() -> list[Any]:
        _private_namespace()
        mount("tmpfs", str(tmp_path), "tmpfs")
        held = os.open(tmp_path, os.O_RDONLY)
        try:
            umount2(str(tmp_path))
        except SyscallError as error:
            refused = str(error)
        umount2(str(tmp_path), MNT.DETACH)
        os.close(held)
        return [refused, os.path.ismount(tmp_path)]

    assert in_child(detach) == [
        f"umount2 on '{tmp_path}' (flags=0): EBUSY, Device or resource busy", False]


@pytest.mark.needs("root")
def test_pivot_root_exchanges_the_root(in_child: InChild, tmp_path: Path) -> None:
    def pivot() -> list[Any]:
        _private_namespace()
        mount("tmpfs", str(tmp_path), "tmpfs")
        (tmp_path / "proc").mkdir()
        mount("proc", str(tmp_path / "proc"), "proc")
        os.chdir(tmp_path)
        pivot_root(".", ".")
        umount2(".", MNT.DETACH)
        os.chdir("/")
        return [sorted(os.listdir("/")), [entry.mount_point for entry in mountinfo()]]

    assert in_child(pivot) == [["proc"], ["/", "/proc"]]


@pytest.mark.needs("root")
def test_a_refused_mount_says_what_was_asked(in_child: InChild, tmp_path: Path) -> None:
    def mount_badly() -> str:
        _private_namespace()
        try:
            mount("tmpfs", str(tmp_path), "tmpfs", MS.NOSUID, "mode=nonsense")
        except SyscallError as error:
            return str(error)
        return "accepted"

    assert in_child(mount_badly) == (f"mount on '{tmp_path}' (source=tmpfs, type=tmpfs, flags=MS_NOSUID, "
                                     "data=mode=nonsense): EINVAL, Invalid argument")


def test_a_mount_at_no_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SyscallError) as caught:
        mount("tmpfs", str(tmp_path / "nowhere"), "tmpfs")
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)
    assert caught.value.filename == str(tmp_path / "nowhere")


def test_pivot_root_names_both_places() -> None:
    with pytest.raises(SyscallError, match=r"pivot_root on '/nowhere' \(put_old=/nowhere/else\)"):
        pivot_root("/nowhere", "/nowhere/else")


def test_nothing_is_cut_on_the_way_to_c() -> None:
    with pytest.raises(ValueError, match="NUL"):
        mount("tmpfs", "/tmp", "tmpfs", data="mode=755\0,uid=0")
    with pytest.raises(OverflowError, match="32 bits"):
        mount("tmpfs", "/tmp", "tmpfs", 1 << 32)
    with pytest.raises(OverflowError, match="31 bits"):
        umount2("/tmp", -1)
