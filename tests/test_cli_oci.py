"""The commands that engines call: every one of them, for real, and what they say to bad input."""
from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import OURS, Runtime, bundle_in, console_socket, until

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(OURS, tmp_path)
    yield runtime
    runtime.clean()


@pytest.fixture(params=["ours", pytest.param("runc", marks=pytest.mark.needs("runc"))])
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    """Our runtime, and runc: what one script does with them must be the same."""
    runtime = Runtime(OURS if request.param == "ours" else ["runc"], tmp_path)
    yield runtime
    runtime.clean()


@pytest.fixture
def rootfs(busybox_template: Path) -> Path:
    return busybox_template


def _flag(name: str) -> str:
    """A shell's loop that waits for a file in the bundle's shared directory."""
    return f"while [ ! -e {name} ]; do sleep 0.05; done"


# --- the life of a container


class TestLife:
    def test_of_one_that_is_created_started_signalled_and_deleted(self, each: Runtime, rootfs: Path,
                                                                 tmp_path: Path) -> None:
        script = "trap 'exit 0' TERM; echo runs; while :; do sleep 0.05; done"
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", script)
        name, pid_file = each.new_id(), tmp_path / "pid"
        with open(tmp_path / "log", "w") as log:
            each("create", "--bundle", str(bundle), "--pid-file", str(pid_file), name, stdout=log)
        pid = int(pid_file.read_text())
        assert pid_file.read_text() == str(pid)
        state = each.state(name)
        assert (state["status"], state["pid"], state["id"], state["bundle"]) == ("created", pid, name, str(bundle))
        assert not (tmp_path / "log").read_text()
        each("start", name)
        assert until(lambda: (tmp_path / "log").read_text() == "runs\n")
        assert each.status(name) == "running"
        each("kill", name)
        assert each.ends(name)
        assert each.state(name)["pid"] == 0
        each("delete", name)
        assert not (each.root / name).exists()
        each("state", name, code=1)

    def test_of_one_whose_creator_is_gone(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", "echo runs; sleep 60")
        name = ours.new_id()
        ours("create", "-b", str(bundle), name)
        pid = ours.state(name)["pid"]
        assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()
        time.sleep(0.7)  # longer than anybody of ours waits for a sign of life
        ours("start", name)
        assert ours.status(name) == "running"
        assert os.readlink(f"/proc/{pid}/exe") == "/bin/busybox"  # it is the very process, and nothing of Python

    def test_of_one_that_was_never_started(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "true")
        name = each.new_id()
        each("create", "-b", str(bundle), name)
        pid = each.state(name)["pid"]
        each("delete", name)
        assert not os.path.exists(f"/proc/{pid}/root")
        assert not (each.root / name).exists()

    def test_ends_before_its_start(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "true")
        name = ours.new_id()
        ours("create", "-b", str(bundle), name)
        ours("kill", name, "TERM")  # what waits has no handler, and would not be what was meant
        assert ours.ends(name)
        assert "cannot start a container that has stopped" in ours("start", name, code=1).stderr

    def test_is_started_once_of_many_who_try(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60")
        name = ours.new_id()
        ours("create", "-b", str(bundle), name)
        starters = [subprocess.Popen(ours.line("start", name), stderr=subprocess.DEVNULL) for _ in range(4)]
        assert sorted(starter.wait(20) for starter in starters) == [0, 1, 1, 1]
        assert ours.status(name) == "running"

    def test_with_a_program_that_is_not_there_ends_in_create(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        for program, words in (("nosuch", "executable file not found in $PATH"),
                               ("/nosuch", "no such file or directory"), ("/etc/passwd", "permission denied")):
            bundle = bundle_in(tmp_path / "b", rootfs, program)
            name = ours.new_id()
            done = ours("create", "-b", str(bundle), "--pid-file", str(tmp_path / "pid"), name, code=1)
            assert words in done.stderr
            assert done.stderr.count("\n") == 1
            assert not (ours.root / name).exists()
            assert not (tmp_path / "pid").exists()

    def test_tells_hooks_of_each_moment(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        told = tmp_path / "told"
        script = f"echo $0 $(pwd) $(cat) >>{told}"

        def with_hooks(document: dict[str, Any]) -> None:
            document["annotations"] = {"a": "b"}
            document["hooks"] = {name: [{"path": "/bin/sh", "args": ["sh", "-c", script, name]}]
                                 for name in ("createRuntime", "poststart", "poststop")}

        bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60", change=with_hooks)
        name = ours.new_id()
        ours("create", "-b", str(bundle), name)
        assert [line.split()[:2] for line in told.read_text().splitlines()] == [["createRuntime", str(bundle)]]
        ours("start", name)
        ours("delete", "-f", name)
        lines = [line.split(" ", 2) for line in told.read_text().splitlines()]
        assert [line[0] for line in lines] == ["createRuntime", "poststart", "poststop"]
        states = [json.loads(line[2]) for line in lines]
        assert [state["status"] for state in states] == ["creating", "running", "stopped"]
        assert all(state["bundle"] == str(bundle) and state["annotations"] == {"a": "b"} for state in states)

    def test_whose_last_hook_fails_is_gone_all_the_same(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        def failing(document: dict[str, Any]) -> None:
            document["hooks"] = {"poststop": [{"path": "/bin/false"}]}

        name, log = ours.new_id(), tmp_path / "log"
        ours("run", "-b", str(bundle_in(tmp_path / "b", rootfs, "true", change=failing)), name,
             before=("--log", str(log), "--log-format", "json"))
        assert [json.loads(line)["level"] for line in log.read_text().splitlines()] == ["warning"]
        assert not (ours.root / name).exists()

    def test_leaves_nothing_when_the_command_is_killed_in_its_middle(self, ours: Runtime, rootfs: Path,
                                                                     tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60")
        for wait in (0.02, 0.05, 0.07, 0.09, 0.11, 0.13, 0.16):
            name = ours.new_id()
            with subprocess.Popen(ours.line("create", "-b", str(bundle), name), stderr=subprocess.DEVNULL) as command:
                time.sleep(wait)
                command.kill()
            assert until(lambda: ours("delete", "-f", name, code=None).returncode == 0)  # noqa: B023
            assert not (ours.root / name).exists()
            assert until(lambda: not _processes_in(f"/{name}"))  # noqa: B023


def _processes_in(cgroup: str) -> list[str]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if cgroup in Path(f"/proc/{entry}/cgroup").read_text():
                found.append(entry)
        except OSError:
            continue
    return found


# --- run and exec


class TestRun:
    def test_passes_streams_and_the_exit_code(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", "cat; echo problem >&2; exit 7")
        name = each.new_id()
        done = subprocess.run(each.line("run", "-b", str(bundle), name), input="given", capture_output=True, text=True,
                              timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (7, "given", "problem\n")
        assert not (each.root / name).exists()

    def test_keeps_what_it_is_told_to(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        if each.command == ["runc"]:
            pytest.skip("runc 1.1 does not know --keep, later ones do")
        name = each.new_id()
        each("run", "--keep", "-b", str(bundle_in(tmp_path / "b", rootfs, "true")), name)
        assert each.status(name) == "stopped"

    def test_forwards_signals(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        script = "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", script)
        with subprocess.Popen(each.line("run", "-b", str(bundle), each.new_id()), stdout=subprocess.PIPE) as command:
            assert command.stdout
            assert command.stdout.readline() == b"ready\n"
            command.send_signal(signal.SIGUSR1)
            assert command.stdout.readline() == b"caught\n"
            assert command.wait(10) == 9

    def test_detached_leaves_the_container_to_itself(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        name = each.new_id()
        each("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "60")), name)
        assert each.status(name) == "running"
        assert "not stopped" in each("delete", name, code=1).stderr
        each("delete", "--force", name)
        each("delete", "--force", name)  # nobody by that name is no error then

    def test_works_in_the_poorest_circumstances(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", "ls -l /proc/self/fd; echo $HOME")
        line = " ".join(f"'{word}'" for word in ours.line("run", "-b", str(bundle), ours.new_id()))
        script = f"cd {gone}; rmdir {gone}; exec 7</dev/zero 9>/dev/null; exec {line} <&-"
        done = subprocess.run(["sh", "-c", script], env={}, stdout=subprocess.PIPE, text=True, timeout=30)
        assert done.returncode == 0
        descriptors = re.findall(r" (\d+) ->", done.stdout)
        assert descriptors == ["0", "1", "2"]
        assert done.stdout.splitlines()[-1] == "/root"

    def test_passes_descriptors_that_it_is_asked_to(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", "cat <&4; ls /proc/self/fd; echo $LISTEN_FDS$LISTEN_PID")
        (tmp_path / "given").write_text("given\n")
        line = " ".join(each.line("run", "--preserve-fds", "2", "-b", str(bundle), each.new_id()))
        if each.command != ["runc"]:
            line = " ".join(f"'{word}'" for word in each.line("run", "--preserve-fds", "2", "-b", str(bundle), "x"))
        done = subprocess.run(["sh", "-c", f"exec {line} 3</dev/null 4<{tmp_path}/given 5</dev/zero"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert done.stdout.split() == ["given", "0", "1", "2", "3", "4", "5"], done.stderr

    def test_passes_the_sockets_of_its_own_activation(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", "cat <&3; echo $LISTEN_FDS $LISTEN_PID")
        (tmp_path / "given").write_text("given\n")
        line = " ".join(f"'{word}'" for word in ours.line("run", "-b", str(bundle), ours.new_id()))
        done = subprocess.run(["sh", "-c", f"LISTEN_FDS=1 LISTEN_PID=$$ exec {line} 3<{tmp_path}/given"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert done.stdout == "given\n1 1\n", done.stderr

    def test_has_a_terminal_of_its_own(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        def with_terminal(document: dict[str, Any]) -> None:
            document["process"].update(terminal=True, consoleSize={"height": 31, "width": 97})

        script = "tty; ls -l /dev/console; stty size; sleep 0.2; exit 3"
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", script, change=with_terminal)
        with console_socket(tmp_path) as console:
            name = ours.new_id()
            ours("create", "-b", str(bundle), "--console-socket", console.path, name)
            console.receive()
            ours("start", name)
            seen = console.reads(b"31 97")
            assert seen.startswith(b"/dev/pts/0\r\n")
            assert b"136,   0" in seen
        assert ours.ends(name)

    def test_in_the_foreground_is_as_large_as_the_terminal(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        def with_terminal(document: dict[str, Any]) -> None:
            document["process"]["terminal"] = True

        script = "trap 'stty size; sleep 0.3; exit 5' WINCH; stty size; while :; do sleep 0.05; done"
        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", script, change=with_terminal)
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        with subprocess.Popen(each.line("run", "-b", str(bundle), each.new_id()), stdin=slave, stdout=slave,
                              stderr=slave, start_new_session=True) as command:
            os.close(slave)
            seen = b""
            while b"30 90" not in seen:
                seen += os.read(master, 1024)
            time.sleep(0.3)
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
            command.send_signal(signal.SIGWINCH)
            while b"20 60" not in seen:
                seen += os.read(master, 1024)
            assert command.wait(10) == 5
        os.close(master)


class TestExec:
    @pytest.fixture
    def running(self, each: Runtime, rootfs: Path, tmp_path: Path) -> str:
        name = each.new_id()
        each("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "60")), name)
        return name

    def test_runs_in_the_container(self, each: Runtime, running: str) -> None:
        done = each("exec", running, "sh", "-c", "echo $$ >/dev/null; hostname; cat /proc/1/comm; exit 4", code=4)
        assert done.stdout.splitlines()[1] == "sleep"
        assert done.stderr == ""

    def test_takes_options(self, each: Runtime, running: str) -> None:
        script = "id -u; id -g; id -G; pwd; echo $A; grep CapBnd /proc/self/status"
        done = each("exec", "--user", "1000:7", "-g", "9", "--cwd", "/tmp", "-e", "A=b", "--cap", "CAP_NET_RAW",
                    running, "sh", "-c", script)
        uid, gid, groups, cwd, variable, bounding = done.stdout.splitlines()
        assert (uid, gid, set(groups.split()), cwd, variable) == ("1000", "7", {"7", "9"}, "/tmp", "b")
        assert int(bounding.split()[1], 16) >> 13 & 1

    def test_takes_a_process_from_a_file(self, each: Runtime, running: str, tmp_path: Path) -> None:
        (tmp_path / "process").write_text(json.dumps({
            "args": ["sh", "-c", "id -u; pwd; grep NoNewPrivs /proc/self/status"], "cwd": "/etc",
            "user": {"uid": 5, "gid": 6}, "env": ["PATH=/bin"], "noNewPrivileges": True}))
        done = each("exec", "--process", str(tmp_path / "process"), running)
        assert done.stdout.split() == ["5", "/etc", "NoNewPrivs:", "1"]

    def test_detached_says_who_it_is(self, each: Runtime, running: str, tmp_path: Path) -> None:
        each("exec", "-d", "--pid-file", str(tmp_path / "pid"), running, "sleep", "61")
        pid = int((tmp_path / "pid").read_text())
        assert until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0061\0")
        assert pid in json.loads(each("ps", "-f", "json", running).stdout)
        assert "sleep 61" in each("ps", running).stdout
        assert "sleep 61" in each("ps", running, "aux").stdout

    def test_fails_with_255(self, each: Runtime, running: str) -> None:
        old = each.command == ["runc"]  # 1.1: the program was looked up too late for that
        for program, words in (("nosuch", "executable file not found in $PATH"),
                               ("/nosuch", "no such file or directory"), ("/etc/passwd", "permission denied")):
            done = each("exec", running, program, code=None)
            assert done.returncode == 255 or old
            assert words in done.stderr

    def test_refuses_what_is_paused_or_gone(self, each: Runtime, running: str) -> None:
        each("pause", running)
        assert each.status(running) == "paused"
        assert "cannot exec in a paused container" in each("exec", running, "true", code=255).stderr
        each("resume", running)
        assert each.status(running) == "running"
        each("exec", running, "true")
        each("kill", running, "9")
        assert each.ends(running)
        assert "cannot exec in a stopped container" in each("exec", running, "true", code=255).stderr

    def test_has_a_terminal_for_whoever_asks(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        name = ours.new_id()
        ours("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "60")), name)
        with console_socket(tmp_path) as console:
            ours("exec", "-d", "-t", "--console-socket", console.path, name, "sh", "-c", "echo [$(tty)]")
            console.receive()
            console.reads(b"[/dev/pts/0]")

    def test_gives_a_pidfd_to_whoever_asks(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        name = ours.new_id()
        with console_socket(tmp_path) as taker:
            ours("create", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "60")), "--pidfd-socket", taker.path,
                 name)
            info = Path(f"/proc/self/fdinfo/{taker.receive()}").read_text()
            assert f"Pid:\t{ours.state(name)['pid']}\n" in info


@pytest.mark.needs("user_python", "userns")
def test_an_ordinary_user_has_all_of_it(as_user: Any, user_tmp_path: Path, rootfs: Path) -> None:
    def script() -> list[str]:
        os.environ["XDG_RUNTIME_DIR"] = str(user_tmp_path)
        runtime = Runtime(OURS, user_tmp_path)
        runtime.root = user_tmp_path / "nscontainer"

        def call(*arguments: str, **options: Any) -> str:
            with open(user_tmp_path / "said", "w") as said:
                subprocess.run([*OURS, *arguments], stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=30,
                               check=True, **options)
            return (user_tmp_path / "said").read_text()

        bundle = user_tmp_path / "b"
        bundle.mkdir()
        call("spec", "--rootless", "-b", str(bundle))
        document = json.loads((bundle / "config.json").read_text())
        document["root"]["path"] = str(rootfs)
        document["process"].update(terminal=False, args=["sleep", "60"])
        (bundle / "config.json").write_text(json.dumps(document))
        call("create", "x", cwd=bundle)
        seen = [json.loads(call("state", "x"))["status"]]
        call("start", "x")
        seen += [json.loads(call("state", "x"))["status"], call("exec", "x", "id", "-u").strip()]
        call("delete", "--force", "x")
        return [*seen, *os.listdir(runtime.root)]

    assert as_user(script) == ["created", "running", "0"]


def test_many_come_and_go_at_once(ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60")
    names = [ours.new_id() for _ in range(24)]
    for verb, options in (("create", ["-b", str(bundle)]), ("start", []), ("delete", ["--force"])):
        for some in (names[:12], names[12:]):
            commands = [subprocess.Popen(ours.line(verb, *options, name)) for name in some]
            assert [command.wait(60) for command in commands] == [0] * len(some)
    assert os.listdir(ours.root) == []


class TestNotify:
    @pytest.mark.parametrize("verbs", [["run"], ["run", "-d"], ["create", "start"]])
    def test_passes_on_that_the_program_is_ready(self, ours: Runtime, tmp_path: Path, verbs: list[str],
                                                 busybox_rootfs: Path) -> None:
        def with_python(document: dict[str, Any]) -> None:
            document["mounts"] += [
                {"destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"]}
                for path in sorted({"/usr", "/lib", "/lib64", sys.base_prefix}) if os.path.isdir(path)]
            document["root"]["readonly"] = False

        program = ("import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
                   "s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'STATUS=x\\nREADY=1'); time.sleep(1)")
        bundle = bundle_in(tmp_path / "b", busybox_rootfs, os.path.realpath(sys.executable), "-I", "-c", program,
                           change=with_python)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with manager:
            manager.bind(str(tmp_path / "manager"))
            manager.settimeout(20)
            name = ours.new_id()
            said: list[bytes] = []
            barrier: list[int] = []

            def listen() -> None:
                while len(said) < 3:
                    data, descriptors, _, _ = socket.recv_fds(manager, 4096, 4)
                    said.append(data)
                    barrier.extend(descriptors)
                os.close(barrier.pop())

            listener = threading.Thread(target=listen)
            listener.start()
            env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "manager")}
            for verb in [verbs] if "create" not in verbs else [["create"], ["start"]]:
                ours(*verb, *([] if verb == ["start"] else ["-b", str(bundle)]), name, env=env)
            listener.join()
        assert said[0] == b"READY=1"
        assert re.fullmatch(rb"MAINPID=\d+", said[1])
        assert said[2] == b"BARRIER=1"


# --- the others


class TestTold:
    def test_of_all_containers(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        each.root.mkdir(0o700)
        assert json.loads(each("list", "-f", "json").stdout) is None
        bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60")
        names = sorted(each.new_id() for _ in range(2))
        for name in names:
            each("create", "-b", str(bundle), name)
        each("start", names[1])
        listed = json.loads(each("list", "--format", "json").stdout)
        assert [(one["id"], one["status"], one["owner"]) for one in listed] == [
            (names[0], "created", "root"), (names[1], "running", "root")]
        assert {"ociVersion", "pid", "bundle", "rootfs", "created"} <= listed[0].keys()
        assert each("list", "-q").stdout.split() == names
        assert each("list").stdout.split()[:6] == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]

    def test_of_counters(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        name = each.new_id()
        each("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "1.5")), name)
        event = json.loads(each("events", "--stats", name).stdout)
        assert (event["type"], event["id"]) == ("stats", name)
        data = event["data"]
        assert {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb"} <= data.keys()
        assert data["pids"]["current"] == 1
        assert data["cpu"]["usage"]["total"] > 0
        if each.command == ["runc"]:
            return  # 1.1 goes on for ever where the end comes between two looks
        lines = each("events", "--interval", "300ms", name).stdout.splitlines()  # until its end
        assert 2 <= len(lines) <= 6
        assert all(json.loads(line)["type"] == "stats" for line in lines)

    def test_of_what_it_can_do(self, ours: Runtime) -> None:
        features = json.loads(ours("features").stdout)
        assert features["ociVersionMin"] == "1.0.0"
        assert "poststop" in features["hooks"]

    def test_of_how_to_begin(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        ours("spec", "-b", str(tmp_path))
        document = json.loads((tmp_path / "config.json").read_text())
        assert "exists" in ours("spec", "-b", str(tmp_path), code=1).stderr
        document["process"].update(terminal=False, args=["hostname"])
        (tmp_path / "config.json").write_text(json.dumps(document))
        (tmp_path / "rootfs").symlink_to(rootfs)
        assert ours("run", "-b", str(tmp_path), ours.new_id()).stdout.strip() == document["hostname"]


@pytest.mark.needs("cgroup1")
class TestUpdate:
    @pytest.fixture
    def running(self, each: Runtime, rootfs: Path, tmp_path: Path) -> str:
        name = each.new_id()
        each("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "60")), name)
        return name

    def _data(self, runtime: Runtime, name: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(runtime("events", "--stats", name).stdout)["data"]
        return data

    def test_by_options(self, each: Runtime, running: str) -> None:
        each("update", "--memory", "64M", "--pids-limit", "20", running)
        each("update", "--pids-limit", "21", running)
        data = self._data(each, running)
        assert (data["memory"]["usage"]["limit"], data["pids"]["limit"]) == (64 << 20, 21)

    def test_by_a_file_and_by_stdin(self, each: Runtime, running: str, tmp_path: Path) -> None:
        (tmp_path / "limits").write_text(json.dumps({"pids": {"limit": 22}}))
        each("update", "--resources", str(tmp_path / "limits"), "--pids-limit", "99", running)
        assert self._data(each, running)["pids"]["limit"] == 22
        with open(tmp_path / "limits") as file:
            each("update", "-r", "-", running, stdin=file)

    def test_keeps_what_is_asked_for_after_a_refusal(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        name = ours.new_id()
        ours("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "sleep", "60")), name)
        ours("update", "--pids-limit", "20", name)
        assert ours("update", "--pids-limit", "25", "--cpuset-cpus", "4000", name, code=1).stderr
        assert self._data(ours, name)["pids"]["limit"] == 20


class TestKill:
    def test_by_number_and_by_name(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        script = ('for s in HUP USR1 USR2; do trap "echo $s >>/tmp/seen" $s; done; touch /tmp/up; '
                  "while :; do sleep 0.02; done")
        shared = tmp_path / "shared"
        shared.mkdir()

        def with_shared(document: dict[str, Any]) -> None:
            document["mounts"].append({"destination": "/tmp", "type": "bind", "source": str(shared),
                                       "options": ["rbind", "rw"]})

        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", script, change=with_shared)
        name = each.new_id()
        each("run", "-d", "-b", str(bundle), name)
        assert until((shared / "up").exists)
        for count, word in enumerate(("1", "sigusr1", "USR2"), 1):
            each("kill", name, word)
            assert until(lambda: (shared / "seen").exists()
                         and len((shared / "seen").read_text().split()) == count)  # noqa: B023
        assert (shared / "seen").read_text().split() == ["HUP", "USR1", "USR2"]
        assert "unknown signal" in each("kill", name, "FOO", code=1).stderr

    def test_kills_everybody_where_no_pid_namespace_does(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        def shared(document: dict[str, Any]) -> None:
            namespaces = document["linux"]["namespaces"]
            namespaces[:] = [one for one in namespaces if one["type"] != "pid"]

        bundle = bundle_in(tmp_path / "b", rootfs, "sh", "-c", "sleep 62 & sleep 63", change=shared)
        name = each.new_id()
        each("run", "-d", "-b", str(bundle), name)
        assert until(lambda: each("ps", name).stdout.count("sleep 6") >= 2)
        pids = json.loads(each("ps", "-f", "json", name).stdout)
        each("kill", *(["--all"] if each.command == ["runc"] else []), name, "KILL")  # from 1.2 on as ours
        assert until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids))

    def test_of_who_has_ended_is_an_error_but_with_all(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        name = each.new_id()
        each("run", "-d", "-b", str(bundle_in(tmp_path / "b", rootfs, "true")), name)
        assert each.ends(name)
        assert "not running" in each("kill", name, code=1).stderr
        each("kill", "--all", name)


# --- bad input


class TestBadInput:
    @pytest.mark.parametrize(("arguments", "words"), [
        (["state", "nobody"], "container does not exist"),
        (["start", "nobody"], "container does not exist"),
        (["kill", "nobody"], "container does not exist"),
        (["delete", "nobody"], "container does not exist"),
        (["pause", "nobody"], "container does not exist"),
        (["ps", "nobody"], "container does not exist"),
        (["update", "nobody"], "container does not exist"),
        (["events", "nobody"], "container does not exist"),
        (["state"], "container ID is required"),
        (["create"], "container ID is required"),
        (["create", "--bundle", "/no/where", "x"], "/no/where"),
        (["create", "--bundle", "/etc/passwd", "x"], "/etc/passwd"),
        (["create", "--frobnicate", "x"], "unknown option '--frobnicate'"),
        (["state", "../x"], "invalid container ID format"),
        (["state", ".."], "invalid container ID format"),
        (["list", "--format", "xml"], "xml"),
        (["kill", "x", "SIGNONE"], 'unknown signal "SIGNONE"'),
        (["events", "--interval", "soon", "x"], "--interval"),
    ])
    def test_is_one_line_and_1(self, ours: Runtime, arguments: list[str], words: str) -> None:
        ours.root.mkdir()
        done = ours(*arguments, code=1)
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)
        assert words in done.stderr
        log = ours.folder / "log"
        done = ours(*arguments, before=("--log", str(log), "--log-format", "json"), code=1)
        assert words in done.stderr
        line = json.loads(log.read_text())
        assert line["level"] == "error"
        assert words in line["msg"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"])
        assert os.listdir(ours.root) == []

    @pytest.mark.parametrize(("content", "words"), [
        (None, "config.json"),
        ("{", "line 1"),
        ('{"ociVersion": "1.0.0"}', "root"),
        ('{"ociVersion": "2.0.0", "root": {"path": "rootfs"}}', "ociVersion"),
        ('{"ociVersion": "1.0.0", "root": {"path": "nowhere"}, "process": {"cwd": "/", "args": ["x"]}}', "nowhere"),
        ('{"ociVersion": "1.0.0", "root": {"path": "/"}, "linux": {"namespaces": [{"type": "mount"}]}}', "process"),
    ])
    def test_in_a_bundle_leaves_nothing(self, ours: Runtime, tmp_path: Path, content: str | None, words: str) -> None:
        bundle = tmp_path / "b"
        bundle.mkdir()
        if content is not None:
            (bundle / "config.json").write_text(content)
        done = ours("create", "--bundle", str(bundle), "x", code=1)
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert not os.path.isdir(ours.root) or os.listdir(ours.root) == []

    def test_of_an_id_in_use(self, each: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60")
        name = each.new_id()
        each("create", "-b", str(bundle), name)
        done = each("create", "-b", str(bundle), name, code=1)
        assert re.search("container with (given ID|id exists: .*) already exists|container with id exists", done.stderr)
        assert each.status(name) == "created"
        each("start", name)
        assert re.search("cannot start an already running container|container .* running", each(
            "start", name, code=1).stderr)

    def test_of_a_console_socket_that_is_not_there(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        def with_terminal(document: dict[str, Any]) -> None:
            document["process"]["terminal"] = True

        bundle = bundle_in(tmp_path / "b", rootfs, "true", change=with_terminal)
        done = ours("create", "-b", str(bundle), "--console-socket", str(tmp_path / "none"), "x", code=1)
        assert "--console-socket" in done.stderr
        done = ours("create", "-b", str(bundle), "x", code=1)
        assert "console socket" in done.stderr
        bundle = bundle_in(tmp_path / "b", rootfs, "true")
        assert "console socket" in ours("create", "-b", str(bundle), "--console-socket", "/x", "x", code=1).stderr
        assert os.listdir(ours.root) == []

    def test_of_a_pid_file_that_cannot_be_written(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "sleep", "60")
        done = ours("create", "-b", str(bundle), "--pid-file", str(tmp_path / "no" / "pid"), "x", code=1)
        assert "--pid-file" in done.stderr
        assert os.listdir(ours.root) == []

    def test_of_descriptors_that_are_not_open(self, ours: Runtime, rootfs: Path, tmp_path: Path) -> None:
        bundle = bundle_in(tmp_path / "b", rootfs, "true")
        assert "descriptor 3 is not open" in ours(
            "run", "--preserve-fds", "1", "-b", str(bundle), "x", code=1).stderr

    def test_of_an_exec_without_a_command(self, ours: Runtime) -> None:
        assert "args" in ours("exec", "x", code=255).stderr


def test_a_tmpfs_where_the_image_has_nothing_is_everybodys(each: Runtime, rootfs: Path, tmp_path: Path) -> None:
    def with_tmpfs(document: dict[str, Any]) -> None:
        document["root"]["readonly"] = False
        document["mounts"] += [{"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}
                               for path in ("/dev/made", "/root")]

    bundle = bundle_in(tmp_path / "b", rootfs, "stat", "-c", "%a", "/dev/made", "/root", change=with_tmpfs)
    assert each("run", "-b", str(bundle), each.new_id()).stdout.split() == ["1777", "700"]
