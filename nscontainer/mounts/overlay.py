"""A view of the root file system in which everything can be changed, and no change lasts.

Lesson  An overlay shows one directory through another: what is only read comes from the lower, what is changed is
        copied to the upper first. With the upper in memory, all changes vanish with the last process that sees them.
Read    the kernel's filesystems/overlayfs.rst, tmpfs(5), mount_namespaces(7) on locked mounts
Needs   CAP_SYS_ADMIN; in a user namespace Linux 5.11, and 6.6 to delete a directory and make it anew (tmpfs has had
        the attributes that takes since then)

An overlay is about one file system, and a root such as / has others mounted below it. Each of those gets an overlay of
its own at the same place, with the attributes the mount had. What the kernel or the running host makes up (proc, sysfs,
/dev, /run …) is left out: its place is an empty directory, or what the disk has below. A file that is mounted on
a file, and a file system that cannot be a lower layer (vfat), are shown read-only.

Sockets of the host are in sight, and lead nowhere: a socket is found by its inode (unix(7)), and the overlay's is
another one. That is the reason why nothing but plain files and directories is ever bound here.

In a user namespace the mounts that came from its parent are locked: no overlay may show what is below them. A
directory with a locked mount in it is therefore made anew, entry by entry: folders as overlays of their own, links as
copies, files read-only. There, too, only what belongs to an id that the namespace has a number for can be changed, for
the changed copy must belong to somebody (else EOVERFLOW); and a folder that is not new cannot be renamed (EXDEV).
"""
from __future__ import annotations

import os
from errno import EACCES, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM

from ..errors import SyscallError
from ..sys.files import AT_EMPTY_PATH, ST, close, fchownat, fstatfs, mkdirat, openat, readlinkat, symlinkat
from ..sys.mount_api import MOUNT_ATTR, fsconfig_create, fsconfig_flag, fsconfig_string, fsmount, fsopen
from ..sys.openat2 import RESOLVE, openat2
from .bind import copy
from .options import attach
from .special import file_system
from .tree import below, mount_id, path_of, reached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ..sys.procfs import MountInfo

__all__ = ["LEFT_OUT", "attach_view"]

# File systems without files of their own. tmpfs is one only in the places that belong to the running host.
LEFT_OUT: Final = frozenset((
    "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "cpuset", "debugfs", "devfs", "devpts",
    "devtmpfs", "efivarfs", "functionfs", "fusectl", "hugetlbfs", "mqueue", "nfsd", "nsfs", "nullfs", "proc", "pstore",
    "resctrl", "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs", "xenfs"))
RUNNING: Final = ("proc", "sys", "dev", "run")   # below /, whatever is mounted there
EVERYBODYS: Final = ("tmp", "var/tmp")           # writable by all, and so without the host's root in the namespace

_INITIAL_USER_NAMESPACE = 0xEFFFFFFD             # PROC_USER_INIT_INO
_S_IFMT, _S_IFDIR, _S_IFREG, _S_IFLNK = 0o170000, 0o040000, 0o100000, 0o120000
_LOOK = os.O_PATH | os.O_NOFOLLOW
_FOLDER = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY
_NEW_FILE = os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_INSIDE = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS)
_RDONLY, _NOATIME, _NODIRATIME = int(MOUNT_ATTR.RDONLY), int(MOUNT_ATTR.NOATIME), int(MOUNT_ATTR.NODIRATIME)
_NO_RIGHTS = int(ST.NOSUID | ST.NODEV | ST.NOEXEC)   # the same bits in MOUNT_ATTR


def attach_view(rootfs_fd: int, rootfs: str) -> int:
    """Attach such a view over the directory *rootfs_fd*; return the descriptor of its top."""
    return _View(rootfs_fd, rootfs).top


class _View:
    """One view: the memory it writes to, and what it is made of."""

    def __init__(self, rootfs_fd: int, rootfs: str) -> None:
        self.unprivileged = os.stat("/proc/self/ns/user").st_ino != _INITIAL_USER_NAMESPACE
        self.is_host = rootfs.rstrip("/") == ""
        self.layers = 0
        every = below(rootfs_fd)
        self.places = {name for name, _ in every}           # where something is mounted, covered or not
        self.mounted: dict[str, int] = {}                   # what of it is to be seen: its descriptor
        for name, one in every:
            if self._shown(name, one) and (fd := reached(rootfs_fd, name, one.id)) >= 0:
                self.mounted[name] = fd
        # Overlays are told their layers as paths, and must find them mounted (until Linux 6.15): so the memory is
        # attached over the rootfs, where it is out of sight. It goes when the root changes; the overlays hold on to it.
        self.memory = file_system("tmpfs", source="nscontainer", data="mode=700")
        attach(self.memory, rootfs_fd)
        if self.unprivileged and every:
            self.top = self._made_anew(rootfs_fd)
        else:
            self.top = self._overlay(rootfs_fd, "", _attributes(rootfs_fd) & ~_RDONLY)
            attach(self.top, self.memory)
            self._add()
        for fd in self.mounted.values():
            close(fd)

    def _overlay(self, lower: int, name: str, attributes: int) -> int:
        """Make an overlay of a directory, whose path below the rootfs is *name*; it is attached nowhere yet."""
        number = str(self.layers)
        self.layers += 1
        mkdirat(self.memory, number, 0o700)
        store = openat(self.memory, number, _FOLDER)
        upper = _make_like(lower, store, "upper")
        if self.unprivileged:
            for path in EVERYBODYS:
                if not name or path.startswith(name + "/"):
                    _make_copies(lower, upper, path[len(name):].strip("/").split("/"))
        close(upper)
        mkdirat(store, "work", 0o700)
        context = fsopen("overlay")
        fsconfig_string(context, "source", "overlay")
        fsconfig_string(context, "lowerdir", f"/proc/self/fd/{lower}")
        fsconfig_string(context, "upperdir", f"/proc/self/fd/{store}/upper")
        fsconfig_string(context, "workdir", f"/proc/self/fd/{store}/work")
        fsconfig_flag(context, "volatile")  # Linux 5.10: nothing here will be there after a crash
        if self.unprivileged:
            fsconfig_flag(context, "userxattr")
        else:
            fsconfig_string(context, "redirect_dir", "on")  # so that a directory can be renamed
        try:
            fsconfig_create(context)
        except SyscallError as error:
            error.message = f"overlay of {path_of(lower)!r}: {error.message}"
            if error.errno == EPERM and self.unprivileged:
                error.hint = "an overlay in a user namespace needs Linux 5.11 or later"
            raise
        fd = fsmount(context, attributes)
        close(context)
        close(store)
        return fd

    def _cover(self, lower: int, name: str, to: int, attributes: int) -> None:
        """Show a directory at *to*: as an overlay, or read-only where its file system cannot be one's lower layer."""
        try:
            fd = self._overlay(lower, name, attributes)
        except SyscallError as error:
            if error.errno != EINVAL:
                raise
            _show_read_only(lower, to)
        else:
            attach(fd, to)
            close(fd)

    def _add(self) -> None:
        """Put what is mounted below the rootfs into its view."""
        for name, fd in self.mounted.items():
            try:
                to = openat2(self.top, name, os.O_PATH, resolve=_INSIDE)
            except SyscallError as error:
                if error.errno not in (ENOENT, ENOTDIR, ELOOP):  # its place is in something that is left out
                    raise
                continue
            if _kind(fd) == _S_IFDIR:
                self._cover(fd, name, to, _attributes(fd))
            elif _kind(fd) == _S_IFREG:
                _show_read_only(fd, to)
            close(to)
        if self.is_host:
            self._hide_run()

    def _shown(self, name: str, mount: MountInfo) -> bool:
        return mount.fstype not in LEFT_OUT and not (self.is_host and name.partition("/")[0] in RUNNING)

    def _hide_run(self) -> None:
        """Have an empty /run also where the host keeps it on its disk."""
        try:
            to = openat(self.top, "run", _FOLDER)
        except SyscallError as error:
            if error.errno not in (ENOENT, ENOTDIR, ELOOP):  # no directory: then what it is belongs to the disk
                raise
            return
        fd = file_system("tmpfs", source="tmpfs", data="mode=755")
        attach(fd, to)
        close(fd)
        close(to)

    # ----------------------------------------------------------------------------------------- in a user namespace

    def _made_anew(self, rootfs_fd: int) -> int:
        """Make a directory in memory that shows what the rootfs does; return the descriptor of its mount."""
        status = os.fstat(rootfs_fd)
        top = file_system("tmpfs", source="nscontainer", data=f"mode={status.st_mode & 0o7777:o}")
        holding = {name[:at] for name in self.places for at, letter in enumerate(name) if letter == "/"}
        attach(top, self.memory)
        self._fill(rootfs_fd, top, "", holding)
        return top

    def _fill(self, lower: int, folder: int, prefix: str, holding: set[str]) -> None:
        """Show the entries of one directory in another that is empty; *holding* have something mounted below."""
        try:
            entries = os.listdir(f"/proc/self/fd/{lower}")
        except PermissionError:
            return  # closed to us, so there is nothing that we could show
        for entry in entries:
            name = prefix + entry
            fd = openat(lower, entry, _LOOK)
            if self.is_host and name in RUNNING or self._left_out(name, fd, lower):
                if _kind(fd) == _S_IFDIR:
                    close(_make_like(fd, folder, entry))
            else:
                self._show(fd, folder, entry, name, holding)
            close(fd)

    def _left_out(self, name: str, fd: int, folder: int) -> bool:
        """Say whether an entry is another mount than its folder, and not one to be shown."""
        return name in self.places and name not in self.mounted and mount_id(fd) != mount_id(folder)

    def _show(self, fd: int, folder: int, entry: str, name: str, holding: set[str]) -> None:
        """Show one entry: a directory, a link or a file, and nothing else."""
        kind = _kind(fd)
        if kind == _S_IFDIR:
            to = _make_like(fd, folder, entry)
            if name in holding:
                self._fill(fd, to, name + "/", holding)
            else:
                self._cover(fd, name, to, _attributes(fd))
            close(to)
        elif kind == _S_IFLNK:
            symlinkat(readlinkat(fd, ""), folder, entry)
        elif kind == _S_IFREG:
            to = openat(folder, entry, _NEW_FILE, 0o600)
            _show_read_only(fd, to)
            close(to)


def _kind(fd: int) -> int:
    return os.fstat(fd).st_mode & _S_IFMT


def _attributes(fd: int) -> int:
    """Return the attributes of the mount that *fd* is on, as MOUNT_ATTR has them."""
    flags = fstatfs(fd).flags
    attributes = flags & (_NO_RIGHTS | _RDONLY)
    if flags & ST.NOATIME:
        attributes |= _NOATIME
    if flags & ST.NODIRATIME:
        attributes |= _NODIRATIME
    return int(attributes)


def _make_like(original: int, folder: int, name: str) -> int:
    """Make a directory with the permissions and the owner of another; return its descriptor."""
    status = os.fstat(original)
    mkdirat(folder, name, 0o700)
    fd = openat(folder, name, _FOLDER)
    try:
        fchownat(fd, "", status.st_uid, status.st_gid, AT_EMPTY_PATH)
    except SyscallError as error:
        if error.errno not in (EINVAL, EPERM):  # an owner who has no number in our user namespace
            raise
    os.chmod(f"/proc/self/fd/{fd}", status.st_mode & 0o7777)
    return fd


def _make_copies(lower: int, upper: int, names: list[str]) -> None:
    """Have directories in the upper layer from the start, one in the other, that merge with those of the lower."""
    try:
        original = openat(lower, names[0], _FOLDER)
    except SyscallError as error:
        if error.errno not in (ENOENT, ENOTDIR, ELOOP, EACCES):  # none, or none for us
            raise
        return
    fd = _make_like(original, upper, names[0])
    if names[1:]:
        _make_copies(original, fd, names[1:])
    close(original)
    close(fd)


def _show_read_only(fd: int, to: int) -> None:
    tree = copy(fd)
    attach(tree, to, (_RDONLY, 0, False))
    close(tree)
