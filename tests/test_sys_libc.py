"""The one door to the kernel: declarations, errors, and what can be put in between."""
from __future__ import annotations

import ctypes
import errno
import os
import types
from collections.abc import Callable, Iterator
from ctypes import c_char_p, c_int, c_uint
from typing import Any

import pytest

from nscontainer.errors import KernelTooOld, SyscallError
from nscontainer.sys import files, uts
from nscontainer.sys.files import AT_FDCWD, close, mkdirat, openat
from nscontainer.sys.libc import encoded, failure, function, intercept, require_kernel, syscall

Call = Callable[..., int]


@pytest.fixture(autouse=True)
def nothing_in_between() -> Iterator[None]:
    yield
    intercept(None)


def test_each_declaration_has_arguments_of_its_own() -> None:
    first, second = function("access", c_char_p, c_int), function("access", c_char_p, c_uint)
    assert first(b"/", 0) == second(b"/", 0) == 0
    assert first.argtypes != second.argtypes  # type: ignore[attr-defined]


def test_a_call_without_a_number_answers_enosys() -> None:
    call = syscall("no_such_call", c_int)
    assert call(1) == -1
    error = failure("no_such_call", None, argument=1)
    assert error.errno == errno.ENOSYS
    assert error.unsupported
    assert str(error) == "no_such_call (argument=1): ENOSYS, Function not implemented"


def test_an_error_says_which_call_on_what_with_what() -> None:
    with pytest.raises(SyscallError) as caught:
        mkdirat(AT_FDCWD, "/nowhere/at all", 0o755)
    assert str(caught.value) == ("mkdirat on '/nowhere/at all' (dirfd=-100, mode=0o755): "
                                 "ENOENT, No such file or directory")
    assert (caught.value.call, caught.value.errno, caught.value.filename) == (
        "mkdirat", errno.ENOENT, "/nowhere/at all")
    assert isinstance(caught.value, OSError)
    assert not caught.value.unsupported


def test_text_reaches_c_whole_or_not_at_all() -> None:
    assert encoded("ä") == "ä".encode()
    assert encoded(b"\xff") == b"\xff"
    assert encoded("\udcff") == b"\xff"
    assert encoded(None) is None
    with pytest.raises(ValueError, match="holds a NUL byte"):
        encoded("etc\0/passwd")
    with pytest.raises(ValueError, match="holds a NUL byte"):
        mkdirat(AT_FDCWD, b"/tmp/x\0y")


def test_intercept_sees_calls_and_takes_itself_away() -> None:
    seen: list[tuple[str, tuple[Any, ...], int]] = []

    def record(name: str, call: Call) -> Call:
        def recorded(*arguments: Any) -> int:
            result = call(*arguments)
            seen.append((name, arguments, result))
            return result

        return recorded

    before = files._openat, files._close
    intercept(record)
    fd = openat(AT_FDCWD, "/", os.O_PATH)
    close(fd)
    assert [(name, result) for name, _, result in seen] == [("openat", fd), ("close", 0)]
    assert seen[0][1][:2] == (AT_FDCWD, b"/")
    intercept(None)
    assert (files._openat, files._close) == before
    close(openat(AT_FDCWD, "/", os.O_PATH))
    assert len(seen) == 2


def test_a_second_intercept_replaces_the_first() -> None:
    seen: list[str] = []

    def naming(prefix: str) -> Callable[[str, Call], Call]:
        def wrap(name: str, call: Call) -> Call:
            def named(*arguments: Any) -> int:
                seen.append(prefix + name)
                return call(*arguments)

            return named

        return wrap

    intercept(naming("first "))
    intercept(naming("second "))
    close(openat(AT_FDCWD, "/", os.O_PATH))
    assert seen == ["second openat", "second close"]


def test_intercept_can_make_the_nth_call_fail() -> None:
    count = 0

    def third_fails(name: str, call: Call) -> Call:
        def counted(*arguments: Any) -> int:
            nonlocal count
            count += 1
            if count == 3:
                ctypes.set_errno(errno.ENFILE)
                return -1
            return call(*arguments)

        return counted

    intercept(third_fails)
    close(openat(AT_FDCWD, "/", os.O_PATH))
    with pytest.raises(SyscallError, match=r"openat on '/' \(dirfd=-100, flags=0x200000\): ENFILE"):
        openat(AT_FDCWD, "/", os.O_PATH)
    close(openat(AT_FDCWD, "/", os.O_PATH))
    assert count == 5


def test_intercept_reaches_a_call_that_libc_has_no_name_for() -> None:
    names: list[str] = []

    def refuse(name: str, call: Call) -> Call:
        def refused(*arguments: Any) -> int:
            names.append(name)
            ctypes.set_errno(errno.EPERM)
            return -1

        return refused

    intercept(refuse)
    with pytest.raises(SyscallError, match="mknodat"):
        files.mknodat(AT_FDCWD, "/tmp/x", 0o100644)
    with pytest.raises(SyscallError, match="sethostname"):
        uts.sethostname("x")
    assert names == ["mknodat", "sethostname"]


@pytest.mark.parametrize("release", ["5.9.16", "4.19.0-17-amd64", "3.10", "mine"])
def test_an_old_kernel_is_refused(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release=release))
    with pytest.raises(KernelTooOld, match="5.10 or later"):
        require_kernel()


@pytest.mark.parametrize("release", ["5.10.0-8-amd64", "5.10", "6.18.1", "10.0-rc1"])
def test_a_newer_kernel_is_not(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release=release))
    require_kernel()
