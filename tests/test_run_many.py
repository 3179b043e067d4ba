"""Many containers, many threads, and deaths: nothing is left behind."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, run_in, standard
from nscontainer import ContainerError, ContainerNotExists, Factory, Process, Status

pytestmark = pytest.mark.needs("root", "busybox")


def _once(factory: Factory, id: str, rootfs: Path) -> int:
    container = factory.create(id, standard(rootfs))
    process = Process(["true"], env=ENVIRONMENT)
    container.start(process)
    code = process.wait(60).returncode
    container.destroy()
    assert code is not None
    return code


@pytest.mark.timeout(180)
def test_a_thousand_in_a_row_leave_nothing(factory: Factory, busybox_template: Path, leaves_nothing: Any) -> None:
    _once(factory, "warm_up", busybox_template)
    leaves_nothing.start_over()
    assert {_once(factory, f"row_{number}", busybox_template) for number in range(1000)} == {0}


@pytest.mark.timeout(180)
def test_two_hundred_at_once_leave_nothing(factory: Factory, busybox_template: Path, leaves_nothing: Any) -> None:
    _once(factory, "warm_up", busybox_template)
    leaves_nothing.start_over()
    before = len(os.listdir("/proc/self/fd"))
    running = []
    for number in range(200):
        container = factory.create(f"crowd_{number}", standard(busybox_template))
        process = Process(["sleep", "1000"], env=ENVIRONMENT)
        container.start(process)
        running.append((container, process))
    factory.zygote.rest()
    assert len(os.listdir("/proc/self/fd")) - before <= 200, "one descriptor each"
    assert all(container.status() is Status.RUNNING for container, _ in running)
    for _, process in running:
        process.signal(signal.SIGKILL)
    for container, process in running:
        assert process.wait(30).signal == signal.SIGKILL
        container.destroy()


@pytest.mark.timeout(600)
def test_five_hundred_beside_fifty_busy_threads_do_not_hang(scratch: Path, busybox_template: Path) -> None:
    script = """
import sys, threading
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from containers import standard, ENVIRONMENT
from nscontainer import Factory, Process
sys.setswitchinterval(0.001)  # or the test would wait for the threads, five milliseconds at a time each
stop = False
def busy():
    junk = []
    while not stop:
        junk.append(str(len(junk)) * 3)
        if len(junk) > 1000: junk.clear()
threads = [threading.Thread(target=busy, daemon=True) for _ in range(50)]
for thread in threads: thread.start()
with Factory(sys.argv[3]) as factory:
    for number in range(500):
        container = factory.create(f"busy_{number}", standard(sys.argv[4]))
        process = Process(["true"], env=ENVIRONMENT)
        container.start(process)
        assert process.wait(60).returncode == 0
        container.destroy()
stop = True
print("done")
"""
    here = Path(__file__).resolve().parent
    arguments = [str(path) for path in (here.parent, here, scratch / "busy", busybox_template)]
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=590)
    assert ran.stdout == "done\n", ran.stderr


def test_eight_threads_start_at_once(factory: Factory, busybox_template: Path, leaves_nothing: Any) -> None:
    _once(factory, "warm_up", busybox_template)
    leaves_nothing.start_over()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: _once(factory, f"thread_{number}", busybox_template), range(80))) == {0}


def test_one_container_may_be_used_from_many_threads(factory: Factory, busybox_template: Path,
                                                     container_id: Any) -> None:
    with factory.create(container_id(), standard(busybox_template)) as container:
        container.start(Process(["sleep", "1000"], env=ENVIRONMENT))
        with ThreadPoolExecutor(8) as pool:
            said = set(pool.map(lambda n: run_in(container, "echo", str(n))[0], range(40)))
            assert said == {f"{n}\n" for n in range(40)}
        assert container.status() is Status.RUNNING


def test_many_threads_may_wait_for_one_process(factory: Factory, busybox_template: Path, container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    process = Process(["sleep", "0.3"], env=ENVIRONMENT)
    container.start(process)
    with ThreadPoolExecutor(20) as pool:
        assert {state.returncode for state in pool.map(lambda _: process.wait(20), range(20))} == {0}
    container.destroy()


_OWNER = """
import os, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from containers import standard, ENVIRONMENT
from nscontainer import Factory, Process
factory = Factory(sys.argv[3])
container = factory.create("orphan", standard(sys.argv[4], parent_death_signal=int(sys.argv[5])))
process = Process(["sleep", "1000"], env=ENVIRONMENT)
container.start(process)
if os.fork() == 0:
    time.sleep(1000)  # keeps a copy of every descriptor of its parent
print(factory.zygote.pid, process.pid, flush=True)
time.sleep(1000)
"""


def _owner(root: Path, rootfs: Path, death_signal: int) -> tuple[subprocess.Popen[str], int, int]:
    here = Path(__file__).resolve().parent
    arguments = [str(argument) for argument in (here.parent, here, root, rootfs, int(death_signal))]
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, *arguments],
                             stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert owner.stdout is not None
    zygote, init = map(int, owner.stdout.readline().split())
    return owner, zygote, init


def _gone(pid: int, within: float = 5) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_zygote_dies_with_its_owner_even_when_a_fork_lives_on(scratch: Path, busybox_template: Path) -> None:
    owner, zygote, init = _owner(scratch / "owner", busybox_template, signal.SIGKILL)
    try:
        owner.kill()
        owner.wait()
        assert _gone(zygote), "the zygote outlived its owner"
        assert _gone(init), "the container was to die with its parent"
    finally:
        os.killpg(owner.pid, signal.SIGKILL)
        assert owner.stdout is not None
        owner.stdout.close()


def test_another_program_loads_signals_enters_and_destroys(scratch: Path, busybox_template: Path) -> None:
    root = scratch / "shared"
    owner, _, init = _owner(root, busybox_template, 0)
    try:
        with Factory(root) as factory:
            container = factory.load("orphan")
            assert container.status() is Status.RUNNING and container.state().init_process_pid == init
            assert run_in(container, "ps", "-o", "comm")[0].split() == ["COMMAND", "sleep", "ps"]
            with pytest.raises(ContainerError, match="running"):
                container.destroy()
            container.signal(signal.SIGKILL)
            deadline = time.monotonic() + 5
            while container.status() is not Status.DESTROYED and time.monotonic() < deadline:
                time.sleep(0.01)
            container.destroy()
            with pytest.raises(ContainerNotExists):
                factory.load("orphan")
    finally:
        os.killpg(owner.pid, signal.SIGKILL)
        owner.wait()
        assert owner.stdout is not None
        owner.stdout.close()


def test_a_container_destroyed_by_another_program_says_so(factory: Factory, busybox_template: Path,
                                                          container_id: Any) -> None:
    id = container_id()
    container = factory.create(id, standard(busybox_template))
    Factory(factory.root).load  # noqa: B018  only the directory matters
    os.rmdir(Path(factory.root) / id)
    with pytest.raises(ContainerNotExists):
        container.start(Process(["true"], env=ENVIRONMENT))
    container.destroy()


def test_a_zygote_that_was_killed_is_replaced(factory: Factory, busybox_template: Path) -> None:
    assert _once(factory, "before", busybox_template) == 0
    first = factory.zygote.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert _gone(first)
    assert _once(factory, "after", busybox_template) == 0
    assert factory.zygote.pid != first


def test_a_forked_copy_of_a_factory_has_a_zygote_of_its_own(factory: Factory, busybox_template: Path,
                                                            in_child: Any) -> None:
    assert _once(factory, "parent", busybox_template) == 0
    ours = factory.zygote.pid

    def in_fork() -> int | None:
        assert _once(factory, "child", busybox_template) == 0
        return factory.zygote.pid

    assert in_child(in_fork) != ours
    assert _once(factory, "parent", busybox_template) == 0 and factory.zygote.pid == ours


def test_a_caller_that_reaps_all_children_still_learns_the_exit_status(factory: Factory, busybox_template: Path,
                                                                     container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    process = Process(["sh", "-c", "sleep 0.2; exit 7"], env=ENVIRONMENT)
    container.start(process)
    os.waitpid(process.pid, 0)
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    assert process.wait(10).returncode == (7 if release >= (6, 15) else None)
    container.destroy()


def test_starting_from_a_thread_that_ends_is_no_harm(factory: Factory, busybox_template: Path,
                                                     container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    process = Process(["sleep", "0.5"], env=ENVIRONMENT)
    thread = threading.Thread(target=container.start, args=(process,))
    thread.start()
    thread.join()
    assert process.wait(10).returncode == 0
    container.destroy()


def test_a_container_ends_although_nobody_has_waited_for_who_entered_it(factory: Factory, busybox_template: Path,
                                                                       container_id: Any) -> None:
    container = factory.create(container_id(), standard(busybox_template))
    first = Process(["sleep", "0.3"], env=ENVIRONMENT)
    container.start(first)
    entered = [Process(["sleep", "1000"], env=ENVIRONMENT) for _ in range(3)]
    for process in entered:
        container.start(process)
    assert first.wait(10).returncode == 0
    assert container.status() is Status.DESTROYED
    assert {process.wait(10).signal for process in entered} == {signal.SIGKILL}
    container.destroy()
