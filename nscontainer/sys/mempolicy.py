"""From which nodes of a NUMA machine a process gets its memory: set_mempolicy(2).

Lesson  Memory is near some CPUs and far from others; without a policy it comes from where the process runs.
Read    set_mempolicy(2), numa(7), the kernel's admin-guide/mm/numa_memory_policy.rst
"""
from __future__ import annotations

from ctypes import c_char_p, c_int, c_ulong

from .flags import Enumeration, Flags
from .libc import failure, syscall

__all__ = ["MPOL", "MPOL_F", "set_mempolicy"]


class MPOL(Enumeration):
    """The policies."""

    DEFAULT = 0
    PREFERRED = 1
    BIND = 2
    INTERLEAVE = 3
    LOCAL = 4
    PREFERRED_MANY = 5         # Linux 5.15
    WEIGHTED_INTERLEAVE = 6    # Linux 6.9


class MPOL_F(Flags):
    """What goes with a policy."""

    NUMA_BALANCING = 1 << 13   # Linux 5.12, with BIND
    RELATIVE_NODES = 1 << 14
    STATIC_NODES = 1 << 15


_set_mempolicy = syscall("set_mempolicy", c_int, c_char_p, c_ulong)


def set_mempolicy(mode: int, flags: int = 0, nodes: int = 0) -> None:
    """Set the policy of this thread; bit N of *nodes* is node N.

    EINVAL   an unknown policy, nodes where there may be none, or none where there must be some
    ENOSYS   a kernel without NUMA
    """
    if not (0 <= mode < 1 << 13 and 0 <= flags < 1 << 16 and 0 <= nodes < 1 << 1024):
        raise OverflowError(f"mode {mode}, flags {flags:#x} or nodes {nodes:#x} out of range")
    size = (nodes.bit_length() + 63) // 64 * 8
    # The kernel uses one bit less than it is told: get_nodes() in mm/mempolicy.c.
    mask, bits = (nodes.to_bytes(size, "little"), size * 8 + 1) if nodes else (None, 0)
    if _set_mempolicy(mode | flags, mask, bits) < 0:
        raise failure("set_mempolicy", mode=mode, flags=hex(flags), nodes=hex(nodes))
