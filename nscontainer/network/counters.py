"""What went through an interface.

Read    rtnetlink(7) on IFLA_STATS64, proc_pid_net(5) on net/dev, the kernel's ABI/testing/sysfs-class-net-statistics
"""
from __future__ import annotations

import os

from ..errors import ConfigInvalid, SystemError_
from ..sys.files import AT_FDCWD, close, openat, read_all
from ..sys.netdevice import interface_name_wrong
from ..sys.rtnetlink import Rtnetlink

__all__ = ["COUNTERS", "read_counters", "read_counters_of"]

COUNTERS = ("bytes", "packets", "errors", "dropped")
_MOST = 1 << 24  # bytes of net/dev: a hundred thousand interfaces


def read_counters(interface: str) -> dict[str, int]:
    """Return rx_bytes, tx_bytes and so on of an interface of our own network namespace; no name, no counters."""
    if not interface:
        return {}
    if interface_name_wrong(interface) is not None:
        raise ConfigInvalid("networks.host_interface_name", f"{interface!r} is no interface's name")
    with Rtnetlink() as kernel:
        return kernel.link(interface).counters


def read_counters_of(pid: int) -> dict[str, dict[str, int]]:
    """Return the counters of every interface of a process's network namespace, by name.

    In /proc the dropped packets that came in include those the hardware had no room for.
    """
    fd = openat(AT_FDCWD, f"/proc/{pid}/net/dev", os.O_RDONLY)
    try:
        lines = os.fsdecode(read_all(fd, _MOST)).splitlines()
    finally:
        close(fd)
    found = {}
    for line in lines[2:]:  # two lines of headings
        name, _, numbers = line.rpartition(":")
        columns = numbers.split()
        if len(columns) < 12:
            raise SystemError_(f"/proc/{pid}/net/dev has a line of {len(columns)} columns: {line!r}")
        found[name.strip()] = {f"{way}_{what}": int(columns[start + at])
                               for way, start in (("rx", 0), ("tx", 8)) for at, what in enumerate(COUNTERS)}
    return found
