"""The container's half: its interfaces are there, and get addresses, routes, and the word to begin.

Lesson  A new network namespace has one interface, lo, and even that is down.
Read    network_namespaces(7), rtnetlink(7), ip-address(8), ip-route(8)
"""
from __future__ import annotations

from ..errors import ConfigInvalid, SyscallError
from ..sys.inet import family_of, inet_pton, parse_prefix
from ..sys.netdevice import set_interface_up
from ..sys.rtnetlink import IFA_F, RT_SCOPE, Rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config import Network, Route

__all__ = ["KINDS", "configure_inside", "set_up", "set_up_routes"]

KINDS = ("loopback", "veth", "macvlan", "ipvlan", "dummy")
# The address is the container's because its owner says so: nobody is asked whether he has it, which takes a second.
_NODAD = int(IFA_F.NODAD)
_UNIVERSE, _LINK = int(RT_SCOPE.UNIVERSE), int(RT_SCOPE.LINK)


def configure_inside(networks: Iterable[Network], routes: Iterable[Route] = ()) -> None:
    """Set up the interfaces, in the container's network namespace."""
    wired = []
    for at, network in enumerate(networks):
        if network.type == "loopback":
            set_interface_up("lo")
        elif network.type in KINDS:
            wired.append((at, network))
        else:
            raise ConfigInvalid(f"networks[{at}].type", f"expected one of {', '.join(KINDS)}, got {network.type!r}")
    if wired or routes:
        with Rtnetlink() as kernel:
            for at, network in wired:
                set_up(kernel, f"networks[{at}]", network)
            set_up_routes(kernel, routes)


def set_up(kernel: Rtnetlink, at: str, network: Network) -> None:
    """Give one interface its addresses, set it up, and lead what goes far through its gateways."""
    link = kernel.link(network.name)
    for field in ("address", "ipv6_address"):
        if getattr(network, field):
            address, prefix = parse_prefix(getattr(network, field))
            try:
                kernel.new_address(link.index, address, prefix, flags=0 if len(address) == 4 else _NODAD)
            except SyscallError as error:
                error.hint = f"{at}.{field} cannot be had"
                raise
    kernel.set_link(link.index, up=True)
    for field in ("gateway", "ipv6_gateway"):
        if getattr(network, field):
            gateway = inet_pton(getattr(network, field))
            try:
                kernel.new_route(family_of(gateway), gateway=gateway, index=link.index)
            except SyscallError as error:
                error.hint = f"{at}.{field} is where the default route should go; is it within reach, and the only one?"
                raise


def set_up_routes(kernel: Rtnetlink, routes: Iterable[Route]) -> None:
    """Add routes; each needs the interfaces to be up."""
    for at, route in enumerate(routes):
        destination, prefix = parse_prefix(route.destination) if route.destination else (b"", 0)
        gateway, source = (inet_pton(text) if text else b"" for text in (route.gateway, route.source))
        family = family_of(destination or gateway or source or bytes(4))
        host_bits = 8 * len(destination) - prefix
        network = int.from_bytes(destination, "big") >> host_bits << host_bits
        try:
            index = kernel.link(route.interface_name).index if route.interface_name else 0
            kernel.new_route(family, network.to_bytes(len(destination), "big"), prefix, gateway=gateway, source=source,
                             index=index, scope=_UNIVERSE if gateway else _LINK)
        except SyscallError as error:
            error.hint = f"routes[{at}] cannot be had"
            raise
