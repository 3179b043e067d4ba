"""The config.json that the command ``spec`` prints: to begin with, and safe before anything is changed in it.

Read    the OCI runtime specification, config.md, config-linux.md

It grants what runc's does and less: the program cannot gain privileges, sees a cgroup tree of its own, reads nothing
that tells of the host in /proc and /sys, and asks of the kernel only what the default filter allows.
"""
from __future__ import annotations

import os

from .config import Operator
from .sandbox import MASKED_PATHS, PATH, READONLY_PATHS
from .security.default_profile import default_profile
from .security.seccomp_compiler import native_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Seccomp

__all__ = ["template"]

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_SAFE = ("nosuid", "noexec", "nodev")
_OPERATORS = {
    Operator.EQUAL_TO: "EQ", Operator.NOT_EQUAL_TO: "NE", Operator.GREATER_THAN: "GT",
    Operator.GREATER_THAN_OR_EQUAL_TO: "GE", Operator.LESS_THAN: "LT", Operator.LESS_THAN_OR_EQUAL_TO: "LE",
    Operator.MASK_EQUAL_TO: "MASKED_EQ",
}


def template(*, rootless: bool = False) -> dict[str, Any]:
    """Return the document; *rootless* is for an ordinary user, who becomes the root of a user namespace."""
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READONLY_PATHS),
        "seccomp": _seccomp(default_profile(_CAPABILITIES)),
    }
    if rootless:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={PATH}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "nscontainer",
        "mounts": _mounts(rootless),
        "linux": linux,
    }


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if not rootless:
        terminals.append("gid=5")  # the group tty has no number where one id is mapped
    return [
        _mount("/proc", "proc", "proc", *_SAFE),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *terminals),
        _mount("/dev/shm", "tmpfs", "shm", *_SAFE, "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
        _mount("/sys", "sysfs", "sysfs", *_SAFE, "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_SAFE, "relatime", "ro"),
    ]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _seccomp(profile: Seccomp) -> dict[str, Any]:
    """Return a filter in the specification's words."""
    assert profile.default_action is not None
    rules = []
    for rule in profile.syscalls:
        assert rule.action is not None
        entry: dict[str, Any] = {"names": [rule.name] if rule.name else list(rule.names),
                                 "action": f"SCMP_ACT_{rule.action.name}"}
        if rule.errno_ret is not None:
            entry["errnoRet"] = rule.errno_ret
        if rule.args:
            entry["args"] = [{"index": arg.index, "value": arg.value, "valueTwo": arg.value_two,
                              "op": f"SCMP_CMP_{_OPERATORS[arg.op]}"} for arg in rule.args if arg.op is not None]
        rules.append(entry)
    return {"defaultAction": f"SCMP_ACT_{profile.default_action.name}",
            "architectures": [f"SCMP_ARCH_{native_machine().upper()}"], "syscalls": rules}
