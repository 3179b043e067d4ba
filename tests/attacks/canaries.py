"""What must be the same after an attack as before: a part of the host's tree, settings, the runtime's own program."""
from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["SECRET", "Fell", "HostTree", "identity", "interpreter_files", "wait_for"]

SECRET = "the-host's-own-words"


class Fell(AssertionError):
    """The attack worked."""


def identity(path: Path | str) -> tuple[Any, ...]:
    """Return what changes when a file is written, replaced, given away or touched; not that it was read."""
    status = os.lstat(path)
    content = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 20 else b""
    return (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_size,
            status.st_mtime_ns, content)


class HostTree:
    """A directory of the host, outside of every image: names, inodes, modes, owners, contents and times must stay."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        (folder / "folder/inner").mkdir(parents=True)
        for name in ("file", "ptmx", "console", "folder/file", "folder/inner/file"):
            (folder / name).write_text(f"{SECRET}\n")
            (folder / name).chmod(0o644)
        (folder / "passwd").write_text(f"root:x:0:0::/{SECRET}:/bin/sh\nuser:x:1000:1000::/{SECRET}:/bin/sh\n")
        self.keep()

    def keep(self) -> None:
        """Take what is there now as given."""
        self._before = self._seen()

    def _seen(self) -> dict[str, tuple[Any, ...]]:
        return {str(path): identity(path) for path in (self.path, *sorted(self.path.rglob("*")))}

    def check(self, output: str = "") -> None:
        """Fell, if anything has changed or the container could say what only the host's files do."""
        now = self._seen()
        for path in sorted(now.keys() | self._before.keys()):
            if now.get(path) != self._before.get(path):
                how = "appeared" if path not in self._before else "vanished" if path not in now else "changed"
                raise Fell(f"{os.path.relpath(path, self.path)!r} of the host {how}: "
                           f"{self._before.get(path)} -> {now.get(path)}")
        if SECRET in output:
            raise Fell(f"the container read a file of the host: {output[-300:]!r}")


def interpreter_files() -> dict[str, tuple[Any, ...]]:
    """Return the identities of what runs us: the interpreter, the C library, ctypes, our own modules, core_pattern."""
    import _ctypes

    import nscontainer

    package = Path(nscontainer.__file__).parent
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc" in line}
    files = [os.path.realpath(sys.executable), getattr(_ctypes, "__file__", sys.executable), *mapped,
             *package.rglob("*.py")]
    seen = {str(path): identity(path) for path in files if os.path.exists(path)}
    seen["core_pattern"] = (Path("/proc/sys/kernel/core_pattern").read_text(),)
    return seen


def wait_for(path: Path, log: Path) -> None:
    """Wait until a program in a container has made a file."""
    for _ in range(500):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {path}: {log.read_text()}")
