"""The zygote: a fresh interpreter with one thread, from which every container process is cloned.

A caller with threads cannot be forked safely, and one with gigabytes cannot be forked quickly. So the first start of
a factory spawns this program beside the caller; it imports all that a child will ever need, waits for requests, and
answers each with a clone. CLONE_PARENT makes the clone the caller's own child, so the caller waits for it as for any.

It never becomes part of a container. It holds no secret: what a process is to be travels on the process's own link,
past the zygote. It is not dumpable, so that nothing in a container can look into its children before their exec.
"""
from __future__ import annotations

import gc
import os
import sys
from errno import EPIPE

from . import init, init_setns, init_steps, namespaces, sync, warm
from .errors import SetupError, SyscallError
from .sys.clone import CLONE, clone3, unshare
from .sys.credentials import setsid
from .sys.fds import close_range, poll
from .sys.files import close, dup3
from .sys.prctl import set_dumpable, set_name
from .sys.process import default_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .sync import Message

__all__ = ["CONTROL", "OWNER", "main"]

CONTROL = 3  # the socket on which requests come
OWNER = 4    # a pidfd of the process we serve
_COPIES = int(CLONE.NEWNS | CLONE.NEWUTS)  # these begin as copies; the others begin empty
_pages: list[list[int]] = []  # what a process will write to: warm.py
_KINDS = {"standard": init.STEPS, "setns": init_setns.STEPS}


def main() -> NoReturn:
    """Serve requests until the owner closes the control socket or dies."""
    set_dumpable(False)
    set_name(sync.NAME)
    close_range(OWNER + 1)
    setsid()  # a Ctrl-C at the caller's terminal is the caller's to handle
    default_signals()  # Python ignores SIGPIPE and SIGXFSZ; execve would keep that for the container's program
    os.umask(0o022)
    _forget_how_to_import()
    gc.disable()
    gc.freeze()  # a child that never touches a page does not have to copy it
    os.dup2(0, 2)  # the owner keeps what we said while starting; from here on there is nobody to read it
    try:
        while OWNER not in poll((CONTROL, OWNER)):
            request, descriptors = sync.receive(CONTROL)
            if request is None:
                break
            if "pages" in request:
                _pages[:] = request["pages"]
            else:
                _answer(request, descriptors)
            for fd in descriptors:
                close(fd)
    finally:
        os._exit(0)  # also after what is no request: the owner starts another zygote, and we have nothing to clean up


def _forget_how_to_import() -> None:
    """Make every later import fail: once the root has changed it would run the image's files with the host's rights.

    Python imports late in places nobody expects (a codec, a traceback). What the children need is loaded by now.
    """
    sys.path[:] = []
    sys.meta_path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()


def _answer(request: Message, descriptors: list[int]) -> None:
    """Clone the process that *request* describes, and tell the caller its pid."""
    link = descriptors[0]
    joining = bool(request["join"] or request["offsets"])
    late = request["flags"] & _COPIES if request["early"] else 0
    flags = CLONE.PARENT if joining else CLONE.PARENT | request["flags"] & ~late
    into = descriptors[-1] if request["cgroup"] and not joining else None
    step = "clone a helper" if joining else "clone a process"
    try:
        pid, pidfd = clone3(flags, cgroup=into)
        if pid == 0:
            if joining:
                _join_and_clone(request, descriptors)
            if request["early"]:
                warm.touch(_pages)
            _become(link, bool(request["flags"] & CLONE.NEWUSER), late)
    except SyscallError as error:
        _complain(link, error, step, namespaces.explain_clone_failure(error.errno or 0, int(request["flags"])))
        return
    try:
        _announce(link, "helper" if joining else "pid", pid, pidfd)
    finally:
        close(pidfd)


def _announce(link: int, what: str, pid: int, pidfd: int) -> None:
    """Tell the caller of its new child, and how to hold it."""
    try:
        sync.send(link, {what: pid}, [pidfd])
    except SyscallError as error:
        if error.errno != EPIPE:  # the caller has given up on this one: it will find its link closed, and go
            sync.send(link, {what: pid})  # without a descriptor, of which there may be too many: it is to be waited for


def _join_and_clone(request: Message, descriptors: list[int]) -> NoReturn:
    """In a helper process: enter namespaces that exist already, then clone the real process from inside.

    A pid namespace takes in only children of whoever joins it, and a time namespace only before its first process
    is in, so there has to be somebody who joins and somebody who is born.
    """
    link, step = descriptors[0], "join namespaces"
    try:
        if request["oom"] is not None:  # inherited by the real process, which will not see our /proc any more
            init_steps.inherit_oom_score(request["oom"])
        opened = descriptors[1:1 + len(request["join"])]
        for fd, mask in zip(opened, request["join"]):
            namespaces.join(fd, mask)
        if request["offsets"]:
            step = "set the clocks of a new time namespace"
            namespaces.make_time_namespace(request["offsets"])
        step = "clone a process"
        flags = CLONE.PARENT | (request["flags"] & ~(CLONE.NEWTIME if request["offsets"] else 0))
        pid, pidfd = clone3(flags, cgroup=descriptors[-1] if request["cgroup"] else None)
        if pid == 0:
            _become(link, bool(request["flags"] & CLONE.NEWUSER), 0)
        _announce(link, "pid", pid, pidfd)
    except BaseException as error:
        hint = namespaces.explain_clone_failure(getattr(error, "errno", 0) or 0, int(request["flags"]))
        _complain(link, error, step, hint)
    finally:
        os._exit(0)


def _become(link: int, new_user: bool, late: int) -> NoReturn:
    """In the new process: keep the link alone, learn what to be, and take the steps that lead to the program.

    *late* are the namespaces to be made as copies of what there is by then, not when a process was made ahead.
    """
    step, child = "hear what to be", None
    try:
        dup3(link, CONTROL, os.O_CLOEXEC)
        link = CONTROL
        close_range(CONTROL + 1)
        message, descriptors = init.introduce(CONTROL, new_user)
        if late:
            step = "make namespaces"
            unshare(late)
        child = init.Child(CONTROL, message, descriptors)
        for step, action, needed in _KINDS[message["kind"]]:  # noqa: B007  the last one is what went wrong
            if needed is None or needed(child):
                action(child)
        raise SetupError("the last step returned")
    except BaseException as error:
        _complain(link if child is None else child.link, error, step)  # an extra file may have taken its first number
    finally:
        os._exit(1)


def _complain(link: int, error: BaseException, step: str, hint: str | None = None) -> None:
    """Tell the caller what went wrong."""
    report = sync.describe(error, step)
    report["hint"] = report["hint"] or hint
    try:
        sync.send(link, {"error": report})
    except SyscallError as gone:
        if gone.errno != EPIPE:  # nobody is left to be told
            raise
