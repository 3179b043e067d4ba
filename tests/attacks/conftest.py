"""Which runtime is attacked, by what image, beside what of the host's; and the double that has to fall."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import images
from leftovers import Leftovers

from .bundle import spec
from .canaries import Fell, HostTree, interpreter_files
from .runtimes import Binary, Careless, Library, Runtime

UNDER_TEST, WALKING, DOUBLE = "under test", "without openat2", "careless"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", metavar="PROGRAM", help="attack this OCI runtime's command, not the library")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "attack(id, ..., falls=False): the published attacks that a test is about")
    config.addinivalue_line("markers", "library_only(why): nothing that a runtime's command could be asked")


def _program(config: pytest.Config) -> str | None:
    """Return the command to attack; without an option or a variable it is the library."""
    return config.getoption("--runtime", None) or os.environ.get("NSCONTAINER_ATTACK_RUNTIME")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("attack")
    if mark is not None and "runtime" in metafunc.fixturenames:
        which = [UNDER_TEST]
        if not _program(metafunc.config):
            which += [WALKING] if getattr(metafunc.module, "WALKS", False) else []
            which += [DOUBLE] if mark.kwargs["falls"] else []
        metafunc.parametrize("runtime", which, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the double where one parameter of several is proof enough, and it does not fall for the others."""
    beside = [item for item in items if not _to_be_tried(item)]
    if beside:
        config.hook.pytest_deselected(items=beside)
        items[:] = [item for item in items if item not in beside]


def _to_be_tried(item: pytest.Item) -> bool:
    mark, params = item.get_closest_marker("attack"), getattr(getattr(item, "callspec", None), "params", {})
    if mark is None or params.get("runtime") != DOUBLE or mark.kwargs["falls"] is True:
        return True
    return all(params[name] in values for name, values in mark.kwargs["falls"].items())


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("attack")
    if mark is not None:
        item.user_properties.append(("attacks", " ".join(mark.args)))
    only = item.get_closest_marker("library_only")
    if only is not None and _program(item.config):
        pytest.skip(only.args[0])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Turn a test round for the double: an attack that does not work on it proves nothing."""
    if getattr(pyfuncitem, "callspec", None) is None or pyfuncitem.callspec.params.get("runtime") != DOUBLE:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    with pytest.raises(Fell):
        pyfuncitem.obj(**arguments)
    return True


@pytest.fixture(scope="session")
def _runtimes(scratch: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Runtime]]:
    folder = Path(tempfile.mkdtemp(prefix="attacks-", dir=scratch))
    folder.chmod(0o755)
    program = _program(request.config)
    made: dict[str, Runtime] = {UNDER_TEST: Binary(program, folder) if program else Library(folder)}
    if not program:
        made[WALKING], made[DOUBLE] = Library(folder, walks=True), Careless(folder)
    yield made
    for runtime in made.values():
        runtime.close()


@pytest.fixture(scope="session")
def _alive(_runtimes: dict[str, Runtime], busybox_template: Path) -> None:
    """A runtime that refuses everything would pass every test."""
    for runtime in _runtimes.values():
        ran = runtime.run(spec(busybox_template, "echo alive"))
        assert "alive" in ran.output, (runtime.name, ran)


@pytest.fixture
def runtime(_runtimes: dict[str, Runtime], _alive: None, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """The runtime to attack; what no attack may touch is compared afterwards."""
    which: Runtime = _runtimes[getattr(request, "param", UNDER_TEST)]
    leftovers, files = Leftovers(), interpreter_files()
    yield which
    assert interpreter_files() == files
    leftovers.check()


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory, scratch: Path) -> HostTree:
    """Files of the host that no container is shown."""
    folder = Path(tempfile.mkdtemp(prefix="host-", dir=scratch))
    folder.chmod(0o755)
    return HostTree(folder / "tree")


@pytest.fixture
def volume(scratch: Path) -> Iterator[Path]:
    """A directory that the attacker's other container shares with the one to be started."""
    folder = Path(tempfile.mkdtemp(prefix="volume-", dir=scratch))
    folder.chmod(0o777)
    yield folder
    images.remove(folder)


APPLETS = "cat chmod echo env find grep head id kill ls mount od pwd readlink sh sleep stat touch true umount wc yes"


@pytest.fixture
def image(scratch: Path) -> Iterator[Path]:
    """A root file system to plant things in: busybox with the few applets that our scripts use."""
    path = Path(tempfile.mkdtemp(prefix="image-", dir=scratch))
    path.chmod(0o755)
    for name in (*images.DIRECTORIES, "tmp"):
        (path / name).mkdir(parents=True)
    for name, text in images.FILES.items():
        (path / name).write_text(text)
    shutil.copy(shutil.which("busybox") or "", path / "bin/busybox")
    for applet in APPLETS.split():
        (path / "bin" / applet).symlink_to("busybox")
    yield path
    images.remove(path)
