"""Write nscontainer/security/syscall_tables.py from the kernel's own headers.

    mkdir headers && cd headers
    apt-get download linux-libc-dev:amd64 linux-libc-dev-{i386,arm64,armhf,riscv64,ppc64el,s390x}-cross
    for package in *.deb; do dpkg-deb -x "$package" .; done && cd ..
    python3 scripts/syscall_tables.py headers > nscontainer/security/syscall_tables.py

Needs a C compiler, whose preprocessor knows the guards of asm-generic/unistd.h better than any pattern would. Headers
are as old as their package; NEWER adds what Linux has numbered since, which is the same on every machine.
"""
from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["main"]

# Our name: the folder of headers (the first that is there), the header, what the machine's compiler would define, and
# the calls of its own that Linux gave it after the headers.
MACHINES: dict[str, tuple[str, str, list[str], dict[str, int]]] = {
    "x86_64": ("usr/include/x86_64-linux-gnu usr/i686-linux-gnu/include", "unistd_64.h", [],
               {"uretprobe": 335, "uprobe": 336}),
    "x86": ("usr/include/x86_64-linux-gnu usr/i686-linux-gnu/include", "unistd_32.h", [], {}),
    "x32": ("usr/include/x86_64-linux-gnu usr/i686-linux-gnu/include", "unistd_x32.h", ["__X32_SYSCALL_BIT=0"], {}),
    "aarch64": ("usr/aarch64-linux-gnu/include", "unistd.h", [], {}),
    "arm": ("usr/arm-linux-gnueabihf/include", "unistd.h", ["__ARM_EABI__"], {}),
    "riscv64": ("usr/riscv64-linux-gnu/include", "unistd.h", ["__riscv_xlen=64", "__LP64__", "__SIZEOF_POINTER__=8"],
                {"riscv_hwprobe": 258}),
    "ppc64le": ("usr/powerpc64le-linux-gnu/include", "unistd_64.h", [], {}),
    "s390x": ("usr/s390x-linux-gnu/include", "unistd_64.h", [], {"memfd_secret": 447}),
    "s390": ("usr/s390x-linux-gnu/include", "unistd_32.h", [], {"memfd_secret": 447}),
}

# include/uapi/asm-generic/unistd.h and scripts/syscall.tbl, Linux 6.5 to 7.1.
NEWER = {name: number for number, name in enumerate(
    "cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr "
    "lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr "
    "file_getattr file_setattr listns rseq_slice_yield".split(), 451)}

# No calls: bounds and bases of the tables, and what the kernel only pretends to have.
NOT_CALLS = {"syscalls", "arch_specific_syscall", "SYSCALL_BASE", "OABI_SYSCALL_BASE", "SYSCALL_MASK"}

HEAD = '''\
"""The number of every system call on every machine that a profile can name: made by scripts/syscall_tables.py.

Lesson  A filter sees numbers alone. The same number is another call on another machine, and a 64-bit kernel runs
        programs of two or three machines.
Read    syscalls(2); arch/*/syscall.tbl in Linux

A number is followed by the name of its call and of those after it, without a gap. The numbers of x32 lack its bit 30.
From COMMON_FROM on, a call has one number on all machines; a table names those that its machine lacks.
"""
from __future__ import annotations

__all__ = ["COMMON", "COMMON_FROM", "LACKING", "TABLES"]
'''


def read(root: Path, folders: str, header: str, defines: list[str]) -> dict[str, int]:
    """Return name and number of each call that a header defines."""
    folder = next((root / name for name in folders.split() if (root / name).is_dir()), None)
    if folder is None:
        raise SystemExit(f"none of {folders} in {root}: unpack the package there")
    shared = root / "usr/include"  # linux-libc-dev keeps asm-generic beside the machine's own
    command = ["cc", "-E", "-dM", "-nostdinc", "-undef", "-I", str(folder), "-I", str(shared),
               *(f"-D{define}" for define in defines), "-x", "c", str(folder / "asm" / header)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    macros = dict(re.findall(r"^#define (\w+) +(.+)$", text, re.M))
    calls = {}
    for macro in macros:
        found = re.fullmatch(r"__(?:NR|ARM_NR)_(\w+)", macro)
        if found and found[1] not in NOT_CALLS and not macro.endswith("_BASE"):
            calls[found[1]] = value(macros, macro)
    return calls


def value(macros: dict[str, str], macro: str) -> int:
    """Evaluate a macro: a number, another macro, or a sum of the two."""
    text = macros[macro]
    return sum(int(word, 0) if word[0].isdecimal() else value(macros, word) for word in re.findall(r"\w+", text))


def runs(calls: dict[str, int]) -> str:
    """Write a table as text: a number wherever the count does not simply go on."""
    words, following = [], None
    for name, number in sorted(calls.items(), key=lambda item: (item[1], item[0])):
        if number != following:
            words.append(str(number))
        words.append(name)
        following = number + 1
    return textwrap.fill(" ".join(words), 116, initial_indent="    ", subsequent_indent="    ",
                         break_long_words=False, break_on_hyphens=False)


def main(root: Path) -> None:
    """Print the module."""
    tables = {}
    for machine, (folders, header, defines, own) in MACHINES.items():
        calls = {name: number for name, number in read(root, folders, header, defines).items() if number < 1 << 20}
        tables[machine] = {**calls, **own, **NEWER}
    start = 424
    common = {name: number for table in tables.values() for name, number in table.items()
              if start <= number < 1 << 16 and sum(other.get(name) == number for other in tables.values()) > 4}
    print(HEAD)
    print(f"COMMON_FROM = {start}\n\nCOMMON = \"\"\"\n{runs(common)}\n\"\"\"\n")
    print("LACKING = {")
    for machine, table in tables.items():
        lacking = sorted(name for name in common if name not in table)
        if lacking:
            print(f'    "{machine}": "{" ".join(lacking)}",')
    print("}\n\nTABLES = {")
    for machine, table in tables.items():
        own = {name: number for name, number in table.items() if common.get(name) != number}
        print(f'    "{machine}": """\n{runs(own)}\n""",')
    print("}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
