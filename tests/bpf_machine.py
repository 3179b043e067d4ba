"""A machine for classic BPF in pure Python: what a filter answers to a system call, without asking the kernel."""
from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["Verdict", "constant_allow", "run"]

_ABOVE = {0x15: lambda a, k: a == k, 0x25: lambda a, k: a > k, 0x35: lambda a, k: a >= k, 0x45: lambda a, k: a & k != 0}


class Verdict(NamedTuple):
    """What a program returned, and how many instructions that took."""

    value: int
    steps: int


def run(code: bytes, arch: int, nr: int, args: tuple[int, ...] = (), *, big: bool = False,
        loads: list[int] | None = None) -> Verdict:
    """Run a program on one call; *loads* collects the offsets it reads. IndexError: it ran off its end."""
    order = ">" if big else "<"
    data = struct.pack(f"{order}IIQ6Q", nr & 0xFFFFFFFF, arch, 0, *args, *[0] * (6 - len(args)))
    program = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator, at, steps = 0, 0, 0
    while True:
        op, jt, jf, k = program[at]
        at, steps = at + 1, steps + 1
        if op == 0x06:
            return Verdict(k, steps)
        if op == 0x20:
            assert k % 4 == 0 and k <= 60, f"load at {k}"
            (accumulator,) = struct.unpack_from(f"{order}I", data, k)
            if loads is not None:
                loads.append(k)
        elif op == 0x05:
            at += k
        elif op == 0x54:
            accumulator &= k
        else:
            at += jt if _ABOVE[op](accumulator, k) else jf


def constant_allow(code: bytes, arch: int, nr: int) -> bool:
    """Say whether the kernel sees that a call is always allowed: the program looks at number and machine alone."""
    loads: list[int] = []
    return run(code, arch, nr, loads=loads).value == 0x7FFF0000 and set(loads) <= {0, 4}
