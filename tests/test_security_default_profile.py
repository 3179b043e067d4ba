"""The default profile: what it opens, what it keeps shut, and that programs live with it."""
from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bpf_machine
from containers import output_of, standard
from nscontainer import Factory
from nscontainer.config import Action
from nscontainer.security.default_profile import ALLOWED, DENIED, WITH_CAPABILITY, default_profile
from nscontainer.security.seccomp_compiler import _MACHINES, compile_profile, numbers_of
from nscontainer.sys.capability import CAP
from nscontainer.sys.prctl import set_no_new_privs
from nscontainer.sys.seccomp import set_mode_filter
from nscontainer.validate_seccomp import check

InChild = Callable[..., Any]
ALLOW, EPERM, EIO, ENOSYS, EAFNOSUPPORT = 0x7FFF0000, 0x50001, 0x50005, 0x50026, 0x50061
MACHINES = [machine for machine in _MACHINES if machine != "x32"]  # that one only beside x86_64
CLONE_NEWUSER, TIOCSTI = 0x10000000, 0x5412


def words(groups: Any) -> set[str]:
    return {name for _, group in groups for name in group.split()}


def verdict(name: str, *args: int, machine: str = "x86_64", **named: Any) -> int:
    audit, _, big = _MACHINES[machine]
    code = compile_profile(default_profile(machine=machine, **named), machine).code
    return bpf_machine.run(code, audit, numbers_of(machine)[name], args, big=big).value


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_allowed_is_allowed_and_what_is_denied_is_denied(machine: str) -> None:
    numbers = numbers_of(machine)
    for name in words(ALLOWED) & numbers.keys():
        assert verdict(name, machine=machine) == ALLOW, name
    for name in words(DENIED) & numbers.keys():
        assert verdict(name, machine=machine) in (EPERM, ENOSYS), name
    for name in numbers.keys() - words(ALLOWED) - {"ioctl", "socket", "clone", "personality"}:
        assert verdict(name, machine=machine) != ALLOW, name


@pytest.mark.parametrize("machine", MACHINES)
def test_no_new_namespace_is_to_be_had(machine: str) -> None:
    before = (0,) if machine.startswith("s390") else ()
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, CLONE_NEWUSER, 0x20000000, 0x40000000):
        assert verdict("clone", *before, flag | 0x11, machine=machine) == EPERM
        if machine in ("x86_64", "aarch64"):
            assert verdict("clone", flag | 0x11 | 1 << 40, machine=machine) == EPERM
    assert verdict("clone", *before, 0x11, machine=machine) == ALLOW
    assert verdict("clone3", machine=machine) == ENOSYS
    assert verdict("unshare", CLONE_NEWUSER, machine=machine) == EPERM


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm", "s390x"])
def test_nothing_is_typed_into_a_terminal(machine: str) -> None:
    for request in (TIOCSTI, 0x541C):
        assert verdict("ioctl", 0, request, machine=machine) == EIO
        if machine != "arm":
            assert verdict("ioctl", 0, request | 1 << 32, machine=machine) == EIO  # CVE-2019-10063
    assert verdict("ioctl", 0, 0x5413, machine=machine) == ALLOW


def test_sockets_are_of_few_families() -> None:
    assert [family for family in range(50) if verdict("socket", family) == ALLOW] == [1, 2, 10, 16]
    assert verdict("socket", 40) == verdict("socket", 38) == EAFNOSUPPORT     # vsock, alg
    assert verdict("socket", 40 | 1 << 32) == EAFNOSUPPORT
    assert verdict("socket", 17) == EAFNOSUPPORT
    assert verdict("socket", 17, capabilities=["CAP_NET_RAW"]) == ALLOW


def test_personalities_that_weaken_memory_are_not_to_be_had() -> None:
    assert verdict("personality", 0xFFFFFFFF) == verdict("personality", 8) == ALLOW
    assert verdict("personality", 0x0040000) == EPERM  # ADDR_NO_RANDOMIZE


def test_a_capability_opens_what_it_is_for() -> None:
    assert set(WITH_CAPABILITY) <= {f"CAP_{cap.name}" for cap in CAP}
    for capability, names in WITH_CAPABILITY.items():
        for name in names.split():
            if name in numbers_of("x86_64"):
                assert verdict(name, CLONE_NEWUSER, capabilities=[capability]) == ALLOW
                assert verdict(name, CLONE_NEWUSER, capabilities=["CAP_CHOWN"]) in (EPERM, ENOSYS)


def test_32_bit_programs_are_killed_unless_they_are_asked_for() -> None:
    read = numbers_of("x86")["read"]
    for architectures, found in (((), 0), (("x86",), ALLOW)):
        code = compile_profile(default_profile((), architectures, "x86_64"), "x86_64").code
        assert bpf_machine.run(code, 0x40000003, read).value == found


def test_every_name_is_one_and_no_list_contradicts_another() -> None:
    for machine in MACHINES:
        profile = default_profile(machine=machine)
        assert compile_profile(profile, machine).skipped == ()
        check(profile)
        assert profile.default_action is Action.ERRNO
    assert not words(ALLOWED) & words(DENIED)
    assert not words(ALLOWED) & words(enumerate(WITH_CAPABILITY.values()))
    assert all(len(reason) > 20 for reason, _ in (*ALLOWED, *DENIED))


def test_a_call_of_tomorrow_does_not_exist_and_no_call_of_today_is_taken_for_one() -> None:
    code = compile_profile(default_profile(machine="x86_64"), "x86_64").code
    assert bpf_machine.run(code, 0xC000003E, max(numbers_of("x86_64").values()) + 1).value == ENOSYS
    assert verdict("open_tree_attr") == EPERM


def confine() -> None:
    set_no_new_privs()
    filter = compile_profile(default_profile())
    set_mode_filter(filter.code, filter.flags)


def test_the_kernel_denies_what_attacks_begin_with(in_child: InChild) -> None:
    def attack() -> Any:
        confine()
        libc = ctypes.CDLL(None, use_errno=True)
        done = {}
        for name, args in (("unshare", [CLONE_NEWUSER]), ("setns", [0, 0]), ("fsopen", [b"ext4", 0]),
                           ("bpf", [0, 0, 0]), ("keyctl", [0, -3, 0]),
                           ("add_key", [b"user", b"x", b"y", 1, -3]), ("userfaultfd", [0]),
                           ("perf_event_open", [0, 0, 0, 0, 0]), ("open_by_handle_at", [-100, 0, 0]),
                           ("mount", [b"x", b"/", b"tmpfs", 0, 0]), ("io_uring_setup", [1, 0]),
                           ("clone", [CLONE_NEWUSER | 17, 0, 0, 0, 0]), ("clone3", [0, 0]), ("socket", [40, 1, 0]),
                           ("ioctl", [0, ctypes.c_ulong(TIOCSTI | 7 << 32), b"x"])):
            number = numbers_of(os.uname().machine)[name]
            result = libc.syscall(number, *args)
            done[name] = None if result != -1 else errno.errorcode[ctypes.get_errno()]
        return done

    found = in_child(attack)
    odd = {"io_uring_setup": "ENOSYS", "clone3": "ENOSYS", "socket": "EAFNOSUPPORT", "ioctl": "EIO"}
    assert found == {name: odd.get(name, "EPERM") for name in found}


def test_programs_live_with_it(in_child: InChild, tmp_path: Path) -> None:
    """Threads, processes, sockets, files, timers, an event loop and a terminal, in a fresh Python."""
    program = """
import asyncio, mmap, multiprocessing.dummy, os, pty, signal, socket, sqlite3, subprocess, sys, tempfile, time
os.chdir(sys.argv[1])
assert multiprocessing.dummy.Pool(4).map(abs, [-1, -2]) == [1, 2]
assert subprocess.run(["/bin/sh", "-c", "echo $((6*7))"], capture_output=True).stdout == b"42\\n"
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await (await asyncio.create_subprocess_exec("/bin/true")).wait()
asyncio.run(main())
sqlite3.connect("base").execute("create table t(x)")
mmap.mmap(-1, 4096).madvise(mmap.MADV_DONTNEED)
signal.setitimer(signal.ITIMER_REAL, 60); signal.alarm(0)
master, slave = pty.openpty(); assert os.isatty(slave) and os.ttyname(slave)
os.sched_setaffinity(0, os.sched_getaffinity(0)); os.setpriority(os.PRIO_PROCESS, 0, 1)
with tempfile.TemporaryFile(dir=".") as f: f.write(b"x"); f.flush(); os.fsync(f.fileno())
a, b = socket.socketpair(); socket.send_fds(a, [b"x"], [0]); socket.recv_fds(b, 1, 1)
"""

    def run() -> Any:
        confine()
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
        return done.returncode, done.stderr

    assert in_child(run) == [0, ""]
    assert termios.TIOCSTI == TIOCSTI


@pytest.mark.needs("root", "busybox")
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_container_lives_with_it(factory: Factory, busybox_template: Path, no_new_privileges: bool) -> None:
    config = standard(busybox_template, no_new_privileges=no_new_privileges, capabilities=["CAP_NET_RAW", "CAP_CHOWN"])
    config.seccomp = default_profile(["CAP_NET_RAW", "CAP_CHOWN"])
    text = output_of(factory, config, "sh", "-c", "ls -l / | wc -l; mkdir /tmp/m; mount -t tmpfs x /tmp/m; "
                     "unshare -U true; echo $?; grep Seccomp: /proc/self/status; rmdir /tmp/m")
    assert "unshare" in text and "Operation not permitted" in text or "not found" in text
    assert "1\nSeccomp:\t2\n" in text or "127\nSeccomp:\t2\n" in text
