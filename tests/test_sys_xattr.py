"""Extended attributes of a path itself."""
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.xattr import XATTR_CREATE, XATTR_REPLACE, lgetxattr, llistxattr, lsetxattr

pytestmark = pytest.mark.needs("root")  # whatever the file system of tmp_path, it has trusted.* for root


def test_a_value_of_any_length_comes_back(tmp_path: Path) -> None:
    path = str(tmp_path)
    for value in (b"", b"\0\xff", os.urandom(256), os.urandom(1000)):
        lsetxattr(path, "trusted.test", value)
        assert lgetxattr(path, "trusted.test") == value
    assert "trusted.test" in llistxattr(path)


def test_a_list_longer_than_the_first_buffer_is_whole(tmp_path: Path) -> None:
    names = {f"trusted.{number:03}{'x' * 40}" for number in range(20)}
    for name in names:
        lsetxattr(str(tmp_path), name, b"")
    assert names <= set(llistxattr(str(tmp_path)))


def test_only_a_new_one_or_only_an_old_one_is_set(tmp_path: Path) -> None:
    with pytest.raises(SyscallError, match="lsetxattr.*name=trusted.a, size=1.*ENODATA"):
        lsetxattr(str(tmp_path), "trusted.a", b"1", XATTR_REPLACE)
    lsetxattr(str(tmp_path), "trusted.a", b"1", XATTR_CREATE)
    with pytest.raises(SyscallError, match="EEXIST"):
        lsetxattr(str(tmp_path), "trusted.a", b"2", XATTR_CREATE)
    assert lgetxattr(str(tmp_path), "trusted.a") == b"1"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    lsetxattr(str(link), "trusted.link", b"own")
    assert "trusted.link" not in llistxattr(str(tmp_path))
    assert lgetxattr(str(link), "trusted.link") == b"own"


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SyscallError) as caught:
        lgetxattr(str(tmp_path), "trusted.nothing")
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(SyscallError, match="llistxattr on '/nowhere': ENOENT"):
        llistxattr("/nowhere")
    with pytest.raises(OverflowError):
        lsetxattr(str(tmp_path), "trusted.a", b"", 1 << 32)
