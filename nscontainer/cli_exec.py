"""The command ``exec``: a further process in a container."""
from __future__ import annotations

from . import relay
from .cli_create import Caller, process_of
from .cli_oci import Engine, OciContainer
from .cli_options import UsageError
from .cli_report import log
from .config import Capabilities
from .errors import ConfigInvalid, ContainerError, ContainerNotRunning, ContainerPaused
from .spec import load_bundle, process_from_json, settle
from .strictjson import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .spawner import Zygote
    from .spec import ProcessSpec

__all__ = ["execute"]


def execute(zygote: Zygote, options: dict[str, Any], operands: list[str]) -> int:
    """Run a program in a container; return its exit code, or at once when it is to run by itself."""
    if not operands or not operands[0]:
        raise UsageError("a container ID is required")
    if "process" not in options and len(operands) < 2:
        raise UsageError("process args cannot be empty")
    if any(path.strip("/") for path in options.get("cgroup", ())):
        raise ContainerError("--cgroup: only the container's own cgroup, /, is supported")
    container = Engine(options, zygote).load(operands[0])
    condition = container.condition()
    if condition == "stopped":
        raise ContainerNotRunning("cannot exec in a stopped container")
    if condition == "paused":
        raise ContainerPaused("cannot exec in a paused container", hint="resume it before")
    spec = _described(container, options, operands[1:])
    for warning in spec.warnings:
        log(options, "warning", warning)
    config = container.config()
    settle(config, spec)
    container.enter_as(config)
    detached = bool(options.get("detach"))
    caller = Caller(options, terminal=spec.terminal, detached=detached, name="setns")
    try:
        process = process_of(spec, options)
        if detached:
            if spec.terminal:
                process.want_console(*spec.console_size or (0, 0))
            container.start(process)
            try:
                caller.tell(process)
            except BaseException:
                process.signal(9)
                raise
            return 0
        with relay.Relay(process, terminal=spec.terminal, inside=True) as attendant:
            container.start(process)
            caller.tell(process)
            zygote.close()
            return attendant.attend()
    finally:
        caller.close()


def _described(container: OciContainer, options: dict[str, Any], args: list[str]) -> ProcessSpec:
    """Return what is to run: a whole process from a file, or the container's own with what the options change."""
    if "process" in options:
        spec = process_from_json(loads(_content(options["process"]), "process"))
    else:
        bundle = load_bundle(container.config().bundle, id=container.id)
        if bundle.process is None:
            raise ConfigInvalid("process", "the bundle's config.json names none")
        spec = bundle.process
        spec.args = args
        spec.terminal = False
    if not spec.args:
        raise UsageError("process args cannot be empty")
    _override(spec, options)
    return spec


def _content(path: str) -> bytes:
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            return file.read()
    except OSError as error:
        raise ContainerError(f"--process: cannot read {path!r}: {error.strerror}") from None


def _override(spec: ProcessSpec, options: dict[str, Any]) -> None:
    if options.get("tty"):
        spec.terminal = True
    if "process" in options:
        return
    if "cwd" in options:
        spec.cwd = options["cwd"]
        if not spec.cwd.startswith("/"):
            raise UsageError(f"--cwd: expected an absolute path, got {spec.cwd!r}")
    for variable in options.get("env", ()):
        if variable.find("=") < 1:
            raise UsageError(f"--env: expected NAME=value, got {variable!r}")
        spec.env = [*spec.env, variable]
    if "user" in options:
        uid, colon, gid = options["user"].partition(":")
        spec.user = f"{_id('--user', uid)}:{_id('--user', gid) if colon else spec.user.partition(':')[2]}"
    if "additional-gids" in options:
        gids = (str(_id("--additional-gids", gid)) for gid in options["additional-gids"])
        spec.additional_gids = (*spec.additional_gids, *gids)
    if "no-new-privs" in options:
        spec.no_new_privileges = options["no-new-privs"]
    if "apparmor" in options:
        spec.apparmor_profile = options["apparmor"]
    if "process-label" in options:
        spec.selinux_label = options["process-label"]
    if "cap" in options:
        spec.capabilities = _with(spec.capabilities or Capabilities(), options["cap"])


def _id(option: str, word: str) -> int:
    if not (word.isascii() and word.isdecimal() and int(word) < (1 << 32) - 1):
        raise UsageError(f"{option}: expected a number, got {word!r}")
    return int(word)


def _with(sets: Capabilities, names: list[str]) -> Capabilities:
    """Add capabilities; never to the inheritable ones, which a file's own could turn into permitted: CVE-2022-29162."""
    added = tuple(name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in names)
    changed = {kind: (*getattr(sets, kind), *(name for name in added if name not in getattr(sets, kind)))
               for kind in ("bounding", "effective", "permitted")}
    return Capabilities(**changed, inheritable=sets.inheritable, ambient=sets.ambient)
