"""A program that uses the library: lifecycle.py tells it what to do, a line of JSON each, and it answers with times.

On its command line, as JSON: *root* and *rootfs*; *cgroup*, the containers' own; *memory*, bytes to hold, every page of
them touched; *threads*, so many to have blocked in a wait; *busy*, so many more that compute while containers are made.
"""
from __future__ import annotations

import gc
import json
import mmap
import os
import sys
import threading
import time
from typing import Any, Callable

from common import Library

__all__ = ["Worker", "main"]


class Worker:
    """The caller: what it holds besides the library, and what it can be told to do."""

    def __init__(self, root: str, rootfs: str, cgroup: str | None = None, memory: int = 0, threads: int = 0,
                 busy: int = 0) -> None:
        self._count = 0
        self._running: list[tuple[Any, Any]] = []
        self._memory = _touched(memory)
        self._go = threading.Event()  # set: the busy ones compute
        never = threading.Event()
        for _ in range(threads):
            threading.Thread(target=never.wait, daemon=True).start()
        for _ in range(busy):
            threading.Thread(target=self._compute, daemon=True).start()
        self._library = Library(root, rootfs, cgroup)

    def _compute(self) -> None:
        while self._go.wait():
            sum(range(1000))

    def _id(self) -> str:
        self._count += 1
        return f"c{self._count}"

    def _timed(self, count: int, action: Callable[[], None]) -> list[float]:
        times = []
        self._go.set()
        try:
            for _ in range(count):
                start = time.perf_counter()
                action()
                times.append((time.perf_counter() - start) * 1e3)
        finally:
            self._go.clear()
        return times

    def lifecycle(self, count: int) -> list[float]:
        """Make *count* containers, one after the other: the milliseconds of each."""
        return self._timed(count, lambda: self._library.lifecycle(self._id()))

    def begin(self) -> int:
        """Start a container to enter: its pid."""
        self._running.append(self._library.begin(self._id()))
        return int(self._running[-1][1].pid)

    def enter(self, count: int) -> list[float]:
        """Run a program in that container, *count* times: the milliseconds of each."""
        container, _ = self._running[-1]
        return self._timed(count, lambda: self._library.enter(container))

    def end(self) -> None:
        """Destroy all running containers."""
        while self._running:
            self._library.end(*self._running.pop())

    def at_once(self, count: int, threads: int) -> float:
        """Have *threads* threads make *count* containers each: the milliseconds until all are done."""
        barrier = threading.Barrier(threads + 1)
        failures: list[BaseException] = []

        def make(ids: list[str]) -> None:
            barrier.wait()
            try:
                for id in ids:
                    self._library.lifecycle(id)
            except BaseException as error:
                failures.append(error)

        makers = [threading.Thread(target=make, args=([self._id() for _ in range(count)],)) for _ in range(threads)]
        for maker in makers:
            maker.start()
        barrier.wait()
        start = time.perf_counter()
        for maker in makers:
            maker.join()
        if failures:
            raise failures[0]
        return (time.perf_counter() - start) * 1e3

    def resident(self, count: int) -> dict[str, dict[str, int]]:
        """Run *count* containers at once: what we and the zygote hold before, and with them."""
        before = self._holdings()
        try:
            for _ in range(count):
                self.begin()
            return {"before": before, "with": self._holdings()}
        finally:
            self.end()

    def _holdings(self) -> dict[str, int]:
        gc.collect()
        holdings = {}
        for name, pid in (("caller", os.getpid()), ("zygote", self._library.zygote_pid)):
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sizes = {words[0]: int(words[1]) for words in map(str.split, file) if words[-1] == "kB"}
            holdings[f"{name}_rss_kib"], holdings[f"{name}_pss_kib"] = sizes["Rss:"], sizes["Pss:"]
            holdings[f"{name}_descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
        return holdings

    def close(self) -> None:
        """Leave nothing behind."""
        self.end()
        self._library.close()


def _touched(size: int) -> mmap.mmap | None:
    """Return *size* bytes of memory in pages of the ordinary size, all of them written to: what makes fork(2) slow."""
    if not size:
        return None
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    except OSError:
        pass  # EINVAL: a kernel without huge pages
    for at in range(0, size, mmap.PAGESIZE):
        memory[at] = 1
    return memory


def main() -> None:
    """Do what the lines of standard input say, until they end."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    worker: Worker | None = None
    try:
        for line in orders:
            order = json.loads(line)
            try:
                worker = worker or Worker(**json.loads(sys.argv[1]))
                answer = {"result": getattr(worker, order.pop("do"))(**order)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        if worker is not None:
            worker.close()


if __name__ == "__main__":
    main()
