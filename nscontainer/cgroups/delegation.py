"""Give a cgroup of version 2 its controllers: each must be handed down from the root, level by level.

Lesson  A cgroup gives controllers to those below it, or has processes itself, but not both: only leaves have processes.
Read    "Top-down Constraint", "No Internal Process Constraint" and "Threads" in the kernel's admin-guide/cgroup-v2.rst
"""
from __future__ import annotations

import os
from errno import EACCES, EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM, EROFS

from ..errors import ContainerError, SyscallError
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["become_threaded", "controllers", "enable", "handed_down", "has_processes", "why_missing"]

_OF_THREADS = frozenset(("cpu", "cpuset", "perf_event", "pids"))  # the others count by process: cgroups(7)


def controllers(directory: str) -> list[str]:
    """Return the controllers a cgroup has."""
    return (files.read_or_none(f"{directory}/cgroup.controllers") or "").split()


def handed_down(directory: str) -> set[str]:
    """Return the controllers that those below a cgroup get."""
    return set((files.read_or_none(f"{directory}/cgroup.subtree_control") or "").split())


def enable(top: str, directory: str) -> None:
    """Hand down all controllers that *top* has to a cgroup below it, as far as that is allowed.

    What is not allowed is no failure here: who needs a controller asks why_missing(). Nor does a cgroup that has
    processes hand down anything, even where it could: with cpu or pids, the kernel would make it a threaded one.
    """
    available = controllers(top)
    if not available or len(controllers(directory)) == len(available):
        return
    for level in _levels(top, directory):
        path = f"{level}/cgroup.subtree_control"
        given = handed_down(level)
        missing = [name for name in controllers(level) if name not in given]
        if missing and not has_processes(level) and not _hand_down(path, missing):
            for name in missing:
                _hand_down(path, [name])


def has_processes(level: str) -> bool:
    """Say whether a cgroup has processes that keep it from handing down controllers. The root may have any."""
    kind = (files.read_or_none(f"{level}/cgroup.type") or "").strip()  # the root has no such file
    return kind == "domain" and bool(files.read_or_none(f"{level}/cgroup.procs"))


def _levels(top: str, directory: str) -> list[str]:
    """Return the cgroups from *top* to the one above *directory*."""
    found, path = [], directory
    while len(path) > len(top) and path.startswith(top):
        path = os.path.dirname(path)
        found.append(path)
    return found[::-1]


def _hand_down(path: str, names: list[str]) -> bool:
    try:
        files.write(path, " ".join(f"+{name}" for name in names))
    except SyscallError as error:
        # EBUSY it has processes; EOPNOTSUPP it is threaded; EINVAL a realtime process is below; ENOENT taken away from
        # above meanwhile; and the three that say that it is not ours.
        if error.errno in (EBUSY, EINVAL, ENOENT, EOPNOTSUPP, *files.FORBIDDEN):
            return False
        raise
    return True


def why_missing(top: str, directory: str, controller: str) -> tuple[str, str | None]:
    """Return why a cgroup does not have a controller, and the one above it that keeps it back, if one does."""
    if controller not in controllers(top):
        return (f"version 2 has no controller {controller} here: /proc/cgroups says whether version 1 uses it"
                if os.path.exists("/proc/cgroups") else f"this host has no controller {controller}"), None
    for level in _levels(top, directory):
        if controller in handed_down(level):
            continue
        number = EBUSY
        try:
            if not has_processes(level):
                files.write(f"{level}/cgroup.subtree_control", f"+{controller}")
                continue
        except SyscallError as error:
            number = error.errno or 0
        return _WORDS.get(number, "the cgroup {level} does not hand it down: {error}").format(
            level=level, controller=controller, error=os.strerror(number), pids=_some(level)), level
    return f"the controller {controller} has been taken away meanwhile", None


def _some(level: str) -> str:
    return ", ".join((files.read_or_none(f"{level}/cgroup.procs") or "").split()[:5])


_WORDS = {
    EBUSY: "the cgroup {level} has processes ({pids}), and one that has processes cannot give the controller "
           "{controller} to those below it: move them to a cgroup of their own below it, or name another parent",
    EACCES: "the cgroup {level} belongs to another user, who has not handed down the controller {controller}: with "
            "systemd, Delegate={controller}",
    EPERM: "the cgroup {level} is delegated to us without the controller {controller}",
    EROFS: "the cgroup file system is mounted read-only here",
    EOPNOTSUPP: "the cgroup {level} is threaded, and the controller {controller} knows only whole processes",
}


def become_threaded(directory: str, needed: Collection[str]) -> None:
    """Make a cgroup below threaded ones fit for processes: it can only be threaded, too.

    ContainerError when it needs controllers that threaded cgroups cannot have.
    """
    if (files.read_or_none(f"{directory}/cgroup.type") or "").strip() != "domain invalid":
        return
    if unfit := sorted(set(needed) - _OF_THREADS):
        raise ContainerError(
            f"the cgroup {directory} can only be threaded, and so have no controller {', '.join(unfit)}",
            hint="those above it are threaded: name another parent")
    files.write(f"{directory}/cgroup.type", "threaded")
