"""How long a container lives when its program is /bin/true: our library and our command beside C, crun, runc, bwrap.

    python3 benchmarks/lifecycle.py [--json] [--rounds N] [--only SECTION]

Needs root, busybox (static), unshare and mount; crun, runc, bwrap and a C compiler take part when they are there. It
runs in a mount namespace of its own, with a pure cgroup2 and a fresh tmpfs; nothing outlives it.
"""
from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from typing import Any, Callable

from common import (
    NAMESPACES,
    REPOSITORY,
    Absent,
    Bwrap,
    Caller,
    Command,
    Contestant,
    CProgram,
    OCIRuntime,
    compile_c,
    interleave,
    make_rootfs,
    ratio,
    sandbox_command,
    version_of,
)

__all__ = ["Benchmark", "main"]

INSIDE = "_NSCONTAINER_BENCHMARK"
CGROUPS = "/sys/fs/cgroup"
STAGE = f"""
umount -R {CGROUPS} 2>/dev/null
mount -t cgroup2 none {CGROUPS} && mount -t tmpfs tmpfs /dev/shm && exec "$@"
"""
NOTES = (
    f"Namespaces: {', '.join(NAMESPACES)}. Everybody brings up the loopback interface; nobody loads a seccomp filter.",
    "The C floor checks nothing, drops no capabilities, makes no state file and joins no cgroup.",
    "crun and runc cannot do without a cgroup; runc puts a device filter on it. Ours has one where it says so.",
    "alone: the first of a turn, after a pause; row: those that follow it at once.",
    "A move to another cgroup takes some 12 ms when none came shortly before it, else 0.2 ms: thus runc's two figures.",
    "Ratios are medians over rounds, each compared within itself; targets are about 'alone'.",
)

GIB = 1 << 30
BLOCKED, BUSY = 50, 2
THREADS = 8


class Benchmark:
    """One run: its folder, its contestants, and what came out."""

    def __init__(self, folder: str, rounds: int) -> None:
        self._folder, self._rounds = folder, rounds
        self._rootfs = f"{folder}/rootfs"
        self._cgroup = f"/nscontainer-benchmark-{os.path.basename(folder)[-8:]}"
        self._contestants: list[Contestant] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.targets: list[dict[str, Any]] = []
        make_rootfs(self._rootfs)

    def close(self) -> None:
        """End the contestants and remove their cgroups."""
        for contestant in self._contestants:
            contestant.close()
        for folder, _, _ in os.walk(CGROUPS + self._cgroup, topdown=False):
            try:
                os.rmdir(folder)
            except OSError as error:
                print(f"{folder}: {error.strerror}", file=sys.stderr)

    def _invite(self, name: str, make: Callable[[], Contestant]) -> Any:
        """Return a contestant, whether it can take part or not."""
        try:
            contestant = make()
        except Absent as reason:
            contestant = Contestant(name, 0)
            contestant.absent = str(reason)
        self._contestants.append(contestant)
        return contestant

    def _caller(self, name: str, batch: int, note: str = "", **options: Any) -> Any:
        return self._invite(name, lambda: Caller(name, batch, self._folder, self._rootfs, note, **options))

    def _compare(self, one: Contestant, other: Contestant, limit: float) -> None:
        self._target(f"{one.name} : {other.name}", ratio(one, other), limit, row=ratio(one, other, in_a_row=True))

    def _target(self, what: str, measured: float | None, limit: float, *, at_least: bool = False,
                row: float | None = None) -> None:
        self.targets.append({
            "what": what, "measured": _rounded(measured), "in_a_row": _rounded(row),
            "limit": limit, "direction": "at least" if at_least else "at most",
            "reached": None if measured is None else measured >= limit if at_least else measured <= limit})

    def lifecycle(self) -> None:
        """Compare whole lives, one after the other."""
        rootfs, folder = self._rootfs, self._folder
        floor = self._invite("C floor", lambda: CProgram("C floor", 10, compile_c("floor.c", folder), rootfs))
        library = self._caller("library", 10)
        in_cgroup = self._caller("library, in a cgroup", 10, cgroup=f"{self._cgroup}/library")
        large = self._caller("library, large caller", 10, memory=2 * GIB, threads=BLOCKED,
                             note=f"2 GiB touched, {BLOCKED} blocked threads")
        busy = self._caller("library, busy caller", 2, memory=2 * GIB, threads=BLOCKED, busy=BUSY,
                            note=f"the same and {BUSY} threads of pure Python that never sleep; for information")
        bwrap = self._invite("bwrap", lambda: Bwrap(5, rootfs))
        crun, runc = (self._invite(f"{name} run", lambda name=name: OCIRuntime(  # type: ignore[misc]
            name, 4, folder, rootfs, f"{self._cgroup}/{name}")) for name in ("crun", "runc"))
        command = self._invite("sandbox", lambda: Command(
            "sandbox", 3, sandbox_command(rootfs, bare=False), "python3 -m nscontainer sandbox; no time namespace",
            {"PYTHONPATH": REPOSITORY}))
        bare = self._invite("sandbox, -I -S", lambda: Command(
            "sandbox, -I -S", 3, sandbox_command(rootfs, bare=True), "the same, as a launcher starts it"))
        everybody = [floor, library, in_cgroup, large, busy, bwrap, crun, runc, command, bare]
        interleave(everybody, self._rounds)
        rows = []
        for one in everybody:
            row = one.to_json()
            for other, column in ((floor, "of_floor"), (crun, "of_crun"), (runc, "of_runc")):
                row[column] = _rounded(ratio(one, other))
            rows.append(row)
        self.tables["create, start, wait, destroy"] = rows
        self._compare(library, floor, 2.0)
        self._compare(library, crun, 0.35)
        self._compare(library, runc, 0.12)
        self._compare(large, library, 1.15)
        self._compare(command, runc, 0.9)
        self._compare(bare, runc, 0.9)

    def enter(self) -> None:
        """Compare the ways into a running container."""
        library = self._caller("library exec", 10)
        program = self._invite("C setns", lambda: self._enter_in_c(library))
        library.measure = lambda count: library.ask("enter", count=count)
        interleave([program, library], self._rounds)
        self.tables["a program in a running container"] = [
            {**one.to_json(), "of_c": _rounded(ratio(one, program))} for one in (program, library)]
        self._compare(library, program, 2.0)

    def _enter_in_c(self, library: Any) -> Contestant:
        if library.absent:
            raise Absent("the library has no container to enter")
        program = compile_c("enter.c", self._folder)
        return CProgram("C setns", 10, program, str(library.ask("begin")))

    def threads(self) -> None:
        """Compare many threads, or processes of the C floor, with one."""
        library = self._caller("library", 0)
        floor = self._invite("C floor",
                             lambda: CProgram("C floor", 0, compile_c("floor.c", self._folder), self._rootfs))
        rows = []
        gains: dict[str, float] = {}
        total = 4 * THREADS
        for one in (library, floor):
            if one.absent:
                rows.append(one.to_json())
                continue
            rates: dict[int, list[float]] = {1: [], THREADS: []}
            for _ in range(self._rounds):
                for many, found in rates.items():
                    time.sleep(0.05)
                    one.at_once(1, many)  # warm-up
                    found.append(total / one.at_once(total // many, many) * 1e3)
            gains[one.name] = statistics.median(b / a for a, b in zip(*rates.values()))
            rows += [{"name": f"{one.name}, {many} at once", "per_second": round(statistics.median(found), 1)}
                     for many, found in rates.items()]
            rows[-1]["gain"] = round(gains[one.name], 3)
        self.tables["containers per second"] = rows
        self._target(f"library, {THREADS} threads at once : one", gains.get("library"), 1.5, at_least=True)

    def resident(self) -> None:
        """See what running containers cost our processes."""
        library = self._caller("library", 0)
        count = 100
        each: dict[str, float] = {}
        if library.absent:
            self.tables["held per running container"] = [library.to_json()]
        else:
            held = library.ask("resident", count=count)
            each = {name: (held["with"][name] - held["before"][name]) / count for name in held["before"]}
            self.tables["held per running container"] = [
                {"name": process, "descriptors": round(each[f"{process}_descriptors"], 2),
                 "rss_kib": round(each[f"{process}_rss_kib"], 1), "pss_kib": round(each[f"{process}_pss_kib"], 1),
                 "total_rss_kib": held["with"][f"{process}_rss_kib"]}
                for process in ("caller", "zygote")]
        for what, key, limit in (("descriptors", "descriptors", 1), ("KiB of RSS", "rss_kib", 40),
                                 ("KiB of PSS", "pss_kib", 40)):
            self._target(f"{what} per running container", sum(
                each[f"{process}_{key}"] for process in ("caller", "zygote")) if each else None, limit)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


SECTIONS: dict[str, Callable[[Benchmark], None]] = {
    "lifecycle": Benchmark.lifecycle, "enter": Benchmark.enter, "threads": Benchmark.threads,
    "resident": Benchmark.resident,
}


def host() -> dict[str, Any]:
    """Describe where this runs."""
    return {"kernel": platform.release(), "machine": platform.machine(), "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(), **{name: version_of(name) for name in ("crun", "runc", "bwrap")}}


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    print(", ".join(f"{name} {value}" for name, value in report["host"].items()))
    for title, rows in report["tables"].items():
        columns = [key for row in rows for key in row if key not in ("name", "note", "absent", "samples")]
        columns = list(dict.fromkeys(columns))
        width = max(len(row["name"]) for row in rows) + 2
        print(f"\n{title}\n{'':{width}}" + "".join(f"{name:>{len(name) + 2}}" for name in columns))
        for row in rows:
            if "absent" in row:
                print(f"{row['name']:{width}}absent: {row['absent']}")
                continue
            print(f"{row['name']:{width}}" + "".join(
                f"{'-' if row.get(name) is None else _number(row[name]):>{len(name) + 2}}" for name in columns)
                + (f"   {row['note']}" if row.get("note") else ""))
    print(f"\n{'to reach':42}measured  in a row")
    for target in report["targets"]:
        figures = "".join(f"{'-' if target[name] is None else _number(target[name]):>10}"
                          for name in ("measured", "in_a_row"))
        verdict = {None: "not measured", True: "reached", False: "MISSED"}[target["reached"]]
        print(f"  {target['what']:38}{figures}  {target['direction']:>8} {target['limit']:<5g} {verdict}")
    print("\n" + "\n".join(report["notes"]))


def _number(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> int:
    """Enter the stage, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=30, help="turns that everybody gets (30)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section alone; may be repeated")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    if os.geteuid() != 0:
        parser.error("must run as root: everybody but bwrap needs it")
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", STAGE, "sh", sys.executable, *sys.argv])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # An installed package is compiled; the zygote, which writes no files, would compile its modules at every start.
    compileall.compile_dir(f"{REPOSITORY}/nscontainer", quiet=2)
    folder = tempfile.mkdtemp(prefix="nscontainer-benchmark-", dir="/dev/shm")
    try:
        benchmark = Benchmark(folder, options.rounds)
        try:
            for section in options.only or SECTIONS:
                SECTIONS[section](benchmark)
        finally:
            benchmark.close()
    except Absent as reason:
        parser.error(str(reason))
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder)
    report = {"host": host(), "rounds": options.rounds, "tables": benchmark.tables, "targets": benchmark.targets,
              "notes": NOTES}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
