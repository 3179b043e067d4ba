"""The commands ``update``, which changes the limits of a container, and ``events``, which prints its counters."""
from __future__ import annotations

import select
import time

from .cli_oci import Engine, OciContainer
from .cli_options import UsageError
from .cli_report import log, say
from .cli_root import only_id
from .errors import ConfigInvalid, ContainerError, ContainerNotRunning
from .spec import limits_from_json
from .strictjson import dumps, loads
from .units import amount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cgroups.notify import Events
    from .resources import Cgroup

__all__ = ["events", "update"]

# What an option is in the object `resources`; the letter says how its value is to be read.
_PLACES = {
    "blkio-weight": ("blockIO", "weight", "n"), "cpu-period": ("cpu", "period", "n"),
    "cpu-quota": ("cpu", "quota", "n"), "cpu-burst": ("cpu", "burst", "n"), "cpu-share": ("cpu", "shares", "n"),
    "cpu-rt-period": ("cpu", "realtimePeriod", "n"), "cpu-rt-runtime": ("cpu", "realtimeRuntime", "n"),
    "cpu-idle": ("cpu", "idle", "n"), "cpuset-cpus": ("cpu", "cpus", "t"), "cpuset-mems": ("cpu", "mems", "t"),
    "memory": ("memory", "limit", "b"), "memory-reservation": ("memory", "reservation", "b"),
    "memory-swap": ("memory", "swap", "b"), "pids-limit": ("pids", "limit", "n"),
}
_IGNORED = ("kernel-memory", "kernel-memory-tcp")
_MISSING = ("l3-cache-schema", "mem-bw-schema")
_ON_DEVICES = ("blkio_weight_device", "blkio_throttle_read_bps_device", "blkio_throttle_write_bps_device",
               "blkio_throttle_read_iops_device", "blkio_throttle_write_iops_device")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def update(options: dict[str, Any], operands: list[str]) -> int:
    """Change limits: those that are named, and no others."""
    id = only_id(operands)
    for name in _MISSING:
        if name in options:
            raise ContainerError(f"--{name}: Intel RDT is not supported")
    if "resources" in options:
        resources = loads(_content(options["resources"]), "resources")
    else:
        for name in _IGNORED:
            if name in options:
                log(options, "warning", f"--{name} is ignored: the kernel does not limit this by itself any more")
        resources = _from_options(options)
    if isinstance(resources, dict):
        resources = {key: value for key, value in resources.items() if key != "devices"}
    warnings: list[str] = []
    wanted = limits_from_json(resources, warnings=warnings)
    for warning in warnings:
        log(options, "warning", warning)
    container = Engine(options).load(id)
    if container.condition() == "stopped":
        raise ContainerNotRunning("container not running")
    config = container.config()
    if config.cgroups is None:
        raise ContainerError(f"container {id!r} has no cgroup, and only a cgroup has limits")
    _overlay(config.cgroups, wanted)
    container.set(config)
    container.save()
    return 0


def _content(path: str) -> bytes:
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            return file.read()
    except OSError as error:
        raise ContainerError(f"--resources: cannot read {path!r}: {error.strerror}") from None


def _from_options(options: dict[str, Any]) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for name, (part, key, kind) in _PLACES.items():
        if name in options and options[name] != "":
            resources.setdefault(part, {})[key] = _value(f"--{name}", options[name], kind)
    return resources


def _value(option: str, word: str, kind: str) -> int | str:
    if kind == "t":
        return word
    try:
        if kind == "b" and word != "-1":
            return amount(word, option)
        return int(word) if len(word) < 40 else int("")
    except (ValueError, ConfigInvalid):
        raise UsageError(f"{option}: expected a number, got {word!r}") from None


def _overlay(group: Cgroup, wanted: Cgroup) -> None:
    """Put what is wanted over what there is. A limit for one device leaves those of others alone."""
    for name, value in wanted.__dict__.items():
        if name in _ON_DEVICES:
            named = {(entry.major, entry.minor) for entry in value}
            others = [entry for entry in getattr(group, name) if (entry.major, entry.minor) not in named]
            setattr(group, name, (*others, *value))
        else:
            setattr(group, name, {**group.unified, **value} if name == "unified" else value)
    if wanted.memory == -1 and not wanted.memory_swap and group.memory_swap:
        group.memory_swap = -1  # memory and swap together cannot be less than memory


# ---------------------------------------------------------------------------------------------------------- events

def events(options: dict[str, Any], operands: list[str]) -> int:
    """Print counters every so often, and at once when memory runs out, until the container ends."""
    id = only_id(operands)
    interval = _duration(options.get("interval", "5s"))
    container = Engine(options).load(id)
    if container.condition() == "stopped":
        raise ContainerNotRunning("container not running")
    if options.get("stats"):
        _print("stats", id, _data(container))
        return 0
    with container.watch() as watch:
        _follow(container, watch, interval)
    return 0


def _follow(container: OciContainer, watch: Events, interval: float) -> None:
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    due = time.monotonic() + interval
    while True:
        if poll.poll(max(0, int((due - time.monotonic()) * 1000) + 1)):
            happened = watch.take()
            if happened is None:
                return
            for _ in range(happened):
                _print("oom", container.id)
        if time.monotonic() >= due:
            due += interval
            _print("stats", container.id, _data(container))


def _print(kind: str, id: str, data: dict[str, Any] | None = None) -> None:
    say(dumps({"type": kind, "id": id, **({} if data is None else {"data": data})}) + "\n")


def _duration(word: str) -> float:
    """Read a time as Go writes it: 5s, 500ms, 1m30s."""
    total, rest = 0.0, word
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        end = digits
        while end < len(rest) and not (rest[end].isdecimal() or rest[end] == "."):
            end += 1
        try:
            total += float(rest[:digits]) * _SECONDS[rest[digits:end]]
        except (ValueError, KeyError):
            raise UsageError(f"--interval: expected a time such as 5s or 500ms, got {word!r}") from None
        rest = rest[end:]
    if not total > 0:
        raise UsageError("--interval: must be greater than 0")
    return min(total, 1e6)


def _data(container: OciContainer) -> dict[str, Any]:
    """Return the counters in runc's shape."""
    counted = container.stats().cgroup_stats
    if counted is None:
        raise ContainerError(f"container {container.id!r} has no cgroup, and only a cgroup counts")
    cpu, memory, stall = counted.cpu_stats, counted.memory_stats, counted.pressure.to_json()
    usage, throttling = cpu.cpu_usage, cpu.throttling_data
    return {
        "cpu": {
            "usage": _said({"total": usage.total_usage, "percpu": usage.percpu_usage,
                            "kernel": usage.usage_in_kernelmode, "user": usage.usage_in_usermode},
                           keep=("kernel", "user")),
            "throttling": _said({"periods": throttling.periods, "throttledPeriods": throttling.throttled_periods,
                                 "throttledTime": throttling.throttled_time}),
            **_psi(stall, "cpu")},
        "cpuset": {},
        "memory": {
            **_said({"cache": memory.cache}), "usage": _memory(memory.usage), "swap": _memory(memory.swap_usage),
            "kernel": _memory(memory.kernel_usage), "kernelTCP": _memory(None), "raw": memory.stats,
            **_psi(stall, "memory")},
        "pids": _said({"current": counted.pids_stats.current, "limit": counted.pids_stats.limit}),
        "blkio": {**_said(_traffic(counted.blkio_stats.to_json())), **_psi(stall, "io")},
        "hugetlb": {size: {**_said({"usage": one.usage, "max": one.max_usage}), "failcnt": one.failcnt}
                    for size, one in counted.hugetlb_stats.items()},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _said(values: dict[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value or name in keep}


def _memory(data: Any) -> dict[str, Any]:
    if data is None:
        return {"limit": 0, "failcnt": 0}
    return {"limit": data.limit, **_said({"usage": data.usage, "max": data.max_usage}), "failcnt": data.failcnt}


def _psi(stall: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"psi": stall[kind]} if any(stall.get(kind, {}).get(part, {}).get("total") for part in ("some", "full")) \
        else {}


_TRAFFIC = {"io_service_bytes_recursive": "ioServiceBytesRecursive", "io_serviced_recursive": "ioServicedRecursive",
            "io_queue_recursive": "ioQueueRecursive", "io_service_time_recursive": "ioServiceTimeRecursive",
            "io_wait_time_recursive": "ioWaitTimeRecursive", "io_merged_recursive": "ioMergedRecursive",
            "io_time_recursive": "ioTimeRecursive", "sectors_recursive": "sectorsRecursive"}


def _traffic(counted: dict[str, Any]) -> dict[str, Any]:
    return {theirs: counted[ours] for ours, theirs in _TRAFFIC.items() if ours in counted}
