"""Containers with networks. Each test has a network namespace of its own, with a bridge, in the place of the host's."""
from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from ctypes import set_errno
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, finish, run_in, standard, with_user_namespace
from nscontainer import (
    PIPE,
    ConfigInvalid,
    Container,
    ContainerError,
    Factory,
    Namespace,
    NamespaceType,
    Network,
    Process,
)
from nscontainer.network import outside
from nscontainer.sys import libc
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.inet import inet_ntop, mac_text, parse_prefix
from nscontainer.sys.rtnetlink import Rtnetlink
from nscontainer.validate import ConfigValidator

OnBridge = Callable[..., Any]
pytestmark = pytest.mark.needs("root", "veth", "bridge", "busybox")


class Host:
    """What a test has: a factory, a root file system, and a host's network that is its own."""

    def __init__(self, factory: Factory, rootfs: Path) -> None:
        self.factory, self.rootfs = factory, rootfs
        self.kernel = Rtnetlink()
        self.kernel.new_link("br0", "bridge")
        self.kernel.set_link(self.kernel.link("br0").index, up=True)

    def container(self, id: str, *networks: dict[str, Any], **changes: Any) -> Container:
        """Make a container with the loopback interface and *networks*."""
        return self.factory.create(id, standard(self.rootfs, networks=[{"type": "loopback"}, *networks], **changes))

    def links(self) -> list[str]:
        """The host's interfaces but the first two, once those that are on their way out have gone."""
        deadline = time.monotonic() + 2
        while len(found := [link.name for link in self.kernel.links()]) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return found[2:]


@pytest.fixture
def on_bridge(in_child: Callable[..., Any], busybox_template: Path, tmp_path: Path) -> OnBridge:
    """Run a function that takes a Host in a child; at its end nothing of its containers may be among the interfaces."""
    def run(function: Callable[[Host], Any]) -> Any:
        def alone() -> Any:
            unshare(CLONE.NEWNET)
            with Factory(tmp_path / "state") as factory:
                host = Host(factory, busybox_template)
                result = function(host)
                assert [host.links(), os.listdir(tmp_path / "state")] == [[], []]
            return result

        return in_child(alone)

    return run


def veth(number: int, **changes: Any) -> dict[str, Any]:
    """A veth on the bridge, with an address of each family that ends in *number*."""
    return {"type": "veth", "name": "eth0", "bridge": "br0", "address": f"10.5.0.{number}/24",
            "ipv6_address": f"fd05::{number}/64", **changes}


def sleeping(container: Container) -> Process:
    """Start something that stays."""
    process = Process(["sleep", "30"], env=ENVIRONMENT)
    container.start(process)
    return process


def inside(container: Container) -> Rtnetlink:
    """Return a socket to the container's network."""
    namespace = outside.open_network(container.state().init_process_pid)
    try:
        return outside.socket_in(namespace)
    finally:
        os.close(namespace)


def refused(action: Callable[[], object]) -> ContainerError:
    """Return the one error that *action* ends in."""
    with pytest.raises(ContainerError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


# --- what a container can do with its interfaces


@pytest.mark.parametrize("program, address", [
    (["ping", "-c2", "-i0.1", "-W5"], "10.5.0.2"), (["ping", "-6", "-c2", "-i0.1", "-W5"], "fd05::2")])
def test_two_containers_on_a_bridge_reach_each_other_and_are_counted(
        on_bridge: OnBridge, program: list[str], address: str) -> None:
    def ping(host: Host) -> list[Any]:
        with host.container("a", veth(2)) as one, host.container("b", veth(3)) as other:
            sleeping(one)
            script = f"{' '.join(program)} {address} && read wait"
            process = Process(["sh", "-c", script], env=ENVIRONMENT, stdin=PIPE, stdout=PIPE)
            other.start(process)
            lines = [process.stdout.readline().decode() for _ in range(5)]
            counters = [container.stats().interfaces[0] for container in (one, other)]
            process.stdin.write(b"\n")
            process.stdin.close()
            text, ended = finish(process)
            return ["".join([*lines, text]), ended.returncode,
                    [[one.name == container.config().networks[1].host_interface_name, one.rx_packets, one.tx_packets,
                      one.rx_bytes, one.tx_bytes] for one, container in zip(counters, (one, other))]]

    text, status, counters = on_bridge(ping)
    assert "2 packets received, 0% packet loss" in text and status == 0
    for named, received, sent, received_bytes, sent_bytes in counters:
        assert named and received >= 2 and sent >= 2
        assert received_bytes >= 2 * 84 and sent_bytes >= 2 * 84


def test_both_ends_are_as_described(on_bridge: OnBridge) -> None:
    def look(host: Host) -> list[Any]:
        with host.container("a", veth(2, mac_address="02:00:00:00:00:07", mtu=1400, txqueuelen=77, hairpin_mode=True,
                                      host_interface_name="vhost", gateway="10.5.0.1", ipv6_gateway="fd05::1")) as one:
            sleeping(one)
            end = host.kernel.link("vhost")
            with inside(one) as there:
                other = there.link("eth0")
                addresses = [f"{a.address.hex()}/{a.prefix}" for a in there.addresses(other.index) if a.scope == 0]
                gateways = [route.gateway.hex() for family in (2, 10) for route in there.routes(family)
                            if route.gateway]
            return [[other.up, other.mtu, other.txqueuelen, mac_text(other.mac)],
                    [end.up, end.mtu, end.txqueuelen, end.master == host.kernel.link("br0").index, end.alias],
                    addresses, gateways]

    other, end, addresses, gateways = on_bridge(look)
    assert other == [True, 1400, 77, "02:00:00:00:00:07"]
    assert end[:4] == [True, 1400, 77, True] and end[4].startswith("nscontainer /") and end[4].endswith("/state/a")
    assert addresses == ["0a050002/24", f"fd05{'00' * 13}02/64"]
    assert gateways == ["0a050001", f"fd05{'00' * 13}01"]


@pytest.mark.needs("ip")
def test_the_bridge_sends_back_where_that_was_asked_for(on_bridge: OnBridge) -> None:
    def look(host: Host) -> str:
        with host.container("a", veth(2, hairpin_mode=True, host_interface_name="vhost")) as one:
            sleeping(one)
            return os.popen("ip -details link show vhost").read()

    assert " hairpin on " in on_bridge(look)


def test_a_name_on_the_host_is_made_up_and_remembered(on_bridge: OnBridge) -> None:
    def load(host: Host) -> list[Any]:
        config = standard(host.rootfs, networks=[veth(2)])
        with host.factory.create("a", config) as one:
            sleeping(one)
            again = host.factory.load("a")
            return [config.networks[0].host_interface_name, one.config().networks[0].host_interface_name,
                    [link.name for link in host.kernel.links()][2:], again.stats().interfaces[0].name]

    given, name, links, loaded = on_bridge(load)
    assert given == "" and name[:4] == "veth" and len(name) == 11
    assert links == [name] and loaded == name


def test_routes_lead_where_they_are_said_to(on_bridge: OnBridge) -> None:
    def look(host: Host) -> list[str]:
        routes = [
            {"destination": "10.6.1.2/16", "gateway": "10.5.0.1", "source": "10.5.0.2", "interface_name": "eth0"},
            {"destination": "10.7.0.0/16", "interface_name": "eth0"},
            {"gateway": "10.5.0.9"},
            {"destination": "fd06::/64", "gateway": "fd05::1"},
        ]
        with host.container("a", veth(2), routes=routes) as one:
            return run_in(one, "sh", "-c", "ip route; ip -6 route")[0].splitlines()

    lines = [" ".join(line.split()) for line in on_bridge(look)]
    for line in ("10.6.0.0/16 via 10.5.0.1 dev eth0 src 10.5.0.2", "10.7.0.0/16 dev eth0 scope link",
                 "default via 10.5.0.9 dev eth0", "fd06::/64 via fd05::1 dev eth0 metric 1024"):
        assert line in lines


@pytest.mark.needs("macvlan")
def test_two_macvlans_of_one_parent_reach_each_other_and_are_counted_inside(on_bridge: OnBridge) -> None:
    def ping(host: Host) -> list[Any]:
        def macvlan(number: int) -> dict[str, Any]:
            return {"type": "macvlan", "parent": "br0", "name": "eth0", "address": f"10.5.0.{number}/24"}

        with host.container("a", macvlan(2)) as one, host.container("b", macvlan(3)) as other:
            sleeping(one)
            text, ended = run_in(other, "ping", "-c2", "-i0.1", "-W5", "10.5.0.2")
            found = one.stats().interfaces
            return [text, ended.returncode, [[x.name, x.rx_packets >= 2, x.tx_packets >= 2] for x in found]]

    text, status, counted = on_bridge(ping)
    assert status == 0, text
    assert counted == [["eth0", True, True]]


@pytest.mark.parametrize("kind, fields", [
    pytest.param("ipvlan", {"parent": "br0", "mode": "l2"}, marks=pytest.mark.needs("ipvlan")),
    pytest.param("dummy", {"mac_address": "02:00:00:00:00:07"}, marks=pytest.mark.needs("dummy"))])
def test_other_kinds_are_made_too(on_bridge: OnBridge, kind: str, fields: dict[str, str]) -> None:
    def look(host: Host) -> str:
        with host.container("a", {"type": kind, "name": "net0", "address": "10.5.0.2/24", **fields}) as one:
            return run_in(one, "ip", "address", "show", "net0")[0]

    text = on_bridge(look)
    assert "inet 10.5.0.2/24" in text and ",UP" in text


@pytest.mark.parametrize("kind", ["ipvlan", "dummy"])
def test_a_kind_that_the_kernel_lacks_is_one_error(on_bridge: OnBridge, kind: str) -> None:
    import host as needs

    if needs.missing(kind) is None:
        pytest.skip(f"this kernel has {kind}")

    def start(host: Host) -> str:
        parent = "br0" if kind == "ipvlan" else ""
        with host.container("a", veth(2), {"type": kind, "name": "net0", "parent": parent}) as one:
            return str(refused(lambda: sleeping(one)))

    assert on_bridge(start).endswith(f"; this kernel has no interfaces of type {kind}")


def test_a_container_in_a_user_namespace_gets_its_interface(on_bridge: OnBridge) -> None:
    def look(host: Host) -> str:
        config = with_user_namespace(host.rootfs, 0, 0, 1000, networks=[veth(2)])
        with host.factory.create("a", config) as one:
            return run_in(one, "ip", "address", "show", "eth0")[0]

    assert "inet 10.5.0.2/24" in on_bridge(look)


def test_containers_alike_one_after_another_may_use_processes_made_ahead(on_bridge: OnBridge) -> None:
    def run_many(host: Host) -> list[str]:
        found = []
        for _ in range(5):
            with host.container("a", veth(2, host_interface_name="vhost")) as one:
                found += run_in(one, "ip", "-4", "-o", "address", "show", "eth0")[0].split()[3:4]
        return found

    assert on_bridge(run_many) == ["10.5.0.2/24"] * 5


def test_a_container_can_be_started_again_as_soon_as_it_has_ended(on_bridge: OnBridge) -> None:
    def again(host: Host) -> list[Any]:
        with host.container("a", veth(2, host_interface_name="vhost")) as one:
            return [run_in(one, "true")[1].returncode for _ in range(4)]

    assert on_bridge(again) == [0] * 4


# --- a network that is shared, and interfaces that come and go


def test_a_network_is_made_kept_and_shared_by_its_path(on_bridge: OnBridge, tmp_path: Path) -> None:
    def share(host: Host) -> list[Any]:
        with host.container("a", veth(2)) as first:
            sleeping(first)
            path = f"/proc/self/fd/{outside.open_network(first.state().init_process_pid)}"
            path = path.replace("self", str(os.getpid()))
        config = standard(host.rootfs, networks=[veth(3, name="eth1", host_interface_name="vhost")])
        config.namespaces.add(NamespaceType.NEWNET, path)
        with host.factory.create("b", config) as second:
            sleeping(second)
            with outside.socket_in(os.open(path, os.O_RDONLY)) as there:
                before = [link.name for link in there.links()]
                second.__exit__()
                return [before, [link.name for link in there.links()], host.links()]

    assert on_bridge(share) == [["lo", "eth1"], ["lo"], []]


def test_a_name_that_a_shared_network_has_already_is_one_error(on_bridge: OnBridge) -> None:
    def clash(host: Host) -> list[str]:
        with host.container("a", veth(2)) as first:
            sleeping(first)
            config = standard(host.rootfs, networks=[veth(3, name="eth1"), veth(4)])
            config.namespaces = type(config.namespaces)(
                Namespace(one.type, f"/proc/{first.state().init_process_pid}/ns/net" if one.type == "NEWNET" else "")
                for one in config.namespaces)
            with host.factory.create("b", config) as second:
                error = refused(lambda: sleeping(second))
            return [str(error), run_in(first, "ls", "/sys/class/net")[0]]

    error, names = on_bridge(clash)
    assert error.startswith("networks[1].name: the container's network has an interface 'eth0' already")
    assert names.split() == ["eth0", "lo"]


def test_an_interface_comes_and_goes_while_a_container_runs(on_bridge: OnBridge) -> None:
    def come_and_go(host: Host) -> list[Any]:
        with host.container("a") as one:
            sleeping(one)
            one.attach_network(Network.from_json(veth(2, gateway="10.5.0.1")))
            with_it = run_in(one, "ip", "-4", "-o", "address", "show", "eth0")[0].split()[3]
            stored = host.factory.load("a").config().networks[1].name
            clash = str(refused(lambda: one.attach_network(Network.from_json(veth(3)))))
            wrong = str(refused(lambda: one.attach_network(Network.from_json(veth(3, name="x", gateway="9.9.9.9")))))
            one.detach_network("eth0")
            names = run_in(one, "ls", "/sys/class/net")[0].split()
            unknown = str(refused(lambda: one.detach_network("eth0")))
            kept = len(host.factory.load("a").config().networks)
            return [with_it, stored, clash, wrong, names, unknown, kept, host.links()]

    with_it, stored, clash, wrong, names, unknown, kept, links = on_bridge(come_and_go)
    assert (with_it, stored, names, kept, links) == ("10.5.0.2/24", "eth0", ["lo"], 1, [])
    assert clash == "networks[2].name: networks[1] has the name 'eth0' already"
    assert wrong.startswith("networks[2].gateway: 9.9.9.9 is out of reach")
    assert unknown == "networks: none has the name 'eth0'"


def test_nothing_is_attached_to_what_does_not_run_or_shares_the_hosts_network(on_bridge: OnBridge) -> None:
    def attach(host: Host) -> list[str]:
        network = Network.from_json(veth(2))
        with host.container("a") as one:
            errors = [str(refused(lambda: one.attach_network(network))), str(refused(lambda: one.detach_network("x")))]
        kinds = [{"type": kind} for kind in ("NEWNS", "NEWPID", "NEWUTS")]
        config = standard(host.rootfs, networks=[], namespaces=kinds, mounts=[])
        with host.factory.create("b", config) as other:
            sleeping(other)
            return [*errors, str(refused(lambda: other.attach_network(network)))]

    first, second, third = on_bridge(attach)
    assert first == second == "container 'a' is not running"
    assert third.startswith("networks: needs a namespace of type NEWNET")


def test_an_attachment_that_fails_leaves_nothing(on_bridge: OnBridge) -> None:
    def attach(host: Host) -> list[Any]:
        with host.container("a", veth(2, gateway="10.5.0.1")) as one:
            sleeping(one)
            second = Network.from_json(veth(3, name="eth1", gateway="10.5.0.1"))  # a second default route
            error = str(refused(lambda: one.attach_network(second)))
            return [error, run_in(one, "ls", "/sys/class/net")[0].split(), len(host.kernel.links()),
                    len(one.config().networks)]

    error, names, links, networks = on_bridge(attach)
    assert "EEXIST" in error and "networks[2].gateway" in error
    assert (names, links, networks) == (["eth0", "lo"], 3, 2)


def test_a_veth_is_taken_out_of_its_bridge_and_put_back(on_bridge: OnBridge) -> None:
    def unplug(host: Host) -> list[int]:
        with host.container("a", veth(2, host_interface_name="vhost")) as one:
            sleeping(one)
            network, masters = one.config().networks[1], []
            outside.detach(host.kernel, network)
            masters.append(host.kernel.link("vhost").master)
            outside.attach(host.kernel, network)
            masters.append(host.kernel.link("vhost").master - host.kernel.link("br0").index)
            return masters

    assert on_bridge(unplug) == [0, 0]


def test_what_only_has_the_same_name_is_not_removed(on_bridge: OnBridge) -> None:
    def replace(host: Host) -> list[str]:
        with host.container("a", veth(2, host_interface_name="vhost")) as one:
            process = sleeping(one)
            one.signal(9)
            process.wait(10)
            assert host.links() == []
            host.kernel.new_link("vhost", "bridge")
        found = [link.name for link in host.kernel.links()]
        host.kernel.delete_link("vhost")
        return found

    assert on_bridge(replace) == ["lo", "br0", "vhost"]


# --- interfaces that are taken over


def with_device(host: Host, name: str = "wan0", *addresses: str) -> int:
    """Give the host an interface that is up, one end of a pair, and return its index."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    host.kernel.new_veth(name, f"{name}p", here)
    os.close(here)
    for end in (f"{name}p", name):
        host.kernel.set_link(host.kernel.link(end).index, up=True)
    index = host.kernel.link(name).index
    for address in addresses:
        host.kernel.new_address(index, *parse_prefix(address))
    return index


def described(kernel: Rtnetlink, name: str) -> list[Any]:
    """Return whether an interface is up, and its addresses that reach further than the link."""
    link = kernel.link(name)
    return [link.up, *sorted(f"{inet_ntop(one.address)}/{one.prefix}" for one in kernel.addresses(link.index)
                             if one.scope == 0)]


@pytest.mark.parametrize("wanted, name", [("", "wan0"), ("eth0", "eth0"), ("eth%d", "eth0")])
def test_an_interface_of_the_host_becomes_the_containers_with_its_addresses(
        on_bridge: OnBridge, wanted: str, name: str) -> None:
    def take(host: Host) -> list[Any]:
        with_device(host, "wan0", "10.7.0.2/24", "fd07::2/64")
        with host.container("a", net_devices={"wan0": {"name": wanted}}) as one:
            sleeping(one)
            with inside(one) as there:
                return [described(there, name), [link.name for link in host.kernel.links()][2:]]

    assert on_bridge(take) == [[True, "10.7.0.2/24", "fd07::2/64"], ["wan0p"]]


def test_a_number_is_found_for_a_name_that_is_taken(on_bridge: OnBridge) -> None:
    def take(host: Host) -> list[str]:
        with_device(host, "wan0")
        with_device(host, "wan1")
        with host.container("a", net_devices={"wan0": {"name": "eth0"}, "wan1": {"name": "eth%d"}}) as one:
            return run_in(one, "ls", "/sys/class/net")[0].split()

    assert on_bridge(take) == ["eth0", "eth1", "lo"]


@pytest.mark.parametrize("changes", [
    {"networks": [veth(2, name="eth1", bridge="br9")]}, {"routes": [{"interface_name": "eth9"}]},
    {"net_devices": {"wan0": {"name": "eth0"}, "nosuch0": {}}}])
def test_a_start_that_fails_gives_the_interface_back_as_it_was(on_bridge: OnBridge, changes: dict[str, Any]) -> None:
    def start(host: Host) -> list[Any]:
        with_device(host, "wan0", "10.7.0.2/24", "fd07::2/64")
        config = standard(host.rootfs, **{"net_devices": {"wan0": {"name": "eth0"}}, **changes})
        with host.factory.create("a", config) as one:
            text = str(refused(lambda: sleeping(one)))
        found = [text, described(host.kernel, "wan0")]
        host.kernel.delete_link("wan0")
        return found

    text, found = on_bridge(start)
    assert found == [True, "10.7.0.2/24", "fd07::2/64"]
    assert "br9" in text or "eth9" in text or text.startswith("net_devices.nosuch0: the host has no interface")


def test_a_name_that_is_taken_in_there_is_one_error(on_bridge: OnBridge) -> None:
    def clash(host: Host) -> list[Any]:
        with_device(host, "wan0")
        with host.container("a", veth(2)) as first:
            sleeping(first)
            config = standard(host.rootfs, networks=[], net_devices={"wan0": {"name": "eth0"}})
            config.namespaces = type(config.namespaces)(
                Namespace(one.type, f"/proc/{first.state().init_process_pid}/ns/net" if one.type == "NEWNET" else "")
                for one in config.namespaces)
            with host.factory.create("b", config) as second:
                text = str(refused(lambda: sleeping(second)))
        found = [text, described(host.kernel, "wan0")]
        host.kernel.delete_link("wan0")
        return found

    text, found = on_bridge(clash)
    assert text.startswith("net_devices.wan0.name: the container's network has an interface 'eth0' already")
    assert found == [True]


@pytest.mark.parametrize("devices, path, problem", [
    ({"a/b": {}}, 'net_devices["a/b"]', "no interface's name"),
    ({"wan0": {"name": "a b"}}, "net_devices.wan0.name", "no interface's name"),
    ({"wan0": {"name": "%d%d"}}, "net_devices.wan0.name", "no interface's name"),
    ({"wan0": {"name": "fifteen-bytes%d"}}, None, ""),
    ({"wan0": {"name": "sixteen-bytes-%d"}}, "net_devices.wan0.name", "16 bytes"),
    ({"lo": {"name": "x"}}, "net_devices.lo", "'lo' is the loopback interface"),
    ({"wan0": {"name": "eth0"}}, "net_devices.wan0.name", "networks[0] has the name 'eth0' already"),
    ({"wan0": {"name": "x"}, "x": {}}, "net_devices.x.name", "net_devices.wan0 has the name 'x' already"),
    ({"wan0": {"name": "eth%d"}}, None, ""),
])
def test_a_device_that_cannot_be_taken_over_is_one_complaint(
        tmp_path: Path, devices: dict[str, Any], path: str | None, problem: str) -> None:
    config = standard(tmp_path, networks=[veth(2)], net_devices=devices)
    if path is None:
        ConfigValidator().validate(config)
        return
    error = refused(lambda: ConfigValidator().validate(config))
    assert isinstance(error, ConfigInvalid)
    assert error.path == path
    assert problem in error.problem


# --- what goes wrong


@pytest.mark.parametrize("changes, path, problem", [
    ({"type": "token ring"}, "type", "'token ring' is none of loopback, veth"),
    ({"name": ""}, "name", "is empty"),
    ({"name": "sixteen-bytes-it"}, "name", "16 bytes; an interface's name has 1 to 15"),
    ({"name": "é" * 8}, "name", "16 bytes"),
    ({"name": "a/b"}, "name", "'a/b' is no interface's name"),
    ({"name": "eth%d"}, "name", "no interface's name"),
    ({"name": "a b"}, "name", "no interface's name"),
    ({"name": ".."}, "name", "no interface's name"),
    ({"name": "lo"}, "name", "'lo' is the loopback interface"),
    ({"host_interface_name": "../../etc"}, "host_interface_name", "no interface's name"),
    ({"host_interface_name": "sixteen-bytes-it"}, "host_interface_name", "16 bytes"),
    ({"bridge": "a/b"}, "bridge", "no interface's name"),
    ({"bridge": "", "hairpin_mode": True}, "hairpin_mode", "is about a bridge"),
    ({"mac_address": "02:00"}, "mac_address", "is no Ethernet address"),
    ({"mac_address": "01:00:5e:00:00:01"}, "mac_address", "is the address of a group"),
    ({"address": "10.5.0.2"}, "address", "'10.5.0.2' has no prefix length"),
    ({"address": "10.5.0.300/24"}, "address", "'10.5.0.300' is no IP address"),
    ({"address": "10.5.0.2/33"}, "address", "a prefix length is between 0 and 32"),
    ({"address": "fd05::2/64"}, "address", "'fd05::2/64' is not of IPv4"),
    ({"ipv6_address": "10.5.0.2/24"}, "ipv6_address", "is not of IPv6"),
    ({"gateway": "10.5.0.1/24"}, "gateway", "'10.5.0.1/24' is no IP address"),
    ({"gateway": "router"}, "gateway", "'router' is no IP address"),
    ({"gateway": "10.6.0.1"}, "gateway", "10.6.0.1 is out of reach: it is not in the network of 10.5.0.2/24"),
    ({"gateway": "10.5.0.2"}, "gateway", "is the interface's own address"),
    ({"gateway": "10.5.0.1", "address": ""}, "gateway", "is out of reach without address"),
    ({"ipv6_gateway": "fd06::1"}, "ipv6_gateway", "fd06::1 is out of reach"),
    ({"mtu": 67}, "mtu", "67 is not between 1280 and 65535"),
    ({"mtu": 1279}, "mtu", "1279 is not between 1280 and 65535"),
    ({"mtu": 65536, "ipv6_address": ""}, "mtu", "65536 is not between 68 and 65535"),
    ({"parent": "br0"}, "parent", "means nothing to a veth"),
    ({"mode": "bridge"}, "mode", "means nothing to a veth"),
    ({"type": "macvlan"}, "bridge", "means nothing to a macvlan"),
    ({"type": "macvlan", "bridge": ""}, "parent", "is empty"),
    ({"type": "macvlan", "bridge": "", "parent": "br0", "mode": "l2"}, "mode", "'l2' is none of private, vepa, bri"),
    ({"type": "ipvlan", "bridge": "", "parent": "br0", "mac_address": "02:00:00:00:00:07"}, "mac_address", "nothing"),
])
def test_a_network_that_cannot_be_is_one_complaint_before_anything_is_made(
        tmp_path: Path, changes: dict[str, Any], path: str, problem: str) -> None:
    error = refused(lambda: ConfigValidator().validate(standard(tmp_path, networks=[veth(2, **changes)])))
    assert isinstance(error, ConfigInvalid)
    assert error.path == f"networks[0].{path}"
    assert problem in error.problem


@pytest.mark.parametrize("route, path, problem", [
    ({}, "", "leads nowhere"),
    ({"destination": "10.0.0.0/8"}, "", "leads nowhere"),
    ({"destination": "10.0.0.0", "gateway": "10.5.0.1"}, ".destination", "has no prefix length"),
    ({"gateway": "10.5.0.0/24"}, ".gateway", "is no IP address"),
    ({"gateway": "10.5.0.1", "source": "10.5.0.2/24"}, ".source", "is no IP address"),
    ({"destination": "10.0.0.0/8", "gateway": "fd05::1"}, ".gateway", "'fd05::1' is not of the family of destination"),
    ({"gateway": "fd05::1", "source": "10.5.0.2"}, ".source", "'10.5.0.2' is not of the family of gateway"),
    ({"interface_name": "a/b"}, ".interface_name", "no interface's name"),
])
def test_a_route_that_cannot_be_is_one_complaint(
        tmp_path: Path, route: dict[str, str], path: str, problem: str) -> None:
    error = refused(lambda: ConfigValidator().validate(standard(tmp_path, routes=[route])))
    assert isinstance(error, ConfigInvalid)
    assert error.path == f"routes[0]{path}"
    assert problem in error.problem


def test_two_interfaces_of_one_name_are_refused(tmp_path: Path) -> None:
    for networks, field in (([veth(2), veth(3)], "name"), (
            [veth(2, host_interface_name="v"), veth(3, name="eth1", host_interface_name="v")], "host_interface_name")):
        error = refused(lambda: ConfigValidator().validate(standard(tmp_path, networks=networks)))  # noqa: B023
        assert str(error).startswith(f"networks[1].{field}: networks[0] has the name")


def test_a_gateway_of_the_link_itself_needs_no_address(tmp_path: Path) -> None:
    ConfigValidator().validate(standard(tmp_path, networks=[veth(2, ipv6_address="", ipv6_gateway="fe80::1")]))


@pytest.mark.parametrize("networks, changes, error", [
    ([veth(3, name="eth1", bridge="br9")], {}, "networks[2].bridge: the host has no interface 'br9'"),
    ([veth(3, name="eth1", bridge="lo")], {}, "networks[2].bridge: 'lo' is no bridge"),
    ([veth(3, name="eth1", host_interface_name="br0")], {},
     "networks[2].host_interface_name: the host has an interface 'br0' already"),
    ([{"type": "macvlan", "name": "eth1", "parent": "nosuch0"}], {},
     "networks[2].parent: the host has no interface 'nosuch0'"),
    ([], {"routes": [{"destination": "10.9.0.0/16", "gateway": "10.8.0.1"}]},
     "configure the network: RTM_NEWROUTE (destination=10.9.0.0/16, gateway=10.8.0.1"),
    ([], {"routes": [{"interface_name": "eth9"}]}, "configure the network: RTM_GETLINK on 'eth9': ENODEV"),
    ([], {"routes": [{"gateway": "10.5.0.1", "source": "10.5.0.77"}]}, "configure the network: RTM_NEWROUTE (desti"),
    ([veth(2, name="eth1", ipv6_address="", gateway="10.5.0.1"), veth(3, name="eth2", gateway="10.5.0.1")], {},
     "configure the network: RTM_NEWROUTE (destination=default, gateway=10.5.0.1"),
    ([], {"mounts": [{"source": "x", "destination": "/x", "device": "no-such-file-system"}]}, "mount the container's"),
])
def test_a_start_that_fails_is_one_error_and_takes_back_every_interface(
        on_bridge: OnBridge, networks: list[dict[str, Any]], changes: dict[str, Any], error: str) -> None:
    def start(host: Host) -> list[Any]:
        with host.container("a", veth(2, host_interface_name="vhost"), *networks, **changes) as one:
            text = str(refused(lambda: sleeping(one)))
            at_once = [link.name for link in host.kernel.links()][2:]
            return [text, at_once, one.status().name]

    text, at_once, status = on_bridge(start)
    assert text.startswith(error)
    assert (at_once, status) == ([], "DESTROYED")


def test_a_program_that_is_not_there_leaves_no_interface(on_bridge: OnBridge) -> None:
    def start(host: Host) -> list[str]:
        with host.container("a", veth(2)) as one:
            refused(lambda: one.start(Process(["/no/such"], env=ENVIRONMENT)))
            return [link.name for link in host.kernel.links()]

    assert on_bridge(start) == ["lo", "br0"]


def test_whichever_call_fails_nothing_is_left(on_bridge: OnBridge) -> None:
    """Each call that the caller makes to the network fails in turn."""
    def walk(host: Host) -> list[Any]:
        other = {"type": "macvlan", "name": "eth1", "parent": "br0"}
        host.factory.create("warm", standard(host.rootfs)).__exit__()
        wanted = [veth(2, host_interface_name="vhost", hairpin_mode=True)]
        import host as needs

        if needs.missing("macvlan") is None:
            wanted.append(other)
        failures, survived = 0, []
        for name in ("socket", "setsockopt", "sendto", "recvfrom", "setns"):
            for nth in range(1, 60):
                left: list[int] = [nth]
                fired: list[int] = []

                def wrap(called: str, call: Any, name: str = name, left: list[int] = left,
                         fired: list[int] = fired) -> Any:
                    def failing(*arguments: Any) -> int:
                        left[0] -= 1
                        if left[0]:
                            return call(*arguments)  # type: ignore[no-any-return]
                        fired.append(1)
                        set_errno(errno.ENOMEM)
                        return -1

                    return failing if called == name else call

                one = host.container("a", *wanted)
                libc.intercept(wrap)
                try:
                    sleeping(one)
                except ContainerError as error:
                    failures += 1
                    if "ENOMEM" not in str(error):
                        survived.append(f"{name} {nth}: {error}")
                finally:
                    libc.intercept(None)
                    one.__exit__()
                if links := host.links():
                    survived.append(f"{name} {nth}: {links}")
                if not fired:
                    break
        return [failures, survived]

    failures, survived = on_bridge(walk)
    assert survived == []
    assert failures > 20


@pytest.mark.needs("user", "userns", "user_python")
def test_an_ordinary_user_hears_what_it_takes(
        as_user: OnBridge, user_rootfs: Path, user_tmp_path: Path) -> None:
    def start() -> str:
        with Factory(user_tmp_path / "state") as factory:
            config = with_user_namespace(user_rootfs, os.geteuid(), os.getegid(), networks=[veth(2, bridge="")])
            with factory.create("a", config) as one:
                return str(refused(lambda: sleeping(one)))

    assert "EPERM" in (text := as_user(start))
    assert text.endswith("; to make an interface takes CAP_NET_ADMIN over the host's network")
