"""Netlink messages: attributes, answers in several parts, refusals with the kernel's words."""
from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys import netlink
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.netlink import NLM_F, Netlink, attribute, attributes, nested, string, unsigned, words

InChild = Callable[..., Any]
ROUTE, GETLINK, SETLINK = 0, 18, 19
ERROR, DONE = 2, 3


# --- attributes


def test_an_attribute_is_its_length_its_type_and_its_value_padded_to_four_bytes() -> None:
    assert attribute(3, b"lo\0") == struct.pack("=HH", 7, 3) + b"lo\0\0" == string(3, "lo")
    assert attribute(9) == struct.pack("=HH", 4, 9)
    assert unsigned(4, 1500) == struct.pack("=HHI", 8, 4, 1500)
    assert unsigned(4, 1, 8) == struct.pack("=HHB3x", 5, 4, 1)
    assert nested(18, string(1, "veth")) == struct.pack("=HH", 16, 18 | 0x8000) + string(1, "veth")


def test_attributes_come_back_as_they_went() -> None:
    inside = unsigned(1, 7, 16) + string(2, "x")
    found = attributes(string(3, "eth0") + nested(18, inside) + unsigned(13, 1 << 40, 64))
    assert words(found[3]) == "eth0"
    assert attributes(found[18]) == {1: struct.pack("=H", 7), 2: b"x\0"}
    assert struct.unpack("=Q", found[13]) == (1 << 40,)


@pytest.mark.parametrize("build", [
    lambda: unsigned(1, 1 << 32), lambda: unsigned(1, -1), lambda: unsigned(1, 256, 8), lambda: attribute(-1),
    lambda: attribute(0x4000), lambda: attribute(1, bytes(0xFFFC)), lambda: nested(1, bytes(0xFFFC)),
    lambda: nested(0x4000)])
def test_what_does_not_fit_is_refused_and_not_cut(build: Callable[[], bytes]) -> None:
    with pytest.raises(OverflowError):
        build()


@pytest.mark.parametrize("data", [struct.pack("=HH", 9, 1) + b"1234", struct.pack("=HH", 3, 1), struct.pack(
    "=HH", 0, 1) + bytes(8)])
def test_an_attribute_that_goes_beyond_its_message_is_an_error(data: bytes) -> None:
    with pytest.raises(SyscallError, match="EBADMSG"):
        attributes(data)


def test_text_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        string(3, "lo\0x")


# --- the kernel


def test_flags_print_as_in_c() -> None:
    assert str(NLM_F.REQUEST | NLM_F.DUMP) == "NLM_F_REQUEST|NLM_F_DUMP"


def test_every_entry_of_a_table_comes() -> None:
    with Netlink(ROUTE) as kernel:
        found = kernel.dump("RTM_GETLINK", GETLINK, bytes(16))
    names = {words(attributes(body[16:])[3]) for body in found}
    assert "lo" in names and len(names) == len(found)


def test_one_thing_comes_alone_and_the_socket_is_good_for_more() -> None:
    with Netlink(ROUTE) as kernel:
        for _ in range(3):
            body = kernel.get("RTM_GETLINK", GETLINK, bytes(16) + string(3, "lo"))
            assert words(attributes(body[16:])[3]) == "lo"
            with pytest.raises(SyscallError, match="ENODEV"):
                kernel.get("RTM_GETLINK", GETLINK, bytes(16) + string(3, "nosuch0"), "nosuch0")


@pytest.mark.needs("root")
def test_the_kernels_own_words_are_in_the_error(in_child: InChild) -> None:
    def set_a_small_mtu() -> str:
        unshare(CLONE.NEWNET)
        with Netlink(ROUTE) as kernel:
            try:
                kernel.change("RTM_SETLINK", SETLINK, 0, struct.pack("=BxHiII", 0, 0, 1, 0, 0) + attribute(4, b"1"),
                              "lo", mtu="odd")
            except SyscallError as error:
                return str(error)
        return "no error"

    text = in_child(set_a_small_mtu)
    assert text.startswith("RTM_SETLINK on 'lo' (mtu=odd, message=") and text.endswith("): ERANGE, Numerical result "
                                                                                    "out of range")


def test_a_protocol_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="99 is no netlink protocol"):
        Netlink(99)


def test_the_socket_is_closed_and_not_inherited() -> None:
    before = os.listdir("/proc/self/fd")
    kernel = Netlink(ROUTE)
    assert not os.get_inheritable(kernel._fd)
    kernel.close()
    kernel.close()
    assert os.listdir("/proc/self/fd") == before


# --- answers that are not to be had on demand


def message(kind: int, body: bytes = b"", flags: int = 0, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


class Scripted(Netlink):
    """Hears prepared datagrams in the place of the kernel's."""

    def __init__(self, *datagrams: bytes) -> None:
        super().__init__(ROUTE)
        self.datagrams = list(datagrams)

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._sequence += 1
        return self._sequence

    def _receive(self) -> bytes:
        return self.datagrams.pop(0)


def test_a_table_that_changed_while_it_was_read_is_read_again() -> None:
    with Scripted(message(16, b"old1", NLM_F.DUMP_INTR) + message(DONE, bytes(4)),
                  message(16, b"old2", sequence=2), message(DONE, bytes(4), NLM_F.DUMP_INTR, 2),
                  message(16, b"new1", sequence=3), message(16, b"new2", sequence=3) + message(DONE, bytes(4), 0, 3),
                  ) as kernel:
        assert kernel.dump("RTM_GETLINK", GETLINK, b"") == [b"new1", b"new2"]


def test_a_table_that_never_holds_still_is_an_error() -> None:
    answers = [message(DONE, bytes(4), NLM_F.DUMP_INTR, at) for at in range(1, 20)]
    with Scripted(*answers) as kernel, pytest.raises(SyscallError, match="changed during each of 10 looks.*EAGAIN"):
        kernel.dump("RTM_GETLINK", GETLINK, b"")


def test_an_answer_to_an_older_question_is_passed_over() -> None:
    with Scripted(message(16, b"late", sequence=0) + message(16, b"mine"), message(ERROR, bytes(20))) as kernel:
        assert kernel.get("RTM_GETLINK", GETLINK, b"") == b"mine"


def test_two_answers_to_one_question_are_an_error() -> None:
    kernel = Scripted(message(16, b"1234") * 2, message(ERROR, bytes(20)))
    with kernel, pytest.raises(SyscallError, match="2 answers to one question"):
        kernel.get("RTM_GETLINK", GETLINK, b"")


REFUSED = message(SETLINK, string(3, "longer"))


@pytest.mark.parametrize("body, flags, said", [
    (REFUSED[:16] + string(1, "no way"), 0x300, "message=no way"),       # the refused message was left out
    (REFUSED + string(1, "no way"), 0x200, "message=no way"),            # or not
    (REFUSED[:16] + unsigned(5, 3), 0x300, "message=attribute 3 is missing"),
    (REFUSED[:16], 0x100, None)])
def test_a_refusal_is_read_with_its_attributes(body: bytes, flags: int, said: str | None) -> None:
    kernel = Scripted(message(ERROR, struct.pack("=i", -errno.EPERM) + body, flags))
    with kernel, pytest.raises(SyscallError) as caught:
        kernel.change("RTM_SETLINK", SETLINK, 0, b"", "eth0", up=True)
    details = "up=True" if said is None else f"up=True, {said}"
    assert str(caught.value) == f"RTM_SETLINK on 'eth0' ({details}): EPERM, {os.strerror(errno.EPERM)}"


def test_a_dump_that_fails_at_its_end_is_an_error() -> None:
    done = message(DONE, struct.pack("=i", -errno.EINVAL) + string(1, "bad filter"), 0x202)
    with Scripted(message(16, b"1234"), done) as kernel, pytest.raises(SyscallError, match="bad filter.*EINVAL"):
        kernel.dump("RTM_GETROUTE", 26, b"")


@pytest.mark.parametrize("answer, error", [
    (struct.pack("=IHHII", 99, 16, 0, 1, 0), "EBADMSG"), (struct.pack("=IHHII", 15, 16, 0, 1, 0), "EBADMSG"),
    (message(ERROR, b"\0\0"), "EBADMSG"), (message(4), "ENOBUFS")])
def test_an_answer_that_makes_no_sense_is_an_error(answer: bytes, error: str) -> None:
    with Scripted(answer) as kernel, pytest.raises(SyscallError, match=error):
        kernel.change("RTM_SETLINK", SETLINK, 0, b"")


def test_what_another_process_sends_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    real, forged = netlink._recvfrom, [True]

    def receive(fd: int, buffer: int, size: int, flags: int, sender: int, sender_size: int) -> int:
        got = real(fd, buffer, size, flags, sender, sender_size)
        if forged:
            forged.clear()
            netlink._Address.from_address(sender).pid = 4711
        return got

    monkeypatch.setattr(netlink, "_recvfrom", receive)
    with Netlink(ROUTE) as kernel, pytest.raises(SyscallError, match="0 answers"):
        kernel.get("RTM_GETLINK", GETLINK, bytes(16) + string(3, "lo"))
