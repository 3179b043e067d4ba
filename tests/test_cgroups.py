"""Cgroups: where a container's are, who is in them, freeze, kill, count, remove."""
from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nscontainer.cgroups import files, freezer, paths
from nscontainer.cgroups.manager import Manager, manager_for
from nscontainer.cgroups.paths import Hierarchy, NotFoundError, find_hierarchies, is_not_found, relative_path
from nscontainer.config import Config
from nscontainer.errors import ConfigInvalid, ContainerError, SyscallError
from nscontainer.resources import Cgroup, FreezerState
from nscontainer.sys.clone import CLONE, clone3, unshare
from nscontainer.sys.mount import MNT, MS, mount, umount2
from nscontainer.sys.procfs import cgroup_file

_names = itertools.count()


def fresh(**fields: Any) -> Cgroup:
    return Cgroup(name=f"nscontainer-test-{os.getpid()}-{next(_names)}", **fields)


# --- where a cgroup belongs


@pytest.mark.parametrize(("parent", "name", "expected"), [
    ("", "box", "box"), ("", "/box/", "box"), ("a/b", "box", "a/b/box"), ("/a", "box", "/a/box"), ("/", "box", "/box"),
    ("a//./b/", "./box", "a/b/box"), ("with space", "a:b", "with space/a:b"),
])
def test_parent_and_name_are_one_path(parent: str, name: str, expected: str) -> None:
    assert relative_path(Cgroup(parent=parent, name=name)) == expected


@pytest.mark.parametrize(("parent", "name", "where"), [
    ("..", "box", "parent"), ("a/../../b", "box", "parent"), ("", "../box", "name"), ("", "a\nb", "name"),
    ("", "", "name"), ("a", ".", "name"), ("a", "/", "name"),
])
def test_a_path_that_leads_elsewhere_is_refused(parent: str, name: str, where: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"^cgroups\.{where}: "):
        relative_path(Cgroup(parent=parent, name=name))


@pytest.mark.parametrize(("root", "own", "relative", "expected"), [
    ("/", "/", "box", "/m/box"),
    ("/", "/user/me", "box", "/m/user/me/box"),
    ("/user", "/user/me", "box", "/m/me/box"),
    ("/user", "/user", "box", "/m/box"),
    ("/user", "/username", "box", "/m/box"),
    ("/", "/user/me", "/box", "/m/box"),
    ("/..", "/../other", "box", "/m/box"),
])
def test_a_cgroup_lies_below_our_own_or_below_the_mount(root: str, own: str, relative: str, expected: str) -> None:
    assert Hierarchy(("cpu",), "/m", root, own).directory(relative) == expected


def test_a_directory_is_known_by_the_name_proc_gives_it() -> None:
    assert Hierarchy(("cpu",), "/m", "/", "/").cgroup("/m/a/b") == "/a/b"
    assert Hierarchy(("cpu",), "/m", "/user", "/user/me").cgroup("/m/me/box") == "/user/me/box"


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the host look as these two files of /proc say."""
    def look(mountinfo: str, cgroup: str) -> list[tuple[tuple[str, ...], str, str]]:
        table = {"/proc/self/mountinfo": mountinfo, "/proc/self/cgroup": cgroup}
        monkeypatch.setattr(files, "read", table.__getitem__)
        monkeypatch.setattr(paths, "_visible", lambda *_: True)
        return [(one.controllers, one.mount_point, one.own) for one in find_hierarchies()]

    return look


V1 = """\
25 1 0:22 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 1 0:39 / /mnt rw - ext4 /dev/sda - cgroup
"""
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_every_hierarchy_of_a_hybrid_host_is_found(mounted: Any) -> None:
    assert mounted(V1, "4:memory:/user:1/x\n2:cpu,cpuacct:/c\n1:name=systemd:/s\n0::/u\n") == [
        (("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/c"), (("memory",), "/sys/fs/cgroup/a b", "/user:1/x"),
        (("name=systemd",), "/sys/fs/cgroup/systemd", "/s"), (("",), "/sys/fs/cgroup/unified", "/u")]


def test_a_tree_mounted_elsewhere_does_not_make_a_version_2_host_a_hybrid(mounted: Any) -> None:
    """Some VPN programs mount net_cls for themselves."""
    net_cls = "50 1 0:50 / /run/vpn rw - cgroup cgroup rw,net_cls\n"
    assert mounted(net_cls + V2, "1:net_cls:/\n0::/me\n") == [(("",), "/sys/fs/cgroup", "/me")]


def test_of_two_mounts_of_a_tree_the_one_with_our_own_cgroup_counts(mounted: Any) -> None:
    other = "50 1 0:29 /elsewhere /mnt/cpu rw - cgroup cgroup rw,cpu\n"
    right = "51 1 0:29 /c /mnt/right rw - cgroup cgroup rw,cpu\n"
    for text in (other + right, right + other):
        assert mounted(text, "2:cpu:/c/d\n") == [(("cpu",), "/mnt/right", "/c/d")]


def test_a_host_without_cgroups_says_so(mounted: Any) -> None:
    with pytest.raises(NotFoundError, match="mountpoint for cgroup not found; mount one.*leave cgroups out") as caught:
        mounted("25 1 0:22 / /proc rw - proc proc rw\n", "0::/\n")
    assert is_not_found(caught.value)
    assert not is_not_found(None)
    assert not is_not_found(OSError())


def test_a_mount_that_another_covers_does_not_count() -> None:
    status = os.stat("/proc")
    assert paths._visible("/proc", os.major(status.st_dev), os.minor(status.st_dev))
    assert not paths._visible("/proc", 0, 0)
    assert not paths._visible("/no/such", 0, 0)


# --- managers of this host


class Crowd:
    """Children that sleep, and what becomes of them."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def add(self, cgroup: int | None = None, entries: list[int] | None = None) -> int:
        pid, pidfd = clone3(0, exit_signal=signal.SIGCHLD, cgroup=cgroup)
        if pid == 0:
            try:
                for fd in entries or ():
                    os.write(fd, b"0")
                time.sleep(60)
            finally:
                os._exit(1)
        os.close(pidfd)
        self.pids.append(pid)
        if entries:
            deadline = time.monotonic() + 5
            while "nscontainer-test" not in Path(f"/proc/{pid}/cgroup").read_text() and time.monotonic() < deadline:
                time.sleep(0.001)
        return pid

    def reap(self) -> list[int]:
        """Wait for all of them and return how they ended: minus a signal's number."""
        found = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        self.pids.clear()
        return found

    def end(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.reap()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    yield made
    made.end()


@pytest.fixture
def manager(leaves_nothing: Any, crowd: Crowd) -> Iterator[Manager]:
    """A manager of whatever this host has."""
    made = manager_for(fresh())
    yield made
    crowd.end()
    made.destroy()


both = pytest.mark.needs("root", "cgroup2")
legacy = pytest.mark.needs("root", "cgroup1")


def directories(manager: Manager) -> set[str]:
    return set(manager.get_paths().values())


def where(pid: int, name: str) -> list[bool]:
    found = cgroup_file(Path(f"/proc/{pid}/cgroup").read_text())
    return [path.endswith(f"/{name}") for path in found.values()]


@both
def test_nothing_is_made_before_it_is_needed(manager: Manager) -> None:
    assert manager.get_paths() == {}
    assert manager.get_pids() == []
    assert not manager.exists()
    assert not manager.frozen()
    manager.kill()
    manager.destroy()


@both
def test_a_process_is_put_into_every_hierarchy(manager: Manager, crowd: Crowd) -> None:
    pid = crowd.add()
    manager.apply(pid)
    assert all(where(pid, manager.cgroup.name))
    assert manager.get_pids() == [pid]
    assert manager.exists()
    manager.apply(pid)
    assert manager.get_pids() == [pid]


@both
def test_a_process_that_is_born_and_enters_by_itself_is_in(manager: Manager, crowd: Crowd) -> None:
    directory, entries = manager.directory_fd(), manager.entry_fds()
    pid = crowd.add(directory, entries)
    for fd in [*entries, *([] if directory is None else [directory])]:
        os.close(fd)
    deadline = time.monotonic() + 5
    while not all(where(pid, manager.cgroup.name)):
        assert time.monotonic() < deadline, where(pid, manager.cgroup.name)
    start = time.monotonic()
    manager.apply(pid)
    assert time.monotonic() - start < 0.5
    assert manager.get_pids() == [pid]


@both
def test_apply_moves_nobody_who_is_in(manager: Manager, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = crowd.add()
    manager.apply(pid)
    monkeypatch.setattr(files, "write", lambda *_: pytest.fail("a write that makes the kernel wait"))
    manager.apply(pid)
    again = manager_for(manager.cgroup, manager.get_paths())
    again.apply(pid)


@both
def test_processes_further_down_count(manager: Manager, crowd: Crowd) -> None:
    first, second = crowd.add(), crowd.add()
    manager.apply(first)
    for directory in directories(manager):
        os.makedirs(f"{directory}/below/deeper")
    directory = manager._best() or ""
    Path(f"{directory}/below/deeper/cgroup.procs").write_text(str(second))
    assert manager.get_pids() == sorted([first, second])
    crowd.end()
    manager.destroy()
    assert not any(map(os.path.exists, [directory, f"{directory}/below"]))


@both
def test_frozen_processes_stand_still_until_they_are_thawed(manager: Manager, crowd: Crowd) -> None:
    pid = crowd.add()
    manager.apply(pid)
    manager.freeze(FreezerState.FROZEN)
    assert manager.frozen()
    os.kill(pid, signal.SIGCONT)
    assert manager_for(manager.cgroup, manager.get_paths()).frozen()
    manager.freeze(FreezerState.UNDEFINED)
    assert manager.frozen()
    manager.freeze(FreezerState.THAWED)
    assert not manager.frozen()
    manager.freeze(True)
    manager.freeze(False)
    assert not manager.frozen()


@both
def test_a_new_configuration_may_freeze(manager: Manager, crowd: Crowd) -> None:
    manager.apply(crowd.add())
    name = manager.cgroup.name
    manager.set(Config(cgroups=Cgroup(name=name, freezer=FreezerState.FROZEN)))
    assert manager.frozen()
    manager.set(Config(cgroups=Cgroup(name=name)))
    assert manager.frozen()
    manager.set(Config(cgroups=Cgroup(name=name, freezer=FreezerState.THAWED)))
    assert not manager.frozen()
    manager.set(Config())


@both
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_kill_leaves_nobody(
        manager: Manager, crowd: Crowd, monkeypatch: pytest.MonkeyPatch, at_once: bool, frozen: bool) -> None:
    if not at_once:  # before Linux 5.14
        monkeypatch.setattr(Manager, "_kill_at_once", lambda self: False)
    for _ in range(5):
        manager.apply(crowd.add())
    manager.freeze(frozen)
    manager.kill()
    assert manager.get_pids() == []
    assert crowd.reap() == [-signal.SIGKILL] * 5
    manager.destroy()
    assert not manager.exists()


@both
def test_kill_without_a_freezer_catches_those_who_fork(
        manager: Manager, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_freezer(*_: object) -> None:
        raise ContainerError("none here")

    monkeypatch.setattr(Manager, "_kill_at_once", lambda self: False)
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(0.2)
            for _ in range(5):
                os.fork()
            time.sleep(60)
        finally:
            os._exit(1)
    crowd.pids.append(pid)
    manager.apply(pid)
    deadline = time.monotonic() + 5
    while len(manager.get_pids()) < 32 and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.setattr(manager, "freeze", no_freezer)
    manager.kill()
    assert manager.get_pids() == []


@both
def test_a_cgroup_with_processes_is_not_removed_and_they_are_named(
        manager: Manager, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    pid = crowd.add()
    manager.apply(pid)
    with pytest.raises(ContainerError, match=f"cannot remove the cgroup .*: it has processes: {pid}; kill them"):
        manager.destroy()
    assert manager.exists()


@both
def test_a_process_that_is_just_ending_is_waited_for(manager: Manager, crowd: Crowd) -> None:
    for _ in range(20):
        manager.apply(pid := crowd.add())
        os.kill(pid, signal.SIGKILL)
        crowd.reap()
        manager.destroy()
        assert not manager.exists()


@both
def test_destroying_twice_is_harmless_and_so_is_what_is_gone_already(manager: Manager) -> None:
    fds = [manager.directory_fd(), *manager.entry_fds()]
    for fd in fds:
        if fd is not None:
            os.close(fd)
    loaded = manager_for(manager.cgroup, manager.get_paths())
    assert loaded.exists()
    manager.destroy()
    assert not loaded.exists()
    assert loaded.get_pids() == []
    assert not loaded.frozen()
    loaded.kill()
    loaded.destroy()
    manager.destroy()


@both
def test_after_its_end_a_container_may_begin_again(manager: Manager, crowd: Crowd) -> None:
    for _ in range(2):
        manager.apply(crowd.add())
        assert manager.exists()
        crowd.end()
        manager.destroy()


@both
def test_a_cgroup_in_use_is_left_alone(manager: Manager, crowd: Crowd) -> None:
    pid = crowd.add()
    manager.apply(pid)
    other = manager_for(manager.cgroup)
    with pytest.raises(ContainerError, match=f"is in use by other processes: {pid}; each container needs"):
        other.apply(pid)
    other.destroy()
    assert manager.get_pids() == [pid]


@both
def test_an_empty_cgroup_is_taken_over_even_when_it_was_left_frozen(manager: Manager, crowd: Crowd) -> None:
    first = crowd.add()
    manager.apply(first)
    manager.freeze(True)
    manager.kill()
    crowd.reap()
    for directory in directories(manager):
        for name, word in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
            if os.path.exists(f"{directory}/{name}"):
                Path(f"{directory}/{name}").write_text(word)
    other = manager_for(manager.cgroup)
    other.apply(crowd.add())
    assert not other.frozen()
    assert len(other.get_pids()) == 1


@both
def test_below_a_frozen_cgroup_nothing_is_started(manager: Manager) -> None:
    fd = manager.directory_fd()
    if fd is not None:
        os.close(fd)
    manager.freeze(True)
    below = manager_for(Cgroup(parent=manager.cgroup.name, name="below"))
    with pytest.raises(ContainerError, match="is frozen: whoever enters it stops; a cgroup above it is: thaw that"):
        below.directory_fd()
    assert not below.exists()
    assert [d for top in directories(manager) for d in os.listdir(top) if d == "below"] == []
    manager.freeze(False)


@both
def test_an_absolute_parent_is_made_at_the_top_and_stays(leaves_nothing: Any, crowd: Crowd) -> None:
    parent = fresh().name
    manager = manager_for(Cgroup(parent=f"/{parent}", name="box"))
    pid = crowd.add()
    manager.apply(pid)
    tops = {h.controllers[0]: h.mount_point for h in find_hierarchies()}
    assert manager.get_paths().items() >= {(name, f"{top}/{parent}/box") for name, top in tops.items()}
    assert all(where(pid, "box"))
    crowd.end()
    manager.destroy()
    for top in tops.values():
        os.rmdir(f"{top}/{parent}")


@both
def test_a_process_that_has_ended_cannot_be_put_anywhere(manager: Manager) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(SyscallError, match=rf"ENOENT|ESRCH.*/proc/{pid}|openat on '/proc/{pid}/cgroup'"):
        manager.apply(pid)


@both
@pytest.mark.needs("user")
def test_an_ordinary_user_is_told_how_to_get_a_cgroup(as_user: Any, leaves_nothing: Any) -> None:
    def make() -> str:
        with pytest.raises(ContainerError) as caught:
            manager_for(fresh()).directory_fd()
        return str(caught.value)

    assert "permission denied; run as root, or in a cgroup of one's own, as systemd-run" in as_user(make)


# --- version 1


@legacy
def test_a_cpuset_takes_processes_although_those_above_were_empty(leaves_nothing: Any, crowd: Crowd) -> None:
    top = next((h.mount_point for h in find_hierarchies() if "cpuset" in h.controllers), None)
    if top is None:
        pytest.skip("no cpuset hierarchy here")
    outer = fresh()
    manager = manager_for(Cgroup(parent=f"/{outer.name}/middle", name="box"))
    os.mkdir(f"{top}/{outer.name}")
    manager.apply(crowd.add())
    cpus = Path(f"{top}/cpuset.cpus").read_text()
    for part in ("", "/middle", "/middle/box"):
        assert Path(f"{top}/{outer.name}{part}/cpuset.cpus").read_text() == cpus
    crowd.end()
    manager.destroy()
    for one in find_hierarchies():
        os.rmdir(f"{one.mount_point}/{outer.name}/middle")
        os.rmdir(f"{one.mount_point}/{outer.name}")


@legacy
def test_a_tree_that_is_closed_to_us_is_left_out(
        manager: Manager, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    make = files.make_directory

    def closed(path: str) -> bool:
        if "/cpu/" in path or "/cpu,cpuacct/" in path:
            raise SyscallError("mkdirat", 13, path)
        return make(path)

    monkeypatch.setattr(files, "make_directory", closed)
    manager.apply(crowd.add())
    assert "cpu" not in manager.get_paths()
    assert "memory" in manager.get_paths()


@legacy
def test_a_failure_half_way_leaves_no_directory(
        manager: Manager, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any) -> None:
    make = files.make_directory
    made: list[str] = []

    def failing(path: str) -> bool:
        if len(made) == 3:
            raise SyscallError("mkdirat", 28, path)
        made.append(path)
        return make(path)

    monkeypatch.setattr(files, "make_directory", failing)
    with pytest.raises(SyscallError, match="ENOSPC"):
        manager.entry_fds()
    assert len(made) == 3
    assert manager.get_paths() == {}
    leaves_nothing.check()


# --- version 2 alone


def with_version_2_alone(function: Any) -> Any:
    """Run a function where version 2 is all there is; the tree is the host's."""
    def alone() -> Any:
        if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # it may be so: a second mount changes the first
            unshare(CLONE.NEWNS)
            mount(None, "/", flags=MS.REC | MS.PRIVATE)
            umount2("/sys/fs/cgroup", MNT.DETACH)
            mount("none", "/sys/fs/cgroup", "cgroup2")
        crowd = Crowd()
        manager = manager_for(fresh())
        try:
            return function(manager, crowd)
        finally:
            crowd.end()
            manager.destroy()

    return alone


@both
def test_one_directory_does_it_all_in_version_2(in_child: Any, leaves_nothing: Any) -> None:
    def use(manager: Manager, crowd: Crowd) -> list[Any]:
        fd = manager.directory_fd()
        assert fd is not None
        born = crowd.add(fd)
        moved = crowd.add()
        manager.apply(moved)
        facts = [type(manager).__name__, list(manager.get_paths()), manager.entry_fds(),
                 manager.get_pids() == sorted([born, moved])]
        manager.freeze(True)
        facts.append(manager.frozen())
        manager.freeze(False)
        facts.append(manager.frozen())
        loaded = manager_for(manager.cgroup, manager.get_paths())
        loaded.kill()
        facts += [type(loaded).__name__, crowd.reap()]
        loaded.destroy()
        return [*facts, manager.exists()]

    assert in_child(with_version_2_alone(use)) == [
        "UnifiedManager", [""], [], True, True, False, "UnifiedManager", [-9, -9], False]


@both
def test_one_who_is_born_in_it_is_not_moved_into_it_again(in_child: Any, leaves_nothing: Any) -> None:
    def use(manager: Manager, crowd: Crowd) -> bool:
        fd = manager.directory_fd()
        pid = crowd.add(fd)
        files.write = lambda *_: pytest.fail("a write that makes the kernel wait")
        manager.apply(pid)
        return manager.get_pids() == [pid]

    assert in_child(with_version_2_alone(use))


@both
def test_version_2_counts_cpu_time_without_any_controller(in_child: Any, leaves_nothing: Any) -> None:
    def use(manager: Manager, crowd: Crowd) -> list[int]:
        fd = manager.directory_fd()
        pid = clone3(0, exit_signal=signal.SIGCHLD, cgroup=fd)[0]
        if pid == 0:
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
            os._exit(0)
        os.waitpid(pid, 0)
        usage = manager.get_stats().cpu_stats.cpu_usage
        return [usage.total_usage, usage.usage_in_usermode + usage.usage_in_kernelmode]

    total, parts = in_child(with_version_2_alone(use))
    assert 40_000_000 < total < 1_000_000_000
    assert abs(total - parts) < 10_000_000


# --- the freezer's patience


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cgroup of either version that never freezes, with ourselves in it, waiting for a device."""
    monkeypatch.setattr(freezer, "PATIENCE", 0.05)
    monkeypatch.setattr(freezer, "_uninterruptible", lambda pid: True)
    real = files.read
    monkeypatch.setattr(files, "read", lambda path: "FREEZING\n" if path.endswith("freezer.state") else real(path))
    for name in ("freezer.state", "cgroup.freeze", "cgroup.events"):
        (tmp_path / name).touch()
    (tmp_path / "cgroup.procs").write_text("41\n42\n")
    return tmp_path


def test_what_does_not_freeze_is_thawed_again_and_told(stubborn: Path) -> None:
    expected = r"within 0\.05 seconds: 41, 42 wait for a device; it has been thawed again"
    with pytest.raises(ContainerError, match=expected):
        freezer.freeze_v1(str(stubborn), True)
    assert (stubborn / "freezer.state").read_text().endswith("THAWED")
    with pytest.raises(ContainerError, match="cannot freeze the cgroup"):
        freezer.freeze_v2(str(stubborn), True)
    assert (stubborn / "cgroup.freeze").read_text() == "0"


def test_what_does_not_thaw_blames_those_above(stubborn: Path) -> None:
    with pytest.raises(ContainerError, match="cannot thaw the cgroup .*; a cgroup above it is frozen"):
        freezer.freeze_v1(str(stubborn), False)


def test_a_device_that_one_waits_for_shows_in_the_state() -> None:
    assert not freezer._uninterruptible(os.getpid())
    assert not freezer._uninterruptible(0)


# --- small files


def test_text_is_waited_for_no_longer_than_told() -> None:
    asked: list[int] = []

    def never() -> bool:
        asked.append(1)
        return False

    start = time.monotonic()
    assert not files.until(never, 0.05)
    assert 0.05 <= time.monotonic() - start < 2
    assert len(asked) > 2
    assert files.until(lambda: True, 0)


def test_processes_without_a_number_here_are_not_listed(tmp_path: Path) -> None:
    """kill(0) would be our own process group."""
    (tmp_path / "cgroup.procs").write_text("0\n7\n0\n")
    assert files.get_pids(str(tmp_path)) == [7]


def test_an_error_names_the_file_and_what_was_to_be_in_it() -> None:
    with pytest.raises(SyscallError, match=r"^write on '/proc/self/oom_score_adj' \(text=nonsense\): EINVAL"):
        files.write("/proc/self/oom_score_adj", "nonsense")
    assert files.read_or_none("/no/such") is None
