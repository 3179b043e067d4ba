"""proc, sysfs, tmpfs, mqueue, devpts and others, in an image that wants them elsewhere."""
from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mounting import DEVICES, MODES, MOUNTS, SAFE, Canary, config, contained, enter, fields, image, set_up
from nscontainer.config import Mount
from nscontainer.errors import ContainerError, SyscallError
from nscontainer.sys.mount import MS

pytestmark = pytest.mark.parametrize("user", MODES)


@pytest.mark.needs("mqueue")
def test_the_usual_file_systems_are_where_and_how_the_config_says(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[list[str]]:
        enter(config(image(user_tmp_path), *MOUNTS, user=user))
        lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [[line[4], line[line.index("-") + 1], line[line.index("-") + 2], line[5]] for line in lines]

    seen = contained(look, user=user)
    assert [line[:3] for line in seen[1:]] == [
        ["/proc", "proc", "proc"], ["/dev", "tmpfs", "tmpfs"], ["/dev/pts", "devpts", "devpts"],
        ["/dev/shm", "tmpfs", "shm"], ["/dev/mqueue", "mqueue", "mqueue"], ["/sys", "sysfs", "sysfs"]]
    words = {line[0]: set(line[3].split(",")) for line in seen}
    assert {"nosuid", "nodev", "noexec"} <= words["/proc"] & words["/dev/shm"] & words["/dev/mqueue"]
    assert "ro" in words["/sys"] and "rw" in words["/proc"]
    assert "nosuid" in words["/dev"] and "noexec" not in words["/dev"] and "relatime" not in words["/dev"]


def test_a_new_proc_shows_the_new_pid_namespace(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        enter(config(image(user_tmp_path), MOUNTS[0], user=user))
        return [name for name in os.listdir("/proc") if name.isdigit()]

    assert contained(look, user=user) == ["1"]


@pytest.mark.parametrize("device", ["proc", "sysfs"])
@pytest.mark.parametrize("path", ["/proc", "/etc/../proc", "/link/below"])
def test_proc_and_sysfs_are_never_put_behind_a_symlink(user: bool, user_tmp_path: Path, device: str, path: str) -> None:
    root = image(user_tmp_path)
    (root / "proc").rmdir()
    (root / "proc").symlink_to("etc")
    (root / "link").symlink_to("etc")

    def look() -> str:
        with pytest.raises(SyscallError) as caught:
            set_up(config(root, Mount(source="x", destination=path, device=device, flags=SAFE), user=user))
        return f"{errno.errorcode[caught.value.errno or 0]} {caught.value}"

    number, _, text = contained(look, user=user).partition(" ")
    assert number == "ELOOP" and text.startswith(f"mount {device} on {path!r}: ")
    assert sorted(os.listdir(root / "etc")) == ["hostname"]


def test_proc_is_not_put_on_a_file(user: bool, user_tmp_path: Path) -> None:
    root = image(user_tmp_path)
    (root / "proc").rmdir()
    (root / "proc").touch()

    def look() -> str:
        with pytest.raises(SyscallError, match="mount proc on '/proc'") as caught:
            set_up(config(root, MOUNTS[0], user=user))
        return errno.errorcode[caught.value.errno or 0]

    assert contained(look, user=user) == "ENOTDIR"


def test_a_tmpfs_keeps_the_mode_of_the_directory_it_covers(user: bool, user_tmp_path: Path) -> None:
    root = image(user_tmp_path, "tmp", "run")
    (root / "tmp").chmod(0o1777)
    (root / "run").chmod(0o710)

    def look() -> list[str]:
        data = {"/tmp": "", "/run": "size=64k", "/mnt": "size=64k,mode=700", "/new": ""}
        enter(config(root, *(Mount(source="tmpfs", destination=path, device="tmpfs", data=text)
                             for path, text in data.items()), user=user))
        return [stat.filemode(os.stat(path).st_mode) for path in data]

    assert contained(look, user=user) == ["drwxrwxrwt", "drwx--x---", "drwx------", "drwxrwxrwt"]


def test_a_read_only_tmpfs_is_writable_until_all_is_mounted(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        enter(config(image(user_tmp_path), MOUNTS[0],
                     Mount(source="tmpfs", destination="/mnt", device="tmpfs", flags=int(MS.RDONLY | MS.NODEV)),
                     Mount(source="tmpfs", destination="/mnt/below/it", device="tmpfs"),
                     Mount(source="/etc/hostname", destination="/mnt/file", device="bind"), user=user))
        with pytest.raises(OSError, match="Read-only"):
            Path("/mnt/new").touch()
        Path("/mnt/below/it/new").touch()
        return [*fields("/mnt")[:2], *sorted(os.listdir("/mnt"))]

    assert contained(look, user=user) == ["ro", "nodev", "below", "file"]


def test_a_read_only_dev_is_sealed_when_its_nodes_are_made(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        sealed = Mount(source="tmpfs", destination="/dev", device="tmpfs", flags=int(MS.RDONLY), data="mode=755")
        enter(config(image(user_tmp_path), MOUNTS[0], sealed, MOUNTS[2], devices=DEVICES, user=user))
        with pytest.raises(OSError, match="Read-only"):
            Path("/dev/new").touch()
        with open("/dev/null", "w") as null:
            null.write("x")
        return fields("/dev")[:1]

    assert contained(look, user=user) == ["ro"]


def test_the_kernel_s_own_words_are_in_the_error(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            wrong = Mount(source="tmpfs", destination="/mnt", device="tmpfs", data="siez=1k")
            set_up(config(image(user_tmp_path), wrong, user=user))
        return str(caught.value)

    text = contained(look, user=user)
    assert text.startswith("mount tmpfs on '/mnt': fsconfig") and "Unknown parameter 'siez'" in text


def test_an_unknown_file_system_is_said_to_be_unknown(user: bool, user_tmp_path: Path) -> None:
    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(image(user_tmp_path), Mount(destination="/mnt", device="nosuchfs"), user=user))
        return str(caught.value)

    assert "nosuchfs" in contained(look, user=user)


def test_any_other_file_system_is_mounted_by_its_name(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        enter(config(image(user_tmp_path), MOUNTS[0],
                     Mount(source="x", destination="/mnt", device="ramfs", flags=int(MS.RDONLY | MS.SYNCHRONOUS),
                           data="mode=711"), user=user))
        return [oct(os.stat("/mnt").st_mode & 0o7777), *fields("/mnt")]

    seen = contained(look, user=user)
    assert seen[0] == "0o711" and seen.count("ro") == 2 and "sync" in seen


@pytest.mark.parametrize("flag, word", [(MS.SYNCHRONOUS, "sync"), (MS.DIRSYNC, "dirsync"), (MS.LAZYTIME, "lazytime")])
def test_options_of_the_whole_file_system_are_set(user: bool, user_tmp_path: Path, flag: MS, word: str) -> None:
    def look() -> list[str]:
        enter(config(image(user_tmp_path), MOUNTS[0],
                     Mount(source="x", destination="/mnt", device="tmpfs", flags=int(flag)), user=user))
        return fields("/mnt")

    assert word in contained(look, user=user)


def test_a_destination_behind_a_link_of_the_image_is_inside(user: bool, user_tmp_path: Path) -> None:
    host = user_tmp_path / "host"
    canary = Canary(host)
    root = image(user_tmp_path / "root")
    (root / "out").symlink_to(host)
    (root / "up").symlink_to("../../../../../../../../etc")

    def look() -> list[bool]:
        enter(config(root, *(Mount(source="x", destination=path, device="tmpfs", data="mode=700")
                             for path in ("/out/folder", "/up/new")), MOUNTS[0], user=user))
        return [os.path.ismount(path) for path in (f"{host}/folder", "/etc/new")]

    assert contained(look, user=user) == [True, True]
    canary.check()
    assert not os.path.exists("/etc/new")


@pytest.mark.parametrize("path", ["/", "/mnt/..", "/to_root"])
def test_nothing_is_mounted_on_the_root(user: bool, user_tmp_path: Path, path: str) -> None:
    root = image(user_tmp_path)
    (root / "to_root").symlink_to("/")

    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(root, Mount(source="x", destination=path, device="tmpfs"), user=user))
        return str(caught.value)

    assert "is the container's root itself" in contained(look, user=user)


def test_a_link_into_proc_is_no_way_around_the_rule(user: bool, user_tmp_path: Path) -> None:
    root = image(user_tmp_path)
    (root / "innocent").symlink_to("proc/sys")

    def look() -> str:
        with pytest.raises(ContainerError) as caught:
            set_up(config(root, MOUNTS[0], Mount(source="x", destination="/innocent", device="tmpfs"), user=user))
        return str(caught.value)

    assert "leads into a proc file system" in contained(look, user=user)


def test_propagation_is_set_after_mounting(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        enter(config(image(user_tmp_path), MOUNTS[0],
                     Mount(source="x", destination="/mnt", device="tmpfs", propagation_flags=(int(MS.SHARED),)),
                     Mount(source="x", destination="/etc", device="tmpfs",
                           propagation_flags=(int(MS.SHARED), int(MS.PRIVATE))), user=user))
        return [word for word in [*fields("/mnt"), *fields("/etc")] if word.startswith("shared:")]

    assert len(contained(look, user=user)) == 1


def test_commands_run_before_and_after_each_mount(user: bool, user_tmp_path: Path) -> None:
    from nscontainer.config import Command
    from nscontainer.mounts import rootfs

    def look() -> list[Any]:
        made = config(image(user_tmp_path), *(
            Mount(source="x", destination=path, device="tmpfs", premount_cmds=(Command(path=f"before{path}"),),
                  postmount_cmds=(Command(path=f"after{path}"),)) for path in ("/mnt", "/etc")), user=user)
        ran: list[Any] = []
        root_fd = rootfs.open_root(made)

        def run(command: Command) -> None:
            mask = os.umask(0)
            os.umask(mask)
            ran.append([command.path, os.stat("mnt", dir_fd=root_fd).st_dev != os.fstat(root_fd).st_dev, mask & 0o22])

        rootfs.mount_all(root_fd, made, run)
        return ran

    assert contained(look, user=user) == [["before/mnt", False, 0o22], ["after/mnt", True, 0o22],
                                          ["before/etc", True, 0o22], ["after/etc", True, 0o22]]


def test_the_mask_of_the_caller_changes_nothing(user: bool, user_tmp_path: Path) -> None:
    def look() -> list[str]:
        os.umask(0o077)
        enter(config(image(user_tmp_path), MOUNTS[0],
                     Mount(source="x", destination="/new/folder", device="tmpfs"),
                     Mount(source="/etc/hostname", destination="/new/file", device="bind"), user=user))
        return [stat.filemode(os.stat("/new").st_mode), oct(os.umask(0))]

    assert contained(look, user=user) == ["drwxr-xr-x", "0o77"]
