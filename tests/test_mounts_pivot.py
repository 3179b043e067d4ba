"""The root itself: how it is opened, how it travels, how it is entered, and that nothing of the host is left."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mounting import DEVICES, MODES, MOUNTS, config, contained, enter, fields, image, set_up
from nscontainer.config import Mount
from nscontainer.errors import ContainerError
from nscontainer.mounts import rootfs
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MS, mount

InChild = Callable[..., Any]
both_modes = pytest.mark.parametrize("user", MODES)
ways = pytest.mark.parametrize("no_pivot", [False, True], ids=["pivot_root", "chroot"])


def _mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@both_modes
@ways
def test_the_container_sees_its_own_files_only(user: bool, no_pivot: bool, user_tmp_path: Path) -> None:
    def look() -> list[Any]:
        enter(config(image(user_tmp_path), *MOUNTS, devices=DEVICES, no_pivot_root=no_pivot, user=user))
        above = sorted(os.listdir("/.."))
        return [os.getcwd(), sorted(os.listdir("/")), above, Path("/etc/hostname").read_text(), _mounts()]

    cwd, root, above, hostname, mounts = contained(look, user=user)
    assert (cwd, hostname) == ("/", "image\n")
    assert root == above == ["dev", "etc", "mnt", "proc", "sys"]
    expected = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"]
    assert mounts[:7] == expected
    if user:  # each node is bound
        assert sorted(mounts[7:]) == sorted(device.path for device in DEVICES)
    else:
        assert mounts == expected


@both_modes
@ways
def test_a_root_of_the_host_can_be_entered(user: bool, no_pivot: bool) -> None:
    def look() -> list[Any]:
        before = sorted(os.listdir("/"))
        enter(config("/", no_pivot_root=no_pivot, user=user))
        return [sorted(os.listdir("/")) == before, os.getcwd(), os.stat("/..").st_ino == os.stat("/").st_ino]

    assert contained(look, user=user) == [True, "/", True]


@pytest.mark.needs("root")
def test_without_pivot_root_the_host_s_proc_and_sys_are_gone(user_tmp_path: Path) -> None:
    """Whoever gets out of the chroot is in the host's tree, and finds no full view of the kernel there."""
    def look() -> list[bool]:
        outside = os.open("/", os.O_RDONLY)
        enter(config(image(user_tmp_path), no_pivot_root=True))
        os.fchdir(outside)
        return [os.path.exists(name) for name in ("etc", "proc/self", "sys/kernel")]

    assert contained(look) == [True, False, False]


@pytest.mark.needs("user", "userns")
def test_without_pivot_root_a_locked_proc_is_covered(user_tmp_path: Path) -> None:
    def look() -> list[Any]:
        outside = os.open("/", os.O_RDONLY)
        enter(config(image(user_tmp_path), no_pivot_root=True, user=True))
        os.fchdir(outside)
        return [os.listdir("proc"), os.listdir("sys")]

    assert contained(look, user=True) == [[], []]


@both_modes
@pytest.mark.parametrize("make, problem", [
    (lambda path: path.symlink_to("."), "is reached through a symlink"),
    (lambda path: path.write_text(""), "is not a directory"),
    (lambda path: None, "does not exist"),
])
def test_a_rootfs_that_is_none_is_said_so(user: bool, user_tmp_path: Path, make: Callable[[Path], object],
                                          problem: str) -> None:
    make(user_tmp_path / "root")

    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(user_tmp_path / "root", user=user))
        return str(caught.value)

    text = contained(look, user=user)
    assert text.startswith(f"the root file system '{user_tmp_path / 'root'}' ") and problem in text


@both_modes
def test_a_symlink_in_the_middle_of_the_rootfs_s_name_is_refused(user: bool, user_tmp_path: Path) -> None:
    image(user_tmp_path / "real")
    (user_tmp_path / "link").symlink_to("real")

    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(user_tmp_path / "link/etc", user=user))
        return str(caught.value)

    assert "symlink" in contained(look, user=user)


@both_modes
def test_what_is_mounted_below_the_rootfs_comes_along(user: bool, user_tmp_path: Path, in_child: InChild) -> None:
    root = image(user_tmp_path)

    def host_side() -> Any:
        if not user:
            unshare(CLONE.NEWNS)
            mount(None, "/", flags=MS.REC | MS.PRIVATE)
            mount("x", str(root / "mnt"), "tmpfs")
            (root / "mnt/mark").touch()

        def look() -> list[str]:
            enter(config(root, user=user))
            return os.listdir("/mnt")

        return contained(look, user=user)

    assert in_child(host_side) == ([] if user else ["mark"])


# --- propagation


def _shared_host(folder: Path) -> None:
    """Become a host with shared mounts, as systemd makes them; *folder* is one of them."""
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)
    mount("x", str(folder), "tmpfs", data="mode=755")
    mount(None, "/", flags=MS.REC | MS.SHARED)


@pytest.mark.needs("root")
@ways
@pytest.mark.parametrize("propagation", [
    0, MS.SLAVE | MS.REC, MS.PRIVATE | MS.REC, MS.PRIVATE, MS.SLAVE, MS.SHARED | MS.REC, MS.SHARED])
def test_nothing_that_is_mounted_reaches_a_host_with_shared_mounts(in_child: InChild, tmp_path: Path, propagation: int,
                                                                   no_pivot: bool) -> None:
    def host_side() -> list[Any]:
        _shared_host(tmp_path)
        root = image(tmp_path / "root")
        before = Path("/proc/self/mountinfo").read_text()

        def look() -> list[str]:
            enter(config(root, *MOUNTS, devices=DEVICES, root_propagation=int(propagation), no_pivot_root=no_pivot,
                         mask_paths=("/etc",)))
            return [word for word in fields("/") if word.startswith(("shared:", "master:"))]

        words = contained(look)
        return [Path("/proc/self/mountinfo").read_text() == before, words]

    unchanged, words = in_child(host_side)
    assert unchanged
    assert any(word.startswith("shared:") for word in words) == bool(propagation & MS.SHARED)


@pytest.mark.needs("root")
@pytest.mark.parametrize("propagation, seen", [
    (0, ["later"]), (MS.PRIVATE | MS.REC, []), (MS.SHARED | MS.REC, ["later"])])
def test_what_the_host_mounts_later_comes_in_as_asked(in_child: InChild, tmp_path: Path, propagation: int,
                                                      seen: list[str]) -> None:
    def host_side() -> Any:
        _shared_host(tmp_path)
        root = image(tmp_path / "root")
        source = tmp_path / "source"
        source.mkdir()
        mount("source", str(source), "tmpfs")
        (source / "place").mkdir()
        ready, go, answer = os.pipe(), os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            unshare(CLONE.NEWNS)
            made = config(root, Mount(source=str(source), destination="/mnt", device="bind", flags=int(MS.BIND)),
                          root_propagation=int(propagation))
            enter(made)
            os.write(ready[1], b".")
            os.read(go[0], 1)
            os.write(answer[1], " ".join(os.listdir("/mnt/place")).encode() + b"\n")
            os._exit(0)
        os.read(ready[0], 1)
        mount("later", str(source / "place"), "tmpfs")
        (source / "place/later").touch()
        os.write(go[1], b".")
        text = os.read(answer[0], 100).decode()
        os.waitpid(pid, 0)
        return text.split()

    assert in_child(host_side) == seen


@both_modes
def test_only_what_is_asked_for_is_made(user: bool, user_tmp_path: Path) -> None:
    """No temporary directory for the old root, no nodes without devices."""
    root = image(user_tmp_path)
    before = sorted(path.relative_to(root) for path in root.rglob("*"))

    def look() -> None:
        enter(config(root, user=user))

    contained(look, user=user)
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before


@both_modes
def test_no_descriptor_is_left_open(user: bool, user_tmp_path: Path) -> None:
    """One of the host's directories would be a way out: CVE-2024-21626."""
    def look() -> list[str]:
        before = set(os.listdir("/proc/self/fd"))
        made = config(image(user_tmp_path), *MOUNTS, Mount(source="/etc", destination="/new/x", device="bind",
                                                          flags=int(MS.BIND | MS.REC | MS.RDONLY)),
                      devices=DEVICES, mask_paths=("/proc/kcore", "/proc/bus", "/sys/firmware", "/etc", "/none"),
                      readonly_paths=("/proc/sys", "/none"), readonlyfs=True, user=user)
        root_fd = set_up(made)
        rootfs_left = set(os.listdir("/proc/self/fd")) - before
        return [os.readlink(f"/proc/self/fd/{fd}") for fd in rootfs_left - {str(root_fd)}]

    assert contained(look, user=user) == []


def test_the_table_of_mounters_is_about_file_systems() -> None:
    assert set(rootfs.MOUNTERS) == {"proc", "sysfs", "tmpfs", "mqueue", "cgroup", "cgroup2"}
