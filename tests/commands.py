"""An OCI runtime to be called as engines call it: ours, or runc; and a bundle for it."""
from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nscontainer.spec import template

__all__ = ["OURS", "ROOT", "Runtime", "bundle_in", "console_socket", "until"]

ROOT = Path(__file__).resolve().parent.parent
_START = "import sys; sys.path.append(sys.argv.pop(1)); from nscontainer.__main__ import main; main()"
OURS = [sys.executable, "-I", "-S", "-c", _START, str(ROOT)]
Done = subprocess.CompletedProcess[str]


class Runtime:
    """A runtime with a state root of its own, and the containers made by it."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.command, self.folder, self.root = command, folder, folder / "state"
        self._made = 0

    def line(self, *arguments: str, before: tuple[str, ...] = ()) -> list[str]:
        return [*self.command, "--root", str(self.root), *before, *arguments]

    def __call__(self, *arguments: str, before: tuple[str, ...] = (), code: int | None = 0, **options: Any) -> Done:
        """Run one command; its exit code must be *code*, None: any."""
        # A file, not a pipe: a container's first process would keep that open.
        with open(self.folder / "out", "w+") as out, open(self.folder / "err", "w+") as err:
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, "timeout": 30, **options}
            done = subprocess.run(self.line(*arguments, before=before), text=True, **options)
            for file, name in ((out, "stdout"), (err, "stderr")):
                file.seek(0)
                if options[name] is file:
                    setattr(done, name, file.read())
        assert code is None or done.returncode == code, (arguments, done.returncode, done.stderr)
        return done

    def new_id(self) -> str:
        self._made += 1
        return f"test-{os.getpid()}-{id(self) % 100000}.{self._made}"

    def state(self, container: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self("state", container).stdout)
        return state

    def status(self, container: str) -> str:
        return str(self.state(container)["status"])

    def ends(self, container: str) -> bool:
        return until(lambda: self.status(container) == "stopped")

    def clean(self) -> None:
        for name in os.listdir(self.root) if self.root.exists() else ():
            self("delete", "--force", name, code=None)


def until(met: Callable[[], Any], seconds: float = 10) -> bool:
    """Wait until something is so; say whether it is."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def bundle_in(folder: Path, rootfs: Path, *args: str, change: Callable[[dict[str, Any]], object] | None = None) -> Path:
    """Make a bundle in which *args* are to run, without a terminal; *change* has the last word."""
    document = template()
    document["process"].update(terminal=False, args=list(args))
    document["root"]["path"] = str(rootfs)
    if change is not None:
        change(document)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


class console_socket:
    """Listen for the master of a terminal, as conmon does."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "console.sock")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._listener.settimeout(10)
        self._master = -1

    def __enter__(self) -> console_socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self._master >= 0:
            os.close(self._master)

    def receive(self) -> int:
        """Return the descriptor that is sent."""
        connection, _ = self._listener.accept()
        with connection:
            payload, descriptors, _, _ = socket.recv_fds(connection, 4096, 8)
        assert payload
        assert len(descriptors) == 1
        self._master = descriptors[0]
        return self._master

    def reads(self, wanted: bytes) -> bytes:
        """Read until *wanted* has come."""
        read = b""
        while wanted not in read:
            assert select.select([self._master], [], [], 10)[0], read
            try:
                more = os.read(self._master, 4096)
            except OSError:
                more = b""
            assert more, read
            read += more
        return read
