"""What a filter of system calls costs: to compile, to load, and at every call; ours beside libseccomp's.

    python3 benchmarks/seccomp.py [--json] [--rounds N]

The same profile for both, of the size of Docker's: about 360 names and seven rules with conditions, x86_64 with x86 and
x32. libseccomp makes its filter as runc has it make one: optimisation level 2, that is a binary tree. Needs
libseccomp.so.2 (apt: libseccomp2) and a C compiler; without, only our own figures.
"""
from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from common import REPOSITORY, Absent, compile_c

sys.path.insert(0, REPOSITORY)

from nscontainer.config import Action, Arg, Operator, Seccomp, Syscall
from nscontainer.security.default_profile import ALLOWED, default_profile
from nscontainer.security.seccomp_compiler import compile_profile, numbers_of

CALLS = ("getppid", "personality", "keyctl")  # always allowed; allowed by its argument; denied
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_TREE, _NO_NEW_PRIVS = 8, 3  # SCMP_FLTATR_CTL_OPTIMIZE, SCMP_FLTATR_CTL_NNP
_COMPARE = {Operator.NOT_EQUAL_TO: 1, Operator.EQUAL_TO: 4, Operator.MASK_EQUAL_TO: 7}


def docker_sized() -> Seccomp:
    """Return a profile of Docker's size and shape."""
    names = [name for _, group in ALLOWED for name in group.split() if name not in ("uprobe", "uretprobe")]
    rules = [Syscall("", Action.ALLOW, (), (*names, "socketcall"))]
    rules += [Syscall("personality", Action.ALLOW, (Arg(0, value, 0, Operator.EQUAL_TO),))
              for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)]
    rules.append(Syscall("socket", Action.ALLOW, (Arg(0, 40, 0, Operator.NOT_EQUAL_TO),)))
    rules.append(Syscall("clone", Action.ALLOW, (Arg(0, 0x7E020000, 0, Operator.MASK_EQUAL_TO),)))
    rules.append(Syscall("clone3", Action.ERRNO, errno_ret=38))
    return Seccomp(Action.ERRNO, ("x86", "x32"), tuple(rules))


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def libseccomp(profile: Seccomp) -> bytes:
    """Return the filter that libseccomp makes of a profile."""
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise Absent(f"no libseccomp ({error})") from None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                                           ctypes.POINTER(_Compare)]
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(_EPERM)))
    for arch in (0x40000003, 0x4000003E):  # x86, x32
        lib.seccomp_arch_add(context, ctypes.c_uint32(arch))
    lib.seccomp_attr_set(context, _TREE, ctypes.c_uint32(2))
    for call in profile.syscalls:
        answer = _ALLOW if call.action is Action.ALLOW else 0x50000 | (call.errno_ret or 1)
        args = (_Compare * len(call.args))(*[
            _Compare(arg.index, _COMPARE[arg.op], arg.value, arg.value_two) for arg in call.args if arg.op])
        for name in (call.name, *call.names):
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number != -1:  # __NR_SCMP_ERROR
                lib.seccomp_rule_add_array(context, answer, number, len(args), args)
    with tempfile.TemporaryFile() as file:
        if lib.seccomp_export_bpf(context, file.fileno()) != 0:
            raise Absent("libseccomp could not write its filter")
        lib.seccomp_release(context)
        file.seek(0)
        return file.read()


def compile_times(profile: Seccomp, rounds: int) -> dict[str, float]:
    """Milliseconds to compile: in a fresh interpreter, imports apart; the second time; with what was compiled kept."""
    program = """
import sys, time, json
sys.path[:0] = [sys.argv[1]]
from nscontainer.config import Seccomp
profile = Seccomp.from_json(json.loads(sys.stdin.read()))
a = time.perf_counter()
from nscontainer.security import seccomp_compiler
b = time.perf_counter()
seccomp_compiler.compile_profile(profile)
c = time.perf_counter()
seccomp_compiler._compiled.clear()
seccomp_compiler.compile_profile(profile)
d = time.perf_counter()
seccomp_compiler.compile_profile(profile)
e = time.perf_counter()
print(json.dumps([b - a, c - b, d - c, e - d]))
"""
    turns = [json.loads(subprocess.run(
        [sys.executable, "-c", program, REPOSITORY], input=json.dumps(profile.to_json()), text=True, check=True,
        capture_output=True).stdout) for _ in range(rounds)]
    return {name: statistics.median(turn[at] for turn in turns) * 1000
            for at, name in enumerate(("import", "cold", "again", "cached"))}


def call_times(program: str, filters: dict[str, bytes], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds per call under each filter, by call; everybody in turn, forwards and backwards."""
    numbers = numbers_of("x86_64")
    times: dict[str, dict[str, list[float]]] = {call: {name: [] for name in filters} for call in CALLS}
    with tempfile.TemporaryDirectory() as folder:
        for name, code in filters.items():
            with open(f"{folder}/{name}", "wb") as file:
                file.write(code)
        for turn in range(rounds):
            for call in CALLS:
                for name in list(filters)[::1 if turn % 2 else -1]:
                    done = subprocess.run([program, f"{folder}/{name}", str(numbers[call]), "300000"], text=True,
                                          check=True, capture_output=True)
                    times[call][name].append(float(done.stdout))
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    profile = docker_sized()
    default = default_profile(machine="x86_64")
    filters = {"none": b"", "ours": compile_profile(profile, "x86_64").code}
    absent = []
    begin = time.perf_counter()
    try:
        filters["libseccomp"] = libseccomp(profile)
    except Absent as why:
        absent.append(str(why))
    theirs = (time.perf_counter() - begin) * 1000
    filters["default"] = compile_profile(default, "x86_64").code
    figures: dict[str, Any] = {
        "instructions": {name: len(code) // 8 for name, code in filters.items()},
        "compile_ms": {"ours": compile_times(profile, options.rounds), "libseccomp": theirs},
        "absent": absent,
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            program = compile_c("calls.c", folder)
        except Absent as why:
            absent.append(str(why))
        else:
            times = call_times(program, filters, options.rounds)
            figures["ns_per_call"] = {call: {name: statistics.median(turns) for name, turns in by.items()}
                                      for call, by in times.items()}
            if "libseccomp" in filters:
                figures["ratio_to_libseccomp"] = {call: statistics.median(
                    a / b for a, b in zip(by["ours"], by["libseccomp"])) for call, by in times.items()}
    print(json.dumps(figures, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
