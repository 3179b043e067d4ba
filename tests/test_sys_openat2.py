"""Opening a path without leaving a directory."""
from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.files import AT_FDCWD
from nscontainer.sys.libc import intercept
from nscontainer.sys.openat2 import RESOLVE, openat2


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A directory with links that lead out of it, and the same names inside."""
    (tmp_path / "outside").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "passwd").write_text("inside")
    (inside / "outside").write_text("inside")
    (inside / "absolute").symlink_to("/etc/passwd")
    (inside / "upwards").symlink_to("../../../outside")
    fd = os.open(inside, os.O_PATH)
    yield fd
    os.close(fd)


def _content(fd: int) -> str:
    with os.fdopen(fd) as file:
        return file.read()


@pytest.mark.parametrize("path", ["/etc/passwd", "absolute", "upwards", "../../etc/passwd", "etc/../../outside"])
def test_in_root_nothing_leads_out(root: int, path: str) -> None:
    assert _content(openat2(root, path, os.O_RDONLY, resolve=RESOLVE.IN_ROOT)) == "inside"


@pytest.mark.parametrize("path", ["/etc/passwd", "absolute", "upwards", "../outside"])
def test_beneath_what_leads_out_is_refused(root: int, path: str) -> None:
    with pytest.raises(SyscallError) as caught:
        openat2(root, path, os.O_RDONLY, resolve=RESOLVE.BENEATH)
    assert caught.value.errno == errno.EXDEV
    assert "resolve=RESOLVE_BENEATH" in str(caught.value)


def test_symlinks_can_be_refused_altogether(root: int) -> None:
    with pytest.raises(SyscallError, match="ELOOP"):
        openat2(root, "absolute", os.O_RDONLY, resolve=RESOLVE.NO_SYMLINKS)


def test_a_magic_link_can_be_refused(root: int) -> None:
    path = f"/proc/self/fd/{root}"
    os.close(openat2(AT_FDCWD, path, os.O_PATH))
    with pytest.raises(SyscallError, match="ELOOP"):
        openat2(AT_FDCWD, path, os.O_PATH, resolve=RESOLVE.NO_MAGICLINKS)


def test_another_mount_can_be_refused() -> None:
    with pytest.raises(SyscallError, match="EXDEV"):
        openat2(AT_FDCWD, "/proc/self", os.O_PATH, resolve=RESOLVE.NO_XDEV)


def test_a_new_file_gets_its_mode_and_closes_at_execve(root: int) -> None:
    fd = openat2(root, "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600, resolve=RESOLVE.IN_ROOT)
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_what_openat_ignores_is_refused(root: int) -> None:
    with pytest.raises(SyscallError, match="EINVAL"):
        openat2(root, "etc", os.O_PATH, mode=0o600)
    with pytest.raises(SyscallError, match="EINVAL"):
        openat2(root, "etc", os.O_PATH, resolve=1 << 40)


@pytest.mark.parametrize("numbers", [{"flags": -1}, {"flags": 1 << 64}, {"mode": 0o10000}, {"resolve": -1}])
def test_numbers_that_do_not_fit_are_refused(root: int, numbers: dict[str, int]) -> None:
    with pytest.raises(OverflowError):
        openat2(root, "etc", **{"flags": os.O_PATH, **numbers})


def _failing(times: int, number: int) -> tuple[Callable[[str, Callable[..., int]], Callable[..., int]], list[int]]:
    """Make that many calls of openat2 fail; count them all."""
    calls = [0]

    def wrap(name: str, call: Callable[..., int]) -> Callable[..., int]:
        if name != "openat2":
            return call

        def counted(*arguments: Any) -> int:
            calls[0] += 1
            if calls[0] <= times:
                ctypes.set_errno(number)
                return -1
            return call(*arguments)

        return counted

    return wrap, calls


@pytest.mark.parametrize(("times", "number"), [(128, errno.EAGAIN), (300, errno.EINTR)])
def test_a_race_and_a_signal_are_tried_again(root: int, times: int, number: int) -> None:
    wrap, calls = _failing(times, number)
    intercept(wrap)
    try:
        os.close(openat2(root, "etc", os.O_PATH, resolve=RESOLVE.IN_ROOT))
    finally:
        intercept(None)
    assert calls == [times + 1]


def test_a_race_that_does_not_end_is_an_error(root: int) -> None:
    wrap, calls = _failing(1000, errno.EAGAIN)
    intercept(wrap)
    try:
        with pytest.raises(SyscallError, match="EAGAIN"):
            openat2(root, "etc", os.O_PATH, resolve=RESOLVE.IN_ROOT)
    finally:
        intercept(None)
    assert calls == [129]
