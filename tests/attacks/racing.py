"""The other side of a race: a process of its own that exchanges two names as fast as the kernel can."""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nscontainer.sys.files import RENAME, renameat2

__all__ = ["BUDGET", "exchanging", "rounds"]

BUDGET = 1.5   # seconds that one race may take
MOST = 150     # ... and the number of containers


@contextmanager
def exchanging(folder: Path, first: str, second: str) -> Iterator[None]:
    """Exchange *first* and *second* in *folder*, atomically and without end, while the block runs."""
    pid = os.fork()
    if pid == 0:
        try:
            where = os.open(folder, os.O_PATH)
            while True:
                renameat2(where, first, where, second, RENAME.EXCHANGE)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)   # nobody has waited for it, so it is there
        _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "there was nobody to race with"


def rounds(one: Callable[[int], object]) -> int:
    """Call *one* with 0, 1, 2 … until the budget is spent; return how often."""
    deadline = time.monotonic() + BUDGET
    count = 0
    while time.monotonic() < deadline and count < MOST:
        one(count)
        count += 1
    assert count > 1, "one round is no race"
    return count
