"""Whole set-ups of images that mean harm: whatever becomes of the container, the host stays as it is."""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mounting import DEVICES, MODES, MOUNTS, Canary, config, contained, image, set_up
from nscontainer.config import Config, Device, Mount
from nscontainer.errors import ContainerError
from nscontainer.mounts import pivot
from nscontainer.sys.files import RENAME, renameat2
from nscontainer.sys.mount import MS

both_modes = pytest.mark.parametrize("user", MODES)
RACE_LASTS = 1.0  # seconds


def _everything(root: Path, source: Path, user: bool, **fields: Any) -> Config:
    """Describe a container that uses every kind of destination."""
    return config(
        root, *MOUNTS,
        Mount(source="x", destination="/scratch/folder", device="tmpfs"),
        Mount(source=str(source / "folder"), destination="/data", device="bind", flags=int(MS.BIND | MS.REC)),
        Mount(source=str(source / "file"), destination="/etc/hostname", device="bind", flags=int(MS.BIND | MS.RDONLY)),
        devices=(*DEVICES, Device(type=ord("p"), path="/nodes/fifo", file_mode=0o600)),
        mask_paths=("/secret", "/etc/key", "/proc/kcore"), readonly_paths=("/fixed", "/proc/sys"), user=user, **fields)


def _attempt(made: Config, canary: Canary) -> str:
    """Set up and enter; return how it went and what is mounted on the canary, seen from outside of the container."""
    try:
        root_fd = set_up(made)
    except ContainerError as error:
        went = f"refused: {error}"
    else:
        went = "made"
        assert _mounts_on(canary) == []
        pivot.enter(root_fd, made)
        return went
    assert _mounts_on(canary) == []
    return went


def _mounts_on(canary: Canary) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if line.split()[4].startswith(str(canary.path))]


PLACES = ("proc", "sys", "dev", "scratch", "scratch/folder", "data", "etc", "etc/hostname", "nodes", "secret",
          "etc/key", "fixed")
TARGETS: dict[str, Callable[[Canary], str]] = {
    "a directory of the host": lambda canary: f"{canary.path}/folder",
    "a directory of the host, upwards": lambda canary: "../" * 20 + f"{canary.path}/folder",
    "a file of the host": lambda canary: f"{canary.path}/file",
    "nothing yet": lambda canary: f"{canary.path}/new",
    "the host's root through proc": lambda canary: "/proc/self/root",
    "the host's proc": lambda canary: "/proc/1/root" + str(canary.path),
    "itself": lambda canary: "loop",
}


@both_modes
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_link_at_any_destination_does_not_reach_the_host(user: bool, user_tmp_path: Path, place: str,
                                                           target: str) -> None:
    canary = Canary(user_tmp_path / "host")
    Canary(user_tmp_path / "source")
    root = image(user_tmp_path / "root", "secret", "fixed", "scratch")
    (root / "etc/key").touch()
    (root / "loop").symlink_to("loop")
    path = root / place
    if path.is_dir():
        path.rename(root / "aside")
    elif path.exists():
        path.unlink()
    path.symlink_to(TARGETS[target](canary))
    made = _everything(root, user_tmp_path / "source", user)

    went = contained(_attempt, made, canary, user=user)
    assert went == "made" or went.startswith("refused: ")
    canary.check()


@both_modes
@pytest.mark.parametrize("place", ["dev", "scratch", "etc", "data", "secret", "fixed", "nodes"])
def test_a_directory_exchanged_for_a_link_meanwhile_does_not_reach_the_host(user: bool, user_tmp_path: Path,
                                                                            place: str) -> None:
    """CVE-2021-30465: another container, with a volume in common, swaps a directory between check and use."""
    canary = Canary(user_tmp_path / "host")
    Canary(user_tmp_path / "source")
    root = image(user_tmp_path / "root", "secret", "fixed", "scratch", "data", "nodes")
    (root / str(canary.path / "folder").lstrip("/")).mkdir(parents=True)
    for path in (root, *root.rglob("*")):
        os.chown(path, os.stat(root).st_uid, os.stat(root).st_gid)
    (root / "other").symlink_to(canary.path / "folder")
    mounts = MOUNTS if place != "dev" else MOUNTS[:1]
    made = _everything(root, user_tmp_path / "source", user)
    made.mounts = (*mounts, *made.mounts[len(MOUNTS):])
    racer = os.fork()
    if racer == 0:
        folder = os.open(root, os.O_PATH)
        while True:
            renameat2(folder, place, folder, "other", RENAME.EXCHANGE)
    try:
        deadline = time.monotonic() + RACE_LASTS / 7
        ways = set()
        while time.monotonic() < deadline:
            ways.add(contained(_attempt, made, canary, user=user)[:4])
    finally:
        os.kill(racer, signal.SIGKILL)
        os.waitpid(racer, 0)
    assert ways
    canary.check()


@both_modes
def test_what_an_earlier_run_left_behind_is_no_help(user: bool, user_tmp_path: Path) -> None:
    """CVE-2015-3629: links planted at every destination by the first run, followed by the second."""
    canary = Canary(user_tmp_path / "host")
    Canary(user_tmp_path / "source")
    root = image(user_tmp_path / "root", "secret", "fixed")
    made = _everything(root, user_tmp_path / "source", user)
    assert contained(_attempt, made, canary, user=user) == "made"
    for name in ("scratch", "data", "nodes"):
        (root / name).rename(root / f"{name}.aside")
        (root / name).symlink_to(canary.path)
    assert contained(_attempt, made, canary, user=user) == "made"
    canary.check()


@both_modes
def test_the_check_of_these_tests_can_fail(user: bool, user_tmp_path: Path) -> None:
    canary = Canary(user_tmp_path / "host")

    def mount_on_it() -> int:
        bind = Mount(source="/etc", destination="/folder", device="bind", flags=int(MS.BIND))
        set_up(config(canary.path, bind, user=user))
        return len(_mounts_on(canary))

    assert contained(mount_on_it, user=user) == 2
    (canary.path / "file").write_text("changed")
    with pytest.raises(AssertionError):
        canary.check()
