"""The host's side: names of containers, state directories, helpers and hooks, what comes back to the caller."""
from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import host as this_host
import nscontainer
from containers import run_in, standard
from leftovers import snapshot
from nscontainer import (
    CommandHook,
    ContainerError,
    Factory,
    InvalidIdFormat,
    OutputLimitExceeded,
)
from nscontainer.config import Command
from nscontainer.idmap import subordinate_ranges
from nscontainer.sys import bpf

from .bundle import spec
from .canaries import Fell, HostTree
from .marks import attack, library_only
from .runtimes import Binary, Runtime

pytestmark = pytest.mark.needs("root", "busybox")

IDS = ["..", ".", "a/b", "", "/abs", "../../escape", "a\nb", "a\0b", "x" * 1100, "-x", "--root=/", "a b", "ünï"]


@attack("CVE-2014-9358")
@pytest.mark.parametrize("id", IDS)
def test_cve_2014_9358_an_id_is_no_path(runtime: Runtime, image: Path, scratch: Path, id: str) -> None:
    made = spec(image, "true")
    if isinstance(runtime, Binary):
        if "\0" in id:
            pytest.skip("no argument of a command holds a NUL")
        before = {str(path) for path in scratch.glob("*")} | {str(path) for path in runtime.folder.glob("*")}
        bundle = runtime._bundle(made)
        try:
            ran = runtime._call("run", "--bundle", str(bundle), *(["--"] if id.startswith("-") else []), id)
        finally:
            runtime._delete("none", bundle)
        now = {str(path) for path in scratch.glob("*")} | {str(path) for path in runtime.folder.glob("*")}
        if ran.started and ("/" in id or id in ("", ".", "..")) or now - before - {str(runtime.state)}:
            raise Fell(f"{id!r} was taken: {ran}")
        return
    before_all = snapshot()["process"]
    with pytest.raises(InvalidIdFormat):
        runtime.factory.create(id, standard(image))
    assert snapshot()["process"] == before_all and os.listdir(runtime.factory.root) == []


@attack("CVE-2015-1331", "CVE-2024-25621")
@library_only("each runtime keeps its state in its own way")
@pytest.mark.parametrize("umask", [0, 0o777])
def test_cve_2024_25621_the_state_is_for_nobody_else_s_eyes(image: Path, scratch: Path, umask: int,
                                                           container_id: Any, in_child: Any) -> None:
    def modes() -> list[int]:
        os.umask(umask)
        root = scratch / f"root-{umask:o}"
        with Factory(root) as factory, factory.create(container_id(), standard(image)) as container:
            process = nscontainer.Process(["sleep", "100"], env=["PATH=/bin"])
            container.start(process)
            return [stat.S_IMODE(os.stat(path).st_mode) for path in (root, *root.iterdir(), *root.glob("*/*"))]

    found = in_child(modes)
    assert len(found) == 3
    if any(mode & 0o077 for mode in found):
        raise Fell([f"{mode:o}" for mode in found])


@attack("CVE-2015-1331", "CVE-2019-12439")
@library_only("each runtime keeps its state in its own way")
def test_cve_2015_1331_a_link_planted_where_state_is_written_is_not_followed(image: Path, host: HostTree,
                                                                            scratch: Path, tmp_path: Path,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    for name in ("TMPDIR", "TMP", "TEMP", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(host.path))
    with Factory(root) as factory:
        container = factory.create("planted", standard(image))
        for name in ("state.json.new", "state.json"):
            (root / "planted" / name).symlink_to(host.path / "file")
        try:
            run_in(container, "true")
        except ContainerError:
            pass
        host.check()
        container.destroy()
        for target in (host.path / "folder", host.path / "none"):
            (root / "other").symlink_to(target)
            with pytest.raises(ContainerError):
                factory.create("other", standard(image))
            (root / "other").unlink()
    os.chown(root, 1000, 1000)
    with pytest.raises(ContainerError, match="belongs to uid 1000"):
        Factory(root)
    host.check()


HOSTILE = ["LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/", "LD_AUDIT=/evil.so", "PYTHONPATH=/", "PYTHONSTARTUP=/evil.py",
           "PYTHONHOME=/", "GCONV_PATH=/", "BASH_ENV=/evil.sh", "ENV=/evil.sh", "PATH=/evil:/bin", "IFS=/"]


@attack("CVE-2025-23266", "CVE-2026-84042")
@library_only("it looks at hooks through the library's own records")
@pytest.mark.parametrize("kind", ["prestart", "create_runtime", "create_container", "start_container", "poststart"])
def test_cve_2025_23266_a_hook_has_nothing_of_the_image_s_environment(factory: Factory, image: Path, kind: str) -> None:
    (image / "bin/show").write_text("#!/bin/sh\nenv >/told\npwd >>/told\n")
    (image / "bin/show").chmod(0o755)
    told = image / "told"
    script = ["sh", "-c", f"env >{told}; pwd >>{told}; ls /proc/self/fd | wc -l >>{told}"]
    if kind == "start_container":   # the one that is the image's own program
        script = ["sh", "-c", "env >/told; pwd >>/told"]
    config = standard(image)
    hook = CommandHook(command=Command(path="/bin/sh", args=tuple(script), env=("GIVEN=1",)))
    setattr(config.hooks, kind, (hook,))
    with factory.create("hooked", config) as container:
        run_in(container, "/bin/true", env=HOSTILE)
        text = told.read_text()
        names = {pair.split("=", 1)[0] for pair in HOSTILE} - {"PATH", "IFS"}
        if any(f"{name}=" in text for name in names) or "evil" in text:
            raise Fell(text)
        assert "GIVEN=1" in text
        if str(image) in text:
            raise Fell(f"it starts in the image: {text}")


@attack("CVE-2024-0132", "CVE-2025-23359")
@library_only("it looks at hooks through the library's own records")
def test_cve_2024_0132_a_hook_in_the_container_sees_finished_mounts(factory: Factory, image: Path,
                                                                    volume: Path) -> None:
    told = image / "told"
    look = Command(path="/bin/sh", args=("sh", "-c", f"cat /proc/self/mountinfo >{told}"), env=("A=1",))
    config = standard(image)
    config.hooks.create_container = (CommandHook(command=look),)
    with factory.create("hooked", config) as container:
        run_in(container, "true")
    points = {line.split()[4] for line in told.read_text().splitlines()}
    if not {f"{image}/proc", f"{image}/dev/pts", f"{image}/sys"} <= points:
        raise Fell(str(points))


@attack("CVE-2022-1708", "CVE-2022-31030")
@library_only("only the library captures output")
def test_cve_2022_1708_captured_output_has_an_end(image: Path) -> None:
    with pytest.raises(OutputLimitExceeded):
        nscontainer.run(["sh", "-c", "yes"], rootfs=image, capture_output=True, timeout=20, output_limit=1 << 20)


SUBUID = """# user:100000:65536
userx:100000:65536
user :200000:65536
user:-1:65536
user:300000:-5
user:4294967000:65536
user:310000:0x10
user:320000:99999999999999999999
user:330000
user:340000:1:1
User:350000:65536
us*r:360000:65536
user:+370000:1
user:380000:1_0
user:400000:100"""


@attack("CVE-2026-39402")
@library_only("a parser of the library's")
def test_cve_2026_39402_a_line_of_subuid_is_somebody_s_by_the_whole_name(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text(SUBUID)   # and no newline at its end
    found = subordinate_ranges("user", str(tmp_path / "subuid"), 1000)
    if found != [(400000, 100)]:
        raise Fell(str(found))


GUARD = b"\xa5" * 256


@pytest.mark.needs("cgroup2")
@attack("BPF_PROG_QUERY")
@library_only("what a command has around its buffers cannot be seen")
def test_bpf_prog_query_the_kernel_writes_nothing_past_what_we_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.17 to 7.1 write their last attribute, also when the caller says that his are shorter."""
    real, seen = bpf._bpf, []

    def guarded(command: int, address: int, size: int) -> int:
        whole = ctypes.create_string_buffer(ctypes.string_at(address, size) + GUARD)
        result = int(real(command, ctypes.addressof(whole), size))
        ctypes.memmove(address, whole, size)
        seen.append((size, whole.raw[size:-1] == GUARD))
        return result

    monkeypatch.setattr(bpf, "_bpf", guarded)
    directory = os.open(str(this_host.own_cgroup()), os.O_RDONLY)
    try:
        bpf.prog_query(directory, int(bpf.ATTACH.CGROUP_DEVICE))
        (size, whole), = seen
        if not whole:
            raise Fell(f"the kernel has written behind the {size} bytes that it was told of")
        short = bpf._Query(target_fd=directory, attach_type=int(bpf.ATTACH.CGROUP_DEVICE))
        guarded(bpf._PROG_QUERY, ctypes.addressof(short), 24)   # every kernel counts the programs in the next bytes
        assert seen[-1] == (24, False), "a write behind the buffer is not seen"
    finally:
        os.close(directory)
