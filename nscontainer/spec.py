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

from .config import Config, Namespace, Namespaces, NamespaceType, Network
from .errors import ConfigInvalid
from .records import loads
from .spec_process import ProcessSpec, process_from_json, settle
from .spec_reader import Object
from .strictjson import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["VERSION", "Bundle", "ProcessSpec", "features", "load_bundle", "process_from_json", "settle", "template"]

VERSION = "1.3.0"  # of the specification
_NAMESPACES = {
    "pid": NamespaceType.NEWPID, "network": NamespaceType.NEWNET, "mount": NamespaceType.NEWNS,
    "ipc": NamespaceType.NEWIPC, "uts": NamespaceType.NEWUTS, "user": NamespaceType.NEWUSER,
    "cgroup": NamespaceType.NEWCGROUP, "time": NamespaceType.NEWTIME,
}


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
    process = None
    if "process" in given:
        process = process_from_json(given.values["process"])
    linux = given.object("linux") or Object({}, "linux")
    config = Config(
        rootfs=_rootfs(folder, given),
        readonlyfs=bool((root := given.object("root")) and root.boolean("readonly")),
        hostname=given.text("hostname"),
        domainname=given.text("domainname"),
        namespaces=_namespaces(linux),
        version=version,
    )
    if config.namespaces.creates("NEWNET"):
        config.networks = (Network(type="loopback"),)
    if process is not None:
        settle(config, process)
    return Bundle(folder, config, process, _annotations(given), version, process.warnings if process else [])


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


def _rootfs(folder: str, given: Object) -> str:
    root = given.object("root")
    if root is None:
        raise given.missing("root")
    path = root.text("path", None)
    if not path:
        raise root.wrong("path", "is empty")
    # The bundle is its owner's to arrange, and a folder such as /var/run is a link: only what it is now counts.
    found = os.path.realpath(os.path.join(folder, path))
    if not os.path.isdir(found):
        raise root.wrong("path", f"{found!r} is not a directory" if os.path.lexists(found)
                         else f"{found!r} does not exist")
    return found


def _annotations(given: Object) -> dict[str, str]:
    annotations = given.mapping("annotations")
    if "" in annotations:
        raise given.wrong("annotations", "a key is empty")
    return annotations


def _namespaces(linux: Object) -> Namespaces:
    listed = Namespaces()
    for entry in linux.objects("namespaces"):
        kind, path = entry.word("type", _NAMESPACES), entry.text("path")
        if listed.contains(kind):
            raise entry.wrong("type", f"{entry.text('type')} is listed before", hint="list each type once")
        listed.append(Namespace(type=kind, path=path))
    return listed


def template(*, rootless: bool = False) -> dict[str, Any]:
    """Return a config.json to begin with: a shell, in a container that is as safe as can be by default."""
    from .spec_template import template as made  # one command needs it

    return made(rootless=rootless)


def features() -> dict[str, Any]:
    """Return what this runtime can do on this machine, in the terms of the specification's features.md."""
    from .spec_features import features as found  # one command needs it

    return found()
