"""Containers whose system calls are filtered: libcontainer's three tests, and what it never could."""
from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, finish, output_of, run_in, standard, with_user_namespace
from nscontainer import PIPE, STDOUT, Factory, Process
from nscontainer.config import Action, Arg, Operator, Seccomp, Syscall
from nscontainer.errors import ConfigInvalid, ProgramNotExecutable, ProgramNotFound, SyscallError

pytestmark = pytest.mark.needs("root", "busybox")

DENY_WRITE = Seccomp(Action.ALLOW, (), (Syscall("write", Action.ERRNO, (Arg(0, 1, 0, Operator.GREATER_THAN),)),))
# All that busybox echo needs: nothing of what the set-up does is in it.
ECHO = Seccomp(Action.ERRNO, (), (Syscall("", Action.ALLOW, (), tuple((
    "execve arch_prctl brk mmap munmap mprotect write writev exit_group exit set_tid_address set_robust_list rseq "
    "prlimit64 getuid getgid geteuid getegid getrandom readlink readlinkat rt_sigaction rt_sigprocmask openat open "
    "read close fstat newfstatat stat ioctl poll access uname prctl gettid").split())),), strict=True)


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("build", [standard, with_user_namespace])
def test_a_denied_call_fails(factory: Factory, busybox_template: Path, build: Any, no_new_privileges: bool) -> None:
    config = build(busybox_template, no_new_privileges=no_new_privileges)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("getcwd", Action.ERRNO),))
    text = output_of(factory, config, "sh", "-c", "/bin/pwd; grep -e Seccomp: -e NoNew -e CapPrm /proc/self/status")
    assert "pwd: getcwd: Operation not permitted" in text
    assert "Seccomp:\t2" in text and f"NoNewPrivs:\t{int(no_new_privileges)}" in text
    assert "CapPrm:\t00000000a80425fb" in text  # what it took to put the filter on is gone


def test_a_call_is_denied_by_its_arguments(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, seccomp=DENY_WRITE.to_json())
    with factory.create("write", config) as container:
        assert run_in(container, "ls", "/")[1].returncode == 0
    with factory.create("write2", config) as container:
        text, ended = run_in(container, "ls", "/does_not_exist")
        assert (text, ended.returncode) == ("", 1)  # its complaint did not come through


@pytest.mark.parametrize("user", ["", "1000:1000"])
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_filter_need_not_allow_what_the_set_up_does(
        factory: Factory, busybox_template: Path, user: str, no_new_privileges: bool) -> None:
    config = standard(busybox_template, no_new_privileges=no_new_privileges)
    config.seccomp = ECHO
    assert output_of(factory, config, "/bin/echo", "hello", user=user) == "hello\n"


def test_an_unprivileged_user_in_the_container_keeps_nothing(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("keyctl", Action.ERRNO),))
    text = output_of(factory, config, "sh", "-c", "grep -e Cap -e Seccomp: /proc/self/status", user="1000")
    assert "CapPrm:\t0000000000000000" in text and "CapEff:\t0000000000000000" in text and "Seccomp:\t2" in text


def test_a_further_process_is_under_the_filter_too(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, seccomp=DENY_WRITE.to_json())
    with factory.create("enter", config) as container:
        first = Process(["cat"], ENVIRONMENT, stdin=PIPE)
        container.start(first)
        text, _ = run_in(container, "sh", "-c", "grep Seccomp: /proc/self/status; ls /none; echo kept")
        first.stdin.close()
        first.wait(20)
    assert text == "Seccomp:\t2\nkept\n"


def test_a_program_that_is_not_there_is_named_under_any_filter(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = ECHO
    for program, kind, words in (("nowhere", ProgramNotFound, "executable file not found in"),
                                 ("/no/where", ProgramNotFound, "no such file"),
                                 ("/etc/passwd", ProgramNotExecutable, "permission denied")):
        with factory.create("missing", config) as container, pytest.raises(kind, match=words):
            container.start(Process([program], ENVIRONMENT))


def test_a_filter_that_kills_ends_the_program(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("", Action.KILL_PROCESS, (), ("mkdir", "mkdirat")),))
    with factory.create("kill", config) as container:
        ended = run_in(container, "sh", "-c", "mkdir /tmp/x; echo $?")
    assert ended[0].endswith("159\n")  # SIGSYS


def test_a_filter_that_cannot_be_compiled_makes_no_process(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("frobnicate", Action.ERRNO),), strict=True)
    with factory.create("strict", config) as container, pytest.raises(ConfigInvalid, match="frobnicate"):
        container.start(Process(["true"], ENVIRONMENT))
    config.seccomp = Seccomp(Action.ERRNO, (), (Syscall("read", Action.ALLOW),))
    with pytest.raises(ConfigInvalid, match="^seccomp.default_action: denies execve"):
        factory.create("execve", config)


def test_a_name_that_no_machine_has_is_warned_about(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("", Action.ERRNO, (), ("getcwd", "frobnicate", "mmap2")),))
    with factory.create("warn", config) as container, pytest.warns(RuntimeWarning, match="frobnicate: left"):
        container.start(process := Process(["true"], ENVIRONMENT))
        process.wait(20)


def test_calls_can_be_answered_by_whoever_started_the_process(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("", Action.NOTIFY, (), ("mkdir", "mkdirat")),))
    with factory.create("notify", config) as container:
        process = Process(["sh", "-c", "mkdir /made/up && mkdir /other"], ENVIRONMENT, stdout=PIPE, stderr=STDOUT)
        container.start(process)
        assert process.listener is not None
        asked = []
        with process.listener as listener:
            for call in listener:
                asked.append((call.text(0 if call.name == "mkdir" else 1), container.processes().count(call.pid)))
                call.respond(error=errno.EDQUOT if asked[1:] else 0)
        text, ended = finish(process)
    assert asked == [("/made/up", 1), ("/other", 1)]
    assert "Disk quota exceeded" in text or "Quota exceeded" in text
    assert ended.returncode == 1


def test_a_listener_goes_to_the_agent_that_is_named(factory: Factory, busybox_template: Path, scratch: Path) -> None:
    path = str(scratch / "agent")
    config = standard(busybox_template, version="1.2.0")
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("", Action.NOTIFY, (), ("mkdir", "mkdirat")),),
                             listener_path=path, listener_metadata="who")
    with socket.socket(socket.AF_UNIX) as agent, factory.create("agent", config) as container:
        agent.bind(path)
        agent.listen()
        first = Process(["cat"], ENVIRONMENT, stdin=PIPE)
        container.start(first)
        further = Process(["true"], ENVIRONMENT)
        container.start(further)
        assert first.listener is None
        for process, status in ((first, "creating"), (further, "running")):
            peer, _ = agent.accept()
            with peer:
                data, fds, _, _ = socket.recv_fds(peer, 1 << 16, 4)
            assert "seccomp" in os.readlink(f"/proc/self/fd/{fds[0]}")
            os.close(fds[0])
            told = json.loads(data)
            assert (told["pid"], told["metadata"], told["fds"]) == (process.pid, "who", ["seccompFd"])
            assert told["state"] == {"ociVersion": "1.2.0", "id": "agent", "status": status, "pid": first.pid,
                                     "bundle": os.path.dirname(config.rootfs)}
        first.stdin.close()
        first.wait(20)
        further.wait(20)
        os.unlink(path)


def test_without_the_agent_the_program_does_not_run(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template)
    config.seccomp = Seccomp(Action.ALLOW, (), (Syscall("mkdir", Action.NOTIFY),), listener_path="/no/agent")
    with factory.create("alone", config) as container:
        process = Process(["sleep", "60"], ENVIRONMENT)
        with pytest.raises(SyscallError, match="^connect on '/no/agent'") as refused:
            container.start(process)
        assert "listener_path" in (refused.value.hint or "")
        assert container.processes() == []


def test_the_filter_is_compiled_once_for_many_containers(factory: Factory, busybox_template: Path) -> None:
    from nscontainer.security import seccomp_compiler

    config = standard(busybox_template, seccomp=DENY_WRITE.to_json())
    seccomp_compiler._compiled.clear()
    for _ in range(3):
        output_of(factory, config, "true")
    assert len(seccomp_compiler._compiled) == 1
