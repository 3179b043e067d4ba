"""The mounts of a config.json, and what else it says about files: devices, propagation, owners.

Read    the OCI runtime specification, config.md, "Mounts"; config-linux.md, "Devices"
"""
from __future__ import annotations

import os

from .config import Config, Device, IDMap, Mount
from .devices import DEFAULT_SIMPLE_DEVICES
from .errors import ConfigInvalid
from .mounts.options import parse
from .spec_reader import U32, Object
from .strictjson import shortened
from .sys.mount import MS
from .sys.mount_api import MOUNT_ATTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .mounts.options import Options

__all__ = ["devices", "id_mappings", "mounts", "propagation"]

_BIND = int(MS.BIND)
_KINDS = {"c": ord("c"), "u": ord("u"), "b": ord("b"), "p": ord("p")}
_IDMAP, _ATIME = int(MOUNT_ATTR.IDMAP), int(MOUNT_ATTR._ATIME)
# What is asked of a file system and all below it, for one that is new and has nothing below.
_PLAIN = (
    (MOUNT_ATTR.RDONLY, MS.RDONLY), (MOUNT_ATTR.NOSUID, MS.NOSUID), (MOUNT_ATTR.NODEV, MS.NODEV),
    (MOUNT_ATTR.NOEXEC, MS.NOEXEC), (MOUNT_ATTR.NODIRATIME, MS.NODIRATIME), (MOUNT_ATTR.NOSYMFOLLOW, MS.NOSYMFOLLOW),
)
_PLAIN_ATIME = {int(MOUNT_ATTR.RELATIME): MS.RELATIME, int(MOUNT_ATTR.NOATIME): MS.NOATIME,
                int(MOUNT_ATTR.STRICTATIME): MS.STRICTATIME}
_PROPAGATIONS = {"": 0, **{word: parse([word]).propagation[0] for word in (
    "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")}}


def mounts(given: Object, folder: str, config: Config) -> tuple[Mount, ...]:
    """Read `mounts`; *folder* is the bundle, and *config* has the maps of the container's user namespace."""
    return tuple([_mount(entry, folder, config) for entry in given.objects("mounts")])


def _mount(entry: Object, folder: str, config: Config) -> Mount:
    destination = entry.text("destination", None)
    source, kind = entry.text("source"), entry.text("type")
    options = parse(entry.strings("options"))
    bind = kind == "bind" or bool(options.flags & _BIND)
    mount = Mount(
        # A relative destination counts from the root: so it was before the specification's version 1.1.
        destination=destination if destination[:1] == "/" else f"/{destination}",
        source=os.path.join(folder, source) if bind else source,
        device="bind" if bind else kind,
        flags=options.flags | _BIND if bind else options.flags,
        propagation_flags=options.propagation,
        data=options.data,
    )
    if not destination:
        raise entry.wrong("destination", "is empty")
    if bind and not source:
        raise entry.wrong("source", "is missing: what is to be bound?")
    if bind:
        mount.recursive_set, mount.recursive_clear = options.recursive_set, options.recursive_clear
        mount.clear_flags = options.cleared
    else:
        mount.flags = _as_plain(mount.flags, options)
    if options.tmpcopyup:
        if kind != "tmpfs" or bind:
            raise _option(entry, "tmpcopyup", "is for a tmpfs")
        mount.copy_up = True
    _map_ids(mount, entry, options, bind, config)
    return mount


def _option(entry: Object, word: str, problem: str) -> ConfigInvalid:
    index = entry.strings("options").index(word)
    return ConfigInvalid(entry.path("options", index), f"{word} {problem}")


def _as_plain(flags: int, options: Options) -> int:
    for attribute, flag in _PLAIN:
        if options.recursive_clear & attribute:
            flags &= ~int(flag)
        if options.recursive_set & attribute:
            flags |= int(flag)
    if options.recursive_clear & _ATIME:
        flags = flags & ~int(MS.NOATIME | MS.STRICTATIME) | _PLAIN_ATIME[options.recursive_set & _ATIME]
    return int(flags)


def _map_ids(mount: Mount, entry: Object, options: Options, bind: bool, config: Config) -> None:
    """Give files other owners. Without maps of its own the mount gets those of the container's user namespace."""
    uids, gids = id_mappings(entry, "uidMappings"), id_mappings(entry, "gidMappings")
    if not uids and not gids:
        if not options.idmap:
            return
        uids, gids = config.uid_mappings, config.gid_mappings
        if not uids or not gids:
            raise _option(entry, options.idmap, "needs uidMappings and gidMappings, here or of the container")
    for key, maps in (("uidMappings", uids), ("gidMappings", gids)):
        if not maps:
            raise entry.wrong(key, "is missing: an id-mapped mount maps users and groups")
    if not bind:
        raise entry.wrong("uidMappings" if "uidMappings" in entry else "options", "only a bind mount can be id-mapped")
    mount.uid_mappings, mount.gid_mappings = uids, gids
    if options.idmap == "ridmap":
        mount.recursive_set |= _IDMAP


def id_mappings(given: Object, key: str) -> tuple[IDMap, ...]:
    """Read `uidMappings` or `gidMappings`."""
    return tuple([IDMap(container_id=entry.number("containerID", 0, U32, None),
                        host_id=entry.number("hostID", 0, U32, None), size=entry.number("size", 1, U32, None))
                  for entry in given.objects(key)])


def propagation(linux: Object) -> int:
    """Read `rootfsPropagation`: as flags of mount(2), 0 without."""
    return linux.word("rootfsPropagation", _PROPAGATIONS, "")


def devices(linux: Object) -> tuple[Device, ...]:
    """Read `devices`, and add those that every container has."""
    listed = [_device(entry) for entry in linux.objects("devices")]
    paths = {device.path for device in listed}
    return (*listed, *[device for device in DEFAULT_SIMPLE_DEVICES if device.path not in paths])


def _device(entry: Object) -> Device:
    path = entry.text("path", None)
    if not path.startswith("/"):
        raise entry.wrong("path", f"expected an absolute path, got {shortened(path)!r}")
    kind = entry.word("type", _KINDS)
    mode = entry.integer("fileMode", 0, U32)
    fifo = kind == _KINDS["p"]
    return Device(
        type=kind, path=os.path.normpath(path), permissions="rwm",
        major=0 if fifo else entry.number("major", 0, (1 << 12) - 1, None),
        minor=0 if fifo else entry.number("minor", 0, (1 << 20) - 1, None),
        file_mode=0o666 if mode is None else mode,
        uid=entry.number("uid", 0, U32 - 1), gid=entry.number("gid", 0, U32 - 1))
