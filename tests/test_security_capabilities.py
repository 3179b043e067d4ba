"""Capabilities: names into sets, and what the kernel says a process has after the steps."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from containers import output_of, standard
from nscontainer import container
from nscontainer.config import Capabilities
from nscontainer.errors import ConfigInvalid, SyscallError
from nscontainer.security.capabilities import NAMES, Sets, apply, drop_bounding, lacking, names_of, sets_of
from nscontainer.sys.capability import CAP, capget, capset, last_cap
from nscontainer.sys.prctl import cap_ambient_raise, set_keepcaps

SOME = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE")
SOME_MASK = 1 << 0 | 1 << 5 | 1 << 10 | 1 << 29
NET_RAW = 1 << 13


# --- names into sets


def test_every_capability_has_its_number() -> None:
    assert len(NAMES) == 41
    assert [NAMES[name] for name in ("CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_SETFCAP", "CAP_AUDIT_READ", "CAP_BPF")] == [
        0, 21, 31, 37, 39]
    assert names_of(1 << 0 | 1 << 40) == ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]


def test_a_flat_list_is_bounding_effective_and_permitted_and_nothing_else() -> None:
    assert sets_of(SOME, 40) == Sets(SOME_MASK, SOME_MASK, SOME_MASK, 0, 0)
    assert sets_of(list(SOME), 40) == sets_of(SOME, 40)


@pytest.mark.parametrize("nothing", [None, (), [], {}, Capabilities()])
def test_nothing_listed_is_no_power_at_all(nothing: Any) -> None:
    assert sets_of(nothing, 40) == Sets()


def test_the_five_sets_are_taken_as_they_are() -> None:
    five = Capabilities(bounding=SOME, effective=("CAP_KILL",), permitted=("CAP_KILL", "CAP_CHOWN"),
                        inheritable=("CAP_CHOWN",), ambient=("CAP_CHOWN",))
    expected = Sets(SOME_MASK, 1 << 5, 1 << 5 | 1, 1, 1)
    assert sets_of(five, 40) == expected
    assert sets_of(five.pack(), 40) == expected
    assert "ambient=0x1" in repr(expected)


def test_an_ambient_capability_must_be_permitted_and_inheritable() -> None:
    assert sets_of({"permitted": SOME, "inheritable": ["CAP_KILL", "CAP_SYS_ADMIN"],
                    "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_SYS_ADMIN"]}, 40).ambient == 1 << 5


def test_what_the_running_kernel_does_not_know_is_left_out() -> None:
    assert sets_of(("CAP_CHOWN", "CAP_PERFMON", "CAP_AUDIT_READ"), 37) == sets_of(("CAP_CHOWN", "CAP_AUDIT_READ"), 40)


def test_what_is_left_out_is_told() -> None:
    names = ("CAP_CHOWN", "CAP_PERFMON", "CAP_BPF")
    assert lacking(names, 37) == lacking({"ambient": names, "bounding": ()}, 37) == ["CAP_BPF", "CAP_PERFMON"]
    assert lacking(Capabilities(permitted=names), 38) == ["CAP_BPF"]
    assert lacking(names, 40) == lacking(None, 37) == lacking((), 37) == []


@pytest.mark.needs("root", "busybox")
def test_a_start_warns_of_capabilities_that_the_kernel_lacks(
        factory: Any, busybox_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "last_cap", lambda: 37)
    config = standard(busybox_template, capabilities=["CAP_CHOWN", "CAP_BPF"])
    with pytest.warns(RuntimeWarning, match="this kernel does not know CAP_BPF: left out"):
        output_of(factory, config, "true")


@pytest.mark.parametrize("name", ["CHOWN", "cap_chown", "CAP_NO_SUCH", "", "CAP_ALL"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigInvalid, match="is not a capability"):
        sets_of((name,), 40)


# --- what a process has


def held() -> dict[str, int]:
    """The five sets of this process: proc_pid_status(5)."""
    lines = (line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap"))
    return {name[3:]: int(mask, 16) for name, mask in lines}


def become(sets: Sets, uid: int) -> dict[str, int]:
    """Take the steps that a container's process takes."""
    drop_bounding(sets, last_cap())
    set_keepcaps(True)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    apply(sets)
    return held()


@pytest.mark.needs("root")
@pytest.mark.parametrize("uid", [0, 1000])
def test_a_process_has_exactly_what_is_listed(in_child: Any, uid: int) -> None:
    assert in_child(become, sets_of(SOME, last_cap()), uid) == {
        "Bnd": SOME_MASK, "Eff": SOME_MASK, "Prm": SOME_MASK, "Inh": 0, "Amb": 0}


@pytest.mark.needs("root")
@pytest.mark.parametrize("uid", [0, 1000])
def test_nothing_listed_leaves_nothing(in_child: Any, uid: int) -> None:
    assert in_child(become, Sets(), uid) == {"Bnd": 0, "Eff": 0, "Prm": 0, "Inh": 0, "Amb": 0}


@pytest.mark.needs("root")
def test_the_five_sets_differ_when_they_are_asked_to(in_child: Any) -> None:
    sets = Sets(SOME_MASK | NET_RAW, 1 << 5, SOME_MASK, 1 << 10, 1 << 10)
    assert in_child(become, sets, 1000) == {
        "Bnd": SOME_MASK | NET_RAW, "Eff": 1 << 5, "Prm": SOME_MASK, "Inh": 1 << 10, "Amb": 1 << 10}


@pytest.mark.needs("root")
def test_inheritable_and_ambient_capabilities_of_the_caller_are_taken_away(in_child: Any) -> None:
    """CVE-2022-24769 and its kin: a program with file capabilities gets what is inheritable."""
    def inherit_and_become() -> dict[str, int]:
        effective, permitted, _ = capget()
        capset(effective, permitted, SOME_MASK)
        cap_ambient_raise(5)
        assert held()["Amb"] == 1 << 5
        return become(sets_of(SOME, last_cap()), 0)

    found = in_child(inherit_and_become)
    assert (found["Inh"], found["Amb"]) == (0, 0)


@pytest.mark.needs("root")
@pytest.mark.parametrize(("uid", "ambient", "expected"), [(1000, 0, 0), (1000, 1 << 5, 1 << 5), (0, 0, SOME_MASK)])
def test_execve_gives_a_user_only_what_is_ambient_and_root_only_what_is_bounded(
        in_child: Any, tmp_path: Path, uid: int, ambient: int, expected: int) -> None:
    """CVE-2016-8867 was a runtime that filled the ambient set by itself."""
    def run() -> str:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                become(Sets(SOME_MASK, SOME_MASK, SOME_MASK, ambient, ambient), uid)
                os.dup2(writing, 1)
                os.execv("/bin/cat", ["cat", "/proc/self/status"])
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return text

    status = dict(line.split(":\t", 1) for line in in_child(run).splitlines())
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Eff", "Prm")} == {expected}
    assert int(status["CapBnd"], 16) == SOME_MASK


# --- what cannot be had


@pytest.mark.needs("root")
def test_a_capability_that_is_not_held_is_named(in_child: Any) -> None:
    def ask_for_more() -> str:
        capset(SOME_MASK, SOME_MASK, 0)
        with pytest.raises(SyscallError) as caught:
            apply(sets_of((*SOME, "CAP_SYS_ADMIN"), 40))
        return str(caught.value)

    text = in_child(ask_for_more)
    assert "capset" in text
    assert "EPERM" in text
    assert "; this process does not hold CAP_SYS_ADMIN; leave that out" in text


@pytest.mark.needs("root")
@pytest.mark.parametrize(("sets", "expected"), [
    (Sets(SOME_MASK, NET_RAW, SOME_MASK), "CAP_NET_RAW would be effective without being permitted"),
    (Sets(SOME_MASK, 0, SOME_MASK, NET_RAW), "CAP_NET_RAW would be inheritable, and is not in the bounding set"),
])
def test_sets_that_contradict_each_other_are_explained(in_child: Any, sets: Sets, expected: str) -> None:
    def contradict() -> str:
        with pytest.raises(SyscallError) as caught:
            become(sets, 1000)
        return str(caught.value)

    assert in_child(contradict).endswith(expected)


@pytest.mark.needs("root")
def test_without_cap_setpcap_the_bounding_set_cannot_shrink_but_may_be_small_already(in_child: Any) -> None:
    def shrink() -> list[Any]:
        drop_bounding(Sets(SOME_MASK), last_cap())
        capset(0, 0, 0)
        drop_bounding(Sets(SOME_MASK), last_cap())
        with pytest.raises(SyscallError) as caught:
            drop_bounding(Sets(0), last_cap())
        return [str(caught.value), held()["Bnd"]]

    text, bounding = in_child(shrink)
    assert text.endswith("CAP_SETPCAP is needed to shrink the bounding set")
    assert bounding == SOME_MASK


def test_the_last_capability_is_the_running_kernels() -> None:
    assert 36 <= last_cap() < 64
    assert last_cap() >= max(CAP) or last_cap() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())
