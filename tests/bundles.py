"""What engines write: a config.json of podman, docker, containerd (Kubernetes), as they send it to a runtime."""
from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

__all__ = ["containerd", "docker", "make_bundle", "merged", "minimal", "podman"]

_CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
                 "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAFE = ["nosuid", "noexec", "nodev"]
_MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
           "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block"]
_READONLY = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def minimal(**more: Any) -> dict[str, Any]:
    """Return the least that can be started."""
    document: dict[str, Any] = {
        "ociVersion": "1.0.0", "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}, "env": [_PATH]},
        "mounts": [_mount("/proc", "proc", "proc")],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    }
    return merged(document, more)


def merged(document: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of *document* with the values of *more*, object by object; lists are replaced."""
    result = copy.deepcopy(document)
    for key, value in more.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def make_bundle(folder: Path, document: dict[str, Any] | str, rootfs: Path | None = None) -> Path:
    """Write a bundle; its root file system is *rootfs*, or an empty directory."""
    folder.mkdir(parents=True, exist_ok=True)
    if rootfs is not None:
        (folder / "rootfs").symlink_to(rootfs)
    else:
        (folder / "rootfs").mkdir(exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "config.json").write_text(text)
    return folder


def podman() -> dict[str, Any]:
    """podman run --memory 64m --cpus 0.5 --pids-limit 100 --device /dev/fuse -v … --tmpfs /run, cgroupfs manager."""
    return {
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0, "additionalGids": [1, 50], "umask": 18},
            "args": ["sleep", "100"], "env": [_PATH, "TERM=xterm", "container=podman", "HOME=/root", "HOSTNAME=abc"],
            "cwd": "/", "capabilities": {"bounding": _CAPABILITIES, "effective": _CAPABILITIES,
                                         "permitted": _CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
                        {"type": "RLIMIT_NPROC", "hard": 18446744073709551615, "soft": 4096}],
            "oomScoreAdj": 0, "consoleSize": {"height": 0, "width": 0}},
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "abc",
        "mounts": [
            _mount("/proc", "proc", "proc", *_SAFE),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=65536k"),
            _mount("/sys", "sysfs", "sysfs", *_SAFE, "ro"),
            _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                   "gid=5"),
            _mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "rprivate", *_SAFE, "relatime", "ro"),
            _mount("/dev/shm", "tmpfs", "shm", *_SAFE, "mode=1777", "size=65536k"),
            _mount("/run", "tmpfs", "tmpfs", "rw", "rprivate", "nosuid", "nodev", "tmpcopyup"),
        ],
        "annotations": {"io.container.manager": "libpod", "org.opencontainers.image.stopSignal": "15"},
        "linux": {
            "resources": {
                "devices": [{"allow": False, "access": "rwm"},
                            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
                "memory": {"limit": 67108864, "swap": 134217728},
                "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 100}},
            "cgroupsPath": "/libpod_parent/libpod-abc",
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/self/ns/net"}, {"type": "ipc"},
                           {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0,
                         "gid": 0}],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS"],
                "syscalls": [
                    {"names": ["bdflush", "io_pgetevents"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                    {"names": ["execve", "exit_group", "read", "write"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                     "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                    {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                     "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]},
            "maskedPaths": _MASKED, "readonlyPaths": _READONLY, "sysctl": {"net.ipv4.ping_group_range": "0 0"},
        },
    }


def docker() -> dict[str, Any]:
    """docker run -it --init --ulimit nofile=1024 --security-opt no-new-privileges -v /srv:/srv:ro, systemd manager."""
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": True, "consoleSize": {"height": 24, "width": 80}, "user": {"uid": 0, "gid": 0,
                                                                                  "additionalGids": [0, 1, 2]},
            "args": ["/sbin/docker-init", "--", "sh"], "env": [_PATH, "HOSTNAME=f00", "TERM=xterm"], "cwd": "/",
            "capabilities": {"bounding": _CAPABILITIES, "effective": _CAPABILITIES, "permitted": _CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True, "apparmorProfile": "docker-default", "oomScoreAdj": 0},
        "root": {"path": "/var/lib/docker/overlay2/1/merged"},
        "hostname": "f00",
        "mounts": [
            _mount("/proc", "proc", "proc", *_SAFE),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                   "gid=5"),
            _mount("/sys", "sysfs", "sysfs", *_SAFE, "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", *_SAFE),
            _mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
            _mount("/dev/shm", "tmpfs", "shm", *_SAFE, "mode=1777", "size=67108864"),
            _mount("/srv", "bind", "/srv", "rbind", "ro", "rro", "rprivate"),
            _mount("/sbin/docker-init", "bind", "/usr/bin/docker-init", "bind", "ro"),
        ],
        "hooks": {"prestart": [{"path": "/proc/1234/exe",
                                "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "f00", "abc"]}]},
        "linux": {
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
            "resources": {
                "devices": [{"allow": False, "access": "rwm"},
                            {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                            {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
                "memory": {"disableOOMKiller": False}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}, "pids": {}},
            "cgroupsPath": "system.slice:docker:f00",
            "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"},
                           {"type": "cgroup"}],
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
                        "architectures": ["SCMP_ARCH_X86_64"],
                        "syscalls": [{"names": ["execve", "read"], "action": "SCMP_ACT_ALLOW"}]},
            "maskedPaths": _MASKED, "readonlyPaths": _READONLY},
    }


def containerd() -> dict[str, Any]:
    """A container of a pod, as CRI writes it: namespaces by path, resources with most fields."""
    return {
        "ociVersion": "1.2.1",
        "process": {
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [1000, 3000]}, "args": ["/app"],
            "env": [_PATH, "HOSTNAME=pod", "KUBERNETES_PORT=tcp://10.96.0.1:443"], "cwd": "/app",
            "capabilities": {}, "noNewPrivileges": True, "oomScoreAdj": 969},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            _mount("/proc", "proc", "proc", *_SAFE),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_SAFE, "relatime", "ro"),
            _mount("/etc/hosts", "bind", "/etc/hosts", "rbind", "rprivate", "rw"),
            _mount("/etc/resolv.conf", "bind", "/etc/resolv.conf", "rbind", "rprivate", "ro"),
        ],
        "annotations": {"io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.sandbox-uid": "1-2-3"},
        "linux": {
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": 134217728, "swap": 134217728, "reservation": 67108864},
                "cpu": {"shares": 512, "quota": 20000, "period": 100000, "cpus": "0-1", "mems": "0", "burst": 1000},
                "pids": {"limit": 256}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
                "blockIO": {"weight": 500,
                            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
                            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]},
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
                "unified": {"memory.oom.group": "1", "memory.high": "120000000"}},
            "cgroupsPath": "/kubepods/burstable/pod1-2-3/abcdef",
            "namespaces": [{"type": "pid"}, {"type": "ipc", "path": "/proc/4026/ns/ipc"},
                           {"type": "uts", "path": "/proc/4026/ns/uts"}, {"type": "mount"},
                           {"type": "network", "path": "/proc/4026/ns/net"}, {"type": "cgroup"}],
            "maskedPaths": _MASKED, "readonlyPaths": _READONLY},
    }
