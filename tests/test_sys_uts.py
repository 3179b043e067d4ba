"""The names of the host, in a namespace of their own."""
from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.uts import setdomainname, sethostname

InChild = Callable[..., Any]


@pytest.mark.needs("root")
def test_names_change_in_one_namespace(in_child: InChild) -> None:
    def rename() -> list[str]:
        unshare(CLONE.NEWUTS)
        sethostname("a" * 64)
        setdomainname("a.domain")
        first = [os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text().strip()]
        sethostname("short")
        setdomainname("")
        return [*first, socket.gethostname(), Path("/proc/sys/kernel/domainname").read_text().strip()]

    before = os.uname().nodename
    assert in_child(rename) == ["a" * 64, "a.domain", "short", ""]
    assert os.uname().nodename == before


@pytest.mark.needs("root")
def test_a_name_that_is_too_long_is_refused(in_child: InChild) -> None:
    def rename() -> str:
        unshare(CLONE.NEWUTS)
        try:
            sethostname("a" * 65)
        except SyscallError as error:
            return str(error)
        return os.uname().nodename

    assert in_child(rename) == f"sethostname (name={'a' * 65}): EINVAL, Invalid argument"


def test_a_name_is_not_cut() -> None:
    for call in (sethostname, setdomainname):
        with pytest.raises(ValueError, match="NUL"):
            call("short\0long")
