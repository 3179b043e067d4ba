"""Landlock: a process gives up rights to files, ports and other processes, for good.

Lesson  A sandbox that needs no root: list what is restricted, add what is allowed after all, then step inside.
Read    landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2)
Needs   Linux 5.13 with Landlock among its security modules; no_new_privs, or CAP_SYS_ADMIN

Each version of the interface (ABI) knows more rights, and the kernel refuses those it does not know.
"""
from __future__ import annotations

import sys
from ctypes import Structure, addressof, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

from .flags import Flags
from .libc import failure, syscall

__all__ = ["LANDLOCK_ACCESS_FS", "LANDLOCK_ACCESS_NET", "LANDLOCK_RESTRICT_SELF", "LANDLOCK_SCOPE", "abi_version",
           "add_path_rule", "add_port_rule", "create_ruleset", "restrict_self"]

_U64 = (1 << 64) - 1


class LANDLOCK_ACCESS_FS(Flags):
    """What one may do with files. The first five can be granted on a file, all on a directory and what is below it."""

    EXECUTE = 0x1
    WRITE_FILE = 0x2
    READ_FILE = 0x4
    TRUNCATE = 0x4000         # ABI 3, Linux 6.2
    IOCTL_DEV = 0x8000        # ABI 5, Linux 6.10
    READ_DIR = 0x8
    REMOVE_DIR = 0x10
    REMOVE_FILE = 0x20
    MAKE_CHAR = 0x40
    MAKE_DIR = 0x80
    MAKE_REG = 0x100
    MAKE_SOCK = 0x200
    MAKE_FIFO = 0x400
    MAKE_BLOCK = 0x800
    MAKE_SYM = 0x1000
    REFER = 0x2000            # ABI 2, Linux 5.19: link or rename from another directory; never allowed before


class LANDLOCK_ACCESS_NET(Flags):
    """What one may do with TCP ports: ABI 4, Linux 6.7."""

    BIND_TCP = 1
    CONNECT_TCP = 2


class LANDLOCK_SCOPE(Flags):
    """What one may not reach outside: ABI 6, Linux 6.12."""

    ABSTRACT_UNIX_SOCKET = 1  # connect to a socket with a name that is no file
    SIGNAL = 2                # send a signal


class LANDLOCK_RESTRICT_SELF(Flags):
    """What goes to the audit log: ABI 7, Linux 6.15."""

    LOG_SAME_EXEC_OFF = 1
    LOG_NEW_EXEC_ON = 2
    LOG_SUBDOMAINS_OFF = 4


class _RulesetAttr(Structure):
    """struct landlock_ruleset_attr; the kernel takes the tail it does not know as long as that is zero."""

    _fields_ = [("handled_access_fs", c_uint64), ("handled_access_net", c_uint64), ("scoped", c_uint64)]


_create_ruleset = syscall("landlock_create_ruleset", c_void_p, c_size_t, c_uint)
_add_rule = syscall("landlock_add_rule", c_int, c_int, c_char_p, c_uint)
_restrict_self = syscall("landlock_restrict_self", c_int, c_uint)


def abi_version() -> int:
    """Return the version of the interface, from 1 on.

    ENOSYS      a kernel without Landlock
    EOPNOTSUPP  it has been left out at boot: "lsm=" on the kernel's command line
    """
    version = _create_ruleset(None, 0, 1)
    if version < 0:
        raise failure("landlock_create_ruleset", flags="VERSION")
    return version


def create_ruleset(fs: int, net: int = 0, scoped: int = 0) -> int:
    """Return a new ruleset, closed by execve: all of these is going to be denied, but for the rules to be added.

    EINVAL   a right that this ABI does not know
    E2BIG    *net* before ABI 4, *scoped* before ABI 6
    ENOMSG   nothing is restricted
    """
    if not (0 <= fs <= _U64 and 0 <= net <= _U64 and 0 <= scoped <= _U64):
        raise OverflowError("access rights do not fit 64 bits")
    attr = _RulesetAttr(fs, net, scoped)
    fd = _create_ruleset(addressof(attr), 24, 0)
    if fd < 0:
        raise failure("landlock_create_ruleset", fs=LANDLOCK_ACCESS_FS(fs), net=LANDLOCK_ACCESS_NET(net),
                      scoped=LANDLOCK_SCOPE(scoped))
    return fd


def add_path_rule(ruleset: int, access: int, fd: int) -> None:
    """Allow *access* to the file or the tree that *fd*, O_PATH will do, is.

    EBADFD   *fd* is no file with a place in a file system
    EINVAL   a right that the ruleset does not restrict, or one of directories on a file
    ENOMSG   no right
    """
    if not 0 <= access <= _U64:
        raise OverflowError(f"access {hex(access)} does not fit 64 bits")
    # struct landlock_path_beneath_attr is packed: 12 bytes
    rule = access.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder, signed=True)
    if _add_rule(ruleset, 1, rule, 0) < 0:
        raise failure("landlock_add_rule", type="PATH_BENEATH", access=LANDLOCK_ACCESS_FS(access), fd=fd)


def add_port_rule(ruleset: int, access: int, port: int) -> None:
    """Allow *access* to a TCP port. To bind port 0 is to be given one by the kernel.

    EAFNOSUPPORT  a kernel without TCP
    EINVAL        a right that the ruleset does not restrict, or a port above 65535
    """
    if not (0 <= access <= _U64 and 0 <= port <= _U64):
        raise OverflowError(f"access {hex(access)} or port {port} does not fit 64 bits")
    rule = access.to_bytes(8, sys.byteorder) + port.to_bytes(8, sys.byteorder)
    if _add_rule(ruleset, 2, rule, 0) < 0:
        raise failure("landlock_add_rule", type="NET_PORT", access=LANDLOCK_ACCESS_NET(access), port=port)


def restrict_self(ruleset: int, flags: int = 0) -> None:
    """Step inside: from now on the calling thread, and what it clones and executes, is restricted.

    E2BIG    16 rulesets are in force already
    EPERM    neither no_new_privs nor CAP_SYS_ADMIN
    """
    if not 0 <= flags <= 0xFFFFFFFF:
        raise OverflowError(f"flags {hex(flags)} do not fit 32 bits")
    if _restrict_self(ruleset, flags) < 0:
        raise failure("landlock_restrict_self", flags=LANDLOCK_RESTRICT_SELF(flags))
