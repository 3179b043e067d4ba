"""What the image has at a place is copied into the tmpfs that covers it, and nothing else."""
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nscontainer import SetupError
from nscontainer.mounts.copyup import DEEPEST, copy_up


def _copy(source: Path, target: Path) -> None:
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, target)]
    try:
        copy_up(*opened)
    finally:
        for fd in opened:
            os.close(fd)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    return tmp_path / "source", tmp_path / "target"


def test_links_are_copied_and_not_followed(folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "away").symlink_to("/etc")
    (source / "nowhere").symlink_to("nothing")
    _copy(source, target)
    assert os.readlink(target / "away") == "/etc"
    assert os.readlink(target / "nowhere") == "nothing"


def test_what_is_neither_file_nor_folder_nor_link_is_left_out(folders: tuple[Path, Path]) -> None:
    source, target = folders
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        (source / "file").write_bytes(b"x" * (3 << 20))
        _copy(source, target)
    assert os.listdir(target) == ["file"]
    assert (target / "file").stat().st_size == 3 << 20


def test_folders_may_nest_only_so_deep(folders: tuple[Path, Path]) -> None:
    source, target = folders
    deep = source.joinpath(*["d"] * (DEEPEST - 1))
    deep.mkdir(parents=True)
    _copy(source, target)
    assert target.joinpath(*["d"] * (DEEPEST - 1)).is_dir()
    (deep / "d").mkdir()
    (target / "again").mkdir()
    with pytest.raises(SetupError, match="nested more than"):
        _copy(source, target / "again")


def test_no_descriptor_is_left_open(folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/c").write_text("c")
    before = len(os.listdir("/proc/self/fd"))
    _copy(source, target)
    with pytest.raises(OSError, match="EEXIST"):
        _copy(source, target)
    assert len(os.listdir("/proc/self/fd")) == before
