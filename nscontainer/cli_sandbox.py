"""The command ``sandbox``: what nscontainer.run does, for a shell."""
from __future__ import annotations

import os

from . import relay, sandbox
from .cli import UsageError
from .container import Container
from .errors import ConfigInvalid
from .process import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .config import Mount
    from .resources import Cgroup
    from .spawner import Zygote

__all__ = ["run"]

SIGKILL = 9


def run(zygote: Zygote, options: dict[str, Any], operands: list[str]) -> int:
    """Run the operands in a container and return the exit code."""
    rootfs = options.get("rootfs")
    timeout = _seconds(options["timeout"]) if "timeout" in options else None
    try:
        config = sandbox.describe(
            rootfs=rootfs, ephemeral=options.get("ephemeral") or None, read_only=options.get("read-only", False),
            hostname=options.get("hostname", sandbox.HOSTNAME), network=options.get("network", "none"),
            mounts=_mounts(options), capabilities=_capabilities(options),
            seccomp=options.get("seccomp", "default"), limits=_limits(options))
    except ConfigInvalid as error:
        raise UsageError(str(error)) from None
    config.parent_death_signal = SIGKILL  # whatever happens to us, the container does not outlive the command
    process = Process(operands or _shell(rootfs), env=_environment(rootfs, options), user=options.get("user", ""),
                      cwd=sandbox.starting_directory(rootfs, options.get("cwd")), stdin=0, stdout=1, stderr=2)
    wants_terminal = options.get("tty", os.isatty(0) and os.isatty(1)) and not options.get("no-tty")
    with relay.Relay(process, timeout, terminal=wants_terminal) as attendant:
        container = Container("sandbox", config, zygote, None)
        container.start(process)
        zygote.close()  # it has done its work, and goes away while the program does its own
        code = attendant.attend()
        container.destroy()
        return code


def _mounts(options: dict[str, Any]) -> Iterable[Mount]:
    for wanted in options.get("bind", ()):
        yield sandbox.as_mount(wanted, "--bind")
    for destination in options.get("tmpfs", ()):
        yield sandbox.tmpfs(destination)


def _capabilities(options: dict[str, Any]) -> list[str] | None:
    dropped = {sandbox.capability_name(name) for name in options.get("cap-drop", ())}
    added = [sandbox.capability_name(name) for name in options.get("cap-add", ())]
    kept = [] if "CAP_ALL" in dropped else [name for name in sandbox.CAPABILITIES if name not in dropped]
    return [*kept, *(name for name in added if name not in kept)]


def _limits(options: dict[str, Any]) -> Cgroup | None:
    if options.keys().isdisjoint(("memory", "swap", "cpus", "cpuset", "pids")):
        return None
    from .units import limits

    try:
        cpus = float(options["cpus"]) if "cpus" in options else None
        pids = int(options["pids"]) if "pids" in options else None
    except ValueError as error:
        raise UsageError(f"--cpus, --pids: expected a number: {error}") from None
    return limits(f"nscontainer-sandbox-{os.getpid()}", memory=options.get("memory"), swap=options.get("swap"),
                  cpus=cpus, cpuset=options.get("cpuset"), pids=pids)


def _environment(rootfs: str | None, options: dict[str, Any]) -> list[str]:
    variables = sandbox.environment(rootfs, user=options.get("user", ""))
    for wanted in options.get("env", ()):
        name, equals, _ = wanted.partition("=")
        if not name:
            raise UsageError(f"--env: expected NAME or NAME=VALUE, got {wanted!r}")
        if equals:
            variables.append(wanted)
        elif name in os.environ:
            variables.append(f"{name}={os.environ[name]}")
    return variables


def _shell(rootfs: str | None) -> list[str]:
    """Return the user's own shell, where this host's programs are in sight."""
    shell = os.environ.get("SHELL", "") if rootfs is None else ""
    return [shell if shell.startswith("/") and os.access(shell, os.X_OK) else "sh"]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:  # NaN is not, either
        raise UsageError(f"--timeout: expected seconds, got {text!r}")
    return seconds
