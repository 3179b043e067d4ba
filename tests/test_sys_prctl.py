"""What a process says about itself; all of it in a forked child."""
from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from nscontainer.errors import SyscallError
from nscontainer.sys import prctl
from nscontainer.sys.capability import CAP, capget, capset
from nscontainer.sys.prctl import SECBIT
from nscontainer.sys.procfs import status

InChild = Callable[..., Any]


@pytest.mark.parametrize("name", ["dumpable", "keepcaps", "child_subreaper"])
def test_a_switch_is_set_and_cleared(in_child: InChild, name: str) -> None:
    def switch() -> list[bool]:
        change, ask = getattr(prctl, f"set_{name}"), getattr(prctl, f"get_{name}")
        seen = []
        for value in (True, False, True):
            change(value)
            seen.append(ask())
        return seen

    assert in_child(switch) == [True, False, True]


def test_new_privileges_are_given_up_for_good(in_child: InChild) -> None:
    def give_up() -> list[Any]:
        before = prctl.get_no_new_privs()
        prctl.set_no_new_privs()
        return [before, prctl.get_no_new_privs(), status()["NoNewPrivs"]]

    assert in_child(give_up)[1:] == [True, "1"]


def test_the_parents_death_can_be_heard(in_child: InChild) -> None:
    def ask() -> list[int]:
        prctl.set_pdeathsig(signal.SIGUSR1)
        first = prctl.get_pdeathsig()
        prctl.set_pdeathsig(0)
        return [first, prctl.get_pdeathsig()]

    assert in_child(ask) == [signal.SIGUSR1, 0]
    with pytest.raises(ValueError, match="not a signal"):
        prctl.set_pdeathsig(1 << 32)


def test_a_name_is_cut_at_fifteen_bytes(in_child: InChild) -> None:
    def rename() -> list[str]:
        prctl.set_name("nscontainer-zygote")
        long = prctl.get_name()
        prctl.set_name("z")
        return [long, prctl.get_name()]

    assert in_child(rename) == ["nscontainer-zyg", "z"]


def test_timers_may_be_late(in_child: InChild) -> None:
    def slacken() -> str:
        prctl.set_timerslack(77_000)
        with open("/proc/self/timerslack_ns") as file:
            return file.read().strip()

    assert in_child(slacken) == "77000"


@pytest.mark.needs("root")
def test_the_bounding_set_only_shrinks(in_child: InChild) -> None:
    def drop() -> list[bool]:
        before = prctl.capbset_read(CAP.MKNOD)
        prctl.capbset_drop(CAP.MKNOD)
        return [before, prctl.capbset_read(CAP.MKNOD), prctl.capbset_read(CAP.CHOWN)]

    assert in_child(drop) == [True, False, True]


@pytest.mark.needs("root")
def test_an_ambient_capability_must_be_inheritable_first(in_child: InChild) -> None:
    def raise_it() -> list[Any]:
        effective, permitted, _ = capget()
        capset(effective, permitted, 0)
        try:
            prctl.cap_ambient_raise(CAP.CHOWN)
        except SyscallError as error:
            refused = str(error)
        capset(effective, permitted, permitted)
        prctl.cap_ambient_raise(CAP.CHOWN)
        prctl.cap_ambient_raise(CAP.KILL)
        raised = [prctl.cap_ambient_is_set(CAP.CHOWN)]
        prctl.cap_ambient_lower(CAP.CHOWN)
        raised += [prctl.cap_ambient_is_set(CAP.CHOWN), prctl.cap_ambient_is_set(CAP.KILL)]
        prctl.cap_ambient_clear_all()
        return [refused, raised, prctl.cap_ambient_is_set(CAP.KILL)]

    refused, raised, after = in_child(raise_it)
    assert refused == "prctl (option=PR.CAP_AMBIENT, command=RAISE, capability=0): EPERM, Operation not permitted"
    assert raised == [True, False, True]
    assert not after


@pytest.mark.needs("root")
def test_root_can_be_made_to_mean_nothing(in_child: InChild) -> None:
    def secure() -> str:
        prctl.set_securebits(SECBIT.NOROOT | SECBIT.NOROOT_LOCKED)
        return str(prctl.get_securebits())

    assert in_child(secure) == "SECBIT_NOROOT|SECBIT_NOROOT_LOCKED"


@pytest.mark.parametrize("call", [
    prctl.capbset_read, prctl.capbset_drop, prctl.cap_ambient_is_set, prctl.cap_ambient_raise, prctl.cap_ambient_lower,
])
def test_what_is_no_capability_is_refused(call: Callable[[int], object]) -> None:
    for number in (-1, 64, 1 << 32):
        with pytest.raises(ValueError, match="is not a capability"):
            call(number)
    with pytest.raises(SyscallError, match="capability=63.*(EINVAL|EPERM)"):
        call(63)
