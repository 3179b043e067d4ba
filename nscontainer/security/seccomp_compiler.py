"""A profile of system calls into the classic BPF that the kernel runs. The caller's business: the child gets bytes.

Lesson  An allow-list is a search for a number. Sorted, with neighbours of one fate merged, it is a tree of eight
        comparisons for four hundred calls.
Read    seccomp(2), Documentation/userspace-api/seccomp_filter.rst in Linux

The program, from its first instruction::

    load the machine, go to its section; a machine without one: kill the thread
    section:    load the number; a balanced tree of "this or above?" over ranges of numbers with one fate
    leaf:       return an answer, or go on to
    block:      the rules of a call with conditions: each compares 64 bits in two halves, and goes on to the next

Only loads of number and machine lie before an unconditional answer, so the kernel finds out by itself that a call is
always allowed, and does not run the program for it at all: Linux 5.11, seccomp_cache_prepare().
"""
from __future__ import annotations

import errno
import os
import sys

from ..config import ARCHITECTURES, Action, Operator
from ..errors import ConfigInvalid
from ..strictjson import shortened
from ..sys.bpf_classic import (
    AND,
    JUMP,
    JUMP_EQ,
    JUMP_GE,
    JUMP_GT,
    JUMP_SET,
    LOAD,
    LONGEST_JUMP,
    MOST_INSTRUCTIONS,
    RETURN,
    assemble,
)
from ..sys.seccomp import AUDIT_ARCH, SECCOMP_FILTER_FLAG, SECCOMP_RET
from .seccomp import load
from .syscall_tables import COMMON, LACKING, TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from ..config import Seccomp, Syscall
    from ..sys.bpf_classic import Instruction

    Condition = tuple[int, int, int, int]                    # index, Operator, value, value_two
    Rule = tuple[tuple[Condition, ...], int]                 # all of these, then that answer
    Verdict = Union[int, tuple[tuple[Rule, ...], int]]       # an answer; or rules in order, and what holds without one

__all__ = ["Filter", "answer", "compile_profile", "init_seccomp", "machine_of", "native_machine", "numbers_of"]

# Machine: how a filter sees it, whether its arguments have 64 bits, whether their high half comes first. The kernel
# gives a filter all 64 bits of the registers of an x32 program, and those of a 32-bit program with zeros above.
_MACHINES = {
    "x86_64": (int(AUDIT_ARCH.X86_64), True, False),
    "x32": (int(AUDIT_ARCH.X86_64), True, False),
    "x86": (int(AUDIT_ARCH.I386), False, False),
    "aarch64": (int(AUDIT_ARCH.AARCH64), True, False),
    "arm": (int(AUDIT_ARCH.ARM), False, False),
    "riscv64": (int(AUDIT_ARCH.RISCV64), True, False),
    "ppc64le": (int(AUDIT_ARCH.PPC64LE), True, False),
    "s390x": (int(AUDIT_ARCH.S390X), True, True),
    "s390": (int(AUDIT_ARCH.S390), False, True),
}
_X32 = 0x40000000            # the bit of an x32 number: __X32_SYSCALL_BIT
_NO_CALL = 0xFFFFFFFF        # -1: what a tracer leaves of a call it has answered itself
_PRIVATE = 0xF0000           # arm has calls of its own from here on: they say nothing about how new a profile is

# Calls that some machines have as functions of another call, by its first argument. socketcall takes an int; the
# upper half of what ipc takes is a version: ipc(2).
_MULTIPLEXED = {
    "socketcall": (0xFFFFFFFF, {
        "socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5, "getsockname": 6, "getpeername": 7,
        "socketpair": 8, "send": 9, "recv": 10, "sendto": 11, "recvfrom": 12, "shutdown": 13, "setsockopt": 14,
        "getsockopt": 15, "sendmsg": 16, "recvmsg": 17, "accept4": 18, "recvmmsg": 19, "sendmmsg": 20}),
    "ipc": (0xFFFF, {
        "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
        "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24}),
}

_ANSWERS = {
    int(Action.KILL): int(SECCOMP_RET.KILL_THREAD),
    int(Action.KILL_PROCESS): int(SECCOMP_RET.KILL_PROCESS),
    int(Action.TRAP): int(SECCOMP_RET.TRAP),
    int(Action.ERRNO): int(SECCOMP_RET.ERRNO),
    int(Action.NOTIFY): int(SECCOMP_RET.USER_NOTIF),
    int(Action.TRACE): int(SECCOMP_RET.TRACE),
    int(Action.LOG): int(SECCOMP_RET.LOG),
    int(Action.ALLOW): int(SECCOMP_RET.ALLOW),
}
_STRICTEST_FIRST = [int(value) for value in SECCOMP_RET]
_KILL, _NOTIFY = int(SECCOMP_RET.KILL_THREAD), int(SECCOMP_RET.USER_NOTIF)
_NO_SUCH_CALL = int(SECCOMP_RET.ERRNO) | errno.ENOSYS
_OPEN = (Action.ALLOW, Action.LOG, Action.TRACE)  # as a default, these leave new calls to the kernel
_EQ, _NE, _GT, _GE, _LT, _LE, _MASKED = (int(Operator[name]) for name in (
    "EQUAL_TO", "NOT_EQUAL_TO", "GREATER_THAN", "GREATER_THAN_OR_EQUAL_TO", "LESS_THAN", "LESS_THAN_OR_EQUAL_TO",
    "MASK_EQUAL_TO"))
_LOW = 0xFFFFFFFF


class Filter:
    """A compiled profile: *code* for set_mode_filter() with *flags*, and the names that no machine has."""

    __slots__ = ("code", "flags", "notifies", "skipped")

    def __init__(self, code: bytes, flags: int, notifies: bool, skipped: tuple[str, ...]) -> None:
        self.code, self.flags, self.notifies, self.skipped = code, flags, notifies, skipped

    def __repr__(self) -> str:
        return f"Filter({len(self.code) // 8} instructions, flags={SECCOMP_FILTER_FLAG(self.flags)})"


def native_machine() -> str:
    """Return our name for this process's machine, or uname(2)'s when there is no table for it."""
    machine = os.uname().machine
    machine = ARCHITECTURES.get(machine, machine)
    if sys.maxsize < 1 << 32:
        return {"x86_64": "x86", "aarch64": "arm"}.get(machine, machine)
    return machine


def machine_of(audit: int, number: int) -> tuple[str, int]:
    """Return our names for what a filter sees: machine, and number in its table; "" for a stranger."""
    for machine, (seen, _, _) in _MACHINES.items():
        if seen == audit:
            if machine == "x86_64" and number & _X32 and number != -1:
                return "x32", number & ~_X32
            return machine, number
    return "", number


_tables: dict[str, dict[str, int]] = {"": {}}


def numbers_of(machine: str) -> dict[str, int]:
    """Return name and number of each call of a machine; those of x32 without bit 30."""
    table = _tables.get(machine)
    if table is None:
        table = {}
        for text in (TABLES[machine], COMMON):
            number = 0
            for word in text.split():
                if word.isdecimal():
                    number = int(word)
                else:
                    table[word] = number
                    number += 1
        for word in LACKING.get(machine, "").split():
            del table[word]
        _tables[machine] = table
    return table


# --------------------------------------------------------------------------------------------------------- instructions

class _Program:
    """A program, written from its last instruction to its first: so the distance of every jump is known.

    A position counts from the end. Whatever is written comes before everything that has been written.
    """

    def __init__(self) -> None:
        self.backwards: list[Instruction] = []
        self.returns: dict[int, int] = {}    # where the nearest return of an answer is

    def answer(self, value: int) -> int:
        """Have a return of *value*, and return its position."""
        if value not in self.returns:
            self.returns[value] = self._write(RETURN, 0, 0, value)
        return self.returns[value]

    def jump(self, code: int, constant: int, true: int, false: int) -> int:
        """Compare, and go on at *true* or *false*."""
        if true == false:
            return true
        true = self._near(true, 1)
        false = self._near(false, 0)
        at = len(self.backwards)
        return self._write(code, at - true - 1, at - false - 1, constant)

    def load(self, offset: int, then: int) -> int:
        """Load a word of struct seccomp_data, and go on at *then*."""
        return self._before(then, LOAD, offset)

    def mask(self, constant: int, then: int) -> int:
        """Keep some bits, and go on at *then*."""
        return self._before(then, AND, constant)

    def _before(self, then: int, code: int, constant: int) -> int:
        if self.backwards[then][0] == RETURN:
            return then  # no answer depends on what is loaded
        if then != len(self.backwards) - 1:
            self._write(JUMP, 0, 0, len(self.backwards) - then - 1)
        return self._write(code, 0, 0, constant)

    def _near(self, target: int, spare: int) -> int:
        """Return where a jump written now, or *spare* instructions later, finds *target*."""
        distance = len(self.backwards) - target - 1
        if distance + spare <= LONGEST_JUMP:
            return target
        code, _, _, constant = self.backwards[target]
        if code == RETURN:
            self.returns[constant] = self._write(RETURN, 0, 0, constant)
            return self.returns[constant]
        return self._write(JUMP, 0, 0, distance)

    def _write(self, code: int, true: int, false: int, constant: int) -> int:
        self.backwards.append((code, true, false, constant))
        return len(self.backwards) - 1


class _Section:
    """The part of a program for one machine."""

    def __init__(self, program: _Program, wide: bool, high_first: bool) -> None:
        self.program, self.wide, self.high_first = program, wide, high_first
        self.blocks: dict[Verdict, int] = {}

    def tree(self, ranges: list[tuple[int, Verdict]]) -> int:
        """Write a search for the last range that begins at or below the number, and then its verdict."""
        if len(ranges) == 1:
            return self._verdict(ranges[0][1])
        middle = len(ranges) // 2
        above = self.tree(ranges[middle:])
        below = self.tree(ranges[:middle])
        return self.program.jump(JUMP_GE, ranges[middle][0], above, below)

    def _verdict(self, verdict: Verdict) -> int:
        if isinstance(verdict, int):
            return self.program.answer(verdict)
        at = self.blocks.get(verdict)
        if at is None:
            rules, otherwise = verdict
            at = self.program.answer(otherwise)
            for conditions, values, value in reversed(_joined(rules)):
                at = self._rule(conditions, values, self.program.answer(value), at)
            self.blocks[verdict] = at
        return at

    def _rule(self, conditions: tuple[Condition, ...], values: list[int], accept: int, reject: int) -> int:
        if values:
            return self._one_of(conditions[0], values, accept, reject)
        for index, operator, value, second in reversed(conditions):
            accept = self._condition(index, operator, value, second, accept, reject)
        return accept

    def _condition(self, index: int, operator: int, value: int, second: int, accept: int, reject: int) -> int:
        if operator in (_NE, _LT, _LE):  # each is another one's opposite
            operator, accept, reject = {_NE: _EQ, _LT: _GE, _LE: _GT}[operator], reject, accept
        if operator == _MASKED:
            accept = self._masked(index, False, value & _LOW, second & _LOW, accept, reject)
            return self._masked(index, True, value >> 32, second >> 32, accept, reject)
        if operator == _EQ:
            return self._one_of((index, operator, value, second), [value], accept, reject)
        high, low = value >> 32, value & _LOW
        if not self.wide:
            return reject if high else self._half(index, False, JUMP_GT if operator == _GT else JUMP_GE, low,
                                                  accept, reject)
        at = self._half(index, False, JUMP_GT if operator == _GT else JUMP_GE, low, accept, reject)
        if high:
            at = self.program.jump(JUMP_EQ, high, at, reject)
        return self._half(index, True, JUMP_GT, high, accept, at)

    def _masked(self, index: int, upper: bool, mask: int, value: int, accept: int, reject: int) -> int:
        value &= mask  # as libseccomp does it: bits outside of the mask do not count
        if not mask:
            return accept
        if upper and not self.wide:
            return reject if value else accept
        if not value:
            return self._half(index, upper, JUMP_SET, mask, reject, accept)
        at = self.program.jump(JUMP_EQ, value, accept, reject)
        return self._load(index, upper, at if mask == _LOW else self.program.mask(mask, at))

    def _one_of(self, condition: Condition, values: list[int], accept: int, reject: int) -> int:
        """Write the comparison with values that have their upper half in common."""
        high, at = values[0] >> 32, reject
        if high and not self.wide:
            return reject
        for value in reversed(values):
            at = self.program.jump(JUMP_EQ, value & _LOW, accept, at)
        at = self._load(condition[0], False, at)
        return self._half(condition[0], True, JUMP_EQ, high, at, reject) if self.wide else at

    def _half(self, index: int, upper: bool, code: int, constant: int, true: int, false: int) -> int:
        return self._load(index, upper, self.program.jump(code, constant, true, false))

    def _load(self, index: int, upper: bool, then: int) -> int:
        return self.program.load(16 + 8 * index + (4 if upper != self.high_first else 0), then)


def _joined(rules: tuple[Rule, ...]) -> list[tuple[tuple[Condition, ...], list[int], int]]:
    """Put neighbours together that ask whether one argument is this or that, and answer alike."""
    done: list[tuple[tuple[Condition, ...], list[int], int]] = []
    for conditions, value in rules:
        index, operator, wanted, _ = conditions[0]
        if len(conditions) > 1 or operator != _EQ:
            done.append((conditions, [], value))
        elif (done and done[-1][1] and done[-1][2] == value and done[-1][0][0][0] == index
                and done[-1][1][0] >> 32 == wanted >> 32):
            done[-1][1].append(wanted)
        else:
            done.append((conditions, [wanted], value))
    return done


# -------------------------------------------------------------------------------------------------------------- profile

def answer(action: int, number: int | None = None) -> int:
    """Return what the kernel is to hear for an action; *number* is its errno, EPERM where that is None."""
    value = _ANSWERS[action]
    return value | (errno.EPERM if number is None else number) if action in (Action.ERRNO, Action.TRACE) else value


def _verdicts(profile: Seccomp, default: int) -> tuple[dict[str, Verdict], list[str]]:
    """Return what holds for each call that has a rule of its own, and every name that is mentioned.

    As in libseccomp, a rule that says what the default says is none, and one without conditions beats all others of
    its call.
    """
    plain: dict[str, int] = {}
    conditional: dict[str, list[Rule]] = {}
    mentioned: dict[str, None] = {}
    for at, call in enumerate(profile.syscalls):
        if call.action is None:
            raise ConfigInvalid(f"seccomp.syscalls[{at}].action", "is missing")
        value = answer(call.action, call.errno_ret)
        names = (call.name, *call.names) if call.name else call.names
        mentioned.update(dict.fromkeys(names))
        if value == default:
            continue
        if not call.args:
            for name in names:
                plain.setdefault(name, value)
        else:
            rule = _conditions(at, call), value
            for name in names:
                conditional.setdefault(name, []).append(rule)
    verdicts: dict[str, Verdict] = {name: (tuple(rules), default) for name, rules in conditional.items()}
    verdicts.update(plain)
    return verdicts, list(mentioned)


def _conditions(at: int, call: Syscall) -> tuple[Condition, ...]:
    for number, arg in enumerate(call.args):
        if arg.op is None:
            raise ConfigInvalid(f"seccomp.syscalls[{at}].args[{number}].op", "is missing")
    return tuple([(arg.index, int(arg.op or 0), arg.value, arg.value_two) for arg in call.args])


def _multiplexed(verdicts: dict[str, Verdict], functions: dict[str, int], mask: int, default: int) -> Verdict:
    """Return the verdict on a call that has others as its functions.

    The arguments of those lie in memory, where no filter can look. So conditions on them count as met where they lead
    to something stricter than the default, and as not met where they lead to something milder.
    """
    rules: list[Rule] = []
    for name, number in functions.items():
        verdict = verdicts.get(name, default)
        if not isinstance(verdict, int):
            verdict = min([default, *(value for _, value in verdict[0])], key=_strictness)
        if verdict != default:
            rules.append((((0, _MASKED, mask, number),), verdict))
    return (tuple(rules), default) if rules else default


def _strictness(value: int) -> int:
    return _STRICTEST_FIRST.index(value & 0xFFFF0000)


def _calls(machine: str, verdicts: dict[str, Verdict], default: int, new: int | None) -> dict[int, Verdict]:
    """Return the verdicts by number."""
    numbers = numbers_of(machine)
    calls: dict[int, Verdict] = {}
    for name, verdict in verdicts.items():
        number = numbers.get(name)
        if number is not None:
            calls.setdefault(number, verdict)
    for name, (mask, functions) in _MULTIPLEXED.items():
        if name in numbers and name not in verdicts and not functions.keys().isdisjoint(verdicts):
            calls[numbers[name]] = _multiplexed(verdicts, functions, mask, default)
    if new is not None and machine in ("s390x", "s390"):
        calls.setdefault(0, new)  # how a number above 255 may arrive: the svc instruction has one byte for it
    return calls


def _ranges(calls: dict[int, Verdict], default: int, newest: int, new: int, base: int = 0) -> list[tuple[int, Verdict]]:
    """Return where each verdict begins; *new* is the one on calls after *newest* that have none of their own."""
    ranges: list[tuple[int, Verdict]] = []
    following = 0
    for number in [*sorted(calls), _NO_CALL + 1]:
        if following < number and following <= newest:
            ranges.append((base + following, default))
        if newest + 1 < number:
            ranges.append((base + max(following, newest + 1), new))
        if number <= _NO_CALL:
            ranges.append((base + number, calls[number]))
        following = number + 1
    return ranges


def _merged(ranges: list[tuple[int, Verdict]]) -> list[tuple[int, Verdict]]:
    merged: list[tuple[int, Verdict]] = []
    for start, verdict in ranges:
        if not merged or merged[-1][1] != verdict:
            merged.append((start, verdict))
    return merged


def _program(machines: list[str], verdicts: dict[str, Verdict], mentioned: list[str], default: int,
             knows_new: bool) -> list[Instruction]:
    program = _Program()
    new = None if knows_new else _NO_SUCH_CALL
    sections: list[tuple[int, int]] = []
    native, *others = machines
    for machine in [*others[::-1], native]:  # written backwards: the native one comes first, and is near
        audit, wide, high_first = _MACHINES[machine]
        if machine == "x32" and "x86_64" in machines:
            continue  # a part of the other's section
        ranges = _of_machine(machine, verdicts, mentioned, default, new)
        if machine == "x86_64":
            rest = ranges[-1][1]
            extended = _of_machine("x32", verdicts, mentioned, default, new) if "x32" in machines else [
                (_X32, _KILL), (_NO_CALL, rest)]
            ranges = [item for item in ranges if item[0] < _X32] + extended
        elif machine == "x32":
            ranges = [(0, _KILL), *ranges]
        section = _Section(program, wide, high_first)
        sections.append((audit, program.load(0, section.tree(_merged(ranges)))))
    at = program.answer(_KILL)
    for audit, start in sections:
        at = program.jump(JUMP_EQ, audit, start, at)
    program.load(4, at)
    return program.backwards[::-1]


def _of_machine(machine: str, verdicts: dict[str, Verdict], mentioned: list[str], default: int,
                new: int | None) -> list[tuple[int, Verdict]]:
    numbers = numbers_of(machine)
    newest = max([number for number in map(numbers.get, mentioned) if number is not None and number < _PRIVATE],
                 default=_NO_CALL)
    return _ranges(_calls(machine, verdicts, default, new), default, newest, default if new is None else new,
                   _X32 if machine == "x32" else 0)


def init_seccomp(profile: Seccomp | None) -> int:
    """Put this thread under a filter, and all that it will fork or become: InitSeccomp. Return its listener, or 0."""
    if profile is None:
        raise ConfigInvalid("seccomp", "is missing", hint="there is nothing to filter by")
    filter = compile_profile(profile)
    return load(filter.code, filter.flags)


_compiled: dict[object, Filter] = {}
_MOST_COMPILED = 32


def compile_profile(profile: Seccomp, machine: str | None = None) -> Filter:
    """Compile a profile for a machine, this process's own by default; what has been compiled before is not again.

    ConfigInvalid: no action, an unknown machine or, in a strict profile, call; over 4096 instructions.
    """
    key = (machine, profile.default_action, profile.default_errno_ret, profile.architectures, profile.flags,
           profile.strict, tuple([(call.name, call.names, call.action, call.errno_ret,
                                   tuple([(arg.index, arg.op, arg.value, arg.value_two) for arg in call.args]))
                                  for call in profile.syscalls]))
    found = _compiled.get(key)
    if found is None:
        found = _compile(profile, machine or native_machine())
        if len(_compiled) >= _MOST_COMPILED:
            _compiled.clear()
        _compiled[key] = found
    return found


def _compile(profile: Seccomp, native: str) -> Filter:
    if native not in _MACHINES:
        raise ConfigInvalid("seccomp", f"this version has no system call numbers of {native}")
    if profile.default_action is None:
        raise ConfigInvalid("seccomp.default_action", "is missing", hint="say what happens to calls without a rule")
    machines = [native]
    for index, word in enumerate(profile.architectures):
        machine = ARCHITECTURES.get(word.lower())
        if machine is None:
            raise ConfigInvalid(f"seccomp.architectures[{index}]", f"{shortened(word)!r} is no machine we know",
                                hint=f"one of {', '.join(_MACHINES)}")
        if machine not in machines:
            machines.append(machine)
    default = answer(profile.default_action, profile.default_errno_ret)
    verdicts, mentioned = _verdicts(profile, default)
    skipped = _unknown(mentioned, machines)
    if skipped and profile.strict:
        raise ConfigInvalid(_path_of(profile, skipped[0]), f"{shortened(skipped[0])!r} is no system call we know",
                            hint="correct it, or leave strict out")
    program = _program(machines, verdicts, mentioned, default, profile.default_action in _OPEN)
    if len(program) > MOST_INSTRUCTIONS:
        raise ConfigInvalid("seccomp.syscalls", f"need {len(program)} instructions; the kernel takes "
                            f"{MOST_INSTRUCTIONS}", hint="leave conditions out, or architectures")
    notifies = any(code == RETURN and constant == _NOTIFY for code, _, _, constant in program)
    flags = int(SECCOMP_FILTER_FLAG.SPEC_ALLOW) if profile.flags is None else profile.flags
    flags &= ~int(SECCOMP_FILTER_FLAG.TSYNC)  # the process that loads it has one thread
    if notifies:
        flags |= int(SECCOMP_FILTER_FLAG.NEW_LISTENER)
    return Filter(assemble(program), flags, notifies, skipped)


def _unknown(mentioned: list[str], machines: list[str]) -> tuple[str, ...]:
    """Return the names that no machine has."""
    rest = mentioned
    for machine in [*machines, *_MACHINES]:
        numbers = numbers_of(machine) if rest else {}
        rest = [name for name in rest if name not in numbers]
    return tuple(rest)


def _path_of(profile: Seccomp, name: str) -> str:
    for at, call in enumerate(profile.syscalls):
        if call.name == name:
            return f"seccomp.syscalls[{at}].name"
        if name in call.names:
            return f"seccomp.syscalls[{at}].names[{call.names.index(name)}]"
    return "seccomp.syscalls"
