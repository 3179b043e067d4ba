"""Links of the image, at every name that a runtime makes, mounts on, opens or removes."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from .bundle import Spec, bind, spec, tmpfs, without
from .canaries import Fell, HostTree
from .marks import attack
from .racing import exchanging, rounds
from .runtimes import Ran, Runtime

pytestmark = pytest.mark.needs("root", "busybox")

WALKS = True   # once more without openat2
SHOW = "cat /proc/self/mountinfo"


def _mounted(ran: Ran) -> dict[str, str]:
    """Return the sources of a container's mounts by their mount points, as its program saw them."""
    found = {}
    for line in ran.output.splitlines():
        before, dash, after = line.partition(" - ")
        if dash:
            found[before.split()[4]] = f"{after.split()[0]} {after.split()[1]} {before.split()[3]}"
    return found


def _open(image: Path, text: str, *mounts: Spec) -> Spec:
    """Describe a container in which nothing is masked or read-only: in a race, fewer steps can stumble."""
    made = spec(image, text, *mounts)
    made["linux"]["maskedPaths"] = made["linux"]["readonlyPaths"] = []
    return made


def _link(image: Path, name: str, target: Path | str) -> None:
    """Put a link of the image where a file or directory was."""
    path = image / name
    if path.is_dir() and not path.is_symlink():
        path.rename(image / f"{path.name}.aside")
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@attack("CVE-2015-3627", "CVE-2026-88265", falls={"name": ["null"]})
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("name", ["null", "stdin", "stdout", "console"])
def test_cve_2015_3627_streams_are_not_what_the_image_calls_so(runtime: Runtime, image: Path, host: HostTree,
                                                               name: str, uid: int) -> None:
    _link(image, f"dev/{name}", host.path / "file")
    made = without(spec(image, f"cat <&0; cat /dev/{name} </dev/null; echo overwritten >&0",
                        user={"uid": uid, "gid": uid}), "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    host.check(runtime.run(made).output)


@attack("CVE-2026-88265", falls=True)
def test_cve_2026_88265_a_file_bound_where_null_should_be_is_no_stream(runtime: Runtime, image: Path,
                                                                      host: HostTree) -> None:
    (image / "ro").mkdir()
    _link(image, "dev/null", "../ro/file")
    made = without(spec(image, "echo overwritten >&0; echo overwritten >&2", bind(host.path, "/ro", "ro"),
                        user={"uid": 1000, "gid": 1000}), "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    runtime.run(made)
    host.check()   # it may read what is bound


@attack("CVE-2015-3629", falls={"place": ["scratch", "data", "dev", "etc"]})
@pytest.mark.parametrize("place", ["scratch", "data", "dev", "etc", "proc", "sys"])
def test_cve_2015_3629_what_a_first_run_planted_is_no_help_to_a_second(runtime: Runtime, image: Path, host: HostTree,
                                                                       volume: Path, place: str) -> None:
    def once() -> Ran:
        return runtime.run(spec(image, f"cat inner/file file; {SHOW}", tmpfs("/scratch/new", "scratch-mark"),
                                bind(volume, "/data/new/er"), bind(volume, "/etc/new"), cwd="/scratch"))

    assert once().started
    _link(image, place, host.path / "folder")
    ran = once()
    host.check(ran.output)
    if ran.started:
        seen = {what.split()[0] for what in _mounted(ran).values()}
        if not seen >= {"proc", "sysfs", "devpts", "mqueue"} or "scratch-mark" not in ran.output:
            raise Fell(f"a mount went somewhere else: {seen}, {ran}")


@attack("CVE-2019-19921", "CVE-2023-27561", "CVE-2023-28642", "CVE-2025-54867", "CVE-2015-1335", "CVE-2019-18837",
        falls=True)
@pytest.mark.parametrize("place, fstype", [("proc", "proc"), ("sys", "sysfs")])
@pytest.mark.parametrize("target", ["elsewhere", "/elsewhere", "../../../elsewhere", "elsewhere/deep"])
def test_cve_2019_19921_proc_and_sys_are_not_mounted_through_a_link(runtime: Runtime, image: Path, place: str,
                                                                    fstype: str, target: str) -> None:
    (image / "elsewhere/deep").mkdir(parents=True)
    _link(image, place, target)
    ran = runtime.run(spec(image, SHOW))
    if ran.started and not any(point == f"/{place}" and what.startswith(f"{fstype} ")
                               for point, what in _mounted(ran).items()):
        raise Fell(f"{fstype} is not on /{place}: {ran}")


@attack("CVE-2019-19921", "CVE-2023-27561", "CVE-2025-54867", "CVE-2015-1335", falls=True)
def test_cve_2019_19921_proc_is_not_exchanged_for_a_link_meanwhile(runtime: Runtime, image: Path,
                                                                   host: HostTree) -> None:
    (image / "other").symlink_to(host.path / "folder")
    made = _open(image, "for n in 1 2 3 4 5 6 7 8 9; do cat /proc/self/mountinfo /other/self/mountinfo && break; done")

    def one(_: int) -> None:
        ran = runtime.run(made)
        host.check(ran.output)
        if ran.started and not any(what.startswith("proc ") for what in _mounted(ran).values()):
            raise Fell(f"proc went somewhere else: {ran}")

    with exchanging(image, "proc", "other"):
        rounds(one)


@attack("CVE-2021-30465", "CVE-2015-1335", falls=True)
def test_cve_2021_30465_a_target_in_a_volume_is_not_exchanged_meanwhile(runtime: Runtime, image: Path, host: HostTree,
                                                                        volume: Path) -> None:
    (volume / "a/inner").mkdir(parents=True)
    (volume / "b").symlink_to(host.path / "folder")      # where there is an "inner", too: nothing needs to be made
    made = _open(image, SHOW, bind(volume, "/shared"), tmpfs("/shared/a/inner", "race-mark"))

    def one(_: int) -> None:
        ran = runtime.run(made)
        host.check(ran.output)
        if ran.started and "race-mark" not in ran.output:
            raise Fell(f"a mount went somewhere else: {ran}")

    with exchanging(volume, "a", "b"):
        rounds(one)


@attack("CVE-2024-45310", "GHSA-pxhw-h44j-8pfx", falls=True)
def test_cve_2024_45310_no_directory_is_made_where_an_exchanged_link_leads(runtime: Runtime, image: Path,
                                                                           host: HostTree, volume: Path) -> None:
    (volume / "a").mkdir()
    (volume / "b").symlink_to(host.path / "folder")

    def one(number: int) -> None:
        made = _open(image, "true", bind(volume, "/shared"), tmpfs(f"/shared/a/new{number}/newer"),
                    bind(volume / "c", f"/shared/a/file{number}/newer"))
        host.check(runtime.run(made).output)

    (volume / "c").touch()
    with exchanging(volume, "a", "b"):
        rounds(one)


@attack("CVE-2025-31133", "CVE-2025-62161", falls={"null": ["link", "file", "other device"]})
@pytest.mark.parametrize("null", ["link", "file", "other device", "nothing"])
def test_cve_2025_31133_a_masked_path_shows_nothing_whatever_the_image_s_null_is(runtime: Runtime, image: Path,
                                                                                null: str) -> None:
    (image / "etc/evil").write_text("evil-words\n")
    (image / "secret").write_text("secret-words\n")
    if null == "link":
        _link(image, "dev/null", "../etc/evil")
    elif null == "file":
        (image / "dev/null").write_text("evil-words\n")
    elif null == "other device":
        os.mknod(image / "dev/null", 0o666 | 0o020000, os.makedev(1, 5))
    made = without(spec(image, "head -c 20 /secret | od -c; head -c 20 /secret"), "/dev", "/dev/pts", "/dev/shm",
                   "/dev/mqueue")
    made["linux"]["maskedPaths"] = ["/secret"]
    ran = runtime.run(made)
    if "words" in ran.output or "\\0" in ran.output:
        raise Fell(f"a masked path can be read: {ran}")


@attack("CVE-2026-41579", "CVE-2026-47766", falls={"target": ["{host}", "{up}{host}"]})
@pytest.mark.parametrize("target", ["{host}", "{up}{host}", "/proc/1/root{host}", "loop"])
def test_cve_2026_41579_no_device_and_no_link_is_made_where_a_linked_dev_leads(runtime: Runtime, image: Path,
                                                                               host: HostTree, target: str) -> None:
    _link(image, "dev", target.format(host=host.path, up="../" * 12))
    (image / "loop").symlink_to("loop")
    made = without(spec(image, "true"), "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    made["linux"]["devices"] = [{"path": "/dev/own", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]
    host.check(runtime.run(made).output)


@attack("CVE-2026-41579", "CVE-2026-47766", falls=True)
def test_cve_2026_41579_a_linked_dev_is_no_way_into_a_volume(runtime: Runtime, image: Path, host: HostTree) -> None:
    """The program may write there as the user it is; the runtime must not as root."""
    _link(image, "dev", "volume")
    made = without(spec(image, "true", bind(host.path, "/volume"), user={"uid": 1000, "gid": 1000}), "/dev", "/dev/pts",
                   "/dev/shm", "/dev/mqueue")
    host.check(runtime.run(made).output)


@attack("CVE-2026-88264", "CVE-2025-24965", falls={"target": ["new"]})
@pytest.mark.parametrize("target", ["file", "new"])
def test_cve_2026_88264_a_linked_console_is_not_made_on_the_host(runtime: Runtime, image: Path, host: HostTree,
                                                                 target: str) -> None:
    _link(image, "dev/console", host.path / target)
    for mounts in (("/dev", "/dev/shm", "/dev/mqueue"), ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")):
        (image / "dev/pts").mkdir(exist_ok=True)
        ran = runtime.terminal(without(spec(image, "echo overwritten >/dev/console; cat /dev/console </dev/null"),
                                       *mounts))
        host.check(ran.output)


@attack("CVE-2025-52565", falls=True)
def test_cve_2025_52565_a_console_is_a_terminal_and_nothing_that_has_its_name(runtime: Runtime, image: Path,
                                                                             volume: Path) -> None:
    (image / "etc/evil").write_text("evil-words\n")
    os.mknod(volume / "ptmx", 0o666 | 0o020000, os.makedev(5, 2))    # it opens the devpts beside it, in "pts"
    (volume / "pts").mkdir()
    for number in range(10):
        (volume / str(number)).symlink_to("../../etc/evil")
    made = without(spec(image, "cat /dev/console </dev/null & sleep 0.2; kill $!"), "/dev/pts")
    made["mounts"] += [bind(volume, "/dev/pts"),
                       {"destination": "/dev/pts/pts", "type": "devpts", "source": "devpts",
                        "options": ["newinstance", "ptmxmode=0666"]}]
    ran = runtime.terminal(made)
    if "evil-words" in ran.output:
        raise Fell(f"the console is a file: {ran}")


PARENTS = {"absolute": "{host}/folder", "relative": "{up}{host}/folder", "dots": "./../..{host}/folder",
           "through proc": "proc/self/root{host}/folder", "chain": "chained"}


@attack("GHSA-pxhw-h44j-8pfx", "CVE-2025-24965", falls={"how": ["absolute", "relative"]})
@pytest.mark.parametrize("how", PARENTS)
def test_ghsa_pxhw_nothing_is_made_below_a_linked_parent(runtime: Runtime, image: Path, host: HostTree, volume: Path,
                                                         how: str) -> None:
    (volume / "file").touch()
    (image / "chained").symlink_to(host.path / "folder")
    (image / "parent").symlink_to(PARENTS[how].format(host=host.path, up="../" * 12))
    made = spec(image, f"cat /parent/file; {SHOW}", bind(volume / "file", "/parent/sub/file"),
                tmpfs("/parent/new/directory"))
    made["linux"]["devices"] = [{"path": "/parent/node/null", "type": "c", "major": 1, "minor": 3}]
    made["linux"]["maskedPaths"] = ["/parent/inner", "/parent/file"]
    made["linux"]["readonlyPaths"] = ["/parent"]
    ran = runtime.run(made)
    host.check(ran.output)


@attack("CVE-2015-2925")
def test_cve_2015_2925_dots_do_not_lead_out_of_a_bound_directory_that_was_moved(runtime: Runtime, image: Path,
                                                                                volume: Path,
                                                                                host: HostTree) -> None:
    """The kernel's affair since Linux 4.3; a runtime may not undo it."""
    (volume / "a/b/c").mkdir(parents=True)
    made = spec(image, "cd /bound/b/c; touch here; n=0; while [ ! -e gone -a $n -lt 200 ]; do n=$((n+1)); sleep 0.02; "
                "done; cat ../../../file ../../file ../file; ls ../..", bind(volume / "a", "/bound"))
    (host.path / "dir").mkdir()
    host.keep()
    with runtime.start(made) as running:
        for _ in range(200):
            if (volume / "a/b/c/here").exists():
                break
            running.exec("/bin/sleep", "0.02")
        os.rename(volume / "a/b", volume / "moved")
        (volume / "file").write_text("outside-words\n")
        (volume / "moved/c/gone").touch()
        while "No such" not in running.log.read_text() and "outside" not in running.log.read_text():
            running.exec("/bin/true")
        if "outside-words" in running.log.read_text():
            raise Fell(running.log.read_text())
