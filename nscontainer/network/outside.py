"""The host's half: make the interfaces, put them into the container's network, and take them back.

Lesson  One message makes a veth pair with one end here and the other there, under its final name: there is no moment
        in which the container's end stands among the host's interfaces.
Read    rtnetlink(7), veth(4), bridge(8), ip-link(8)
Needs   CAP_NET_ADMIN in the caller's network namespace

Every interface bears its container as its alias, which ip-link(8) shows. So a container that is destroyed removes what
is its own and nothing that only has the same name.
"""
from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from errno import EBUSY, EEXIST, ENODEV, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM

from ..errors import ConfigInvalid, SyscallError, SystemError_
from ..strictjson import joined, step
from ..sys.clone import CLONE, setns
from ..sys.files import AT_FDCWD, close, openat
from ..sys.inet import mac_bytes
from ..sys.netlink import unsigned
from ..sys.rtnetlink import IFA_F, Rtnetlink
from .inside import set_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..config import Config, NetDevice, Network
    from ..sys.rtnetlink import Address, Link

__all__ = ["Wiring", "attach", "clear", "detach", "label", "named", "open_joined", "open_network",
           "remove", "socket_in", "wire"]

# attribute 1 of both: IFLA_MACVLAN_MODE has 32 bits, IFLA_IPVLAN_MODE 16
_MACVLAN_MODES = {"": 4, "private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"": 0, "l2": 0, "l3": 1, "l3s": 2}
_LONGEST_ALIAS = 255
_PERMANENT, _NOPREFIXROUTE, _NODAD = int(IFA_F.PERMANENT), int(IFA_F.NOPREFIXROUTE), int(IFA_F.NODAD)


def named(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the networks with a name for each veth's end on the host: "veth" and seven random digits."""
    found = []
    for network in networks:
        found.append(network.copy())
        if network.type == "veth" and not network.host_interface_name:
            found[-1].host_interface_name = f"veth{os.urandom(4).hex()[:7]}"
    return tuple(found)


def label(container: str, directory: str | None) -> str:
    """Return the alias of a container's interfaces: its state directory, which no other container has."""
    text = f"nscontainer {directory or container}"
    raw = text.encode(errors="surrogateescape")
    return text if len(raw) <= _LONGEST_ALIAS else os.fsdecode(raw[-_LONGEST_ALIAS:])  # the id is at the end


def open_network(pid: int) -> int:
    """Return a descriptor of a process's network namespace."""
    return openat(AT_FDCWD, f"/proc/{pid}/ns/net", os.O_RDONLY)


def socket_in(namespace: int) -> Rtnetlink:
    """Return a socket to the network of another namespace: a thread goes there, opens it, and ends.

    EPERM   no CAP_SYS_ADMIN here, or in the user namespace that owns it
    """
    made: list[Rtnetlink | BaseException] = []
    done = allocate_lock()
    done.acquire()

    def go_and_open() -> None:
        try:
            setns(namespace, CLONE.NEWNET)
            made.append(Rtnetlink())
        except BaseException as error:
            made.append(error)
        finally:
            done.release()

    try:
        start_new_thread(go_and_open, ())
    except RuntimeError as error:
        raise SystemError_(f"cannot look into a network namespace: {error}") from None
    done.acquire()
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]


class Wiring:
    """The interfaces that are made for one container at one time; take_back() removes them again.

    They go into the network of process *pid*, and bear *alias*.
    """

    def __init__(self, pid: int, alias: str) -> None:
        self._alias = alias
        self._host = Rtnetlink()
        self._there: Rtnetlink | None = None
        self._made: list[tuple[Rtnetlink, str | int]] = []
        self._taken: list[tuple[Link, list[Address], set[int]]] = []
        self._namespace = open_network(pid)

    def close(self) -> None:
        """Close what it is done with; the interfaces stay."""
        namespace, self._namespace = self._namespace, -1
        try:
            self._host.close()
            if self._there is not None:
                self._there.close()
        finally:
            if namespace >= 0:
                close(namespace)

    @property
    def there(self) -> Rtnetlink:
        """A socket to the container's network."""
        if self._there is None:
            self._there = socket_in(self._namespace)
        return self._there

    def make(self, at: str, network: Network) -> None:
        """Make one interface; *at* is its path in the config, for errors."""
        try:
            if network.type == "veth":
                self._make_veth(at, network)
            elif network.type != "loopback":
                self._make_other(at, network)
        except SyscallError as error:
            if error.errno == EPERM:
                error.hint = "to make an interface takes CAP_NET_ADMIN over the host's network"
            raise

    def _make_veth(self, at: str, network: Network) -> None:
        bridge = None if not network.bridge else _found(self._host, f"{at}.bridge", network.bridge)
        if bridge is not None and bridge.kind != "bridge":
            raise ConfigInvalid(f"{at}.bridge", f"{network.bridge!r} is no bridge"
                                + (f" but a {bridge.kind}" if bridge.kind else ""), hint="bridge(8) lists them")
        name = network.host_interface_name
        try:
            self._host.new_veth(name, network.name, self._namespace, mac=_mac(network), mtu=network.mtu,
                                txqueuelen=network.txqueuelen)
        except SyscallError as error:
            raise self._name_clash(at, network, error) from None
        self._made.append((self._host, name))
        link = self._host.link(name)
        self._made[-1] = (self._host, link.index)  # a name can be given to another
        self._host.set_link(link.index, alias=self._alias)
        attach(self._host, network, link)

    def _name_clash(self, at: str, network: Network, error: SyscallError) -> Exception:
        """Say which of the two names it was."""
        if error.errno != EEXIST:
            return error
        if network.type == "veth" and _exists(self._host, network.host_interface_name):
            return ConfigInvalid(f"{at}.host_interface_name", f"the host has an interface "
                                 f"{network.host_interface_name!r} already", hint="choose another name, or none")
        return ConfigInvalid(f"{at}.name", f"the container's network has an interface {network.name!r} already",
                             hint="choose another name")

    def _make_other(self, at: str, network: Network) -> None:
        parent, data = 0, []
        if network.type == "macvlan":
            data.append(unsigned(1, _MACVLAN_MODES[network.mode]))
        elif network.type == "ipvlan":
            data.append(unsigned(1, _IPVLAN_MODES[network.mode], 16))
        if network.parent:
            parent = _found(self._host, f"{at}.parent", network.parent).index
        there = self.there
        try:
            self._host.new_link(network.name, network.type, *data, parent=parent, mac=_mac(network), mtu=network.mtu,
                                txqueuelen=network.txqueuelen, namespace=self._namespace)
        except SyscallError as error:
            if error.errno == EOPNOTSUPP:
                error.hint = f"this kernel has no interfaces of type {network.type}"
            elif error.errno == EBUSY:
                error.hint = f"{at}.parent is in use in a way that excludes this: as a port of a bridge, for example"
            raise self._name_clash(at, network, error) from None
        self._made.append((there, network.name))
        link = there.link(network.name)
        self._made[-1] = (there, link.index)
        there.set_link(link.index, alias=self._alias)

    def take_over(self, at: str, name: str, new_name: str) -> None:
        """Move an interface of the host into the container's network, with its lasting addresses, and set it up.

        The kernel forgets the addresses of what moves. A *new_name* may end in %d.
        """
        link = _found(self._host, at, name)
        kept = [one for one in self._host.addresses(link.index) if not one.scope and one.flags & _PERMANENT]
        there = self.there
        others = there.links()
        before = {one.index for one in others}
        if any(one.name == (new_name or name) for one in others):
            raise ConfigInvalid(f"{at}.name", f"the container's network has an interface {new_name or name!r} already",
                                hint="choose another name, or let it end in %d")
        try:
            self._host.set_link(link.index, up=False)
            self._taken.append((link, kept, before))
            self._host.set_link(link.index, name=new_name, namespace=self._namespace)
        except SyscallError as error:
            error.hint = ("to move an interface takes CAP_NET_ADMIN over both networks" if error.errno == EPERM else
                          f"{at} cannot be moved")
            raise
        _settle(there, self._newcomer(before), kept, True)

    def _newcomer(self, before: set[int]) -> int:
        """Return the index of the one interface in the container's network that was not there before."""
        for one in self.there.links():
            if one.index not in before:
                return one.index
        raise SystemError_("the interface that was to be moved is in neither network")

    def _give_back(self, link: Link, kept: list[Address], before: set[int]) -> None:
        """Undo the last take_over() that is not undone yet."""
        try:
            self._host.link(link.name)
        except SyscallError as error:
            if error.errno != ENODEV:
                raise
            home = openat(AT_FDCWD, "/proc/thread-self/ns/net", os.O_RDONLY)
            try:
                index = self._newcomer(before)
                self.there.set_link(index, up=False)
                self.there.set_link(index, name=link.name, namespace=home)
            finally:
                close(home)
        _settle(self._host, self._host.link(link.name).index, kept, link.up)

    def set_up(self, at: str, network: Network) -> None:
        """Do the container's half from here: for one that runs already."""
        set_up(self.there, at, network)

    def take_back(self) -> None:
        """Remove what was made, the last first, and give back what was taken. No failure keeps the rest from it."""
        failed: SystemError_ | None = None
        while self._made:
            kernel, which = self._made.pop()
            try:
                kernel.delete_link(which)
            except SyscallError as error:
                if error.errno != ENODEV:  # the container's network is gone, and with it all that was in there
                    failed = failed or error
        while self._taken:
            try:
                self._give_back(*self._taken.pop())
            except SystemError_ as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _settle(kernel: Rtnetlink, index: int, addresses: Iterable[Address], up: bool) -> None:
    """Give an interface addresses, those it has among them, and set it up if it is to be."""
    for one in addresses:
        try:
            kernel.new_address(index, one.address, one.prefix, flags=one.flags & _NOPREFIXROUTE | (
                0 if len(one.address) == 4 else _NODAD))
        except SyscallError as error:
            if error.errno != EEXIST:
                raise
    if up:
        kernel.set_link(index, up=True)


def _mac(network: Network) -> bytes:
    return mac_bytes(network.mac_address) if network.mac_address else b""


def _exists(kernel: Rtnetlink, name: str) -> bool:
    try:
        kernel.link(name)
    except SyscallError as error:
        if error.errno != ENODEV:
            raise
        return False
    return True


def _found(kernel: Rtnetlink, at: str, name: str) -> Link:
    try:
        return kernel.link(name)
    except SyscallError as error:
        if error.errno != ENODEV:
            raise
        raise ConfigInvalid(at, f"the host has no interface {name!r}", hint="ip-link(8) lists those it has") from None


def attach(kernel: Rtnetlink, network: Network, link: Link | None = None) -> None:
    """Set a veth's end on the host up, as a port of its bridge if it has one."""
    end = link or kernel.link(network.host_interface_name)
    if not network.bridge:
        kernel.set_link(end.index, up=True, mtu=network.mtu)
        return
    kernel.set_link(end.index, up=True, mtu=network.mtu, master=kernel.link(network.bridge).index)
    if network.hairpin_mode:
        kernel.set_hairpin(end.index, True)


def detach(kernel: Rtnetlink, network: Network) -> None:
    """Take a veth's end on the host out of its bridge: the container is cut off, and keeps its interface."""
    kernel.set_link(kernel.link(network.host_interface_name).index, master=0)


def remove(networks: Iterable[Network], alias: str, namespace: int | None) -> None:
    """Remove the interfaces of a container: those with its alias, here and, if that still exists, in *namespace*.

    With a network namespace of its own they go by themselves, some moments after its last process.
    """
    listed = [network for network in networks if network.type != "loopback"]
    host = [network.host_interface_name for network in listed if network.type == "veth"]
    there = [network.name for network in listed if network.type != "veth"]
    if any(host):
        with Rtnetlink() as kernel:
            _remove(kernel, host, alias)
    if there and namespace is not None:
        with socket_in(namespace) as kernel:
            _remove(kernel, there, alias)


def _remove(kernel: Rtnetlink, names: Iterable[str], alias: str) -> None:
    for name in names:
        try:
            link = kernel.link(name) if name else None
            if link is not None and link.alias == alias:
                kernel.delete_link(link.index)
        except SyscallError as error:
            if error.errno != ENODEV:  # it has gone by itself
                raise


def open_joined(config: Config) -> int | None:
    """Return a descriptor of the network namespace that a container shares by path, None when it has one of its own."""
    found = config.namespaces.find("NEWNET")
    if found is None or not found.path:
        return None
    try:
        return openat(AT_FDCWD, found.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except SyscallError as error:
        if error.errno not in (ENOENT, ENOTDIR):
            raise
        return None  # its name is gone; if nobody else keeps it, so is all that was in it


def clear(config: Config, alias: str) -> None:
    """Remove the interfaces that are left of a container which runs no longer."""
    namespace = open_joined(config)
    try:
        remove(config.networks, alias, namespace)
    finally:
        if namespace is not None:
            close(namespace)


def wire(networks: Sequence[Network], pid: int, alias: str, first: int = 0,
         devices: dict[str, NetDevice] | None = None) -> Wiring:
    """Make the interfaces of a container, from the network at *first* on, and take *devices* over: all, or none.

    *pid* is a process in its network.
    """
    wiring = Wiring(pid, alias)
    try:
        for name, device in (devices or {}).items():
            wiring.take_over(joined("net_devices", step(name)), name, device.name)
        for at, network in enumerate(networks[first:], first):
            wiring.make(f"networks[{at}]", network)
    except BaseException:
        try:
            wiring.take_back()
        finally:
            wiring.close()
        raise
    return wiring
