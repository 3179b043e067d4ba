"""The description of a container that every runtime understands: OCI's config.json, as a dict to be changed."""
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from nscontainer.config import Action, Operator, Seccomp

__all__ = ["CAPABILITIES", "PATH", "STARTED", "Spec", "bind", "filtered", "script", "spec", "tmpfs", "without"]

Spec = dict[str, Any]

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STARTED = "+started"   # the first word of every program of ours: the runtime did not refuse
CAPABILITIES = [f"CAP_{name}" for name in (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE").split()]
_SAFE = ["nosuid", "noexec", "nodev"]
_BASE: Spec = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False, "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": [PATH, "TERM=xterm"],
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        "noNewPrivileges": False,
    },
    "root": {"readonly": False},
    "hostname": "attacked",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": _SAFE},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*_SAFE, "mode=1777", "size=64m"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SAFE},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"],
    },
}


def script(text: str) -> list[str]:
    """Return the arguments that run a shell script which says first that it runs at all."""
    return ["/bin/sh", "-c", f"echo {STARTED}\n{text}"]


def spec(rootfs: Path | str, text: str, *mounts: Spec, **process: Any) -> Spec:
    """Describe a container of *rootfs* that runs the shell script *text*, with further mounts and process fields."""
    made = copy.deepcopy(_BASE)
    made["root"]["path"] = str(rootfs)
    made["process"].update(args=script(text), **process)
    made["mounts"] += mounts
    return made


def bind(source: Path | str, destination: str, *options: str) -> Spec:
    """Describe a bind mount."""
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def tmpfs(destination: str, source: str = "tmpfs") -> Spec:
    """Describe an empty file system in memory; *source* is the name that mountinfo shows."""
    return {"destination": destination, "type": "tmpfs", "source": source, "options": []}


def without(made: Spec, *destinations: str) -> Spec:
    """Leave out the mounts on these places: the image's own directories show."""
    made["mounts"] = [mount for mount in made["mounts"] if mount["destination"] not in destinations]
    return made


_COMPARISONS = {Operator.EQUAL_TO: "EQ", Operator.NOT_EQUAL_TO: "NE", Operator.GREATER_THAN: "GT",
                Operator.GREATER_THAN_OR_EQUAL_TO: "GE", Operator.LESS_THAN: "LT",
                Operator.LESS_THAN_OR_EQUAL_TO: "LE", Operator.MASK_EQUAL_TO: "MASKED_EQ"}


def filtered(made: Spec, profile: Seccomp) -> Spec:
    """Add a filter of system calls, in the words of the specification."""
    def rule(action: Action | None, errno: int | None) -> Spec:
        assert action is not None
        return {"action": f"SCMP_ACT_{action.name}", **({} if errno is None else {"errnoRet": errno})}

    made["linux"]["seccomp"] = {
        "defaultAction": f"SCMP_ACT_{profile.default_action.name}" if profile.default_action else "",
        "syscalls": [{"names": [name for name in (call.name, *call.names) if name],
                      **rule(call.action, call.errno_ret),
                      "args": [{"index": arg.index, "value": arg.value, "valueTwo": arg.value_two,
                                "op": f"SCMP_CMP_{_COMPARISONS[arg.op or Operator.EQUAL_TO]}"} for arg in call.args]}
                     for call in profile.syscalls]}
    return made
