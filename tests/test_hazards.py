"""What a runtime written in Python could do wrong that one in C could not; SECURITY.md has the list.

Each test is named after its hazard. The image is hostile: it ships evil libraries and modules that leave a canary
when anything of ours runs or reads them.
"""
from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import fork
from containers import ENVIRONMENT, MOUNTS, output_of, run_in, standard, with_user_namespace
from nscontainer import (
    CommandHook,
    Config,
    ConfigInvalid,
    ContainerError,
    Factory,
    FunctionHook,
    Process,
    SetupError,
)
from nscontainer.config import Command
from nscontainer.records import dumps
from nscontainer.strictjson import loads
from test_layers import STDLIB

HERE = Path(__file__).resolve().parent
needs_container = pytest.mark.needs("root", "busybox")

_EVIL_LIBRARY = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void canary(void) { close(open("/tmp/canary", O_CREAT | O_WRONLY, 0666)); }
"""


@needs_container
@pytest.mark.needs("gcc")
def test_p1_no_name_is_looked_up_through_libraries_of_the_image(factory: Factory, busybox_rootfs: Path,
                                                                tmp_path: Path) -> None:
    (tmp_path / "evil.c").write_text(_EVIL_LIBRARY)
    library = busybox_rootfs / "lib/x86_64-linux-gnu/libnss_evil.so.2"
    library.parent.mkdir(parents=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "evil.c")], check=True)
    for folder in ("lib64", "usr/lib", "usr/lib/x86_64-linux-gnu", f"lib/{os.uname().machine}-linux-gnu"):
        (busybox_rootfs / folder).mkdir(parents=True, exist_ok=True)
        if not (busybox_rootfs / folder / library.name).exists():
            shutil.copy(library, busybox_rootfs / folder / library.name)
    (busybox_rootfs / "etc/nsswitch.conf").write_text("passwd: evil files\ngroup: evil files\nhosts: evil\n")
    (busybox_rootfs / "etc/ld.so.preload").write_text(f"/lib/x86_64-linux-gnu/{library.name}\n")
    config = standard(busybox_rootfs, additional_groups=["staff"])
    assert output_of(factory, config, "id", "-u", user="user").strip() == "1000"
    assert not (busybox_rootfs / "tmp/canary").exists()


@needs_container
def test_p2_no_module_is_imported_from_the_image(factory: Factory, busybox_rootfs: Path, container_id: Any) -> None:
    evil = "open('/tmp/canary', 'w')\n"
    folders = {Path(path) for path in sys.path if path.startswith("/")} | {Path(os.__file__).parent, HERE.parent}
    folders |= {Path(os.__file__).parent / "encodings"}
    for folder in folders:
        target = busybox_rootfs / str(folder).lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        for name in [*STDLIB, "idna", "latin_1", "nscontainer"]:
            (target / f"{name}.py").write_text(evil)
    # The ways through the code after the root change: a success, an unknown user, a missing program, a bad directory.
    container = factory.create(container_id(), standard(busybox_rootfs))
    assert run_in(container, "true", user="user")[1].returncode == 0
    for fields in ({"args": ["nope"]}, {"args": ["true"], "user": "ghöst"}, {"args": ["true"], "cwd": "/ünbekannt"}):
        with pytest.raises(ContainerError):
            container.start(Process(env=ENVIRONMENT, **fields))
    container.destroy()
    assert not (busybox_rootfs / "tmp/canary").exists()


@pytest.mark.parametrize("variable", [
    "PYTHONPATH", "PYTHONSTARTUP", "PYTHONBREAKPOINT", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONHOME",
    "PYTHONPLATLIBDIR", "PYTHONUSERBASE"])
@needs_container
def test_p3_no_variable_and_no_directory_of_the_caller_reaches_the_zygote(tmp_path: Path, busybox_template: Path,
                                                                          variable: str) -> None:
    for name in ("ctypes", "json", "os", "encodings", "struct", "errno", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\nraise SystemExit('hijacked')\n")
    script = f"""
import os, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import containers, nscontainer.factory
os.environ[{variable!r}] = {str(tmp_path)!r}
os.chdir({str(tmp_path)!r})
sys.path.insert(0, "")
with nscontainer.Factory({str(tmp_path / 'state')!r}) as factory:
    print(containers.output_of(factory, containers.standard({str(busybox_template)!r}), "echo", "fine"), end="")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("fine\n", 0), ran.stderr
    assert not (tmp_path / "canary").exists()


@needs_container
def test_p4_the_interpreter_cannot_be_written_through_proc(factory: Factory, busybox_template: Path,
                                                           container_id: Any) -> None:
    executable = os.path.realpath(sys.executable)
    before = os.stat(executable)
    # Held by a hook, the child stands between its clone and its program: now /proc/PID/exe is the interpreter.
    seen: dict[str, Any] = {}

    def look(state: Any) -> None:
        for pid in (state.pid, factory.zygote.pid):
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
                try:
                    os.close(os.open(f"/proc/{pid}/exe", flags))
                    seen[str(flags)] = "opened"
                except OSError as error:
                    seen.setdefault(str(flags), error.errno)

    config = standard(busybox_template)
    config.hooks.start_container = (FunctionHook(look),)
    container = factory.create(container_id(), config)
    run_in(container, "true")
    container.destroy()
    assert seen and "opened" not in seen.values(), seen
    after = os.stat(executable)
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino)


@needs_container
def test_p6_no_descriptor_of_the_caller_or_of_ours_is_left_open(factory: Factory, busybox_template: Path,
                                                                container_id: Any) -> None:
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        with factory.create(container_id(), standard(busybox_template)) as container:
            container.start(Process(["sleep", "100"], env=ENVIRONMENT))
            look = ("sh", "-c", "ls -l /proc/self/fd")
            for text in (output_of(factory, standard(busybox_template), *look), run_in(container, *look)[0]):
                links = [line.rpartition(" -> ")[2] for line in text.splitlines() if " -> " in line]
                assert len(links) >= 3, text
                assert all(link.startswith(("pipe:", "/dev/null", "/proc/")) for link in links), links
    finally:
        for fd in leaked:
            os.close(fd)


@needs_container
def test_p6_a_working_directory_cannot_be_a_descriptor_of_the_host(factory: Factory, busybox_template: Path,
                                                                   container_id: Any) -> None:
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    host_root = os.stat("/")
    try:
        container = factory.create(container_id(), standard(busybox_template))
        for number in range(64):
            try:
                text, _ = run_in(container, "sh", "-c", "stat -c %d:%i .; pwd", cwd=f"/proc/self/fd/{number}")
                assert text.split()[0] != f"{host_root.st_dev}:{host_root.st_ino}"
            except SetupError:
                pass  # refused: nothing there, or not inside
            with pytest.raises(ContainerError):
                container.start(Process([f"/proc/self/fd/{number}/bin/true"], env=ENVIRONMENT))
        container.destroy()
    finally:
        for fd in leaked:
            os.close(fd)


@needs_container
def test_p8_hooks_of_fork_and_threads_of_the_caller_see_nothing(factory: Factory, busybox_template: Path) -> None:
    events: list[str] = []
    os.register_at_fork(before=lambda: events.append("before"), after_in_parent=lambda: events.append("after"))
    threads = threading.active_count()
    assert output_of(factory, standard(busybox_template), "echo", "x") == "x\n"
    assert (events, threading.active_count()) == ([], threads)


@needs_container
def test_p9_no_thread_of_the_caller_changes_its_namespaces(factory: Factory, busybox_template: Path,
                                                           container_id: Any) -> None:
    stop = threading.Event()
    helpers = [threading.Thread(target=stop.wait) for _ in range(5)]
    for helper in helpers:
        helper.start()

    def namespaces() -> dict[str, str]:
        return {f"{task}/{name}": os.readlink(f"/proc/self/task/{task}/ns/{name}")
                for task in os.listdir("/proc/self/task") for name in os.listdir(f"/proc/self/task/{task}/ns")}

    try:
        before = namespaces()
        with factory.create(container_id(), with_user_namespace(busybox_template)) as container:
            container.start(Process(["sleep", "100"], env=ENVIRONMENT))
            run_in(container, "true")
        assert namespaces() == before
    finally:
        stop.set()


@needs_container
def test_p10_nothing_of_the_caller_runs_twice(tmp_path: Path, busybox_template: Path) -> None:
    script = f"""
import atexit, os, sys, tempfile
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import containers
from nscontainer import Factory, Process, ContainerError
kept = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
class Loud:
    def __del__(self): print("finalized", flush=True)
loud = Loud()
atexit.register(lambda: print("at exit", flush=True))
sys.stdout.write("buffered ")
with Factory({str(tmp_path / 'state')!r}) as factory:
    for args in (["true"], ["nope"]):
        container = factory.create("x", containers.standard({str(busybox_template)!r}))
        try:
            process = Process(args, env=["PATH=/bin"])
            container.start(process)
            process.wait()
        except ContainerError: pass
        container.destroy()
assert os.path.isdir(kept.name)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert [ran.stdout.count(word) for word in ("buffered", "at exit", "finalized")] == [1, 1, 1], ran.stdout


# The zygote's program and, by the inheritance of a clone, its children's: what the collector is and could collect, said
# before the first request and before the first step. Unfrozen there, so that nothing hides from the look.
_COLLECTED = """
import gc, io, os, sys
sys.path.insert(0, sys.argv[1])
from nscontainer import init, zygote

def tell(who):
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    owners = {type(thing).__name__ for thing in gc.get_objects()
              if hasattr(type(thing), "__del__") and type(thing).__module__.startswith("nscontainer")
              or isinstance(thing, io.FileIO) and not thing.closed and thing.closefd}
    gc.freeze()
    file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{who} {gc.isenabled()} {frozen > 1000} {sorted(owners)}\\n".encode())
    os.close(file)

def watched(who, function):
    def told(*arguments, **named):
        tell(who)
        return function(*arguments, **named)
    return told

zygote.poll = watched("zygote", zygote.poll)
init.Child = watched("child", init.Child)
zygote.main()
"""


@needs_container
def test_p11_the_garbage_collector_is_off_and_no_object_owns_a_descriptor(tmp_path: Path,
                                                                          busybox_template: Path) -> None:
    arguments = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-c", _COLLECTED, str(HERE.parent),
                 str(tmp_path / "told")]
    with Factory(tmp_path / "state", init_args=arguments) as factory:
        assert output_of(factory, standard(busybox_template), "echo", "fine") == "fine\n"
    told = (tmp_path / "told").read_text().splitlines()
    assert {line.split()[0] for line in told} == {"zygote", "child"}
    assert {line.partition(" ")[2] for line in told} == {"False True []"}


def test_p13_numbers_are_checked_before_c_cuts_them() -> None:
    from nscontainer.sys.clone import unshare
    from nscontainer.sys.credentials import setresuid
    from nscontainer.sys.pidfd import pidfd_open

    for call in (lambda: unshare(1 << 40), lambda: setresuid(1 << 32, 0, 0), lambda: setresuid(-2, 0, 0),
                 lambda: pidfd_open(1 << 32)):
        with pytest.raises((OverflowError, ValueError)):
            call()
    for value in (1 << 32, -1, 1 << 70):
        with pytest.raises(ConfigInvalid, match=r"uid_mappings\[0\].host_id"):
            Config.from_json({"rootfs": "/", "uid_mappings": [{"container_id": 0, "host_id": value, "size": 1}]})


def test_p14_strings_that_c_would_read_otherwise_are_refused() -> None:
    for field, text in (("rootfs", "/a\0/etc"), ("hostname", "a\0b"), ("hostname", "\udc80")):
        with pytest.raises(ConfigInvalid, match=f"^{field}: "):
            Config.from_json({field: text})


def test_p15_json_of_two_meanings_is_refused() -> None:
    for text in ('{"a": 1, "a": 2}', '{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', "[" * 100000, '{"a": 1} x',
                 '{"a": 01}', "", '{"a": ' + "9" * 5000 + "}", '"\\ud800"'):
        with pytest.raises(ConfigInvalid):
            loads(text)
    with pytest.raises(ConfigInvalid, match="readonlyfs: expected true or false"):
        Config.from_json({"readonlyfs": 1})
    with pytest.raises(ConfigInvalid, match="parent_death_signal"):
        Config.from_json({"parent_death_signal": True})


@needs_container
def test_p17_no_helper_is_found_by_the_path_of_the_container_or_of_the_caller(
        tmp_path: Path, factory: Factory, busybox_template: Path, container_id: Any,
        monkeypatch: pytest.MonkeyPatch) -> None:
    evil, canary = tmp_path / "evil", tmp_path / "canary"
    evil.mkdir()
    for name in ("true", "sh", "newuidmap", "newgidmap", "python3", os.path.basename(sys.executable), "ip", "mount"):
        (evil / name).write_text(f"#!/bin/sh\necho {name} > {canary}\n")
        (evil / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{evil}:/usr/bin:/bin")  # before the zygote starts
    mounts = [{**MOUNTS[0], "premount_cmds": [{"path": "true"}], "postmount_cmds": [{"path": "true"}]}, *MOUNTS[1:]]
    config = with_user_namespace(busybox_template, mounts=mounts)
    config.hooks.prestart = (CommandHook(command=Command(path="/bin/true")),)
    container = factory.create(container_id(), config)
    assert run_in(container, "echo", "fine", env=[f"PATH={evil}:/bin"])[0] == "fine\n"
    container.destroy()
    assert not canary.exists(), canary.read_text()


@needs_container
def test_p18_the_program_starts_with_default_signals(tmp_path: Path, busybox_template: Path) -> None:
    script = f"""
import signal, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import containers
from nscontainer import Factory
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGRTMIN])
with Factory({str(tmp_path / 'state')!r}) as factory:
    config = containers.standard({str(busybox_template)!r})
    print(containers.output_of(factory, config, "grep", "Sig", "/proc/self/status"))
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    sets = dict(line.split(":\t") for line in ran.stdout.splitlines() if line)
    assert [int(sets[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


@needs_container
def test_p19_what_the_caller_had_set_does_not_reach_the_program(tmp_path: Path, busybox_template: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import containers
from nscontainer import Factory
from nscontainer.sys.prctl import set_pdeathsig, set_keepcaps
os.umask(0o077)
os.nice(3)
set_pdeathsig(10)
set_keepcaps(True)
os.environ["SECRET"] = "do not tell"
with Factory({str(tmp_path / 'state')!r}) as factory:
    print(containers.output_of(factory, containers.standard({str(busybox_template)!r}), "sh", "-c",
          "umask; env; cut -d' ' -f 19 /proc/self/stat; cat /proc/self/timerslack_ns"))
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert ran.stdout.split()[0] == "0022" and "SECRET" not in ran.stdout
    assert "50000" in ran.stdout.split()


def test_p20_nothing_is_ever_pickled() -> None:
    for path in (HERE.parent / "nscontainer").rglob("*.py"):
        words = path.read_text()
        assert "import pickle" not in words and "import marshal" not in words and "multiprocessing" not in words, path


@needs_container
def test_p20_the_zygote_takes_no_code_for_a_message(factory: Factory, busybox_template: Path) -> None:
    assert output_of(factory, standard(busybox_template), "echo", "alive") == "alive\n"
    before = factory.zygote.pid
    body = b"cos\nsystem\n(S'touch /tmp/canary'\ntR."
    try:
        os.write(factory.zygote._control, len(body).to_bytes(4, "little") + body)
    except OSError:
        pass
    assert output_of(factory, standard(busybox_template), "echo", "alive") == "alive\n", before
    assert not os.path.exists("/tmp/canary")


@needs_container
def test_p21_an_error_tells_where_and_not_what_the_program_was_told(factory: Factory, busybox_template: Path,
                                                                    container_id: Any) -> None:
    secret = "correct-horse-battery"
    container = factory.create(container_id(), standard(busybox_template))
    env = [*ENVIRONMENT, f"TOKEN={secret}"]
    for fields in ({"args": ["nope", secret]}, {"args": ["/etc/hostname", secret]},
                   {"args": ["true", secret], "user": "nobody-here"}, {"args": ["true", secret], "cwd": "/nowhere"}):
        with pytest.raises(SetupError) as caught:
            container.start(Process(env=env, stdin=secret.encode(), **fields))
        report = io.StringIO()
        caught.value.detail(report)
        assert any(frame.package.endswith(("zygote", "init_steps", "user")) for frame in caught.value.frames)
        assert "Frames:" in report.getvalue() and secret not in report.getvalue() + repr(caught.value)
        assert not any(secret in repr(vars(frame)) for frame in caught.value.frames)
    container.destroy()


@needs_container
@pytest.mark.parametrize("switches", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["C", "ASCII"])
def test_p22_names_arrive_byte_for_byte_in_an_empty_locale(tmp_path: Path, busybox_template: Path,
                                                           switches: dict[str, str]) -> None:
    script = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import containers, os
from nscontainer import Factory
with Factory({str(tmp_path / 'state')!r}) as factory:
    config = containers.standard({str(busybox_template)!r}, hostname="box")
    print(containers.output_of(factory, config, "sh", "-c", 'printf "%s" "$1" "$2" "$NAME" | od -An -v -tx1', "sh",
                               "gr\\u00fc\\u6f22", os.fsdecode(b"\\xff\\xc3\\xbc"),
                               env=["PATH=/bin", "NAME=w\\u00f6rt" + os.fsdecode(b"\\xfe")]))
"""
    environment = {"LC_ALL": "C", **switches}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert bytes.fromhex(ran.stdout) == "grü漢".encode() + b"\xff\xc3\xbc" + "wört".encode() + b"\xfe"


@needs_container
def test_p23_no_bytecode_is_written(tmp_path: Path, busybox_template: Path) -> None:
    shutil.copytree(HERE.parent / "nscontainer", tmp_path / "vendored" / "renamed",
                    ignore=shutil.ignore_patterns("__pycache__"))
    script = f"""
import sys
sys.dont_write_bytecode = True
sys.path[:0] = [{str(tmp_path / 'vendored')!r}]
from renamed import Config, Factory, Process
config = Config.from_json({loads(dumps(standard(busybox_template).to_json()))!r})
with Factory({str(tmp_path / 'state')!r}) as factory:
    container = factory.create("x", config)
    process = Process(["true"], env=["PATH=/bin"])
    container.start(process)
    print(process.wait().returncode)
    container.destroy()
assert not [name for name in sys.modules if name.startswith("nscontainer")]
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout == "0\n", ran.stderr
    assert not list((tmp_path / "vendored").rglob("*.pyc"))


@needs_container
def test_p25_a_process_in_the_making_cannot_be_looked_into(factory: Factory, busybox_template: Path,
                                                           container_id: Any) -> None:
    seen: list[str] = []

    def look(state: Any) -> None:
        status = Path(f"/proc/{state.pid}/status").read_text()
        owner = os.stat(f"/proc/{state.pid}/mem")
        seen.append(f"{owner.st_uid}")
        seen.append("dumpable" if _dumpable(state.pid) else "closed")
        assert "TracerPid:\t0" in status

    def _dumpable(pid: int) -> bool:
        # As the same user on the host, without privileges: /proc/PID/mem of a process that is not dumpable is root's.
        def attempt() -> bool:
            os.setgroups([])
            os.setresgid(100000, 100000, 100000)
            os.setresuid(100000, 100000, 100000)
            try:
                os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
                return True
            except OSError:
                return False

        return bool(fork.run_in_child(attempt))

    config = with_user_namespace(busybox_template, 100000, 100000, 65536)
    config.hooks.start_container = (FunctionHook(look),)
    container = factory.create(container_id(), config)
    run_in(container, "true", user="0")
    container.destroy()
    assert seen == ["0", "closed"]


@needs_container
def test_p25_the_program_finds_no_secret_of_another_container(factory: Factory, busybox_template: Path,
                                                              container_id: Any) -> None:
    secret = "correct-horse-battery"
    output_of(factory, standard(busybox_template), "true", env=[*ENVIRONMENT, f"TOKEN={secret}"])
    zygote = factory.zygote.pid
    found = False
    with open(f"/proc/{zygote}/mem", "rb") as memory:
        for line in Path(f"/proc/{zygote}/maps").read_text().splitlines():
            fields = line.split()
            if "r" not in fields[1] or "[v" in line:
                continue
            begin, end = (int(part, 16) for part in fields[0].split("-"))
            memory.seek(begin)
            try:
                found |= secret.encode() in memory.read(end - begin)
            except OSError:
                continue
    assert not found


@needs_container
def test_p26_no_script_and_no_tracer_gets_into_the_zygote(in_child: Any, tmp_path: Path,
                                                          busybox_template: Path) -> None:
    def owners() -> list[Any]:
        os.setresgid(12345, 12345, 12345)
        with Factory(tmp_path / "state") as factory:
            assert output_of(factory, standard(busybox_template), "echo", "fine") == "fine\n"
            zygote = factory.zygote.pid
            arguments = Path(f"/proc/{zygote}/cmdline").read_bytes().decode().split("\0")
            # proc_pid(5): the files of a process that is not dumpable are root's, whoever it runs as.
            with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ordinary:
                assert ordinary.stdin is not None and ordinary.stdout is not None
                ordinary.stdin.write(b"runs\n")
                ordinary.stdin.flush()
                assert ordinary.stdout.readline() == b"runs\n"  # it is past its execve
                groups = [os.stat(f"/proc/{pid}/mem").st_gid for pid in (zygote, ordinary.pid)]
                ordinary.stdin.close()
        return [arguments, groups]

    arguments, groups = in_child(owners)
    assert groups == [0, 12345]
    assert arguments[arguments.index("disable-remote-debug") - 1] == "-X"
