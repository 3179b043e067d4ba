"""Device nodes: their numbers, the host's own, and the sets every container starts from."""
from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nscontainer import devices
from nscontainer.devices import (
    DEFAULT_ALLOWED_DEVICES,
    DEFAULT_AUTO_CREATED_DEVICES,
    DEFAULT_SIMPLE_DEVICES,
    WILDCARD,
    Device,
    NotADevice,
    device_from_path,
    host_devices,
    major,
    minor,
)
from nscontainer.errors import ContainerError


@pytest.mark.parametrize("numbers", [
    (0, 0), (1, 3), (5, 0), (136, 255), (259, 256), (4095, (1 << 20) - 1), (8, 0x12345)])
def test_device_numbers_go_together_and_apart_as_in_libc(numbers: tuple[int, int]) -> None:
    number = Device(major=numbers[0], minor=numbers[1]).mkdev()
    assert number == os.makedev(*numbers)
    assert (major(number), minor(number)) == numbers == (os.major(number), os.minor(number))


@pytest.mark.parametrize("device, rule", [
    (Device(type=ord("c"), major=1, minor=3, permissions="rwm"), "c 1:3 rwm"),
    (Device(type=ord("b"), major=WILDCARD, minor=WILDCARD, permissions="m"), "b *:* m"),
    (Device(type=ord("c"), major=136, minor=WILDCARD, permissions="rwm"), "c 136:* rwm"),
])
def test_a_rule_reads_as_the_devices_cgroup_takes_it(device: Device, rule: str) -> None:
    assert device.cgroup_string() == rule


def test_the_default_sets_are_libcontainers() -> None:
    simple = [("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/tty", 5, 0), ("/dev/urandom", 1, 9),
              ("/dev/random", 1, 8)]
    assert [(d.path, d.major, d.minor) for d in DEFAULT_SIMPLE_DEVICES] == simple
    rest = {(d.type, d.permissions, d.file_mode, d.uid, d.gid) for d in DEFAULT_SIMPLE_DEVICES}
    assert rest == {(99, "rwm", 0o666, 0, 0)}
    assert [d.cgroup_string() for d in DEFAULT_ALLOWED_DEVICES] == [
        "c *:* m", "b *:* m", "c 5:1 rwm", "c 4:0 rwm", "c 4:1 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm",
        *(d.cgroup_string() for d in DEFAULT_SIMPLE_DEVICES)]
    fuse, *others = DEFAULT_AUTO_CREATED_DEVICES
    assert (fuse.path, fuse.cgroup_string(), fuse.file_mode) == ("/dev/fuse", "c 10:229 rwm", 0)
    assert tuple(others) == DEFAULT_SIMPLE_DEVICES


def test_a_device_in_json_has_the_code_of_its_letter() -> None:
    assert DEFAULT_SIMPLE_DEVICES[0].to_json() == {
        "type": 99, "path": "/dev/null", "major": 1, "minor": 3, "permissions": "rwm", "file_mode": 438, "uid": 0,
        "gid": 0}


def test_a_host_device_is_described_as_it_is() -> None:
    status = os.stat("/dev/null")
    found = device_from_path(Path("/dev/null"), "rw")
    assert (found.type, found.path, found.permissions) == (ord("c"), "/dev/null", "rw")
    assert (found.major, found.minor, found.mkdev()) == (1, 3, status.st_rdev)
    assert found.file_mode == stat.S_IFCHR | stat.S_IMODE(status.st_mode)
    assert (found.uid, found.gid) == (status.st_uid, status.st_gid)


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("file", "link", "."):
        with pytest.raises(NotADevice, match="is not a device node") as caught:
            device_from_path(tmp_path / name, "rwm")
        assert isinstance(caught.value, ContainerError)


def test_a_failing_lstat_is_passed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError("lstat failed")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(devices, "os", SimpleNamespace(lstat=fail, fspath=os.fspath))
    with pytest.raises(OSError, match="lstat failed") as caught:
        device_from_path("/dev/null", "rwm")
    assert caught.value is error


def test_a_folder_that_cannot_be_listed_is_passed_on_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    refused: list[str] = []

    def listdir(path: str) -> list[str]:
        if path == refused[0]:
            raise PermissionError(13, "refused", path)
        return sorted(name.name for name in Path(path).iterdir())

    monkeypatch.setattr(devices, "os", SimpleNamespace(listdir=listdir, lstat=os.lstat, fspath=os.fspath, path=os.path))
    for folder in (tmp_path, tmp_path / "deep" / "deeper"):
        refused[:] = [str(folder)]
        with pytest.raises(PermissionError) as caught:
            host_devices(tmp_path)
        assert caught.value.filename == str(folder)


def test_host_devices_come_in_order_without_terminals_and_what_is_no_device(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a node needs a right that the test must not need: lstat says that some files are nodes."""
    for name in ("b/y", "b/x", "a", "c/console", "console", "pts/0", "b/shm/z", "mqueue/q", "fd/0", "plain"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("a")

    def lstat(path: str) -> Any:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or path.endswith("plain"):
            return status
        return SimpleNamespace(st_mode=stat.S_IFBLK | 0o640, st_rdev=os.makedev(8, 1), st_uid=1, st_gid=2)

    monkeypatch.setattr(devices, "os", SimpleNamespace(listdir=os.listdir, lstat=lstat, fspath=os.fspath, path=os.path))
    found = host_devices(str(tmp_path))
    assert [device.path.removeprefix(f"{tmp_path}/") for device in found] == ["a", "b/x", "b/y"]
    assert found[0] == Device(type=ord("b"), path=f"{tmp_path}/a", major=8, minor=1, permissions="rwm",
                              file_mode=stat.S_IFBLK | 0o640, uid=1, gid=2)


def test_the_hosts_own_devices_are_all_nodes() -> None:
    found = {device.path: device for device in host_devices()}
    assert found["/dev/null"].cgroup_string() == "c 1:3 rwm"
    assert "/dev/console" not in found
    assert not [path for path in found if path.startswith(("/dev/pts/", "/dev/shm/", "/dev/mqueue/", "/dev/fd/"))]
