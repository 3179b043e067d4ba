"""A path inside a root, resolved by openat2(2) and by our own walk: the same tests for both."""
from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mounting import Canary
from nscontainer.errors import SyscallError
from nscontainer.mounts.resolve import DIRECTORY, FILE, destination, existing, made, parent, walk
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.files import RENAME, renameat2
from nscontainer.sys.libc import intercept
from nscontainer.sys.mount import MS, mount

InChild = Callable[..., Any]


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Resolve by openat2(2), and where a filter answers ENOSYS."""
    def wrap(name: str, call: Callable[..., int]) -> Callable[..., int]:
        def missing(*arguments: Any) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

        return missing if name == "openat2" else call

    if request.param == "walk":
        intercept(wrap)
    yield request.param
    intercept(None)


class Root:
    """A root to resolve in, beside a host that is not to be reached."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "root"
        self.canary = Canary(folder / "host")
        for name in ("a/b", "etc", "loop"):
            (self.path / name).mkdir(parents=True)
        (self.path / "etc/file").write_text("inside")
        for name, target in {
            "absolute": "/a/b", "relative": "a/b", "up": "../../../../../../etc", "a/up": "../etc",
            "out": str(folder / "host"), "out_up": f"../../../../../../{folder}/host", "dangling": "/new/folder",
            "dangling_out": f"{folder}/host/created", "chain": "absolute", "self": "self", "to_root": "/",
            "loop/one": "two", "loop/two": "one", "to_file": "etc/file", "empty_parts": "//a///./b//",
        }.items():
            os.symlink(target, self.path / name)
        self.fd = os.open(self.path, os.O_PATH)

    def where(self, fd: int) -> str:
        """Return the path of a descriptor relative to the root; close it."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return os.path.relpath(path, self.path)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path)
    yield made
    os.close(made.fd)
    made.canary.check()


def _errno(call: Callable[[], object]) -> str:
    with pytest.raises(OSError) as caught:
        call()
    return errno.errorcode[caught.value.errno or 0]


# --- what is there


@pytest.mark.parametrize("path, where", [
    ("/a/b", "a/b"), ("a/b", "a/b"), ("//a/./b/", "a/b"), ("/a/../etc", "etc"), ("/../../etc", "etc"), ("/", "."),
    ("/..", "."), ("/absolute", "a/b"), ("/relative", "a/b"), ("/up", "etc"), ("/a/up", "etc"), ("/chain", "a/b"),
    ("/absolute/../up", "etc"), ("/to_root", "."), ("/to_root/etc/file", "etc/file"), ("/to_file", "etc/file"),
    ("/empty_parts", "a/b"),
])
def test_a_path_means_what_it_means_inside(way: str, root: Root, path: str, where: str) -> None:
    assert root.where(existing(root.fd, path)) == where


@pytest.mark.parametrize("path, number", [
    ("", "ENOENT"), ("/none", "ENOENT"), ("/none/..", "ENOENT"), ("/dangling", "ENOENT"), ("/out", "ENOENT"),
    ("/out_up", "ENOENT"), ("/self", "ELOOP"), ("/loop/one", "ELOOP"), ("/etc/file/", "ENOTDIR"),
    ("/etc/file/x", "ENOTDIR"), ("/etc/file/..", "ENOTDIR"), ("/etc/file/.", "ENOTDIR"), ("/to_file/x", "ENOTDIR"),
    ("/" + "x" * 256, "ENAMETOOLONG"),
])
def test_what_cannot_be_resolved_has_the_kernel_s_reason(way: str, root: Root, path: str, number: str) -> None:
    assert _errno(lambda: existing(root.fd, path)) == number


@pytest.mark.parametrize("count, number", [(40, None), (41, "ELOOP")])
def test_forty_links_are_followed_and_no_more(way: str, root: Root, count: int, number: str | None) -> None:
    for index in range(1, count):
        os.symlink(f"link{index - 1}" if index > 1 else "a", root.path / f"link{index}")
    os.symlink(f"link{count - 1}", root.path / "first")
    if number is None:
        assert root.where(existing(root.fd, "/first")) == "a"
    else:
        assert _errno(lambda: existing(root.fd, "/first")) == number


def test_a_link_of_proc_that_leads_past_all_paths_is_refused(way: str) -> None:
    top = os.open("/", os.O_PATH)
    held = os.open("/usr", os.O_PATH)
    try:
        for link in ("cwd", "root", "exe", f"fd/{held}", "ns/mnt"):
            assert _errno(lambda link=link: existing(top, f"/proc/self/{link}")) == "ELOOP"  # type: ignore[misc]
        os.close(existing(top, "/proc/mounts"))
        os.close(existing(top, "/proc/self/status"))
    finally:
        os.close(held)
        os.close(top)


# --- what is made


@pytest.mark.parametrize("path, where", [
    ("/a/b", "a/b"), ("/new", "new"), ("/new/er/est", "new/er/est"), ("/absolute/x/y", "a/b/x/y"), ("/up/x", "etc/x"),
    ("/dangling", "new/folder"), ("/new/../x", "x"), ("/a/b/", "a/b"), ("/new/", "new"), ("/loop/../x", "x"),
])
def test_missing_folders_are_made_inside(way: str, root: Root, path: str, where: str) -> None:
    previous = os.umask(0o022)
    assert root.where(destination(root.fd, path)) == where
    os.umask(previous)
    assert stat.filemode((root.path / where).stat().st_mode) == "drwxr-xr-x"


@pytest.mark.parametrize("path, where", [("/new", "new"), ("/new/file", "new/file"), ("/dangling", "new/folder"),
                                         ("/a/up/x", "etc/x")])
def test_a_missing_file_is_made_inside(way: str, root: Root, path: str, where: str) -> None:
    previous = os.umask(0o022)
    assert root.where(destination(root.fd, path, FILE)) == where
    os.umask(previous)
    assert stat.filemode((root.path / where).stat().st_mode) == "-rw-r--r--"


@pytest.mark.parametrize("kind", [DIRECTORY, FILE])
@pytest.mark.parametrize("link", ["out", "out_up", "dangling_out"])
def test_a_link_out_of_the_root_leads_to_the_same_name_inside(way: str, root: Root, link: str, kind: int) -> None:
    where = root.where(destination(root.fd, f"/{link}/x", kind))
    assert not where.startswith("..") and where.endswith("/x")
    assert (root.path / where).exists()  # and the fixture looks at the host


def test_a_file_is_no_place_for_a_directory(way: str, root: Root) -> None:
    assert _errno(lambda: destination(root.fd, "/etc/file")) == "ENOTDIR"
    assert _errno(lambda: destination(root.fd, "/to_file")) == "ENOTDIR"
    assert root.where(destination(root.fd, "/etc/file", FILE)) == "etc/file"


@pytest.mark.parametrize("path", ["/", "", "/..", "/a/..", "/to_root", "/a/b/../../"])
def test_the_root_itself_is_no_destination(way: str, root: Root, path: str) -> None:
    assert _errno(lambda: destination(root.fd, path)) in ("EINVAL", "ENOENT")


@pytest.mark.parametrize("path", ["/absolute", "/up/x", "/dangling", "/out"])
def test_without_links_every_link_on_the_way_is_refused(way: str, root: Root, path: str) -> None:
    before = sorted(root.path.rglob("*"))
    assert _errno(lambda: destination(root.fd, path, links=False)) == "ELOOP"
    assert sorted(root.path.rglob("*")) == before


def test_without_links_a_missing_folder_is_made_all_the_same(way: str, root: Root) -> None:
    assert root.where(destination(root.fd, "/proc", links=False)) == "proc"


def test_a_link_of_the_image_does_not_lead_into_proc(way: str) -> None:
    top = os.open("/", os.O_PATH)
    try:
        for path in ("/dev/fd", "/dev/../proc/sys"):
            with pytest.raises(OSError) as caught:
                destination(top, path)
            assert caught.value.errno == errno.ELOOP
        os.close(destination(top, "/proc/sys"))  # whether that may be covered, the validator says
    finally:
        os.close(top)


def test_the_folder_of_a_file_is_made(way: str, root: Root) -> None:
    fd, name = parent(root.fd, "/dev/snd/timer")
    assert (root.where(fd), name) == ("dev/snd", "timer")
    fd, name = parent(root.fd, "/null")
    assert (root.where(fd), name) == (".", "null")
    for path in ("/dev/", "/dev/..", "/"):
        assert _errno(lambda path=path: parent(root.fd, path)) == "EINVAL"  # type: ignore[misc]


def test_no_descriptor_is_left_open(way: str, root: Root) -> None:
    before = os.listdir("/proc/self/fd")
    os.close(made(root.fd, "/chain/x/../y"))
    os.close(existing(root.fd, "/chain/y"))
    for path in ("/self", "/etc/file/x", "/loop/one"):
        _errno(lambda path=path: made(root.fd, path))  # type: ignore[misc]
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.needs("root")
def test_a_walk_goes_into_what_is_mounted(way: str, root: Root, in_child: InChild) -> None:
    def cross() -> bool:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        mount("tmpfs", str(root.path / "a"), "tmpfs")
        (root.path / "a/inside").mkdir()
        fd = os.open(root.path, os.O_PATH)  # in this namespace
        return root.where(existing(fd, "/a/inside/../../a/inside")) == "a/inside"

    assert in_child(cross)


# --- races


ROUNDS_LAST = 1.0  # seconds


@contextlib.contextmanager
def _exchanging(folder: Path, one: str, other: str) -> Iterator[None]:
    """Let another process exchange two names as fast as it can."""
    pid = os.fork()
    if pid == 0:
        intercept(None)
        fd = os.open(folder, os.O_PATH)
        while True:
            renameat2(fd, one, fd, other, RENAME.EXCHANGE)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _try(root: Root, path: str, kind: int) -> str | None:
    """Resolve once; return where that led, None when it was refused."""
    try:
        fd = destination(root.fd, path, kind)
    except SyscallError as error:
        # What the two names make possible: a file where a folder is wanted, a folder that moves while it is made,
        # and openat2's own refusal to guess.
        assert error.errno in (errno.EAGAIN, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EXDEV), error
        return None
    return root.where(fd)


def test_a_folder_exchanged_for_a_link_leads_nowhere_else(way: str, root: Root) -> None:
    (root.path / "swapped/folder").mkdir(parents=True)
    inside = str(root.canary.path).lstrip("/")  # where the link leads in this root
    (root.path / inside).mkdir(parents=True)
    os.symlink(root.canary.path, root.path / "link")
    tries = [(path, kind) for path in ("/swapped/folder/x", "/swapped/x", "/swapped/../swapped/folder/x")
             for kind in (DIRECTORY, FILE)]
    seen = set()
    deadline = time.monotonic() + ROUNDS_LAST
    with _exchanging(root.path, "swapped", "link"):
        while time.monotonic() < deadline:
            for path, kind in tries:
                where = _try(root, path, kind)
                if where is None:
                    continue
                seen.add(where.startswith(inside))
                assert not where.startswith(".."), where
                for remove in (os.rmdir, os.unlink):
                    with contextlib.suppress(OSError):
                        remove(root.path / where)
    assert seen == {True, False}, "the other process never got in between"


def test_the_same_race_is_lost_by_path_names(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    root = Root(tmp_path)
    (root.path / "swapped/folder").mkdir(parents=True)
    os.symlink(root.canary.path, root.path / "link")
    deadline = time.monotonic() + 10
    with _exchanging(root.path, "swapped", "link"):
        while time.monotonic() < deadline and not (root.canary.path / "folder/x").exists():
            with contextlib.suppress(OSError):
                os.makedirs(root.path / "swapped/folder/x")
            with contextlib.suppress(OSError):
                os.rmdir(root.path / "swapped/folder/x")
    os.close(root.fd)
    with pytest.raises(AssertionError):
        root.canary.check()


def test_dots_go_back_where_we_came_from_though_the_folder_has_moved(root: Root,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel checks at the end of a lookup, a walk by hand must not need: it never asks for a parent."""
    from nscontainer.mounts import resolve

    (root.path / "a/b/etc").mkdir()
    looked_up = resolve._looked_up

    def move_after(folder: int, name: str) -> int:
        fd = looked_up(folder, name)
        if name == "b":
            os.rename(root.path / "a/b", root.path.parent / "moved")
        return fd

    monkeypatch.setattr(resolve, "_looked_up", move_after)
    assert root.where(walk(root.fd, "/a/b/../../etc/file")) == "etc/file"
