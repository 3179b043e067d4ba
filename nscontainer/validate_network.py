"""The rules of config.Network and config.Route; validate.py asks them.

The kernel says of most of these EINVAL and no more, in the middle of a start.
"""
from __future__ import annotations

from .errors import ConfigInvalid
from .strictjson import joined, step
from .sys.inet import in_network, inet_pton, mac_bytes, parse_prefix
from .sys.netdevice import interface_name_wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from .config import NetDevice, Network, Route

__all__ = ["MODES", "NETWORKS", "check", "check_devices", "check_routes"]

# A type of network, and which fields it does not know.
NETWORKS: Final = {
    "loopback": (),  # it has the addresses it has; what else is said of it goes unheard, as in libcontainer
    "veth": ("parent", "mode"),
    "macvlan": ("bridge", "host_interface_name", "hairpin_mode"),
    "ipvlan": ("bridge", "host_interface_name", "hairpin_mode", "mac_address"),
    "dummy": ("parent", "mode", "bridge", "host_interface_name", "hairpin_mode"),
}
MODES: Final = {
    "macvlan": ("", "private", "vepa", "bridge", "passthru"),
    "ipvlan": ("", "l2", "l3", "l3s"),
}
_LEAST_MTU, _MOST_MTU, _LEAST_MTU6 = 68, 65535, 1280   # of Ethernet, and of IPv6: RFC 8200
_FAMILIES = (("address", "gateway", 4, "IPv4"), ("ipv6_address", "ipv6_gateway", 16, "IPv6"))
_LINK_LOCAL = inet_pton("fe80::")


def check(networks: Iterable[Network]) -> None:
    """An interface can be made as it is described, and no two have one name."""
    seen: dict[tuple[str, str], int] = {}
    for index, network in enumerate(networks):
        at = f"networks[{index}]"
        if network.type not in NETWORKS:
            raise ConfigInvalid(f"{at}.type", f"{network.type!r} is none of {', '.join(NETWORKS)}")
        if network.type == "loopback":
            continue
        for field in NETWORKS[network.type]:
            if getattr(network, field):
                raise ConfigInvalid(f"{at}.{field}", f"means nothing to a {network.type}", hint="leave it out")
        _names(at, network)
        for field in ("name", "host_interface_name"):
            name = getattr(network, field)
            if name and seen.setdefault((field, name), index) != index:
                raise ConfigInvalid(f"{at}.{field}", f"networks[{seen[field, name]}] has the name {name!r} already")
        _hardware(at, network)
        for family in _FAMILIES:
            _addresses(at, network, *family)


def _names(at: str, network: Network) -> None:
    needed = ("name", "parent") if network.type in MODES else ("name",)
    for field in ("name", "host_interface_name", "bridge", "parent"):
        name = getattr(network, field)
        wrong = interface_name_wrong(name) if name or field in needed else None
        if wrong is not None:
            raise ConfigInvalid(f"{at}.{field}", wrong, hint="name an interface of the host" if field == "parent"
                                else None)
    if network.name == "lo":
        raise ConfigInvalid(f"{at}.name", "'lo' is the loopback interface, which every network has already")
    if network.hairpin_mode and not network.bridge:
        raise ConfigInvalid(f"{at}.hairpin_mode", "is about a bridge, and there is none",
                            hint=f"name one in {at}.bridge")
    if network.mode not in MODES.get(network.type, ("",)):
        raise ConfigInvalid(f"{at}.mode", f"{network.mode!r} is none of {', '.join(MODES[network.type][1:])}")


def _hardware(at: str, network: Network) -> None:
    if network.mac_address:
        try:
            mac_bytes(network.mac_address)
        except ValueError as error:
            raise ConfigInvalid(f"{at}.mac_address", str(error)) from None
    least = _LEAST_MTU6 if network.ipv6_address else _LEAST_MTU
    if network.mtu and not least <= network.mtu <= _MOST_MTU:
        raise ConfigInvalid(f"{at}.mtu", f"{network.mtu} is not between {least} and {_MOST_MTU}",
                            hint="IPv6 needs 1280 bytes" if network.mtu < least == _LEAST_MTU6 else None)


def _addresses(at: str, network: Network, field: str, gateway_field: str, size: int, family: str) -> None:
    text, gateway_text = getattr(network, field), getattr(network, gateway_field)
    address, prefix = _prefix(f"{at}.{field}", text) if text else (b"", 0)
    gateway = _address(f"{at}.{gateway_field}", gateway_text) if gateway_text else b""
    for name, raw in ((field, address), (gateway_field, gateway)):
        if raw and len(raw) != size:
            raise ConfigInvalid(f"{at}.{name}", f"{getattr(network, name)!r} is not of {family}",
                                hint="address and gateway are IPv4's, ipv6_address and ipv6_gateway are IPv6's")
    if not gateway or (size == 16 and in_network(gateway, _LINK_LOCAL, 10)):
        return
    if not address:
        raise ConfigInvalid(f"{at}.{gateway_field}", f"is out of reach without {field}", hint=f"give {at}.{field} too")
    if not in_network(gateway, address, prefix):
        raise ConfigInvalid(f"{at}.{gateway_field}", f"{gateway_text} is out of reach: it is not in the network of "
                            f"{text}", hint="a gateway is a neighbour")
    if gateway == address:
        raise ConfigInvalid(f"{at}.{gateway_field}", f"{gateway_text} is the interface's own address",
                            hint="a gateway is somebody else")


def _prefix(at: str, text: str) -> tuple[bytes, int]:
    try:
        return parse_prefix(text)
    except ValueError as error:
        raise ConfigInvalid(at, str(error)) from None


def _address(at: str, text: str) -> bytes:
    try:
        return inet_pton(text)
    except ValueError as error:
        raise ConfigInvalid(at, str(error), hint="it takes no prefix length" if "/" in text else None) from None


def check_devices(devices: dict[str, NetDevice], networks: Iterable[Network]) -> None:
    """What is taken over from the host gets a name that nothing else in the container has."""
    taken = {network.name: f"networks[{index}]" for index, network in enumerate(networks)}
    for name, device in devices.items():
        at = joined("net_devices", step(name))
        inside = device.name or name
        # The kernel puts the first number that is free in the place of %d: dev_alloc_name() in net/core/dev.c.
        numbered = inside.endswith("%d") and name != inside
        wrong = interface_name_wrong(name) or interface_name_wrong(inside[:-2] + "00" if numbered else inside)
        if wrong is not None:
            raise ConfigInvalid(at if interface_name_wrong(name) else f"{at}.name", wrong)
        if "lo" in (name, inside):
            raise ConfigInvalid(at, "'lo' is the loopback interface, of which every network has its own")
        if not numbered and taken.setdefault(inside, at) != at:
            raise ConfigInvalid(f"{at}.name", f"{taken[inside]} has the name {inside!r} already",
                                hint="choose another, or let it end in %d")


def check_routes(routes: Iterable[Route]) -> None:
    """A route says at least one of where to, through whom and which way, and all in one family."""
    for index, route in enumerate(routes):
        at = f"routes[{index}]"
        sizes: dict[str, Any] = {}
        if route.destination:
            sizes["destination"] = len(_prefix(f"{at}.destination", route.destination)[0])
        for field in ("gateway", "source"):
            if getattr(route, field):
                sizes[field] = len(_address(f"{at}.{field}", getattr(route, field)))
        for field, size in sizes.items():
            if size != next(iter(sizes.values())):
                raise ConfigInvalid(f"{at}.{field}", f"{getattr(route, field)!r} is not of the family of "
                                    f"{next(iter(sizes))}", hint="a route is IPv4's or IPv6's")
        if route.interface_name:
            wrong = interface_name_wrong(route.interface_name)
            if wrong is not None:
                raise ConfigInvalid(f"{at}.interface_name", wrong)
        elif not route.gateway:
            raise ConfigInvalid(at, "leads nowhere", hint="give a gateway, or the name of an interface")
