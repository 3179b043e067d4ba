"""Hooks and commands: what they get, how they end, what is left of them."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nscontainer.config import Command, CommandHook, FunctionHook, HookState
from nscontainer.errors import ConfigInvalid, ContainerError
from nscontainer.hooks import LAST_WORDS, find_program, run, run_command, run_program
from nscontainer.errors import SyscallError
from nscontainer.sys.procfs import process_stat

STATE = HookState(version="1.0", id="box", pid=7, root="/r")
SHELL = "/bin/sh"


def _ended(pid: int) -> bool:
    """A zombie has: whoever adopts it here may not wait for it."""
    try:
        return process_stat(pid).state == "Z"
    except SyscallError:
        return True


def shell(script: str, *, env: tuple[str, ...] = (), timeout: float | None = None) -> CommandHook:
    return CommandHook(command=Command(path=SHELL, args=("sh", "-c", script), env=env), timeout=timeout)


def test_a_function_hears_the_state() -> None:
    heard: list[HookState] = []
    run(FunctionHook(heard.append), STATE)
    run(FunctionHook(heard.append), STATE.to_json())
    assert heard == [STATE, STATE]


def test_an_error_of_a_function_is_not_hidden() -> None:
    def fail(_: HookState) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(FunctionHook(fail), STATE)


def test_a_program_reads_the_state_from_its_standard_input(tmp_path: Path, leaves_nothing: Any) -> None:
    run(shell(f"cat > {tmp_path}/heard"), STATE)
    assert (tmp_path / "heard").read_text() == '{"version":"1.0","id":"box","pid":7,"root":"/r"}'


def test_a_state_that_no_pipe_would_hold_arrives(tmp_path: Path) -> None:
    run(shell(f"wc -c > {tmp_path}/size"), HookState(root="/" + "x" * 300_000))
    assert int((tmp_path / "size").read_text()) > 300_000


def test_the_arguments_are_taken_exactly_as_given(tmp_path: Path) -> None:
    run(CommandHook(command=Command(path=SHELL, args=("other-name", "-c", f"echo $0 > {tmp_path}/name"))), STATE)
    assert (tmp_path / "name").read_text() == "other-name\n"


@pytest.mark.parametrize("path", ["sh", "bin/sh", ""])
def test_a_hook_needs_an_absolute_path(path: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"hook\.path: expected an absolute path"):
        run(CommandHook(command=Command(path=path)), STATE)


def test_a_hook_without_an_environment_has_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_WORD", "here")
    run(shell(f"echo $SOME_WORD > {tmp_path}/word"), STATE)
    assert (tmp_path / "word").read_text() == "here\n"


def test_inside_a_container_a_hook_without_an_environment_has_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_THE_IMAGE", "evil")
    hook = CommandHook(command=Command(path=SHELL, args=("sh", "-c", f"cat /proc/self/environ > {tmp_path}/all")))
    run(hook, STATE, inherit_env=False)
    assert b"LD_PRELOAD_OF_THE_IMAGE" not in (tmp_path / "all").read_bytes()


def test_a_hook_with_an_environment_has_that_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_WORD", "here")
    run(shell(f"echo $SOME_WORD$OWN > {tmp_path}/word", env=("OWN=a", "OWN=b=c", "PATH=/bin")), STATE)
    assert (tmp_path / "word").read_text() == "b=c\n"


def test_a_variable_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="expected NAME=value, got 'OWN'"):
        run(shell("true", env=("OWN",)), STATE)


def test_a_hook_that_fails_says_how_and_quotes_itself() -> None:
    with pytest.raises(ContainerError, match=r"^the hook '/bin/sh' ended with exit status 3: no such luck$"):
        run(shell("echo unheard; echo no such luck >&2; exit 3"), STATE)


def test_a_hook_that_a_signal_kills_has_failed() -> None:
    with pytest.raises(ContainerError, match="was killed by signal 15"):
        run(shell("kill -TERM $$"), STATE)


def test_only_the_last_words_of_a_hook_are_kept() -> None:
    with pytest.raises(ContainerError) as caught:
        run(shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; head -c 3000000 /dev/zero; echo end >&2; exit 1"), STATE)
    assert str(caught.value).endswith("xxxend")
    assert LAST_WORDS - 10 < len(str(caught.value)) < LAST_WORDS + 100


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ContainerError, match="cannot run the hook '/no/such': No such file"):
        run(CommandHook(command=Command(path="/no/such")), STATE)


def test_a_hook_that_takes_too_long_is_killed_with_its_children(tmp_path: Path, leaves_nothing: Any) -> None:
    start = time.monotonic()
    with pytest.raises(ContainerError, match=r"had not ended after 0\.2 seconds and was killed: patience"):
        run(shell(f"sleep 60 & echo $! > {tmp_path}/pid; echo patience >&2; wait", timeout=0.2), STATE)
    assert time.monotonic() - start < 5
    grandchild = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while not _ended(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_hook_that_floods_its_output_is_killed_in_time_too() -> None:
    with pytest.raises(ContainerError, match="had not ended after"):
        run(shell("exec cat /dev/zero >&2", timeout=0.2), STATE)


def test_a_daemon_that_a_hook_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    start = time.monotonic()
    run(shell(f"sleep 20 & echo $! > {tmp_path}/pid"), STATE)
    assert time.monotonic() - start < 5
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_no_descriptor_of_the_caller_reaches_a_hook(tmp_path: Path) -> None:
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        run(shell(f"ls /proc/$$/fd > {tmp_path}/fds"), STATE)
    finally:
        os.close(kept)
    # ls' own are not among those of $$; 10 and up are the shell's
    assert {name for name in (tmp_path / "fds").read_text().split() if int(name) < 10} == {"0", "1", "2"}


def test_a_hook_has_default_signals_and_a_group_of_its_own(tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        run(shell(f"exec cat /proc/self/status /proc/self/stat > {tmp_path}/seen"), STATE)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    *lines, stat = (tmp_path / "seen").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines)
    assert int(fields["SigIgn"], 16) & ~(3 << 31) == 0  # 32 and 33 are the C library's, which lets nobody set them
    assert int(fields["SigBlk"], 16) == 0
    assert stat.split()[0] == stat.split()[4] == fields["Pid"]


def test_a_caller_without_standard_streams_can_run_hooks(in_child: Any, tmp_path: Path) -> None:
    def close_and_run() -> str:
        for fd in (0, 1, 2):
            os.close(fd)
        run(shell(f"cat > {tmp_path}/heard; echo gone; echo words >&2"), STATE)
        try:
            run(shell("echo words >&2; exit 1"), STATE)
        except ContainerError as error:
            return str(error)
        finally:
            os.dup2(os.open("/dev/null", os.O_RDWR), 2)
            os.dup2(2, 1)
        return ""

    assert in_child(close_and_run).endswith("exit status 1: words")
    assert "box" in (tmp_path / "heard").read_text()


def test_a_status_that_somebody_else_has_taken_counts_as_a_failure(in_child: Any) -> None:
    def ignore_children() -> Any:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them itself, and tells nobody
        return [run_program(SHELL, ("sh", "-c", f"sleep 0.1; exit {code}"), {}).problem for code in (0, 3)]

    good, bad = in_child(ignore_children)
    # From Linux 6.15 on a pidfd remembers.
    assert good is None or "was taken by another part of this program" in good
    assert bad is not None


def test_a_command_is_looked_up_in_the_path_of_its_environment(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\npwd > out; echo $WORD >> out\n")
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    before = os.getcwd()
    run_command(Command(path="tool", env=(f"PATH=relative:{tmp_path}:/bin", "WORD=w"), dir=str(tmp_path / "work")))
    assert (tmp_path / "work/out").read_text() == f"{tmp_path}/work\nw\n"
    assert os.getcwd() == before


def test_a_command_that_fails_quotes_all_it_wrote() -> None:
    with pytest.raises(ContainerError, match=r"^the command 'sh' ended with exit status 2: one\ntwo$"):
        run_command(Command(path="sh", args=("-c", "echo one; echo two >&2; exit 2")))


def test_a_command_that_is_not_in_the_path_is_named() -> None:
    with pytest.raises(ContainerError, match="cannot run the command 'no-such-tool': not found in PATH"):
        run_command(Command(path="no-such-tool"))


def test_a_command_in_a_directory_that_is_not_there_is_an_error_and_leaves_us_where_we_were() -> None:
    before = os.getcwd()
    with pytest.raises(ContainerError, match="cannot run the command 'true' in '/no/such': No such file"):
        run_command(Command(path="true", dir="/no/such"))
    assert os.getcwd() == before


def test_a_relative_directory_of_the_path_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_program("tool", "::.:") is None
    assert find_program("tool", f".:{tmp_path}") == f"{tmp_path}/tool"
    assert find_program("", str(tmp_path)) is None


def test_hooks_run_beside_threads() -> None:
    """The caller is never forked: no lock that a thread holds can be copied into the hook."""
    program = (
        "import sys, threading; sys.path.insert(0, sys.argv[1])\n"
        "from nscontainer.hooks import run\n"
        "from nscontainer.config import Command, CommandHook\n"
        "hook = CommandHook(command=Command(path='/bin/true', args=('true',)))\n"
        "def work():\n    for _ in range(10): run(hook, {})\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "print('done')\n")
    package = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run([sys.executable, "-c", program, package], capture_output=True, text=True, timeout=40)
    assert done.stdout == "done\n", done.stderr


def test_interrupting_the_caller_ends_the_hook(tmp_path: Path, leaves_nothing: Any) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(shell("exec sleep 60"), STATE)
    finally:
        signal.signal(signal.SIGALRM, old)
