"""Which system a program takes this one for: personality(2).

Lesson  A 64-bit kernel can say that its machine is the 32-bit one, for build scripts that only ask uname.
Read    personality(2), setarch(8)
"""
from __future__ import annotations

from ctypes import c_ulong

from .flags import Enumeration
from .libc import failure, function

__all__ = ["PER", "personality"]


class PER(Enumeration):
    """The execution domains that are in use."""

    LINUX = 0
    LINUX32 = 8


_personality = function("personality", c_ulong)


def personality(domain: int) -> int:
    """Set the execution domain of this process, and return the one before; 0xffffffff asks only."""
    if not 0 <= domain < 1 << 32:
        raise OverflowError(f"domain {domain} out of range")
    previous = _personality(domain)
    if previous < 0:
        raise failure("personality", domain=hex(domain))
    return previous
