"""The number of each system call that has no function in every C library.

Lesson  A system call is asked for by number, and each machine numbered its calls for itself, until 2019.
Read    syscalls(2), syscall(2); the tables are arch/*/syscall.tbl and include/uapi/asm-generic/unistd.h in Linux

``NUMBERS`` holds what this machine has. A name that is missing there has no number: the call answers ENOSYS.
"""
from __future__ import annotations

import os
import sys

__all__ = ["BY_MACHINE", "COMMON", "MACHINES", "NUMBERS", "numbers_for"]

# Linux gives a call added since 5.1 the same number on every machine; older ones kept theirs.
COMMON = {
    "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "pidfd_open": 434, "clone3": 435, "close_range": 436, "openat2": 437, "pidfd_getfd": 438,
    "faccessat2": 439, "mount_setattr": 442, "landlock_create_ruleset": 444, "landlock_add_rule": 445,
    "landlock_restrict_self": 446, "set_mempolicy_home_node": 450, "fchmodat2": 452, "statmount": 457,
    "listmount": 458, "open_tree_attr": 467, "listns": 470,
}

MACHINES =           ("x86_64", "i686", "aarch64", "armv7l", "riscv64", "ppc64le", "s390x")
BY_MACHINE = {
    "add_key":        (248,      286,    217,       309,      217,       269,       278),
    "bpf":            (321,      357,    280,       386,      280,       361,       351),
    "execveat":       (322,      358,    281,       387,      281,       362,       354),
    "ioprio_get":     (252,      290,    31,        315,      31,        274,       283),
    "ioprio_set":     (251,      289,    30,        314,      30,        273,       282),
    "keyctl":         (250,      288,    219,       311,      219,       271,       280),
    "memfd_create":   (319,      356,    279,       385,      279,       360,       350),
    "mknodat":        (259,      297,    33,        324,      33,        288,       290),
    "pivot_root":     (155,      217,    41,        218,      41,        203,       217),
    "prlimit64":      (302,      340,    261,       369,      261,       325,       334),
    "renameat2":      (316,      353,    276,       382,      276,       357,       347),
    "request_key":    (249,      287,    218,       310,      218,       270,       279),
    "rt_sigaction":   (13,       174,    134,       174,      134,       173,       174),
    "rt_sigprocmask": (14,       175,    135,       175,      135,       174,       175),
    "rt_sigtimedwait": (128,     177,    137,       177,      137,       176,       177),
    "sched_getattr":  (315,      352,    275,       381,      275,       356,       346),
    "sched_setattr":  (314,      351,    274,       380,      274,       355,       345),
    "seccomp":        (317,      354,    277,       383,      277,       358,       348),
    "set_mempolicy":  (238,      276,    237,       321,      237,       261,       270),
    "statx":          (332,      383,    291,       397,      291,       383,       379),
}

_OTHER_NAMES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "i486": "i686", "i586": "i686",
                "armv6l": "armv7l", "armv8l": "armv7l"}
_NARROW = {"x86_64": "i686", "aarch64": "armv7l"}


def numbers_for(machine: str, *, bits: int = 64) -> dict[str, int]:
    """Return the numbers for a machine as uname(2) names it and a process of *bits*; none for a stranger.

    A 32-bit program under a 64-bit kernel sees the kernel's machine and uses the narrow one's numbers.
    """
    machine = _OTHER_NAMES.get(machine, machine)
    if bits == 32:
        machine = _NARROW.get(machine, machine)
    if machine not in MACHINES:
        return {}  # the common ones hold nearly everywhere, and a wrong number is another call
    column = MACHINES.index(machine)
    return {**COMMON, **{name: row[column] for name, row in BY_MACHINE.items()}}


NUMBERS = numbers_for(os.uname().machine, bits=64 if sys.maxsize > 1 << 32 else 32)
