"""What the contestants share: one root file system, one description of a container, and how a turn is timed."""
from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

__all__ = ["NAMESPACES", "REPOSITORY", "Absent", "Bwrap", "CProgram", "Caller", "Command", "Contestant", "Library",
           "OCIRuntime", "compile_c", "interleave", "make_rootfs", "ratio", "sandbox_command", "version_of"]

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(HERE)
HOSTNAME = "benchmark"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SLEEP = ["/bin/sleep", "600"]

# ------------------------------------------------------------------------------- the container, as everybody makes it

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "cgroup", "time")
_OUR_NAMESPACES = {"pid": "NEWPID", "network": "NEWNET", "mount": "NEWNS", "ipc": "NEWIPC", "uts": "NEWUTS",
                   "cgroup": "NEWCGROUP", "time": "NEWTIME"}
_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "strictatime": 1 << 24}  # MS_*: mount(2)

# The file systems that `runc spec` asks for, less its view of the cgroups. floor.c has the same list.
MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)
DEVICES = (("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8),
           ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0))
MASKED = ("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware")
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
                "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
                "CAP_AUDIT_WRITE")


class Absent(Exception):
    """This contestant cannot take part here; the message says why."""


def make_rootfs(path: str) -> None:
    """Make a root file system of one static busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Absent("no busybox for the root file system (apt: busybox-static)")
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        os.makedirs(f"{path}/{folder}")
    shutil.copy(busybox, f"{path}/bin/busybox")
    for name in ("cat", "readlink", "sh", "sleep", "true"):
        os.symlink("busybox", f"{path}/bin/{name}")
    with open(f"{path}/etc/passwd", "w") as file:
        file.write("root:x:0:0:root:/:/bin/sh\n")
    tried = subprocess.run(["chroot", path, "/bin/true"], capture_output=True, text=True)
    if tried.returncode:
        raise Absent(f"{busybox} does not run in a root of its own; is it static? {tried.stderr.strip()}")


def our_config(rootfs: str, cgroup: str | None) -> dict[str, Any]:
    """Describe the container as nscontainer's Config reads it."""
    return {
        "rootfs": rootfs,
        "hostname": HOSTNAME,
        "namespaces": [{"type": kind} for kind in _OUR_NAMESPACES.values()],
        "mounts": [{"source": source, "destination": destination, "device": kind,
                    "flags": sum(_FLAGS.get(option, 0) for option in options),
                    "data": ",".join(option for option in options if option not in _FLAGS)}
                   for destination, kind, source, options in MOUNTS],
        "devices": [{"type": ord("c"), "path": path, "major": major, "minor": minor, "permissions": "rwm",
                     "file_mode": 0o666} for path, major, minor in DEVICES],
        "networks": [{"type": "loopback"}],
        "capabilities": list(CAPABILITIES),
        "no_new_privileges": True,
        "mask_paths": list(MASKED),
        "readonly_paths": list(READONLY),
        **({"cgroups": {"parent": os.path.dirname(cgroup), "name": os.path.basename(cgroup)}} if cgroup else {}),
    }


def oci_config(rootfs: str, args: list[str], namespaces: tuple[str, ...], cgroup: str) -> dict[str, Any]:
    """Describe the container as an OCI runtime reads it: config.json. The runtimes add the default devices."""
    return {
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": {"path": rootfs, "readonly": False},
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": args, "env": [f"PATH={PATH}"], "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "mounts": [{"destination": destination, "type": kind, "source": source, "options": options}
                   for destination, kind, source, options in MOUNTS],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in namespaces],
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    }


# ----------------------------------------------------------------------------------------------------------- our side

class Library:
    """All that the benchmarks do with nscontainer's library."""

    def __init__(self, root: str, rootfs: str, cgroup: str | None = None) -> None:
        sys.path.insert(0, REPOSITORY)
        from nscontainer import Config, Factory, Process

        self._process = Process
        self._config = Config.from_json(our_config(rootfs, cgroup))
        self._factory = Factory(root)

    @property
    def zygote_pid(self) -> int:
        """The process that the library keeps."""
        pid = self._factory.zygote.pid
        assert pid is not None
        return pid

    def lifecycle(self, id: str) -> None:
        """Create a container, run /bin/true in it, wait, destroy."""
        container = self._factory.create(id, self._config)
        process = self._process(args=["/bin/true"])
        container.start(process)
        process.wait(check=True)
        container.destroy()

    def begin(self, id: str) -> tuple[Any, Any]:
        """Start a container that goes on running."""
        container = self._factory.create(id, self._config)
        process = self._process(args=SLEEP)
        try:
            container.start(process)
        except BaseException:
            container.destroy()
            raise
        return container, process

    def enter(self, container: Any) -> None:
        """Run /bin/true in a running container."""
        process = self._process(args=["/bin/true"])
        container.start(process)
        process.wait(check=True)

    def end(self, container: Any, process: Any) -> None:
        """Kill a running container and destroy it."""
        process.signal(9)
        process.wait()
        container.destroy()

    def close(self) -> None:
        """End the zygote."""
        self._factory.close()


def sandbox_command(rootfs: str, *, bare: bool) -> list[str]:
    """Return the command line of our command; *bare*: without site-packages, as a launcher starts it."""
    arguments = ["sandbox", "--no-tty", "--rootfs", rootfs, "--", "/bin/true"]
    if not bare:
        return [sys.executable, "-m", "nscontainer", *arguments]
    start = f"import sys; sys.path.append({REPOSITORY!r}); from nscontainer.cli import main; sys.exit(main())"
    return [sys.executable, "-I", "-S", "-c", start, *arguments]


# -------------------------------------------------------------------------------------------------------- contestants

class Contestant:
    """Somebody who can do the same thing again and again.

    *name* for the table, *note* for what it does otherwise than the rest, *batch*: how many more in one turn, in a row.
    """

    def __init__(self, name: str, batch: int, note: str = "") -> None:
        self.name, self.batch, self.note = name, batch, note
        self.alone: list[float] = []           # of each turn the first, on a machine that was at rest
        self.in_a_row: list[list[float]] = []  # of each turn the others
        self.absent = ""

    def measure(self, count: int) -> list[float]:
        """Do it *count* times and return the milliseconds of each."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind."""

    def to_json(self) -> dict[str, Any]:
        """Describe how it went, in milliseconds."""
        if self.absent:
            return {"name": self.name, "absent": self.absent}
        row: dict[str, Any] = {"name": self.name}
        for part, times in (("alone", sorted(self.alone)), ("row", sorted(t for turn in self.in_a_row for t in turn))):
            row.update({f"{part}_ms": round(statistics.median(times), 3),
                        f"{part}_p90_ms": round(times[len(times) * 9 // 10], 3)} if times else {})
        return {**row, "samples": [len(self.alone), sum(map(len, self.in_a_row))],
                **({"note": self.note} if self.note else {})}


def last_line(text: str) -> str:
    """Return the line of an error message that is most likely to say it."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]


class Command(Contestant):
    """A program to start: the time from posix_spawn to its end."""

    def __init__(self, name: str, batch: int, args: list[str], note: str = "",
                 environment: dict[str, str] | None = None) -> None:
        super().__init__(name, batch, note)
        program = shutil.which(args[0])
        if program is None:
            raise Absent(f"no {args[0]} in PATH")
        self._args = [program, *args[1:]]
        self._environment = {"PATH": PATH, **(environment or {})}
        self.measure(1)

    def measure(self, count: int) -> list[float]:
        """Run it *count* times."""
        errors = os.memfd_create("stderr")
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, errors, 2)]
        times = []
        try:
            for _ in range(count):
                start = time.perf_counter()
                pid = os.posix_spawn(self._args[0], self._args, self._environment, file_actions=actions)
                _, status = os.waitpid(pid, 0)
                times.append((time.perf_counter() - start) * 1e3)
                if status:
                    raise Absent(f"wait status {status:#x}: {last_line(os.pread(errors, 65536, 0).decode())}")
        finally:
            os.close(errors)
        return times


def compile_c(source: str, folder: str) -> str:
    """Compile a C file of this folder and return the program."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Absent("no C compiler (cc, or CC in the environment)")
    program = f"{folder}/{source[:-2]}"
    done = subprocess.run([compiler, "-O2", "-Wall", "-o", program, f"{HERE}/{source}"], capture_output=True, text=True)
    if done.returncode:
        raise Absent(f"{source} does not compile: {last_line(done.stderr)}")
    return program


class CProgram(Contestant):
    """One of our C programs, which waits for numbers and takes its own time: microseconds, a line each."""

    def __init__(self, name: str, batch: int, program: str, argument: str, note: str = "") -> None:
        super().__init__(name, batch, note)
        self._program = subprocess.Popen([program, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            self.measure(20)
        except BaseException:
            self.close()
            raise

    def measure(self, count: int) -> list[float]:
        """Have it do *count* iterations."""
        return self._ask(str(count), count)

    def at_once(self, count: int, workers: int) -> float:
        """Return the milliseconds in which *workers* processes do *count* each."""
        return self._ask(f"{count} {workers}", 1)[0]

    def _ask(self, order: str, answers: int) -> list[float]:
        assert self._program.stdin and self._program.stdout and self._program.stderr
        try:
            self._program.stdin.write(order + "\n")
            self._program.stdin.flush()
            lines = [self._program.stdout.readline() for _ in range(answers)]
        except BrokenPipeError:
            lines = [""]
        if not lines[-1]:
            raise Absent(f"exit status {self._program.wait()}: {last_line(self._program.stderr.read())}")
        return [float(line) / 1e3 for line in lines]

    def close(self) -> None:
        """Have it end."""
        finish(self._program)


def finish(program: subprocess.Popen[str]) -> None:
    """Close a program's standard input and wait for its end."""
    assert program.stdin and program.stdout
    try:
        program.stdin.close()
    except BrokenPipeError:
        pass  # what was written last, it did not read
    try:
        program.wait(60)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
    program.stdout.close()
    if program.stderr:
        program.stderr.close()


class Caller(Contestant):
    """A program that uses our library, in a process of its own: worker.py."""

    def __init__(self, name: str, batch: int, folder: str, rootfs: str, note: str = "", **options: Any) -> None:
        super().__init__(name, batch, note)
        root = tempfile.mkdtemp(prefix="state-", dir=folder)
        # -B leaves __pycache__ alone; what is there has been compiled before the start.
        self._worker = subprocess.Popen(
            [sys.executable, "-B", f"{HERE}/worker.py", json.dumps({"root": root, "rootfs": rootfs, **options})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)  # Ctrl-C is for us
        try:
            self.ask("lifecycle", count=20)
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, **arguments: int) -> Any:
        """Have the worker do something and return its answer."""
        assert self._worker.stdin and self._worker.stdout
        try:
            self._worker.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._worker.stdin.flush()
            line = self._worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Absent(f"the worker ended with {self._worker.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Absent(answer["error"])
        return answer["result"]

    def measure(self, count: int) -> list[float]:
        """Make *count* containers, one after the other."""
        return list(self.ask("lifecycle", count=count))

    def at_once(self, count: int, threads: int) -> float:
        """Return the milliseconds in which *threads* threads make *count* containers each."""
        return float(self.ask("at_once", count=count, threads=threads))

    def close(self) -> None:
        """Have it end, with its zygote."""
        finish(self._worker)


class OCIRuntime(Command):
    """``runc run`` and its like, on a bundle made for it, in as many of the seven namespaces as it knows."""

    def __init__(self, runtime: str, batch: int, folder: str, rootfs: str, cgroup: str) -> None:
        if shutil.which(runtime) is None:
            raise Absent(f"no {runtime} in PATH (apt: {runtime})")
        bundle = f"{folder}/{runtime}"
        os.makedirs(bundle)
        start = [runtime, "--root", f"{bundle}/state", "run", "--bundle", bundle, f"benchmark-{runtime}"]
        self._delete = [runtime, "--root", f"{bundle}/state", "delete", "--force", f"benchmark-{runtime}"]
        notes = []
        try:
            for namespaces in (NAMESPACES, NAMESPACES[:-1]):
                _write_bundle(bundle, oci_config(rootfs, ["/bin/readlink", "/proc/self/ns/time"], namespaces, cgroup))
                tried = subprocess.run(start, capture_output=True, text=True, stdin=subprocess.DEVNULL)
                if tried.returncode == 0 and tried.stdout.strip() == os.readlink("/proc/self/ns/time"):
                    notes.append("no time namespace: this version has none")
                if tried.returncode == 0:
                    break
            else:
                raise Absent(f"exit status {tried.returncode}: {last_line(tried.stderr)}")
            _write_bundle(bundle, oci_config(rootfs, ["/bin/true"], namespaces, cgroup))
            super().__init__(f"{runtime} run", batch, start, "; ".join([*notes, "makes and removes a cgroup"]))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove what a failed run left."""
        subprocess.run(self._delete, capture_output=True)


def _write_bundle(bundle: str, config: dict[str, Any]) -> None:
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)


class Bwrap(Command):
    """Bubblewrap, as near to the others as its options go."""

    def __init__(self, batch: int, rootfs: str) -> None:
        args = ["bwrap", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm",
                "--mqueue", "/dev/mqueue", "--ro-bind", "/sys", "/sys", "--hostname", HOSTNAME, "--chdir", "/",
                "--new-session", "--as-pid-1"]
        args += [f"--unshare-{kind}" for kind in ("pid", "net", "ipc", "uts", "cgroup")]
        for path in MASKED:
            if os.path.isdir(path):
                args += ["--tmpfs", path]
            elif os.path.exists(path):
                args += ["--ro-bind", "/dev/null", path]
        super().__init__("bwrap", batch, [*args, "/bin/true"],
                         "no time namespace; binds the host's /sys; its own choice of devices and read-only paths")


# ------------------------------------------------------------------------------------------------------------- timing

def interleave(contestants: list[Contestant], rounds: int, pause: float = 0.03) -> None:
    """Give everybody a turn in each round, so that a drift of the machine meets all of them.

    Every other round runs backwards, so that nobody always has the same neighbour. Before a turn there is a *pause*, in
    seconds, in which the kernel takes down the namespaces of the turn before. Whoever fails is out.
    """
    for number in range(rounds):
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            if contestant.absent:
                continue
            time.sleep(pause)
            try:
                first, *others = contestant.measure(1 + contestant.batch)
            except Absent as reason:
                contestant.absent = f"failed in round {number + 1}: {reason}"
                continue
            contestant.alone.append(first)
            contestant.in_a_row.append(others)


def ratio(one: Contestant, other: Contestant, *, in_a_row: bool = False) -> float | None:
    """Return how many times as long *one* takes: the median of the rounds, each compared within itself."""
    if one.absent or other.absent:
        return None
    if not in_a_row:
        return statistics.median(a / b for a, b in zip(one.alone, other.alone))
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(one.in_a_row, other.in_a_row))


def version_of(program: str) -> str:
    """Return the first line of what a program says about its version."""
    if shutil.which(program) is None:
        return "absent"
    return subprocess.run([program, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
