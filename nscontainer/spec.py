"""The OCI runtime specification's config.json into our Config, and back: the template that ``spec`` prints.

Lesson  A container of every engine is one JSON file beside a directory: the bundle. All that an engine knows, images,
        names, networks, it has turned into these few hundred lines before it calls a runtime.
Read    the OCI runtime specification: bundle.md, config.md, config-linux.md, features.md

What the specification calls by another name, or counts in another way, is turned into our words here and nowhere else.
"""
from __future__ import annotations

import os
import stat
from errno import ENOENT, ENOTDIR

from .config import (
    Command,
    CommandHook,
    Config,
    Hooks,
    MemoryPolicy,
    Namespace,
    Namespaces,
    NamespaceType,
    NetDevice,
    Network,
    TimeOffset,
)
from .errors import ConfigInvalid
from .idmap import default_mappings
from .records import loads
from .spec_mounts import devices, id_mappings, mounts, propagation
from .spec_process import ProcessSpec, process_from_json, settle
from .spec_reader import I64, Object
from .spec_resources import cgroup, limits_from_json
from .spec_seccomp import seccomp
from .strictjson import shortened
from .validate import ConfigValidator
from .validate_scheduling import MEMORY_FLAGS, MEMORY_POLICIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["VERSION", "Bundle", "ProcessSpec", "Validator", "features", "limits_from_json", "load_bundle",
           "process_from_json", "settle", "template"]

VERSION = "1.3.0"  # of the specification
_NAMESPACES = {
    "pid": NamespaceType.NEWPID, "network": NamespaceType.NEWNET, "mount": NamespaceType.NEWNS,
    "ipc": NamespaceType.NEWIPC, "uts": NamespaceType.NEWUTS, "user": NamespaceType.NEWUSER,
    "cgroup": NamespaceType.NEWCGROUP, "time": NamespaceType.NEWTIME,
}
_HOOKS = {"prestart": "prestart", "createRuntime": "create_runtime", "createContainer": "create_container",
          "startContainer": "start_container", "poststart": "poststart", "poststop": "poststop"}


class Bundle:
    """What a bundle's config.json says.

    *process* is None where it names no program: such a container can be created, and not started. *warnings* are for
    the caller's log.
    """

    def __init__(self, path: str, config: Config, process: ProcessSpec | None, annotations: dict[str, str],
                 oci_version: str, warnings: list[str]) -> None:
        self.path, self.config, self.process = path, config, process
        self.annotations, self.oci_version, self.warnings = annotations, oci_version, warnings

    def __repr__(self) -> str:
        return f"Bundle({self.path!r})"


def load_bundle(path: str | os.PathLike[str], *, systemd_cgroup: bool = False, rootless: bool = False,
                id: str = "") -> Bundle:
    """Read config.json of the bundle at *path*; ConfigInvalid names the first wrong value by its path.

    *id* names the cgroup where the bundle does not. With *systemd_cgroup* its cgroupsPath is ``slice:prefix:name``.
    *rootless*: what an ordinary user cannot restrict is left as it is.
    """
    folder = os.path.abspath(path)
    given = Object(loads(_content(folder), "config.json"), "")
    version = _version(given)
    process = process_from_json(given.values["process"]) if "process" in given else None
    warnings = list(process.warnings) if process is not None else []
    config = Config(version=version, bundle=folder, make_cwd=True)
    config.rootfs, config.readonlyfs = _root(folder, given)
    config.hostname, config.domainname = given.text("hostname"), given.text("domainname")
    config.annotations = _annotations(given)
    config.hooks = _hooks(given)
    linux = given.object("linux") or Object({}, "linux")
    _linux(config, linux)
    if rootless and config.namespaces.creates("NEWUSER") and not (config.uid_mappings or config.gid_mappings):
        config.uid_mappings, config.gid_mappings = default_mappings()  # crun's template leaves them to the runtime
    config.cgroups = cgroup(linux, id=id, systemd=systemd_cgroup, rootless=rootless, warnings=warnings)
    config.mounts = mounts(given, folder, config)
    if process is not None:
        settle(config, process)
    return Bundle(folder, config, process, config.annotations, version, warnings)


class Validator:
    """ConfigValidator, speaking of a config.json: what it refuses has the path that it has there."""

    def validate(self, config: Config) -> None:
        """Raise ConfigInvalid unless a container can be made as *config*, which came from a bundle, says."""
        try:
            ConfigValidator().validate(config)
        except ConfigInvalid as error:
            raise ConfigInvalid(_path_in_bundle(error.path), error.problem, hint=error.hint) from None


def _path_in_bundle(path: str) -> str:
    """Return where in a config.json a value stands that Config has at *path*."""
    for ours, theirs in _PATHS:
        if path == ours or path.startswith(ours) and path[len(ours)] in ".[":
            rest = path[len(ours):]
            for field, key in _KEYS.get(ours, ()):
                rest = rest.replace(field, key)
            return theirs + rest
    return path


# Where in Config a part of config.json is kept: the longer path before the shorter.
_PATHS = (
    ("rootfs", "root.path"), ("readonlyfs", "root.readonly"), ("rootPropagation", "linux.rootfsPropagation"),
    ("namespaces", "linux.namespaces"), ("uid_mappings", "linux.uidMappings"), ("gid_mappings", "linux.gidMappings"),
    ("mounts", "mounts"), ("devices", "linux.devices"), ("mask_paths", "linux.maskedPaths"),
    ("readonly_paths", "linux.readonlyPaths"), ("sysctl", "linux.sysctl"), ("time_offsets", "linux.timeOffsets"),
    ("net_devices", "linux.netDevices"),
    ("seccomp", "linux.seccomp"), ("mount_label", "linux.mountLabel"), ("memory_policy", "linux.memoryPolicy"),
    ("net_devices", "linux.netDevices"),
    ("personality", "linux.personality"), ("rlimits", "process.rlimits"), ("capabilities", "process.capabilities"),
    ("scheduler", "process.scheduler"), ("io_priority", "process.ioPriority"),
    ("exec_cpu_affinity", "process.execCPUAffinity"), ("additional_groups", "process.user.additionalGids"),
    ("apparmor_profile", "process.apparmorProfile"), ("process_label", "process.selinuxLabel"),
    ("oom_score_adj", "process.oomScoreAdj"), ("umask", "process.user.umask"),
    ("cgroups.name", "linux.cgroupsPath"), ("cgroups.parent", "linux.cgroupsPath"),
    ("cgroups.scope_prefix", "linux.cgroupsPath"), ("cgroups.allowed_devices", "linux.resources.devices"),
    ("cgroups.denied_devices", "linux.resources.devices"),
    ("cgroups.memory_swap", "linux.resources.memory.swap"),
    ("cgroups.memory_reservation", "linux.resources.memory.reservation"),
    ("cgroups.memory", "linux.resources.memory.limit"),
    ("cgroups.cpu_period", "linux.resources.cpu.period"), ("cgroups.cpu_quota", "linux.resources.cpu.quota"),
    ("cgroups.blkio_weight_device", "linux.resources.blockIO.weightDevice"),
    ("cgroups.blkio_weight", "linux.resources.blockIO.weight"),
    ("cgroups.blkio_leaf_weight", "linux.resources.blockIO.leafWeight"),
    ("cgroups.unified", "linux.resources.unified"), ("cgroups", "linux.resources"),
)
_KEYS = {
    "mounts": ((".device", ".type"), (".data", ".options"), (".flags", ".options"), (".propagation_flags", ".options"),
               (".uid_mappings", ".uidMappings"), (".gid_mappings", ".gidMappings"), ("container_id", "containerID"),
               ("host_id", "hostID")),
    "uid_mappings": (("container_id", "containerID"), ("host_id", "hostID")),
    "gid_mappings": (("container_id", "containerID"), ("host_id", "hostID")),
    "devices": (("file_mode", "fileMode"),),
    "seccomp": (("default_action", "defaultAction"), ("default_errno_ret", "defaultErrnoRet"),
                ("listener_path", "listenerPath"), ("listener_metadata", "listenerMetadata"),
                ("errno_ret", "errnoRet"), ("value_two", "valueTwo")),
    "io_priority": ((".io_class", ".class"),),
}


def _content(folder: str) -> bytes:
    """Return what is in config.json; that it is not there has three reasons."""
    path = os.path.join(folder, "config.json")
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise ConfigInvalid("", f"the bundle {folder!r} is not a directory")
    except FileNotFoundError:
        raise ConfigInvalid("", f"the bundle {folder!r} does not exist") from None
    except OSError as error:
        raise ConfigInvalid("", f"cannot enter the bundle {folder!r}: {error.strerror}") from None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a fifo one could wait for ever
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigInvalid("", f"{path!r} is not a file")
            return file.read()
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            raise ConfigInvalid("", f"JSON specification file {path!r} not found",
                                hint="make one with the command spec") from None
        raise ConfigInvalid("", f"cannot read {path!r}: {error.strerror}") from None


def _version(given: Object) -> str:
    """Return ociVersion. Later ones of the same major version only add what is to be ignored: semver.org."""
    version = given.text("ociVersion", None)
    numbers = version.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or not all(number.isascii() and number.isdecimal() for number in numbers):
        raise given.wrong("ociVersion", f"{shortened(version)!r} is not a version", hint=f"such as {VERSION}")
    if int(numbers[0]) != 1:
        raise given.wrong("ociVersion", f"version {shortened(version)} is not supported", hint=f"we know {VERSION}")
    return version


def _root(folder: str, given: Object) -> tuple[str, bool]:
    root = given.object("root")
    if root is None:
        raise given.missing("root")
    path = root.text("path", None)
    if not path:
        raise root.wrong("path", "is empty")
    # The bundle is its owner's to arrange, and a folder such as /var/run is a link: only what it is now counts.
    found = os.path.realpath(os.path.join(folder, path))
    if not os.path.isdir(found):
        problem = "is not a directory" if os.path.lexists(found) else "does not exist"
        raise root.wrong("path", f"{shortened(found)!r} {problem}")
    return found, root.boolean("readonly")


def _annotations(given: Object) -> dict[str, str]:
    annotations = given.mapping("annotations")
    if "" in annotations:
        raise given.wrong("annotations", "a key is empty")
    return annotations


def _linux(config: Config, linux: Object) -> None:
    """Read what is in `linux`, but for the cgroup."""
    config.namespaces = _namespaces(linux)
    config.uid_mappings, config.gid_mappings = id_mappings(linux, "uidMappings"), id_mappings(linux, "gidMappings")
    config.time_offsets = {
        clock: TimeOffset(secs=offset.number("secs", -I64 - 1, I64), nanosecs=offset.number("nanosecs", 0, 999_999_999))
        for clock, offset in linux.named("timeOffsets")}
    config.devices = devices(linux)
    config.root_propagation = propagation(linux)
    config.mask_paths, config.readonly_paths = linux.strings("maskedPaths"), linux.strings("readonlyPaths")
    config.mount_label = linux.text("mountLabel")
    config.sysctl = linux.mapping("sysctl")
    config.seccomp = seccomp(linux)
    config.personality = _personality(linux.object("personality"))
    config.memory_policy = _memory_policy(linux.object("memoryPolicy"))
    if config.namespaces.creates("NEWNET"):
        config.networks = (Network(type="loopback"),)
    config.net_devices = {name: NetDevice(name=device.text("name")) for name, device in linux.named("netDevices")}
    if linux.values.get("intelRdt"):
        raise linux.wrong("intelRdt", "is not supported yet by this version", hint="leave it out")


def _namespaces(linux: Object) -> Namespaces:
    listed = Namespaces()
    for entry in linux.objects("namespaces"):
        kind, path = entry.word("type", _NAMESPACES), entry.text("path")
        if listed.contains(kind):
            raise entry.wrong("type", f"{entry.text('type')} is listed before", hint="list each type once")
        listed.append(Namespace(type=kind, path=path))
    if not listed.creates("NEWNS"):
        # Without one there is no root to enter, and the program would be in the host's.
        raise linux.wrong("namespaces", "holds no new mount namespace: the program would not be in root.path",
                          hint="add {\"type\": \"mount\"}")
    return listed


def _personality(given: Object | None) -> int | None:
    if given is None:
        return None
    if given.strings("flags"):  # the specification has names for none
        raise given.wrong("flags", "no flag is known to the specification", hint="leave it out")
    return given.word("domain", {"LINUX": 0, "LINUX32": 8})


def _memory_policy(given: Object | None) -> MemoryPolicy | None:
    if given is None:
        return None
    return MemoryPolicy(mode=given.word("mode", MEMORY_POLICIES),
                        flags=sum({*given.words("flags", MEMORY_FLAGS)}),
                        nodes="".join(given.text("nodes").split()))


def _hooks(given: Object) -> Hooks:
    listed = given.object("hooks")
    hooks = Hooks()
    for key, name in _HOOKS.items() if listed is not None else ():
        assert listed is not None
        setattr(hooks, name, tuple([_hook(entry) for entry in listed.objects(key)]))
    return hooks


def _hook(entry: Object) -> CommandHook:
    path = entry.text("path", None)
    if not path.startswith("/"):
        raise entry.wrong("path", f"expected an absolute path, got {shortened(path)!r}")
    env = entry.strings("env")
    for index, pair in enumerate(env):
        if pair.find("=") < 1:
            raise ConfigInvalid(entry.path("env", index), f"expected NAME=value, got {shortened(pair)!r}")
    return CommandHook(command=Command(path=path, args=entry.strings("args"), env=env),
                       timeout=entry.integer("timeout", 1, (1 << 31) - 1))


def template(*, rootless: bool = False) -> dict[str, Any]:
    """Return a config.json to begin with: a shell, in a container that is as safe as can be by default."""
    from .spec_template import template as made  # one command needs it

    return made(rootless=rootless)


def features() -> dict[str, Any]:
    """Return what this runtime can do on this machine, in the terms of the specification's features.md."""
    from .spec_features import features as found  # one command needs it

    return found()
