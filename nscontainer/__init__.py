"""libcontainer for Python: create, run, measure, pause and destroy Linux containers, with nothing but Python.

    >>> import nscontainer
    >>> nscontainer.run(["hostname"], hostname="box", capture_output=True, text=True).stdout
    'box\\n'

Every name below loads on first use, so that importing the package costs next to nothing.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import (
        Capabilities as Capabilities,
        Cgroup as Cgroup,
        CommandHook as CommandHook,
        Config as Config,
        Device as Device,
        FunctionHook as FunctionHook,
        Hooks as Hooks,
        IDMap as IDMap,
        Mount as Mount,
        Namespace as Namespace,
        NamespaceType as NamespaceType,
        Namespaces as Namespaces,
        NetDevice as NetDevice,
        Network as Network,
        Rlimit as Rlimit,
        Route as Route,
    )
    from .console import Console as Console
    from .container import Container as Container
    from .errors import (
        ConfigInvalid as ConfigInvalid,
        ConsoleExists as ConsoleExists,
        ContainerError as ContainerError,
        ContainerNotExists as ContainerNotExists,
        ContainerNotRunning as ContainerNotRunning,
        ContainerNotStopped as ContainerNotStopped,
        ContainerPaused as ContainerPaused,
        ErrorCode as ErrorCode,
        IdInUse as IdInUse,
        InvalidIdFormat as InvalidIdFormat,
        KernelTooOld as KernelTooOld,
        ProcessNotExecuted as ProcessNotExecuted,
        ProgramNotExecutable as ProgramNotExecutable,
        ProgramNotFound as ProgramNotFound,
        SetupError as SetupError,
        SyscallError as SyscallError,
        SystemError_ as SystemError_,
    )
    from .factory import Factory as Factory
    from .popen import (
        CalledProcessError as CalledProcessError,
        CompletedProcess as CompletedProcess,
        OutputLimitExceeded as OutputLimitExceeded,
        Popen as Popen,
        TimeoutExpired as TimeoutExpired,
        run as run,
    )
    from .process import DEVNULL as DEVNULL, ExitState as ExitState, PIPE as PIPE, Process as Process, STDOUT as STDOUT
    from .state import State as State, Status as Status
    from .stats import NetworkInterface as NetworkInterface, Resources as Resources, Stats as Stats

__version__ = "0.1.0"

_HOMES = {
    "factory": ("Factory",),
    "container": ("Container",),
    "process": ("DEVNULL", "ExitState", "PIPE", "Process", "STDOUT"),
    "console": ("Console",),
    "config": ("Capabilities", "Cgroup", "CommandHook", "Config", "Device", "FunctionHook", "Hooks", "IDMap",
               "Mount", "Namespace", "Namespaces", "NamespaceType", "NetDevice", "Network", "Rlimit", "Route"),
    "state": ("State", "Status"),
    "stats": ("NetworkInterface", "Resources", "Stats"),
    "errors": ("ConfigInvalid", "ConsoleExists", "ContainerError", "ContainerNotExists", "ContainerNotRunning",
               "ContainerNotStopped", "ContainerPaused", "ErrorCode", "IdInUse", "InvalidIdFormat", "KernelTooOld",
               "ProcessNotExecuted", "ProgramNotExecutable", "ProgramNotFound", "SetupError", "SyscallError",
               "SystemError_"),
    "popen": ("CalledProcessError", "CompletedProcess", "OutputLimitExceeded", "Popen", "TimeoutExpired", "run"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    loaded = __import__(f"{__name__}.{module}", fromlist=[name])
    value = globals()[name] = getattr(loaded, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
