"""The runtime under test: this library, or the command of any OCI runtime; each takes the same config.json."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

from nscontainer import Config, Container, ContainerError, Factory, Process
from nscontainer.mounts.options import parse
from nscontainer.security.seccomp import convert_string_to_action, convert_string_to_operator
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MNT, MS, mount, umount2

from .bundle import CAPABILITIES, PATH, STARTED, Spec
from .canaries import Fell

__all__ = ["Binary", "Careless", "Library", "Ran", "Running", "Runtime", "config_of", "process_of"]

TIMEOUT = 15.0
_KINDS = {"pid": "NEWPID", "network": "NEWNET", "ipc": "NEWIPC", "uts": "NEWUTS", "mount": "NEWNS", "user": "NEWUSER",
          "cgroup": "NEWCGROUP"}
_DEVICES = [{"type": ord("c"), "path": f"/dev/{name}", "major": major, "minor": minor, "file_mode": 0o666}
            for name, major, minor in (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8),
                                       ("urandom", 1, 9), ("tty", 5, 0))]


class Ran:
    """What came of an attempt: the program's *output*, its exit *code* if it ran, the runtime's *error* if any."""

    def __init__(self, output: str, code: int | None, error: str = "") -> None:
        self.output, self.code, self.error = output, code, error

    @property
    def started(self) -> bool:
        """The program ran; else the runtime has refused."""
        return STARTED in self.output

    def __repr__(self) -> str:
        return f"Ran({self.output[-600:]!r}, {self.code}, {self.error[-600:]!r})"


# ------------------------------------------------------------------------------------------------------- this library

def config_of(made: Spec) -> Config:
    """Translate config.json into a Config."""
    linux, process = made["linux"], made["process"]
    kinds = {entry["type"]: entry.get("path", "") for entry in linux["namespaces"]}
    fields: dict[str, Any] = {
        "rootfs": made["root"]["path"], "readonlyfs": made["root"].get("readonly", False),
        "namespaces": [{"type": _KINDS[kind], "path": path} for kind, path in kinds.items()],
        "mounts": [_mount(entry) for entry in made["mounts"]],
        "devices": _DEVICES + [
            {"type": ord(entry["type"]), "path": entry["path"], "major": entry.get("major", 0),
             "minor": entry.get("minor", 0), "file_mode": entry.get("fileMode", 0o666), "uid": entry.get("uid", 0),
             "gid": entry.get("gid", 0)} for entry in linux.get("devices", ())],
        "capabilities": process["capabilities"], "no_new_privileges": process["noNewPrivileges"],
        "mask_paths": linux["maskedPaths"], "readonly_paths": linux["readonlyPaths"],
        "additional_groups": [str(gid) for gid in process["user"].get("additionalGids", ())],
        "sysctl": linux.get("sysctl", {}),
    }
    if "uts" in kinds:
        fields["hostname"] = made["hostname"]
    if "seccomp" in linux:
        fields["seccomp"] = _filter(linux["seccomp"])
    for name, key in (("uid_mappings", "uidMappings"), ("gid_mappings", "gidMappings")):
        fields[name] = [{"container_id": entry["containerID"], "host_id": entry["hostID"], "size": entry["size"]}
                        for entry in linux.get(key, ())]
    return Config.from_json(fields)


def _mount(entry: Spec) -> dict[str, Any]:
    options = parse(entry["options"])
    return {"source": entry["source"], "destination": entry["destination"], "device": entry["type"],
            "flags": int(options.flags), "propagation_flags": [int(flag) for flag in options.propagation],
            "data": options.data, "recursive_set": int(options.recursive_set)}


def _filter(profile: Spec) -> dict[str, Any]:
    calls = [{"names": call["names"], "action": int(convert_string_to_action(call["action"])),
              "errno_ret": call.get("errnoRet"),
              "args": [{"index": arg["index"], "value": arg["value"], "value_two": arg["valueTwo"],
                        "op": int(convert_string_to_operator(arg["op"]))} for arg in call["args"]]}
             for call in profile["syscalls"]]
    return {"default_action": int(convert_string_to_action(profile["defaultAction"])), "syscalls": calls}


def process_of(wanted: Spec, **streams: Any) -> Process:
    user = wanted["user"]
    return Process(wanted["args"], env=wanted["env"], user=f"{user['uid']}:{user['gid']}", cwd=wanted["cwd"], **streams)


class Running:
    """A container that runs; *log* is a file that has what it writes."""

    def __init__(self, runtime: Runtime, id: str, log: Path, container: Container | None = None) -> None:
        self.runtime, self.id, self.log, self.container = runtime, id, log, container

    def exec(self, *args: str, **options: Any) -> Ran:
        """Run a further program in it: *user* as a string, *cwd*, *capabilities* added, *inherit* descriptors."""
        return self.runtime.exec(self, args, **options)


# A zygote whose children seem to have no openat2 that stays below a root, as behind a seccomp filter that
# does not know it: paths are walked by mounts/resolve.py itself, and must lead to the same places.
_WALKER = """
import ctypes, errno, sys
sys.path.append(sys.argv[1])
from nscontainer import zygote
from nscontainer.sys.libc import intercept
from nscontainer.sys.openat2 import RESOLVE, _OpenHow

def wrap(name, call):
    def forbidden(*arguments):
        if _OpenHow.from_address(arguments[2]).resolve & RESOLVE.IN_ROOT:
            ctypes.set_errno(errno.ENOSYS)
            return -1
        return call(*arguments)

    return forbidden if name == "openat2" else call

intercept(wrap)
zygote.main()
"""
_WALKING = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-c", _WALKER, str(Path(__file__).parents[2])]


class Library:
    """Our own library, in this process; with *walks* as it is where openat2 is forbidden."""

    name = "nscontainer"

    def __init__(self, folder: Path, walks: bool = False) -> None:
        self.folder, self.walks = folder, walks
        self._factory: Factory | None = None

    @property
    def factory(self) -> Factory:
        """Started on first use, so that a forked child has one of its own."""
        if self._factory is None:
            root = tempfile.mkdtemp(prefix="state-", dir=self.folder)
            self._factory = Factory(root, init_args=_WALKING if self.walks else ())
        return self._factory

    def afresh(self) -> Library:
        """Return one that inherits what the caller is and has now, not what it was at the first start."""
        return Library(self.folder, self.walks)

    def close(self) -> None:
        """End the zygote."""
        if self._factory is not None:
            self._factory.close()

    def run(self, made: Spec, stdin: int | None = None, inherit: Sequence[int] = ()) -> Ran:
        """Run a container to its end. *inherit* are descriptors that the caller has left open and inheritable."""
        if inherit:
            fresh = self.afresh()
            try:
                return fresh.run(made, stdin)
            finally:
                fresh.close()
        try:
            with self.factory.create(f"x{os.urandom(6).hex()}", config_of(made)) as container:
                return self._start(container, process_of(made["process"], stdin=stdin))
        except ContainerError as error:
            return Ran("", None, str(error))

    def _start(self, container: Container, process: Process) -> Ran:
        with tempfile.TemporaryFile(dir=self.folder) as output:
            process.stdout = process.stderr = output
            try:
                container.start(process)
                code = process.wait(TIMEOUT).returncode
            except ContainerError as error:
                return Ran("", None, str(error))
            except TimeoutError as error:
                raise Fell(f"it hangs: {error}") from None
            output.seek(0)
            return Ran(output.read().decode(errors="replace"), code)

    def terminal(self, made: Spec) -> Ran:
        """Run a container whose program has a terminal of its own."""
        try:
            with self.factory.create(f"x{os.urandom(6).hex()}", config_of(made)) as container:
                process = process_of(made["process"])
                with process.new_console() as console:
                    container.start(process)
                    output = b""
                    while data := console.read():
                        output += data
                    return Ran(output.decode(errors="replace"), process.wait(TIMEOUT).returncode)
        except ContainerError as error:
            return Ran("", None, str(error))

    @contextmanager
    def start(self, made: Spec) -> Iterator[Running]:
        """Run a container beside the block."""
        id = f"x{os.urandom(6).hex()}"
        log = self.folder / f"log-{id}"
        with self.factory.create(id, config_of(made)) as container, log.open("wb") as output:
            container.start(process_of(made["process"], stdout=output, stderr=output))
            yield Running(self, id, log, container)

    def exec(self, running: Running, args: Sequence[str], user: str = "", cwd: str = "/",
             capabilities: Sequence[str] = (), inherit: Sequence[int] = ()) -> Ran:
        """Run a further program in a container."""
        assert running.container is not None
        process = Process(args, env=[PATH], user=user, cwd=cwd)
        if capabilities:
            process.capabilities = (*CAPABILITIES, *capabilities)
        try:
            return self._start(running.container, process)
        except ContainerError as error:
            return Ran("", None, str(error))


# --------------------------------------------------------------------------------------------- any runtime's command

def _throw_away_mounts() -> None:
    """Take a mount namespace that nobody sees. Some, as crun, refuse hosts with cgroups of both versions."""
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        umount2("/sys/fs/cgroup/unified", MNT.DETACH)


def _end(pid: int) -> None:
    """Kill a process and all that came of it: what a runtime was about to make, it will not remember."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        _end(int(child))
    os.kill(pid, signal.SIGKILL)


def _remove_cgroups(id: str) -> None:
    for cgroup in [*Path("/sys/fs/cgroup").rglob(id)]:
        for _ in range(100):
            try:
                cgroup.rmdir()
                break
            except OSError:
                time.sleep(0.02)   # EBUSY: the kernel is not yet done with the dead


class Binary:
    """The command of an OCI runtime, or rather a copy of it: one of the attacks overwrites it where it works."""

    timeout = TIMEOUT

    def __init__(self, program: str, folder: Path) -> None:
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert found is not None, f"no {program}"
        self.name, self.folder = os.path.basename(found), folder
        self.executable = folder / self.name
        if not self.executable.exists():
            shutil.copy(found, self.executable)
        self.state = folder / "state"

    def afresh(self) -> Binary:
        """Return itself: each command is a process of its own."""
        return self

    def close(self) -> None:
        """Do nothing."""

    def _command(self, *args: str) -> list[str]:
        return [str(self.executable), "--root", str(self.state), *args]

    def _spawn(self, *args: str, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command(*args), preexec_fn=_throw_away_mounts, **streams)  # noqa: PLW1509

    def _bundle(self, made: Spec) -> Path:
        bundle = Path(tempfile.mkdtemp(prefix="bundle-", dir=self.folder))
        (bundle / "config.json").write_text(json.dumps(made))
        return bundle

    def _call(self, *args: str, output: Any = subprocess.PIPE, stdin: int | None = None,
              inherit: Sequence[int] = ()) -> Ran:
        """Run a command in a throw-away mount namespace; the program's output and the runtime's words are one text."""
        child = self._spawn(*args, stdout=output, stderr=subprocess.STDOUT, pass_fds=inherit,
                            stdin=subprocess.DEVNULL if stdin is None else stdin)
        try:
            text = (child.communicate(timeout=self.timeout)[0] or b"").decode(errors="replace")
        except subprocess.TimeoutExpired:
            _end(child.pid)
            _remove_cgroups(args[-1])
            raise Fell(f"it hangs: {' '.join(args)}") from None
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        return Ran(text, child.returncode, "" if STARTED in text else text)

    def _delete(self, id: str, bundle: Path) -> None:
        if (self.state / id).exists():
            self._spawn("delete", "--force", id, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()
        shutil.rmtree(bundle)

    def run(self, made: Spec, stdin: int | None = None, inherit: Sequence[int] = ()) -> Ran:
        """Run a container to its end."""
        id, bundle = f"x{os.urandom(6).hex()}", self._bundle(made)
        try:
            return self._call("run", "--bundle", str(bundle), id, stdin=stdin, inherit=inherit)
        finally:
            self._delete(id, bundle)

    def terminal(self, made: Spec) -> Ran:
        """Run a container whose program has a terminal of its own."""
        made["process"]["terminal"] = True
        id, bundle = f"x{os.urandom(6).hex()}", self._bundle(made)
        master, slave = os.openpty()
        try:
            child = self._spawn("run", "--bundle", str(bundle), id, stdin=slave, stdout=slave, stderr=slave,
                                start_new_session=True)
            os.close(slave)
            output = b""
            try:
                while data := os.read(master, 65536):
                    output += data
            except OSError:
                pass  # EIO: nobody has the slave any more
            code = child.wait(TIMEOUT)
            return Ran(output.decode(errors="replace"), code)
        finally:
            os.close(master)
            self._delete(id, bundle)

    @contextmanager
    def start(self, made: Spec) -> Iterator[Running]:
        """Run a container beside the block."""
        id, bundle = f"x{os.urandom(6).hex()}", self._bundle(made)
        log = bundle / "log"
        try:
            with log.open("wb") as output:
                ran = self._call("run", "--detach", "--bundle", str(bundle), id, output=output)
            assert ran.code == 0, log.read_text()
            yield Running(self, id, log)
        finally:
            self._delete(id, bundle)

    def exec(self, running: Running, args: Sequence[str], user: str = "", cwd: str = "/",
             capabilities: Sequence[str] = (), inherit: Sequence[int] = ()) -> Ran:
        """Run a further program in a container."""
        options = [f"--cwd={cwd}", *([f"--user={user}"] if user else []), *(f"--cap={name}" for name in capabilities)]
        return self._call("exec", *options, running.id, *args, inherit=inherit)


class Careless(Binary):
    """The double that falls: careless.py, run by a copy of our interpreter."""

    timeout = 3.0

    def __init__(self, folder: Path) -> None:
        super().__init__(os.path.realpath(sys.executable), folder)
        self.name = "careless"

    def _command(self, *args: str) -> list[str]:
        return [str(self.executable), "-I", "-S", str(Path(__file__).with_name("careless.py")), str(self.state), *args]


Runtime = Union[Library, Binary]
