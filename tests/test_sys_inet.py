"""Internet and Ethernet addresses."""
from __future__ import annotations

import ipaddress

import pytest

from nscontainer.sys.inet import family_of, in_network, inet_ntop, inet_pton, mac_bytes, mac_text, parse_prefix


@pytest.mark.parametrize("text", ["10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "fd00::ab:1", "fe80::1",
                                  "::ffff:10.0.0.1"])
def test_an_address_is_what_the_standard_library_says_and_comes_back(text: str) -> None:
    raw = inet_pton(text)
    assert raw == ipaddress.ip_address(text).packed
    assert inet_ntop(raw) == text


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.1/24", "010.0.0.1", " 10.0.0.1", "10.0.0.1 ",
                                  "fe80::1%eth0", ":::", "localhost", "0x7f.1", "٣.0.0.1", "1.2.3.4\n"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no IP address"):
        inet_pton(text)


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        inet_pton("10.0.0.1\0")


def test_a_prefix_is_an_address_and_a_length() -> None:
    assert parse_prefix("10.0.0.2/24") == (bytes((10, 0, 0, 2)), 24)
    assert parse_prefix("::/0") == (bytes(16), 0)


@pytest.mark.parametrize("text, problem", [
    ("10.0.0.2", "has no prefix length, such as 10.0.0.2/24"), ("fd00::1", "such as fd00::1/64"),
    ("10.0.0.2/33", "between 0 and 32"), ("fd00::1/129", "between 0 and 128"), ("10.0.0.2/", "between"),
    ("10.0.0.2/-1", "between"), ("10.0.0.2/255.255.255.0", "between"), ("10.0.0.2/٣", "between"), ("/24", "no IP"),
    ("10.0.0.2/" + "0" * 5000, "between")])
def test_what_is_no_prefix_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_prefix(text)


def test_an_address_is_in_a_network_when_its_first_bits_are_the_networks() -> None:
    network, length = parse_prefix("10.0.0.129/25")
    assert in_network(inet_pton("10.0.0.128"), network, length)
    assert not in_network(inet_pton("10.0.0.127"), network, length)
    assert not in_network(inet_pton("::"), network, length)
    assert in_network(inet_pton("::1"), bytes(16), 0)


def test_a_length_tells_the_family() -> None:
    assert (family_of(bytes(4)), family_of(bytes(16))) == (2, 10)
    with pytest.raises(ValueError, match="5 bytes are no IP address"):
        family_of(bytes(5))
    with pytest.raises(ValueError, match="bytes are no IP address"):
        inet_ntop(b"")


def test_a_hardware_address_is_six_bytes() -> None:
    assert mac_bytes("02:42:ac:11:00:0f") == mac_bytes("02-42-AC-11-00-0F") == bytes((2, 0x42, 0xAC, 0x11, 0, 15))
    assert mac_text(bytes(range(6))) == "00:01:02:03:04:05"


@pytest.mark.parametrize("text, problem", [
    ("", "six bytes"), ("02:42:ac:11:00", "six bytes"), ("2:42:ac:11:0:2", "six bytes"), ("02:42:ac:11:00:0g", "six"),
    ("02:42:ac:11:00: 2", "six bytes"), ("01:00:5e:00:00:01", "of a group"), ("00:00:00:00:00:00", "of nobody")])
def test_what_no_interface_can_have_as_its_hardware_address_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mac_bytes(text)
