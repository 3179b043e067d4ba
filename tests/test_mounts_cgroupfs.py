"""/sys/fs/cgroup as a container sees it, on hosts with v1, with both, and with v2 alone."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fork
import host
from mounting import MOUNTS, SAFE, config, contained, enter, fields, image, mount_line
from nscontainer.config import Config, Mount, Namespace, NamespaceType
from nscontainer.errors import ContainerError
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.mount import MNT, MS, mount, umount2

InChild = Callable[..., Any]
PROC = MOUNTS[0]
PLACE = "/sys/fs/cgroup"


def _config(root: Path, device: str = "cgroup", flags: int = 0, namespace: bool = False, user: bool = False) -> Config:
    mount = Mount(source="cgroup", destination=PLACE, device=device, flags=SAFE | flags)
    made = config(image(root), PROC, mount, user=user)
    if namespace:
        made.namespaces.append(Namespace(type=NamespaceType.NEWCGROUP))
    return made


def _hierarchies() -> dict[str, str]:
    """Return the host's v1 hierarchies: the name of the directory, a controller or name=."""
    own = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    found = {}
    for point, options in host.mounts_of_type("cgroup"):
        for word in options.split(","):
            if any(word in names.split(",") for names in own):
                found[os.path.basename(point)] = word
                break
    return found


@pytest.fixture
def group() -> Iterator[str]:
    """The name of a cgroup that exists in every hierarchy in which we may make one."""
    name = f"nscontainer-mounts-{os.getpid()}"
    made = []
    for point, _ in [*host.mounts_of_type("cgroup"), *host.mounts_of_type("cgroup2")]:
        controllers = [os.path.basename(point), ""]
        for controller in controllers:
            top = host.own_cgroup(controller or None)
            if top is not None and str(top).startswith(point):
                try:
                    (top / name).mkdir()
                except OSError:
                    continue
                made.append(top / name)
                break
    yield name
    for path in made:
        path.rmdir()


def _join(name: str) -> None:
    """Enter that group wherever it exists and takes us."""
    for point, _ in [*host.mounts_of_type("cgroup"), *host.mounts_of_type("cgroup2")]:
        for path in Path(point).glob(f"**/{name}/cgroup.procs"):
            try:
                path.write_text("0")
            except OSError:
                continue  # a cpuset without cpus


@pytest.mark.needs("root", "cgroup1")
def test_each_hierarchy_of_v1_shows_the_container_s_own_group(in_child: InChild, tmp_path: Path, group: str) -> None:
    def look() -> dict[str, Any]:
        unshare(CLONE.NEWNS)
        names = _hierarchies()
        _join(group)
        inside = {}
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, words, path = line.split(":", 2)
            inside.update(dict.fromkeys(words.split(","), path))
        expected = {name: inside[word] for name, word in names.items()}
        (root := image(tmp_path)).joinpath("made").touch()
        enter(_config(root))
        return {"expected": expected, "mine": os.getpid(), "seen": {
            name: [mount_line(f"{PLACE}/{name}").split()[3],
                   str(os.getpid()) in Path(f"{PLACE}/{name}/cgroup.procs").read_text().split()] for name in expected}}

    seen = in_child(look)
    assert seen["expected"] and any(path.endswith(group) for path in seen["expected"].values())
    assert {name: root for name, (root, _) in seen["seen"].items()} == seen["expected"]
    assert all(member for _, member in seen["seen"].values())


@pytest.mark.needs("root", "cgroup1")
@pytest.mark.parametrize("flags, word", [(MS.RDONLY, "ro"), (MS(0), "rw")])
def test_flags_are_for_every_hierarchy(in_child: InChild, tmp_path: Path, flags: MS, word: str) -> None:
    def look() -> list[list[str]]:
        unshare(CLONE.NEWNS)
        names = _hierarchies()
        enter(_config(tmp_path, flags=int(flags)))
        return [fields(PLACE)[:4], *(fields(f"{PLACE}/{name}")[:4] for name in names)]

    seen = in_child(look)
    assert len(seen) > 1
    assert all(words == [word, "nosuid", "nodev", "noexec"] for words in seen)


@pytest.mark.needs("root", "cgroup1")
def test_v1_in_a_cgroup_namespace_is_mounted_afresh(in_child: InChild, tmp_path: Path, group: str) -> None:
    def look() -> list[Any]:
        unshare(CLONE.NEWNS)
        names = _hierarchies()
        _join(group)
        unshare(CLONE.NEWCGROUP)
        enter(_config(tmp_path, namespace=True))
        return [[mount_line(f"{PLACE}/{name}").split()[3], str(os.getpid()) in Path(
            f"{PLACE}/{name}/cgroup.procs").read_text().split()] for name in names]

    seen = in_child(look)
    assert seen and all(one == ["/", True] for one in seen)


@pytest.mark.needs("root", "cgroup1")
def test_names_that_share_a_hierarchy_are_links(in_child: InChild, tmp_path: Path) -> None:
    def look() -> list[str]:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        names = _hierarchies()
        name, word = next(iter(names.items()))
        umount2(PLACE, MNT.DETACH)
        mount("x", PLACE, "tmpfs")
        os.mkdir(f"{PLACE}/one,{name},other")
        mount("cgroup", f"{PLACE}/one,{name},other", "cgroup", data=f"none,{word}" if "=" in word else word)
        enter(_config(tmp_path))
        seen = [f"{entry} -> {os.readlink(f'{PLACE}/{entry}')}" if os.path.islink(f"{PLACE}/{entry}") else "directory"
                for entry in os.listdir(PLACE)]
        return [*sorted(seen), name]

    *seen, name = in_child(look)
    joint = f"one,{name},other"
    assert seen == sorted(["directory", f"one -> {joint}", f"{name} -> {joint}", f"other -> {joint}"])


@pytest.mark.needs("user", "userns", "cgroup1", "root")
def test_v1_in_a_user_namespace(user_tmp_path: Path) -> None:
    def look() -> list[Any]:
        names = _hierarchies()
        enter(_config(user_tmp_path, flags=int(MS.RDONLY), namespace=True, user=True))
        return [[fields(f"{PLACE}/{name}")[0], "cgroup.procs" in os.listdir(f"{PLACE}/{name}")] for name in names]

    seen = contained(look, user=True)
    assert seen and all(one == ["ro", True] for one in seen)


# --- v2


def _only_v2() -> None:
    """Become a host that has cgroup v2 at the usual place, and no other."""
    unshare(CLONE.NEWNS)
    mount(None, "/", flags=MS.REC | MS.PRIVATE)
    for point, _ in reversed([*host.mounts_of_type("cgroup"), *host.mounts_of_type("cgroup2")]):
        umount2(point, MNT.DETACH)
    while os.path.ismount(PLACE):
        umount2(PLACE, MNT.DETACH)
    mount("cgroup2", PLACE, "cgroup2")


@pytest.mark.needs("root", "cgroup2")
@pytest.mark.parametrize("device", ["cgroup", "cgroup2"])
@pytest.mark.parametrize("flags", [0, MS.RDONLY])
def test_v2_in_a_cgroup_namespace_has_our_group_as_its_top(in_child: InChild, tmp_path: Path, group: str, device: str,
                                                           flags: int) -> None:
    def look() -> list[Any]:
        _only_v2()
        _join(group)
        unshare(CLONE.NEWCGROUP)
        enter(_config(tmp_path, device, int(flags), namespace=True))
        line = mount_line(PLACE).split()
        return [line[3], line[line.index("-") + 1], fields(PLACE)[0], os.path.exists(f"{PLACE}/cgroup.type"),
                str(os.getpid()) in Path(f"{PLACE}/cgroup.procs").read_text().split()]

    assert in_child(look) == ["/", "cgroup2", "ro" if flags else "rw", True, True]


@pytest.mark.needs("root", "cgroup2")
def test_v2_without_a_cgroup_namespace_is_the_host_s(in_child: InChild, tmp_path: Path, group: str) -> None:
    """/proc/self/cgroup tells the host's path then, and that is where to find it."""
    def look() -> list[Any]:
        _only_v2()
        _join(group)
        enter(_config(tmp_path, "cgroup2", int(MS.RDONLY)))
        own = Path("/proc/self/cgroup").read_text().splitlines()[-1].partition("::")[2]
        return [str(os.getpid()) in Path(f"{PLACE}{own}/cgroup.procs").read_text().split(), own.endswith(group),
                fields(PLACE)[:4]]

    assert in_child(look) == [True, True, ["ro", "nosuid", "nodev", "noexec"]]


@pytest.mark.needs("root", "cgroup2")
def test_the_options_of_the_host_s_hierarchy_stay(in_child: InChild, tmp_path: Path) -> None:
    """A fresh mount from the first cgroup namespace would set them anew: nsdelegate is lost that way."""
    def look() -> list[str]:
        _only_v2()
        before = mount_line(PLACE).split()[-1]
        try:
            mount(None, PLACE, flags=MS.REMOUNT, data="nsdelegate")
            fork.run_in_child(lambda: enter(_config(tmp_path, "cgroup2")))
            return mount_line(PLACE).split()[-1].split(",")
        finally:
            mount(None, PLACE, flags=MS.REMOUNT, data=",".join(before.split(",")[1:]) or None)

    assert "nsdelegate" in in_child(look)


@pytest.mark.needs("user", "userns", "cgroup2", "root")
@pytest.mark.parametrize("namespace", [True, False])
def test_v2_in_a_user_namespace(in_child: InChild, user_tmp_path: Path, namespace: bool) -> None:
    def host_side() -> Any:
        _only_v2()

        def look() -> list[Any]:
            enter(_config(user_tmp_path, flags=int(MS.RDONLY), namespace=namespace, user=True))
            with pytest.raises(OSError, match="Read-only"):  # CVE-2023-25809: it was writable
                Path(f"{PLACE}/cgroup.procs").write_text("0")
            return [fields(PLACE)[0], "cgroup.procs" in os.listdir(PLACE)]

        return contained(look, user=True)

    assert in_child(host_side) == ["ro", True]


@pytest.mark.needs("root")
def test_a_host_without_cgroups_is_told(in_child: InChild, tmp_path: Path) -> None:
    def look() -> str:
        unshare(CLONE.NEWNS)
        mount(None, "/", flags=MS.REC | MS.PRIVATE)
        for point, _ in reversed([*host.mounts_of_type("cgroup"), *host.mounts_of_type("cgroup2")]):
            umount2(point, MNT.DETACH)
        with pytest.raises(ContainerError) as caught:
            enter(_config(tmp_path))
        return str(caught.value)

    assert "has no cgroup file system mounted" in in_child(look)
