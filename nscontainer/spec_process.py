"""The process of a config.json, and of what exec is given: an object `process` into a ProcessSpec.

Read    the OCI runtime specification, config.md, "Process"
"""
from __future__ import annotations

from .config import Capabilities, Config, CPUAffinity, IOPriority, Rlimit, Scheduler
from .errors import ConfigInvalid
from .spec_reader import U64, Object
from .strictjson import shortened
from .sys.capability import CAP
from .sys.resource import RLIMIT
from .validate_scheduling import IO_CLASSES, POLICIES, SCHEDULER_FLAGS, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ProcessSpec", "process_from_json", "settle"]

_RLIMITS = {f"RLIMIT_{limit.name}": int(limit) for limit in RLIMIT}
_CAPABILITIES = frozenset(f"CAP_{name}" for name in CAP.__members__)
_LARGEST_ID = (1 << 31) - 1  # as in user.py
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class ProcessSpec:
    """A program as the specification describes it: what to run, as whom, and what it may do.

    *user* is ``"uid:gid"``. *capabilities* None: none at all. *console_size* is rows and columns, for a *terminal*.
    *umask*, *oom_score_adj*, *scheduler*, *io_priority*, *exec_cpu_affinity* None: as without a word about them.
    *warnings* are what the caller's log should say: capabilities that have no name here, and were left out.
    """

    args: list[str]
    env: list[str]
    cwd: str
    user: str
    additional_gids: tuple[str, ...]
    umask: int | None
    terminal: bool
    console_size: tuple[int, int] | None
    capabilities: Capabilities | None
    rlimits: tuple[Rlimit, ...]
    no_new_privileges: bool
    apparmor_profile: str
    selinux_label: str
    oom_score_adj: int | None
    scheduler: Scheduler | None
    io_priority: IOPriority | None
    exec_cpu_affinity: CPUAffinity | None
    warnings: list[str]

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __repr__(self) -> str:
        return f"ProcessSpec({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


def process_from_json(value: Any, at: str = "process") -> ProcessSpec:
    """Read an object `process`; ConfigInvalid names the first wrong value by its path below *at*."""
    given = Object(value, at)
    warnings: list[str] = []
    user, gids, umask = _user(given.object("user"))
    return ProcessSpec(
        args=list(given.strings("args")),
        env=_environment(given),
        cwd=_cwd(given),
        user=user,
        additional_gids=gids,
        umask=umask,
        terminal=given.boolean("terminal"),
        console_size=_console_size(given.object("consoleSize")),
        capabilities=_capabilities(given.object("capabilities"), warnings),
        rlimits=_rlimits(given),
        no_new_privileges=given.boolean("noNewPrivileges"),
        apparmor_profile=given.text("apparmorProfile"),
        selinux_label=given.text("selinuxLabel"),
        oom_score_adj=given.integer("oomScoreAdj", -1000, 1000),
        scheduler=_scheduler(given.object("scheduler")),
        io_priority=_io_priority(given.object("ioPriority")),
        exec_cpu_affinity=_affinity(given.object("execCPUAffinity")),
        warnings=warnings,
    )


def settle(config: Config, process: ProcessSpec) -> None:
    """Put into *config* what it has of a process: all but program, environment, directory, user and terminal."""
    config.capabilities = process.capabilities or ()
    config.rlimits = process.rlimits
    config.no_new_privileges = process.no_new_privileges
    config.apparmor_profile = process.apparmor_profile
    config.process_label = process.selinux_label
    config.oom_score_adj = process.oom_score_adj
    config.additional_groups = process.additional_gids
    config.umask = process.umask
    config.scheduler = process.scheduler
    config.io_priority = process.io_priority
    config.exec_cpu_affinity = process.exec_cpu_affinity


def _user(user: Object | None) -> tuple[str, tuple[str, ...], int | None]:
    if user is None:
        return "0:0", (), None
    uid, gid = (user.number(key, 0, _LARGEST_ID) for key in ("uid", "gid"))
    gids = user.numbers("additionalGids", 0, _LARGEST_ID)
    return f"{uid}:{gid}", tuple(map(str, gids)), user.integer("umask", 0, 0o777)


def _environment(given: Object) -> list[str]:
    pairs = given.strings("env")
    for index, pair in enumerate(pairs):
        if pair.find("=") < 1:
            raise ConfigInvalid(given.path("env", index), f"expected NAME=value, got {shortened(pair)!r}")
    return list(pairs)


def _cwd(given: Object) -> str:
    cwd = given.text("cwd", None)
    if not cwd.startswith("/"):
        raise given.wrong("cwd", f"expected an absolute path, got {shortened(cwd)!r}")
    return cwd


def _console_size(size: Object | None) -> tuple[int, int] | None:
    # podman writes zeros where it does not know: the terminal then keeps what it has.
    if size is None:
        return None
    rows, columns = (size.number(key, 0, 0xFFFF) for key in ("height", "width"))
    return (rows, columns) if rows and columns else None


def _scheduler(given: Object | None) -> Scheduler | None:
    if given is None:
        return None
    made = Scheduler(
        policy=given.word("policy", POLICIES),
        flags=sum({*given.words("flags", SCHEDULER_FLAGS)}),
        nice=given.number("nice", -20, 19), priority=given.number("priority", 0, 99),
        **{key: given.number(key, 0, U64) for key in ("runtime", "deadline", "period")})
    _checked(given, "scheduler", Config(scheduler=made))
    return made


def _io_priority(given: Object | None) -> IOPriority | None:
    if given is None:
        return None
    return IOPriority(io_class=given.word("class", IO_CLASSES),
                      priority=given.number("priority", 0, 7))


def _affinity(given: Object | None) -> CPUAffinity | None:
    if given is None:
        return None
    made = CPUAffinity(**{key: "".join(given.text(key).split()) for key in ("initial", "final")})
    _checked(given, "exec_cpu_affinity", Config(exec_cpu_affinity=made))
    return made


def _checked(given: Object, name: str, config: Config) -> None:
    """Refuse now what the validator would refuse: the process of exec is in no config that is validated."""
    try:
        check(config)
    except ConfigInvalid as error:
        raise ConfigInvalid(given.at + error.path[len(name):], error.problem, hint=error.hint) from None


def _rlimits(given: Object) -> tuple[Rlimit, ...]:
    limits: list[Rlimit] = []
    for entry in given.objects("rlimits"):
        kind = entry.word("type", _RLIMITS)
        soft, hard = entry.number("soft", 0, U64, None), entry.number("hard", 0, U64, None)
        if soft > hard:
            raise entry.wrong("soft", f"{soft} is above hard, {hard}")
        if any(kind == limit.type for limit in limits):
            raise entry.wrong("type", f"{entry.text('type')} is listed before", hint="list each resource once")
        limits.append(Rlimit(type=kind, soft=soft, hard=hard))
    return tuple(limits)


def _capabilities(given: Object | None, warnings: list[str]) -> Capabilities | None:
    """Return the five sets, less the names that no kernel we know of has: those are to be a warning, not an error."""
    if given is None:
        return None
    sets = {}
    unknown: list[str] = []
    for kind in _SETS:
        names = given.strings(kind)
        unknown += [name for name in names if name not in _CAPABILITIES]
        sets[kind] = [name for name in dict.fromkeys(names) if name in _CAPABILITIES]
    if unknown:
        listed = ", ".join(shortened(name) for name in dict.fromkeys(unknown))
        warnings.append(f"{given.at}: ignoring unknown or unavailable capabilities: [{listed}]")
    # A kernel raises an ambient capability only where it is permitted and inheritable; one that cannot be is no error.
    grantable = [name for name in sets["ambient"] if name in sets["permitted"] and name in sets["inheritable"]]
    if len(grantable) < len(sets["ambient"]):
        lost = ", ".join(name for name in sets["ambient"] if name not in grantable)
        warnings.append(f"{given.at}.ambient: needs to be permitted and inheritable too, ignoring {lost}")
        sets["ambient"] = grantable
    return Capabilities(**{kind: tuple(names) for kind, names in sets.items()})
