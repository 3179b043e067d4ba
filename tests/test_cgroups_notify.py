"""Events of memory: no more of it, or little of it, as an iterator, a descriptor and an async iterator."""
from __future__ import annotations

import asyncio
import os
import selectors
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import standard

from nscontainer import Config, ContainerError, Factory, Process
from nscontainer.cgroups import notify
from nscontainer.cgroups.manager import manager_for
from nscontainer.cgroups.notify import Events
from nscontainer.cgroups.paths import NotFoundError
from nscontainer.process import DEVNULL
from nscontainer.resources import Cgroup


@pytest.fixture
def alive() -> Iterator[tuple[int, int]]:
    """What stands for a process: a pipe whose reading end is readable once the other is closed."""
    read, write = os.pipe()
    yield read, write
    try:
        os.close(write)
    except OSError:
        pass  # the test has ended the process


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def counted(tmp_path: Path, alive: tuple[int, int]) -> Any:
    for name in ("memory.oom_control", "memory.pressure_level", "cgroup.event_control"):
        (tmp_path / name).write_text("")
    return lambda: notify.notify_oom_v1(str(tmp_path), alive[0])


def told(directory: Path) -> list[str]:
    return (directory / "cgroup.event_control").read_text().split(" ")


# --- version 1, on files of our own


def test_version_1_is_told_the_two_descriptors(tmp_path: Path, counted: Any, alive: tuple[int, int]) -> None:
    with counted() as events:
        event, control = map(int, told(tmp_path))
        assert os.readlink(f"/proc/self/fd/{event}") == "anon_inode:[eventfd]"
        assert os.readlink(f"/proc/self/fd/{control}") == str(tmp_path / "memory.oom_control")
        assert events.take() == 0
        os.write(event, (1).to_bytes(8, "little"))
        assert next(events) == 1
        os.write(event, (3).to_bytes(8, "little"))
        assert events.take() == 3


def test_pressure_of_version_1_has_a_level(tmp_path: Path, counted: Any, alive: tuple[int, int]) -> None:
    with notify.notify_pressure_v1(str(tmp_path), alive[0], "critical"):
        assert told(tmp_path)[2] == "critical"
        assert os.readlink(f"/proc/self/fd/{told(tmp_path)[1]}") == str(tmp_path / "memory.pressure_level")


def test_that_the_cgroup_is_removed_is_no_event(tmp_path: Path, counted: Any, alive: tuple[int, int]) -> None:
    events = counted()
    event = int(told(tmp_path)[0])
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    os.write(event, (1).to_bytes(8, "little"))
    assert events.take() == 0
    os.close(alive[1])
    before = descriptors()
    assert list(events) == []
    assert descriptors() == before - 4
    tmp_path.mkdir()


def test_the_end_of_the_container_ends_the_events_but_not_before_the_last(
        tmp_path: Path, counted: Any, alive: tuple[int, int]) -> None:
    events = counted()
    os.write(int(told(tmp_path)[0]), (2).to_bytes(8, "little"))
    os.close(alive[1])
    assert list(events) == [2]
    assert events.take() is None
    assert list(events) == []
    events.close()


def test_a_refusal_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for make in (notify.notify_oom_v1, notify.notify_oom_v2):
        with pytest.raises(ContainerError):
            make(str(tmp_path), os.dup(0))
    with pytest.raises(ContainerError, match="does not have that file; it takes the controller memory"):
        notify.notify_pressure_v2(str(tmp_path), os.dup(0), "low")
    with pytest.raises(ContainerError, match="'huge' is no level of memory pressure: one of low, medium, critical"):
        manager_for(Cgroup(name="x"), {"memory": str(tmp_path)}).notify_memory_pressure(os.dup(0), "huge")
    with pytest.raises(NotFoundError):
        manager_for(Cgroup(name="x"), {"cpu": str(tmp_path)}).notify_oom(os.dup(0))
    assert descriptors() == before


# --- version 2, on a file of our own


def test_version_2_counts_the_killed(tmp_path: Path, alive: tuple[int, int]) -> None:
    path = tmp_path / "memory.events"
    path.write_text("high 0\noom 1\noom_kill 1\n")
    with notify.notify_oom_v2(str(tmp_path), alive[0]) as events:
        assert events.take() == 0
        path.write_text("high 7\noom 1\noom_kill 1\n")
        assert events.take() == 0
        path.write_text("high 7\noom 1\noom_kill 4\n")
        assert next(events) == 3
        os.close(alive[1])
        assert list(events) == []


# --- the three ways to wait


def test_a_selector_sees_it(tmp_path: Path, counted: Any) -> None:
    with counted() as events, selectors.DefaultSelector() as selector:
        selector.register(events, selectors.EVENT_READ)
        assert selector.select(0) == []
        os.write(int(told(tmp_path)[0]), (1).to_bytes(8, "little"))
        assert len(selector.select(5)) == 1
        assert events.take() == 1
        assert selector.select(0) == []


def test_a_thread_can_wait_for_it(tmp_path: Path, counted: Any, alive: tuple[int, int]) -> None:
    events, found = counted(), []
    event = int(told(tmp_path)[0])
    waiting = threading.Thread(target=lambda: found.extend(events))
    waiting.start()
    for _ in range(3):
        os.write(event, (1).to_bytes(8, "little"))
        time.sleep(0.01)
    os.close(alive[1])
    waiting.join(5)
    assert sum(found) == 3


def test_an_event_loop_can_wait_for_it_without_a_thread(tmp_path: Path, counted: Any, alive: tuple[int, int]) -> None:
    async def watch(events: Events) -> list[int]:
        return [count async for count in events]

    async def main() -> list[int]:
        events = counted()
        task = asyncio.ensure_future(watch(events))
        await asyncio.sleep(0.01)
        os.write(int(told(tmp_path)[0]), (2).to_bytes(8, "little"))
        await asyncio.sleep(0.01)
        os.close(alive[1])
        assert threading.active_count() == threads
        return await asyncio.wait_for(task, 5)

    threads = threading.active_count()
    assert asyncio.run(main()) == [2]


def test_a_wait_can_be_cancelled(tmp_path: Path, counted: Any) -> None:
    async def main() -> None:
        with counted() as events:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.__anext__(), 0.05)
            os.write(int(told(tmp_path)[0]), (1).to_bytes(8, "little"))
            assert await asyncio.wait_for(events.__anext__(), 5) == 1

    asyncio.run(main())


# --- containers

hosts = pytest.mark.parametrize("host", [pytest.param("v1", marks=pytest.mark.needs("root", "cgroup1")),
                                         pytest.param("v2", marks=pytest.mark.needs("root", "cgroup2_controllers"))])
EATER = "/bin/busybox head -c 100000000 /dev/zero | /bin/busybox tail -c 99999999 | /bin/busybox wc -c; exit 0"


def config(rootfs: Path, **limits: Any) -> Config:
    return standard(rootfs, cgroups={"name": f"nscontainer-notify-{os.getpid()}-{time.monotonic_ns()}", **limits})


@hosts
@pytest.mark.needs("busybox")
def test_a_container_without_memory_says_so(host: str, factory: Factory, busybox_template: Path) -> None:
    limits = {"memory": 16 << 20, "memory_swap": 16 << 20}
    with factory.create("oom", config(busybox_template, **limits)) as container:
        process = Process(["/bin/busybox", "sh", "-c", f"read line; {EATER}"], stdin=(pipe := os.pipe())[0],
                          stdout=DEVNULL, stderr=DEVNULL)
        container.start(process)
        os.close(pipe[0])
        with container.notify_oom() as events, container.notify_memory_pressure("low") as pressure:
            os.write(pipe[1], b"go\n")
            os.close(pipe[1])
            assert next(events) >= 1
            process.wait(30)
            list(events)
            if host == "v1":
                assert pressure.take()
        assert container.stats().cgroup_stats.memory_stats.oom_kills >= 1  # type: ignore[union-attr]


@pytest.mark.needs("root", "busybox")
def test_without_a_cgroup_there_are_no_events(factory: Factory, busybox_template: Path) -> None:
    with factory.create("plain", standard(busybox_template)) as container:
        with pytest.raises(ContainerError, match="is not running"):
            container.notify_oom()
        process = Process(["/bin/busybox", "sleep", "60"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        container.start(process)
        with pytest.raises(ContainerError, match="has no cgroup.*config.cgroups"):
            container.notify_memory_pressure()
