"""What a runtime holds while it stands in the container: descriptors, directories, memory, its own program."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nscontainer import FunctionHook

from .bundle import Spec, script, spec
from .canaries import Fell, HostTree, identity, wait_for
from .marks import attack, library_only
from .runtimes import Binary, Library, Runtime, config_of, process_of

pytestmark = pytest.mark.needs("root", "busybox")
HERE = Path(__file__).resolve().parent
JOINS = 25      # how often a further program is started beside the attacker
NUMBERS = (*range(3, 16), 20, 30, 100, 1023)


@pytest.fixture(scope="session")
def attacker(scratch: Path) -> Path:
    """The program of attacker.c, static."""
    program = scratch / "attacker"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(program), str(HERE / "attacker.c")], check=True)
    return program


# The library in a process of its own, whose interpreter is a copy: while any process runs a program nobody can write
# it (ETXTBSY), and the interpreter of this suite is run by the suite.
_JOINER = """
import json, os, sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from attacks import runtimes
made, joins = json.loads(sys.argv[3]), int(sys.argv[4])
library = runtimes.Library(Path(sys.argv[5]))
container = library.factory.create("attacked", runtimes.config_of(made))
with open(sys.argv[6], "wb") as log:
    container.start(process := runtimes.process_of(made["process"], stdout=log, stderr=log))
print(process.pid, flush=True)
running = runtimes.Running(library, "attacked", Path(sys.argv[6]), container)
for _ in range(joins):
    ran = running.exec("/bin/true")
    assert ran.code == 0, ran
library.close()
os._exit(0)
"""


@contextmanager
def _joined(runtime: Runtime, made: Spec, image: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Run the attacker, and start programs beside it; yield its log and the runtime's program, which runs no more."""
    if isinstance(runtime, Binary):
        with runtime.start(made) as running:
            wait_for(image / "ready", running.log)
            for _ in range(JOINS if runtime.name != "careless" else 2):
                ran = running.exec("/bin/true")
                assert ran.code == 0, ran
            yield running.log, runtime.executable
        return
    program, log = folder / "interpreter", folder / "log"
    shutil.copy(os.path.realpath(sys.executable), program)
    child = subprocess.Popen(
        [str(program), "-S", "-B", "-c", _JOINER, str(HERE.parent), str(HERE.parent.parent), json.dumps(made),
         str(JOINS), str(folder), str(log)], stdout=subprocess.PIPE, text=True,
        env={"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}"})
    assert child.stdout is not None
    with child, child.stdout:
        line = child.stdout.readline()
    assert line and child.returncode == 0
    container = os.pidfd_open(int(line))
    try:
        yield log, program
    finally:
        signal.pidfd_send_signal(container, signal.SIGKILL)
        os.close(container)


@pytest.mark.needs("gcc")
@attack("CVE-2019-5736", "CVE-2016-9962", "CVE-2016-8649", "CVE-2016-8659", "CVE-2026-41163", falls=True)
@pytest.mark.parametrize("power", [(), ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")], ids=["plain", "ptrace"])
def test_cve_2019_5736_nothing_of_a_runtime_that_joins_can_be_taken_hold_of(
        runtime: Runtime, image: Path, host: HostTree, attacker: Path, tmp_path: Path, power: tuple[str, ...]) -> None:
    shutil.copy(attacker, image / "bin/attacker")
    made = spec(image, "")
    made["process"]["args"] = ["/bin/attacker", str(host.path / "file")]
    for kind in ("bounding", "effective", "permitted"):
        made["process"]["capabilities"][kind] = [*made["process"]["capabilities"][kind], *power]
    with _joined(runtime, made, image, tmp_path) as (log, program):
        before = identity(program)
        (image / "stop").touch()
        wait_for(image / "done", log)
        output = log.read_text()
        changed = identity(program) != before
    if changed or "WRITTEN" in output:
        raise Fell(f"the runtime's program was written: {output}")
    # With CAP_SYS_PTRACE the config has given it all processes in sight; what they hold must still not be the host's.
    if "HOST-DIRECTORY" in output or "MEMORY" in output and not power:
        raise Fell(output)
    assert int(output.split("saw ")[1].split()[0]) > 0, f"it saw nobody come: {output}"


@attack("CVE-2019-5736")
@pytest.mark.parametrize("line", ["#!/proc/self/exe", "#!/proc/1/exe", "#!/proc/self/fd/3", "#!/proc/self/fd/5"])
def test_cve_2019_5736_the_runtime_does_not_run_itself(runtime: Runtime, image: Path, line: str) -> None:
    (image / "bin/evil").write_text(f"{line}\n")
    (image / "bin/evil").chmod(0o755)
    program = runtime.executable if isinstance(runtime, Binary) else Path(os.path.realpath(sys.executable))
    before = identity(program)
    made = spec(image, "")
    made["process"]["args"] = ["/bin/evil"]
    ran = runtime.run(made)
    if ran.started or identity(program) != before:
        raise Fell(str(ran))


@attack("CVE-2024-21626", falls={"how": ["cwd"]})
@pytest.mark.parametrize("how", ["cwd", "program", "exec"])
def test_cve_2024_21626_no_descriptor_is_a_way_to_a_directory_of_the_host(runtime: Runtime, image: Path,
                                                                          host: HostTree, how: str) -> None:
    secret = str(host.path / "file").lstrip("/")
    ups = " ".join("../" * n + secret for n in range(10))
    look = f"cat {ups} 2>/dev/null; pwd"
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    try:
        for fd in leaked:
            os.set_inheritable(fd, True)
        runtime = runtime.afresh()
        for number in NUMBERS:
            if how == "cwd":
                ran = runtime.run(spec(image, look, cwd=f"/proc/self/fd/{number}"), inherit=_inherit(runtime, leaked))
            elif how == "program":
                made = spec(image, "")
                made["process"]["args"] = [f"/proc/self/fd/{number}/bin/sh", "-c", "echo +started"]
                ran = runtime.run(made, inherit=_inherit(runtime, leaked))
                if ran.started:
                    raise Fell(f"it runs a program of the host: {ran}")
            else:
                continue
            host.check(ran.output)
        if how == "exec":
            with runtime.start(spec(image, "sleep 100")) as running:
                for number in NUMBERS:
                    ran = running.exec(*script(look), cwd=f"/proc/self/fd/{number}",
                                       inherit=_inherit(runtime, leaked))
                    host.check(ran.output)
    finally:
        for fd in leaked:
            os.close(fd)
        if isinstance(runtime, Library):
            runtime.close()


def _inherit(runtime: Runtime, leaked: list[int]) -> list[int]:
    """The library is called by the process that has them open; a command inherits them."""
    return leaked if isinstance(runtime, Binary) else []


@attack("CVE-2016-9962", "CVE-2024-21626", falls=True)
def test_cve_2024_21626_no_descriptor_of_the_caller_or_the_runtime_is_open(runtime: Runtime, image: Path) -> None:
    leaked = [os.open("/", os.O_RDONLY) for _ in range(5)]
    try:
        for fd in leaked:
            os.set_inheritable(fd, True)
        ran = runtime.run(spec(image, "ls -l /proc/self/fd"), inherit=leaked)
    finally:
        for fd in leaked:
            os.close(fd)
    assert ran.started, ran
    shown = [line.split(" -> ") for line in ran.output.splitlines() if " -> " in line]
    more = [entry for entry in shown if int(entry[0].split()[-1]) > 2 and not entry[1].startswith("/proc/")]
    if more:
        raise Fell(f"open in the container: {more}")


@attack("CVE-2016-5195", "CVE-2022-0847")
def test_cve_2022_0847_no_file_of_the_runtime_is_in_sight_of_the_container(runtime: Runtime, image: Path) -> None:
    """What can be read can be written where the kernel has such a hole: the interpreter and our modules among them."""
    ran = runtime.run(spec(image, "cat /proc/self/mountinfo; cat /proc/1/maps; readlink /proc/1/exe; "
                                  "find / -xdev -name '*.py' -o -xdev -name 'python*' -o -xdev -name 'lib*.so*'"))
    assert ran.started, ran
    if "python" in ran.output or ".so" in ran.output or "/bin/busybox" not in ran.output:
        raise Fell(str(ran))


@attack("CVE-2020-15257")
def test_cve_2020_15257_no_socket_has_an_abstract_name(runtime: Runtime, image: Path) -> None:
    def names() -> set[str]:
        lines = Path("/proc/net/unix").read_text().splitlines()[1:]
        return {line.split(None, 7)[7] for line in lines if len(line.split(None, 7)) > 7 and " @" in line}

    before = names()
    with runtime.start(spec(image, "sleep 100")):
        if fresh := names() - before:
            raise Fell(f"reachable for all in the network namespace: {fresh}")


@attack("CVE-2015-8709", "CVE-2016-8659")
@library_only("it asks a hook to look at the process that is being made")
def test_cve_2015_8709_a_process_that_enters_a_user_namespace_cannot_be_traced(runtime: Runtime, image: Path) -> None:
    assert isinstance(runtime, Library)
    made = spec(image, "true")
    made["linux"]["namespaces"].append({"type": "user"})
    made["linux"]["uidMappings"] = made["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    owners = []
    config = config_of(made)
    look = FunctionHook(lambda state: owners.append(os.stat(f"/proc/{state.pid}/mem").st_uid))
    config.hooks.start_container = (look,)
    with runtime.factory.create("looked_at", config) as container:
        runtime._start(container, process_of(made["process"]))
    if owners != [0]:    # proc_pid(5): root's, whoever it runs as, while it is not dumpable
        raise Fell(f"its memory belongs to {owners}")

