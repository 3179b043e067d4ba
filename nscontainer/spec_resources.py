"""The cgroup of a config.json: where it is, its limits, and the devices that may be used.

Read    the OCI runtime specification, config-linux.md, "Control groups"; cgroups(7)

An object `resources` stands alone too, as what the command ``update`` reads.
"""
from __future__ import annotations

from .cgroups.paths import UNIFIED, NotFoundError, find_hierarchies
from .devices import WILDCARD, Device
from .errors import ConfigInvalid
from .resources import Cgroup, HugepageLimit, IfPrioMap, RdmaLimit, ThrottleDevice, WeightDevice
from .spec_reader import I64, U32, U64, Object
from .strictjson import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = ["ALWAYS_ALLOWED", "cgroup", "limits_from_json"]

# Fields that version 2 has nothing like. There they are left out with a warning, as by every runtime: engines write
# them without a look at the host.
ONLY_V1: Final = ("memory_swappiness", "oom_kill_disable", "kernel_memory_tcp", "cpu_rt_runtime", "cpu_rt_period",
                  "blkio_leaf_weight", "net_cls_classid", "net_prio_ifpriomap")
_KINDS = {"a": ord("a"), "b": ord("b"), "c": ord("c")}
_ORDER = "rwm"


def _rule(major: int, minor: int, permissions: str = "rwm", kind: str = "c") -> Device:
    return Device(type=_KINDS[kind], major=major, minor=minor, permissions=permissions)


# What a program finds in every /dev, and the making of any node: the specification, "Default Devices".
ALWAYS_ALLOWED: Final = (
    _rule(WILDCARD, WILDCARD, "m"), _rule(WILDCARD, WILDCARD, "m", "b"),
    _rule(1, 3), _rule(1, 8), _rule(1, 7), _rule(5, 0), _rule(1, 5), _rule(1, 9),   # null random full tty zero urandom
    _rule(136, WILDCARD), _rule(5, 2),                                              # terminals, and ptmx
    _rule(10, 200),                                                                 # tun
)


def cgroup(linux: Object, *, id: str, systemd: bool, rootless: bool, warnings: list[str]) -> Cgroup | None:
    """Read `cgroupsPath` and `resources`; None for a container that is to stay in its caller's cgroup.

    So an ordinary user's does that names none and limits nothing: there may be none he could make.
    """
    resources = linux.object("resources")
    group = Cgroup()
    if resources is not None:
        _limits(group, resources, warnings)
    asked_for = bool(group.__dict__)
    path = linux.text("cgroupsPath")
    if not path and not id:
        if asked_for:
            raise linux.wrong("resources", "limits need a cgroup, and there is no cgroupsPath")
        return None
    if not path and rootless and not asked_for:
        return None
    if systemd:
        _unit(group, linux, path, id)
    else:
        _directory(group, linux, path or id)
    _devices(group, resources or Object({}, ""), rootless)
    return group


def limits_from_json(value: Any, at: str = "resources", *, warnings: list[str] | None = None) -> Cgroup:
    """Read an object `resources` by itself: a Cgroup with those limits it names, and no place."""
    group = Cgroup()
    given = Object(value, at)
    _limits(group, given, [] if warnings is None else warnings)
    if "devices" in given:
        _devices(group, given, False)
    return group


# ------------------------------------------------------------------------------------------------------------- place

def _unit(group: Cgroup, linux: Object, path: str, id: str) -> None:
    parts = path.split(":") if path else ["", "nscontainer", id]
    if len(parts) != 3 or not parts[2]:
        raise linux.wrong("cgroupsPath", "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd "
                          f"cgroups, got {shortened(path)!r} instead")
    group.parent, group.scope_prefix, group.name = parts


def _directory(group: Cgroup, linux: Object, path: str) -> None:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise linux.wrong("cgroupsPath", f"{shortened(path)!r} is not the path of a cgroup")
    if ":" in path and path.count(":") == 2 and not path.startswith("/"):
        raise linux.wrong("cgroupsPath", f"{shortened(path)!r} is a unit of systemd's",
                          hint="give --systemd-cgroup, or name a directory")
    group.name = parts[-1]
    group.parent = ("/" if path.startswith("/") else "") + "/".join(parts[:-1])


# ------------------------------------------------------------------------------------------------------------ limits

def _limits(group: Cgroup, given: Object, warnings: list[str]) -> None:
    for key, read in (("memory", _memory), ("cpu", _cpu), ("blockIO", _block_io), ("network", _network)):
        inner = given.object(key)
        if inner is not None:
            read(group, inner, warnings)
    pids = given.object("pids")
    if pids is not None and (limit := pids.integer("limit", -I64 - 1, I64)) is not None:
        group.pids_limit = max(limit, -1)
    group.hugetlb_limit = tuple([
        HugepageLimit(page_size=entry.text("pageSize", None), limit=entry.number("limit", 0, U64, None))
        for entry in given.objects("hugepageLimits")])
    group.rdma = {name: RdmaLimit(hca_handles=entry.integer("hcaHandles", 0, U32 >> 1),
                                  hca_objects=entry.integer("hcaObjects", 0, U32 >> 1))
                  for name, entry in given.named("rdma")}
    group.unified = given.mapping("unified")
    for name, value in [*group.__dict__.items()]:  # what was named and says nothing is as good as not named
        field = Cgroup._fields[name]
        if value == (field.fresh() if field.fresh else field.default):
            del group.__dict__[name]
    _drop_what_version_2_has_not(group, given, warnings)


def _drop_what_version_2_has_not(group: Cgroup, given: Object, warnings: list[str]) -> None:
    lost = [name for name in ONLY_V1 if name in group.__dict__]
    if lost and _only_version_2():
        for name in lost:
            del group.__dict__[name]
        warnings.append(f"{given.at}: version 2 of cgroups has no such limits, ignoring {', '.join(lost)}")
    if any(device.leaf_weight for device in group.blkio_weight_device) and _only_version_2():
        for device in group.blkio_weight_device:
            device.leaf_weight = 0
        warnings.append(f"{given.path('blockIO', 'weightDevice')}: version 2 of cgroups has no leafWeight, ignoring it")


def _only_version_2() -> bool:
    try:
        return [hierarchy.controllers for hierarchy in find_hierarchies()] == [(UNIFIED,)]
    except NotFoundError:
        return False


def _amount(given: Object, key: str) -> int:
    """Return a number of bytes or µs: -1, for no limit, may be any negative number."""
    return max(given.number(key, -I64 - 1, I64), -1)


def _memory(group: Cgroup, given: Object, warnings: list[str]) -> None:
    group.memory = _amount(given, "limit")
    group.memory_reservation = _amount(given, "reservation")
    group.memory_swap = _amount(given, "swap")
    group.kernel_memory_tcp = _amount(given, "kernelTCP")
    group.memory_swappiness = given.integer("swappiness", 0, 100)
    group.oom_kill_disable = given.boolean("disableOOMKiller")
    group.memory_check_before_update = given.boolean("checkBeforeUpdate")
    if given.number("kernel", -I64 - 1, I64):
        warnings.append(f"{given.path('kernel')}: the kernel does not limit this by itself any more, ignoring it")
    given.boolean("useHierarchy")  # since Linux 5.11 there is no other way


def _cpu(group: Cgroup, given: Object, warnings: list[str]) -> None:
    group.cpu_shares = given.number("shares", 0, I64)
    group.cpu_quota = _amount(given, "quota")
    group.cpu_period = given.number("period", 0, I64)
    group.cpu_burst = given.number("burst", 0, I64)
    group.cpu_rt_runtime = _amount(given, "realtimeRuntime")
    group.cpu_rt_period = given.number("realtimePeriod", 0, I64)
    group.cpuset_cpus, group.cpuset_mems = given.text("cpus"), given.text("mems")
    group.cpu_idle = given.integer("idle", 0, 1)


def _block_io(group: Cgroup, given: Object, warnings: list[str]) -> None:
    group.blkio_weight = given.number("weight", 0, 1000)
    group.blkio_leaf_weight = given.number("leafWeight", 0, 1000)
    group.blkio_weight_device = tuple([
        WeightDevice(major=entry.number("major", 0, I64, None), minor=entry.number("minor", 0, I64, None),
                     weight=entry.number("weight", 0, 1000), leaf_weight=entry.number("leafWeight", 0, 1000))
        for entry in given.objects("weightDevice")])
    for key, name in (("throttleReadBpsDevice", "read_bps"), ("throttleWriteBpsDevice", "write_bps"),
                      ("throttleReadIOPSDevice", "read_iops"), ("throttleWriteIOPSDevice", "write_iops")):
        setattr(group, f"blkio_throttle_{name}_device", tuple([
            ThrottleDevice(major=entry.number("major", 0, I64, None), minor=entry.number("minor", 0, I64, None),
                           rate=entry.number("rate", 0, U64, None)) for entry in given.objects(key)]))


def _network(group: Cgroup, given: Object, warnings: list[str]) -> None:
    class_id = given.integer("classID", 0, U32)
    group.net_cls_classid = str(class_id) if class_id else ""
    group.net_prio_ifpriomap = tuple([
        IfPrioMap(interface=entry.text("name", None), priority=entry.number("priority", 0, U32, None))
        for entry in given.objects("priorities")])


# ----------------------------------------------------------------------------------------------------------- devices

def _devices(group: Cgroup, given: Object, rootless: bool) -> None:
    """Turn the rules, which are obeyed in their order, into everything but some or nothing but some."""
    listed = _Rules()
    for index, entry in enumerate(given.objects("devices")):
        rule = _device_rule(entry)
        if not listed.obey(rule, entry.boolean("allow")):
            raise ConfigInvalid(given.path("devices", index), "takes back a part of a rule before it, and the kernel "
                                "knows rules as a whole only", hint="list what is meant instead of all but that")
    for rule in ALWAYS_ALLOWED:
        listed.obey(rule, True)
    group.allow_all_devices = listed.allow
    if rootless and not listed.allow:
        return  # the usual list, where it can be had: an ordinary user has no device that the host keeps from him
    exceptions = tuple([Device(type=kind, major=major, minor=minor,
                               permissions="".join(letter for letter in _ORDER if letter in letters))
                        for (kind, major, minor), letters in listed.exceptions.items()])
    if listed.allow:
        group.denied_devices = exceptions
    else:
        group.allowed_devices = exceptions


def _device_rule(entry: Object) -> Device:
    kind = entry.word("type", _KINDS, "a")
    access = entry.text("access", "rwm" if kind == _KINDS["a"] else None)
    if not access or not set(access) <= set(_ORDER):
        raise entry.wrong("access", f"{shortened(access)!r} is not made of r, w and m")
    return Device(type=kind, major=entry.number("major", -1, U32, WILDCARD),
                  minor=entry.number("minor", -1, U32, WILDCARD), permissions=access)


class _Rules:
    """What the device controller of version 1 makes of rules one after the other: cgroup-v1/devices.rst.

    It begins with nothing allowed. A rule for all devices forgets the exceptions and chooses what they are from.
    """

    def __init__(self) -> None:
        self.allow = False
        self.exceptions: dict[tuple[int, int, int], set[str]] = {}

    def obey(self, rule: Device, allow: bool) -> bool:
        """Take one rule into account; False where it is about a part of an exception, which cannot be taken out."""
        if rule.type == _KINDS["a"]:
            self.allow = allow
            self.exceptions.clear()
            return True
        device = rule.type, rule.major, rule.minor
        if allow != self.allow:
            self.exceptions.setdefault(device, set()).update(rule.permissions)
            return True
        if device in self.exceptions:
            self.exceptions[device] -= set(rule.permissions)
            if not self.exceptions[device]:
                del self.exceptions[device]
        return not any(self._overlaps(other, device) and letters & set(rule.permissions)
                       for other, letters in self.exceptions.items())

    @staticmethod
    def _overlaps(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
        return one[0] == other[0] and all(a == b or WILDCARD in (a, b) for a, b in zip(one[1:], other[1:]))
