"""The names of the host, as uname(2) tells them in this UTS namespace.

Lesson  What a container calls itself is two strings in a namespace of their own.
Read    sethostname(2), setdomainname(2), uts_namespaces(7)
Needs   CAP_SYS_ADMIN in the user namespace that owns the UTS namespace
"""
from __future__ import annotations

from ctypes import c_char_p, c_size_t

from .libc import encoded, failure, function

__all__ = ["setdomainname", "sethostname"]

_sethostname = function("sethostname", c_char_p, c_size_t)
_setdomainname = function("setdomainname", c_char_p, c_size_t)


def sethostname(name: str) -> None:
    """Set the host's name. EINVAL: longer than 64 bytes."""
    raw = encoded(name) or b""
    if _sethostname(raw, len(raw)) < 0:
        raise failure("sethostname", name=name)


def setdomainname(name: str) -> None:
    """Set the name of the NIS domain, not of DNS. EINVAL: longer than 64 bytes."""
    raw = encoded(name) or b""
    if _setdomainname(raw, len(raw)) < 0:
        raise failure("setdomainname", name=name)
