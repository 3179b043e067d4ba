"""Whole containers: what libcontainer's integration tests ask of a runtime, asked of ours."""
from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, MOUNTS, finish, output_of, run_in, standard, with_user_namespace
from nscontainer import (
    PIPE,
    CommandHook,
    ContainerError,
    ContainerNotExists,
    Factory,
    FunctionHook,
    Process,
    ProgramNotFound,
    SetupError,
    Status,
)
from nscontainer.config import Command, HookState
from nscontainer.sys.mount import MS

pytestmark = pytest.mark.needs("root", "busybox")


def _link(kind: str, pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def _sharing(kind: str, *without: str) -> list[dict[str, str]]:
    return [{"type": other, "path": ""} for other in ("NEWNS", "NEWUTS", "NEWIPC", "NEWPID", "NEWNET")
            if other not in without]


def test_the_program_is_process_one_and_sees_only_its_own(factory: Factory, busybox_template: Path) -> None:
    lines = output_of(factory, standard(busybox_template), "ps", "-o", "pid,user,comm").splitlines()
    assert [line.split() for line in lines[1:]] == [["1", "root", "ps"]]


def test_the_same_in_a_user_namespace(factory: Factory, busybox_template: Path) -> None:
    config = with_user_namespace(busybox_template, 0, 0, 1000)
    lines = output_of(factory, config, "ps", "-o", "pid,user,comm").splitlines()
    assert [line.split() for line in lines[1:]] == [["1", "root", "ps"]]


def test_root_of_a_user_namespace_is_another_on_the_host(factory: Factory, busybox_template: Path,
                                                         container_id: Any) -> None:
    container = factory.create(container_id(), with_user_namespace(busybox_template, 100000, 200000, 65536))
    with container:
        process = Process(["sh", "-c", "id -u; id -g; cat"], env=ENVIRONMENT, stdin=PIPE, stdout=PIPE)
        container.start(process)
        assert process.stdout.readline() + process.stdout.readline() == b"0\n0\n"
        status = os.stat(f"/proc/{process.pid}")
        assert (status.st_uid, status.st_gid) == (100000, 200000)
        process.stdin.close()
        assert finish(process)[1].returncode == 0


def test_an_ipc_namespace_of_its_own(factory: Factory, busybox_template: Path) -> None:
    assert output_of(factory, standard(busybox_template), "readlink", "/proc/self/ns/ipc").strip() != _link("ipc")


def test_a_namespace_that_is_not_listed_is_shared(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, namespaces=_sharing("ipc", "NEWIPC"))
    assert output_of(factory, config, "readlink", "/proc/self/ns/ipc").strip() == _link("ipc")


def test_the_host_s_pid_namespace_is_shared_when_none_is_listed(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, namespaces=_sharing("pid", "NEWPID"))
    assert output_of(factory, config, "readlink", "/proc/self/ns/pid").strip() == _link("pid")


@pytest.mark.parametrize("kind, file", [("NEWIPC", "ipc"), ("NEWUTS", "uts"), ("NEWNET", "net"), ("NEWPID", "pid")])
def test_a_namespace_is_joined_by_its_path(factory: Factory, busybox_template: Path, container_id: Any, kind: str,
                                           file: str) -> None:
    with factory.create(container_id(), standard(busybox_template)) as first:
        sleeper = Process(["sleep", "100"], env=ENVIRONMENT)
        first.start(sleeper)
        theirs = _link(file, sleeper.pid)
        config = standard(busybox_template, hostname="" if kind == "NEWUTS" else "integration",
                          namespaces=[*_sharing(file, kind), {"type": kind, "path": f"/proc/{sleeper.pid}/ns/{file}"}])
        assert output_of(factory, config, "readlink", f"/proc/self/ns/{file}").strip() == theirs
        assert theirs != _link(file)


def test_a_user_namespace_is_joined_by_its_path(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    with factory.create(container_id(), with_user_namespace(busybox_template, 100000, 100000, 65536)) as first:
        sleeper = Process(["sleep", "100"], env=ENVIRONMENT)
        first.start(sleeper)
        kinds = {"NEWUSER": "user", "NEWNET": "net", "NEWIPC": "ipc"}
        config = standard(busybox_template, namespaces=[
            *[{"type": other, "path": ""} for other in ("NEWNS", "NEWUTS", "NEWPID")],
            *[{"type": kind, "path": f"/proc/{sleeper.pid}/ns/{file}"} for kind, file in kinds.items()]])
        script = "id -u; for n in user net ipc; do readlink /proc/self/ns/$n; done"
        seen = output_of(factory, config, "sh", "-c", script)
        assert seen.split() == ["0", *[_link(file, sleeper.pid) for file in kinds.values()]]


def test_a_new_cgroup_namespace(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, namespaces=[*_sharing(""), {"type": "NEWCGROUP", "path": ""}])
    assert output_of(factory, config, "readlink", "/proc/self/ns/cgroup").strip() != _link("cgroup")


@pytest.mark.needs("time_namespace")
def test_a_new_time_namespace_has_clocks_of_its_own(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, namespaces=[*_sharing(""), {"type": "NEWTIME", "path": ""}],
                      time_offsets={"boottime": {"secs": 1_000_000, "nanosecs": 0}})
    inside = output_of(factory, config, "cat", "/proc/uptime")
    ahead = float(inside.split()[0]) - float(Path("/proc/uptime").read_text().split()[0])
    assert 999_990 < ahead < 1_000_010


def test_limits_are_set(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, rlimits=[{"type": 7, "hard": 1025, "soft": 1025}])
    assert output_of(factory, config, "sh", "-c", "ulimit -n; ulimit -Hn").split() == ["1025", "1025"]


def test_a_further_start_enters_the_container(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template, rlimits=[{"type": 7, "hard": 1025, "soft": 1025}],
                                                 oom_score_adj=200)) as container:
        first = Process(["sleep", "100"], env=ENVIRONMENT)
        container.start(first)
        script = ("readlink /proc/self/ns/pid; ps | wc -l; ulimit -n; cat /proc/self/oom_score_adj; "
                  "hostname; cat")
        second = Process(["sh", "-c", script], env=ENVIRONMENT, stdin=PIPE, stdout=PIPE)
        container.start(second)
        lines = [second.stdout.readline().decode().strip() for _ in range(5)]
        assert lines == [_link("pid", first.pid), "5", "1025", "200", "integration"]
        assert {first.pid, second.pid} <= set(container.processes())
        second.stdin.close()
        assert finish(second)[1].returncode == 0
        assert container.status() is Status.RUNNING


def test_a_further_start_enters_a_container_with_a_user_namespace(factory: Factory, busybox_template: Path,
                                                                  container_id: Any) -> None:
    with factory.create(container_id(), with_user_namespace(busybox_template, 100000, 100000, 65536)) as container:
        first = Process(["sleep", "100"], env=ENVIRONMENT)
        container.start(first)
        text, ended = run_in(container, "sh", "-c", "id -u; readlink /proc/self/ns/user; grep CapEff /proc/self/status")
        assert ended.returncode == 0
        assert text.split()[:2] == ["0", _link("user", first.pid)]


def test_home_is_added_and_the_last_of_two_values_wins(factory: Factory, busybox_template: Path,
                                                       container_id: Any) -> None:
    text = output_of(factory, standard(busybox_template), "env", env=["PATH=/bin", "FOO=1", "FOO=BAR"])
    assert sorted(text.split()) == ["FOO=BAR", "HOME=/root", "PATH=/bin"]


def test_a_process_may_have_capabilities_of_its_own(factory: Factory, busybox_template: Path,
                                                    container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        script = "grep Cap /proc/self/status"
        ours, _ = run_in(container, "sh", "-c", script)
        theirs, _ = run_in(container, "sh", "-c", script, capabilities=["CAP_NET_ADMIN"])
        sets = dict(line.split(":\t") for line in ours.splitlines())
        assert [int(sets[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")] == [0xA80425FB] * 3
        assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0
        sets = dict(line.split(":\t") for line in theirs.splitlines())
        assert int(sets["CapEff"], 16) == 1 << 12
        assert int(sets["CapInh"], 16) == 0


def test_additional_groups(factory: Factory, busybox_template: Path) -> None:
    text = output_of(factory, standard(busybox_template, additional_groups=["staff", "1234"]), "id", "-G")
    assert set(text.split()) == {"0", "50", "1234"}


@pytest.mark.parametrize("user, seen", [("", "0 0"), ("user", "1000 1000"), ("1000", "1000 1000"),
                                        ("user:staff", "1000 50"), ("1000:7", "1000 7"), ("4711", "4711 0")])
def test_the_user_is_looked_up_in_the_container(factory: Factory, busybox_template: Path, user: str, seen: str) -> None:
    text = output_of(factory, standard(busybox_template), "sh", "-c", "echo $(id -u) $(id -g)", user=user)
    assert text.strip() == seen


def test_a_user_without_groups_gets_none_of_the_caller_s(factory: Factory, busybox_template: Path) -> None:
    assert output_of(factory, standard(busybox_template), "id", "-G", user="4711").split() == ["0"]


def test_an_ordinary_user_may_write_to_its_own_streams(factory: Factory, busybox_template: Path) -> None:
    text = output_of(factory, standard(busybox_template), "sh", "-c", "echo seen > /dev/stdout", user="user")
    assert text == "seen\n"


def test_state_names_the_namespaces(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    id = container_id()
    with factory.create(id, standard(busybox_template, namespaces=_sharing("", "NEWIPC"))) as container:
        process = Process(["sleep", "100"], env=ENVIRONMENT)
        container.start(process)
        state = container.state()
        assert (state.id, state.init_process_pid) == (id, process.pid)
        assert os.readlink(state.namespace_paths["NEWIPC"]) == _link("ipc")
        assert os.readlink(state.namespace_paths["NEWPID"]) == _link("pid", process.pid) != _link("pid")
        assert len(state.external_descriptors) == 3
        assert state.config == container.config()


def test_extra_files_become_three_and_four_and_nothing_else_is_passed(factory: Factory, busybox_template: Path) -> None:
    leaked = os.open("/", os.O_RDONLY)  # inheritable, as a C library of the caller might leave one
    os.set_inheritable(leaked, True)
    read, write = os.pipe()
    other_read, other_write = os.pipe()
    file = os.fdopen(other_write, "wb")
    try:
        text = output_of(factory, standard(busybox_template), "sh", "-c",
                         "cd /proc/self/fd; echo *; echo one >&3; echo two >&4", extra_files=[write, file])
        assert set(text.split()) <= {"0", "1", "2", "3", "4", "5"}  # 5: the shell's own, while it lists
        assert os.read(read, 10) == b"one\n" and os.read(other_read, 10) == b"two\n"
    finally:
        file.close()
        for fd in (leaked, read, write, other_read):
            os.close(fd)


def test_sixty_extra_files_arrive_in_order(factory: Factory, busybox_template: Path) -> None:
    files = [os.memfd_create(str(n)) for n in range(60)]
    for number, fd in enumerate(files):
        os.pwrite(fd, f"{number} ".encode(), 0)
    try:
        script = "i=3; while [ $i -lt 63 ]; do cat /proc/self/fd/$i; i=$((i+1)); done"
        text = output_of(factory, standard(busybox_template), "sh", "-c", script, extra_files=files)
        assert text.split() == [str(n) for n in range(60)]
    finally:
        for fd in files:
            os.close(fd)


def test_mount_commands_run_before_and_after(factory: Factory, busybox_rootfs: Path, tmp_path: Path) -> None:
    busybox = "/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox"
    (tmp_path / "hello").write_text("hello")
    mount = {"source": str(tmp_path), "destination": "/mnt", "device": "bind", "flags": int(MS.BIND),
             "premount_cmds": [{"path": busybox, "args": ["touch", str(tmp_path / "before")]}],
             "postmount_cmds": [{"path": busybox, "args": ["touch", str(tmp_path / "after")], "dir": "/"}]}
    text = output_of(factory, standard(busybox_rootfs, mounts=[*MOUNTS, mount]), "ls", "/mnt")
    assert text.split() == ["after", "before", "hello"]


def test_kernel_parameters_are_set(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, sysctl={"kernel.shmmni": "8192", "net.ipv4.ip_forward": "1"})
    before = Path("/proc/sys/kernel/shmmni").read_text()
    text = output_of(factory, config, "cat", "/proc/sys/kernel/shmmni", "/proc/sys/net/ipv4/ip_forward")
    assert text.split() == ["8192", "1"]
    assert Path("/proc/sys/kernel/shmmni").read_text() == before


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize("flags, word", [(MS.RDONLY, "ro"), (MS(0), "rw")])
def test_cgroups_are_seen(factory: Factory, busybox_template: Path, flags: MS, word: str) -> None:
    mount = {"source": "cgroup", "destination": "/sys/fs/cgroup", "device": "cgroup",
             "flags": int(flags | MS.NOSUID | MS.NODEV | MS.NOEXEC)}
    text = output_of(factory, standard(busybox_template, mounts=[*MOUNTS, mount]), "cat", "/proc/self/mountinfo")
    seen = [line.split() for line in text.splitlines() if " - cgroup " in line]
    assert seen
    for fields in seen:
        assert {word, "nosuid", "nodev", "noexec"} <= set(fields[5].split(","))


def test_the_out_of_memory_score(factory: Factory, busybox_template: Path) -> None:
    for config in (standard(busybox_template, oom_score_adj=200),
                   with_user_namespace(busybox_template, 100000, 100000, 65536, oom_score_adj=200)):
        assert output_of(factory, config, "cat", "/proc/self/oom_score_adj").strip() == "200"


def test_hooks_run_in_order_at_their_moments(factory: Factory, busybox_rootfs: Path, container_id: Any) -> None:
    order: list[str] = []

    def note(kind: str) -> Callable[[HookState], None]:
        return lambda state: order.append(f"{kind} {state.pid > 0}")

    config = standard(busybox_rootfs)
    for kind in ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop"):
        setattr(config.hooks, kind, (FunctionHook(note(kind)),))
    make = FunctionHook(lambda state: Path(state.root, "made").write_text(state.id))
    config.hooks.prestart = (make, *config.hooks.prestart)
    config.hooks.poststop = (FunctionHook(lambda state: Path(state.root, "made").unlink()), *config.hooks.poststop)
    id = container_id()
    container = factory.create(id, config)
    text, ended = run_in(container, "cat", "/made")
    assert (text, ended.returncode) == (id, 0)
    container.destroy()
    assert not (busybox_rootfs / "made").exists()
    assert order == ["prestart True", "create_runtime True", "create_container True", "start_container True",
                     "poststart True", "poststop False"]


def test_a_hook_of_the_container_may_be_a_command(factory: Factory, busybox_rootfs: Path) -> None:
    config = standard(busybox_rootfs)
    command = Command(path="/bin/sh", args=("sh", "-c", "/bin/cat > /tmp/state"))
    config.hooks.start_container = (CommandHook(command=command),)
    text = output_of(factory, config, "cat", "/tmp/state")
    assert '"pid":1' in text.replace(" ", "")


@pytest.mark.parametrize("kind", ["prestart", "create_runtime", "create_container", "start_container", "poststart"])
def test_a_hook_that_fails_ends_the_container(factory: Factory, busybox_template: Path, container_id: Any, kind: str,
                                              leaves_nothing: Any) -> None:
    output_of(factory, standard(busybox_template), "true")
    leaves_nothing.start_over()

    def fail(_: object) -> None:
        raise RuntimeError("no")

    config = standard(busybox_template)
    setattr(config.hooks, kind, (FunctionHook(fail),))
    container = factory.create(container_id(), config)
    process = Process(["sleep", "100"], env=ENVIRONMENT)
    with pytest.raises(RuntimeError, match="no"):
        container.start(process)
    assert container.status() is Status.DESTROYED
    container.destroy()


def test_a_command_hook_that_takes_too_long_is_killed(factory: Factory, busybox_template: Path,
                                                      container_id: Any) -> None:
    config = standard(busybox_template)
    config.hooks.prestart = (CommandHook(command=Command(path="/bin/sleep", args=("sleep", "100")), timeout=0.2),)
    container = factory.create(container_id(), config)
    before = time.monotonic()
    with pytest.raises(ContainerError, match="0.2"):
        container.start(Process(["true"], env=ENVIRONMENT))
    assert time.monotonic() - before < 5
    container.destroy()


@pytest.mark.parametrize("propagation, in_container", [(MS.SLAVE | MS.REC, True), (MS.PRIVATE | MS.REC, False)])
def test_a_mount_of_the_host_appears_inside_as_the_propagation_says(
        in_child: Any, busybox_template: Path, tmp_path: Path, container_id: Any, propagation: MS,
        in_container: bool) -> None:
    def mount_later() -> list[str]:
        from nscontainer.sys.clone import CLONE, unshare
        from nscontainer.sys.mount import mount, umount2

        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.PRIVATE | MS.REC)
        shared = tmp_path / "shared"
        (shared / "later").mkdir(parents=True)
        mount(str(shared), str(shared), flags=MS.BIND)
        mount(None, str(shared), flags=MS.SHARED)
        bind = {"source": str(shared), "destination": "/mnt", "device": "bind", "flags": int(MS.BIND | MS.REC)}
        with Factory(tmp_path / "state") as factory:
            container = factory.create(container_id(), standard(busybox_template, rootPropagation=int(propagation),
                                                                mounts=[*MOUNTS, bind]))
            process = Process(["sh", "-c", "echo ready; read go; ls /mnt/later"], env=ENVIRONMENT, stdin=PIPE,
                              stdout=PIPE)
            container.start(process)
            process.stdout.readline()
            mount("later", str(shared / "later"), "tmpfs")
            (shared / "later" / "seen").touch()
            process.stdin.close()
            text, _ = finish(process)
            container.destroy()
            umount2(str(shared / "later"))
        return text.split()

    assert in_child(mount_later) == (["seen"] if in_container else [])


def test_an_unknown_program_is_said_42_times(factory: Factory, busybox_template: Path, container_id: Any,
                                             leaves_nothing: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        leaves_nothing.start_over()
        for _ in range(42):
            with pytest.raises(ProgramNotFound, match="executable file not found in "):
                container.start(Process(["unknown"], env=ENVIRONMENT))
        leaves_nothing.check()


def test_a_console_is_the_terminal_of_the_program(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    script = "tty; stty size; test -t 0 && ls -l /dev/console && echo on /dev/tty > /dev/tty"
    process = Process(["sh", "-c", script], env=ENVIRONMENT)
    console = process.new_console()
    console.resize(40, 100)
    container.start(process)
    text = b""
    while part := console.read(1000):
        text += part
    assert process.wait(5).returncode == 0, text
    assert b"40 100" in text and b"/dev/console" in text and b"on /dev/tty" in text
    console.close()
    container.destroy()


def test_a_console_in_a_running_container(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        process = Process(["sh", "-c", "test -t 0 && test -t 1 && ps -o pid,tty,comm"], env=ENVIRONMENT)
        with process.new_console() as console:
            container.start(process)
            text = b""
            while part := console.read(1000):
                text += part
        assert b"sleep" in text and process.wait(5).returncode == 0


def test_a_signal_reaches_the_first_process(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        process = Process(["sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done"],
                          env=ENVIRONMENT, stdout=PIPE)
        container.start(process)
        process.stdout.readline()
        container.signal(signal.SIGTERM)
        assert finish(process) == ("caught\n", process.wait())
        assert process.wait().returncode == 3


def test_death_by_a_signal_is_told_apart(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        process = Process(["sleep", "100"], env=ENVIRONMENT)
        container.start(process)
        process.signal(signal.SIGKILL)
        ended = process.wait(10)
        assert (ended.returncode, ended.signal, ended.exit_status) == (-9, 9, 137)


def test_a_container_can_be_started_again_after_its_end(factory: Factory, busybox_template: Path,
                                                        container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    assert [run_in(container, "echo", str(n))[0] for n in range(3)] == ["0\n", "1\n", "2\n"]
    container.destroy()
    with pytest.raises(ContainerNotExists, match="destroyed"):
        container.start(Process(["true"]))


def test_the_root_may_be_read_only(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, readonlyfs=True)
    text = output_of(factory, config, "sh", "-c", "touch /x 2>&1 || touch /dev/shm/y && echo fine")
    assert "Read-only file system" in text and "fine" in text
    assert not (busybox_template / "x").exists()


def test_masked_and_read_only_paths(factory: Factory, busybox_rootfs: Path) -> None:
    (busybox_rootfs / "secret").mkdir()
    (busybox_rootfs / "secret/file").write_text("hidden")
    config = standard(busybox_rootfs, mask_paths=["/secret", "/etc/hostname", "/nowhere"],
                      readonly_paths=["/tmp", "/proc/sys", "/none"])
    script = ("ls /secret; cat /etc/hostname; touch /tmp/x; touch /secret/y; echo 1 > /proc/sys/vm/swappiness; "
              "ls -l /etc/hostname")
    container_text = output_of(factory, config, "sh", "-c", script + " 2>&1; true")
    assert "hidden" not in container_text and "busybox\n" not in container_text
    assert container_text.count("Read-only file system") == 3


def test_without_pivot_root(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, no_pivot_root=True)
    text = output_of(factory, config, "sh", "-c", "ls -d /proc/1 /bin; cd ..; pwd; ls /")
    assert "/proc/1" in text and "usr" in text


def test_names_of_the_host(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, domainname="domain")
    text = output_of(factory, config, "sh", "-c", "hostname; cat /proc/sys/kernel/domainname")
    assert text.split() == ["integration", "domain"]
    assert os.uname().nodename != "integration"


def test_the_mask_and_the_working_directory(factory: Factory, busybox_template: Path) -> None:
    look = ("sh", "-c", "umask; pwd")
    text = output_of(factory, standard(busybox_template), *look, cwd="/home/user")
    assert text.split() == ["0022", "/home/user"]
    assert output_of(factory, standard(busybox_template, umask=0o077), *look).split() == ["0077", "/"]


def test_no_new_privileges(factory: Factory, busybox_template: Path) -> None:
    for wanted in (False, True):
        config = standard(busybox_template, no_new_privileges=wanted)
        text = output_of(factory, config, "grep", "NoNewPrivs", "/proc/self/status")
        assert text.split() == ["NoNewPrivs:", str(int(wanted))]


def test_devices_are_made(factory: Factory, busybox_template: Path) -> None:
    text = output_of(factory, standard(busybox_template), "sh", "-c",
                     "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; "
                     "ls -l /dev | grep -e '->'; echo x > /dev/null; head -c 3 /dev/zero | wc -c")
    assert "/dev/null 1:3 666" in text and "/dev/tty 5:0 666" in text
    assert "ptmx -> pts/ptmx" in text and "fd -> /proc/self/fd" in text and text.strip().endswith("3")


def test_devices_are_bound_in_a_user_namespace(factory: Factory, busybox_template: Path) -> None:
    text = output_of(factory, with_user_namespace(busybox_template, 100000, 100000, 65536), "sh", "-c",
                     "stat -c '%t:%T' /dev/null /dev/tty; echo x > /dev/null; head -c 3 /dev/zero | wc -c")
    assert text.split() == ["1:3", "5:0", "3"]


def test_an_id_mapped_mount_shows_other_owners(factory: Factory, busybox_template: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 0, 0)
    maps = [{"container_id": 0, "host_id": 4000, "size": 1000}]
    mount = {"source": str(tmp_path), "destination": "/mnt", "device": "bind", "flags": int(MS.BIND),
             "uid_mappings": maps, "gid_mappings": maps}
    config = standard(busybox_template, mounts=[*MOUNTS, mount])
    assert output_of(factory, config, "stat", "-c", "%u:%g", "/mnt/file").split() == ["4000:4000"]


def test_an_ephemeral_root_forgets_what_was_written(factory: Factory, busybox_rootfs: Path) -> None:
    config = standard(busybox_rootfs, ephemeral=True)
    text = output_of(factory, config, "sh", "-c", "echo new > /etc/hostname; rm -r /home; cat /etc/hostname; ls /")
    assert text.split()[0] == "new"
    assert (busybox_rootfs / "etc/hostname").read_text() == "busybox\n" and (busybox_rootfs / "home/user").is_dir()


@pytest.mark.needs("debian")
def test_a_debian_root(factory: Factory, debian_rootfs: Path) -> None:
    config = standard(debian_rootfs, ephemeral=True)
    script = "dpkg --version | head -1; cat /etc/debian_version; id; touch /new; ls /new"
    text = output_of(factory, config, "bash", "-c", script)
    assert "Debian" in text and "uid=0(root)" in text and "/new" in text
    assert not (debian_rootfs / "new").exists()


def test_a_bind_mount_and_its_flags(factory: Factory, busybox_template: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    mounts = [{"source": str(tmp_path), "destination": "/mnt/deep/er", "device": "bind",
               "flags": int(MS.BIND | MS.RDONLY | MS.NOSUID)},
              {"source": str(tmp_path / "file"), "destination": "/etc/hosts", "device": "bind", "flags": int(MS.BIND)}]
    text = output_of(factory, standard(busybox_template, ephemeral=True, mounts=[*MOUNTS, *mounts]), "sh", "-c",
                     "cat /mnt/deep/er/file /etc/hosts; touch /mnt/deep/er/x 2>&1; grep /mnt/deep /proc/self/mountinfo")
    assert text.startswith("from the host\n" * 2) and "Read-only" in text and "nosuid" in text


def test_pausing(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    id = container_id()
    config = standard(busybox_template, cgroups={"name": id, "parent": ""})
    with factory.create(id, config) as container:
        process = Process(["cat"], env=ENVIRONMENT, stdin=PIPE, stdout=PIPE)
        container.start(process)
        container.pause()
        assert container.status() is Status.PAUSED
        with pytest.raises(ContainerError, match="paused"):
            container.start(Process(["true"]))
        container.resume()
        assert container.status() is Status.RUNNING
        process.stdin.close()
        assert finish(process)[1].returncode == 0


def test_without_a_cgroup_pausing_says_what_is_missing(factory: Factory, busybox_template: Path,
                                                       container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        with pytest.raises(ContainerError, match="has no cgroup.*config.cgroups"):
            container.pause()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_ten_megabytes_through_each_stream(factory: Factory, busybox_template: Path, container_id: Any,
                                           stream: str) -> None:
    import io

    data = os.urandom(10 << 20)
    sink = io.BytesIO()
    container = factory.create(container_id(), standard(busybox_template))
    to_stderr = stream == "stderr"
    process = Process(["sh", "-c", "cat >&2" if to_stderr else "cat"], env=ENVIRONMENT, stdin=data,
                      stdout=None if to_stderr else sink, stderr=sink if to_stderr else None)
    container.start(process)
    assert process.wait(30).returncode == 0
    assert sink.getvalue() == data
    container.destroy()


def test_ten_megabytes_from_a_stream_without_a_descriptor(factory: Factory, busybox_template: Path,
                                                          container_id: Any) -> None:
    import io

    data = os.urandom(10 << 20)
    sink = io.BytesIO()
    container = factory.create(container_id(), standard(busybox_template))
    process = Process(["cat"], env=ENVIRONMENT, stdin=io.BytesIO(data), stdout=sink)
    container.start(process)
    assert process.wait(30).returncode == 0 and sink.getvalue() == data
    container.destroy()


def test_the_first_of_two_failing_steps_is_named(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    with pytest.raises(SetupError) as caught:
        container.start(Process(["true"], env=ENVIRONMENT, user="nobody-here"))
    assert caught.value.step == "become the user" and "nobody-here" in str(caught.value)
    assert any(frame.function == "become_user" for frame in caught.value.frames)
    container.destroy()
    assert stat.S_ISDIR(os.stat(busybox_template).st_mode)


@pytest.mark.needs("root")
def test_a_device_of_the_host_that_is_passed_as_a_stream_keeps_its_owner(
        factory: Factory, busybox_template: Path, container_id: Any, scratch: Path) -> None:
    node = scratch / "device"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    fd = os.open(node, os.O_RDONLY)
    read, write = os.pipe()
    try:
        with factory.create(container_id(), standard(busybox_template)) as container:
            process = Process(["true"], env=ENVIRONMENT, user="1000", stdin=fd, stdout=write)
            container.start(process)
            assert process.wait(20).returncode == 0
        assert os.stat(node).st_uid == 0
        assert os.fstat(read).st_uid == 1000  # a pipe is the program's: it may open it again by /dev/stdout
    finally:
        for one in (fd, read, write):
            os.close(one)
        node.unlink()
