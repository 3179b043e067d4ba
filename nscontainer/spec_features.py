"""What this runtime can do, as the command ``features`` tells engines: implemented, whatever this host has of it.

Read    the OCI runtime specification, features.md, features-linux.md
"""
from __future__ import annotations

from . import __version__
from .config import ARCHITECTURES, Action
from .mounts.options import WORDS
from .sys.capability import CAP
from .validate import NOT_YET
from .validate_scheduling import MEMORY_FLAGS, MEMORY_POLICIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["features"]

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
_OPERATORS = ("EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE")
_FLAGS = ("LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV")


def features() -> dict[str, Any]:
    """Return the document, ready for dumps()."""
    systemd = "cgroups.scope_prefix" not in NOT_YET
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in _FLAGS]
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": list(_HOOKS),
        "mountOptions": sorted(WORDS),
        "linux": {
            "namespaces": list(_NAMESPACES),
            "capabilities": [f"CAP_{capability.name}" for capability in CAP],
            "cgroup": {"v1": True, "v2": True, "systemd": systemd, "systemdUser": systemd, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(["SCMP_ACT_KILL_THREAD", *[f"SCMP_ACT_{action.name}" for action in Action]]),
                "operators": [f"SCMP_CMP_{name}" for name in _OPERATORS],
                "archs": sorted({f"SCMP_ARCH_{machine.upper()}" for machine in ARCHITECTURES.values()}),
                "knownFlags": flags,
                "supportedFlags": flags,
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "memoryPolicy": {"modes": list(MEMORY_POLICIES), "flags": list(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "io.github.nscontainer.version": __version__,
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": [],
    }
