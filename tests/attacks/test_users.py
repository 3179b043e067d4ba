"""Who a program is: ids, groups and capabilities, by numbers, by names, and by files that the image has written."""
from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import fork
import nscontainer
from containers import ENVIRONMENT, output_of, with_user_namespace
from nscontainer import ContainerError, Factory, Process
from nscontainer.sandbox import CAPABILITIES as DEFAULT_CAPABILITIES

from .bundle import CAPABILITIES, spec
from .canaries import SECRET, Fell, HostTree
from .marks import attack, library_only
from .runtimes import Library, Ran, Runtime, config_of

pytestmark = pytest.mark.needs("root", "busybox")

WHO = "echo \"ids=$(id -u):$(id -g)\"; grep -E '^(Groups|Cap)' /proc/self/status"


def _status(ran: Ran) -> dict[str, str]:
    fields = dict(line.split(":", 1) for line in ran.output.splitlines() if line.startswith(("Groups:", "Cap")))
    return {name: value.strip() for name, value in fields.items()}


@attack("CVE-2016-3697")
def test_cve_2016_3697_a_number_is_an_id_and_never_a_name(runtime: Runtime, image: Path) -> None:
    (image / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n")
    (image / "etc/group").write_text("root:x:0:\n1000:x:0:\n")
    with runtime.start(spec(image, "sleep 100")) as running:
        for user in ("1000", "1000:1000"):
            ran = running.exec("/bin/id", "-u", user=user)
            if ran.output.strip() != "1000" and ran.code == 0:
                raise Fell(f"{user!r} is {ran}")


IDS = {"1": {1}, "1:2": {1}, "0": {0}, "": {0}, "1:": {1}, ":1": {0}, "+1": {1}, " 1": {1}, "1_0": set(), "0x1": {1},
       "-1": set(), "4294967296": set(), "4294967297": set(), "4294967295": set(), "9223372036854775808": set(),
       "18446744073709551616": set(), "1 ": {1}, "\u0661": set(), "1e1": set(), "01": {1}}


@attack("CVE-2026-30892", "CVE-2024-40635", "CVE-2026-47262")
@pytest.mark.parametrize("user", IDS)
def test_cve_2026_30892_a_user_is_what_was_written_or_refused(runtime: Runtime, image: Path, user: str) -> None:
    with runtime.start(spec(image, "sleep 100")) as running:
        ran = running.exec("/bin/id", "-u", user=user)
        if ran.code == 0 and int(ran.output) not in IDS[user]:
            raise Fell(f"{user!r} is uid {ran.output.strip()}")


@attack("CVE-2024-40635", "CVE-2026-47262")
@pytest.mark.parametrize("uid", [(1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 63,
                                 1 << 64, -1])
def test_cve_2024_40635_no_large_id_becomes_root(runtime: Runtime, image: Path, uid: int) -> None:
    for user in ({"uid": uid, "gid": 1}, {"uid": 1, "gid": uid}, {"uid": 1, "gid": 1, "additionalGids": [uid]}):
        ran = runtime.run(spec(image, 'echo "ids=$(id -u):$(id -g):$(id -G)"', user=user))
        if ran.started:
            ids = ran.output.split("ids=")[1].split()[0].split(":")
            if "0" in ids or ids[0] != str(user["uid"]) or ids[1] != str(user["gid"]):
                raise Fell(f"{user} became {ran}")


@attack("CVE-2022-2989", "CVE-2022-2990", "CVE-2022-2995", "CVE-2022-36109", "CVE-2023-25173")
def test_cve_2022_2989_no_group_of_the_caller_or_the_image_comes_along(runtime: Runtime, image: Path) -> None:
    (image / "etc/group").write_text("root:x:0:user\nshadow:x:42:user\n")
    (image / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nuser:x:1000:42::/:/bin/sh\n")

    def as_member() -> list[str]:
        os.setgroups([0, 42, 4242])
        again = runtime.afresh()
        try:
            return [_status(again.run(spec(image, WHO, user={"uid": uid, "gid": 1000})))["Groups"]
                    for uid in (1000, 1001)]
        finally:
            if isinstance(again, Library):
                again.close()

    groups = fork.run_in_child(as_member)
    if groups != ["", ""] and groups != ["1000", "1000"]:   # one's own group once more is no other group
        raise Fell(str(groups))


@attack("CVE-2024-9676", falls={"kind": ["fifo", "link to the host"], "name": ["passwd"]})
@pytest.mark.parametrize("kind", [
    "fifo", "zero", "sparse", "link to the host", "link through proc", "directory", "loop"])
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_cve_2024_9676_the_image_s_user_files_are_read_with_care(runtime: Runtime, image: Path, host: HostTree,
                                                                 kind: str, name: str) -> None:
    path = image / "etc" / name
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 10 << 30)
    elif kind == "directory":
        path.mkdir()
    else:
        target = host.path / "passwd"
        path.symlink_to({"loop": path, "link to the host": target}.get(kind, Path(f"/proc/1/root{target}")))
    begun = time.monotonic()
    ran = runtime.run(spec(image, 'echo "home=$HOME"', user={"uid": 1000, "gid": 1000}))
    host.check(ran.output)
    if time.monotonic() - begun > 5:
        raise Fell(f"it took its time: {ran}")


@attack("CVE-2016-8867")
def test_cve_2016_8867_an_ordinary_user_has_no_capability(runtime: Runtime, image: Path) -> None:
    ran = runtime.run(spec(image, WHO, user={"uid": 1000, "gid": 1000}))
    status = _status(ran)
    assert "ids=1000:1000" in ran.output
    if any(int(status[name], 16) for name in ("CapAmb", "CapEff", "CapPrm", "CapInh")):
        raise Fell(str(status))


@attack("CVE-2022-29162", "CVE-2022-27650", "CVE-2025-27612", "CVE-2022-24769", "CVE-2022-27649", "CVE-2022-27651",
        "CVE-2022-27652")
@pytest.mark.parametrize("user", ["0", "1000"])
def test_cve_2022_29162_a_capability_for_one_program_is_not_inheritable(runtime: Runtime, image: Path,
                                                                       user: str) -> None:
    made = spec(image, f"{WHO}; sleep 100")
    for kind in ("bounding", "effective", "permitted"):
        made["process"]["capabilities"][kind] = [*CAPABILITIES, "CAP_NET_ADMIN"]
    with runtime.start(made) as running:
        ran = running.exec("/bin/grep", "Cap", "/proc/self/status", user=user, capabilities=["CAP_NET_ADMIN"])
        status = _status(ran)
        assert status, ran
        if int(status["CapInh"], 16) or user == "0" and int(status["CapAmb"], 16):
            raise Fell(str(status))


@attack("CVE-2022-27650", "CVE-2022-24769")
@library_only("each runtime has its own defaults")
def test_cve_2022_27650_by_default_nothing_is_inheritable_or_ambient(image: Path) -> None:
    done = nscontainer.run(["grep", "Cap", "/proc/self/status"], rootfs=image, capture_output=True, text=True)
    status = _status(Ran(done.stdout, 0))
    if int(status["CapInh"], 16) or int(status["CapAmb"], 16):
        raise Fell(str(status))


@attack("CVE-2014-3519")
@pytest.mark.needs("gcc")
def test_cve_2014_3519_files_of_the_host_cannot_be_opened_by_handle(runtime: Runtime, image: Path, host: HostTree,
                                                                   tmp_path: Path) -> None:
    """The program called shocker; any file system handle opens what lies beside the container on the same disk."""
    assert "CAP_DAC_READ_SEARCH" not in DEFAULT_CAPABILITIES
    source = tmp_path / "shocker.c"
    source.write_text(_SHOCKER)
    subprocess.run(["gcc", "-static", "-o", str(image / "bin/shocker"), str(source)], check=True)
    handle = subprocess.run([str(image / "bin/shocker"), str(host.path / "file")], capture_output=True, text=True)
    assert SECRET in handle.stdout, "outside, with all capabilities, it must work"
    made = spec(image, f"/bin/shocker - {handle.stdout.split()[0]}")
    ran = runtime.run(made)
    assert ran.started, ran
    host.check(ran.output)


_SHOCKER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    union { struct file_handle handle; char space[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } it = {0};
    int mount, file = -1;
    it.handle.handle_bytes = MAX_HANDLE_SZ;
    if (strcmp(argv[1], "-")) {
        if (name_to_handle_at(AT_FDCWD, argv[1], &it.handle, &mount, 0)) { perror("name"); return 1; }
        printf("%u:%d:", it.handle.handle_bytes, it.handle.handle_type);
        for (unsigned n = 0; n < it.handle.handle_bytes; n++) printf("%02x", it.handle.f_handle[n]);
        printf("\n");
    } else {
        int used = 0;
        unsigned byte;
        sscanf(argv[2], "%u:%d:%n", &it.handle.handle_bytes, &it.handle.handle_type, &used);
        for (unsigned n = 0; n < it.handle.handle_bytes; n++) {
            sscanf(argv[2] + used + 2 * n, "%2x", &byte);
            it.handle.f_handle[n] = byte;
        }
    }
    int here = open(strcmp(argv[1], "-") ? argv[1] : "/bin/busybox", O_RDONLY);
    file = open_by_handle_at(here, &it.handle, O_RDONLY);
    char text[100] = "";
    if (file < 0) { perror("open_by_handle_at"); return 1; }
    if (read(file, text, sizeof text - 1) > 0) printf("%s\n", text);
    return 0;
}
"""


@attack("CVE-2014-8989")
@pytest.mark.needs("user_python", "userns")
@library_only("a command would have to be set up for an ordinary user")
def test_cve_2014_8989_an_ordinary_user_s_container_cannot_drop_groups(user_rootfs: Path, as_user: Any,
                                                                      user_tmp_path: Path) -> None:
    def look() -> str:
        with Factory(user_tmp_path / "state") as factory:
            return output_of(factory, with_user_namespace(user_rootfs, os.getuid(), os.getgid()), "cat",
                             "/proc/self/setgroups")

    if as_user(look).strip() != "deny":
        raise Fell("setgroups is allowed where an ordinary user wrote the map")


@attack("CVE-2018-18955")
def test_cve_2018_18955_more_than_five_ranges_mean_what_they_say(runtime: Runtime, image: Path) -> None:
    made = spec(image, "cat /proc/self/uid_map /proc/self/gid_map; stat -c %u /mine")
    (image / "mine").touch()
    os.chown(image / "mine", 100600, 100600)
    made["linux"]["namespaces"].append({"type": "user"})
    ranges = [{"containerID": 100 * n, "hostID": 100000 + 200 * n, "size": 50} for n in range(8)]
    made["linux"]["uidMappings"] = made["linux"]["gidMappings"] = ranges
    os.chown(image, 100000, 100000)
    ran = runtime.run(made)
    assert ran.started, ran
    lines = [[int(word) for word in line.split()] for line in ran.output.splitlines() if len(line.split()) == 3]
    wanted = [[entry["containerID"], entry["hostID"], entry["size"]] for entry in ranges]
    if lines != wanted * 2 or ran.output.split()[-1] != "300":
        raise Fell(str(ran))


@attack("CVE-2021-43784")
@library_only("it counts the library's own messages")
def test_cve_2021_43784_seventy_kilobytes_of_words_are_no_other_words(runtime: Runtime, image: Path) -> None:
    assert isinstance(runtime, Library)
    made = spec(image, "")
    config = config_of(made)
    for size in ((1 << 16) - 1, 1 << 16, (1 << 16) + 7, 100_000):
        with runtime.factory.create("long", config) as container:
            process = Process(["/bin/sh", "-c", 'printf %s "$0$1" | wc -c', "x" * size, "y" * 1000], env=[
                *ENVIRONMENT, "LONG=" + "z" * size])
            ran = runtime._start(container, process)
            if ran.output.strip() != str(size + 1000):
                raise Fell(str(ran))
    made["linux"]["namespaces"].append({"type": "user"})
    made["linux"]["uidMappings"] = made["linux"]["gidMappings"] = [
        {"containerID": n, "hostID": 100000 + n, "size": 1} for n in range(5000)]
    with pytest.raises(ContainerError, match="uid_mappings"):
        runtime.factory.create("long", config_of(made))
