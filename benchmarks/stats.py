"""What it costs to read the counters of many containers in one pass: by descriptors kept, by names, and in C.

    sudo python3 benchmarks/stats.py [--json] [--cgroups N]

Each figure is the fastest of a few passes, in microseconds for one cgroup; who compares two takes them from one run.
"""
from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from common import REPOSITORY, Absent, compile_c

PASSES = 5


def fastest(act: Callable[[], object]) -> float:
    """Return the microseconds of the fastest of a few times."""
    times = []
    for _ in range(PASSES):
        start = time.perf_counter()
        act()
        times.append((time.perf_counter() - start) * 1e6)
    return min(times)


def in_c(program: str, mode: str, names: list[str]) -> float:
    """Return the microseconds of the C program for all of these files."""
    done = subprocess.run([program, mode, str(PASSES)], input="\n".join(names) + "\n", capture_output=True, text=True)
    if done.returncode:
        raise Absent(done.stderr.strip())
    return float(done.stdout)


def measure(count: int, folder: str) -> dict[str, Any]:
    """Make cgroups, read their counters in each way, and remove them."""
    sys.path.insert(0, REPOSITORY)
    from nscontainer.cgroups.manager import manager_for
    from nscontainer.config import Cgroup

    managers = [manager_for(Cgroup(name=f"benchmark-{os.getpid()}-{number}")) for number in range(count)]
    try:
        for manager in managers:
            fd = manager.directory_fd()
            if fd is not None:
                os.close(fd)

        def read() -> None:
            for manager in managers:
                manager.get_stats()

        def understand() -> None:
            for manager in managers:
                manager.get_stats().to_json()

        def anew() -> None:
            for manager in managers:
                manager._close_readers()
                manager.get_stats()

        found: dict[str, Any] = {"cgroups": count, "opened anew": fastest(anew) / count}
        found["by descriptor"] = fastest(read) / count
        found["by descriptor, and all understood"] = fastest(understand) / count
        names = [f"{reader.directory}/{name}" for manager in managers for reader in manager._readers.values()
                 for name in reader._fds]
        found["files"] = len(names) / count
        try:
            program = compile_c("stats.c", folder)
            found["C, opened anew"] = in_c(program, "anew", names) / count
            found["C, by descriptor"] = in_c(program, "keep", names) / count
        except Absent as reason:
            found["absent"] = str(reason)
        return found
    finally:
        for manager in managers:
            manager.destroy()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cgroups", type=int, default=1000, metavar="N")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.cgroups, folder)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['cgroups']} cgroups, {found['files']:.0f} files each; microseconds for one cgroup\n")
    kept = found["by descriptor"]
    for name, value in found.items():
        if name not in ("cgroups", "files"):
            print(f"{name:36} {value:8.1f}   {kept / value:5.2f}" if isinstance(value, float) else f"{name}: {value}")
    print("\nThe last column: how many times as long the second row takes.")


if __name__ == "__main__":
    main()
