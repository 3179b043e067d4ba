"""Interfaces, addresses, routes and neighbours, each in a network namespace of the test's own."""
from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.inet import AF, inet_pton, mac_bytes, parse_prefix
from nscontainer.sys.netlink import unsigned
from nscontainer.sys.rtnetlink import IFA_F, RT_SCOPE, Rtnetlink

InChild = Callable[..., Any]
MAC = mac_bytes("02:00:00:00:00:05")
needs_veth = pytest.mark.needs("root", "veth", "bridge")


def refusal(action: Callable[[], object]) -> str:
    """Return the error that *action* ends in, or what it returned."""
    try:
        return f"no error but {action()!r}"
    except (SyscallError, ValueError, OverflowError) as error:
        return str(error)


def two_networks() -> tuple[Rtnetlink, Rtnetlink, int]:
    """Make two new networks and stay in the first; sockets to both, and a descriptor of the second."""
    unshare(CLONE.NEWNET)
    there, namespace = Rtnetlink(), os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(CLONE.NEWNET)
    return Rtnetlink(), there, namespace


@needs_veth
def test_a_veth_pair_is_born_into_two_networks(in_child: InChild) -> None:
    def make() -> list[Any]:
        here, there, namespace = two_networks()
        here.new_veth("v0", "eth0", namespace, mac=MAC, mtu=1400, txqueuelen=77)
        end, peer = here.link("v0"), there.link("eth0")
        before = [[link.name for link in kernel.links()] for kernel in (here, there)]
        here.delete_link("v0")
        return [before, [end.kind, end.mtu, end.txqueuelen, end.up, end.mac == MAC],
                [peer.kind, peer.mtu, peer.txqueuelen, peer.up, peer.mac == MAC],
                [link.name for link in there.links()]]

    assert in_child(make) == [[["lo", "v0"], ["lo", "eth0"]], ["veth", 1400, 77, False, False],
                              ["veth", 1400, 77, False, True], ["lo"]]


@needs_veth
def test_an_interface_is_changed_and_what_is_not_named_stays(in_child: InChild) -> None:
    def change() -> list[Any]:
        here, _, namespace = two_networks()
        here.new_link("br0", "bridge")
        here.new_veth("v0", "eth0", namespace)
        index, bridge = here.link("v0").index, here.link("br0").index
        here.set_link(index, master=bridge, alias="é", up=True)
        here.set_hairpin(index, True)
        first = here.link(index)
        here.set_link(index, mtu=1300)
        second = here.link(index)
        here.set_link(index, up=False)  # before Linux 6.2 what is up keeps its name
        here.set_link(index, master=0, name="v1", txqueuelen=5, mac=MAC)
        third = here.link("v1")
        return [[x.up, x.master == bridge, x.alias, x.mtu, x.txqueuelen] for x in (first, second, third)]

    assert in_child(change) == [[True, True, "é", 1500, 1000], [True, True, "é", 1300, 1000],
                                [False, False, "é", 1300, 5]]


@pytest.mark.needs("root", "veth", "bridge", "ip")
def test_ip_sees_what_we_have_made(in_child: InChild) -> None:
    def look() -> list[Any]:
        def ip(*words: str) -> Any:
            done = subprocess.run(["ip", "-json", "-details", *words], check=True, capture_output=True)
            return json.loads(done.stdout)

        unshare(CLONE.NEWNET)
        here = Rtnetlink()
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        here.new_link("br0", "bridge")
        here.new_veth("v0", "v1", namespace, mac=MAC)
        index, bridge = here.link("v0").index, here.link("br0").index
        for link in here.links():
            here.set_link(link.index, up=True)
        here.set_link(index, master=bridge, alias="mine")
        here.set_hairpin(index, True)
        here.new_address(bridge, *parse_prefix("10.1.0.1/30"))
        here.new_address(bridge, *parse_prefix("fd01::1/64"), flags=IFA_F.NODAD)
        here.new_route(AF.INET, *parse_prefix("10.2.0.0/16"), gateway=inet_pton("10.1.0.2"),
                       source=inet_pton("10.1.0.1"))
        here.new_route(AF.INET6, gateway=inet_pton("fd01::2"), index=bridge)
        here.new_route(AF.INET, *parse_prefix("10.3.0.0/16"), index=bridge, scope=RT_SCOPE.LINK)
        here.new_neighbour(bridge, inet_pton("10.1.0.2"), MAC)
        end, other = ip("link", "show", "v0")[0], ip("link", "show", "v1")[0]
        addresses = {(one["local"], one["prefixlen"], one.get("broadcast"), one.get("nodad", False), one["scope"])
                     for one in ip("address", "show", "br0")[0]["addr_info"] if one["scope"] == "global"}
        routes = ip("route", "show", "proto", "boot") + ip("-6", "route", "show", "default")
        return [
            [end["master"], end["ifalias"], end["linkinfo"]["info_slave_data"]["hairpin"]],
            other["address"], sorted(addresses),
            sorted([one["dst"], one.get("gateway"), one["dev"], one.get("prefsrc"), one.get("scope")]
                   for one in routes),
            [[one["dst"], one["lladdr"], one["state"]] for one in ip("neighbour", "show") if "02:" in one["lladdr"]],
        ]

    assert in_child(look) == [
        ["br0", "mine", True], "02:00:00:00:00:05",
        [["10.1.0.1", 30, "10.1.0.3", False, "global"], ["fd01::1", 64, None, True, "global"]],
        [["10.2.0.0/16", "10.1.0.2", "br0", "10.1.0.1", "global"], ["10.3.0.0/16", None, "br0", None, "link"],
         ["default", "fd01::2", "br0", None, "global"]],
        [["10.1.0.2", "02:00:00:00:00:05", ["PERMANENT"]]]]


@needs_veth
def test_what_is_added_is_listed_and_can_be_removed(in_child: InChild) -> None:
    def add_and_remove() -> list[Any]:
        unshare(CLONE.NEWNET)
        here = Rtnetlink()
        here.new_link("br0", "bridge")
        index = here.link("br0").index
        here.set_link(index, up=True)
        counts = []

        def count() -> None:
            counts.append([
                sorted(f"{one.address.hex()}/{one.prefix}" for one in here.addresses(index) if one.scope == 0),
                [one.destination.hex() for one in here.routes(AF.INET) if one.gateway],
                [one.address.hex() for one in here.neighbours() if one.mac == MAC]])

        for address, prefix in (parse_prefix("10.1.0.1/24"), parse_prefix("fd01::1/64")):
            here.new_address(index, address, prefix)
        here.new_route(AF.INET, *parse_prefix("10.2.0.0/16"), gateway=inet_pton("10.1.0.2"))
        here.new_neighbour(index, inet_pton("10.1.0.3"), MAC)
        count()
        here.delete_neighbour(index, inet_pton("10.1.0.3"))
        here.delete_route(AF.INET, *parse_prefix("10.2.0.0/16"))
        here.delete_address(index, *parse_prefix("10.1.0.1/24"))
        here.delete_address(index, *parse_prefix("fd01::1/64"))
        count()
        return counts

    assert in_child(add_and_remove) == [
        [["0a010001/24", f"fd01{'00' * 13}01/64"], ["0a020000"], ["0a010003"]], [[], [], []]]


@pytest.mark.needs("root", "bridge", "macvlan")
def test_a_macvlan_is_made_in_another_network_and_works_through_its_parent(in_child: InChild) -> None:
    def make() -> list[Any]:
        here, there, namespace = two_networks()
        here.new_link("br0", "bridge")
        here.new_link("m0", "macvlan", unsigned(1, 4), parent=here.link("br0").index, mac=MAC, namespace=namespace)
        found = there.link("m0")
        return [found.kind, found.mac == MAC, found.parent == here.link("br0").index, len(here.links())]

    assert in_child(make) == ["macvlan", True, True, 2]


@needs_veth
def test_each_refusal_is_one_error_in_the_kernels_words(in_child: InChild) -> None:
    def refused() -> dict[str, str]:
        here, there, namespace = two_networks()
        here.new_veth("v0", "eth0", namespace)
        index = there.link("eth0").index
        there.set_link(index, up=True)
        there.new_address(index, *parse_prefix("10.0.0.2/24"))
        far, near = inet_pton("10.9.9.9"), inet_pton("10.0.0.9")
        return {
            "taken here": refusal(lambda: here.new_veth("v0", "eth1", namespace)),
            "taken there": refusal(lambda: here.new_veth("v1", "eth0", namespace)),
            "kind": refusal(lambda: here.new_link("x", "no-such-kind")),
            "none": refusal(lambda: here.link("nosuch0")),
            "index": refusal(lambda: here.link(999)),
            "mtu": refusal(lambda: here.set_link(here.link("v0").index, mtu=20)),
            "loopback": refusal(lambda: here.delete_link(1)),
            "gateway": refusal(lambda: there.new_route(AF.INET, gateway=far)),
            "source": refusal(lambda: there.new_route(AF.INET, gateway=near, source=far)),
            "twice": refusal(lambda: there.new_address(index, *parse_prefix("10.0.0.2/24"))),
            "left": ", ".join(link.name for link in here.links()),
        }

    found = in_child(refused)
    assert found.pop("left") == "lo, v0"
    assert found["gateway"] == ("RTM_NEWROUTE (destination=default, gateway=10.9.9.9, message=Nexthop has invalid "
                                "gateway): ENETUNREACH, Network is unreachable")
    expected = {"taken here": "EEXIST", "taken there": "EEXIST", "kind": "Unknown device type", "none": "ENODEV",
                "index": "ENODEV", "mtu": "mtu less than device minimum", "loopback": "not supported",
                "gateway": "10.9.9.9", "source": "EINVAL", "twice": "EEXIST"}
    assert {name: text for name, text in expected.items() if text not in found[name]} == {}


def test_what_does_not_fit_a_message_never_reaches_the_kernel() -> None:
    with Rtnetlink() as kernel:
        for wrong in (
                lambda: kernel.link(-1), lambda: kernel.link(1 << 31), lambda: kernel.link(""),
                lambda: kernel.link("sixteen-bytes-it"), lambda: kernel.link("a/b"), lambda: kernel.link("a%d"),
                lambda: kernel.link("a b"), lambda: kernel.link(".."), lambda: kernel.set_link(1, mtu=1 << 32),
                lambda: kernel.new_address(1, bytes(4), 33), lambda: kernel.new_address(1, bytes(5), 1),
                lambda: kernel.new_address(1, bytes(4), 8, scope=256), lambda: kernel.new_route(256),
                lambda: kernel.new_route(2, bytes(4), 8, gateway=bytes(16)), lambda: kernel.new_route(2, b"", 1),
                lambda: kernel.new_neighbour(1, b"", MAC), lambda: kernel.new_link("x", "a\0b")):
            with pytest.raises((ValueError, OverflowError)):
                wrong()


@pytest.mark.needs("userns")
def test_an_ordinary_user_may_look_but_not_touch(as_user: InChild) -> None:
    def touch() -> list[str]:
        with Rtnetlink() as kernel:
            return [kernel.link("lo").name, refusal(lambda: kernel.new_link("x", "bridge"))]

    assert as_user(touch)[0] == "lo"
    assert "EPERM" in as_user(touch)[1]
