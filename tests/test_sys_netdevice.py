"""Network interfaces by their oldest calls."""
from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.netdevice import set_interface_up

InChild = Callable[..., Any]


@pytest.mark.needs("root")
def test_the_loopback_of_a_new_namespace_comes_up(in_child: InChild) -> None:
    def speak_to_oneself() -> list[Any]:
        unshare(CLONE.NEWNET)
        try:
            socket.create_connection(("127.0.0.1", 1), 5)
        except OSError as error:
            before = error.errno
        set_interface_up("lo")
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 5).close()
        return [before]

    assert in_child(speak_to_oneself) == [errno.ENETUNREACH]


def test_an_interface_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SyscallError, match=r"ioctl \(request=SIOCGIFFLAGS, interface=nowhere0\): ENODEV"):
        set_interface_up("nowhere0")


@pytest.mark.parametrize("name", ["", "sixteen-bytes-it", "lo\0"])
def test_what_is_no_interfaces_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no interface's name|NUL byte"):
        set_interface_up(name)
