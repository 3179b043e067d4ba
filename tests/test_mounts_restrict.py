"""Masked paths, read-only paths and a read-only root."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mounting import DEVICES, MODES, MOUNTS, Canary, config, contained, enter, fields, image, set_up
from nscontainer.config import Mount
from nscontainer.errors import ContainerError, SetupError
from nscontainer.mounts import restrict, special
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MS, mount

InChild = Callable[..., Any]
both_modes = pytest.mark.parametrize("user", MODES)
PROC, SYSFS = MOUNTS[0], MOUNTS[5]


def _secrets(folder: Path) -> Path:
    root = image(folder, "secret/deep", "open")
    for name in ("secret/file", "secret/deep/file", "key", "open/file"):
        (root / name).write_text("secret")
    return root


@both_modes
def test_masked_files_are_empty_and_masked_directories_have_nothing(user: bool, user_tmp_path: Path) -> None:
    paths = ("/secret", "/key", "/open/file", "/proc/kcore", "/proc/bus", "/nowhere", "/secret/none", "/etc/none/none")

    def look() -> list[Any]:
        enter(config(_secrets(user_tmp_path), PROC, mask_paths=paths, user=user))
        with pytest.raises(OSError, match="Read-only"):
            Path("/secret/new").touch()
        Path("/key").write_text("x")
        return [os.listdir("/secret"), os.listdir("/proc/bus"), Path("/key").read_text(),
                Path("/open/file").read_text(), os.listdir("/open"), os.path.exists("/nowhere"),
                fields("/secret")[:4], fields("/proc/bus")[:4]]

    empty = ["ro", "nosuid", "nodev", "noexec"]
    assert contained(look, user=user) == [[], [], "", "", ["file"], False, empty, empty]
    assert (user_tmp_path / "key").read_text() == "secret"


@both_modes
def test_a_masked_path_behind_a_link_is_masked_where_it_leads(user: bool, user_tmp_path: Path) -> None:
    canary = Canary(user_tmp_path / "host")
    root = _secrets(user_tmp_path / "root")
    (root / "link").symlink_to("/open/file")
    (root / "out").symlink_to(canary.path)

    def look() -> str:
        enter(config(root, mask_paths=("/link", "/out/file"), user=user))
        return Path("/open/file").read_text()

    assert contained(look, user=user) == ""
    canary.check()


@both_modes
@pytest.mark.parametrize("call", ["mask_paths", "readonly_paths"])
@pytest.mark.parametrize("path, number", [("/loop", "ELOOP"), ("/key/x", "ENOTDIR"), ("/to_root", "EINVAL")])
def test_a_path_that_cannot_be_looked_at_is_an_error(user: bool, user_tmp_path: Path, call: str, path: str,
                                                     number: str) -> None:
    """Only what is not there needs no cover."""
    root = _secrets(user_tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "to_root").symlink_to("/etc/..")

    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            fields: dict[str, Any] = {call: (path,)}
            set_up(config(root, user=user, **fields))
        return errno.errorcode[caught.value.errno]  # type: ignore[attr-defined]

    assert contained(look, user=user) == number


@both_modes
def test_the_mask_is_the_host_s_null_whatever_the_image_has(user: bool, user_tmp_path: Path) -> None:
    """CVE-2025-31133: the image's /dev/null was a link to a file of /proc, which was bound instead."""
    root = _secrets(user_tmp_path)
    (root / "dev/null").symlink_to("../etc/hostname")

    def look() -> list[Any]:
        enter(config(root, PROC, mask_paths=("/key",), user=user))
        status = os.stat("/key")
        return [os.major(status.st_rdev), os.minor(status.st_rdev)]

    assert contained(look, user=user) == [1, 3]


@pytest.mark.needs("root")
def test_a_host_without_a_null_masks_nothing_and_says_so(in_child: InChild, tmp_path: Path) -> None:
    def look() -> str:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        mount("/dev/zero", "/dev/null", flags=MS.BIND)
        with pytest.raises(SetupError) as caught:
            set_up(config(_secrets(tmp_path), mask_paths=("/key",)))
        return str(caught.value)

    assert "not the null device" in in_child(look)


@both_modes
def test_read_only_paths_stay_readable(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[Any]:
        paths = ("/secret", "/key", "/proc/sys", "/none")
        enter(config(_secrets(user_tmp_path), PROC, readonly_paths=paths, user=user))
        refused = []
        for path in ("/secret/new", "/secret/deep/new", "/key", "/proc/sys/kernel/domainname", "/open/new"):
            try:
                Path(path).write_text("x")
            except OSError as error:
                refused.append(error.errno == errno.EROFS)
        return [refused, Path("/secret/deep/file").read_text(), fields("/secret")[:4]]

    assert contained(look, user=user) == [[True] * 4, "secret", ["ro", "nosuid", "nodev", "noexec"]]


@both_modes
def test_mounts_below_a_read_only_path_are_read_only_too(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        tmpfs = Mount(source="x", destination="/secret/deep", device="tmpfs", flags=int(MS.NODIRATIME))
        enter(config(_secrets(user_tmp_path), PROC, tmpfs, readonly_paths=("/secret",), user=user))
        return fields("/secret/deep")

    assert {"ro", "nosuid", "nodev", "noexec", "nodiratime"} <= set(contained(look, user=user))


@both_modes
def test_a_read_only_mount_point_becomes_read_only_in_place(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        tmpfs = Mount(source="x", destination="/secret", device="tmpfs")
        enter(config(_secrets(user_tmp_path), PROC, tmpfs, readonly_paths=("/secret",), user=user))
        with pytest.raises(OSError, match="Read-only"):
            Path("/secret/new").touch()
        return fields("/secret")[:1]

    assert contained(look, user=user) == ["ro"]


@both_modes
def test_a_read_only_root_leaves_other_mounts_writable(user: bool, user_tmp_path: Path) -> None:
    def look() -> bool:
        enter(config(image(user_tmp_path), *MOUNTS[:3], devices=DEVICES, readonlyfs=True, user=user))
        with pytest.raises(OSError, match="Read-only"):
            Path("/new").touch()
        Path("/dev/new").touch()
        return True

    assert contained(look, user=user)


@both_modes
def test_a_kernel_that_wants_two_inodes_gets_them(user: bool, user_tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    file_system = special.file_system

    def picky(fstype: str, **options: Any) -> int:
        made.append(options["data"])
        return file_system(fstype, **{**options, "data": options["data"].replace("nr_inodes=1", "nr_inodes=x")})

    monkeypatch.setattr(restrict, "file_system", picky)

    def look() -> list[Any]:
        enter(config(_secrets(user_tmp_path), mask_paths=("/secret", "/open"), user=user))
        return [made, os.listdir("/secret"), os.listdir("/open")]

    assert contained(look, user=user) == [["nr_blocks=1,nr_inodes=1", "nr_blocks=1,nr_inodes=2"], [], []]
