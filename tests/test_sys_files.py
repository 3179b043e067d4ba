"""Files below a directory that is held by a descriptor."""
from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.files import (
    AT, AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, MAGIC, RENAME, ST, chdir, chroot, close, dup3,
    exists, fchdir, fchmod, fchmodat, fchmodat2, fchownat, fcntl_dupfd, fcntl_getfd, fcntl_getfl, fcntl_setfd,
    fcntl_setfl,
    fstat, fstatfs, getcwd, linkat, mkdirat, mknodat, openat, read, read_all, readlinkat, renameat2, symlinkat,
    umask, unlinkat, write, write_all,
)

InChild = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    """A descriptor of an empty directory."""
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def test_files_are_made_below_a_descriptor(here: int, tmp_path: Path) -> None:
    before = umask(0)
    try:
        mkdirat(here, "directory", 0o750)
        close(openat(here, "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
        mknodat(here, "fifo", stat.S_IFIFO | 0o620)
        symlinkat("to/nowhere", here, "link")
        linkat(here, "file", here, "hard")
    finally:
        assert umask(before) == 0
    modes = {name: oct(os.lstat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    assert modes == {"directory": "0o40750", "file": "0o100640", "fifo": "0o10620", "link": "0o120777",
                     "hard": "0o100640"}
    assert readlinkat(here, "link") == "to/nowhere"
    assert os.stat(tmp_path / "hard").st_nlink == 2


def test_a_symlinks_own_descriptor_is_read_with_an_empty_path(here: int) -> None:
    symlinkat(b"\xff" * 300, here, "link")
    fd = openat(here, "link", os.O_PATH | os.O_NOFOLLOW)
    assert readlinkat(fd, "") == "\udcff" * 300
    close(fd)


def test_names_are_removed_and_changed(here: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    (tmp_path / "directory").mkdir()
    renameat2(here, "a", here, "b", RENAME.EXCHANGE)
    assert (tmp_path / "a").read_text() == "b"
    with pytest.raises(SyscallError, match=r"renameat2 on 'b' \(source=a, flags=RENAME_NOREPLACE\): EEXIST"):
        renameat2(here, "a", here, "b", RENAME.NOREPLACE)
    renameat2(here, "a", here, "b")
    with pytest.raises(SyscallError, match="unlinkat on 'directory'.*EISDIR"):
        unlinkat(here, "directory")
    unlinkat(here, "directory", AT_REMOVEDIR)
    unlinkat(here, "b")
    assert os.listdir(tmp_path) == []


def test_a_symlink_is_never_followed_by_a_maker(here: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SyscallError, match="EEXIST"):
        mknodat(here, "link", stat.S_IFREG | 0o600)
    with pytest.raises(SyscallError, match="EEXIST"):
        mkdirat(here, "link")
    with pytest.raises(SyscallError, match="ELOOP"):
        openat(here, "link", os.O_RDONLY | os.O_NOFOLLOW)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.needs("root")
def test_a_device_has_the_numbers_it_was_given(here: int, tmp_path: Path) -> None:
    for device in (os.makedev(1, 3), os.makedev(4095, 0xFFFFF)):
        try:
            mknodat(here, "node", stat.S_IFCHR | 0o600, device)
        except SyscallError as error:
            if error.errno != errno.EPERM:
                raise
            pytest.skip("needs mknod: not in the initial user namespace")
        assert os.lstat(tmp_path / "node").st_rdev == device
        unlinkat(here, "node")


@pytest.mark.parametrize("attempt", [
    lambda: openat(AT_FDCWD, "/", 1 << 32),
    lambda: openat(AT_FDCWD, "/", os.O_RDONLY, -1),
    lambda: mkdirat(AT_FDCWD, "x", 0o10000),
    lambda: mknodat(AT_FDCWD, "x", 1 << 16),
    lambda: mknodat(AT_FDCWD, "x", stat.S_IFCHR, 1 << 32),
    lambda: fchmod(0, 1 << 32),
    lambda: fchmodat2(0, "", 0o600, 1 << 32),
    lambda: fchownat(0, "", 1 << 32, 0),
    lambda: fchownat(0, "", (1 << 32) - 1, 0),
    lambda: fchownat(0, "", 0, -2),
    lambda: unlinkat(0, "x", 1 << 31),
    lambda: renameat2(0, "x", 0, "y", -1),
    lambda: umask(0o1000),
    lambda: read(0, 1 << 32),
])
def test_numbers_that_do_not_fit_are_refused(attempt: Callable[[], object]) -> None:
    with pytest.raises(OverflowError):
        attempt()


def test_permissions_change_by_descriptor_and_by_name(here: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = openat(here, "file", os.O_RDONLY)
    fchmod(fd, 0o4711)
    assert fstat(fd).st_mode & 0o7777 == 0o4711
    fchmodat(here, "file", 0o640)
    assert fstat(fd).st_mode & 0o7777 == 0o640
    close(fd)
    fd = openat(here, "file", os.O_PATH)
    with pytest.raises(SyscallError, match="fchmod.*EBADF"):
        fchmod(fd, 0o600)
    try:
        fchmodat2(fd, "", 0o604, AT_EMPTY_PATH)
    except SyscallError as error:
        assert error.unsupported  # before Linux 6.6
    else:
        assert fstat(fd).st_mode & 0o7777 == 0o604
    close(fd)


@pytest.mark.needs("root")
def test_owners_change_one_at_a_time_and_on_links(here: int, tmp_path: Path) -> None:
    symlinkat("nowhere", here, "link")
    fchownat(here, "link", 1000, 2000, AT_SYMLINK_NOFOLLOW)
    fd = openat(here, "link", os.O_PATH | os.O_NOFOLLOW)
    fchownat(fd, "", -1, 3000, AT_EMPTY_PATH)
    close(fd)
    found = os.lstat(tmp_path / "link")
    assert (found.st_uid, found.st_gid) == (1000, 3000)


def test_flags_are_spelled_in_errors(here: int) -> None:
    with pytest.raises(SyscallError, match=r"flags=AT_SYMLINK_NOFOLLOW\): ENOENT"):
        fchownat(here, "nobody", -1, -1, AT.SYMLINK_NOFOLLOW)


def test_a_real_proc_is_known_by_its_magic(here: int) -> None:
    fd = openat(AT_FDCWD, "/proc", os.O_PATH)
    found = fstatfs(fd)
    assert found.type == MAGIC.PROC
    assert found.flags & ~(sum(ST) | 0x40) == 0
    assert bool(found.flags & ST.NOSUID) == bool(os.fstatvfs(fd).f_flag & os.ST_NOSUID)
    close(fd)
    same, theirs = fstatfs(here), os.fstatvfs(here)
    assert same.type != MAGIC.PROC
    assert same.size == theirs.f_blocks * theirs.f_frsize
    assert same.inodes == theirs.f_files


def test_descriptors_are_copied_closed_and_marked(here: int) -> None:
    copy = fcntl_dupfd(here, 200)
    assert copy >= 200
    assert fcntl_getfd(copy)
    fcntl_setfd(copy, False)
    assert not fcntl_getfd(copy)
    dup3(here, copy, os.O_CLOEXEC)
    assert fcntl_getfd(copy)
    dup3(here, copy)
    assert os.get_inheritable(copy)
    close(copy)
    with pytest.raises(SyscallError, match=rf"close \(fd={copy}\): EBADF"):
        close(copy)
    with pytest.raises(SyscallError, match="EINVAL"):
        dup3(here, here)
    with pytest.raises(SyscallError, match="EBADF"):
        fstat(copy)
    with pytest.raises(SyscallError, match="EBADF"):
        fstatfs(copy)


def test_an_open_file_is_made_non_blocking() -> None:
    reader, writer = os.pipe()
    fcntl_setfl(reader, fcntl_getfl(reader) | os.O_NONBLOCK)
    assert not os.get_blocking(reader)
    with pytest.raises(SyscallError, match="read.*EAGAIN"):
        read(reader, 1)
    close(reader)
    close(writer)


def test_what_is_opened_closes_at_execve(here: int) -> None:
    fd = openat(here, ".", os.O_RDONLY)
    assert not os.get_inheritable(fd)
    close(fd)


def test_reading_to_the_end_has_a_limit(here: int) -> None:
    data = os.urandom(100_000)
    fd = openat(here, "file", os.O_RDWR | os.O_CREAT, 0o600)
    write_all(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    assert read_all(fd, 100_000) == data
    os.lseek(fd, 0, os.SEEK_SET)
    with pytest.raises(SyscallError) as caught:
        read_all(fd, 99_999)
    assert caught.value.errno == errno.EFBIG
    close(fd)


def test_all_is_written_through_a_narrow_pipe() -> None:
    reader, writer = os.pipe()
    data, received = bytes(range(256)) * 2000, bytearray()

    def drain() -> None:
        while chunk := os.read(reader, 10_000):
            received.extend(chunk)

    thread = threading.Thread(target=drain)  # runs only if writing lets go of the interpreter
    thread.start()
    write_all(writer, data)
    assert write(writer, b"") == 0
    close(writer)
    thread.join(20)
    close(reader)
    assert bytes(received) == data


def test_a_signal_does_not_end_a_read(in_child: InChild) -> None:
    def read_through_alarms() -> list[Any]:
        alarms: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, frame: alarms.append(number))
        reader, writer = os.pipe()
        if os.fork() == 0:
            time.sleep(0.15)
            os.write(writer, b"late")
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        data = read(reader, 10)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return [data.decode(), len(alarms) > 1]

    assert in_child(read_through_alarms) == ["late", True]


def test_a_handler_that_raises_does_end_it(in_child: InChild) -> None:
    def read_until_alarm() -> str:
        def stop(number: int, frame: object) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, stop)
        reader, _ = os.pipe()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            read(reader, 1)
        except TimeoutError:
            return "stopped"
        return "read"

    assert in_child(read_until_alarm) == "stopped"


def test_the_working_directory_changes_by_path_and_descriptor(in_child: InChild, here: int, tmp_path: Path) -> None:
    def walk() -> list[str]:
        fchdir(here)
        first = getcwd()
        mkdirat(AT_FDCWD, "gone")
        chdir("gone")
        os.rmdir(tmp_path / "gone")
        try:
            getcwd()
        except SyscallError as error:
            return [first, str(error)]
        return [first]

    assert in_child(walk) == [str(tmp_path), "getcwd: ENOENT, No such file or directory"]


@pytest.mark.needs("root")
def test_a_new_root_hides_the_old_one(in_child: InChild, tmp_path: Path) -> None:
    def change() -> list[str]:
        (tmp_path / "only").touch()
        chroot(str(tmp_path))
        chdir("/")
        return os.listdir("/")

    assert in_child(change) == ["only"]


def test_something_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert exists(str(tmp_path))
    assert not exists(str(tmp_path / "link"))
    assert not exists(str(tmp_path / "none"))
