"""Fixtures and house rules of the suite; what this host can do is in host.py."""
from __future__ import annotations

import fnmatch
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fork
import host
import images
from leftovers import Leftovers

InChild = Callable[..., Any]


# --- needs, and skips that are not allowed


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(word, ...): skip unless this host has all of these; tests/host.py")
    try:
        host.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def _need(word: str) -> None:
    """Skip the test if this host lacks *word*, or fail it if NSCONTAINER_REQUIRE says that it must not."""
    if word not in host.PROBES:
        pytest.fail(f"no such need: {word!r}; tests/host.py knows {', '.join(sorted(host.PROBES))}", pytrace=False)
    why_not = host.missing(word)
    if why_not is not None and word in host.required():
        pytest.fail(host.skip_text(word, why_not), pytrace=False)
    if why_not is not None:
        pytest.skip(host.skip_text(word, why_not))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for word in mark.args:
            _need(word)


_skipped: list[tuple[str, str]] = []  # nodeid, reason


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason.partition("Skipped: ")[2] or reason))


pytest_runtest_logreport = pytest_collectreport = _note_skip


def _unlisted_skips() -> list[str]:
    """Return the skips that no line of the file NSCONTAINER_ALLOWED_SKIPS allows.

    A line is a pattern of fnmatch for "nodeid: reason", " -- " and why that is all right.
    """
    allowed = []
    for line in Path(os.environ["NSCONTAINER_ALLOWED_SKIPS"]).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _, why = line.partition(" -- ")
            if not why.strip():
                raise pytest.UsageError(f"{os.environ['NSCONTAINER_ALLOWED_SKIPS']}: no reason given: {line!r}")
            allowed.append(pattern.strip())
    lines = [f"{nodeid}: {reason}" for nodeid, reason in _skipped]
    return [line for line in lines if not any(fnmatch.fnmatchcase(line, pattern) for pattern in allowed)]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and "NSCONTAINER_ALLOWED_SKIPS" in os.environ and _unlisted_skips():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if "NSCONTAINER_ALLOWED_SKIPS" in os.environ and (unlisted := _unlisted_skips()):
        terminalreporter.section("skips that are not allowed", red=True)
        for line in unlisted:
            terminalreporter.line(line)


# --- a child to break


@pytest.fixture
def in_child() -> InChild:
    """Run a function in a forked child and return its JSON-able result: ``in_child(function, *args, timeout=20)``."""
    return fork.run_in_child


@pytest.fixture
def as_user() -> InChild:
    """Like in_child, as an ordinary user without groups or capabilities; mark the test ``needs("user")``."""
    def run(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        def switched(*positional: Any, **named: Any) -> Any:
            host.as_ordinary_user()
            return function(*positional, **named)

        switched.__name__ = getattr(function, "__name__", repr(function))
        return fork.run_in_child(switched, *arguments, **options)

    return run


# --- directories and root file systems


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory of this run that every user may enter, unlike pytest's own; gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="nscontainer-tests-"))
    path.chmod(0o755)
    yield path
    images.remove(path)


@pytest.fixture
def user_tmp_path(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory that belongs to the ordinary user."""
    path = Path(tempfile.mkdtemp(prefix="user-", dir=scratch))
    if os.geteuid() == 0:
        os.chown(path, *host.ordinary_user()[1:])
    yield path
    images.remove(path)


@pytest.fixture(scope="session")
def busybox_template(scratch: Path) -> Path:
    """One busybox root for the whole run. Read it, share it, never write to it."""
    _need("busybox")
    path = scratch / "busybox"
    path.mkdir()
    return images.make_busybox(path)


@pytest.fixture
def busybox_rootfs(scratch: Path) -> Iterator[Path]:
    """A busybox root of the test's own, to plant what it likes in."""
    _need("busybox")
    path = Path(tempfile.mkdtemp(prefix="rootfs-", dir=scratch))
    yield images.make_busybox(path)
    images.remove(path)


@pytest.fixture
def user_rootfs(busybox_rootfs: Path) -> Path:
    """The same, belonging to the ordinary user."""
    if os.geteuid() == 0:
        images.own_by(busybox_rootfs, *host.ordinary_user()[1:])
    return busybox_rootfs


@pytest.fixture(scope="session")
def debian_rootfs() -> Path:
    """A minimal Debian with dpkg, bash and coreutils, shared between runs. Never write to it."""
    _need("debian")
    return images.make_debian()


# --- names and leftovers


_numbers = itertools.count()


@pytest.fixture
def container_id() -> Callable[[], str]:
    """Make an id that no other container on this machine has."""
    return lambda: f"test_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def leaves_nothing() -> Iterator[Leftovers]:
    """Fail a test that leaves a process, mount, cgroup, descriptor, thread or state directory behind.

    A test whose first use of something is meant to last, as a zygote is, warms up and calls ``start_over()``.
    """
    leftovers = Leftovers()
    yield leftovers
    leftovers.check()


@pytest.fixture
def factory(scratch: Path) -> Iterator[Any]:
    """A factory with a state root of the test's own, whose containers are killed and destroyed afterwards."""
    from nscontainer import ContainerError, Factory

    root = Path(tempfile.mkdtemp(prefix="state-", dir=scratch))
    with Factory(root) as made:
        yield made
        for id in os.listdir(root):
            try:
                with made.load(id):
                    pass
            except ContainerError:
                images.remove(root / id)  # created and never started
    images.remove(root)
