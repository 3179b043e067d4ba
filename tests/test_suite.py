"""The suite's own machinery: a fixture that cannot fail would let every test pass."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fork
import host
from leftovers import Leftovers

InChild = Callable[..., Any]


# --- in_child, as_user


def test_a_child_returns_what_its_function_returns(in_child: InChild) -> None:
    assert in_child(lambda a, b: [a, {"b": b}], 1, b=None) == [1, {"b": None}]
    assert in_child(os.getppid) == os.getpid()


def test_a_failure_in_the_child_arrives_with_its_traceback(in_child: InChild) -> None:
    def divide() -> None:
        os.chroot("/proc/self") if os.geteuid() == 0 else None  # the source is out of sight, the traceback is not
        1 // 0  # noqa: B018

    with pytest.raises(fork.ChildFailed, match=r"(?s)ZeroDivisionError.*1 // 0") as caught:
        in_child(divide)
    assert caught.value.type == "ZeroDivisionError"


def test_an_assertion_in_the_child_fails_the_test(in_child: InChild) -> None:
    def compare() -> None:
        assert 1 + 1 == 3

    with pytest.raises(AssertionError, match=r"assert \(1 \+ 1\) == 3"):
        in_child(compare)


def test_a_skip_in_the_child_skips_the_test(in_child: InChild) -> None:
    with pytest.raises(pytest.skip.Exception, match="not here"):
        in_child(lambda: pytest.skip("not here"))


@pytest.mark.parametrize("leave, ending", [
    (lambda: os._exit(0), "left with exit code 0"),
    (lambda: os._exit(7), "left with exit code 7"),
    (lambda: os.kill(os.getpid(), 9), "was killed by SIGKILL"),
])
def test_a_child_that_never_returns_is_a_failure(in_child: InChild, leave: Callable[[], None], ending: str) -> None:
    with pytest.raises(fork.ChildFailed, match=f"{ending} before it returned"):
        in_child(leave)


def test_a_result_that_json_cannot_hold_is_a_failure(in_child: InChild) -> None:
    with pytest.raises(fork.ChildFailed, match="TypeError"):
        in_child(lambda: b"bytes")


def test_a_child_that_hangs_is_killed(in_child: InChild, leaves_nothing: Leftovers) -> None:
    started = time.monotonic()
    with pytest.raises(fork.ChildFailed, match=r"still running in its child after 0\.2 s"):
        in_child(lambda: time.sleep(30), timeout=0.2)
    assert time.monotonic() - started < 5


@pytest.mark.needs("user")
def test_an_ordinary_user_has_no_groups_and_no_capabilities(as_user: InChild) -> None:
    def look() -> dict[str, str]:
        return dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())

    status = as_user(look)
    assert status["Uid"].split() == [str(host.ordinary_user().uid)] * 4 != ["0"] * 4
    assert status["CapEff"].strip() == "0" * 16
    if os.geteuid() == 0:
        assert status["Groups"].strip() == ""


@pytest.mark.needs("user")
def test_an_ordinary_user_may_write_where_the_suite_says_so(as_user: InChild, user_tmp_path: Path) -> None:
    as_user(lambda: (user_tmp_path / "file").write_text("mine"))
    assert (user_tmp_path / "file").stat().st_uid == host.ordinary_user().uid


# --- leftovers


@pytest.mark.parametrize("kind", ["descriptor", "process", "thread"])
def test_what_a_test_leaves_behind_is_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leftovers.SETTLES", 0)
    leftovers = Leftovers()
    leftovers.check()
    if kind == "thread":
        import threading
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
    elif kind == "descriptor":
        reader, writer = os.pipe()
    else:
        child = subprocess.Popen(["sleep", "30"])
    try:
        with pytest.raises(AssertionError, match=f"left behind:\n  {kind}: "):
            leftovers.check()
    finally:
        if kind == "thread":
            done.set()
            thread.join()
        elif kind == "descriptor":
            os.close(reader)
            os.close(writer)
        else:
            child.kill()
            child.wait()


def test_a_zombie_is_left_behind_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leftovers.SETTLES", 0.1)
    leftovers = Leftovers()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        with pytest.raises(AssertionError, match=f"process: {pid} zombie"):
            leftovers.check()
    finally:
        os.waitpid(pid, 0)


@pytest.mark.needs("cgroup2")
def test_a_cgroup_is_left_behind_too(container_id: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leftovers.SETTLES", 0)
    directory = host.own_cgroup()
    assert directory is not None
    leftovers = Leftovers()
    made = directory / container_id()
    made.mkdir()
    try:
        assert f"cgroup: {made}" in leftovers.found()
    finally:
        made.rmdir()


# --- needs, and the list of skips


def _run_pytest(folder: Path, test: str, **environment: str) -> tuple[int, str]:
    """Run one test file under this suite's conftest, in an interpreter of its own."""
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --strict-markers\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NSCONTAINER_", "PYTEST_"))}
    clean["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "conftest", "test_it.py"], cwd=folder,
                          env={**clean, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


NEEDS_A_WORD = "import pytest\n@pytest.mark.needs('selinux')\ndef test_it():\n    pass\n"


@pytest.fixture
def lacks_selinux() -> None:
    if host.missing("selinux") is None:
        pytest.skip("this host has SELinux, and the test is about what it lacks")


def test_an_unmet_need_skips_and_says_why(tmp_path: Path, lacks_selinux: None) -> None:
    code, output = _run_pytest(tmp_path, NEEDS_A_WORD, PYTEST_ADDOPTS="-rs")
    assert code == 0
    assert "needs selinux: SELinux is not enabled" in output


def test_an_unmet_need_that_is_required_fails(tmp_path: Path, lacks_selinux: None) -> None:
    code, output = _run_pytest(tmp_path, NEEDS_A_WORD, NSCONTAINER_REQUIRE="selinux")
    assert code == 1
    assert "needs selinux: SELinux is not enabled" in output


def test_an_unknown_need_is_an_error_in_a_test_and_in_the_environment(tmp_path: Path) -> None:
    code, output = _run_pytest(tmp_path, NEEDS_A_WORD.replace("selinux", "slinux"))
    assert code == 1
    assert "no such need: 'slinux'" in output
    code, output = _run_pytest(tmp_path, NEEDS_A_WORD, NSCONTAINER_REQUIRE="root,slinux")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no such need: slinux" in output


def test_a_skip_that_no_line_allows_fails_the_run(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    test = "import pytest\ndef test_it():\n    pytest.skip('on a whim')\n"
    allowed.write_text("# a comment\n\n*: needs selinux: * -- no machine of ours has it\n")
    code, output = _run_pytest(tmp_path, test, NSCONTAINER_ALLOWED_SKIPS=str(allowed))
    assert code == 1
    assert re.search(r"skips that are not allowed =+\ntest_it.py::test_it: on a whim\n1 skipped", output), output
    allowed.write_text("*::test_it: on a whim -- the weather\n")
    code, output = _run_pytest(tmp_path, test, NSCONTAINER_ALLOWED_SKIPS=str(allowed))
    assert code == 0
    assert "not allowed" not in output


@pytest.mark.parametrize("word", sorted(host.PROBES))
def test_a_probe_answers_none_or_a_line(word: str) -> None:
    answer = host.missing(word)
    assert answer is None or ("\n" not in answer and answer)


# --- the papers


def test_the_tests_that_security_md_names_are_there() -> None:
    tests = Path(__file__).resolve().parent
    named = re.findall(r"`((?:attacks/)?test_\w+\.py)::(test_\w+)`", (tests.parent / "SECURITY.md").read_text())
    assert named
    assert [f"{file}::{test}" for file, test in named
            if not (tests / file).exists() or f"def {test}(" not in (tests / file).read_text()] == []
