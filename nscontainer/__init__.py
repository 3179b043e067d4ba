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

__version__ = "0.1.0"

_HOMES = {
    "factory": ("Factory",),
    "container": ("Container",),
    "process": ("DEVNULL", "ExitState", "PIPE", "Process", "STDOUT"),
    "console": ("Console",),
    "config": ("Capabilities", "CommandHook", "Config", "Device", "FunctionHook", "Hooks", "IDMap", "Mount", "Namespace",
               "Namespaces", "NamespaceType", "Network", "Rlimit"),
    "state": ("State", "Status"),
    "stats": ("NetworkInterface", "Stats"),
    "errors": ("ConfigInvalid", "ConsoleExists", "ContainerError", "ContainerNotExists", "ContainerNotRunning",
               "ContainerNotStopped", "ContainerPaused", "ErrorCode", "IdInUse", "InvalidIdFormat", "KernelTooOld",
               "ProcessNotExecuted", "ProgramNotExecutable", "ProgramNotFound", "SetupError", "SyscallError",
               "SystemError_"),
    "popen": ("CalledProcessError", "CompletedProcess", "Popen", "TimeoutExpired", "run"),
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
