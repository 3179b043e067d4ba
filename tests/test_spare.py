"""Processes made ahead: they save time, and change nothing else."""
from __future__ import annotations

import mmap
import os
import signal
import time
from ctypes import addressof, c_char
from pathlib import Path
from typing import Any

import pytest
from containers import ENVIRONMENT, run_in, standard

from nscontainer import Config, Container, Factory, Process, spawner
from nscontainer.errors import SyscallError
from nscontainer.sys.fds import socketpair
from nscontainer.sys.memory import MADV_POPULATE_WRITE, madvise
from nscontainer.warm import Look, touch

pytestmark = pytest.mark.needs("root", "busybox")


def _children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(word) for word in text.split()}


def _start(factory: Factory, config: Config, id: str, *args: str) -> tuple[Container, Process]:
    container = factory.create(id, config)
    process = Process([*args], env=ENVIRONMENT)
    container.start(process)
    return container, process


@pytest.fixture
def warm(factory: Factory, busybox_template: Path, container_id: Any) -> Factory:
    """A factory that has started enough containers alike to have another one's process ready."""
    for _ in range(3):
        container, process = _start(factory, standard(busybox_template), container_id(), "true")
        process.wait()
        container.destroy()
    return factory


def _spare(factory: Factory, before: set[int]) -> int:
    """Wait until there is one child more than *before* and the zygote, and return its pid."""
    deadline = time.monotonic() + 5
    while True:
        others = _children() - before - {factory.zygote.pid}
        if len(others) == 1:
            return others.pop()
        assert time.monotonic() < deadline, f"children besides the zygote: {others}"
        time.sleep(0.01)


def test_a_factory_that_starts_one_container_keeps_no_process_ready(
        factory: Factory, busybox_template: Path, container_id: Any) -> None:
    before = _children()
    container, process = _start(factory, standard(busybox_template), container_id(), "true")
    process.wait()
    container.destroy()
    assert _children() - before == {factory.zygote.pid}


def test_the_next_start_takes_the_process_that_is_ready(warm: Factory, busybox_template: Path,
                                                        container_id: Any) -> None:
    spare = _spare(warm, _children_without(warm))
    container, process = _start(warm, standard(busybox_template), container_id(), "sleep", "100")
    with container:
        assert process.pid == spare


def _children_without(factory: Factory) -> set[int]:
    """Return the children that are not the factory's."""
    factory.zygote.rest()
    before = _children() - {factory.zygote.pid}
    factory.zygote.prepare(factory.zygote._flags)
    return before


def test_rest_and_close_leave_no_process(warm: Factory, leaves_nothing: Any) -> None:
    spare = _spare(warm, _children_without(warm))
    warm.zygote.rest()
    assert spare not in _children()
    warm.zygote.prepare(warm.zygote._flags)
    zygote = warm.zygote.pid
    warm.close()
    assert not _children() & {spare, zygote}
    leaves_nothing.start_over()


@pytest.mark.parametrize("victim", ["spare", "zygote", "both"])
def test_a_process_that_was_killed_while_it_waited_is_replaced(
        victim: str, warm: Factory, busybox_template: Path, container_id: Any) -> None:
    spare = _spare(warm, _children_without(warm))
    zygote = warm.zygote.pid
    assert zygote is not None
    for pid in {"spare": [spare], "zygote": [zygote], "both": [zygote, spare]}[victim]:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.05)
    with warm.create(container_id(), standard(busybox_template)) as container:
        assert run_in(container, "echo", "well")[0] == "well\n"


def test_other_namespaces_do_not_take_it(warm: Factory, busybox_template: Path, container_id: Any) -> None:
    spare = _spare(warm, _children_without(warm))
    alike = standard(busybox_template).namespaces
    config = standard(busybox_template,
                      namespaces=[{"type": one.type, "path": ""} for one in alike if one.type != "NEWIPC"])
    container, process = _start(warm, config, container_id(), "sleep", "100")
    with container:
        assert process.pid != spare
        assert os.stat(f"/proc/{process.pid}/ns/ipc").st_ino == os.stat("/proc/self/ns/ipc").st_ino


def test_what_was_mounted_meanwhile_is_in_sight(tmp_path: Path, busybox_template: Path, in_child: Any) -> None:
    """Where nothing is shared, a mount namespace made ahead would lack it."""
    state = tmp_path / "state"
    place = tmp_path / "place"
    place.mkdir()

    def host_side() -> Any:
        from nscontainer.sys.clone import CLONE, unshare
        from nscontainer.sys.mount import MS, mount

        unshare(int(CLONE.NEWNS))
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        with Factory(state) as factory:
            for number in range(3):
                container, process = _start(factory, standard(busybox_template), f"x{number}", "true")
                process.wait()
                container.destroy()
            assert factory.zygote._spare is not None
            mount(str(busybox_template), str(place), flags=MS.BIND)
            with factory.create("late", standard(place)) as container:
                return run_in(container, "echo", "seen")[0]

    assert in_child(host_side) == "seen\n"


def test_a_fork_of_the_caller_does_not_end_what_its_parent_has_ready(
        warm: Factory, busybox_template: Path, container_id: Any) -> None:
    spare = _spare(warm, _children_without(warm))
    pid = os.fork()
    if pid == 0:
        try:
            warm.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    container, process = _start(warm, standard(busybox_template), container_id(), "sleep", "100")
    with container:
        assert process.pid == spare


def test_a_start_succeeds_when_there_is_nothing_left_for_the_next(
        warm: Factory, busybox_template: Path, container_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(kind: int) -> tuple[int, int]:
        if warm.zygote.births:
            raise SyscallError("socketpair", 24)
        return socketpair(kind)

    monkeypatch.setattr(spawner, "socketpair", no_more)
    with warm.create(container_id(), standard(busybox_template)) as container:
        assert run_in(container, "echo", "well")[0] == "well\n"
    assert warm.zygote._spare is None


def test_a_look_sees_what_a_process_has_written_to(in_child: Any) -> None:
    memory = mmap.mmap(-1, 64 * mmap.PAGESIZE, mmap.MAP_PRIVATE)
    for page in range(64):
        memory[page * mmap.PAGESIZE] = 1
    start = addressof(c_char.from_buffer(memory))

    def pages() -> list[int]:
        return [page for page in range(64) for at, size in Look().own()
                if at <= start + page * mmap.PAGESIZE < at + size]

    def child() -> Any:
        fresh = pages()
        memory[7 * mmap.PAGESIZE] = 2
        touch([[start + 20 * mmap.PAGESIZE, 3 * mmap.PAGESIZE]])
        touch([[1 << 40, mmap.PAGESIZE]])  # nothing is there: no harm
        return [fresh, pages(), memory[20 * mmap.PAGESIZE]]

    assert in_child(child) == [[], [7, 20, 21, 22], 1]


def test_advice_about_what_is_not_there_is_refused() -> None:
    with pytest.raises(OSError, match="madvise"):
        madvise(1 << 40, mmap.PAGESIZE, MADV_POPULATE_WRITE)
    with pytest.raises(OverflowError):
        madvise(-1, 1, 1)
