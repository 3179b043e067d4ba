"""A look at a container of an engine, by its files and the kernel alone: most commands want no more.

To import what makes and changes containers takes ten times as long as this.
"""
from __future__ import annotations

import os

from . import gate
from .cgroups import freezer
from .cli_options import OCI_VERSION
from .cli_root import place_of
from .errors import ContainerNotExists, SystemError_
from .handles import Stranger
from .strictjson import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ABOUT", "Glance", "about_of", "ids"]

ABOUT, STATE = "oci.json", "state.json"


def about_of(directory: str) -> dict[str, Any]:
    """Return what state.json does not say of a container."""
    try:
        with open(f"{directory}/{ABOUT}", "rb") as file:
            found: dict[str, Any] = loads(file.read())
            return found
    except FileNotFoundError:
        return {}


def ids(root: str) -> list[str]:
    """Return the ids of all containers below a state root."""
    found = []
    for name in sorted(os.listdir(root)):
        try:
            with open(f"{root}/{name}/{STATE}", "rb") as file:
                found.append(str(loads(file.read())["id"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being made, or half removed: no container
    return found


class Glance:
    """What a container is and does. ContainerNotExists when there is none of that id."""

    def __init__(self, root: str, id: str) -> None:
        self.id, self.directory = id, place_of(root, id)
        path = f"{self.directory}/{STATE}"
        try:
            with open(path, "rb") as file:
                found = loads(file.read())
            self.config: dict[str, Any] = found["config"]
            self.init = Stranger(int(found["init_process_pid"]), str(found["init_process_start"]))
            self.cgroups: dict[str, str] = found.get("cgroup_paths", {})
        except (FileNotFoundError, NotADirectoryError):
            raise ContainerNotExists("container does not exist") from None
        except (ValueError, KeyError, TypeError) as error:
            raise SystemError_(f"{path} is damaged: {error}") from None
        self.about = about_of(self.directory)

    def condition(self) -> str:
        """Say in the specification's word what it is doing."""
        if self.init.poll():
            return "stopped"
        if gate.is_shut(self.directory):
            return "created"
        if "freezer" in self.cgroups:
            return "paused" if freezer.frozen_v1(self.cgroups["freezer"]) else "running"
        return "paused" if "" in self.cgroups and freezer.frozen_v2(self.cgroups[""]) else "running"

    def has_pid_namespace(self) -> bool:
        """Say whether its other processes end with the first."""
        return any(one.get("type") == "NEWPID" and not one.get("path") for one in self.config.get("namespaces", ()))

    def to_json(self) -> dict[str, Any]:
        """Describe it for an engine."""
        condition, config = self.condition(), self.config
        described = {"ociVersion": OCI_VERSION, "id": self.id, "pid": 0 if condition == "stopped" else self.init.pid,
                     "status": condition, "bundle": config.get("bundle", ""), "rootfs": config.get("rootfs", ""),
                     "created": self.about.get("created", "")}
        if config.get("annotations"):
            described["annotations"] = config["annotations"]
        return {**described, "owner": ""}
