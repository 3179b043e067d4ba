"""The container that tests start from, and the shortest way to run something in it."""
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from nscontainer import PIPE, STDOUT, Config, Container, ExitState, Factory, IDMap, NamespaceType, Process
from nscontainer.sys.mount import MS

__all__ = ["ENVIRONMENT", "MOUNTS", "finish", "output_of", "run_in", "standard", "with_user_namespace"]

ENVIRONMENT = ["HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]
_SAFE = int(MS.NOEXEC | MS.NOSUID | MS.NODEV)
MOUNTS: list[dict[str, Any]] = [
    {"source": "proc", "destination": "/proc", "device": "proc", "flags": _SAFE},
    {"source": "tmpfs", "destination": "/dev", "device": "tmpfs", "flags": int(MS.NOSUID | MS.STRICTATIME),
     "data": "mode=755"},
    {"source": "devpts", "destination": "/dev/pts", "device": "devpts", "flags": int(MS.NOSUID | MS.NOEXEC),
     "data": "newinstance,ptmxmode=0666,mode=0620"},
    {"source": "shm", "destination": "/dev/shm", "device": "tmpfs", "flags": _SAFE, "data": "mode=1777,size=65536k"},
    {"source": "mqueue", "destination": "/dev/mqueue", "device": "mqueue", "flags": _SAFE},
    {"source": "sysfs", "destination": "/sys", "device": "sysfs", "flags": _SAFE | int(MS.RDONLY)},
]
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
DEVICES = [{"type": ord("c"), "path": f"/dev/{name}", "major": major, "minor": minor, "permissions": "rwm",
            "file_mode": 0o666 | stat.S_IFCHR} for name, major, minor in _NODES]


def standard(rootfs: str | Path, **changes: Any) -> Config:
    """Return the configuration that libcontainer's own tests start from; *changes* are JSON fields to replace."""
    return Config.from_json({
        "rootfs": str(rootfs), "hostname": "integration", "mounts": MOUNTS, "devices": DEVICES,
        "namespaces": [{"type": kind, "path": ""} for kind in ("NEWNS", "NEWUTS", "NEWIPC", "NEWPID", "NEWNET")],
        "capabilities": ["CAP_" + name for name in (
            "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
            "KILL AUDIT_WRITE").split()],
        "networks": [{"type": "loopback"}],
        "mask_paths": ["/proc/kcore"],
        "readonly_paths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"],
        **changes})


def with_user_namespace(rootfs: str | Path, uid: int = 0, gid: int = 0, size: int = 1, **changes: Any) -> Config:
    """Return the same in a user namespace whose ids from 0 on are the host's from *uid* and *gid* on."""
    config = standard(rootfs, **changes)
    config.namespaces.add(NamespaceType.NEWUSER)
    config.uid_mappings = (IDMap(container_id=0, host_id=uid, size=size),)
    config.gid_mappings = (IDMap(container_id=0, host_id=gid, size=size),)
    return config


def finish(process: Process) -> tuple[str, ExitState]:
    """Return what the process writes to a piped stdout, and how it ends."""
    with process.stdout:
        text = process.stdout.read().decode()
    return text, process.wait(timeout=20)


def run_in(container: Container, *args: str, **fields: Any) -> tuple[str, ExitState]:
    """Start *args* in a container, and return what it wrote to both streams, and how it ended."""
    fields.setdefault("env", ENVIRONMENT)
    process = Process(list(args), stdout=PIPE, stderr=STDOUT, **fields)
    container.start(process)
    return finish(process)


def output_of(factory: Factory, config: Config, *args: str, **fields: Any) -> str:
    """Run *args* in a container made for it, and return what it wrote; it must end well."""
    container = factory.create(f"run_{os.urandom(6).hex()}", config)
    try:
        text, ended = run_in(container, *args, **fields)
        assert ended.returncode == 0, (ended, text)
        return text
    finally:
        container.destroy()
