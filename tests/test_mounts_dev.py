"""Nodes, links and the console, in a /dev that may be anything."""
from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mounting import DEVICES, MODES, MOUNTS, Canary, config, contained, enter, image, set_up
from nscontainer.config import Device, Mount
from nscontainer.errors import ContainerError, SetupError
from nscontainer.mounts import dev
from nscontainer.sys.mount import MS
from nscontainer.sys.terminal import open_pty

InChild = Callable[..., Any]
both_modes = pytest.mark.parametrize("user", MODES)
as_root = pytest.mark.needs("root")
as_user = pytest.mark.needs("user", "userns")

PROC, TMPFS, DEVPTS = MOUNTS[:3]
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
         "ptmx": "pts/ptmx", **({"core": "/proc/kcore"} if os.path.exists("/proc/kcore") else {})}
NODES = {"full": "1:7", "null": "1:3", "random": "1:8", "tty": "5:0", "urandom": "1:9", "zero": "1:5"}


def _nodes() -> dict[str, str]:
    """Return the nodes in /dev with their numbers."""
    found = {}
    for name in sorted(os.listdir("/dev")):
        status = os.lstat(f"/dev/{name}")
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            found[name] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return found


def _links() -> dict[str, str]:
    return {name: os.readlink(f"/dev/{name}") for name in os.listdir("/dev") if os.path.islink(f"/dev/{name}")}


def _character(path: str, major: int, minor: int, **fields: Any) -> Device:
    return Device(type=ord("c"), path=path, major=major, minor=minor, file_mode=0o666, **fields)


# --- nodes


@both_modes
@pytest.mark.parametrize("mounts", [MOUNTS, (PROC,)], ids=["tmpfs", "the image's"])
def test_the_nodes_are_there_and_work(user: bool, user_tmp_path: Path, mounts: tuple[Mount, ...]) -> None:
    def look() -> list[Any]:
        os.umask(0o077)
        enter(config(image(user_tmp_path), *mounts, devices=DEVICES, user=user))
        if not os.statvfs("/dev/null").f_flag & os.ST_NODEV:  # /tmp may be mounted so
            with open("/dev/zero", "rb") as zero, open("/dev/null", "w") as null:
                null.write("x")
                assert zero.read(3) == bytes(3)
        return [_nodes(), _links(), sorted({oct(os.stat(f"/dev/{name}").st_mode & 0o7777) for name in _nodes()})]

    assert contained(look, user=user) == [NODES, LINKS, ["0o666"]]


@both_modes
def test_a_node_may_be_anywhere_and_have_an_owner(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[Any]:
        folder = "/new/folder" if not user else "/dev"
        null = _character(f"{folder}/null", 1, 3, **({} if user else {"uid": 7, "gid": 8}))
        enter(config(image(user_tmp_path), MOUNTS[1], devices=(null,), user=user))
        status = os.stat(f"{folder}/null")
        assert stat.filemode(os.stat(folder).st_mode) == "drwxr-xr-x"
        return [stat.filemode(status.st_mode), status.st_rdev == os.makedev(1, 3), status.st_uid, status.st_gid]

    assert contained(look, user=user) == ["crw-rw-rw-", True, *((65534, 65534) if user else (7, 8))]


@both_modes
def test_a_block_device_and_a_fifo_are_made_too(user: bool, user_tmp_path: Path) -> None:
    devices = [Device(type=ord("p"), path="/dev/fifo", file_mode=0o640)]
    if not user:
        devices.append(Device(type=ord("b"), path="/dev/disk", major=7, minor=200, file_mode=0o600))
        devices.append(Device(type=ord("u"), path="/dev/u", major=300, minor=70000, file_mode=0o600))

    def look() -> list[str]:
        enter(config(image(user_tmp_path), TMPFS, devices=tuple(devices), user=user))
        return [f"{stat.filemode(status.st_mode)} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
                for status in (os.stat(device.path) for device in devices)]

    assert contained(look, user=user) == [
        "prw-r----- 0:0", *([] if user else ["brw------- 7:200", "crw------- 300:70000"])]


@both_modes
def test_a_right_node_of_the_image_is_used_with_owner_and_mode_set(user: bool, user_tmp_path: Path) -> None:
    root = image(user_tmp_path)
    if user:
        (root / "dev/null").touch()  # left behind by an earlier container
    else:
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.chown(root / "dev/null", 5, 6)

    def look() -> list[Any]:
        enter(config(root, PROC, devices=(_character("/dev/null", 1, 3),), user=user))
        status = os.stat("/dev/null")
        return [stat.filemode(status.st_mode), status.st_uid]

    assert contained(look, user=user) == ["crw-rw-rw-", 65534 if user else 0]


def _plant(root: Path, kind: str, target: Path) -> None:
    path = root / "dev/null"
    if kind == "link":
        path.symlink_to(target / "file")
    elif kind == "dangling link":
        path.symlink_to(target / "new")
    elif kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_text("x")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def _for_each(*kinds: str, root_only: tuple[str, ...]) -> pytest.MarkDecorator:
    """Try each kind as root and as a user, some as root only."""
    return pytest.mark.parametrize("user, kind", [
        *(pytest.param(False, kind, marks=as_root, id=f"{kind}-root") for kind in (*kinds, *root_only)),
        *(pytest.param(True, kind, marks=as_user, id=f"{kind}-user") for kind in kinds)])


@_for_each("link", "dangling link", "directory", root_only=("file", "fifo", "node"))  # a user's are bound on these
def test_something_else_in_the_place_of_a_node_is_an_error(user: bool, user_tmp_path: Path, kind: str) -> None:
    canary = Canary(user_tmp_path / "host")
    root = image(user_tmp_path / "root")
    _plant(root, kind, canary.path)

    def look() -> str:
        with pytest.raises(SetupError) as caught:
            set_up(config(root, PROC, devices=DEVICES, user=user))
        return str(caught.value)

    text = contained(look, user=user)
    assert text.startswith("'/dev/null' is a ")
    assert {"dangling link": "symlink", "link": "symlink", "node": "character device 1:5"}.get(kind, kind) in text
    canary.check()


@as_user
def test_in_a_user_namespace_the_host_s_node_must_be_the_right_one(user_tmp_path: Path) -> None:
    def look(device: Device) -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(image(user_tmp_path / "root"), TMPFS, devices=(device,), user=True))
        return str(caught.value)

    text = contained(look, _character("/dev/null", 1, 5), user=True)
    assert "'/dev/null' is a character device 1:3, not the character device 1:5 it should be" in text
    text = contained(look, _character("/dev/nullnull", 1, 3), user=True)
    assert "'/dev/nullnull'" in text and "must have it at the same path" in text


@both_modes
def test_a_type_that_is_none_is_an_error(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(SetupError) as caught:
            set_up(config(image(user_tmp_path), TMPFS, devices=(Device(type=ord("x"), path="/dev/x"),), user=user))
        return str(caught.value)

    assert "120 is no type of node" in contained(look, user=user)


# --- /dev as a whole


@both_modes
@pytest.mark.parametrize("absolute", [True, False])
def test_a_dev_that_is_a_link_is_refused(user: bool, user_tmp_path: Path, absolute: bool) -> None:
    """CVE-2026-41579, CVE-2026-47766: the host's ptmx was removed, and links were made in a directory of the host."""
    canary = Canary(user_tmp_path / "host")
    root = image(user_tmp_path / "root")
    (root / "dev").rmdir()
    (root / "dev").symlink_to(canary.path if absolute else f"../../../../../../{canary.path}")

    def refused() -> None:
        with pytest.raises(SetupError, match="/dev is a symlink in the image; make it a directory"):
            set_up(config(root, PROC, devices=DEVICES, user=user))

    contained(refused, user=user)
    canary.check()
    assert not (root / str(canary.path).lstrip("/")).exists()


@both_modes
def test_a_dev_bound_from_the_host_is_left_alone(user: bool, user_tmp_path: Path) -> None:
    canary = Canary(user_tmp_path / "host")

    def look() -> list[str]:
        bind = Mount(source=str(canary.path), destination="/dev", device="bind", flags=int(MS.BIND | MS.REC))
        enter(config(image(user_tmp_path / "root"), bind, devices=DEVICES, user=user))
        return sorted(os.listdir("/dev"))

    assert contained(look, user=user) == ["file", "folder", "ptmx"]
    canary.check()


@both_modes
def test_links_of_the_image_stay_and_a_wrong_ptmx_is_replaced(user: bool, user_tmp_path: Path) -> None:
    canary = Canary(user_tmp_path / "host")
    root = image(user_tmp_path / "root")
    (root / "dev/fd").symlink_to(canary.path)
    (root / "dev/stdin").write_text("the image's")
    (root / "dev/ptmx").symlink_to(canary.path / "ptmx")

    def look() -> dict[str, str]:
        enter(config(root, PROC, devices=DEVICES, user=user))
        return _links()

    links = contained(look, user=user)
    assert (links["fd"], links["ptmx"], links["stdout"]) == (str(canary.path), "pts/ptmx", "/proc/self/fd/1")
    assert "stdin" not in links
    canary.check()


@as_root
def test_a_ptmx_that_does_its_work_is_kept(user_tmp_path: Path) -> None:
    root = image(user_tmp_path)
    os.mknod(root / "dev/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))

    def look() -> bool:
        enter(config(root, PROC, devices=DEVICES))
        return os.path.islink("/dev/ptmx")

    assert contained(look) is False


@both_modes
@pytest.mark.needs("pty")
def test_terminals_can_be_made(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        enter(config(image(user_tmp_path), *MOUNTS[:3], devices=DEVICES, user=user))
        return os.ttyname(os.openpty()[1])

    assert contained(look, user=user) == "/dev/pts/0"


# --- the console


@both_modes
@pytest.mark.needs("pty")
def test_the_console_is_the_terminal_that_was_opened(user: bool, user_tmp_path: Path) -> None:
    master, slave, path = open_pty()
    os.chmod(path, 0o666)

    def look() -> list[Any]:
        enter(config(image(user_tmp_path), *MOUNTS[:3], devices=DEVICES, user=user), console=slave, console_path=path)
        ours, theirs = os.stat("/dev/console"), os.fstat(slave)
        os.write(os.open("/dev/console", os.O_RDWR | os.O_NOCTTY), b"from inside")
        return [ours.st_rdev == theirs.st_rdev, os.listdir("/dev/pts")]

    assert contained(look, user=user) == [True, ["ptmx"]]
    assert os.read(master, 100) == b"from inside"
    os.close(master)
    os.close(slave)


@both_modes
@pytest.mark.needs("pty")
@pytest.mark.parametrize("wrong", ["another terminal", "null", "a file", "null for both"])
def test_the_console_s_path_must_lead_to_that_terminal(user: bool, user_tmp_path: Path, wrong: str) -> None:
    """CVE-2025-52565: /dev/pts/N was a link when it was bound."""
    master, slave, _ = open_pty()
    other_master, other_slave, other = open_pty()
    canary = Canary(user_tmp_path / "host")
    path = {"another terminal": other, "a file": str(canary.path / "file")}.get(wrong, "/dev/null")
    given = os.open("/dev/null", os.O_RDWR) if wrong == "null for both" else slave

    def look() -> str:
        with pytest.raises(SetupError) as caught:
            set_up(config(image(user_tmp_path / "root"), TMPFS, devices=DEVICES, user=user), console=given,
                   console_path=path)
        return str(caught.value)

    assert "not the terminal that was opened" in contained(look, user=user)
    for fd in {master, slave, other_master, other_slave, given}:
        os.close(fd)


@both_modes
@pytest.mark.needs("pty")
@pytest.mark.parametrize("target", ["file", "new"])
def test_a_console_that_is_a_link_is_an_error(user: bool, user_tmp_path: Path, target: str) -> None:
    """CVE-2026-88264: a file was made on the host at the link's end."""
    master, slave, path = open_pty()
    canary = Canary(user_tmp_path / "host")
    root = image(user_tmp_path / "root")
    (root / "dev/console").symlink_to(canary.path / target)

    def look() -> str:
        with pytest.raises(SetupError) as caught:
            set_up(config(root, PROC, devices=DEVICES, user=user), console=slave, console_path=path)
        return str(caught.value)

    assert contained(look, user=user) == "'/dev/console' is a symlink in the image"
    canary.check()
    os.close(master)
    os.close(slave)


# --- null in stdio


@both_modes
def test_null_in_stdio_becomes_the_container_s(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[bool]:
        fds = [os.open("/dev/null", os.O_RDWR), os.open("/dev/zero", os.O_RDWR)]
        before = [os.fstat(fd) for fd in fds]
        made = config(image(user_tmp_path), PROC, *((TMPFS,) if not user else ()), devices=DEVICES, user=user)
        root_fd = set_up(made)
        mounts = [_mount_of(fd) for fd in fds]
        dev.reopen_null(root_fd, fds)
        return [_mount_of(fds[0]) != mounts[0], _mount_of(fds[1]) == mounts[1],
                os.fstat(fds[0]).st_rdev == before[0].st_rdev]

    assert contained(look, user=user) == [True, True, True]


def _mount_of(fd: int) -> str:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))


@_for_each("link", "file", "fifo", root_only=("node",))
def test_a_null_of_the_image_that_is_none_gets_nowhere_near_stdio(user: bool, user_tmp_path: Path, kind: str) -> None:
    """CVE-2026-88265: a file of the host was opened for writing and given to the container."""
    canary = Canary(user_tmp_path / "host")
    root = image(user_tmp_path / "root")
    _plant(root, kind, canary.path)

    def look() -> list[Any]:
        held = os.open("/dev/null", os.O_RDWR)
        before = _mount_of(held)
        bind = Mount(source=str(canary.path / "file"), destination=f"{canary.path}/file", device="bind",
                     flags=int(MS.BIND | MS.RDONLY))
        root_fd = set_up(config(root, PROC, bind, user=user))
        dev.reopen_null(root_fd, (os.pipe()[0],))  # nothing to replace: nothing is looked at
        with pytest.raises(SetupError, match="/dev/null is a ") as caught:
            dev.reopen_null(root_fd, (held,))
        return [str(caught.value), _mount_of(held) == before]

    assert contained(look, user=user)[1] is True
    canary.check()


@both_modes
def test_without_a_null_in_the_container_stdio_stays(user: bool, user_tmp_path: Path) -> None:
    def look() -> bool:
        held = os.open("/dev/null", os.O_RDWR)
        before = _mount_of(held)
        dev.reopen_null(set_up(config(image(user_tmp_path), user=user)), (held,))
        return _mount_of(held) == before

    assert contained(look, user=user) is True
