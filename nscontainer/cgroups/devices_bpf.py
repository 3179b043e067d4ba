"""The device rules of version 2: a small program that the kernel asks at every open and mknod of a device.

Lesson  Version 2 has no list of devices: a program gets type, access and number of a device, and answers 1 or 0.
Read    bpf(2), "Device controller" in the kernel's admin-guide/cgroup-v2.rst, bpf/standardization/instruction-set.rst
Needs   what bpf(2) needs; no right is needed to stay without a program
"""
from __future__ import annotations

import os
from errno import EINVAL, ENOENT, EPERM
from struct import pack

from ..devices import WILDCARD
from ..errors import SyscallError
from ..sys.bpf import ATTACH, BPF_F, PROG_TYPE, prog_attach, prog_detach, prog_get_fd_by_id, prog_load, prog_query
from ..sys.files import AT_FDCWD, close, openat
from ..sys.resource import RLIMIT, prlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .devices import Rules

__all__ = ["assemble", "set_v2"]

# Opcodes: class, source, operation. Registers: r0 the answer, r1 the context, r2 type, r3 access, r4 major, r5 minor.
_LDXW, _AND, _RSH, _MOV, _MOV_REG, _JNE, _JNE_REG, _JSET, _JA, _EXIT = (
    0x61, 0x54, 0x74, 0xB4, 0xBC, 0x55, 0x5D, 0x45, 0x05, 0x95)
_TYPES = {ord("b"): 1, ord("c"): 2}              # BPF_DEVCG_DEV_*
_ACCESS = {"m": 1, "r": 2, "w": 4}               # BPF_DEVCG_ACC_*
_ALL = 7
_KIND = int(ATTACH.CGROUP_DEVICE)


def _insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """Return one instruction: struct bpf_insn, in the machine's own byte order; a number above 2**31 wraps."""
    registers = dst | src << 4 if _LITTLE else dst << 4 | src
    return pack("=BBhi", code, registers, offset, value - (1 << 32) if value >= 1 << 31 else value)


_LITTLE = pack("=H", 1) == b"\1\0"


def assemble(rules: Rules) -> bytes:
    """Return the program for *rules*.

    It begins by taking the context apart: struct bpf_cgroup_dev_ctx {access_type, major, minor}, with the type in the
    lower half of the first word. Then each exception is asked whether it fits; the first that does gives the answer.
    An exception to "nothing" must cover all of the access, one to "everything" must touch it.
    """
    program = [
        _insn(_LDXW, 2, 1, 0), _insn(_AND, 2, value=0xFFFF),
        _insn(_LDXW, 3, 1, 0), _insn(_RSH, 3, value=16),
        _insn(_LDXW, 4, 1, 4), _insn(_LDXW, 5, 1, 8),
    ]
    for kind, major, minor, permissions in rules.exceptions:
        program += _exception(_TYPES[kind], major, minor, sum(_ACCESS[letter] for letter in permissions), rules.allow)
    return b"".join([*program, _insn(_MOV, 0, value=int(rules.allow)), _insn(_EXIT)])


def _exception(kind: int, major: int, minor: int, access: int, everything: bool) -> list[bytes]:
    # Tests as (code, register, other register, value); a jump leads behind the exception's last instruction.
    tests: list[tuple[int, int, int, int]] = [(_JNE, 2, 0, kind)]
    if access != _ALL:
        if everything:
            tests += [(_JSET, 3, 0, access), (_JA, 0, 0, 0)]  # any of it: go on behind the jump away
        else:
            tests += [(_MOV_REG, 1, 3, 0), (_AND, 1, 0, access), (_JNE_REG, 1, 3, 0)]
    tests += [(_JNE, register, 0, number) for register, number in ((4, major), (5, minor)) if number != WILDCARD]
    length = len(tests) + 2
    found = []
    for at, (code, register, other, value) in enumerate(tests):
        offset = 1 if code == _JSET else length - at - 1 if code in (_JNE, _JNE_REG, _JA) else 0
        found.append(_insn(code, register, other, offset, value))
    return [*found, _insn(_MOV, 0, value=int(not everything)), _insn(_EXIT)]


def set_v2(directory: str, rules: Rules) -> None:
    """Attach a program to a cgroup, in the place of the one it has: at no moment is there none.

    The kernel asks those of the cgroups above as well, and all must agree.
    """
    cgroup = openat(AT_FDCWD, directory, os.O_RDONLY | os.O_DIRECTORY)
    opened = [cgroup]
    try:
        program = _load(assemble(rules))
        opened.append(program)
        old = _attached(cgroup)
        opened += old
        if len(old) == 1:
            try:
                prog_attach(cgroup, program, _KIND, BPF_F.ALLOW_MULTI | BPF_F.REPLACE, old[0])
                return
            except SyscallError as error:
                if error.errno != EINVAL:  # attached in another way than ours
                    raise
        prog_attach(cgroup, program, _KIND, BPF_F.ALLOW_MULTI)
        for fd in old:
            prog_detach(cgroup, fd, _KIND)
    finally:
        for fd in opened:
            close(fd)


def _attached(cgroup: int) -> list[int]:
    """Return descriptors of the programs that a cgroup has."""
    found: list[int] = []
    try:
        for number in prog_query(cgroup, _KIND):
            try:
                found.append(prog_get_fd_by_id(number))
            except SyscallError as error:
                if error.errno not in (ENOENT, EPERM):  # gone meanwhile, or somebody else's: it stays, and is asked too
                    raise
    except BaseException:
        for fd in found:
            close(fd)
        raise
    return found


def _load(program: bytes) -> int:
    try:
        return prog_load(PROG_TYPE.CGROUP_DEVICE, program, name="nscontainer")
    except SyscallError as error:
        if error.errno != EPERM:
            raise
        soft, hard = prlimit(0, RLIMIT.MEMLOCK)
        if soft == hard:
            raise
    prlimit(0, RLIMIT.MEMLOCK, (hard, hard))  # before Linux 5.11 a program counts as locked memory
    try:
        return prog_load(PROG_TYPE.CGROUP_DEVICE, program, name="nscontainer")
    finally:
        prlimit(0, RLIMIT.MEMLOCK, (soft, hard))
