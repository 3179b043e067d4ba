"""What a user gets wrong ends in one clear error, and nothing is left behind."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, MOUNTS, standard, with_user_namespace
from nscontainer import (
    ConfigInvalid,
    ContainerError,
    ContainerNotExists,
    ErrorCode,
    Factory,
    IDMap,
    IdInUse,
    InvalidIdFormat,
    Process,
    ProcessNotExecuted,
    ProgramNotExecutable,
    ProgramNotFound,
    SetupError,
    Status,
)

needs_root = pytest.mark.needs("root", "busybox")


@pytest.fixture
def nothing_left(factory: Factory, busybox_template: Path, leaves_nothing: Any) -> Iterator[None]:
    """Compare with the moment after the zygote has come up; the container under test is destroyed."""
    container = factory.create("warm_up", standard(busybox_template))
    process = Process(["true"], env=ENVIRONMENT)
    container.start(process)
    process.wait(10)
    container.destroy()
    leaves_nothing.start_over()
    yield
    for id in os.listdir(factory.root):
        factory_container = Path(factory.root) / id
        assert not list(factory_container.iterdir())
        factory_container.rmdir()
    leaves_nothing.check()


def _start(factory: Factory, config: Any, *args: str, **fields: Any) -> None:
    fields.setdefault("env", ENVIRONMENT)
    container = factory.create("bad", config)
    try:
        process = Process(list(args) or ["true"], **fields)
        container.start(process)
        process.wait(10)
    finally:
        assert container.status() is Status.DESTROYED
        container.destroy()


@needs_root
@pytest.mark.usefixtures("nothing_left")
class TestAStartThatFails:
    def test_program_not_found(self, factory: Factory, busybox_template: Path) -> None:
        with pytest.raises(ProgramNotFound, match="'nope': executable file not found in .PATH.*PATH is '/usr/local/"):
            _start(factory, standard(busybox_template), "nope")
        with pytest.raises(FileNotFoundError, match="/bin/nope"):
            _start(factory, standard(busybox_template), "/bin/nope")

    def test_program_not_executable(self, factory: Factory, busybox_template: Path) -> None:
        with pytest.raises(PermissionError, match="'/etc/passwd': permission denied"):
            _start(factory, standard(busybox_template), "/etc/passwd")

    def test_program_of_another_machine(self, factory: Factory, busybox_rootfs: Path) -> None:
        (busybox_rootfs / "bin/alien").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(100))
        (busybox_rootfs / "bin/alien").chmod(0o755)
        with pytest.raises(ProgramNotExecutable, match="exec format error.*another machine"):
            _start(factory, standard(busybox_rootfs), "alien")

    def test_loader_missing(self, factory: Factory, busybox_rootfs: Path) -> None:
        (busybox_rootfs / "bin/script").write_text("#!/no/such/interpreter\n")
        (busybox_rootfs / "bin/script").chmod(0o755)
        with pytest.raises(ProgramNotFound, match="it is there, and the loader it asks for is not"):
            _start(factory, standard(busybox_rootfs), "/bin/script")

    def test_unknown_user(self, factory: Factory, busybox_template: Path) -> None:
        with pytest.raises(SetupError, match="become the user.*'ghost'.*/etc/passwd"):
            _start(factory, standard(busybox_template), "true", user="ghost")

    def test_working_directory_missing(self, factory: Factory, busybox_template: Path) -> None:
        with pytest.raises(SetupError, match="chdir to '/no/where'.*must exist") as caught:
            _start(factory, standard(busybox_template), "true", cwd="/no/where")
        assert caught.value.errno == 2

    def test_mount_that_the_kernel_refuses(self, factory: Factory, busybox_template: Path) -> None:
        bad = {"source": "x", "destination": "/mnt", "device": "tmpfs", "data": "nonsense=1"}
        with pytest.raises(SetupError, match="/mnt.*nonsense"):
            _start(factory, standard(busybox_template, mounts=[*MOUNTS, bad]))

    def test_bind_source_missing(self, factory: Factory, busybox_template: Path) -> None:
        bad = {"source": "/no/such/source", "destination": "/mnt", "device": "bind", "flags": 4096}
        with pytest.raises(SetupError, match="/no/such/source"):
            _start(factory, standard(busybox_template, mounts=[*MOUNTS, bad]))

    def test_hard_limit_above_the_caller_s(self, factory: Factory, busybox_template: Path) -> None:
        # fs.nr_open refuses what even root may not have
        config = standard(busybox_template, rlimits=[{"type": 7, "soft": 1 << 40, "hard": 1 << 40}])
        with pytest.raises(ContainerError, match=r"rlimits\[0\]|prlimit"):
            _start(factory, config)


def _file(directory: Path) -> Path:
    (directory / "file").touch()
    return directory / "file"


def _symlink(directory: Path) -> Path:
    (directory / "link").symlink_to("/")
    return directory / "link"


@needs_root
@pytest.mark.parametrize("make, problem", [
    (lambda tmp: tmp / "none", "does not exist|no such"),
    (_file, "not a directory|a file"),
    (_symlink, "symlink|symbolic"),
    (lambda tmp: "relative/root", "absolute"),
])
def test_a_wrong_root_filesystem(factory: Factory, tmp_path: Path, make: Any, problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"rootfs: .*({problem})"):
        factory.create("bad", standard(make(tmp_path)))
    assert os.listdir(factory.root) == []

@needs_root
def test_a_namespace_path_of_another_kind(factory: Factory, busybox_template: Path) -> None:
    kinds = [{"type": kind, "path": ""} for kind in ("NEWNS", "NEWUTS", "NEWPID")]
    for path, problem in (("/proc/self/ns/uts", "uts"), ("/proc/self/ns/none", "none"), ("/etc/passwd", "namespace")):
        config = standard(busybox_template, networks=[], namespaces=[*kinds, {"type": "NEWNET", "path": path}])
        with pytest.raises(ConfigInvalid, match=rf"namespaces\[3\].path: .*{problem}"):
            factory.create("bad", config)


@needs_root
def test_malformed_id_maps(factory: Factory, busybox_template: Path) -> None:
    config = with_user_namespace(busybox_template)
    for maps, problem in (((), "uid_mappings"), (((0, 0, 0),), r"uid_mappings\[0\].size"),
                          (((0, 0, 5), (4, 100, 5)), r"uid_mappings\[1\].*overlap")):
        with pytest.raises(ConfigInvalid, match=problem):
            config.uid_mappings = tuple(IDMap(container_id=inside, host_id=host, size=size)
                                        for inside, host, size in maps)
            factory.create("bad", config)


@needs_root
def test_a_field_whose_part_is_not_built_is_refused(factory: Factory, busybox_template: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"^cgroups\.scope_prefix.*not supported"):
        factory.create("bad", standard(busybox_template, cgroups={"name": "x", "scope_prefix": "y"}))


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a b", "a\n", "a\0b", "-x", "ünï", "a" * 1025, "x.y", 7, None])
def test_what_is_no_id(factory: Factory, id: Any) -> None:
    with pytest.raises(InvalidIdFormat):
        factory.create(id, standard("/"))
    with pytest.raises(InvalidIdFormat):
        factory.load(id)
    assert os.listdir(factory.root) == []


@needs_root
def test_the_wider_set_of_ids_is_a_choice(scratch: Path, busybox_template: Path) -> None:
    with Factory(scratch / "wide", oci_ids=True) as factory:
        for id in ("a.b-c+d", "-", "x" * 1024):
            container = factory.create(id, standard(busybox_template))
            container.start(process := Process(["true"], env=ENVIRONMENT))
            process.wait(10)
            assert factory.load(id).id == id
            container.destroy()
        for id in (".", "..", "a/b", ""):
            with pytest.raises(InvalidIdFormat):
                factory.create(id, standard(busybox_template))


@needs_root
def test_a_second_create_of_an_id(factory: Factory, busybox_template: Path) -> None:
    container = factory.create("twice", standard(busybox_template))
    with pytest.raises(IdInUse, match="'twice' exists") as caught:
        factory.create("twice", standard(busybox_template))
    assert caught.value.code is ErrorCode.ID_IN_USE
    container.destroy()


@needs_root
def test_a_start_after_destroy(factory: Factory, busybox_template: Path) -> None:
    container = factory.create("once", standard(busybox_template))
    container.destroy()
    with pytest.raises(ContainerNotExists, match="destroyed"):
        container.start(Process(["true"]))
    container.destroy()


def test_a_factory_without_a_root_creates_nothing() -> None:
    with pytest.raises(ConfigInvalid, match="no state root"):
        Factory("").create("x", standard("/"))
    with pytest.raises(ContainerError, match="not started as a zygote"):
        Factory("").start_initialization()


@pytest.mark.needs("root")
def test_a_read_only_state_root(in_child: Any, tmp_path: Path) -> None:
    def try_it() -> str:
        from nscontainer.sys.clone import CLONE, unshare
        from nscontainer.sys.mount import MS, mount

        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.PRIVATE | MS.REC)
        mount("tmpfs", str(tmp_path), "tmpfs", MS.RDONLY)
        with pytest.raises(ContainerError) as caught:
            Factory(tmp_path / "state")
        return str(caught.value)

    assert "Read-only file system" in in_child(try_it)


@pytest.mark.needs("root", "user")
def test_a_state_root_of_somebody_else(scratch: Path, user_tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="belongs to uid"):
        Factory(user_tmp_path)


def test_a_process_that_was_not_started() -> None:
    process = Process(["true"])
    for call in (lambda: process.pid, process.wait, process.poll, lambda: process.signal(15)):
        with pytest.raises(ProcessNotExecuted, match="not been started"):
            call()


@needs_root
@pytest.mark.parametrize("fields, where", [
    ({"args": []}, "process.args"), ({"args": [""]}, "process.args"), ({"args": ["a\0b"]}, r"process.args\[0\]"),
    ({"env": ["NOVALUE"]}, r"process.env\[0\]"), ({"env": ["=x"]}, r"process.env\[0\]"),
    ({"cwd": "a\0"}, "process.cwd"),
    ({"stdin": 9999}, "process.stdin"), ({"stdout": "text"}, "process.stdout"),
    ({"extra_files": [-1]}, r"process.extra_files\[0\]"),
])
def test_a_malformed_process(factory: Factory, busybox_template: Path, container_id: Any, fields: Any,
                             where: str) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    with pytest.raises(ConfigInvalid, match=where):
        container.start(Process(**{"args": ["true"], "env": ENVIRONMENT, **fields}))
    container.destroy()


def test_error_codes_read_as_libcontainer_s() -> None:
    assert [str(code) for code in ErrorCode] == [
        "Id already in use", "Invalid format", "Container does not exist", "Container paused",
        "Container is not stopped", "Container is not running", "Unknown error", "Invalid configuration",
        "Console exists for process", "System error"]
    assert [int(code) for code in ErrorCode] == list(range(10))


def test_detail_tells_code_message_and_frames() -> None:
    import io

    try:
        raise IdInUse("taken", hint="take another")
    except ContainerError as error:
        report = io.StringIO()
        error.detail(report)
    assert "Code: Id already in use" in report.getvalue() and "Message: taken; take another" in report.getvalue()
    assert "test_detail_tells_code_message_and_frames" in report.getvalue()


def test_a_state_root_that_others_can_write_to(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(ContainerError, match=r"is open to others: its mode is 777; choose"):
        Factory(root)
    (tmp_path / "link").symlink_to(root)
    root.chmod(0o700)
    with pytest.raises(ContainerError, match="is a symlink; choose"):
        Factory(tmp_path / "link")
    Factory(root)
