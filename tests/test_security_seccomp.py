"""Profiles as filters: the same cases on the BPF machine of bpf_machine.py and on the real kernel."""
from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import signal
from collections.abc import Callable
from typing import Any

import pytest

import bpf_machine
from nscontainer.config import Action, Arg, Operator, Seccomp, Syscall
from nscontainer.errors import ConfigInvalid
from nscontainer.security import seccomp_compiler
from nscontainer.security.seccomp_compiler import compile_profile, native_machine, numbers_of
from nscontainer.sys.bpf_classic import disassemble
from nscontainer.sys.prctl import set_no_new_privs
from nscontainer.sys.seccomp import SECCOMP_FILTER_FLAG, set_mode_filter

ALLOW, KILL_THREAD, KILL_PROCESS, EPERM, ENOSYS = 0x7FFF0000, 0, 0x80000000, 0x50001, 0x50026
X86_64, X86, AARCH64, ARM, S390X = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0x80000016
EQ, NE, GT, GE, LT, LE, MASKED = (Operator[name] for name in (
    "EQUAL_TO", "NOT_EQUAL_TO", "GREATER_THAN", "GREATER_THAN_OR_EQUAL_TO", "LESS_THAN", "LESS_THAN_OR_EQUAL_TO",
    "MASK_EQUAL_TO"))

on_x86_64 = pytest.mark.skipif(native_machine() != "x86_64", reason="the numbers here are those of x86_64")


def denying(*calls: Syscall, **named: Any) -> Seccomp:
    return Seccomp(Action.ERRNO, (), calls, **named)


def allowing(*calls: Syscall, **named: Any) -> Seccomp:
    return Seccomp(Action.ALLOW, (), calls, **named)


def verdict(profile: Seccomp, name: str, *args: int, machine: str = "x86_64", arch: int = X86_64,
            of: str | None = None) -> int:
    """What a filter for *machine* says to a call of *of*, by default the same."""
    number = numbers_of(of or machine)[name] | (0x40000000 if of == "x32" else 0)
    return bpf_machine.run(compile_profile(profile, machine).code, arch, number, args, big=machine == "s390x").value


# ---------------------------------------------------------------------------------------------------- what is compared

OPERATORS: dict[Operator, Callable[[int, int, int], bool]] = {
    EQ: lambda a, v, _: a == v, NE: lambda a, v, _: a != v, GT: lambda a, v, _: a > v, GE: lambda a, v, _: a >= v,
    LT: lambda a, v, _: a < v, LE: lambda a, v, _: a <= v, MASKED: lambda a, v, two: a & v == two & v,
}
INTERESTING = (0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (7 << 32) + 5, (7 << 32) + 6, 8 << 32,
               1 << 63, (1 << 64) - 1)


def pairs(operator: Operator) -> list[tuple[Arg, list[tuple[int, bool]]]]:
    """Conditions with that operator, and whether arguments meet them."""
    done = []
    for value in INTERESTING:
        for second in (0, 1, 5 << 32) if operator is MASKED else (0,):
            done.append((Arg(3, value, second, operator),
                         [(argument, OPERATORS[operator](argument, value, second)) for argument in INTERESTING]))
    return done


@pytest.mark.parametrize("machine, arch", [("x86_64", X86_64), ("s390x", S390X)])
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_argument_is_compared_in_all_its_64_bits(operator: Operator, machine: str, arch: int) -> None:
    for condition, cases in pairs(operator):
        profile = denying(Syscall("getppid", Action.ALLOW, (condition,)))
        for argument, met in cases:
            found = verdict(profile, "getppid", 0, 0, 0, argument, machine=machine, arch=arch)
            assert found == (ALLOW if met else EPERM), (condition, hex(argument))


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_argument_of_a_32_bit_machine_has_zeros_above(operator: Operator) -> None:
    for condition, cases in pairs(operator):
        profile = denying(Syscall("getppid", Action.ALLOW, (condition,)))
        for argument, met in cases:
            if argument < 1 << 32:
                found = verdict(profile, "getppid", 0, 0, 0, argument, machine="arm", arch=ARM)
                assert found == (ALLOW if met else EPERM), (condition, hex(argument))


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_kernel_compares_alike(operator: Operator, in_child: Callable[..., Any]) -> None:
    def compare() -> list[str]:
        set_no_new_privs()
        wrong = []
        for condition, cases in pairs(operator):
            if os.fork() == 0:  # each filter in a process of its own: no filter is ever removed
                rule = Syscall("getppid", Action.ERRNO, (condition,), errno_ret=77)
                set_mode_filter(compile_profile(allowing(rule)).code)
                wrong = [hex(argument) for argument, met in cases
                         if (raw("getppid", 0, 0, 0, argument)[1] == 77) is not met]
                os._exit(1 if wrong else 0)
            if os.wait()[1]:
                wrong.append(repr(condition))
        return wrong

    assert in_child(compare) == []


# ----------------------------------------------------------------------------------------------- which rule holds

def test_conditions_of_a_rule_are_anded_and_rules_are_ored() -> None:
    profile = denying(Syscall("write", Action.ALLOW, (Arg(0, 1, 0, EQ), Arg(2, 100, 0, LE))),
                      Syscall("write", Action.ALLOW, (Arg(0, 2, 0, EQ),)))
    assert [verdict(profile, "write", fd, 0, size) for fd, size in ((1, 100), (1, 101), (2, 101), (3, 1))] == [
        ALLOW, EPERM, ALLOW, EPERM]


def test_six_conditions_may_be_asked_for() -> None:
    profile = denying(Syscall("mmap", Action.ALLOW, tuple(Arg(index, index, 0, EQ) for index in range(6))))
    assert verdict(profile, "mmap", 0, 1, 2, 3, 4, 5) == ALLOW
    for index in range(6):
        assert verdict(profile, "mmap", *[9 if at == index else at for at in range(6)]) == EPERM


def test_two_conditions_on_one_argument_make_a_span() -> None:
    profile = denying(Syscall("socket", Action.ALLOW, (Arg(0, 3, 0, GE), Arg(0, 5, 0, LE))))
    assert [verdict(profile, "socket", number) == ALLOW for number in range(8)] == [3 <= n <= 5 for n in range(8)]


def test_a_rule_without_conditions_beats_those_with() -> None:
    conditional = Syscall("write", Action.ERRNO, (Arg(0, 1, 0, GT),))
    for calls in ((conditional, Syscall("write", Action.TRAP)), (Syscall("write", Action.TRAP), conditional)):
        assert verdict(allowing(*calls), "write", 2) == 0x30000


def test_of_several_rules_the_first_whose_conditions_hold_counts() -> None:
    profile = allowing(Syscall("write", Action.ERRNO, (Arg(0, 5, 0, GE),), errno_ret=5),
                       Syscall("write", Action.TRAP, (Arg(0, 3, 0, GE),)))
    assert [verdict(profile, "write", fd) for fd in (2, 3, 5)] == [ALLOW, 0x30000, 0x50005]


def test_a_rule_that_says_what_the_default_says_is_none() -> None:
    profile = denying(Syscall("write", Action.ERRNO), Syscall("write", Action.ALLOW, (Arg(0, 1, 0, EQ),)))
    assert [verdict(profile, "write", fd) for fd in (1, 2)] == [ALLOW, EPERM]


def test_many_values_of_one_argument_cost_one_comparison_each() -> None:
    values = [3 * n for n in range(100)]
    profile = denying(*[Syscall("ioctl", Action.ALLOW, (Arg(1, value, 0, EQ),)) for value in values])
    assert len(compile_profile(profile, "aarch64").code) // 8 < len(values) + 20
    assert [n for n in range(400) if verdict(profile, "ioctl", 0, n) == ALLOW] == values


def test_every_action_has_its_answer() -> None:
    answers = {Action.KILL: 0, Action.KILL_PROCESS: KILL_PROCESS, Action.TRAP: 0x30000, Action.ERRNO: 0x50000 | 9,
               Action.TRACE: 0x7FF00000 | 9, Action.LOG: 0x7FFC0000, Action.NOTIFY: 0x7FC00000}
    assert {*answers, Action.ALLOW} == set(Action)
    for action, value in answers.items():
        number = 9 if action in (Action.ERRNO, Action.TRACE) else None
        assert verdict(allowing(Syscall("getppid", action, errno_ret=number)), "getppid") == value
        assert verdict(Seccomp(action, (), (Syscall("clone3", Action.ALLOW),), number), "getpid") == value


# ------------------------------------------------------------------------------------------------------- machines

def test_another_machine_is_killed_unless_it_is_listed() -> None:
    read = Syscall("read", Action.ALLOW)
    assert verdict(denying(read), "read", of="x86", arch=X86) == KILL_THREAD
    assert verdict(denying(read), "read", of="x32") == KILL_THREAD
    profile = Seccomp(Action.ERRNO, ("x86", "X32"), (read,))
    assert verdict(profile, "read", of="x86", arch=X86) == ALLOW
    assert verdict(profile, "read", of="x32") == ALLOW
    assert verdict(profile, "read", of="aarch64", arch=AARCH64) == KILL_THREAD
    assert bpf_machine.run(compile_profile(profile, "x86_64").code, X86, numbers_of("x86_64")["read"]).value == EPERM


def test_the_number_minus_one_is_an_unknown_call_and_not_one_of_x32() -> None:
    for profile in (denying(Syscall("read", Action.ALLOW)), Seccomp(Action.ERRNO, ("x32",), (
            Syscall("read", Action.ALLOW),))):
        assert bpf_machine.run(compile_profile(profile, "x86_64").code, X86_64, -1).value == ENOSYS
    code = compile_profile(allowing(Syscall("read", Action.ERRNO)), "x86_64").code
    assert bpf_machine.run(code, X86_64, -1).value == ALLOW
    assert bpf_machine.run(code, X86_64, -2).value == KILL_THREAD


def test_a_call_that_is_a_function_of_another_is_filtered_there_too() -> None:
    profile = Seccomp(Action.ERRNO, ("x86",), (Syscall("", Action.ALLOW, (), ("connect", "accept", "shmat")),))
    for function, found in ((3, ALLOW), (5, ALLOW), (1, EPERM), (3 | 1 << 16, EPERM)):
        assert verdict(profile, "socketcall", function, of="x86", arch=X86) == found, function
    for function, found in ((21, ALLOW), (21 | 1 << 16, ALLOW), (22, EPERM)):  # with a version: ipc(2)
        assert verdict(profile, "ipc", function, of="x86", arch=X86) == found, function
    whole = Seccomp(Action.ERRNO, ("x86",), (Syscall("socketcall", Action.ALLOW), Syscall("connect", Action.TRAP)))
    assert verdict(whole, "socketcall", 3, of="x86", arch=X86) == ALLOW


def test_conditions_that_no_filter_can_look_at_never_open_anything() -> None:
    condition = (Arg(0, 1, 0, EQ),)
    milder = Seccomp(Action.ERRNO, ("x86",), (Syscall("socket", Action.ALLOW, condition),))
    assert verdict(milder, "socketcall", 1, of="x86", arch=X86) == EPERM
    assert verdict(milder, "socket", 1, of="x86", arch=X86) == ALLOW
    stricter = Seccomp(Action.ALLOW, ("x86",), (Syscall("socket", Action.ERRNO, condition),))
    assert verdict(stricter, "socketcall", 1, of="x86", arch=X86) == EPERM
    assert verdict(stricter, "socketcall", 2, of="x86", arch=X86) == ALLOW


@pytest.mark.parametrize("machine", ["x86_64", "x86", "x32", "aarch64", "arm", "riscv64", "ppc64le", "s390x", "s390"])
def test_each_machine_has_its_numbers(machine: str) -> None:
    numbers = numbers_of(machine)
    assert numbers["close_range"] == 436 and numbers["listns"] == 470
    assert len(numbers) > 320 and len(set(numbers.values())) >= len(numbers) - 2
    profile = denying(Syscall("execve", Action.ALLOW))
    audit, _, big = seccomp_compiler._MACHINES[machine]
    code = compile_profile(profile, machine).code
    base = 0x40000000 if machine == "x32" else 0
    found = {name: bpf_machine.run(code, audit, number | base, big=big).value for name, number in numbers.items()}
    assert [name for name in found if found[name] == ALLOW] == ["execve"]


def test_the_numbers_are_those_that_we_call_by() -> None:
    from nscontainer.sys.syscall_numbers import NUMBERS

    own = numbers_of(native_machine())
    assert {name: own.get(name) for name in NUMBERS} == NUMBERS


# ------------------------------------------------------------------------------------------------- calls to come

def test_a_call_newer_than_the_profile_does_not_exist() -> None:
    profile = denying(Syscall("openat2", Action.ALLOW), Syscall("faccessat2", Action.ERRNO))
    assert verdict(profile, "faccessat2") == EPERM          # mentioned, if only to be denied
    assert verdict(profile, "epoll_pwait2") == ENOSYS
    assert verdict(profile, "pidfd_getfd") == EPERM         # older, and without a rule
    assert bpf_machine.run(compile_profile(profile, "x86_64").code, X86_64, 5000).value == ENOSYS


@pytest.mark.parametrize("action", [Action.ALLOW, Action.LOG, Action.TRACE])
def test_a_default_that_lets_calls_through_lets_new_ones_through(action: Action) -> None:
    profile = Seccomp(action, (), (Syscall("openat2", Action.ERRNO),))
    assert verdict(profile, "epoll_pwait2") == verdict(profile, "read") != ENOSYS


def test_each_machine_has_a_newest_call_of_its_own() -> None:
    profile = Seccomp(Action.ERRNO, ("x32", "x86"), (Syscall("", Action.ALLOW, (), ("ppoll_time64", "statx")),))
    assert verdict(profile, "rseq") == ENOSYS                                # x86_64: statx is 332, rseq 334
    assert verdict(profile, "rseq", of="x86", arch=X86) == EPERM             # x86: ppoll_time64 is 414, rseq 386
    assert verdict(profile, "pidfd_open", of="x86", arch=X86) == ENOSYS
    assert verdict(profile, "execveat", of="x32") == ENOSYS                  # x32: execveat is 545
    assert verdict(profile, "rename", of="x32") == EPERM


def test_the_private_calls_of_arm_do_not_make_a_profile_new() -> None:
    profile = denying(Syscall("", Action.ALLOW, (), ("read", "set_tls", "openat2")))
    assert verdict(profile, "set_tls", machine="arm", arch=ARM) == ALLOW
    assert verdict(profile, "mseal", machine="arm", arch=ARM) == ENOSYS
    assert verdict(profile, "cacheflush", machine="arm", arch=ARM) == ENOSYS


def test_on_s390x_the_call_zero_stands_for_one_to_be_named_later() -> None:
    profile = denying(Syscall("read", Action.ALLOW))
    assert bpf_machine.run(compile_profile(profile, "s390x").code, S390X, 0, big=True).value == ENOSYS


# ------------------------------------------------------------------------------------------------- names and limits

def test_names_that_no_machine_has_are_skipped_and_told() -> None:
    profile = denying(Syscall("", Action.ALLOW, (), ("read", "arm_fadvise64_64", "frobnicate", "s390_sthyi")))
    assert compile_profile(profile, "x86_64").skipped == ("frobnicate",)
    assert verdict(profile, "read") == ALLOW


def test_a_strict_profile_with_such_a_name_is_refused() -> None:
    for calls, path in (((Syscall("frobnicate", Action.ALLOW),), "seccomp.syscalls[0].name"),
                        ((Syscall("read", Action.ALLOW), Syscall("write", Action.ALLOW, (), ("a", "frobnicate"))),
                         "seccomp.syscalls[1].names[0]")):
        with pytest.raises(ConfigInvalid) as caught:
            compile_profile(denying(*calls, strict=True))
        assert caught.value.path == path


def test_a_filter_over_the_kernels_4096_instructions_is_refused() -> None:
    calls = [Syscall("ioctl", Action.ALLOW, (Arg(1, n, 0, EQ), Arg(2, n, 0, EQ))) for n in range(600)]
    with pytest.raises(ConfigInvalid, match=r"^seccomp.syscalls: need \d+ instructions; the kernel takes 4096"):
        compile_profile(denying(*calls))


@pytest.mark.parametrize("profile, path", [
    (Seccomp(), "seccomp.default_action"),
    (denying(Syscall("read")), "seccomp.syscalls[0].action"),
    (denying(Syscall("read", Action.ALLOW, (Arg(0, 1),))), "seccomp.syscalls[0].args[0].op"),
    (Seccomp(Action.ERRNO, ("amd64", "vax")), "seccomp.architectures[1]"),
])
def test_what_cannot_be_compiled_is_refused_with_its_path(profile: Seccomp, path: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        compile_profile(profile)
    assert caught.value.path == path


def test_a_machine_without_numbers_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="no system call numbers of vax"):
        compile_profile(denying(), "vax")


def test_what_was_compiled_is_not_compiled_again_until_it_changes() -> None:
    profile = denying(Syscall("read", Action.ALLOW))
    first = compile_profile(profile)
    assert compile_profile(profile.copy()) is first
    profile.syscalls[0].names = ("write",)
    assert compile_profile(profile) is not first
    assert compile_profile(profile, "s390x").code != compile_profile(profile, "aarch64").code


def test_the_flags_are_what_is_asked_for_or_what_runc_sets() -> None:
    flag = SECCOMP_FILTER_FLAG
    assert compile_profile(denying()).flags == flag.SPEC_ALLOW
    assert compile_profile(denying(flags=0)).flags == 0
    assert compile_profile(denying(flags=int(flag.TSYNC | flag.LOG))).flags == flag.LOG
    filter = compile_profile(allowing(Syscall("getcwd", Action.NOTIFY)))
    assert filter.notifies and filter.flags == flag.SPEC_ALLOW | flag.NEW_LISTENER


# ------------------------------------------------------------------------------------------------- whole profiles

def simple_profile(calls: int = 360) -> Seccomp:
    """A profile of the size of Docker's, for three machines."""
    names = [name for at, name in enumerate(sorted(numbers_of("x86_64"))) if at % 15][:calls]
    groups = [Syscall("personality", Action.ALLOW, (Arg(0, value, 0, EQ),)) for value in (0, 8, 0x20000, 0x20008)]
    groups.append(Syscall("clone", Action.ALLOW, (Arg(0, 0x7E020000, 0, MASKED),)))
    groups.append(Syscall("socket", Action.ALLOW, (Arg(0, 40, 0, NE),)))
    plain = tuple(name for name in names if name not in ("personality", "clone", "socket"))
    return Seccomp(Action.ERRNO, ("x86", "x32"), (Syscall("", Action.ALLOW, (), plain), *groups))


def test_a_call_allowed_whatever_its_arguments_needs_number_and_machine_alone() -> None:
    profile = simple_profile()
    code = compile_profile(profile, "x86_64").code
    numbers = numbers_of("x86_64")
    for name in profile.syscalls[0].names:
        assert bpf_machine.constant_allow(code, X86_64, numbers[name]), name
    assert not bpf_machine.constant_allow(code, X86_64, numbers["clone"])
    assert max(bpf_machine.run(code, X86_64, number).steps for number in numbers.values()) < 24


def expected(profile: Seccomp, machine: str, name: str, args: tuple[int, ...]) -> int:
    """What a profile means, read off its rules one by one; no multiplexed calls, ERRNO and ALLOW only."""
    def value(action: Action | None, number: int | None) -> int:
        return ALLOW if action is Action.ALLOW else 0x50000 | (1 if number is None else number)

    default = value(profile.default_action, profile.default_errno_ret)
    rules = [call for call in profile.syscalls
             if name in (call.name, *call.names) and value(call.action, call.errno_ret) != default]
    for call in rules:
        if not call.args:
            return value(call.action, call.errno_ret)
    for call in rules:
        if all(OPERATORS[arg.op](args[arg.index], arg.value, arg.value_two) for arg in call.args if arg.op):
            return value(call.action, call.errno_ret)
    numbers = numbers_of(machine)
    mentioned = [numbers[n] for call in profile.syscalls for n in (call.name, *call.names) if n in numbers]
    if profile.default_action is Action.ERRNO and mentioned and numbers[name] > max(mentioned):
        return ENOSYS
    return default


@pytest.mark.parametrize("seed", range(12))
def test_any_profile_does_what_its_rules_say(seed: int) -> None:
    dice = random.Random(seed)
    names = sorted(numbers_of("x86_64"))
    calls = []
    for _ in range(dice.choice((3, 40, 120))):
        conditions = [Arg(dice.randrange(6), dice.choice(INTERESTING), dice.choice(INTERESTING),
                          dice.choice(list(Operator))) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
        calls.append(Syscall(dice.choice(names), dice.choice((Action.ALLOW, Action.ERRNO)), tuple(conditions),
                             tuple(dice.sample(names, dice.choice((0, 0, 3)))), dice.choice((None, 2, 38))))
    profile = Seccomp(dice.choice((Action.ALLOW, Action.ERRNO)), ("x86", "x32", "arm64"), tuple(calls))
    for machine, arch in (("x86_64", X86_64), ("x32", X86_64), ("aarch64", AARCH64)):
        numbers = numbers_of(machine)
        for name in (*dice.sample(sorted(numbers), 100), *[call.name for call in calls if call.name in numbers]):
            if name == "execve":
                continue
            args = tuple(dice.choice(INTERESTING) for _ in range(6))
            for call in calls:  # make it likely that some rule holds
                if name == call.name and dice.random() < 0.7:
                    args = tuple(next((arg.value for arg in call.args if arg.index == at), args[at]) for at in range(6))
            number = numbers[name] | (0x40000000 if machine == "x32" else 0)
            found = bpf_machine.run(compile_profile(profile, "x86_64").code, arch, number, args).value
            assert found == expected(profile, machine, name, args), (machine, name, args)


# ----------------------------------------------------------------------------------------------------- on the kernel

_libc = ctypes.CDLL(None, use_errno=True)


def raw(call: str | int, *args: int) -> tuple[int, int]:
    """Make a system call by its number, and return its result and errno."""
    number = numbers_of(native_machine())[call] if isinstance(call, str) else call
    ctypes.set_errno(0)
    _libc.syscall.restype = ctypes.c_long
    result = _libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in args])
    return result, ctypes.get_errno()


def confined(profile: Seccomp, *steps: Callable[[], Any]) -> list[Any]:
    """In a child: load a filter, take the steps, and return what each did."""
    set_no_new_privs()
    filter = compile_profile(profile)
    set_mode_filter(filter.code, filter.flags)
    return [step() for step in steps]


def test_the_kernel_lets_through_and_denies(in_child: Callable[..., Any]) -> None:
    profile = allowing(Syscall("getppid", Action.ERRNO, (), ("sysinfo",), 42),
                       Syscall("getpgid", Action.ERRNO, (Arg(0, 0, 0, GT),)), Syscall("getsid", Action.LOG))
    def run() -> Any:
        return confined(profile, lambda: raw("getppid"), lambda: raw("sysinfo", 0), lambda: raw("getpgid", 1 << 32),
                        lambda: raw("getpgid", 0)[1], lambda: raw("getsid", 0)[1])

    assert in_child(run) == [[-1, 42], [-1, 42], [-1, 1], 0, 0]


def test_the_kernel_kills_the_process(in_child: Callable[..., Any]) -> None:
    def run() -> int:
        pid = os.fork()
        if pid == 0:
            confined(allowing(Syscall("getppid", Action.KILL_PROCESS)), lambda: raw("getppid"))
            os._exit(0)
        return os.WTERMSIG(os.waitpid(pid, 0)[1])

    assert in_child(run) == signal.SIGSYS


def test_the_kernel_sends_sigsys(in_child: Callable[..., Any]) -> None:
    def run() -> Any:
        caught: list[int] = []
        signal.signal(signal.SIGSYS, lambda number, _: caught.append(number))
        confined(allowing(Syscall("getppid", Action.TRAP)), lambda: raw("getppid"))
        return caught

    assert in_child(run) == [signal.SIGSYS]


def test_without_a_tracer_a_traced_call_does_not_exist(in_child: Callable[..., Any]) -> None:
    assert in_child(lambda: confined(allowing(Syscall("getppid", Action.TRACE)), lambda: raw("getppid"))) == [
        [-1, errno.ENOSYS]]


def test_the_kernel_runs_python_under_an_allow_list(in_child: Callable[..., Any]) -> None:
    without = ("getppid", "statmount", "mseal")
    names = tuple(name for name in numbers_of(native_machine()) if name not in without
                  and numbers_of(native_machine())[name] < 452)
    def run() -> Any:
        return confined(denying(Syscall("", Action.ALLOW, (), names)), lambda: raw("getppid"), lambda: raw("mseal"),
                        lambda: raw(-1), os.getcwd)

    *denied, where = in_child(run)
    assert denied == [[-1, errno.EPERM], [-1, errno.ENOSYS], [-1, errno.ENOSYS]]
    assert where == os.getcwd()


@on_x86_64
def test_the_kernel_kills_a_call_of_x32_unless_that_is_listed(in_child: Callable[..., Any]) -> None:
    call = 0x40000000 | numbers_of("x32")["getppid"]

    def run() -> Any:
        pid = os.fork()
        if pid == 0:
            confined(allowing(Syscall("mseal", Action.ERRNO)), lambda: raw(call))
            os._exit(0)
        killed = os.WTERMSIG(os.waitpid(pid, 0)[1])
        profile = Seccomp(Action.ALLOW, ("x32",), (Syscall("getppid", Action.ERRNO, errno_ret=42),))
        return [killed, confined(profile, lambda: raw(call))[0][1]]

    assert in_child(run) == [signal.SIGSYS, 42]


def narrow_getppid(argument: int = 0) -> int:
    """Make the call that a 32-bit program makes: int 0x80, getppid of i386, its first argument in ebx."""
    code = bytes.fromhex("53 89fb b840000000 cd80 5b c3")  # push rbx; mov ebx, edi; mov eax, 64; int 0x80; pop; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(address)(argument))


@on_x86_64
def test_the_kernel_filters_a_call_of_a_32_bit_program_by_its_own_number(in_child: Callable[..., Any]) -> None:
    def run() -> Any:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if narrow_getppid() == os.getppid() else 1)
        if os.waitpid(pid, 0)[1] != 0:
            pytest.skip("this kernel runs no 32-bit programs")
        pid = os.fork()
        if pid == 0:
            confined(allowing(Syscall("mseal", Action.ERRNO)), narrow_getppid)
            os._exit(0)
        killed = os.WTERMSIG(os.waitpid(pid, 0)[1])
        profile = Seccomp(Action.ALLOW, ("x86",), (
            Syscall("getppid", Action.ERRNO, (Arg(0, 7, 0, EQ),), errno_ret=42),))
        return [killed, *confined(profile, lambda: narrow_getppid(7), lambda: narrow_getppid(8) == os.getppid())]

    assert in_child(run) == [signal.SIGSYS, -42, True]


def test_the_kernel_takes_the_longest_program(in_child: Callable[..., Any]) -> None:
    calls = [Syscall("ioctl", Action.ERRNO, (Arg(1, n, 0, EQ), Arg(2, n, 0, EQ)), errno_ret=42) for n in range(500)]
    filter = compile_profile(allowing(*calls))
    assert 4000 < len(disassemble(filter.code)) <= 4096
    def run() -> Any:
        return confined(allowing(*calls), lambda: raw("ioctl", 99, 499, 499), lambda: raw("ioctl", 99, 499, 498))

    assert in_child(run) == [[-1, 42], [-1, errno.EBADF]]
