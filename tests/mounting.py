"""Images, hosts to keep unharmed, and children in namespaces of their own: what the tests of mounts/ share."""
from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fork
import host
from nscontainer.config import Config, Device, Mount, Namespace, Namespaces, NamespaceType
from nscontainer.devices import DEFAULT_SIMPLE_DEVICES
from nscontainer.mounts import dev, pivot, restrict, rootfs
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MS

__all__ = ["DEVICES", "MODES", "MOUNTS", "SAFE", "Canary", "config", "contained", "enter", "fields", "image",
           "mount_line", "set_up"]

MODES = [pytest.param(False, marks=pytest.mark.needs("root"), id="root"),
         pytest.param(True, marks=pytest.mark.needs("user", "userns"), id="user")]
DEVICES = DEFAULT_SIMPLE_DEVICES
SAFE = int(MS.NOSUID | MS.NODEV | MS.NOEXEC)
MOUNTS = (
    Mount(source="proc", destination="/proc", device="proc", flags=SAFE),
    Mount(source="tmpfs", destination="/dev", device="tmpfs", flags=int(MS.NOSUID | MS.STRICTATIME),
          data="mode=755,size=65536k"),
    Mount(source="devpts", destination="/dev/pts", device="devpts", flags=int(MS.NOSUID | MS.NOEXEC),
          data="newinstance,ptmxmode=0666,mode=0620"),
    Mount(source="shm", destination="/dev/shm", device="tmpfs", flags=SAFE, data="mode=1777,size=65536k"),
    Mount(source="mqueue", destination="/dev/mqueue", device="mqueue", flags=SAFE),
    Mount(source="sysfs", destination="/sys", device="sysfs", flags=SAFE | int(MS.RDONLY)),
)
_NAMESPACES = CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWIPC | CLONE.NEWNET | CLONE.NEWCGROUP


def contained(function: Callable[..., Any], *arguments: Any, user: bool = False, timeout: float = 20.0) -> Any:
    """Call *function* as process 1 of new namespaces; as an ordinary user's root of a new user namespace if *user*."""
    def outside() -> Any:
        if user:
            host.as_ordinary_user()
            uid, gid = os.geteuid(), os.getegid()
            unshare(_NAMESPACES | CLONE.NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        else:
            unshare(_NAMESPACES)
        return fork.run_in_child(function, *arguments, timeout=timeout)

    return fork.run_in_child(outside, timeout=timeout + 1)


def image(folder: Path, *directories: str) -> Path:
    """Make a root file system without programs in *folder*; it belongs to whom its parent belongs."""
    owner = os.stat(folder.parent if not folder.exists() else folder)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name in ("proc", "dev", "sys", "etc", "mnt", *directories):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc/hostname").write_text("image\n")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return folder


def config(root: Path | str, *mounts: Mount, user: bool = False, devices: tuple[Device, ...] = (),
           **fields: Any) -> Config:
    """Describe a container with these mounts only, as its first process hears of it."""
    kinds = [NamespaceType.NEWNS, *([NamespaceType.NEWUSER] if user else [])]
    made = Config(rootfs=str(root), mounts=mounts, devices=devices,
                  namespaces=Namespaces([Namespace(type=kind) for kind in kinds]), **fields)
    return Config.unpack(made.pack())


def set_up(made: Config, **options: Any) -> int:
    """Take the steps up to pivot_root; return the descriptor of the root."""
    root_fd = rootfs.open_root(made)
    rootfs.mount_all(root_fd, made, lambda command: None, options.get("userns_fds"))
    if made.devices:
        dev.populate(root_fd, made, options.get("console"), options.get("console_path"))
    restrict.make_readonly(root_fd, made.readonly_paths)
    restrict.mask(root_fd, made.mask_paths)
    if made.readonlyfs:
        restrict.readonly_root(root_fd)
    return root_fd


def enter(made: Config, **options: Any) -> None:
    """Take all steps; what the caller sees afterwards is the container."""
    root_fd = set_up(made, **options)
    pivot.enter(root_fd, made)
    os.close(root_fd)


def fields(destination: str) -> list[str]:
    """Return the options that mountinfo shows for the last mount on *destination*: those of the mount, of the rest."""
    before, _, after = mount_line(destination).partition(" - ")
    return [*before.split()[5].split(","), *before.split()[6:], *after.split()[-1].split(",")]


def mount_line(destination: str) -> str:
    """Return the line of mountinfo for the last mount on *destination*."""
    lines = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == destination]
    assert lines, f"nothing is mounted on {destination}"
    return lines[-1]


class Canary:
    """A directory of the host, outside of any image, that must stay as it is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        (folder / "folder").mkdir(parents=True)
        (folder / "file").write_text("the host's")
        (folder / "ptmx").write_text("the host's")
        owner = os.stat(folder.parent)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        self.before = self._seen()

    def _seen(self) -> dict[str, tuple[Any, ...]]:
        seen = {}
        for path in (self.path, *sorted(self.path.rglob("*"))):
            status = path.lstat()
            content = path.read_text() if stat.S_ISREG(status.st_mode) else ""
            seen[str(path)] = (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
        return seen

    def check(self) -> None:
        """Fail unless names, inodes, modes, owners, times and contents are what they were."""
        assert self._seen() == self.before
