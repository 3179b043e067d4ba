"""Classic BPF: the little machine whose programs decide about packets and system calls.

Lesson  One accumulator, constants, forward jumps, no loop: a program always ends, so the kernel can run anybody's.
Read    Documentation/networking/filter.rst and Documentation/userspace-api/seccomp_filter.rst in Linux

All there is here is what seccomp(2) programs need. Every comparison is of 32 bits, unsigned.
"""
from __future__ import annotations

from struct import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Instruction = tuple[int, int, int, int]  # code, how many to skip when true, how many when false, constant

__all__ = ["AND", "JUMP", "JUMP_EQ", "JUMP_GE", "JUMP_GT", "JUMP_SET", "LOAD", "LONGEST_JUMP", "MOST_INSTRUCTIONS",
           "RETURN", "assemble", "disassemble"]

LOAD = 0x20        # BPF_LD|BPF_W|BPF_ABS: the word at offset k into the accumulator
JUMP = 0x05        # BPF_JMP|BPF_JA: skip k instructions
JUMP_EQ = 0x15     # BPF_JMP|BPF_JEQ|BPF_K: skip jt where the accumulator is k, else jf
JUMP_GT = 0x25     # BPF_JMP|BPF_JGT|BPF_K: above k
JUMP_GE = 0x35     # BPF_JMP|BPF_JGE|BPF_K: k or above
JUMP_SET = 0x45    # BPF_JMP|BPF_JSET|BPF_K: has a bit of k
AND = 0x54         # BPF_ALU|BPF_AND|BPF_K
RETURN = 0x06      # BPF_RET|BPF_K: end, and answer k

LONGEST_JUMP = 255          # of a conditional jump: its distances are bytes
MOST_INSTRUCTIONS = 4096    # BPF_MAXINSNS


def assemble(program: Iterable[Instruction]) -> bytes:
    """Return an array of struct sock_filter (8 bytes each), in this machine's byte order."""
    return b"".join([pack("=HBBI", *instruction) for instruction in program])


def disassemble(code: bytes) -> list[Instruction]:
    """Return the instructions in an array of struct sock_filter."""
    return [unpack("=HBBI", code[at:at + 8]) for at in range(0, len(code), 8)]
