"""The command line: exit codes, one line for every mistake, signals, and a terminal."""
from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nscontainer
from nscontainer.cli import HELP, Option, UsageError, parse

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "nscontainer"]
SANDBOX = [*COMMAND, "sandbox"]
needs_container = pytest.mark.needs("root", "overlay")


def run(*args: str, before: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with these arguments, as from a fresh clone."""
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "cwd": ROOT, **options}
    return subprocess.run([*COMMAND, *before, *args], text=True, timeout=30, **options)


def sandbox(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(*args, before=("sandbox",), **options)


# --- the line itself


def test_options_are_read_with_and_without_an_equals_sign() -> None:
    more = Option("--more --many", "X", "", many=True)
    options = [Option("--name", "X", ""), Option("--flag", "", ""), more, HELP]
    assert parse(options, ["--name", "a", "--flag", "b", "--x"]) == ({"name": "a", "flag": True}, ["b", "--x"])
    assert parse(options, ["--name=a=b", "--flag=false"]) == ({"name": "a=b", "flag": False}, [])
    assert parse(options, ["--more", "1", "--many=2", "--", "--x"]) == ({"more": ["1", "2"]}, ["--x"])
    assert parse(options, ["-h", "-"]) == ({"help": True}, ["-"])
    assert parse(options, ["--name", "--flag"]) == ({"name": "--flag"}, [])


@pytest.mark.parametrize(("arguments", "problem"), [
    (["--nme", "x"], "unknown option '--nme'"),
    (["-x"], "unknown option '-x'"),
    (["--name"], "--name needs a value: X"),
    (["--flag=much"], "--flag takes no value"),
])
def test_a_wrong_option_is_named(arguments: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse([Option("--name", "X", ""), Option("--flag", "", "")], arguments)


def test_help_and_version_need_nothing() -> None:
    assert run("--version").stdout.splitlines()[0] == f"nscontainer {nscontainer.__version__}"
    assert "sandbox" in run("--help").stdout
    done = run("sandbox", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("--rootfs DIR", "--bind SRC:DST[:ro]", "--timeout SECONDS", "126", "sh -c 'hostname; id; ps -ef'"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize(("arguments", "problem"), [
    ([], "no command"),
    (["--frobnicate"], "unknown option '--frobnicate'"),
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["sandbox", "--frobnicate", "x"], "sandbox: unknown option '--frobnicate'"),
    (["sandbox", "--user"], "--user needs a value"),
    (["sandbox", "--network=bridge"], "network: expected one of 'none', 'host', 'no-abstract-sockets', got 'bridge'"),
    (["sandbox", "--bind", "/x"], "--bind: expected SRC:DST"),
    (["sandbox", "--bind", "/x:y"], "--bind: the destination 'y' is not absolute"),
    (["sandbox", "--timeout", "soon"], "--timeout: expected seconds, got 'soon'"),
    (["sandbox", "--timeout", "nan"], "--timeout"),
    (["sandbox", "--env", "=x"], "--env: expected NAME or NAME=VALUE"),
    (["sandbox", "--cap-add", "fly"], "CAP_FLY"),
    (["sandbox", "--rootfs", "/no/such/root"], "/no/such/root"),
    (["sandbox", "--hostname", "x" * 65], "hostname"),
])
@pytest.mark.usefixtures("leaves_nothing")
def test_a_wrong_command_line_is_one_line_and_2(arguments: list[str], problem: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("nscontainer: ")
    assert problem in done.stderr


def test_nobody_to_read_the_help_is_no_traceback() -> None:
    with open("/dev/full", "wb") as full:
        done = run("--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (125, "nscontainer: No space left on device\n")


def test_modules_in_the_way_are_not_run(tmp_path: Path) -> None:
    for name in ("ctypes", "errno", "_ctypes", "json", "termios", "select", "signal", "struct", "_json"):
        (tmp_path / f"{name}.py").write_text("import os; os.write(2, b'evil ' + __name__.encode()); os._exit(66)\n")
    shutil.copytree(ROOT / "nscontainer", tmp_path / "nscontainer", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for environment in ({}, {"PYTHONPATH": str(tmp_path)}):
        done = sandbox("--hostname", "x" * 65, cwd=tmp_path, env={**os.environ, **environment})
        assert done.returncode == 2, done.stderr


# --- a program's end


@needs_container
@pytest.mark.usefixtures("leaves_nothing")
class TestExitCodes:
    @pytest.mark.parametrize(("arguments", "code", "problem"), [
        (["true"], 0, ""),
        (["sh", "-c", "exit 7"], 7, ""),
        (["no-such-program"], 127, "no-such-program"),
        (["/no/such/program"], 127, "/no/such/program"),
        (["/etc/passwd"], 126, "permission denied"),
        (["sh", "-c", "sh -c 'kill -KILL $$'"], 137, ""),
        (["--user", "nobody-at-all", "true"], 125, "nobody-at-all"),
        (["--cwd", "/no/where", "true"], 125, "/no/where"),
        (["--bind", "/no/such/source:/mnt", "true"], 125, "/no/such/source"),
        (["--timeout", "0.2", "sleep", "60"], 124, ""),
    ])
    def test_say_what_happened(self, arguments: list[str], code: int, problem: str) -> None:
        done = sandbox(*arguments)
        assert done.returncode == code, done.stderr
        assert problem in done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == (1 if problem else 0) or code in (124, 137)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
    def test_a_signal_to_the_command_ends_the_program(self, number: int) -> None:
        program = ["sh", "-c", "echo ready; exec sleep 60"]
        with subprocess.Popen([*SANDBOX, *program], stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            assert process.wait(10) == 128 + number

    def test_a_signal_that_the_program_handles_is_its_own_affair(self) -> None:
        script = "trap 'echo caught; exit 9' USR2; echo ready; while :; do sleep 0.05; done"
        with subprocess.Popen([*SANDBOX, "sh", "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGUSR2)
            assert process.stdout.readline() == b"caught\n"
            assert process.wait(10) == 9

    def test_a_command_that_is_killed_takes_everything_with_it(self) -> None:
        with subprocess.Popen([*SANDBOX, "sh", "-c", "sleep 61 & echo ready; sleep 62"], stdout=subprocess.PIPE,
                              cwd=ROOT) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            assert process.stdout.read() == b""  # nobody holds the pipe any more


# --- what the options do


@needs_container
@pytest.mark.usefixtures("leaves_nothing")
class TestSandbox:
    def test_a_fresh_clone_runs_the_line_of_the_readme(self) -> None:
        done = sandbox("--", "sh", "-c", "hostname; id -u; echo $$")
        assert (done.stdout, done.stderr, done.returncode) == ("sandbox\n0\n1\n", "", 0)

    def test_streams_pass_through(self) -> None:
        done = sandbox("sh", "-c", "cat; echo problem >&2", stdin=None, input="given")
        assert (done.stdout, done.stderr) == ("given", "problem\n")

    def test_closed_streams_are_no_problem(self) -> None:
        script = "readlink /proc/self/fd/0 >/seen; exec cat /seen"
        line = f"exec {sys.executable} -m nscontainer sandbox sh -c '{script}' <&-"
        done = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, cwd=ROOT, timeout=30)
        assert done.stdout == b"/dev/null\n"

    def test_the_environment_is_what_was_asked_for(self) -> None:
        environment = {"B": "two", "SECRET": "x", "PATH": os.environ["PATH"]}
        done = sandbox("--env", "A=1", "--env=B", "--env", "C", "env", env=environment)
        assert {line.partition("=")[0] for line in done.stdout.splitlines()} <= {"A", "B", "PATH", "HOME"}
        assert "B=two\n" in done.stdout

    def test_folders_are_shown(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("hello")
        done = sandbox("--bind", f"{tmp_path}:/a:ro", "--bind", f"{tmp_path}:/b", "--tmpfs", "/c", "--cwd=/b",
                       "sh", "-c", "cat file; echo x >/b/new; touch /a/x; ls /c")
        assert done.stdout == "hello"
        assert "Read-only file system" in done.stderr
        assert sorted(os.listdir(tmp_path)) == ["file", "new"]

    def test_capabilities_are_dropped_then_added(self) -> None:
        done = sandbox("--cap-add", "chown", "--cap-drop", "ALL", "grep", "CapEff", "/proc/self/status")
        assert done.stdout == "CapEff:\t0000000000000001\n"
        done = sandbox("--cap-drop", "CAP_CHOWN", "--cap-add=sys_nice", "grep", "CapEff", "/proc/self/status")
        assert done.stdout == "CapEff:\t00000000a88425fa\n"

    def test_the_rest(self) -> None:
        done = sandbox("--hostname", "box", "--user", "7:8", "--read-only", "--network", "host",
                       "sh", "-c", "hostname; id -u; id -g; touch /x; readlink /proc/self/ns/net")
        assert done.stdout == f"box\n7\n8\n{os.readlink('/proc/self/ns/net')}\n"

    @pytest.mark.needs("busybox")
    def test_a_root_of_its_own(self, busybox_rootfs: Path) -> None:
        sandbox("--rootfs", str(busybox_rootfs), "--ephemeral", "touch", "/gone")
        done = sandbox("--rootfs", str(busybox_rootfs), "sh", "-c", "pwd; ls -d /gone; touch /kept")
        assert done.stdout == "/\n"
        assert (busybox_rootfs / "kept").exists()

    def test_without_a_command_it_is_a_shell(self) -> None:
        assert sandbox(stdin=None, input="exit 3\n", env={"PATH": os.environ["PATH"]}).returncode == 3


# --- a terminal


class Terminal:
    """A person at a terminal, with the command in the foreground."""

    def __init__(self, *command: str, rows: int = 33, columns: int = 99) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.manners = termios.tcgetattr(slave)
        self.seen = b""
        self._slave = slave
        in_a_session = ("import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
                        "os.execv(sys.argv[1], sys.argv[1:])")
        self.process = subprocess.Popen([sys.executable, "-c", in_a_session, *command],
                                        stdin=slave, stdout=slave, stderr=slave, cwd=ROOT)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until *text* has appeared, and forget what came up to it."""
        deadline = time.monotonic() + 10
        while text.encode() not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come; what came is {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError as error:
                    assert error.errno == errno.EIO
                    raise AssertionError(f"hung up after {self.seen!r}") from None
        self.seen = self.seen.partition(text.encode())[2]

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def finish(self) -> int:
        code = self.process.wait(10)
        assert termios.tcgetattr(self._slave) == self.manners  # as it was before
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def terminal(leaves_nothing: Any) -> Iterator[Any]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: str, **options: Any) -> Terminal:
        opened.append(Terminal(*SANDBOX, *arguments, **options))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@needs_container
@pytest.mark.needs("pty")
class TestATerminal:
    def test_a_shell_is_interactive(self, terminal: Any) -> None:
        at = terminal("--env", "PS1=ready> ", "sh", "-i")
        at.wait_for("ready> ")
        at.type("tty; stty size; echo $((6*7))\n")
        at.wait_for("/dev/console\r\n33 99\r\n42\r\nready> ")
        at.type("exit 5\n")
        assert at.finish() == 5

    def test_ctrl_c_reaches_what_runs_in_the_shell(self, terminal: Any) -> None:
        at = terminal("--env", "PS1=ready> ", "sh", "-i")
        at.wait_for("ready> ")
        at.type("sleep 60\n")
        at.wait_for("sleep 60\r\n")
        time.sleep(0.2)
        at.type("\3")
        at.wait_for("ready> ")
        at.type("\4")
        assert at.finish() == 130

    @pytest.mark.parametrize(("key", "code"), [("\3", 130), ("\x1c", 131)])
    def test_ctrl_c_ends_a_program_that_knows_nothing_of_it(self, key: str, code: int, terminal: Any) -> None:
        at = terminal("sh", "-c", "echo ready; exec sleep 60")
        at.wait_for("ready")
        time.sleep(0.1)
        at.type(key)
        assert at.finish() == code

    def test_raw_keys_are_the_program_s(self, terminal: Any) -> None:
        at = terminal("sh", "-c", "stty raw -echo; echo ready; head -c 3 | od -An -tx1")
        at.wait_for("ready")
        at.type("\3\4\x1a")
        at.wait_for("03 04 1a")
        assert at.finish() == 0

    def test_a_new_size_is_passed_on(self, terminal: Any) -> None:
        at = terminal("sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done")
        at.wait_for("33 99")
        at.resize(11, 22)
        at.wait_for("11 22")
        at.process.send_signal(signal.SIGTERM)
        assert at.finish() == 143

    def test_the_last_words_are_shown(self, terminal: Any) -> None:
        at = terminal("sh", "-c", "seq 20000; echo the end")
        at.wait_for("20000\r\nthe end\r\n")
        assert at.finish() == 0

    def test_much_typing_to_a_program_that_echoes_it(self, terminal: Any) -> None:
        at = terminal("sh", "-c", "stty raw -echo; echo ready; head -c 100000 | tr x y; echo done")
        at.wait_for("ready")
        sent = 0
        os.set_blocking(at.master, False)
        while sent < 100_000:
            try:
                sent += os.write(at.master, b"x" * min(1000, 100_000 - sent))
            except BlockingIOError:
                at.wait_for("y" * 100)
        at.wait_for("done")
        assert at.finish() == 0

    def test_the_terminal_is_restored_after_a_failure(self, terminal: Any) -> None:
        at = terminal("no-such-program")
        at.wait_for("executable file not found")
        assert at.finish() == 127
        at = terminal("--timeout", "0.3", "sleep", "60")
        assert at.finish() == 124

    def test_being_stopped_and_continued_gives_the_terminal_back_and_takes_it_again(self, terminal: Any) -> None:
        at = terminal("--env", "PS1=ready> ", "sh", "-i")
        at.wait_for("ready> ")
        raw = termios.tcgetattr(at.master)
        at.process.send_signal(signal.SIGTSTP)
        assert os.WIFSTOPPED(os.waitpid(at.process.pid, os.WUNTRACED)[1])
        assert termios.tcgetattr(at.master) == at.manners != raw
        at.process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        assert termios.tcgetattr(at.master) == raw
        at.type("exit\n")
        assert at.finish() == 0

    def test_a_hung_up_terminal_ends_the_shell(self, terminal: Any) -> None:
        at = terminal("--env", "PS1=ready> ", "sh", "-i")
        at.wait_for("ready> ")
        for fd in (at._slave, at.master):
            os.close(fd)
        at.master, at._slave = os.openpty()  # to have something to close
        assert at.process.wait(10) == 129

    def test_a_terminal_can_be_had_without_one(self) -> None:
        done = sandbox("--tty", "sh", "-c", "tty; cat", stdin=None, input="line\n")
        assert done.returncode == 0
        assert sorted(done.stdout.split()) == ["/dev/console", "line", "line"]  # one is the terminal's echo

    def test_and_need_not_be_had_with_one(self, terminal: Any) -> None:
        at = terminal("--no-tty", "sh", "-c", "ps -o tty= -p $$; cut -d' ' -f7 /proc/self/stat")
        at.wait_for("0\r\n")  # no controlling terminal
        assert at.finish() == 0
