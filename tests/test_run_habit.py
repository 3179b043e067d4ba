"""nscontainer.run and nscontainer.Popen: what subprocess users know holds, with a container around it."""
from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nscontainer
from nscontainer import ConfigInvalid, Mount, Popen, ProgramNotExecutable, ProgramNotFound, SetupError, run
from nscontainer.popen import DEVNULL, PIPE, STDOUT, OutputLimitExceeded

pytestmark = pytest.mark.needs("root", "overlay")
needs_busybox = pytest.mark.needs("busybox")


@pytest.fixture(autouse=True)
def nothing_left(leaves_nothing: Any) -> Iterator[None]:
    """Compare with the moment when the program's zygote has come up."""
    run(["true"])
    leaves_nothing.start_over()
    yield
    gc.collect()
    leaves_nothing.check()


def output(*args: str, **options: Any) -> str:
    """Return what a program writes; it must end well."""
    done = run(list(args), capture_output=True, text=True, timeout=20, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def shell(script: str, **options: Any) -> str:
    return output("sh", "-c", script, **options)


class TestTheContainer:
    def test_the_program_is_process_1_and_alone(self) -> None:
        first, visible = shell("echo $$; ls -d /proc/[0-9]* | wc -l").split()
        assert first == "1"
        assert int(visible) <= 3  # with the pipeline's own two

    def test_its_namespaces_are_new(self) -> None:
        kinds = ("pid", "mnt", "ipc", "uts", "net", "cgroup")
        inside = output("readlink", *(f"/proc/self/ns/{kind}" for kind in kinds)).split()
        assert not {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds} & set(inside)

    def test_it_has_a_name_and_only_a_loopback_interface(self) -> None:
        assert shell("hostname; ls /sys/class/net") == "sandbox\nlo\n"
        assert output("hostname", hostname="box") == "box\n"
        assert int(output("cat", "/sys/class/net/lo/flags"), 16) & 1  # IFF_UP

    def test_the_network_of_the_host_is_there_when_asked_for(self) -> None:
        assert output("readlink", "/proc/self/ns/net", network="host").strip() == os.readlink("/proc/self/ns/net")

    def test_it_has_fourteen_capabilities_and_can_gain_none(self) -> None:
        status = dict(line.split(":\t") for line in output("cat", "/proc/self/status").splitlines() if ":\t" in line)
        assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"00000000a80425fb"}
        assert {status[name] for name in ("CapInh", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"

    def test_capabilities_may_be_named(self) -> None:
        assert "CapEff:\t0000000000000001\n" in output("cat", "/proc/self/status", capabilities=["chown"])
        assert "CapEff:\t0000000000000000\n" in output("cat", "/proc/self/status", capabilities=[])

    def test_the_environment_is_not_the_caller_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_TOKEN", "hunter2")
        names = {line.partition("=")[0] for line in output("env").splitlines()}
        assert names <= {"PATH", "LANG", "TERM", "HOME"}
        assert {"PATH", "HOME"} <= names

    def test_a_given_environment_is_all_there_is(self) -> None:
        assert output("/usr/bin/env", env={"A": "1", "HOME": "/x"}) == "A=1\nHOME=/x\n"

    def test_it_inherits_no_descriptor(self) -> None:
        read, write = os.pipe()
        os.set_inheritable(read, True)
        try:
            assert output("ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is ls's own
        finally:
            os.close(read)
            os.close(write)

    def test_descriptors_are_passed_on_under_their_numbers(self) -> None:
        read, write = os.pipe()
        high = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, 57)
        try:
            script = f"echo through >/proc/self/fd/{high}; ls /proc/self/fd | tr '\\n' ' '"
            assert shell(script, pass_fds=[high]) == f"0 1 2 3 {high} "
            assert os.read(read, 100) == b"through\n"
        finally:
            for fd in (read, write, high):
                os.close(fd)


class TestTheViewOfThisHost:
    def test_the_host_s_files_are_seen_and_changes_vanish(self, tmp_path: Path) -> None:
        (tmp_path / "kept").write_text("before")
        seen = shell("cat kept; echo after >kept; rm -r /etc/passwd; cat kept; touch new; ls", cwd=tmp_path)
        assert seen == "beforeafter\nkept\nnew\n"
        assert (tmp_path / "kept").read_text() == "before"
        assert os.listdir(tmp_path) == ["kept"]
        assert os.path.exists("/etc/passwd")

    def test_no_way_up_leads_to_the_host(self, tmp_path: Path) -> None:
        script = f"echo x >/etc/../{tmp_path}/out; cd /..; cd ..; echo x >../{tmp_path}/out"
        shell(script)
        assert os.listdir(tmp_path) == []
        mounts = [line.split() for line in output("cat", "/proc/self/mountinfo").splitlines()]
        assert [fields[4] for fields in mounts].count("/") == 1
        assert {fields[2] for fields in mounts}.isdisjoint({f"{os.major(at)}:{os.minor(at)}" for at in (
            os.stat(tmp_path).st_dev, os.stat("/").st_dev, os.stat("/proc").st_dev, os.stat("/sys").st_dev)})

    def test_leaving_a_chroot_leads_back_into_the_view(self, tmp_path: Path) -> None:
        code = (f"import os; os.mkdir('/x'); os.chroot('/x'); [os.chdir('..') for _ in range(99)]; os.chroot('.'); "
                f"open('{tmp_path}/out', 'w'); print(os.path.exists('/proc/1/root'))")
        assert output("/usr/bin/python3", "-I", "-S", "-c", code) == "True\n"
        assert os.listdir(tmp_path) == []

    def test_two_runs_do_not_see_each_other(self) -> None:
        shell("echo one >/etc/mark")
        assert shell("ls /etc/mark 2>&1 || true").endswith("No such file or directory\n")

    def test_it_starts_where_the_caller_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert output("pwd") == f"{tmp_path}\n"
        assert output("pwd", cwd="/etc") == "/etc\n"

    def test_read_only_is_read_only(self) -> None:
        assert "Read-only file system" in shell("touch /etc/x 2>&1 || true", read_only=True)

    def test_a_folder_can_be_shared(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("in")
        shell("cp /shared/in /shared/out", mounts=[(tmp_path, "/shared")])
        assert (tmp_path / "out").read_text() == "in"

    @pytest.mark.parametrize("form", ["string", "tuple"])
    def test_a_folder_can_be_shown_read_only(self, form: str, tmp_path: Path) -> None:
        mount: Any = f"{tmp_path}:/shown:ro" if form == "string" else (tmp_path, "/shown", "ro")
        assert "Read-only file system" in shell("touch /shown/x 2>&1 || true", mounts=[mount])

    def test_a_mount_may_be_of_any_kind(self) -> None:
        mount = Mount(source="tmpfs", destination="/mnt", device="tmpfs", data="size=64k")
        assert output("stat", "-f", "-c", "%T", "/mnt", mounts=[mount]) == "tmpfs\n"

    def test_what_belongs_to_the_running_host_is_not_in_it(self) -> None:
        assert output("ls", "-A", "/run") == ""
        assert output("sh", "-c", "ls /dev/pts; ls /dev/shm; ls /dev/mqueue") == "ptmx\n"


@pytest.mark.needs("user_python", "userns", "kernel_5_11")
class TestAnOrdinaryUser:
    """Everything is the same in a user namespace of the user's own."""

    def test_is_root_inside_and_gains_nothing_outside(self, as_user: Any) -> None:
        def inside() -> tuple[list[str], str]:
            with tempfile.TemporaryDirectory() as own:  # a folder below one of root's could not be copied up
                mine = Path(own) / "mine"
                mine.write_text("mine\n")
                script = (f"id -u; id -G; hostname; echo $$; cat {mine}; echo x >{mine}; touch /etc/new /new; "
                          "grep -E 'CapEff|NoNew' /proc/self/status; ls /sys/class/net")
                return shell(script).split(), mine.read_text()

        seen, after = as_user(inside)
        assert seen == ["0", "0", "sandbox", "1", "mine", "CapEff:", "00000000a80425fb", "NoNewPrivs:", "1", "lo"]
        assert after == "mine\n"
        assert not os.path.exists("/etc/new")

    def test_is_at_home(self, as_user: Any) -> None:
        def home() -> bool:
            return output("printenv", "HOME").strip() == os.environ["HOME"]

        assert as_user(home)

    def test_may_have_the_host_s_network(self, as_user: Any) -> None:
        def network() -> str:
            return output("readlink", "/proc/self/ns/net", network="host").strip()

        assert as_user(network) == os.readlink("/proc/self/ns/net")

    @needs_busybox
    def test_may_have_a_root_of_his_own(self, as_user: Any, user_rootfs: Path) -> None:
        def make() -> str:
            return shell("id -u; touch /kept; stat -c %u /kept", rootfs=user_rootfs)

        assert as_user(make) == "0\n0\n"
        assert (user_rootfs / "kept").exists()

    def test_leaves_nothing_after_a_timeout(self, as_user: Any) -> None:
        def late() -> str:
            try:
                run(["sleep", "60"], timeout=0.2)
            except subprocess.TimeoutExpired as error:
                return str(error)
            return ""

        assert "timed out" in as_user(late)


@needs_busybox
class TestARootOfItsOwn:
    def test_changes_stay_unless_they_are_not_to(self, busybox_rootfs: Path) -> None:
        shell("echo kept >/kept", rootfs=busybox_rootfs)
        assert (busybox_rootfs / "kept").read_text() == "kept\n"
        shell("echo gone >/gone; rm /kept", rootfs=busybox_rootfs, ephemeral=True)
        assert (busybox_rootfs / "kept").exists()
        assert not (busybox_rootfs / "gone").exists()

    def test_the_path_is_not_the_caller_s(self, busybox_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        assert shell("echo $PATH", rootfs=busybox_template).startswith("/usr/local/sbin:")

    def test_it_starts_at_the_root(self, busybox_template: Path) -> None:
        assert output("pwd", rootfs=busybox_template) == "/\n"

    def test_a_user_is_one_of_its_own_database(self, busybox_template: Path) -> None:
        seen = shell("id -u; id -G; echo $HOME", rootfs=busybox_template, user="user")
        assert seen == "1000\n1000 50 1001\n/home/user\n"
        assert output("id", "-u", rootfs=busybox_template, user=7) == "7\n"


class TestStreams:
    def test_both_outputs_are_captured_apart(self) -> None:
        done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        assert done.args == ["sh", "-c", "echo out; echo err >&2; exit 3"]

    def test_stderr_can_go_where_stdout_goes(self) -> None:
        assert run(["sh", "-c", "echo a; echo b >&2"], stdout=PIPE, stderr=STDOUT).stdout == b"a\nb\n"

    def test_what_is_not_redirected_is_inherited(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert run(["sh", "-c", "echo out; echo err >&2"], stdin=DEVNULL).stdout is None
        assert capfd.readouterr() == ("out\n", "err\n")

    def test_input_is_what_the_program_reads(self) -> None:
        assert run(["cat"], input=b"\0\xff\r\n", stdout=PIPE).stdout == b"\0\xff\r\n"
        assert run(["cat"], input="ä\r\n", stdout=PIPE, encoding="utf-16").stdout == "ä\n"
        assert run(["cat"], input=b"", stdout=PIPE).stdout == b""

    def test_text_is_decoded_and_its_newlines_are_one(self) -> None:
        assert run(["printf", r"a\r\nb\rc"], stdout=PIPE, universal_newlines=True).stdout == "a\nb\nc"
        assert run(["printf", r"\377"], stdout=PIPE, encoding="ascii", errors="replace").stdout == "\ufffd"

    def test_a_file_can_be_a_stream(self, tmp_path: Path) -> None:
        with open(tmp_path / "out", "wb") as file:
            run(["echo", "hello"], stdout=file)
        with open(tmp_path / "out", "rb") as file:
            assert run(["cat"], stdin=file, stdout=PIPE).stdout == b"hello\n"

    def test_ten_megabytes_each_way_do_not_block(self) -> None:
        data = os.urandom(1 << 20) * 10
        done = run(["sh", "-c", "tee /dev/stderr"], input=data, capture_output=True, timeout=30)
        assert done.stdout == data
        assert done.stderr == data

    def test_a_program_need_not_read_its_input(self) -> None:
        assert run(["true"], input=b"x" * 1_000_000).returncode == 0

    def test_a_flood_is_stopped_where_a_limit_is_set(self) -> None:
        with pytest.raises(OutputLimitExceeded, match="more than 100000 bytes") as caught:
            run(["yes"], stdout=PIPE, output_limit=100_000)
        assert caught.value.output is not None
        assert 100_000 < len(caught.value.output) <= 100_000 + 65536
        assert run(["echo"], stdout=PIPE, output_limit=1).stdout == b"\n"

    def test_pipes_are_files_of_the_popen_object(self) -> None:
        with Popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
            assert process.stdin and process.stdout
            process.stdin.write("line\n")
            assert process.stdout.readline() == "line\n"
        assert process.returncode == 0

    def test_a_caller_without_standard_input_is_no_problem(self, in_child: Any) -> None:
        def without() -> str:
            os.close(0)
            return str(run(["cat"], stdout=PIPE, text=True, timeout=10).stdout)

        assert in_child(without) == ""


class TestTheEnd:
    def test_check_raises_what_subprocess_raises(self) -> None:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            run(["sh", "-c", "echo why; exit 4"], check=True, stdout=PIPE)
        assert (caught.value.returncode, caught.value.output) == (4, b"why\n")
        run(["true"], check=True)

    @pytest.mark.parametrize("patience", [0.3, 0])
    def test_a_timeout_ends_everything_in_the_container(self, patience: float) -> None:
        started = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            run(["sh", "-c", "sleep 60 & echo begun; sleep 60"], stdout=PIPE, timeout=patience)
        assert time.monotonic() - started < 5
        assert caught.value.cmd == ["sh", "-c", "sleep 60 & echo begun; sleep 60"]
        assert caught.value.timeout == patience
        if patience:
            assert caught.value.output == b"begun\n"

    def test_a_missing_program_is_a_file_not_found_error(self) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            run(["no-such-program"])
        assert isinstance(caught.value, ProgramNotFound)

    def test_a_program_without_permission_is_a_permission_error(self) -> None:
        with pytest.raises(PermissionError) as caught:
            run(["/etc/passwd"])
        assert isinstance(caught.value, ProgramNotExecutable)

    def test_a_missing_working_directory_is_named(self) -> None:
        with pytest.raises(SetupError, match="'/no/where'"):
            run(["true"], cwd="/no/where")

    def test_what_a_program_leaves_running_ends_with_it(self) -> None:
        started = time.monotonic()
        assert run(["sh", "-c", "sleep 60 & echo $!"], stdout=PIPE, timeout=10).stdout
        assert time.monotonic() - started < 5

    def test_an_interrupt_of_the_caller_ends_it(self) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for wait in (lambda: run(["sleep", "60"]), lambda: run(["sleep", "60"], stdout=PIPE), self._wait_in_with,
                         Popen(["sleep", "60"]).wait, Popen(["sleep", "60"]).communicate):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                started = time.monotonic()
                with pytest.raises(KeyboardInterrupt):
                    wait()
                assert time.monotonic() - started < 5
        finally:
            signal.signal(signal.SIGALRM, before)

    @staticmethod
    def _wait_in_with() -> None:
        with Popen(["sleep", "60"], stdout=PIPE) as process:
            assert process.stdout
            process.stdout.read()


class TestPopen:
    def test_it_looks_like_subprocess_s(self) -> None:
        with Popen(["sh", "-c", "read line; exit 5"], stdin=PIPE) as process:
            assert (process.args, process.returncode, process.poll()) == (["sh", "-c", "read line; exit 5"], None, None)
            assert os.path.exists(f"/proc/{process.pid}")
            assert (process.stdout, process.stderr) == (None, None)
            assert process.communicate(b"go\n") == (None, None)
        assert process.returncode == process.poll() == process.wait() == 5
        assert repr(process) == "<Popen: returncode: 5 args: ['sh', '-c', 'read line; exit 5']>"

    def test_waiting_takes_no_longer_than_told(self) -> None:
        with Popen(["sleep", "60"]) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0)
            process.kill()
        assert process.returncode == -signal.SIGKILL

    def test_communicate_goes_on_after_a_timeout(self) -> None:
        with Popen(["sh", "-c", "echo one; read x; echo two"], stdin=PIPE, stdout=PIPE, text=True) as process:
            assert process.stdin
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                process.communicate("", timeout=0)
            process.communicate()
        assert process.returncode == 0
        assert caught.value.cmd == process.args

    def test_a_signal_without_a_handler_ends_it_as_it_would_any_process(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN):
            with Popen(["sleep", "60"]) as process:
                process.send_signal(number)
            assert process.returncode == -number

    def test_a_signal_that_is_handled_is_the_program_s_affair(self) -> None:
        script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
        with Popen(["sh", "-c", script], stdout=PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.terminate()
            assert process.stdout.read() == "caught\n"
        assert process.returncode == 7

    def test_a_signal_that_is_ignored_changes_nothing(self) -> None:
        with Popen(["sh", "-c", "trap '' TERM; echo ready; read x"], stdin=PIPE, stdout=PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            process.terminate()
            process.send_signal(signal.SIGWINCH)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert process.returncode == 1  # read found the end of its input

    def test_a_signal_that_the_program_fetches_itself_is_left_to_it(self) -> None:
        code = ("import os, signal, time; signal.pthread_sigmask(0, [15]); os.write(1, b'ready'); {}"
                "os._exit(signal.sigwait([15]))")
        for pause in ("", "time.sleep(0.3); "):  # in the call already, or not yet
            with Popen(["/usr/bin/python3", "-I", "-S", "-c", code.format(pause)], stdout=PIPE, bufsize=0) as process:
                assert process.stdout
                assert process.stdout.read(5) == b"ready"
                if not pause:
                    time.sleep(0.1)
                process.terminate()
            assert process.returncode == 15

    def test_a_signal_held_back_for_a_moment_is_not_lost(self) -> None:
        code = ("import os, signal, time; signal.pthread_sigmask(0, [15]); os.write(1, b'ready'); time.sleep(0.02); "
                "signal.pthread_sigmask(1, [15]); time.sleep(60)")
        with Popen(["/usr/bin/python3", "-I", "-S", "-c", code], stdout=PIPE, bufsize=0) as process:
            assert process.stdout
            assert process.stdout.read(5) == b"ready"
            process.terminate()
        assert process.returncode == -15

    def test_a_signal_after_the_end_is_nothing(self) -> None:
        process = Popen(["true"])
        process.wait()
        process.terminate()
        process.kill()
        assert process.returncode == 0

    def test_an_event_loop_can_wait_for_it(self) -> None:
        async def wait() -> int:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            process = Popen(["sh", "-c", "sleep 0.1; exit 6"])
            loop.add_reader(process.fileno(), ended.set)
            assert process.poll() is None
            await asyncio.wait_for(ended.wait(), 10)
            loop.remove_reader(process.fileno())
            return process.wait(0)

        assert asyncio.run(wait()) == 6

    def test_a_forgotten_one_is_reaped_later(self) -> None:
        with pytest.warns(ResourceWarning, match="still runs"):
            Popen(["sleep", "0.1"])
            gc.collect()
        time.sleep(0.3)
        run(["true"])

    def test_many_threads_may_run_at_once(self) -> None:
        results = []
        threads = [threading.Thread(target=lambda at=at: results.append(shell(f"echo {at}"))) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == sorted(f"{at}\n" for at in range(8))


@pytest.mark.parametrize(("options", "error", "problem"), [
    ({"preexec_fn": print}, TypeError, "preexec_fn"),
    ({"shell": True}, TypeError, "shell"),
    ({"network": "bridge"}, ConfigInvalid, "network: expected one of 'none', 'host', .*, got 'bridge'"),
    ({"mounts": ["/tmp"]}, ConfigInvalid, r"mounts\[0\]: expected SRC:DST"),
    ({"mounts": [("/tmp", "relative")]}, ConfigInvalid, r"mounts\[0\]: the destination 'relative' is not absolute"),
    ({"mounts": [7]}, ConfigInvalid, r"mounts\[0\]"),
    ({"capabilities": ["CAP_FLY"]}, ValueError, "CAP_FLY"),
    ({"rootfs": "/no/such/root"}, ConfigInvalid, "rootfs"),
    ({"ephemeral": False}, ConfigInvalid, "ephemeral"),
    ({"hostname": "x\0y"}, ValueError, "hostname"),
    ({"env": {"A=B": "c", "": "x"}}, ValueError, "env"),
    ({"stdin": PIPE, "input": b"x"}, ValueError, "stdin and input"),
    ({"stdout": PIPE, "capture_output": True}, ValueError, "capture_output"),
    ({"stdout": 12345}, ValueError, "stdout: 12345 is not an open descriptor"),
    ({"pass_fds": [1]}, ValueError, "pass_fds"),
    ({"pass_fds": [12345]}, ValueError, "12345"),
    ({"bufsize": "4"}, TypeError, "bufsize"),
    ({"encoding": "no-such", "stdout": PIPE}, LookupError, "no-such"),
    ({"text": True, "universal_newlines": False}, subprocess.SubprocessError, "text"),
    ({"user": "nobody-at-all"}, SetupError, "nobody-at-all"),
])
def test_a_wrong_argument_is_one_clear_error(options: dict[str, Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        run(["true"], **options)


@pytest.mark.parametrize("args", [[], "", None, [1]])
def test_a_program_must_be_named(args: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        run(args)


def test_one_word_is_a_program_without_arguments() -> None:
    assert run("pwd", cwd="/", stdout=PIPE).stdout == b"/\n"
    assert run(Path("/bin/pwd"), cwd="/", stdout=PIPE).stdout == b"/\n"


def test_the_names_are_those_of_the_package() -> None:
    assert nscontainer.CalledProcessError is subprocess.CalledProcessError
    assert nscontainer.TimeoutExpired is subprocess.TimeoutExpired
    assert nscontainer.CompletedProcess is subprocess.CompletedProcess
    assert (nscontainer.PIPE, nscontainer.STDOUT, nscontainer.DEVNULL) == (
        subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)


@pytest.mark.needs("userns")
def test_system_calls_are_filtered_unless_told_otherwise() -> None:
    look = ["grep", "^Seccomp:", "/proc/self/status"]
    assert nscontainer.run(look, capture_output=True, text=True).stdout.split() == ["Seccomp:", "2"]
    assert nscontainer.run(look, capture_output=True, text=True, seccomp="unconfined").stdout.split()[1] in ("0", "2")
    with pytest.raises(ConfigInvalid, match="^seccomp: expected a profile or one of 'default', 'unconfined'"):
        nscontainer.run(look, seccomp="strict")
