"""A root in which everything can be changed and nothing is: of an image, and of the host's own /."""
from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mounting import DEVICES, MODES, MOUNTS, Canary, config, contained, enter, fields, image, mount_line, set_up
from nscontainer.config import Mount
from nscontainer.errors import ContainerError
from nscontainer.mounts import overlay
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MS, mount

InChild = Callable[..., Any]
pytestmark = pytest.mark.needs("overlay")
both_modes = pytest.mark.parametrize("user", MODES)
ways = pytest.mark.parametrize("no_pivot", [False, True], ids=["pivot_root", "chroot"])


def _mounts() -> list[str]:
    """Return where something is mounted."""
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


# --- an image


@both_modes
@ways
def test_changes_are_seen_inside_and_nowhere_else(user: bool, no_pivot: bool, user_tmp_path: Path) -> None:
    canary = Canary(user_tmp_path / "root")

    def look() -> list[Any]:
        enter(config(canary.path, ephemeral=True, no_pivot_root=no_pivot, user=user))
        Path("/file").write_text("changed")
        Path("/new").write_text("new")
        os.unlink("/ptmx")
        if not user:  # an overlay of userxattr cannot
            os.rename("/folder", "/moved")
            os.mkdir("/folder")
        os.makedirs("/moved", 0o711, exist_ok=True)
        os.chmod("/folder", 0o711)
        return [sorted(os.listdir("/")), Path("/file").read_text(), sorted(os.listdir("/.."))]

    names = ["file", "folder", "moved", "new"]
    assert contained(look, user=user) == [names, "changed", names]
    canary.check()


@both_modes
def test_a_directory_can_be_deleted_and_made_again(user: bool, user_tmp_path: Path) -> None:
    """In a user namespace that takes attributes that tmpfs has since Linux 6.6."""
    if user and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6):
        return
    canary = Canary(user_tmp_path / "root")
    (canary.path / "folder").chmod(0o755)

    def look() -> list[Any]:
        enter(config(canary.path, ephemeral=True, user=user))
        os.rmdir("/folder")
        os.mkdir("/folder")
        return os.listdir("/folder")

    assert contained(look, user=user) == []


@both_modes
def test_the_root_looks_like_the_image_s(user: bool, user_tmp_path: Path) -> None:
    root = image(user_tmp_path)
    root.chmod(0o1751)

    def look() -> list[Any]:
        enter(config(root, *MOUNTS, devices=DEVICES, ephemeral=True, user=user))
        status = os.stat("/")
        return [stat.filemode(status.st_mode), status.st_uid, sorted(os.listdir("/")), os.path.exists("/dev/null")]

    names = ["dev", "etc", "mnt", "proc", "sys"]
    assert contained(look, user=user) == ["drwxr-x--t", 0 if user else os.stat(root).st_uid, names, True]


@both_modes
def test_an_ephemeral_root_may_be_read_only(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        enter(config(image(user_tmp_path), MOUNTS[0], ephemeral=True, readonlyfs=True, user=user))
        with pytest.raises(OSError, match="Read-only"):
            Path("/new").touch()
        return fields("/")[:1]

    assert contained(look, user=user) == ["ro"]


@both_modes
def test_strange_names_do_not_confuse_the_overlay(user: bool, user_tmp_path: Path) -> None:
    root = image(user_tmp_path / "a:b,c=d\\e f\"g")

    def look() -> str:
        enter(config(root, ephemeral=True, user=user))
        return Path("/etc/hostname").read_text()

    assert contained(look, user=user) == "image\n"


@pytest.mark.needs("root")
def test_a_read_only_disk_can_be_changed_all_the_same(in_child: InChild, tmp_path: Path) -> None:
    def look() -> list[str]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        root = image(tmp_path / "root")
        mount(str(root), str(root), flags=MS.BIND)
        mount(None, str(root), flags=MS.BIND | MS.REMOUNT | MS.RDONLY | MS.NOSUID | MS.NODEV)
        enter(config(root, MOUNTS[0], ephemeral=True))
        Path("/new").touch()
        return fields("/")[:3]

    assert in_child(look) == ["rw", "nosuid", "nodev"]


def _mounted(folder: Path) -> Path:
    """Make an image with mounts below it: two disks, one below the other, a file, and what the kernel makes up."""
    root = image(folder, "disk", "run/inside", "closed", "twice")
    mount("disk", str(root / "disk"), "tmpfs", data="mode=755")
    (root / "disk/below").mkdir()
    (root / "disk/mark").write_text("the host's")
    mount("below", str(root / "disk/below"), "tmpfs", MS.NOSUID | MS.NOATIME, "mode=777")
    (root / "disk/below/deep").mkdir()
    (root / "disk/below/deep/mark").write_text("the host's")
    mount("proc", str(root / "mnt"), "proc")
    mount(str(root / "disk/mark"), str(root / "etc/hostname"), flags=MS.BIND)
    for name in ("first", "second"):
        mount(name, str(root / "twice"), "tmpfs")
        (root / "twice" / name).touch()
    owner = os.stat(folder)
    for path in (root / "disk", *(root / "disk").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    return root


@both_modes
@pytest.mark.needs("root")
def test_what_is_mounted_below_has_views_of_its_own(user: bool, in_child: InChild, user_tmp_path: Path) -> None:
    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        root = _mounted(user_tmp_path)

        def look() -> dict[str, Any]:
            enter(config(root, Mount(source="proc", destination="/proc", device="proc"), ephemeral=True, user=user))
            if not user:  # a file beside something mounted is read-only there
                Path("/disk/mark").write_text("changed")
            Path("/disk/below/deep/mark").write_text("changed")
            Path("/disk/new").touch()
            Path("/disk/below/new").touch()
            Path("/etc/new").touch()
            with pytest.raises(OSError, match="Read-only"):
                Path("/etc/hostname").write_text("x")
            return {"disk": sorted(os.listdir("/disk")), "below": sorted(os.listdir("/disk/below")),
                    "deep": Path("/disk/below/deep/mark").read_text(), "hostname": Path("/etc/hostname").read_text(),
                    "mnt": os.listdir("/mnt"),
                    "twice": [*os.listdir("/twice"), _mounts().count("/twice")], "flags": fields("/disk/below")[:3],
                    "type": mount_line("/disk/below").partition(" - ")[2].split()[0]}

        seen = contained(look, user=user)
        seen["outside"] = [(root / name).read_text() for name in ("disk/mark", "disk/below/deep/mark", "etc/hostname")]
        seen["new"] = [name for name in ("disk/new", "disk/below/new", "etc/new") if (root / name).exists()]
        return seen

    assert in_child(host_side) == {
        "disk": ["below", "mark", "new"], "below": ["deep", "new"], "deep": "changed", "hostname": "the host's",
        "mnt": [], "twice": ["second", 1], "flags": ["rw", "nosuid", "noatime"], "type": "overlay",
        "outside": ["the host's"] * 3, "new": []}


@both_modes
@pytest.mark.needs("root")
def test_what_is_mounted_in_something_left_out_or_covered_is_not_looked_for(
        user: bool, in_child: InChild, user_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "LEFT_OUT", overlay.LEFT_OUT | {"ramfs"})

    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        root = image(user_tmp_path, "left/below", "covered/place")
        mount("x", str(root / "left"), "ramfs", data="mode=755")
        (root / "left/below").mkdir()
        mount("x", str(root / "left/below"), "tmpfs")
        mount("x", str(root / "covered/place"), "tmpfs")
        (root / "covered/place/under").touch()
        mount("x", str(root / "covered"), "tmpfs", data="mode=755")
        (root / "covered/place").mkdir()
        (root / "covered/place/mark").touch()

        def look() -> list[list[str]]:
            enter(config(root, ephemeral=True, user=user))
            return [os.listdir("/left"), os.listdir("/covered/place")]

        return contained(look, user=user)

    left, covered = in_child(host_side)
    assert left == ([] if user else ["below"])  # or what the disk has there
    assert covered == ["mark"]


@pytest.mark.needs("root", "user", "userns")
def test_a_view_shows_a_user_no_more_than_the_user_may_see(in_child: InChild, user_tmp_path: Path) -> None:
    """Its directories belong to the namespace's root where their owner has no number there: not so what is in them."""
    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        root = image(user_tmp_path, "closed/deep", "tmp", "disk")
        mount("disk", str(root / "disk"), "tmpfs")  # so that the root is made anew
        for name in ("closed/file", "closed/deep/file", "tmp/file", "etc/shadow"):
            (root / name).write_text("secret")
            (root / name).chmod(0o600)
        for name in ("closed", "closed/file", "closed/deep", "closed/deep/file", "tmp", "tmp/file", "etc/shadow"):
            os.chown(root / name, 0, 0)
        (root / "closed").chmod(0o700)
        (root / "tmp").chmod(0o1777)

        def look() -> list[Any]:
            enter(config(root, ephemeral=True, user=True))
            (Path("/tmp/new")).touch()
            seen = []
            for path in ("/closed/file", "/closed/deep/file", "/tmp/file", "/etc/shadow"):
                with pytest.raises(OSError) as caught:
                    Path(path).read_text()
                seen.append(caught.value.errno in (errno.EACCES, errno.ENOENT))
            try:
                return [seen, os.listdir("/closed")]
            except PermissionError:
                return [seen, []]

        return contained(look, user=True)

    assert in_child(host_side) == [[True] * 4, []]


@both_modes
@pytest.mark.needs("root")
def test_a_file_system_that_cannot_be_a_lower_layer_is_read_only(user: bool, in_child: InChild, user_tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """vfat is one. Here a stack of overlays is, that has no room for another."""
    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        root = image(user_tmp_path / "root", "disk")
        store = user_tmp_path / "store"
        store.mkdir()
        mount("store", str(store), "tmpfs", data="mode=755")
        for name in ("bottom", "one", "two", "empty"):
            (store / name).mkdir()
        (store / "bottom/mark").touch()
        mount("one", str(store / "one"), "overlay", data=f"lowerdir={store}/bottom:{store}/empty")
        mount("two", str(root / "disk"), "overlay", data=f"lowerdir={store}/one:{store}/empty")

        def look() -> list[Any]:
            enter(config(root, MOUNTS[0], ephemeral=True, user=user))
            Path("/etc/new").touch()
            return [os.listdir("/disk"), fields("/disk")[0]]

        return contained(look, user=user)

    assert in_child(host_side) == [["mark"], "ro"]


@both_modes
def test_a_root_that_cannot_be_a_lower_layer_is_an_error(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config("/proc/self/fdinfo" if user else "/proc/sys", ephemeral=True, user=user))
        return str(caught.value)

    seen = contained(look, user=user)
    assert "symlink" in seen if user else seen.startswith("overlay of '/proc/sys': fsconfig")


@pytest.mark.needs("root")
@ways
@pytest.mark.parametrize("propagation", [0, MS.SHARED | MS.REC])
@pytest.mark.parametrize("whole", [False, True], ids=["an image", "the host"])
def test_no_part_of_a_view_reaches_a_host_with_shared_mounts(in_child: InChild, tmp_path: Path, whole: bool,
                                                             propagation: int, no_pivot: bool) -> None:
    def host_side() -> bool:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        root = image(tmp_path / "root", "disk")
        mount("disk", str(root / "disk"), "tmpfs")
        mount(None, "/", flags=MS.REC | MS.SHARED)
        before = Path("/proc/self/mountinfo").read_text()

        def look() -> None:
            enter(config("/" if whole else root, *MOUNTS, ephemeral=True, root_propagation=int(propagation),
                         no_pivot_root=no_pivot))

        contained(look)
        return Path("/proc/self/mountinfo").read_text() == before

    assert in_child(host_side)


# --- the host's own root


@pytest.fixture
def listening() -> Iterator[str]:
    """A socket of the host that answers everybody."""
    path = f"/var/tmp/nscontainer-{os.getpid()}.socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        server.listen()
        yield path
    os.unlink(path)


@both_modes
@ways
def test_a_view_of_the_host_can_be_changed_and_the_host_is_not(user: bool, no_pivot: bool, listening: str) -> None:
    path = f"/var/tmp/nscontainer-{os.getpid()}.file"

    def look() -> dict[str, Any]:
        names = sorted(os.listdir("/"))
        before = {name: sorted(os.listdir(name)) for name in ("/usr", "/usr/bin", "/etc")}
        enter(config("/", *MOUNTS, devices=DEVICES, ephemeral=True, no_pivot_root=no_pivot, user=user))
        Path(path).write_text("inside")
        Path("/new").touch()
        same = all(sorted(os.listdir(name)) == listed for name, listed in before.items())
        with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as client:
            client.connect(listening)
        mounted = _mounts()
        return {"names": sorted(os.listdir("/")) == sorted([*names, "new"]), "same": same, "run": os.listdir("/run"),
                "above": os.path.samestat(os.stat("/.."), os.stat("/")), "dev": len(os.listdir("/dev")) < 20,
                "twice": [point for point in mounted if mounted.count(point) > 1]}

    seen = contained(look, user=user)
    assert seen == {"names": True, "same": True, "run": [], "above": True, "dev": True, "twice": []}
    assert not os.path.exists(path) and not os.path.exists("/new")


@both_modes
def test_programs_of_the_host_run_in_a_view_of_it(user: bool) -> None:
    def look() -> str:
        enter(config("/", *MOUNTS, devices=DEVICES, ephemeral=True, user=user))
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.execv("/bin/sh", ["sh", "-c", "echo ran"])
        os.close(writer)
        os.waitpid(pid, 0)
        return os.read(reader, 100).decode()

    assert contained(look, user=user) == "ran\n"


@both_modes
def test_what_is_left_out_is_an_empty_place(user: bool) -> None:
    def look() -> list[Any]:
        enter(config("/", Mount(source="proc", destination="/proc", device="proc"), ephemeral=True, user=user))
        types = {line.partition(" - ")[2].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        return [sorted((types & overlay.LEFT_OUT) - {"proc"}), os.listdir("/sys"), os.path.isdir("/dev")]

    assert contained(look, user=user) == [[], [], True]


@both_modes
@pytest.mark.needs("root")
def test_other_disks_of_the_host_are_in_its_view(user: bool, in_child: InChild, user_tmp_path: Path) -> None:
    place = user_tmp_path / "disk"
    place.mkdir()
    owner = os.stat(user_tmp_path)

    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        mount("disk", str(place), "tmpfs", data="mode=777")
        (place / "mark").write_text("the host's")
        os.chown(place / "mark", owner.st_uid, owner.st_gid)

        def look() -> list[str]:
            enter(config("/", ephemeral=True, user=user))
            (place / "mark").write_text("changed")
            return [(place / "mark").read_text(), str(os.path.ismount(place))]

        return [*contained(look, user=user), (place / "mark").read_text()]

    assert in_child(host_side) == ["changed", "True", "the host's"]
