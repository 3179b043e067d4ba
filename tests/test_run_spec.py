"""Bundles of the OCI runtime specification, run: config.json in, what the program finds out."""
from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundles import make_bundle, merged, minimal, podman
from containers import finish
from nscontainer import PIPE, STDOUT, Factory, Process, SetupError
from nscontainer.spec import Validator, load_bundle, template
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.inet import parse_prefix
from nscontainer.sys.rtnetlink import Rtnetlink

pytestmark = pytest.mark.needs("root", "busybox")

Run = Callable[..., str]
DEV = [{"destination": "/proc", "type": "proc"},
       {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]}]


@pytest.fixture
def run(factory: Factory, busybox_template: Path, tmp_path: Path, container_id: Callable[[], str]) -> Run:
    """Run a script in the container of a document; return what it wrote. Further scripts run beside a first one."""
    def ran(document: dict[str, Any], script: str, *further: str, rootfs: Path = busybox_template) -> str:
        name = container_id()
        bundle = load_bundle(make_bundle(tmp_path / name, document, rootfs), id=name)
        assert bundle.process is not None
        Validator().validate(bundle.config)
        container = factory.create(name, bundle.config)
        try:
            processes = []
            for each in (script, *further):
                process = Process(["sh", "-c", each], env=bundle.process.env, user=bundle.process.user,
                                  cwd=bundle.process.cwd, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
                container.start(process)
                processes.append(process)
            text, ended = finish(processes[-1])
            for process in processes:
                process.stdin.close()
            assert ended.returncode == 0, (ended, text)
            for process in processes[:-1]:
                finish(process)
            return text
        finally:
            container.destroy()

    return ran


def test_a_document_of_podmans_runs(run: Run, busybox_template: Path) -> None:
    limits = podman()["process"]["rlimits"][:1]      # to raise NPROC would take a right that not every root has
    document = merged(podman(), {"process": {"rlimits": limits}, "linux": {
        "seccomp": None, "devices": [], "sysctl": {}, "cgroupsPath": None,
        "namespaces": [*podman()["linux"]["namespaces"][2:], {"type": "pid"}, {"type": "network"}]}})
    text = run(document, "hostname; id -G; umask; ulimit -n; pwd; cat /proc/self/oom_score_adj; ls /run")
    assert text.split() == ["abc", "0", "1", "50", "0022", "1024", "/", "0"]


def test_the_template_runs(run: Run) -> None:
    text = run(template(), "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapAmb):' /proc/self/status; touch /x || hostname")
    assert text.split() == ["CapEff:", "0000000020000420", "CapAmb:", "0000000000000000", "NoNewPrivs:", "1",
                            "Seccomp:", "2", "touch:", "/x:", "Read-only", "file", "system", "nscontainer"]


@pytest.mark.needs("user_python", "userns")
def test_the_template_for_an_ordinary_user_runs(as_user: Callable[..., Any], user_rootfs: Path,
                                                user_tmp_path: Path) -> None:
    def begin() -> list[str]:
        folder = user_tmp_path / "bundle"
        make_bundle(folder, template(rootless=True), user_rootfs)
        bundle = load_bundle(folder, id="one", rootless=True)
        assert bundle.process is not None
        with Factory(user_tmp_path / "state") as factory:
            container = factory.create("one", bundle.config)
            try:
                process = Process(["sh", "-c", "id -u; hostname"], env=bundle.process.env, stdout=PIPE, stderr=STDOUT)
                container.start(process)
                return finish(process)[0].split()
            finally:
                container.destroy()

    assert as_user(begin) == ["0", "nscontainer"]


def test_a_tmpfs_begins_with_what_the_image_has(run: Run, busybox_rootfs: Path) -> None:
    folder = busybox_rootfs / "var/lib"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/file").write_text("hello\n")
    (folder / "deep").chmod(0o2750)
    (folder / "link").symlink_to("../../etc/passwd")
    os.chown(folder / "deep/er/file", 1000, 50)
    (folder / "deep/er/file").chmod(0o4755)
    os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.utime(folder / "deep", (1, 1000000000))
    document = minimal(mounts=[*minimal()["mounts"], {"destination": "/var/lib", "type": "tmpfs",
                                                      "options": ["tmpcopyup", "nosuid", "ro"]}])
    text = run(document, "cd /var/lib; ls; cat deep/er/file; readlink link; stat -c '%a %u %g' deep/er/file; "
               "stat -c '%a %Y' deep; touch new || cat /proc/mounts | grep -c '/var/lib tmpfs ro,nosuid'",
               rootfs=busybox_rootfs)
    assert text.split("\n") == ["deep", "link", "hello", "../../etc/passwd", "4755 1000 50", "2750 1000000000",
                                "touch: new: Read-only file system", "1", ""]
    assert sorted(os.listdir(folder)) == ["deep", "link", "null"]


def test_a_tmpfs_too_small_for_the_image_is_an_error(run: Run, busybox_rootfs: Path) -> None:
    (busybox_rootfs / "var/large").write_bytes(bytes(1 << 20))
    document = minimal(mounts=[{"destination": "/var", "type": "tmpfs", "options": ["tmpcopyup", "size=64k"]}])
    with pytest.raises(SetupError, match="mount tmpfs on '/var'.*ENOSPC"):
        run(document, "true", rootfs=busybox_rootfs)


def test_an_id_mapped_mount_shows_other_owners(run: Run, scratch: Path, container_id: Callable[[], str]) -> None:
    folder = scratch / container_id()
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    mount = {"destination": "/mnt", "source": str(folder), "options": ["bind", "idmap"],
             "uidMappings": [{"containerID": 1000, "hostID": 7, "size": 1}],
             "gidMappings": [{"containerID": 1000, "hostID": 8, "size": 1}]}
    try:
        text = run(minimal(mounts=[*minimal()["mounts"], mount]), "stat -c '%u %g' /mnt")
    except SetupError as error:
        if error.call != "mount_setattr":
            raise
        pytest.skip(f"this file system cannot be id-mapped: {error}")
    assert text == "7 8\n"


def test_the_default_devices_are_there_beside_the_listed(run: Run) -> None:
    document = minimal(mounts=DEV, linux={"devices": [
        {"path": "/dev/sub/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o600}]})
    text = run(document, "cd /dev; stat -c '%n %a %u:%g %t:%T %F' null sub/zero fifo; ls; echo x > /dev/null")
    assert text.split("\n") == [
        "null 666 0:0 1:3 character special file", "sub/zero 640 3:4 1:5 character special file",
        "fifo 600 0:0 0:0 fifo", *sorted(["core", "fd", "fifo", "full", "null", "ptmx", "random", "stderr", "stdin",
                                          "stdout", "sub", "tty", "urandom", "zero"]
                                         if os.path.exists("/proc/kcore") else
                                         ["fd", "fifo", "full", "null", "ptmx", "random", "stderr", "stdin", "stdout",
                                          "sub", "tty", "urandom", "zero"]), ""]


def test_a_working_directory_that_the_image_lacks_is_made(run: Run, busybox_rootfs: Path) -> None:
    document = minimal(process={"cwd": "/srv/a/b"}, root={"readonly": True})
    assert run(document, "pwd; stat -c '%a %u' .", rootfs=busybox_rootfs) == "/srv/a/b\n755 0\n"


def test_hooks_hear_the_state_in_the_specifications_words(run: Run, tmp_path: Path, busybox_rootfs: Path) -> None:
    kinds = {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
             "poststart": "running", "poststop": "stopped"}
    hooks: dict[str, Any] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/{kind}"]}]
                             for kind in kinds}
    hooks["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/startContainer"]}]
    document = minimal(ociVersion="1.1.0", hooks=hooks, annotations={"a.b": "c"})
    run(document, "true", rootfs=busybox_rootfs)
    found = {kind: json.loads((tmp_path / kind).read_text()) for kind in kinds}
    found["startContainer"] = json.loads((busybox_rootfs / "tmp/startContainer").read_text())
    for kind, state in found.items():
        assert state["ociVersion"] == "1.1.0"
        assert state["annotations"] == {"a.b": "c"}
        assert Path(state["bundle"]).name == state["id"]
        if kind in kinds:
            assert state["status"] == kinds[kind]
    assert found["startContainer"]["pid"] == 1
    assert found["prestart"]["pid"] == found["createRuntime"]["pid"] == found["poststart"]["pid"] > 1
    assert found["poststop"]["pid"] == 0


def test_scheduler_rank_and_personality_are_the_programs(run: Run) -> None:
    document = minimal(process={"scheduler": {"policy": "SCHED_BATCH", "nice": 7},
                                "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}},
                       linux={"personality": {"domain": "LINUX32"}})
    text = run(document, "set -- $(cat /proc/self/stat); echo ${19} ${41}; ionice -p $$; uname -m")
    nice, policy, *rank, machine = text.split()
    assert (nice, policy) == ("7", "3")
    assert rank[0].strip(":") == "idle"
    assert machine == {"x86_64": "i686", "aarch64": "armv8l"}.get(os.uname().machine, machine)


def test_memory_comes_from_the_nodes_of_the_policy(run: Run) -> None:
    document = minimal(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}})
    try:
        text = run(document, "head -1 /proc/self/numa_maps")
    except SetupError as error:
        if error.errno != 38:
            raise
        pytest.skip("a kernel without NUMA")
    assert text.split()[1].startswith("bind")
    assert text.split()[1].endswith(":0")


def test_a_further_process_runs_on_its_cpus(run: Run) -> None:
    document = minimal(process={"execCPUAffinity": {"initial": "0", "final": str(max(os.sched_getaffinity(0)))}})
    show = "grep Cpus_allowed_list /proc/self/status | cut -f2"
    assert run(document, "read x", show) == f"{max(os.sched_getaffinity(0))}\n"


@pytest.mark.needs("time_namespace")
def test_clocks_have_their_offsets(run: Run) -> None:
    document = minimal(linux={"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "time"}],
                              "timeOffsets": {"boottime": {"secs": 1000000000}}})
    assert float(run(document, "cut -d' ' -f1 /proc/uptime")) > 1e9


@pytest.mark.needs("veth")
def test_an_interface_of_the_host_is_taken_over(run: Run, in_child: Callable[..., Any]) -> None:
    def outside() -> str:
        unshare(CLONE.NEWNET)
        with Rtnetlink() as kernel, open("/proc/self/ns/net", "rb") as here:
            kernel.new_veth("spare", "other", here.fileno())
            kernel.new_address(kernel.link("spare").index, *parse_prefix("10.1.2.3/24"))
        return run(minimal(linux={"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "network"}],
                                  "netDevices": {"spare": {"name": "mine"}}}),
                   "ip -4 -o addr show dev mine; ip -o link show dev mine")

    text = in_child(outside)
    assert "inet 10.1.2.3/24" in text
    assert ",UP" in text


def test_sysctls_masks_and_read_only_paths_are_obeyed(run: Run) -> None:
    document = minimal(linux={"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}],
                              "sysctl": {"kernel.shmmni": "77"}, "maskedPaths": ["/etc/group", "/home", "/none"],
                              "readonlyPaths": ["/tmp", "/none"]})
    text = run(document, "cat /proc/sys/kernel/shmmni; wc -c < /etc/group; ls /home; touch /tmp/x || echo no")
    assert text.split("\n") == ["77", "0", "touch: /tmp/x: Read-only file system", "no", ""]


def test_a_filter_of_the_document_is_put_on(run: Run) -> None:
    document = minimal(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}})
    assert "No space left" in run(document, "mkdir /tmp/d || true")
