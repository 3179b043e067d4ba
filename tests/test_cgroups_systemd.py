"""Cgroups by systemd: names and properties without a bus, errors on a fake one, scopes where systemd runs."""
from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import host
from containers import ENVIRONMENT, output_of, run_in, standard, with_user_namespace
from leftovers import Leftovers
from nscontainer import Cgroup, Config, Container, ContainerError, Factory, Process, Status
from nscontainer.cgroups import dbus, systemd, unit
from nscontainer.cgroups.dbus import Bus, BusError
from nscontainer.cgroups.manager import manager_for
from nscontainer.cgroups.paths import Hierarchy
from nscontainer.cgroups.systemd import LegacyScope, Systemd, UnifiedScope
from nscontainer.cgroups.unit import INFINITY
from nscontainer.devices import Device
from nscontainer.errors import ConfigInvalid

MIB = 1 << 20
NOW = 252      # a version of systemd that knows everything but OOMPolicy of scopes
needs_systemd = pytest.mark.needs("systemd", "busybox")


# --- names

@pytest.mark.parametrize(("prefix", "name", "expected"), [
    ("docker", "web1", "docker-web1.scope"), ("", "box", "-box.scope"), ("a", "b.scope", "a-b.scope.scope"),
    ("ns", "a_b:c\\x2d", "ns-a_b:c\\x2d.scope"),
])
def test_a_scope_is_named_by_prefix_and_name(prefix: str, name: str, expected: str) -> None:
    assert unit.unit_name(Cgroup(scope_prefix=prefix, name=name)) == expected


@pytest.mark.parametrize(("prefix", "name", "problem"), [
    ("x", "a b", r"cgroups\.name: .*cannot have ' '"), ("x/", "a", r"cgroups\.scope_prefix: .*'/'"),
    ("x", "", r"cgroups\.name: .*needs a name"), ("x", "a.slice", "slices have no processes"),
    ("x", "a" * 250, "longer than systemd takes"), ("x", "ü", "cannot have"), ("x", "a\n", "cannot have"),
])
def test_a_name_that_systemd_would_refuse_is_refused_here(prefix: str, name: str, problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        unit.unit_name(Cgroup(scope_prefix=prefix, name=name))


@pytest.mark.parametrize(("slice", "expected"), [
    ("system.slice", "/system.slice"), ("-.slice", ""), ("a-b.slice", "/a.slice/a-b.slice"),
    ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
    ("user-1000.slice", "/user.slice/user-1000.slice"),
])
def test_each_dash_of_a_slice_is_a_level(slice: str, expected: str) -> None:
    assert unit.slice_path(slice) == expected


@pytest.mark.parametrize("slice", ["", "a", ".slice", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", "/a.slice",
                                   "a.scope", "a b.slice", "--.slice"])
def test_what_is_no_slice_is_refused(slice: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^cgroups\.parent: .* is not the name of a slice"):
        unit.slice_path(slice)


def test_without_a_slice_it_is_the_usual_one() -> None:
    assert unit.slice_name(Cgroup(), user=False) == "system.slice"
    assert unit.slice_name(Cgroup(), user=True) == "user.slice"
    assert unit.slice_name(Cgroup(parent="a-b.slice"), user=True) == "a-b.slice"


# --- properties

def v2(version: int = NOW, **limits: Any) -> dict[str, Any]:
    return {name: value for name, (_, value) in unit.limit_properties(Cgroup(**limits), unified=True, version=version)}


def v1(version: int = NOW, **limits: Any) -> dict[str, Any]:
    return {name: value for name, (_, value) in unit.limit_properties(Cgroup(**limits), unified=False, version=version)}


@pytest.mark.parametrize(("limits", "expected"), [
    ({}, {}),
    ({"memory": 64 * MIB, "memory_swap": 96 * MIB}, {"MemoryMax": 64 * MIB, "MemorySwapMax": 32 * MIB}),
    ({"memory": 64 * MIB, "memory_swap": 64 * MIB}, {"MemoryMax": 64 * MIB, "MemorySwapMax": 0}),
    ({"memory": -1}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
    ({"memory_reservation": 5}, {"MemoryLow": 5}),
    ({"memory_low": 5, "memory_high": 7, "memory_min": 3}, {"MemoryLow": 5, "MemoryHigh": 7, "MemoryMin": 3}),
    ({"cpu_shares": 1024}, {"CPUWeight": 100}),
    ({"cpu_weight": 77}, {"CPUWeight": 77}),
    ({"cpu_idle": 1, "cpu_shares": 1024}, {"CPUWeight": 0}),
    ({"cpu_quota": 50_000}, {"CPUQuotaPerSecUSec": 500_000}),
    ({"cpu_quota": 50_000, "cpu_period": 200_000}, {"CPUQuotaPeriodUSec": 200_000, "CPUQuotaPerSecUSec": 250_000}),
    ({"cpu_quota": 33_333}, {"CPUQuotaPerSecUSec": 340_000}),
    ({"cpu_quota": -1}, {"CPUQuotaPerSecUSec": INFINITY}),
    ({"cpu_period": 50_000}, {"CPUQuotaPeriodUSec": 50_000, "CPUQuotaPerSecUSec": INFINITY}),
    ({"pids_limit": 33}, {"TasksMax": 33}),
    ({"pids_limit": 0}, {"TasksMax": 1}),
    ({"pids_limit": -1}, {"TasksMax": INFINITY}),
    ({"cpuset_cpus": "0-3,9", "cpuset_mems": "0"}, {"AllowedCPUs": b"\x0f\x02", "AllowedMemoryNodes": b"\x01"}),
    ({"blkio_weight": 500}, {"IOWeight": 4950}),
    ({"unified": {"memory.high": "7", "memory.max": "max", "pids.max": "5", "cpu.weight": "9", "cpuset.cpus": "1",
                  "cpu.max": "50000 100000", "misc.max": "a 5", "memory.low": "nonsense"}},
     {"MemoryHigh": 7, "MemoryMax": INFINITY, "TasksMax": 5, "CPUWeight": 9, "AllowedCPUs": b"\x02",
      "CPUQuotaPeriodUSec": 100_000, "CPUQuotaPerSecUSec": 500_000}),
    ({"unified": {"cpu.max": "max"}}, {"CPUQuotaPerSecUSec": INFINITY}),
    ({"unified": {"cpu.max": "1max 5"}}, {}),
])
def test_limits_of_version_2_become_properties(limits: dict[str, Any], expected: dict[str, Any]) -> None:
    assert v2(**limits) == expected


@pytest.mark.parametrize(("limits", "expected"), [
    ({"memory": 64 * MIB, "memory_swap": 96 * MIB, "memory_reservation": 5}, {"MemoryLimit": 64 * MIB}),
    ({"memory": -1}, {"MemoryLimit": INFINITY}),
    ({"cpu_shares": 1024, "blkio_weight": 500}, {"CPUShares": 1024, "BlockIOWeight": 500}),
    ({"cpu_quota": 50_000, "pids_limit": 9}, {"CPUQuotaPerSecUSec": 500_000, "TasksMax": 9}),
    ({"unified": {"memory.high": "7"}}, {}),
])
def test_limits_of_version_1_become_properties(limits: dict[str, Any], expected: dict[str, Any]) -> None:
    assert v1(**limits) == expected


def test_an_old_systemd_is_told_nothing_that_it_does_not_know() -> None:
    everything = {"memory": MIB, "cpuset_cpus": "0", "cpu_quota": 50_000, "cpu_period": 100_000, "cpu_idle": 1,
                  "pids_limit": 5}
    assert v2(219, **everything) == {"CPUQuotaPerSecUSec": 500_000}
    assert v2(243, **everything) == {"MemoryMax": MIB, "CPUQuotaPeriodUSec": 100_000, "CPUQuotaPerSecUSec": 500_000,
                                     "TasksMax": 5}


@pytest.mark.parametrize(("quota", "period", "expected"), [
    (50_000, 0, 50_000), (33_333, 0, 34_000), (12_345, 50_000, 12_500), (-1, 0, -1), (0, 5000, 0), (1000, 0, 1000),
])
def test_a_quota_is_enforced_as_systemd_rounds_it(quota: int, period: int, expected: int) -> None:
    wish = Cgroup(cpu_quota=quota, cpu_period=period)
    rounded = unit.as_enforced(wish)
    assert (rounded.cpu_quota, wish.cpu_quota) == (expected, quota)
    assert v2(cpu_quota=rounded.cpu_quota, cpu_period=period) == v2(cpu_quota=quota, cpu_period=period)


@pytest.mark.parametrize("text", ["x", "3-1", "-1", "1-", "0-99999999", "²", "0x1"])
def test_a_cpu_list_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^cgroups\.cpuset_cpus: "):
        v2(cpuset_cpus=text)


def test_a_scope_begins_with_its_process_in_its_slice_and_lends_us_what_is_below() -> None:
    cgroup = Cgroup(name="web", scope_prefix="x", unified={"memory.oom.group": "1"})
    found = dict(unit.scope_properties(cgroup, "a-b.slice", 42, unified=True, version=NOW))
    assert found == {
        "Description": ("s", "libcontainer container web"), "Slice": ("s", "a-b.slice"), "Delegate": ("b", True),
        "PIDs": ("au", [42]), "MemoryAccounting": ("b", True), "CPUAccounting": ("b", True),
        "IOAccounting": ("b", True), "TasksAccounting": ("b", True), "DefaultDependencies": ("b", False)}
    assert dict(unit.scope_properties(cgroup, "x.slice", 42, unified=True, version=253))["OOMPolicy"] == ("s", "kill")
    assert "BlockIOAccounting" in dict(unit.scope_properties(cgroup, "x.slice", 42, unified=False, version=NOW))


def device(kind: str, major: int, minor: int, permissions: str = "rwm") -> Device:
    return Device(type=ord(kind), major=major, minor=minor, permissions=permissions)


def test_devices_that_are_allowed_are_a_list_that_begins_empty() -> None:
    wish = Cgroup(allowed_devices=(device("c", 1, 3), device("b", 8, -1, "r"), device("c", -1, -1, "m")))
    assert unit.device_properties(wish, NOW) == [
        ("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", [])),
        ("DeviceAllow", ("a(ss)", [("/dev/char/1:3", "rwm"), ("block-8", "r"), ("char-*", "m")]))]


@pytest.mark.parametrize("wish", [
    Cgroup(allow_all_devices=True), Cgroup(allow_all_devices=True, denied_devices=(device("c", 1, 3),)),
    Cgroup(allowed_devices=(device("c", -1, 3),)), Cgroup(allowed_devices=(device("a", -1, -1),)),
])
def test_what_systemd_has_no_words_for_is_left_to_us(wish: Cgroup) -> None:
    assert unit.device_properties(wish, NOW) == [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]


# --- which manager

TREE = [Hierarchy(("",), "/m", "/", "/me")]
TREES = [Hierarchy(("cpu", "cpuacct"), "/m/cpu", "/", "/"), Hierarchy(("",), "/m/unified", "/", "/")]


@pytest.mark.parametrize(("fields", "expected"), [
    ({"scope_prefix": "x"}, True), ({"manager": "systemd"}, True), ({}, False),
    ({"scope_prefix": "x", "manager": "cgroupfs"}, False),
])
def test_a_prefix_or_the_name_of_a_manager_chooses_systemd(
        monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: bool) -> None:
    for trees, kind in ((TREE, UnifiedScope), (TREES, LegacyScope)):
        monkeypatch.setattr("nscontainer.cgroups.manager.find_hierarchies", lambda trees=trees: trees)
        assert isinstance(manager_for(Cgroup(name="a", **fields)), kind) == expected


@pytest.mark.parametrize(("fields", "path"), [({"parent": "/a"}, "parent"), ({"name": "a b"}, "name")])
def test_a_wrong_name_is_refused_before_anything_exists(
        monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], path: str) -> None:
    monkeypatch.setattr("nscontainer.cgroups.manager.find_hierarchies", lambda: TREE)
    with pytest.raises(ConfigInvalid, match=rf"^cgroups\.{path}: "):
        manager_for(Cgroup(**{"name": "a", "scope_prefix": "x", **fields}))


# --- a bus that is not there, or says no

class Library:
    """libsystemd, as far as we use it: what each function answers can be chosen, and nothing is sent anywhere."""

    def __init__(self, **answers: int) -> None:
        self.answers = answers
        self.called: list[str] = []
        self.refusal: tuple[bytes, bytes] | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def function(*arguments: Any) -> Any:
            self.called.append(name)
            if name in self.answers:
                return self.answers[name]
            if name == "sd_bus_new":
                arguments[0]._obj.value = 1
            elif name == "sd_bus_send":
                arguments[2]._obj.value = 7
            elif name in ("sd_bus_message_new_method_call", "sd_bus_process"):
                arguments[1]._obj.value = 2
                return 1
            elif name == "sd_bus_message_get_reply_cookie":
                arguments[1]._obj.value = 7
            elif name == "sd_bus_message_get_error":
                return ctypes.pointer(dbus._Error(*self.refusal, 0)) if self.refusal else None
            return 0

        return function


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    fake = Library()
    monkeypatch.setattr(dbus, "load", lambda: fake)
    yield fake
    made, closed = fake.called.count("sd_bus_new"), fake.called.count("sd_bus_flush_close_unref")
    assert made == closed or "sd_bus_new" in fake.answers
    taken = sum(fake.called.count(name) for name in ("sd_bus_message_new_method_call", "sd_bus_message_get_error"))
    if "sd_bus_message_new_method_call" not in fake.answers:
        assert fake.called.count("sd_bus_message_unref") >= taken


@pytest.mark.parametrize(("function", "words"), [
    ("sd_bus_new", "make a connection"), ("sd_bus_set_address", "take the address unix:path=/x"),
    ("sd_bus_set_bus_client", "make a connection"), ("sd_bus_start", "connect to unix:path=/x"),
    ("sd_bus_message_new_method_call", "make the message Do"), ("sd_bus_message_append_basic", "say 'word'"),
    ("sd_bus_send", "send Do"), ("sd_bus_process", "hear of Do"), ("sd_bus_message_read_basic", "read an answer"),
])
def test_every_call_that_fails_is_one_clear_error(library: Library, function: str, words: str) -> None:
    library.answers[function] = -errno.EIO
    with (pytest.raises(BusError, match=f"^D-Bus: cannot {words}: Input/output error$") as caught,
          Bus("unix:path=/x") as bus):
        bus.call("a.b", "/a", "a.b", "Do", "s", "word", answer="s")
    assert caught.value.number == errno.EIO


@pytest.mark.parametrize("function", ["sd_bus_message_open_container", "sd_bus_message_close_container",
                                      "sd_bus_message_append_basic"])
def test_a_list_that_cannot_be_put_into_a_message_is_an_error(library: Library, function: str) -> None:
    library.answers[function] = -errno.ENOMEM
    with Bus("unix:path=/x") as bus, pytest.raises(BusError, match="D-Bus: cannot (fill a message|say)"):
        bus.call("a.b", "/a", "a.b", "Do", "a(sv)", [("PIDs", ("au", [1]))])


def test_an_answer_that_never_comes_is_an_error(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "PATIENCE", 0.01)
    library.answers["sd_bus_process"] = 0
    library.answers["sd_bus_wait"] = -errno.EINTR
    with Bus("unix:path=/x") as bus, pytest.raises(BusError, match="within 0.01 seconds: Connection timed out"):
        bus.call("a.b", "/a", "a.b", "Do")
    assert "sd_bus_wait" in library.called


@pytest.mark.parametrize(("name", "text", "words"), [
    (b"org.freedesktop.DBus.Error.AccessDenied", b"Permission denied", "Permission denied; only root may"),
    (b"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", b"", "Required; only root may"),
    (b"org.freedesktop.DBus.Error.NoReply", b"gone", "systemd refused Do: gone$"),
])
def test_a_refusal_is_told_in_systemds_words(library: Library, name: bytes, text: bytes, words: str) -> None:
    library.refusal = name, text
    with Bus("unix:path=/x") as bus, pytest.raises(BusError, match=words) as caught:
        bus.call("a.b", "/a", "a.b", "Do")
    assert caught.value.name == name.decode()


def test_a_scope_of_that_name_is_in_use(library: Library) -> None:
    library.refusal = b"org.freedesktop.systemd1.UnitExists", b"exists"
    with Systemd(False) as talk:
        talk._listen = lambda: None  # type: ignore[method-assign]
        talk.reset_failed = lambda name: library.called.append(f"reset {name}")  # type: ignore[method-assign]
        with pytest.raises(ContainerError, match=r"^the scope x-a\.scope is in use; each container needs"):
            talk.start("x-a.scope", [])
    assert library.called.count("reset x-a.scope") == 1
    assert library.called.count("sd_bus_send") == 2


def test_a_unit_that_is_gone_can_be_stopped(library: Library) -> None:
    library.refusal = b"org.freedesktop.systemd1.NoSuchUnit", b"not loaded"
    with Systemd(False) as talk:
        talk._listen = lambda: None  # type: ignore[method-assign]
        talk.stop("x-a.scope")
        talk.reset_failed("x-a.scope")


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(dbus, "_loaded", [])
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(BusError, match=r"^cannot load libsystemd\.so\.0.*; install libsystemd0"):
        Bus("unix:path=/x")


def test_a_library_from_before_sd_bus_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "_loaded", [])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(BusError, match="cannot load"):
        Bus("unix:path=/x")


def _library_here() -> None:
    try:
        dbus.load()
    except BusError as error:
        pytest.skip(str(error))


def test_where_no_systemd_is_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _library_here()
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(BusError, match="neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set; log in"):
        dbus.connect(user=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "a b,c"))
    with pytest.raises(BusError) as caught:
        dbus.connect(user=True)
    where = f"unix:path={tmp_path}/a%20b%2cc"
    assert str(caught.value) == (
        f"cannot reach this user's systemd: {where}/bus: No such file or directory, {where}/systemd/private: No such "
        "file or directory; there is no such socket: is this D-Bus, or systemd, running?")


def test_a_socket_that_nobody_listens_at_is_told(tmp_path: Path) -> None:
    _library_here()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "bus"))
    with pytest.raises(BusError, match="connect to unix:path=.*: Connection refused; nobody listens there"):
        Bus(f"unix:path={tmp_path}/bus")


@pytest.mark.needs("root", "busybox")
def test_a_container_that_systemd_should_hold_does_not_run_without_it(
        factory: Factory, busybox_template: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Leftovers) -> None:
    _library_here()
    config = standard(busybox_template)
    config.cgroups = Cgroup(name="a", scope_prefix="nscontainer")
    if host.missing("cgroup1") and host.missing("cgroup2"):
        pytest.skip("needs cgroup2: no hierarchy at all")
    output_of(factory, standard(busybox_template), "true")
    leaves_nothing.start_over()
    monkeypatch.setattr(dbus, "_addresses", lambda user: [("unix:path=/nonexistent/bus", True)])
    with factory.create("nowhere", config) as container:
        with pytest.raises(BusError, match="^cannot reach the system's systemd: unix:path=/nonexistent/bus"):
            container.start(Process(["true"], env=ENVIRONMENT))
        assert container.status() is Status.DESTROYED


def test_the_child_never_loads_the_library() -> None:
    """Only a caller who asks for systemd does, and only then."""
    code = ("import sys; sys.path.insert(0, sys.argv[1])\n"
            "import nscontainer.container, nscontainer.zygote, nscontainer.factory\n"
            "assert not {'nscontainer.cgroups.dbus', 'nscontainer.cgroups.systemd'} & set(sys.modules)\n"
            "assert 'libsystemd' not in open('/proc/self/maps').read()")
    package = str(Path(__file__).resolve().parent.parent)
    subprocess.run([sys.executable, "-I", "-S", "-c", code, package], check=True)


# --- where systemd runs: as root its system's manager, as an ordinary user that one's own

_NUMBERS = itertools.count()


def scope(**fields: Any) -> Cgroup:
    return Cgroup(**{"name": f"test{os.getpid()}_{next(_NUMBERS)}", "scope_prefix": "nscontainer", **fields})


def config_of(rootfs: Path, cgroup: Cgroup) -> Config:
    config = standard(rootfs) if os.geteuid() == 0 else with_user_namespace(rootfs, os.getuid(), os.getgid())
    config.cgroups = cgroup
    return config


def shown(cgroup: Cgroup, *names: str) -> dict[str, str]:
    """Return what systemctl shows of a scope."""
    own = ["--user"] if os.geteuid() else []
    done = subprocess.run(["systemctl", *own, "show", "--property", ",".join(names), "--", unit.unit_name(cgroup)],
                          capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def directory_of(container: Container) -> Path:
    paths = container.state().cgroup_paths
    return Path(paths.get("") or paths["name=systemd"])


def lent_controllers() -> None:
    """Skip where an ordinary user gets none: in version 1."""
    if os.geteuid() and host.mounts_of_type("cgroup"):
        pytest.skip("needs cgroup2_only: cgroup v1 lends an ordinary user no controllers")


def memory_of(container: Container, cgroup: Cgroup) -> tuple[int, int]:
    """Return the limit of memory in systemd's book, and in the file."""
    paths = container.state().cgroup_paths
    unified = "memory" not in paths
    book = shown(cgroup, name := "MemoryMax" if unified else "MemoryLimit")[name]
    file = f"{paths['']}/memory.max" if unified else f"{paths['memory']}/memory.limit_in_bytes"
    return int(book), int(Path(file).read_text())


@contextlib.contextmanager
def running(factory: Factory, rootfs: Path, cgroup: Cgroup) -> Iterator[Container]:
    """A container whose first process sleeps."""
    container = factory.create(f"scope_{os.urandom(4).hex()}", config_of(rootfs, cgroup))
    with container:
        container.start(Process(["sleep", "100"], env=ENVIRONMENT))
        yield container


def warm(factory: Factory, rootfs: Path, leftovers: Leftovers) -> None:
    """Start what outlives a container: the zygote, the user's message bus, and systemd's slice."""
    with running(factory, rootfs, scope()):
        pass
    leftovers.start_over()


@needs_systemd
def test_a_container_runs_in_a_scope_of_its_own_that_ends_with_it(
        factory: Factory, busybox_template: Path, leaves_nothing: Leftovers) -> None:
    cgroup, usual = scope(), "user.slice" if os.geteuid() else "system.slice"
    warm(factory, busybox_template, leaves_nothing)
    with running(factory, busybox_template, cgroup) as container:
        found = shown(cgroup, "ControlGroup", "Delegate", "Slice", "Description", "ActiveState", "DefaultDependencies")
        assert found.pop("ControlGroup").endswith(f"/{usual}/nscontainer-{cgroup.name}.scope")
        assert found == {"Delegate": "yes", "Slice": usual, "ActiveState": "active", "DefaultDependencies": "no",
                         "Description": f"libcontainer container {cgroup.name}"}
        pid = container.state().init_process_pid
        inside = Path(f"/proc/{pid}/cgroup").read_text()
        trees = [line for line in inside.splitlines() if os.geteuid() == 0 or line.startswith(("0:", "1:"))]
        assert [line for line in trees if not line.endswith(f"/{usual}/nscontainer-{cgroup.name}.scope")] == []
        assert container.processes() == [pid]
        directory = directory_of(container)
    assert shown(cgroup, "LoadState") == {"LoadState": "not-found"}
    assert not directory.exists()


@needs_systemd
def test_a_slice_with_a_dash_lies_in_another(factory: Factory, busybox_template: Path) -> None:
    cgroup = scope(parent="nstest-a.slice")
    own = ["--user"] if os.geteuid() else []
    try:
        with running(factory, busybox_template, cgroup) as container:
            path = f"/nstest.slice/nstest-a.slice/nscontainer-{cgroup.name}.scope"
            assert str(directory_of(container)).endswith(path)
            assert shown(cgroup, "ControlGroup")["ControlGroup"].endswith(path)
    finally:
        subprocess.run(["systemctl", *own, "stop", "nstest.slice"], check=True)  # systemd keeps empty slices


@needs_systemd
@pytest.mark.needs("cgroup2_only")
def test_limits_hold_in_systemds_book_and_in_the_files(factory: Factory, busybox_template: Path) -> None:
    cgroup = scope(memory=64 * MIB, memory_swap=64 * MIB, pids_limit=33, cpu_shares=512, cpu_quota=33_333,
                   cpuset_cpus="0", memory_high=48 * MIB)
    with running(factory, busybox_template, cgroup) as container:
        assert shown(cgroup, "MemoryMax", "MemoryHigh", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight",
                     "AllowedCPUs") == {
            "MemoryMax": str(64 * MIB), "MemoryHigh": str(48 * MIB), "MemorySwapMax": "0", "TasksMax": "33",
            "CPUQuotaPerSecUSec": "340ms", "CPUWeight": "59", "AllowedCPUs": "0"}
        files = directory_of(container)
        assert {name: (files / name).read_text().strip() for name in (
            "memory.max", "memory.high", "pids.max", "cpu.max", "cpu.weight", "cpuset.cpus")} == {
            "memory.max": str(64 * MIB), "memory.high": str(48 * MIB), "pids.max": "33", "cpu.max": "34000 100000",
            "cpu.weight": "59", "cpuset.cpus": "0"}


def test_shares_of_the_test_above_are_that_weight() -> None:
    assert v2(cpu_shares=512) == {"CPUWeight": 59}


@needs_systemd
def test_set_changes_both_and_a_refusal_changes_neither(factory: Factory, busybox_template: Path) -> None:
    lent_controllers()
    cgroup = scope(memory=64 * MIB, pids_limit=33)
    with running(factory, busybox_template, cgroup) as container:
        config = container.config()
        config.cgroups = Cgroup(name=cgroup.name, scope_prefix=cgroup.scope_prefix, memory=96 * MIB, pids_limit=44)
        container.set(config)
        assert shown(cgroup, "TasksMax") == {"TasksMax": "44"}
        assert memory_of(container, cgroup) == (96 * MIB, 96 * MIB)

        config.cgroups = Cgroup(name=cgroup.name, scope_prefix=cgroup.scope_prefix, memory=80 * MIB,
                                cpuset_cpus="4000")
        with pytest.raises(ContainerError, match="cpuset.cpus"):
            container.set(config)
        assert shown(cgroup, "TasksMax", "AllowedCPUs") == {"TasksMax": "44", "AllowedCPUs": ""}
        assert memory_of(container, cgroup) == (96 * MIB, 96 * MIB)


@needs_systemd
def test_limits_go_back_when_systemd_does_not_agree(
        factory: Factory, busybox_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lent_controllers()
    cgroup = scope(memory=64 * MIB)
    with running(factory, busybox_template, cgroup) as container:
        monkeypatch.setattr(unit, "limit_properties", lambda *_, **__: [("Nonsense", ("t", 1))])
        config = container.config()
        config.cgroups = Cgroup(name=cgroup.name, scope_prefix=cgroup.scope_prefix, memory=96 * MIB)
        with pytest.raises(BusError, match="systemd refused SetUnitProperties: .*Nonsense"):
            container.set(config)
        assert memory_of(container, cgroup) == (64 * MIB, 64 * MIB)


@needs_systemd
def test_a_name_that_is_in_use_stops_nobody(factory: Factory, busybox_template: Path) -> None:
    cgroup = scope()
    with running(factory, busybox_template, cgroup) as first:
        second = factory.create(f"scope_{os.urandom(4).hex()}", config_of(busybox_template, cgroup))
        with pytest.raises(ContainerError, match=rf"the scope nscontainer-{cgroup.name}\.scope is in use"):
            second.start(Process(["true"], env=ENVIRONMENT))
        second.destroy()
        assert first.status() is Status.RUNNING
        assert shown(cgroup, "ActiveState") == {"ActiveState": "active"}


@needs_systemd
def test_further_processes_enter_the_scope(factory: Factory, busybox_template: Path) -> None:
    cgroup = scope()
    with running(factory, busybox_template, cgroup) as container:
        text, ended = run_in(container, "cat", "/proc/self/cgroup")
        assert ended.returncode == 0
        assert text.strip().endswith(f"/nscontainer-{cgroup.name}.scope"), text


@needs_systemd
def test_a_container_can_be_started_again_after_its_scope_has_ended(factory: Factory, busybox_template: Path) -> None:
    lent_controllers()
    cgroup = scope(pids_limit=20)
    with factory.create(f"scope_{os.urandom(4).hex()}", config_of(busybox_template, cgroup)) as container:
        for _ in range(2):
            text, ended = run_in(container, "cat", "/proc/self/cgroup")
            assert (ended.returncode, text.strip()[-6:]) == (0, ".scope")


@needs_systemd
def test_a_program_that_is_not_there_leaves_no_scope(
        factory: Factory, busybox_template: Path, leaves_nothing: Leftovers) -> None:
    cgroup = scope()
    warm(factory, busybox_template, leaves_nothing)
    with factory.create(f"scope_{os.urandom(4).hex()}", config_of(busybox_template, cgroup)) as container:
        with pytest.raises(ContainerError, match="nonesuch"):
            container.start(Process(["/nonesuch"], env=ENVIRONMENT))
        assert shown(cgroup, "LoadState") == {"LoadState": "not-found"}


@needs_systemd
def test_a_limit_that_the_kernel_refuses_leaves_no_scope(
        factory: Factory, busybox_template: Path, leaves_nothing: Leftovers) -> None:
    cgroup = scope(unified={"memory.max": "nonsense"})
    warm(factory, busybox_template, leaves_nothing)
    with factory.create(f"scope_{os.urandom(4).hex()}", config_of(busybox_template, cgroup)) as container:
        with pytest.raises(ContainerError, match="memory.max"):
            container.start(Process(["true"], env=ENVIRONMENT))
        assert shown(cgroup, "LoadState") == {"LoadState": "not-found"}


@needs_systemd
@pytest.mark.needs("cgroup2_only")
def test_a_scope_that_failed_before_is_made_again(factory: Factory, busybox_template: Path) -> None:
    """systemd keeps one whose processes were killed for want of memory, for somebody to look at."""
    cgroup = scope(memory=16 * MIB, memory_swap=16 * MIB)
    own = ["--user"] if os.geteuid() else []
    eater = f"x=$({sys.executable} -c 'print(\"x\" * 99999999)')"
    subprocess.run(["systemd-run", *own, "--quiet", "--scope", "--property=MemoryMax=8M",
                    "--property=MemorySwapMax=0", f"--unit={unit.unit_name(cgroup)}", "sh", "-c", eater])
    for _ in range(100):
        if shown(cgroup, "ActiveState") != {"ActiveState": "active"}:
            break
        time.sleep(0.1)
    assert shown(cgroup, "ActiveState", "Result") == {"ActiveState": "failed", "Result": "oom-kill"}
    with running(factory, busybox_template, cgroup):
        assert shown(cgroup, "ActiveState") == {"ActiveState": "active"}


@needs_systemd
def test_cgroups_below_the_scope_are_the_containers(factory: Factory, busybox_template: Path) -> None:
    lent_controllers()
    with running(factory, busybox_template, scope()) as container:
        below = directory_of(container) / "below" / "deeper"
        below.mkdir(parents=True)
        process = Process(["sleep", "100"], env=ENVIRONMENT)
        container.start(process)
        (below / "cgroup.procs").write_text(str(process.pid))
        assert sorted(container.processes()) == sorted([container.state().init_process_pid, process.pid])
        container.pause()
        assert container.status() is Status.PAUSED
        container.resume()
        container.signal(signal.SIGKILL)
        process.wait(timeout=20)
    assert not below.parent.parent.exists()


@needs_systemd
def test_another_program_can_load_and_end_it(factory: Factory, busybox_template: Path) -> None:
    lent_controllers()
    cgroup = scope(memory=64 * MIB)
    with running(factory, busybox_template, cgroup) as container:
        with Factory(factory.root) as other:
            again = other.load(container.id)
            config = again.config()
            assert config.cgroups is not None
            config.cgroups.memory = 80 * MIB
            again.set(config)
            assert memory_of(again, cgroup) == (80 * MIB, 80 * MIB)
            again.signal(signal.SIGKILL)
            while again.status() is not Status.DESTROYED:
                time.sleep(0.01)
            again.destroy()
        assert shown(cgroup, "LoadState") == {"LoadState": "not-found"}


@needs_systemd
@pytest.mark.needs("root")
def test_devices_are_in_systemds_book_so_that_a_reload_keeps_them(factory: Factory, busybox_template: Path) -> None:
    cgroup = scope(allowed_devices=(device("c", 1, 3), device("c", 1, 5, "rm")))
    with running(factory, busybox_template, cgroup) as container:
        assert shown(cgroup, "DevicePolicy", "DeviceAllow")["DevicePolicy"] == "strict"
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        config = container.config()
        assert config.cgroups is not None
        config.cgroups.allowed_devices = (device("c", 1, 3), device("c", 1, 5, "rwm"))
        before, _ = run_in(container, "sh", "-c", "echo x > /dev/null && echo x > /dev/zero; head -c1 /dev/full")
        container.set(config)
        after, _ = run_in(container, "sh", "-c", "echo x > /dev/null && echo x > /dev/zero; head -c1 /dev/full")
    assert before.count("not permitted") == 2, before
    assert after.count("not permitted") == 1, after


@needs_systemd
def test_systemd_is_found() -> None:
    assert systemd.use_systemd()


@needs_systemd
@pytest.mark.needs("root", "user")
def test_an_ordinary_user_is_told_who_may(as_user: Callable[..., Any]) -> None:
    def ask() -> str:
        with Systemd(False) as talk, pytest.raises(BusError) as caught:
            talk.start("nscontainer-none.scope", [("PIDs", ("au", [os.getpid()]))])
        return str(caught.value)

    assert "only root may have the system's manager do this" in as_user(ask)


@needs_systemd
def test_without_the_message_bus_systemd_itself_is_asked(
        factory: Factory, busybox_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, "unix:path=/nonexistent")
    real = dbus._addresses
    monkeypatch.setattr(dbus, "_addresses", lambda user: [one for one in real(user) if "/dbus/" not in one[0]
                                                          and not one[0].endswith("/bus")])
    cgroup = scope()
    with running(factory, busybox_template, cgroup):
        assert len(dbus._addresses(os.geteuid() != 0)) <= 2
        monkeypatch.undo()
        assert shown(cgroup, "ActiveState") == {"ActiveState": "active"}
