"""Network interfaces of a container: those it starts with, and what went through them.

Lesson  A new network namespace has one interface, lo, and even that is down.
Read    network_namespaces(7), netdevice(7), the kernel's ABI/testing/sysfs-class-net-statistics
"""
from __future__ import annotations

import os

from .errors import ConfigInvalid
from .sys.files import AT_FDCWD, close, openat, read_all
from .sys.netdevice import set_interface_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    from .config import Network

__all__ = ["COUNTERS", "configure_inside", "read_counters"]


def _loopback(network: Network) -> None:
    set_interface_up("lo")


INSIDE: Final[dict[str, Callable[[Network], None]]] = {"loopback": _loopback}


def configure_inside(networks: Iterable[Network]) -> None:
    """Set up the interfaces, in the container's network namespace."""
    for at, network in enumerate(networks):
        strategy = INSIDE.get(network.type)
        if strategy is None:
            raise ConfigInvalid(f"networks[{at}].type", f"expected one of {', '.join(INSIDE)}, got {network.type!r}")
        strategy(network)


COUNTERS = ("bytes", "packets", "errors", "dropped")


def read_counters(interface: str) -> dict[str, int]:
    """Return rx_bytes, tx_bytes and so on of an interface of this network namespace: sysfs; no name, no counters."""
    if not interface:
        return {}
    if "/" in interface or interface in (".", ".."):
        raise ConfigInvalid("networks.host_interface_name", f"{interface!r} is no interface's name")
    return {f"{way}_{what}": _read(f"/sys/class/net/{interface}/statistics/{way}_{what}")
            for way in ("rx", "tx") for what in COUNTERS}


def _read(path: str) -> int:
    fd = openat(AT_FDCWD, path, os.O_RDONLY)
    try:
        return int(read_all(fd, 64))
    finally:
        close(fd)
