"""Internet and Ethernet addresses: text into bytes, and back.

Lesson  An address is 4, 6 or 16 bytes, the most significant first; a prefix says how many bits of it name the network.
Read    inet_pton(3), inet_ntop(3), ip(7), ipv6(7), RFC 4632 on prefixes
Needs   no capability, and no look at the host
"""
from __future__ import annotations

from ctypes import addressof, c_char_p, c_int, c_uint, c_void_p, create_string_buffer

from .flags import Enumeration
from .libc import encoded, failure, function

__all__ = ["AF", "family_of", "in_network", "inet_ntop", "inet_pton", "mac_bytes", "mac_text", "parse_prefix"]


class AF(Enumeration):
    """Address families, those that an interface deals with."""

    UNSPEC = 0
    INET = 2
    BRIDGE = 7
    INET6 = 10


_inet_pton = function("inet_pton", c_int, c_char_p, c_void_p)
_inet_ntop = function("inet_ntop", c_int, c_char_p, c_void_p, c_uint, restype=c_void_p)

_AF_INET, _AF_INET6 = 2, 10
_FAMILIES = {4: _AF_INET, 16: _AF_INET6}
_LONGEST = 46  # INET6_ADDRSTRLEN


def inet_pton(text: str) -> bytes:
    """Return the 4 bytes of an IPv4 address or the 16 of an IPv6 one; ValueError when *text* is neither.

    No name is looked up, no zone ("%eth0") taken, and a number of an IPv4 address is decimal, whatever it begins with.
    """
    raw = encoded(text) or b""
    family, size = (_AF_INET6, 16) if b":" in raw else (_AF_INET, 4)
    buffer = create_string_buffer(size)
    done = _inet_pton(family, raw, addressof(buffer))
    if done < 0:
        raise failure("inet_pton", address=text)
    if not done:
        raise ValueError(f"{text!r} is no IP address")
    return buffer.raw


def inet_ntop(address: bytes) -> str:
    """Return the usual text of 4 or 16 bytes."""
    buffer = create_string_buffer(_LONGEST)
    if (_inet_ntop(family_of(address), address, addressof(buffer), _LONGEST) or -1) < 0:
        raise failure("inet_ntop", address=address.hex())
    return buffer.value.decode("ascii")


def family_of(address: bytes) -> int:
    """Return AF_INET or AF_INET6, by the length."""
    if len(address) not in _FAMILIES:
        raise ValueError(f"{len(address)} bytes are no IP address")
    return _FAMILIES[len(address)]


def parse_prefix(text: str) -> tuple[bytes, int]:
    """Return address and length of a prefix: "10.0.0.2/24" is (the four bytes, 24). ValueError when it is none."""
    address, slash, length = text.partition("/")
    raw = inet_pton(address)
    if not slash:
        raise ValueError(f"{text!r} has no prefix length, such as {address}/{24 if len(raw) == 4 else 64}")
    if not (length.isascii() and length.isdecimal() and len(length) < 4 and int(length) <= 8 * len(raw)):
        raise ValueError(f"{text!r}: a prefix length is between 0 and {8 * len(raw)}")
    return raw, int(length)


def in_network(address: bytes, network: bytes, length: int) -> bool:
    """Say whether the first *length* bits of both are the same; addresses of two families share nothing."""
    host_bits = 8 * len(network) - length
    return len(address) == len(network) and (
        int.from_bytes(address, "big") >> host_bits == int.from_bytes(network, "big") >> host_bits)


def mac_bytes(text: str) -> bytes:
    """Return the six bytes of "02:42:ac:11:00:02"; ValueError when it is no address that one interface can have."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or any(len(part) != 2 or not set(part) <= _HEX for part in parts):
        raise ValueError(f"{text!r} is no Ethernet address: six bytes such as 02:42:ac:11:00:02")
    raw = bytes.fromhex("".join(parts))
    if raw[0] & 1 or not any(raw):
        raise ValueError(f"{text!r} is the address of {'a group' if raw[0] & 1 else 'nobody'}; "
                         "one interface's has an even first byte")
    return raw


_HEX = frozenset("0123456789abcdefABCDEF")


def mac_text(raw: bytes) -> str:
    """Return the usual text of a hardware address."""
    return raw.hex(":")
