"""eBPF programs: load one, and attach it to a cgroup.

Lesson  The kernel runs code of ours once it has proved that the code ends and touches nothing it should not.
Read    bpf(2), the kernel's bpf/standardization/instruction-set.rst and include/uapi/linux/bpf.h
Needs   CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN (Linux 5.8), in the initial user namespace
"""
from __future__ import annotations

from ctypes import (Structure, addressof, c_char, c_int, c_uint, c_uint32, c_uint64, c_void_p, create_string_buffer,
                    sizeof)
from errno import EAGAIN

from ..errors import SyscallError
from .flags import Enumeration, Flags
from .libc import failure, get_errno, syscall

__all__ = ["ATTACH", "BPF_F", "PROG_TYPE", "prog_attach", "prog_detach", "prog_get_fd_by_id", "prog_load", "prog_query"]


class PROG_TYPE(Enumeration):
    """What a program is for; the kernel's list is longer."""

    CGROUP_DEVICE = 15


class ATTACH(Enumeration):
    """Where in a cgroup it is asked."""

    CGROUP_DEVICE = 6


class BPF_F(Flags):
    """How it is attached."""

    ALLOW_OVERRIDE = 1 << 0      # one of a cgroup below takes its place
    ALLOW_MULTI = 1 << 1         # all are asked, those of cgroups above as well
    REPLACE = 1 << 2             # Linux 5.6


class _Load(Structure):
    """The part of union bpf_attr for BPF_PROG_LOAD, as of Linux 4.15."""

    _fields_ = [("prog_type", c_uint32), ("insn_cnt", c_uint32), ("insns", c_uint64), ("license", c_uint64),
                ("log_level", c_uint32), ("log_size", c_uint32), ("log_buf", c_uint64), ("kern_version", c_uint32),
                ("prog_flags", c_uint32), ("prog_name", c_char * 16)]


class _Attach(Structure):
    """The part for BPF_PROG_ATTACH and BPF_PROG_DETACH."""

    _fields_ = [(name, c_uint32) for name in (
        "target_fd", "attach_bpf_fd", "attach_type", "attach_flags", "replace_bpf_fd")]


class _Query(Structure):
    """The part for BPF_PROG_QUERY, whole: Linux 6.17 to 7.0 write its last field whatever size is passed."""

    _fields_ = [("target_fd", c_uint32), ("attach_type", c_uint32), ("query_flags", c_uint32),
                ("attach_flags", c_uint32), ("prog_ids", c_uint64), ("prog_cnt", c_uint32), ("reserved", c_uint32),
                ("prog_attach_flags", c_uint64), ("link_ids", c_uint64), ("link_attach_flags", c_uint64),
                ("revision", c_uint64)]


class _ById(Structure):
    """The part for BPF_PROG_GET_FD_BY_ID."""

    _fields_ = [("id", c_uint32), ("next_id", c_uint32), ("open_flags", c_uint32)]


_bpf = syscall("bpf", c_int, c_void_p, c_uint)
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_ATTEMPTS = 10


def prog_load(kind: int, instructions: bytes, *, license: str = "Apache-2.0", name: str = "") -> int:
    """Load a program of 8-byte instructions and return its descriptor, which execve closes.

    A *name*, of at most 15 letters, digits, dots and underscores, is for bpftool(8).

    EACCES, EINVAL  the verifier refuses it; the details' *log* is the end of what it says
    EPERM    no right, or RLIMIT_MEMLOCK is too low: before Linux 5.11 programs count as locked memory
    """
    if not instructions or len(instructions) % 8:
        raise ValueError("a program is one or more instructions of 8 bytes")
    code, words = create_string_buffer(instructions, len(instructions)), create_string_buffer(license.encode())
    attributes = _Load(prog_type=kind, insn_cnt=len(instructions) // 8, insns=addressof(code),
                       license=addressof(words), prog_name=name.encode())
    number = 0
    for _ in range(_ATTEMPTS):  # EAGAIN: a signal came while it was being verified
        fd = _bpf(_PROG_LOAD, addressof(attributes), sizeof(attributes))
        if fd >= 0:
            return fd
        number = get_errno()
        if number != EAGAIN:
            break
    # Once more for the verifier's words, which cost too much to ask for beforehand.
    log = create_string_buffer(1 << 16)
    attributes.log_level, attributes.log_size, attributes.log_buf = 1, len(log), addressof(log)
    fd = _bpf(_PROG_LOAD, addressof(attributes), sizeof(attributes))
    if fd >= 0:
        return fd
    said = log.value.decode("utf-8", "replace").strip().splitlines()
    raise SyscallError("bpf", number, command="BPF_PROG_LOAD", type=kind, log=" / ".join(said[-2:]) or None)


def prog_attach(target: int, program: int, kind: int, flags: int = 0, replace: int = 0) -> None:
    """Attach a program to the cgroup whose directory *target* is open; with BPF_F.REPLACE instead of *replace*.

    EPERM    no right, or a cgroup above has one that may not be overridden
    """
    attributes = _Attach(target_fd=target, attach_bpf_fd=program, attach_type=kind, attach_flags=flags,
                         replace_bpf_fd=replace)
    if _bpf(_PROG_ATTACH, addressof(attributes), sizeof(attributes)) < 0:
        raise failure("bpf", command="BPF_PROG_ATTACH", fd=target, flags=BPF_F(flags))


def prog_detach(target: int, program: int, kind: int) -> None:
    """Take a program from a cgroup; ENOENT when it is not attached there."""
    attributes = _Attach(target_fd=target, attach_bpf_fd=program, attach_type=kind)
    if _bpf(_PROG_DETACH, addressof(attributes), sizeof(attributes)) < 0:
        raise failure("bpf", command="BPF_PROG_DETACH", fd=target)


def prog_query(target: int, kind: int, most: int = 64) -> list[int]:
    """Return the ids of the programs that are attached to a cgroup itself, not to those above.

    ENOSPC   there are more than *most*
    """
    ids = (c_uint32 * most)()
    attributes = _Query(target_fd=target, attach_type=kind, prog_ids=addressof(ids), prog_cnt=most)
    if _bpf(_PROG_QUERY, addressof(attributes), sizeof(attributes)) < 0:
        raise failure("bpf", command="BPF_PROG_QUERY", fd=target)
    return list(ids[:attributes.prog_cnt])


def prog_get_fd_by_id(number: int) -> int:
    """Return a descriptor, which execve closes, of a program that is loaded: CAP_SYS_ADMIN. ENOENT when it is gone."""
    attributes = _ById(id=number)
    fd = _bpf(_PROG_GET_FD_BY_ID, addressof(attributes), sizeof(attributes))
    if fd < 0:
        raise failure("bpf", command="BPF_PROG_GET_FD_BY_ID", id=number)
    return fd
