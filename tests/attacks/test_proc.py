"""/proc, /sys and cgroups: what is written there on our behalf, and what is left open to the container."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import host as this_host
import nscontainer
from containers import MOUNTS, output_of, with_user_namespace
from nscontainer import Factory
from nscontainer.sandbox import MASKED_PATHS, READONLY_PATHS
from nscontainer.validate import PROC_FILES

from .bundle import bind, spec, tmpfs
from .canaries import Fell, wait_for
from .marks import attack, library_only
from .runtimes import Ran, Runtime

pytestmark = pytest.mark.needs("root", "busybox")


@attack("CVE-2015-3630", "CVE-2017-16539", "CVE-2018-10892")
@library_only("each runtime has its own defaults")
def test_cve_2015_3630_by_default_the_machine_s_own_affairs_are_out_of_reach(image: Path) -> None:
    assert {"/proc/acpi", "/proc/scsi", "/proc/asound", "/proc/timer_stats", "/proc/latency_stats"} <= {*MASKED_PATHS}
    masked = [path for path in MASKED_PATHS if os.path.exists(path)]
    fixed = [path for path in READONLY_PATHS if os.path.exists(path)]
    assert masked and fixed
    script = ["w() { [ -w $1 ] && echo x >>$1 && echo wrote $1; }"]
    script += [f"echo '{path}' $(find {path} -type f | head -3) $(head -c 1 {path} | wc -c)" for path in masked]
    script += [f"for f in $(find {path} -type f); do w $f; done" for path in fixed if path != "/proc/sys"]
    script += [f"echo 1 >>/proc/sys/{name} && echo wrote {name}"
               for name in ("kernel/core_pattern", "kernel/hostname", "net/ipv4/ip_forward")]
    done = nscontainer.run(["sh", "-c", "\n".join(script)], rootfs=image, capture_output=True, text=True, timeout=20)
    shown = done.stdout.splitlines()
    for path, line in zip(masked, shown):
        words = line.split()
        if words[0] != path or words[-1] != "0" or len(words) > 2 and words[1] != path:
            raise Fell(line)
    if "wrote" in done.stdout:
        raise Fell(done.stdout)
    assert "Read-only file system" in done.stderr


@attack("CVE-2015-3631", "CVE-2019-16884", "CVE-2019-19921", falls={"place": ["self/attr", "sys"]})
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("place", ["", "self", "self/attr", "1", "sys", "sys/kernel", "sysrq-trigger"])
def test_cve_2019_16884_nothing_is_mounted_over_proc(runtime: Runtime, image: Path, volume: Path, place: str,
                                                     kind: str) -> None:
    for name in ("attr", "kernel"):
        (volume / name).mkdir()
    (volume / "file").touch()
    source = volume / "file" if place == "sysrq-trigger" else volume
    where = f"/proc/{place}".rstrip("/")
    made = spec(image, "cat /proc/self/mountinfo", tmpfs(where) if kind == "tmpfs" else bind(source, where))
    made["linux"]["readonlyPaths"] = []
    ran = runtime.run(made)
    if ran.started:
        raise Fell(f"the image's files are taken for the kernel's: {ran}")


@attack("CVE-2019-16884", "CVE-2025-52881", "CVE-2025-62596", falls=True)
@pytest.mark.parametrize("link, below", [
    ("proc/self", "attr"), ("/proc", "sys"), ("proc/sys", "net"), ("/proc/1", "fd")])
def test_cve_2025_52881_no_link_is_a_way_to_mount_over_proc(runtime: Runtime, image: Path, volume: Path, link: str,
                                                           below: str) -> None:
    (image / "way").symlink_to(f"proc/{link[6:]}" if link.startswith("/") else link)
    made = spec(image, "cat /proc/self/mountinfo", bind(volume, f"/way/{below}"))
    made["linux"]["readonlyPaths"] = []
    ran = runtime.run(made)
    if ran.started and str(volume) in "".join(line for line in ran.output.splitlines()
                                              if line.split()[4:5] and line.split()[4].startswith("/proc/")):
        raise Fell(f"the image's files are taken for the kernel's: {ran}")


@attack("CVE-2025-52881", "CVE-2025-62596", falls=True)
def test_cve_2025_52881_a_kernel_parameter_is_written_to_the_kernel(runtime: Runtime, image: Path,
                                                                   volume: Path) -> None:
    """The attack turns the write to another file: here what looks like /proc/sys is a volume."""
    for folder in ("net/ipv4", "kernel"):
        (volume / folder).mkdir(parents=True)
    (volume / "net/ipv4/ip_default_ttl").write_text("0")
    made = spec(image, "cat /proc/sys/net/ipv4/ip_default_ttl", bind(volume, "/way/sys"))
    (image / "way").symlink_to("proc")
    made["linux"]["readonlyPaths"] = []
    made["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    ran = runtime.run(made)
    diverted = (volume / "net/ipv4/ip_default_ttl").read_text() != "0"
    if diverted or ran.started and "77" not in ran.output:
        raise Fell(f"the parameter was not set where it should: {ran}")


@attack("CVE-2015-3631")
@library_only("which files of /proc may be replaced is each runtime's own list")
def test_cve_2015_3631_what_lxcfs_replaces_can_be_replaced(runtime: Runtime, image: Path, volume: Path) -> None:
    (volume / "file").write_text("from-lxcfs\n")
    for place in sorted(PROC_FILES):
        if os.path.exists(place):
            ran = runtime.run(spec(image, f"cat {place}", bind(volume / "file", place)))
            assert "from-lxcfs" in ran.output, (place, ran)


_FAKE = """
mount -t tmpfs tmpfs /proc || exit 1
for of in self thread-self 1; do
    busybox mkdir -p /proc/$of/attr/apparmor /proc/$of/attr/keys
    for name in attr/exec attr/apparmor/exec attr/keycreate attr/sockcreate oom_score_adj setgroups uid_map; do
        echo untouched >/proc/$of/$name
    done
done
touch /ready
until [ -e /stop ]; do busybox usleep 10000; done
for file in $(find /proc -type f); do echo "$file $(cat $file)"; done
touch /done
sleep 100
"""


@attack("CVE-2015-1334", "CVE-2019-16884", "CVE-2025-52881", "CVE-2025-62596", falls=True)
def test_cve_2015_1334_who_enters_writes_nothing_to_what_the_container_calls_proc(runtime: Runtime,
                                                                                  image: Path) -> None:
    """Labels and scores that were written there would be no labels: the program would run without."""
    made = spec(image, _FAKE)
    for kind in ("bounding", "effective", "permitted"):
        made["process"]["capabilities"][kind] = [*made["process"]["capabilities"][kind], "CAP_SYS_ADMIN"]
    with runtime.start(made) as running:
        wait_for(image / "ready", running.log)
        running.exec("/bin/true")   # it may be refused
        (image / "stop").touch()
        wait_for(image / "done", running.log)
        files = [line for line in running.log.read_text().splitlines() if line.startswith("/proc/")]
        assert len(files) == 21, files
        if written := [line for line in files if line.split()[1:] != ["untouched"]]:
            raise Fell(str(written))


KEYS = ["kernel.core_pattern", "net.ipv4.ip_default_ttl+kernel.core_pattern", "net/../kernel/core_pattern",
        "net.ipv4.ip_default_ttl\nkernel.core_pattern", "net.ipv4.ip_default_ttl kernel.core_pattern",
        "net.ipv4.ip_default_ttl=1", "net/ipv4/../../kernel/core_pattern", "../net.ipv4.ip_default_ttl",
        "net..ipv4", "/net/ipv4/ip_default_ttl/../../../kernel/core_pattern", "", ".", "vm.swappiness",
        "kernel.hostname/"]


@attack("CVE-2022-0811")
@pytest.mark.parametrize("key", KEYS)
def test_cve_2022_0811_a_parameter_s_name_means_one_parameter_of_a_namespace(runtime: Runtime, image: Path,
                                                                            key: str) -> None:
    before = [Path(f"/proc/sys/{name}").read_text() for name in ("kernel/core_pattern", "vm/swappiness")]
    made = spec(image, "true")
    made["linux"]["sysctl"] = {key: before[0].strip() if "core" in key else "61"}
    ran = runtime.run(made)
    if ran.started or before != [Path(f"/proc/sys/{name}").read_text()
                                 for name in ("kernel/core_pattern", "vm/swappiness")]:
        raise Fell(str(ran))


@attack("CVE-2022-0811")
@pytest.mark.parametrize("value", [
    "77\nkernel.core_pattern=|/x", "77+kernel.core_pattern=|/x", "77 kernel.core_pattern=x"])
def test_cve_2022_0811_a_parameter_s_value_sets_one_parameter(runtime: Runtime, image: Path, value: str) -> None:
    made = spec(image, "cat /proc/sys/net/ipv4/ip_default_ttl")
    made["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": value}
    runtime.run(made)   # the host's core_pattern is compared after every test


@attack("CVE-2022-0532")
@pytest.mark.parametrize("key, kind", [
    ("net.ipv4.ip_default_ttl", "network"), ("kernel.msgmax", "ipc"), ("kernel.shm_rmid_forced", "ipc"),
    ("fs.mqueue.msg_max", "ipc"), ("kernel.domainname", "uts"), ("user.max_user_namespaces", "user")])
@pytest.mark.parametrize("how", ["shared", "named"])
def test_cve_2022_0532_a_parameter_of_a_shared_namespace_is_the_host_s(runtime: Runtime, image: Path, key: str,
                                                                      kind: str, how: str) -> None:
    setting = Path("/proc/sys") / key.replace(".", "/")
    before = setting.read_text()
    made = spec(image, "true")
    named = [{"type": kind, "path": f"/proc/self/ns/{kind if kind != 'network' else 'net'}"}] if how == "named" else []
    made["linux"]["namespaces"] = [
        entry for entry in made["linux"]["namespaces"] if entry["type"] != kind] + named
    made["linux"]["sysctl"] = {key: before.strip()}
    if kind in ("uts", "user"):
        made["hostname"] = ""
    if kind == "network":
        made["mounts"] = [mount for mount in made["mounts"] if mount["destination"] != "/sys"]
    ran = runtime.run(made)
    if ran.started:
        raise Fell(f"it was set on the host: {ran}")


@pytest.mark.needs("user_python", "userns")
@attack("CVE-2023-25809")
@library_only("a command would have to be set up for an ordinary user")
def test_cve_2023_25809_an_ordinary_user_s_container_cannot_write_cgroups(user_rootfs: Path, as_user: Any,
                                                                         user_tmp_path: Path) -> None:
    if not this_host.mounts_of_type("cgroup") + this_host.mounts_of_type("cgroup2"):
        pytest.skip("no cgroups are mounted")

    def look() -> str:
        cgroups = {"source": "cgroup", "destination": "/sys/fs/cgroup", "device": "cgroup", "flags": 15}
        with Factory(user_tmp_path / "state") as factory:
            config = with_user_namespace(user_rootfs, os.getuid(), os.getgid(), mounts=[*MOUNTS, cgroups])
            return output_of(factory, config, "sh", "-c",
                             "grep /sys/fs/cgroup /proc/self/mountinfo; for f in $(find /sys/fs/cgroup -name "
                             "cgroup.procs); do echo 1 2>/dev/null >$f && echo wrote $f; done; true")

    output = as_user(look)
    lines = [line for line in output.splitlines() if " - cgroup" in line]
    assert lines, output
    writable = [line for line in lines if "ro" not in line.split()[5].split(",")]
    if "wrote" in output or writable:
        raise Fell(output)


@attack("CVE-2022-0492")
def test_cve_2022_0492_no_cgroup_can_be_mounted_to_name_a_release_agent(runtime: Runtime, image: Path) -> None:
    (image / "cg").mkdir()
    ran: Ran = runtime.run(spec(image, "for t in rdma memory cpu pids; do mount -t cgroup -o $t x /cg && echo mounted; "
                                       "done; mount -t cgroup2 x /cg && echo mounted; umount /proc && echo mounted"))
    assert ran.started, ran
    if "mounted" in ran.output:
        raise Fell(str(ran))
