"""Processes and the namespaces they live in: be born into, leave, enter.

Lesson  A process belongs to one namespace of each kind; it gets them at birth and may exchange them.
Read    clone(2), unshare(2), setns(2), namespaces(7), user_namespaces(7), pid_namespaces(7)
Needs   CAP_SYS_ADMIN in the user namespace that owns the others; a user namespace itself needs nothing
"""
from __future__ import annotations

from ctypes import Structure, addressof, c_int, c_size_t, c_uint64, c_void_p, sizeof

from .flags import Flags
from .libc import failure, function, syscall

__all__ = ["CLONE", "clone3", "setns", "unshare"]


class CLONE(Flags):
    """What a new process shares with its parent, and what it gets of its own."""

    NEWTIME = 0x80                 # for clone3 and unshare: below 0x100, clone(2) keeps the exit signal
    VM = 0x100
    FS = 0x200
    FILES = 0x400
    SIGHAND = 0x800
    PIDFD = 0x1000
    PTRACE = 0x2000
    VFORK = 0x4000
    PARENT = 0x8000
    THREAD = 0x10000
    NEWNS = 0x20000
    SYSVSEM = 0x40000
    SETTLS = 0x80000
    PARENT_SETTID = 0x100000
    CHILD_CLEARTID = 0x200000
    UNTRACED = 0x800000
    CHILD_SETTID = 0x1000000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    IO = 0x80000000
    CLEAR_SIGHAND = 0x100000000    # Linux 5.5
    INTO_CGROUP = 0x200000000      # Linux 5.7


class _CloneArgs(Structure):
    """struct clone_args, its third version (88 bytes)."""

    _fields_ = [(name, c_uint64) for name in (
        "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid",
        "set_tid_size", "cgroup")]


_clone3 = syscall("clone3", c_void_p, c_size_t)
_unshare = function("unshare", c_int)
_setns = function("setns", c_int, c_int)

# Python goes on in the child on the stack it has, with memory of its own: these would give it another, or share it.
_NOT_FOR_PYTHON = int(CLONE.VM | CLONE.THREAD | CLONE.SIGHAND | CLONE.SETTLS | CLONE.CHILD_SETTID
                      | CLONE.CHILD_CLEARTID | CLONE.PARENT_SETTID)
_INTO_CGROUP, _PIDFD, _PARENT = int(CLONE.INTO_CGROUP), int(CLONE.PIDFD), int(CLONE.PARENT)


def clone3(flags: int, *, exit_signal: int = 0, cgroup: int | None = None) -> tuple[int, int]:
    """Clone this process: (pid, pidfd) in the parent, (0, -1) in the child.

    *cgroup* is a directory of cgroup v2 to be born in. Without an *exit_signal* only ``__WALL`` waits for the child;
    with CLONE_PARENT the kernel gives it this process's own and refuses another.

    The caller must have one thread: in the child the others are gone, and what they held stays locked. The interpreter
    is not told: no handler of ``os.register_at_fork`` runs. The child must leave by execve or ``os._exit``.

    EAGAIN   RLIMIT_NPROC, or pids.max of the cgroup
    EBUSY    *cgroup* has domain controllers enabled for its children
    EINVAL   flags that exclude each other, or a namespace that this kernel is built without
    ENOMEM   the pid namespace's first process has ended
    ENOSPC   namespaces nested too deep, or /proc/sys/user/max_*_namespaces is reached
    EPERM    no CAP_SYS_ADMIN for the namespaces, or the kernel is told to keep user namespaces to root
    ENOSYS   a seccomp filter, or an emulator, without clone3
    """
    flags = int(flags)
    if not 0 <= flags < 1 << 64:
        raise OverflowError(f"flags {hex(flags)} do not fit 64 bits")
    if flags & _NOT_FOR_PYTHON:
        raise ValueError(f"Python cannot run in a child made with {CLONE(flags & _NOT_FOR_PYTHON)}")
    if not 0 <= exit_signal <= 64:
        raise ValueError(f"{exit_signal!r} is not a signal")
    pidfd = c_int(-1)
    flags |= _PIDFD
    if cgroup is not None:
        flags |= _INTO_CGROUP
    args = _CloneArgs(flags=flags, pidfd=addressof(pidfd), exit_signal=exit_signal, cgroup=cgroup or 0)
    pid = _clone3(addressof(args), sizeof(args))
    if pid < 0:
        raise failure("clone3", flags=CLONE(flags), cgroup=cgroup)
    return (pid, pidfd.value) if pid else (0, -1)


def unshare(flags: int) -> None:
    """Move this thread into namespaces of its own; for NEWPID and NEWTIME, its children to come.

    EINVAL   NEWUSER in a process with several threads
    ENOSPC   namespaces nested too deep, or /proc/sys/user/max_*_namespaces is reached
    EPERM    no CAP_SYS_ADMIN; for NEWUSER: changed root, ids without a mapping, or forbidden to all but root
    """
    if not 0 <= flags <= 0xFFFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    if _unshare(flags) < 0:
        raise failure("unshare", flags=CLONE(flags))


def setns(fd: int, flags: int = 0) -> None:
    """Enter the namespace that *fd* stands for, or, when it is a pidfd, those of its process that *flags* name.

    *flags* of a namespace's descriptor are what it must be; 0 takes any. Since Linux 5.8 a pidfd joins several at once.

    EINVAL   not a namespace, or of another kind than *flags*; NEWUSER with several threads, or one's own again
    EPERM    no CAP_SYS_ADMIN there; for a mount or user namespace: this process shares its root with another
    EUSERS   user namespaces nested too deep
    ESRCH    the process of the pidfd is gone
    """
    if not 0 <= flags <= 0xFFFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    if _setns(fd, flags) < 0:
        raise failure("setns", fd=fd, flags=CLONE(flags))
