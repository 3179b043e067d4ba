"""Landlock: words into rights, what a kernel lacks, and what a container's program may still do."""
from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, output_of, run_in, standard, with_user_namespace
from nscontainer import PIPE, Factory, Process, ProgramNotExecutable, run
from nscontainer.config import Landlock, LandlockPaths, LandlockPorts
from nscontainer.errors import ConfigInvalid, SyscallError
from nscontainer.security import landlock
from nscontainer.security.landlock import FS, NET, SCOPES, LandlockNotEnabled, abi, check, enter, known_to, prepare
from nscontainer.sys.landlock import LANDLOCK_ACCESS_FS
from nscontainer.sys.prctl import set_no_new_privs
from nscontainer.validate import LANDLOCK_WORDS
from test_security_procfs import refusing

needs_landlock = pytest.mark.skipif(not abi(), reason="this kernel runs without Landlock")
EVERYTHING = Landlock(handled_fs=("all",), handled_net=("all",), scoped=("all",))


def needs_abi(version: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(abi() < version, reason=f"this kernel has Landlock's ABI {abi()}, not {version}")


# --- words


def test_the_words_that_are_validated_are_those_that_have_a_meaning() -> None:
    assert {"fs": {*FS}, "net": {*NET}, "scoped": {*SCOPES}} == LANDLOCK_WORDS


def test_words_that_stand_for_several_rights_leave_none_out() -> None:
    assert FS["all"] == sum(LANDLOCK_ACCESS_FS) == FS["read"] | FS["write"] | FS["execute"] | FS["ioctl_dev"]
    assert FS["read"] & FS["write"] == 0
    assert FS["write"] & FS["refer"] and FS["write"] & FS["truncate"]


@pytest.mark.parametrize(("version", "known"), [
    (0, (0, 0, 0)), (1, (0x1FFF, 0, 0)), (2, (0x3FFF, 0, 0)), (3, (0x7FFF, 0, 0)), (4, (0x7FFF, 3, 0)),
    (5, (0xFFFF, 3, 0)), (6, (0xFFFF, 3, 3)), (99, (0xFFFF, 3, 3)),
])
def test_each_abi_knows_more(version: int, known: tuple[int, int, int]) -> None:
    assert known_to(version) == known


# --- what a kernel lacks


@pytest.mark.parametrize("strict", [False, True])
def test_without_landlock_nothing_runs_best_effort_or_not(strict: bool) -> None:
    with pytest.raises(LandlockNotEnabled, match="this kernel has no Landlock"):
        check(Landlock(scoped=("all",), strict=strict), 0)


@pytest.mark.parametrize(("number", "absent"), [(38, True), (95, True), (1, False)])
def test_no_landlock_is_what_the_kernel_says_it_is(
        monkeypatch: pytest.MonkeyPatch, number: int, absent: bool) -> None:
    monkeypatch.setattr(landlock, "abi_version", refusing("landlock_create_ruleset", number))
    if absent:
        assert abi() == 0
    else:
        with pytest.raises(SyscallError, match="EPERM"):
            abi()


@pytest.mark.parametrize(("wanted", "version", "path", "problem"), [
    (Landlock(handled_fs=("execute", "truncate")), 2, "landlock.handled_fs[1]", "'truncate' takes ABI 3, Linux 6.2;"),
    (Landlock(handled_fs=("all",)), 4, "landlock.handled_fs[0]", "'all' takes ABI 5, Linux 6.10;"),
    (Landlock(handled_fs=("write",)), 1, "landlock.handled_fs[0]", "'write' takes ABI 3"),
    (Landlock(handled_net=("bind_tcp",)), 3, "landlock.handled_net[0]", "'bind_tcp' takes ABI 4, Linux 6.7"),
    (Landlock(scoped=("signal",)), 5, "landlock.scoped[0]", "'signal' takes ABI 6, Linux 6.12"),
])
def test_a_strict_description_names_what_the_kernel_lacks(
        wanted: Landlock, version: int, path: str, problem: str) -> None:
    check(wanted, version)  # best effort
    wanted.strict = True
    with pytest.raises(ConfigInvalid) as caught:
        check(wanted, version)
    assert caught.value.path == path
    assert caught.value.problem.startswith(problem)
    check(wanted, 6)


@needs_landlock
def test_best_effort_leaves_out_what_an_older_kernel_lacks(in_child: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")

    def restrict() -> bool:
        ruleset = prepare(EVERYTHING, version=1)
        set_no_new_privs()
        enter(ruleset)
        with pytest.raises(PermissionError):
            (tmp_path / "file").read_text()
        os.truncate(tmp_path / "file", 2)  # ABI 3
        return True

    assert in_child(restrict)
    assert (tmp_path / "file").read_text() == "te"
    assert prepare(Landlock(scoped=("signal",)), version=1) == -1


# --- rules


@needs_landlock
def test_a_rule_that_fails_leaves_no_descriptor(leaves_nothing: Any, tmp_path: Path) -> None:
    missing = LandlockPaths(paths=(str(tmp_path / "missing"),), access=("read",))
    os.close(prepare(Landlock(handled_fs=("read",), paths=(missing,))))
    with pytest.raises(SyscallError, match="missing.*a path of landlock.paths"):
        prepare(Landlock(handled_fs=("read",), paths=(missing,), strict=True))


@needs_landlock
def test_a_link_out_of_the_file_system_is_no_path_for_a_rule() -> None:
    with pytest.raises(SyscallError, match="ELOOP"):
        prepare(Landlock(handled_fs=("read",), paths=(LandlockPaths(("/proc/self/root",), ("read",)),)))


@needs_landlock
def test_a_file_gets_what_a_file_can_have(in_child: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "other").write_text("text")

    def restrict() -> str:
        ruleset = prepare(Landlock(("all",), (LandlockPaths((str(tmp_path / "file"),), ("all",)),)))
        set_no_new_privs()
        enter(ruleset)
        with pytest.raises(PermissionError):
            (tmp_path / "other").read_text()
        (tmp_path / "file").write_text("new")
        return (tmp_path / "file").read_text()

    assert in_child(restrict) == "new"


@needs_abi(4)
def test_ports_are_restricted_as_listed(in_child: Any) -> None:
    with socket.socket() as server, socket.socket() as other:
        for one in (server, other):
            one.bind(("127.0.0.1", 0))
            one.listen()
        port, forbidden = server.getsockname()[1], other.getsockname()[1]

        def restrict() -> bool:
            ruleset = prepare(Landlock(handled_net=("all",), ports=(LandlockPorts((port,), ("connect_tcp",)),)))
            set_no_new_privs()
            enter(ruleset)
            socket.create_connection(("127.0.0.1", port)).close()
            with pytest.raises(PermissionError):
                socket.create_connection(("127.0.0.1", forbidden))
            with pytest.raises(PermissionError):
                socket.socket().bind(("127.0.0.1", 0))
            return True

        assert in_child(restrict)


@needs_abi(6)
def test_an_abstract_socket_and_a_process_outside_are_out_of_reach(in_child: Any) -> None:
    address = f"\0nscontainer-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        outside = os.getpid()

        def restrict() -> bool:
            with socket.socket(socket.AF_UNIX) as before:
                before.connect(address)
            enter_with = prepare(Landlock(scoped=("all",), strict=True))
            set_no_new_privs()
            enter(enter_with)
            with socket.socket(socket.AF_UNIX) as after, pytest.raises(PermissionError):
                after.connect(address)
            with pytest.raises(PermissionError):
                os.kill(outside, 0)
            os.kill(os.getpid(), 0)
            return True

        assert in_child(restrict)


# --- whole containers

RULES = {"handled_fs": ["all"], "paths": [{"paths": ["/bin", "/lib", "/usr"], "access": ["read", "execute"]},
                                         {"paths": ["/tmp"], "access": ["all"]}]}
SCRIPT = "echo in > /tmp/a && cat /tmp/a; echo out > /b; cat /etc/passwd; exit 0"


@needs_landlock
@pytest.mark.needs("root", "busybox")
@pytest.mark.parametrize("user", [False, True])
def test_a_program_reaches_what_the_rules_say(factory: Factory, busybox_rootfs: Path, user: bool) -> None:
    (busybox_rootfs / "tmp").mkdir(exist_ok=True)
    (busybox_rootfs / "tmp").chmod(0o1777)
    fields: dict[str, Any] = {"landlock": RULES, "no_new_privileges": True}
    config = with_user_namespace(busybox_rootfs, size=65536, **fields) if user else standard(busybox_rootfs, **fields)
    text = output_of(factory, config, "sh", "-c", SCRIPT, user="1000")
    assert text.splitlines()[0] == "in"
    assert text.count("Permission denied") == 2
    assert not (busybox_rootfs / "b").exists()


@needs_landlock
@pytest.mark.needs("root", "busybox")
def test_a_further_process_is_restricted_too(factory: Factory, busybox_rootfs: Path, container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_rootfs, landlock=RULES, no_new_privileges=True)) as container:
        first = Process(["cat"], env=ENVIRONMENT, stdin=PIPE)
        container.start(first)
        text, _ = run_in(container, "sh", "-c", "cat /etc/passwd")
        first.stdin.close()
        assert "Permission denied" in text


@needs_landlock
@pytest.mark.needs("root", "busybox")
def test_a_program_that_the_rules_forget_does_not_run(factory: Factory, busybox_template: Path) -> None:
    config = standard(busybox_template, no_new_privileges=True, landlock={"handled_fs": ["execute"]})
    with pytest.raises(ProgramNotExecutable, match="landlock.paths must allow"):
        output_of(factory, config, "true")


@needs_abi(6)
@pytest.mark.needs("root", "overlay")
@pytest.mark.parametrize(("network", "expected"), [("host", "reached"), ("no-abstract-sockets", "PermissionError")])
def test_the_hosts_network_can_be_had_without_its_abstract_sockets(network: str, expected: str) -> None:
    address = f"nscontainer-test-{os.getpid()}"
    script = ("import socket, sys\ntry: socket.socket(socket.AF_UNIX).connect(chr(0) + sys.argv[1]); print('reached')\n"
              "except OSError as error: print(type(error).__name__)")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + address)
        server.listen()
        done = run([sys.executable, "-I", "-S", "-c", script, address], network=network, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.needs("root", "busybox")
def test_a_kernel_without_landlock_runs_nothing(
        factory: Factory, busybox_rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi_version", refusing("landlock_create_ruleset", 38))
    config = standard(busybox_rootfs, landlock=RULES, no_new_privileges=True)
    with pytest.raises(LandlockNotEnabled):
        output_of(factory, config, "touch", "/ran")
    assert not (busybox_rootfs / "ran").exists()
