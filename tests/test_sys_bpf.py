"""eBPF: what is loaded, attached, counted and taken away again."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys.bpf import (
    ATTACH,
    BPF_F,
    PROG_TYPE,
    prog_attach,
    prog_detach,
    prog_get_fd_by_id,
    prog_load,
    prog_query,
)

EXIT = pack("=BBhi", 0x95, 0, 0, 0)
ALLOW = pack("=BBhi", 0xB4, 0, 0, 1) + EXIT
KIND = int(ATTACH.CGROUP_DEVICE)


@pytest.mark.parametrize("code", [b"", b"\0" * 7, EXIT + b"\0"])
def test_half_an_instruction_is_refused(code: bytes) -> None:
    with pytest.raises(ValueError, match="instructions of 8 bytes"):
        prog_load(PROG_TYPE.CGROUP_DEVICE, code)


@pytest.mark.needs("root", "cgroup2")
def test_the_verifier_is_quoted() -> None:
    with pytest.raises(SyscallError, match=r"BPF_PROG_LOAD.*log=.*R0") as caught:
        prog_load(PROG_TYPE.CGROUP_DEVICE, EXIT)
    assert caught.value.errno == errno.EACCES


@pytest.mark.needs("root", "cgroup2")
def test_a_program_is_attached_found_and_detached(leaves_nothing: Any, cgroup: int) -> None:
    program = prog_load(PROG_TYPE.CGROUP_DEVICE, ALLOW, name="a_test")
    try:
        assert not os.get_inheritable(program)
        assert prog_query(cgroup, KIND) == []
        prog_attach(cgroup, program, KIND, BPF_F.ALLOW_MULTI)
        (number,) = prog_query(cgroup, KIND)
        again = prog_get_fd_by_id(number)
        os.close(again)
        prog_detach(cgroup, program, KIND)
        assert prog_query(cgroup, KIND) == []
        with pytest.raises(SyscallError) as caught:
            prog_detach(cgroup, program, KIND)
        assert caught.value.errno == errno.ENOENT
    finally:
        os.close(program)


@pytest.fixture
def cgroup() -> Any:
    import host

    directory = Path(str(host.own_cgroup()), f"nscontainer-bpf-{os.getpid()}")
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    yield fd
    os.close(fd)
    directory.rmdir()


@pytest.mark.needs("root", "cgroup2")
def test_errors_name_the_command() -> None:
    fd = os.open("/", os.O_RDONLY)
    try:
        calls: tuple[Callable[[], object], ...] = (lambda: prog_query(fd, KIND), lambda: prog_detach(fd, 0, KIND))
        for call in calls:
            with pytest.raises(SyscallError, match="command=BPF_PROG_"):
                call()
        with pytest.raises(SyscallError, match="BPF_PROG_GET_FD_BY_ID, id=4294967295"):
            prog_get_fd_by_id(0xFFFFFFFF)
    finally:
        os.close(fd)
