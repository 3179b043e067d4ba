"""Bind mounts: where they go, what they keep of their source, what they get on top."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mounting import MODES, MOUNTS, Canary, config, contained, enter, fields, image, set_up
from nscontainer.config import Mount
from nscontainer.errors import ContainerError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MS, mount
from nscontainer.sys.mount_api import MOUNT_ATTR

InChild = Callable[..., Any]
BIND, RBIND = int(MS.BIND), int(MS.BIND | MS.REC)
both_modes = pytest.mark.parametrize("user", MODES)


def _source(folder: Path) -> Path:
    source = folder / "source"
    Canary(source)
    return source


@both_modes
@pytest.mark.parametrize("device, flags", [("bind", 0), ("bind", BIND), ("", BIND), ("none", RBIND)])
def test_a_directory_of_the_host_is_seen_in_the_container(user: bool, user_tmp_path: Path, device: str,
                                                          flags: int) -> None:
    source = _source(user_tmp_path)

    def look() -> list[str]:
        enter(config(image(user_tmp_path / "root"),
                     Mount(source=str(source), destination="/new/place", device=device, flags=flags), user=user))
        Path("/new/place/made").write_text("inside")
        return sorted(os.listdir("/new/place"))

    assert contained(look, user=user) == ["file", "folder", "made", "ptmx"]
    assert (source / "made").read_text() == "inside"


@both_modes
def test_a_file_is_put_on_a_file_and_made_one_where_none_is(user: bool, user_tmp_path: Path) -> None:
    source = _source(user_tmp_path) / "file"
    root = image(user_tmp_path / "root")

    def look() -> list[str]:
        enter(config(root, *(Mount(source=str(source), destination=path, device="bind")
                             for path in ("/etc/hostname", "/new/file")), user=user))
        return [Path(path).read_text() for path in ("/etc/hostname", "/new/file")]

    assert contained(look, user=user) == ["the host's"] * 2
    assert (root / "etc/hostname").read_text() == "image\n" and (root / "new/file").read_text() == ""


@both_modes
@pytest.mark.parametrize("name, destination, number", [
    ("file", "/etc", "EISDIR"), ("folder", "/etc/hostname", "ENOTDIR")])
def test_a_file_and_a_directory_do_not_go_together(user: bool, user_tmp_path: Path, name: str, destination: str,
                                                   number: str) -> None:
    source = _source(user_tmp_path) / name

    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(image(user_tmp_path / "root"),
                          Mount(source=str(source), destination=destination, device="bind"), user=user))
        return f"{errno.errorcode[caught.value.errno or 0]} {caught.value}"  # type: ignore[attr-defined]

    assert contained(look, user=user).startswith(f"{number} mount bind on {destination!r}: ")


@both_modes
def test_a_source_that_is_not_there_is_said_so(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(image(user_tmp_path / "root"),
                          Mount(source="/no/such/thing", destination="/mnt", device="bind"), user=user))
        return str(caught.value)

    text = contained(look, user=user)
    assert "mount bind on '/mnt': open_tree on '/no/such/thing'" in text and text.endswith("must exist on the host")


@both_modes
def test_flags_come_on_top_of_those_of_the_source(user: bool, user_tmp_path: Path) -> None:
    source = _source(user_tmp_path)

    def look() -> list[list[str]]:
        made = config(image(user_tmp_path / "root"), MOUNTS[0],
                      Mount(source=str(source), destination="/mnt", device="bind", flags=int(MS.RDONLY | MS.NOEXEC)),
                      Mount(source="/proc", destination="/new", device="bind", flags=RBIND | int(MS.NOSUID)), user=user)
        enter(made)
        with pytest.raises(OSError, match="Read-only"):
            Path("/mnt/new").touch()
        return [fields("/mnt"), fields("/new")]

    first, second = contained(look, user=user)
    assert {"ro", "noexec"} <= set(first) and "nosuid" in second
    (source / "new").touch()  # the source itself is as it was


@pytest.mark.needs("root")
def test_what_the_host_made_nosuid_stays_so(in_child: InChild, tmp_path: Path) -> None:
    def look() -> list[str]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        (tmp_path / "source").mkdir()
        mount("x", str(tmp_path / "source"), "tmpfs", MS.NOSUID | MS.NODEV)
        enter(config(image(tmp_path / "root"), MOUNTS[0], Mount(
            source=str(tmp_path / "source"), destination="/mnt", device="bind", flags=int(MS.BIND | MS.RDONLY))))
        return fields("/mnt")

    assert {"ro", "nosuid", "nodev"} <= set(in_child(look))


@pytest.mark.needs("root")
def test_what_the_host_made_nosuid_goes_where_that_is_asked_for(in_child: InChild, tmp_path: Path) -> None:
    def look() -> list[str]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        (tmp_path / "source").mkdir()
        mount("x", str(tmp_path / "source"), "tmpfs", MS.NOSUID | MS.NODEV | MS.NOEXEC | MS.NOATIME)
        enter(config(image(tmp_path / "root"), MOUNTS[0], Mount(
            source=str(tmp_path / "source"), destination="/mnt", device="bind", flags=int(MS.BIND | MS.NODEV),
            clear_flags=int(MS.NOSUID | MS.NODEV | MS.RDONLY))))
        return fields("/mnt")

    options = set(in_child(look))
    assert {"nodev", "noexec", "noatime"} <= options
    assert "nosuid" not in options


@pytest.mark.needs("user", "userns", "root")
def test_what_the_host_locked_cannot_be_asked_for(user_tmp_path: Path, in_child: InChild) -> None:
    def host_side() -> str:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        source = _source(user_tmp_path)
        mount(str(source), str(source), flags=MS.BIND)
        mount(None, str(source), flags=MS.BIND | MS.REMOUNT | MS.NOSUID)

        def look() -> str:
            with pytest.raises(ContainerError) as caught:
                set_up(config(image(user_tmp_path / "root"), Mount(
                    source=str(source), destination="/mnt", device="bind", clear_flags=int(MS.NOSUID)), user=True))
            return str(caught.value)

        return str(contained(look, user=True))

    assert "mount_setattr" in in_child(host_side)


def _nested(folder: Path) -> Path:
    """Mount a directory with two mounts below it."""
    source = folder / "source"
    source.mkdir()
    mount("x", str(source), "tmpfs")
    (source / "below").mkdir()
    mount("y", str(source / "below"), "tmpfs", MS.NOEXEC)
    (source / "below/mark").touch()
    return source


@pytest.mark.needs("root")
@pytest.mark.parametrize("flags, seen", [(BIND, []), (RBIND, ["mark"])])
def test_what_is_mounted_below_comes_along_if_asked(in_child: InChild, tmp_path: Path, flags: int,
                                                    seen: list[str]) -> None:
    def look() -> list[str]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        source = _nested(tmp_path)
        enter(config(image(tmp_path / "root"),
                     Mount(source=str(source), destination="/mnt", device="bind", flags=flags)))
        return os.listdir("/mnt/below")

    assert in_child(look) == seen


@pytest.mark.needs("root", "kernel_5_12")
def test_recursive_attributes_reach_what_is_mounted_below(in_child: InChild, tmp_path: Path) -> None:
    def look() -> list[list[str]]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        source = str(_nested(tmp_path))
        read_only = int(MOUNT_ATTR.RDONLY)
        enter(config(
            image(tmp_path / "root"), MOUNTS[0],
            Mount(source=source, destination="/mnt", device="bind", flags=RBIND | int(MS.RDONLY)),
            Mount(source=source, destination="/one", device="bind", flags=RBIND, recursive_set=read_only),
            Mount(source=source, destination="/two", device="bind", flags=RBIND,
                  recursive_clear=int(MOUNT_ATTR.NOEXEC))))
        return [[word for word in fields(path) if word in ("ro", "rw", "noexec")][:2] for path in (
            "/mnt", "/mnt/below", "/one", "/one/below", "/two", "/two/below")]

    assert in_child(look) == [
        ["ro", "rw"], ["rw", "noexec"], ["ro", "rw"], ["ro", "noexec"], ["rw", "rw"], ["rw", "rw"]]


@pytest.mark.needs("user", "userns", "root")
def test_locked_flags_survive_a_user_namespace(user_tmp_path: Path, in_child: InChild) -> None:
    """A bind remount that lists only its own flags gets EPERM there; setting bits does not."""
    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        source = user_tmp_path / "source"
        source.mkdir()
        mount("x", str(source), "tmpfs", MS.NOSUID | MS.NODEV | MS.NOEXEC | MS.NOATIME, "mode=777")

        def look() -> list[str]:
            enter(config(image(user_tmp_path / "root"), MOUNTS[0], Mount(
                source=str(source), destination="/mnt", device="bind", flags=int(MS.BIND | MS.RDONLY)), user=True))
            return fields("/mnt")

        return contained(look, user=True)

    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(in_child(host_side))


@pytest.mark.needs("user", "userns", "root")
def test_a_user_namespace_takes_all_mounts_of_a_tree_or_none(user_tmp_path: Path, in_child: InChild) -> None:
    def host_side() -> Any:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        source = user_tmp_path / "source"
        (source / "hidden").mkdir(parents=True)
        mount("x", str(source / "hidden"), "tmpfs")

        def look(flags: int) -> str:
            made = config(image(user_tmp_path / "root"),
                          Mount(source=str(source), destination="/mnt", device="bind", flags=flags), user=True)
            try:
                enter(made)
            except ContainerError as error:
                return str(error)
            return " ".join(os.listdir("/mnt"))

        return [contained(look, flags, user=True) for flags in (BIND, RBIND)]

    refused, taken = in_child(host_side)
    assert "EINVAL" in refused and "MS_REC" in refused and taken == "hidden"


@both_modes
def test_a_remount_changes_what_is_there(user: bool, user_tmp_path: Path) -> None:
    source = _source(user_tmp_path)

    def look() -> list[list[str]]:
        again = Mount(destination="/mnt", flags=int(MS.BIND | MS.REMOUNT | MS.RDONLY | MS.NOSUID))
        first = Mount(source=str(source), destination="/mnt", device="bind", flags=int(MS.BIND | MS.NOEXEC))
        file_system = Mount(source="x", destination="/etc", device="tmpfs", data="size=64k")
        smaller = Mount(destination="/etc", device="tmpfs", flags=int(MS.REMOUNT | MS.NODEV), data="size=128k")
        enter(config(image(user_tmp_path / "root"), MOUNTS[0], first, again, file_system, smaller, user=user))
        return [fields("/mnt"), fields("/etc")]

    mnt, etc = contained(look, user=user)
    assert {"ro", "nosuid"} <= set(mnt) and "noexec" not in mnt[:4]
    assert "nodev" in etc and "size=128k" in etc


@both_modes
def test_a_remount_of_what_is_no_mount_is_an_error(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(image(user_tmp_path), Mount(destination="/etc", flags=int(MS.BIND | MS.REMOUNT | MS.RDONLY)),
                          user=user))
        return str(caught.value)

    assert "on '/etc': mount_setattr" in contained(look, user=user)


@both_modes
def test_nothing_but_a_proc_is_bound_on_proc(user: bool, user_tmp_path: Path) -> None:
    source = _source(user_tmp_path)

    def look() -> str:
        root = image(user_tmp_path / "root")
        with pytest.raises(ContainerError) as caught:
            set_up(config(root, Mount(source=str(source), destination="/proc", device="bind"), user=user))
        enter(config(root, Mount(source="/proc", destination="/proc", device="bind", flags=RBIND), user=user))
        assert os.path.exists("/proc/self/status")
        return str(caught.value)

    assert "is not a proc file system" in contained(look, user=user)


@pytest.mark.needs("root", "kernel_5_12")
@pytest.mark.parametrize("recursive", [False, True])
def test_an_id_mapped_mount_shows_other_owners(in_child: InChild, tmp_path: Path, recursive: bool) -> None:
    def look() -> list[int]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        source = _nested(tmp_path)
        (source / "mark").touch()
        ready, go = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            unshare(CLONE.NEWUSER)
            os.write(ready[1], b".")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 5000 1000")
        userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        enter(config(image(tmp_path / "root"), Mount(
            source=str(source), destination="/mnt", device="bind", flags=RBIND,
            recursive_set=int(MOUNT_ATTR.IDMAP) if recursive else 0)), userns_fds={0: userns})
        os.write(go[1], b".")
        os.waitpid(pid, 0)
        return [os.stat("/mnt/mark").st_uid, os.stat("/mnt/below/mark").st_uid]

    assert in_child(look) == [5000, 5000 if recursive else 0]


@both_modes
def test_only_a_bind_mount_is_id_mapped(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(image(user_tmp_path), MOUNTS[1], user=user), userns_fds={0: 5})
        return str(caught.value)

    assert "only a bind mount can be id-mapped" in contained(look, user=user)


@both_modes
def test_a_bind_behind_a_link_of_the_image_leaves_the_host_alone(user: bool, user_tmp_path: Path) -> None:
    canary = Canary(user_tmp_path / "host")
    source = _source(user_tmp_path)
    root = image(user_tmp_path / "root")
    for name in ("file", "new"):
        (root / name).symlink_to(user_tmp_path / "host" / name)

    def look() -> list[str]:
        enter(config(root, *(Mount(source=str(source / "file"), destination=path, device="bind")
                             for path in ("/file", "/new"))))
        return [Path(f"{user_tmp_path}/host/{name}").read_text() for name in ("file", "new")]

    assert contained(look, user=user) == ["the host's"] * 2
    canary.check()
