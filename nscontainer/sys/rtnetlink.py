"""rtnetlink: the interfaces, addresses, routes and neighbours of a network namespace.

Lesson  Every table of the network has one set of messages: RTM_NEW…, RTM_DEL…, RTM_GET…; a new interface can be put
        into another namespace, or at both ends into two, in the very message that makes it.
Read    rtnetlink(7), netlink(7), veth(4), include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour}.h
Needs   CAP_NET_ADMIN in the user namespace that owns the network namespace, to change something
"""
from __future__ import annotations

from errno import EBADMSG
from struct import Struct

from ..errors import SyscallError
from .flags import Enumeration, Flags
from .inet import family_of, inet_ntop
from .netdevice import interface_name_wrong
from .netlink import Netlink, attribute, attributes, nested, string, unsigned, words

__all__ = ["COUNTERS", "IFA_F", "IFF", "RTM", "RT_SCOPE", "Address", "Link", "Neighbour", "Route", "Rtnetlink"]


class RTM(Enumeration):
    """The types of messages."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEIGH = 28
    DELNEIGH = 29
    GETNEIGH = 30


class IFF(Flags):
    """The state of an interface: netdevice(7)."""

    UP = 0x1
    BROADCAST = 0x2
    LOOPBACK = 0x8
    POINTOPOINT = 0x10
    RUNNING = 0x40
    NOARP = 0x80
    PROMISC = 0x100
    MULTICAST = 0x1000
    LOWER_UP = 0x10000


class IFA_F(Flags):
    """The state of an address."""

    SECONDARY = 0x1
    NODAD = 0x2          # do not look first whether somebody has it: usable at once
    DADFAILED = 0x8
    DEPRECATED = 0x20
    TENTATIVE = 0x40     # not usable yet
    PERMANENT = 0x80
    MANAGETEMPADDR = 0x100
    NOPREFIXROUTE = 0x200


class RT_SCOPE(Enumeration):
    """How far away what an address or a route names is."""

    UNIVERSE = 0
    SITE = 200
    LINK = 253
    HOST = 254
    NOWHERE = 255


_GETLINK, _NEWLINK, _SETLINK, _DELLINK = 18, 16, 19, 17
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_REPLACE, _EXCL, _CREATE = 0x100, 0x200, 0x400
_UP, _AF_BRIDGE = 0x1, 7

(_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_PROTINFO, _IFLA_TXQLEN, _IFLA_LINKINFO,
 _IFLA_IFALIAS, _IFLA_STATS64, _IFLA_NET_NS_FD) = 1, 3, 4, 5, 10, 12, 13, 18, 20, 23, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER, _BRPORT_MODE = 1, 2, 1, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15
_NDA_DST, _NDA_LLADDR = 1, 2
_TABLE_MAIN, _PROTOCOL_BOOT, _TYPE_UNICAST, _NUD_PERMANENT = 254, 3, 1, 0x80

_Ifinfomsg = Struct("=BxHiII")      # family, type, index, flags, change
_Ifaddrmsg = Struct("=BBBBI")       # family, prefix length, flags, scope, index
_Rtmsg = Struct("=BBBBBBBBI")       # family, length of destination and source, tos, table, protocol, scope, type, flags
_Ndmsg = Struct("=BxxxiHBB")        # family, index, state, flags, type
_Stats64 = Struct("=8Q")            # the beginning of struct rtnl_link_stats64
COUNTERS = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")


class Link:
    """An interface: *mac* is its hardware address in bytes, *master* the index of its bridge, 0 for none."""

    __slots__ = ("alias", "counters", "flags", "index", "kind", "mac", "master", "mtu", "name", "parent", "txqueuelen")

    def __init__(self, body: bytes) -> None:
        _, _, self.index, flags, _ = _fixed(_Ifinfomsg, body)
        found = attributes(body[_Ifinfomsg.size:])
        info = attributes(found.get(_IFLA_LINKINFO, b""))
        self.name, self.kind, self.flags = words(found.get(_IFLA_IFNAME, b"")), words(info.get(_INFO_KIND, b"")), flags
        self.mtu, self.txqueuelen = _number(found, _IFLA_MTU), _number(found, _IFLA_TXQLEN)
        self.master, self.parent = _number(found, _IFLA_MASTER), _number(found, _IFLA_LINK)
        self.mac, self.alias = found.get(_IFLA_ADDRESS, b""), words(found.get(_IFLA_IFALIAS, b""))
        counted = found.get(_IFLA_STATS64, b"")
        self.counters: dict[str, int] = dict(zip(COUNTERS, _fixed(_Stats64, counted))) if counted else {}

    @property
    def up(self) -> bool:
        """Whether it is set up; a cable is another matter."""
        return bool(self.flags & _UP)

    def __repr__(self) -> str:
        return f"Link({self.index}, {self.name!r}, {self.kind!r}, {IFF(self.flags)})"


class Address:
    """An address of an interface, 4 or 16 bytes, and the length of its prefix."""

    __slots__ = ("address", "flags", "index", "prefix", "scope")

    def __init__(self, body: bytes) -> None:
        _, self.prefix, flags, self.scope, self.index = _fixed(_Ifaddrmsg, body)
        found = attributes(body[_Ifaddrmsg.size:])
        # On a point-to-point interface IFA_ADDRESS is the other end's.
        self.address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
        self.flags = _number(found, _IFA_FLAGS) if _IFA_FLAGS in found else flags

    def __repr__(self) -> str:
        return f"Address({self.index}, {_shown(self.address)}/{self.prefix}, {IFA_F(self.flags)})"


class Route:
    """A way to *destination*; b"" and a *prefix* of 0: to everything. *index* is the interface's."""

    __slots__ = ("destination", "family", "gateway", "index", "prefix", "priority", "protocol", "scope", "source",
                 "table", "type")

    def __init__(self, body: bytes) -> None:
        (self.family, self.prefix, _, _, table, self.protocol, self.scope, self.type, _) = _fixed(_Rtmsg, body)
        found = attributes(body[_Rtmsg.size:])
        self.table = _number(found, _RTA_TABLE) or table
        self.destination, self.gateway = found.get(_RTA_DST, b""), found.get(_RTA_GATEWAY, b"")
        self.source, self.index = found.get(_RTA_PREFSRC, b""), _number(found, _RTA_OIF)
        self.priority = _number(found, _RTA_PRIORITY)

    def __repr__(self) -> str:
        return f"Route({_shown(self.destination)}/{self.prefix}, via={_shown(self.gateway)}, index={self.index})"


class Neighbour:
    """Which hardware address an IP address was seen at."""

    __slots__ = ("address", "index", "mac", "state")

    def __init__(self, body: bytes) -> None:
        _, self.index, self.state, _, _ = _fixed(_Ndmsg, body)
        found = attributes(body[_Ndmsg.size:])
        self.address, self.mac = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")

    def __repr__(self) -> str:
        return f"Neighbour({self.index}, {_shown(self.address)}, {self.mac.hex(':')!r})"


def _fixed(form: Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < form.size:
        raise SyscallError("recvfrom", EBADMSG, length=len(body), expected=form.size)
    return form.unpack_from(body)


def _number(found: dict[int, bytes], kind: int) -> int:
    raw = found.get(kind, b"")
    return _U32.unpack(raw)[0] if len(raw) == 4 else 0


_U32 = Struct("=I")


class Rtnetlink(Netlink):
    """A socket to the network of one namespace: that of the thread which opens it, wherever it is used from."""

    def __init__(self) -> None:
        super().__init__(0)  # NETLINK_ROUTE

    def __enter__(self) -> Rtnetlink:
        return self

    # --- interfaces

    def link(self, which: str | int) -> Link:
        """Return the interface of that name or index. ENODEV: there is none."""
        if isinstance(which, str):
            return Link(self.get("RTM_GETLINK", _GETLINK, _info() + _name(which), which))
        return Link(self.get("RTM_GETLINK", _GETLINK, _info(which), index=which))

    def links(self) -> list[Link]:
        """Return all interfaces."""
        return [Link(body) for body in self.dump("RTM_GETLINK", _GETLINK, _info())]

    def new_link(self, name: str, kind: str, *data: bytes, parent: int = 0, mac: bytes = b"", mtu: int = 0,
                 txqueuelen: int = 0, namespace: int | None = None) -> None:
        """Make an interface of a *kind* such as "bridge", "dummy", "macvlan"; zero is the kernel's own choice.

        *data* — attributes that only this kind has; *parent* — the index of the interface it works through;
        *namespace* — a descriptor of the network namespace to make it in.

        EEXIST       there is one of that name
        EOPNOTSUPP   the kernel has no such kind
        """
        body = [_info(), _name(name), *_wishes(mac, mtu, txqueuelen), nested(
            _IFLA_LINKINFO, string(_INFO_KIND, kind), *([nested(_INFO_DATA, *data)] if data else []))]
        if parent:
            body.append(unsigned(_IFLA_LINK, parent))
        if namespace is not None:
            body.append(unsigned(_IFLA_NET_NS_FD, namespace))
        self.change("RTM_NEWLINK", _NEWLINK, _CREATE | _EXCL, b"".join(body), name, kind=kind, parent=parent or None,
                    mtu=mtu or None)

    def new_veth(self, name: str, peer: str, namespace: int, *, mac: bytes = b"", mtu: int = 0,
                 txqueuelen: int = 0) -> None:
        """Make two interfaces that are the ends of one cable: *name* here, *peer* in *namespace*, with *mac*.

        EEXIST   there is one of either name
        """
        other = _info() + b"".join([_name(peer), *_wishes(mac, mtu, txqueuelen), unsigned(_IFLA_NET_NS_FD, namespace)])
        body = [_info(), _name(name), *_wishes(b"", mtu, txqueuelen), nested(
            _IFLA_LINKINFO, string(_INFO_KIND, "veth"), nested(_INFO_DATA, attribute(_VETH_INFO_PEER, other)))]
        self.change("RTM_NEWLINK", _NEWLINK, _CREATE | _EXCL, b"".join(body), name, kind="veth", peer=peer,
                    mtu=mtu or None)

    def set_link(self, index: int, *, up: bool | None = None, name: str = "", mac: bytes = b"", mtu: int = 0,
                 txqueuelen: int = 0, master: int | None = None, alias: str | None = None,
                 namespace: int | None = None) -> None:
        """Change an interface; what is not given stays. A *master* of 0 is none; *namespace* moves it.

        EBUSY    a new *name*, and it is up: before Linux 6.2
        EEXIST   there is one of that *name*, in *namespace* if that is given
        """
        body = [_info(index, _UP if up else 0, 0 if up is None else _UP), *_wishes(mac, mtu, txqueuelen)]
        if name:
            body.append(string(_IFLA_IFNAME, name))  # with a percent sign, perhaps
        if master is not None:
            body.append(unsigned(_IFLA_MASTER, master))
        if alias is not None:
            body.append(attribute(_IFLA_IFALIAS, alias.encode(errors="surrogateescape")))
        if namespace is not None:
            body.append(unsigned(_IFLA_NET_NS_FD, namespace))
        self.change("RTM_SETLINK", _SETLINK, 0, b"".join(body), index=index, name=name or None, up=up, master=master,
                    mtu=mtu or None, mac=mac.hex(":") or None)

    def set_hairpin(self, index: int, on: bool) -> None:
        """Let the bridge that *index* is a port of send a packet back where it came from, or not."""
        body = _info(index, family=_AF_BRIDGE) + nested(_IFLA_PROTINFO, unsigned(_BRPORT_MODE, int(on), 8))
        self.change("RTM_SETLINK", _SETLINK, 0, body, index=index, hairpin=on)

    def delete_link(self, which: str | int) -> None:
        """Remove an interface; of a veth pair, both. ENODEV: there is none; EOPNOTSUPP: it is a piece of hardware."""
        if isinstance(which, str):
            self.change("RTM_DELLINK", _DELLINK, 0, _info() + _name(which), which)
        else:
            self.change("RTM_DELLINK", _DELLINK, 0, _info(which), index=which)

    # --- addresses

    def addresses(self, index: int = 0) -> list[Address]:
        """Return the addresses of an interface, or of all."""
        body = _Ifaddrmsg.pack(0, 0, 0, 0, _index(index))
        return [Address(entry) for entry in self.dump("RTM_GETADDR", _GETADDR, body, index=index or None)]

    def new_address(self, index: int, address: bytes, prefix: int, *, flags: int = 0, scope: int = 0) -> None:
        """Give an interface an address. EEXIST: it has that one; EACCES: IPv6 is switched off here."""
        body = _address(index, address, prefix, flags, scope)
        self.change("RTM_NEWADDR", _NEWADDR, _CREATE | _EXCL, body, index=index,
                    address=f"{inet_ntop(address)}/{prefix}")

    def delete_address(self, index: int, address: bytes, prefix: int) -> None:
        """Take an address from an interface. EADDRNOTAVAIL: it has no such address."""
        self.change("RTM_DELADDR", _DELADDR, 0, _address(index, address, prefix, 0, 0), index=index,
                    address=f"{inet_ntop(address)}/{prefix}")

    # --- routes

    def routes(self, family: int, table: int = _TABLE_MAIN) -> list[Route]:
        """Return the routes of one family in one table."""
        body = _Rtmsg.pack(_byte(family), 0, 0, 0, 0, 0, 0, 0, 0) + unsigned(_RTA_TABLE, table)
        return [Route(entry) for entry in self.dump("RTM_GETROUTE", _GETROUTE, body, family=family)]

    def new_route(self, family: int, destination: bytes = b"", prefix: int = 0, *, gateway: bytes = b"",
                  source: bytes = b"", index: int = 0, scope: int = 0) -> None:
        """Add a route to the main table: *source* is the address that packets get which have none yet.

        EEXIST        there is one
        ENETUNREACH   *gateway* is on no network that an interface is on; EHOSTUNREACH for IPv6
        EINVAL        *source* is none of our own addresses
        """
        self.change("RTM_NEWROUTE", _NEWROUTE, _CREATE | _EXCL,
                    _route(family, destination, prefix, gateway, source, index, scope),
                    destination=f"{inet_ntop(destination)}/{prefix}" if prefix else "default",
                    gateway=_shown(gateway), source=_shown(source), index=index or None)

    def delete_route(self, family: int, destination: bytes = b"", prefix: int = 0, *, gateway: bytes = b"",
                     index: int = 0) -> None:
        """Remove a route from the main table. ESRCH: there is none."""
        self.change("RTM_DELROUTE", _DELROUTE, 0,
                    _route(family, destination, prefix, gateway, b"", index, RT_SCOPE.NOWHERE),  # any scope
                    destination=f"{inet_ntop(destination)}/{prefix}" if prefix else "default", index=index or None)

    # --- neighbours

    def neighbours(self) -> list[Neighbour]:
        """Return which hardware addresses are known."""
        return [Neighbour(entry) for entry in self.dump("RTM_GETNEIGH", _GETNEIGH, _Ndmsg.pack(0, 0, 0, 0, 0))]

    def new_neighbour(self, index: int, address: bytes, mac: bytes) -> None:
        """Have an address be at *mac*, for good. EEXIST: it is known already."""
        body = _Ndmsg.pack(family_of(address), _index(index), _NUD_PERMANENT, 0, 0)
        self.change("RTM_NEWNEIGH", _NEWNEIGH, _CREATE | _EXCL,
                    body + attribute(_NDA_DST, address) + attribute(_NDA_LLADDR, mac), index=index,
                    address=inet_ntop(address))

    def delete_neighbour(self, index: int, address: bytes) -> None:
        """Forget where an address is. ENOENT: it was not known."""
        body = _Ndmsg.pack(family_of(address), _index(index), 0, 0, 0) + attribute(_NDA_DST, address)
        self.change("RTM_DELNEIGH", _DELNEIGH, 0, body, index=index, address=inet_ntop(address))


# --- what goes into messages

def _index(index: int) -> int:
    if not 0 <= index < 1 << 31:
        raise OverflowError(f"{index} is no interface's index")
    return index


def _byte(value: int) -> int:
    if not 0 <= value < 256:
        raise OverflowError(f"{value} does not fit a byte")
    return value


def _name(name: str) -> bytes:
    wrong = interface_name_wrong(name)
    if wrong is not None:
        raise ValueError(wrong)
    return string(_IFLA_IFNAME, name)


def _info(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return _Ifinfomsg.pack(family, 0, _index(index), flags, change)


def _wishes(mac: bytes, mtu: int, txqueuelen: int) -> list[bytes]:
    """Return the attributes that any interface may have; zero is no wish."""
    return [*([attribute(_IFLA_ADDRESS, mac)] if mac else []), *([unsigned(_IFLA_MTU, mtu)] if mtu else []),
            *([unsigned(_IFLA_TXQLEN, txqueuelen)] if txqueuelen else [])]


def _address(index: int, address: bytes, prefix: int, flags: int, scope: int) -> bytes:
    family = family_of(address)
    body = _Ifaddrmsg.pack(family, _length(prefix, address), 0, _byte(scope), _index(index))
    body += attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    if len(address) == 4 and prefix < 31:  # else there is no broadcast address: RFC 3021
        last = int.from_bytes(address, "big") | (1 << 32 - prefix) - 1
        body += attribute(_IFA_BROADCAST, last.to_bytes(4, "big"))
    return body + (unsigned(_IFA_FLAGS, flags) if flags else b"")


def _shown(address: bytes) -> str | None:
    return inet_ntop(address) if address else None


def _length(prefix: int, address: bytes) -> int:
    if not 0 <= prefix <= 8 * len(address):
        raise OverflowError(f"a prefix of {prefix} bits in an address of {8 * len(address)}")
    return prefix


def _route(family: int, destination: bytes, prefix: int, gateway: bytes, source: bytes, index: int,
           scope: int) -> bytes:
    body = _Rtmsg.pack(_byte(family), _length(prefix, destination), 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _byte(scope),
                       _TYPE_UNICAST, 0)
    for kind, value in ((_RTA_DST, destination if prefix else b""), (_RTA_GATEWAY, gateway), (_RTA_PREFSRC, source)):
        if value:
            if family_of(value) != family:
                raise ValueError(f"{inet_ntop(value)} is no address of family {family}")
            body += attribute(kind, value)
    return body + (unsigned(_RTA_OIF, _index(index)) if index else b"")
