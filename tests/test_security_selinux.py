"""SELinux: contexts, categories, files of settings; and the kernel's own answers where it runs."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containers import output_of, run_in, standard
from nscontainer import ContainerError, Factory
from nscontainer.errors import ConfigInvalid, SyscallError, SystemError_
from nscontainer.security import procfs, selinux
from nscontainer.security.selinux import DISABLED, ENFORCING, PERMISSIVE, SelinuxNotEnabled, new_context
from test_security_procfs import fake

CONTAINER = "system_u:system_r:container_t:s0:c1,c2"


@pytest.fixture(autouse=True)
def _undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test as a process that has not looked yet, and has reserved nothing."""
    monkeypatch.setattr(selinux, "_answer", [])
    monkeypatch.setattr(selinux, "_reserved", set())


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Pretend that SELinux is on, with a directory for each of the kernel's and the policy's."""
    def pretend(**files: str) -> Path:
        attributes = tmp_path / "proc"
        os.close(fake(attributes, "current", "exec", "fscreate", "keycreate", "sockcreate"))
        monkeypatch.setattr(selinux, "plain_procfs", lambda: os.open(attributes, os.O_PATH | os.O_DIRECTORY))
        for name, content in {"fs/enforce": "1", "fs/context": "", "etc/config": "", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(selinux, "_answer", [str(tmp_path / "fs")])
        monkeypatch.setattr(selinux, "_CONFIG_DIRECTORY", str(tmp_path / "etc"))
        return tmp_path

    return pretend


# --- whether it is on


def test_without_selinuxfs_it_is_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selinux, "_SELINUXFS", str(tmp_path / "nothing"))
    monkeypatch.setattr(selinux, "_places", lambda: [str(tmp_path)])  # there, and of another type
    assert not selinux.is_enabled()
    assert selinux.selinux_get_enforce() == DISABLED
    assert not selinux.enforcing()


@pytest.mark.parametrize(("context", "enabled"), [
    (CONTAINER, True), ("kernel", False), ("", False), ("system_u:system_r:kernel_t:s0", True)])
def test_before_a_policy_is_loaded_it_is_off(
        pretended: Any, monkeypatch: pytest.MonkeyPatch, context: str, enabled: bool) -> None:
    pretended(**{"proc/thread-self/attr/current": context + "\0"})
    monkeypatch.setattr(selinux, "_answer", [])
    monkeypatch.setattr(selinux, "_is_selinuxfs", lambda path: True)
    assert selinux.is_enabled() is enabled
    assert selinux.selinux_enabled() is enabled


def test_it_can_be_switched_off_for_this_process(pretended: Any) -> None:
    pretended()
    assert selinux.is_enabled()
    selinux.set_disabled()
    assert not selinux.is_enabled()
    assert selinux.get_lxc_contexts() == ("", "")
    with pytest.raises(SelinuxNotEnabled):
        selinux.security_check_context(CONTAINER)


def test_the_kernel_says_whether_it_enforces(pretended: Any) -> None:
    for content, mode in (("1", ENFORCING), ("0", PERMISSIVE)):
        pretended(**{"fs/enforce": content})
        assert selinux.selinux_get_enforce() == mode
        assert selinux.enforcing() is (mode == ENFORCING)


@pytest.mark.parametrize(("text", "mode"), [
    ("SELINUX=enforcing\n", ENFORCING), ("SELINUX = permissive", PERMISSIVE), ("SELINUX=disabled", DISABLED),
    ("#SELINUX=enforcing\n;SELINUX=enforcing\n", DISABLED), ('SELINUX="Enforcing"', ENFORCING), ("", DISABLED)])
def test_the_mode_from_the_next_boot_on_is_in_a_file(pretended: Any, text: str, mode: int) -> None:
    pretended(**{"etc/config": text})
    assert selinux.selinux_get_enforce_mode() == mode


# --- attributes of a process


@pytest.mark.parametrize("name", ["exec", "fscreate", "keycreate", "sockcreate"])
def test_what_is_made_next_can_be_labelled(pretended: Any, name: str) -> None:
    folder = pretended()
    kind = "" if name.endswith("create") else "con"
    get, put = (getattr(selinux, f"{verb}{name}{kind or 'con'}") for verb in ("get", "set"))
    assert get() == ""
    put(CONTAINER)
    assert (folder / "proc/thread-self/attr" / name).read_text() == CONTAINER
    assert get() == CONTAINER


def test_a_context_that_the_policy_does_not_know_is_explained(
        pretended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SyscallError("write", 22)

    pretended()
    monkeypatch.setattr(procfs, "write_all", refuse)
    with pytest.raises(SyscallError, match="the policy knows no such context"):
        selinux.setexeccon("a:b:c:s0")


def test_a_context_is_checked_by_the_kernels_file_for_that(pretended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """libcontainer wrote to a file that does not exist."""
    folder = pretended()
    selinux.security_check_context(CONTAINER)
    assert (folder / "fs/context").read_text() == CONTAINER

    def refuse(*_: object) -> None:
        raise SyscallError("write", 22)

    monkeypatch.setattr(selinux, "write_all", refuse)
    with pytest.raises(ConfigInvalid, match="knows no context"):
        selinux.security_check_context(CONTAINER)


# --- contexts


def test_a_context_has_four_parts_and_the_last_may_hold_colons() -> None:
    context = new_context("u:r:t:s0-s0:c0.c1023")
    assert (context.user, context.role, context.type, context.level) == ("u", "r", "t", "s0-s0:c0.c1023")
    assert context.get() == "u:r:t:s0-s0:c0.c1023"
    assert new_context("u:r:t").get() == "u:r:t"
    assert repr(context) == "SELinuxContext('u:r:t:s0-s0:c0.c1023')"


@pytest.mark.parametrize("text", ["", "kernel", "u:r", "u::t:s0", ":::", "u:r:t:"])
def test_what_is_no_context_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="is not an SELinux context"):
        new_context(text)


# --- categories


@pytest.mark.parametrize(("number", "text"), [
    (1, "s0:c0,c1"), (1023, "s0:c0,c1023"), (1024, "s0:c1,c2"), (523776, "s0:c1022,c1023"), (0, ""), (-1, ""),
    (523777, "")])
def test_pairs_are_numbered(number: int, text: str) -> None:
    assert selinux.int_to_mcs(number, 1023) == text


def test_all_pairs_of_a_small_range_are_different() -> None:
    pairs = [selinux.int_to_mcs(number, 7) for number in range(1, 29)]
    assert len(set(pairs)) == 28
    for pair in pairs:
        first, second = (int(category[1:]) for category in pair.partition(":")[2].split(","))
        assert 0 <= first < second <= 7


def test_a_pair_is_given_out_once_until_it_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "_CATEGORIES", 4)
    levels = {selinux.unique_mcs() for _ in range(6)}
    assert len(levels) == 6
    with pytest.raises(SystemError_, match="all 6 pairs of SELinux categories are in use"):
        selinux.unique_mcs()
    selinux.free_lxc_contexts("u:r:t:s0:c1,c3")
    assert selinux.unique_mcs() == "s0:c1,c3"


def test_a_reserved_label_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "_CATEGORIES", 3)
    selinux.reserve_label("u:r:t:s0:c0,c1")
    selinux.reserve_label("no level")
    assert {selinux.unique_mcs(), selinux.unique_mcs()} == {"s0:c0,c2", "s0:c1,c2"}


def test_the_policys_contexts_for_containers_come_at_a_level_of_their_own(pretended: Any) -> None:
    pretended(**{"etc/config": "SELINUXTYPE=targeted", "etc/targeted/contexts/lxc_contexts":
                 '# comment\nprocess = "system_u:system_r:svirt_t:s0"\nfile = "system_u:object_r:file_t:s0"\n'})
    process, file = selinux.get_lxc_contexts()
    assert process.startswith("system_u:system_r:svirt_t:s0:c")
    assert file.startswith("system_u:object_r:file_t:s0:c")
    assert new_context(process).level == new_context(file).level
    assert selinux.get_lxc_contexts()[0] != process


def test_a_policy_without_contexts_for_containers_gives_none(pretended: Any) -> None:
    pretended(**{"etc/config": "SELINUXTYPE=minimum"})
    assert selinux.get_lxc_contexts() == ("", "")


def test_a_level_is_copied_and_reserved(pretended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended()
    monkeypatch.setattr(selinux, "_CATEGORIES", 3)
    selinux.reserve_label("u:r:t:s0:c0,c1")
    assert selinux.copy_level("u:r:t:s0:c1,c2", "u:object_r:f:s0:c0,c1") == "u:object_r:f:s0:c1,c2"
    assert {selinux.unique_mcs(), selinux.unique_mcs()} == {"s0:c0,c1", "s0:c0,c2"}
    assert selinux.copy_level("", "u:r:t:s0") == ""


def test_options_repeat_a_context() -> None:
    assert selinux.dup_sec_opt(CONTAINER) == [
        "label:user:system_u", "label:role:system_r", "label:type:container_t", "label:level:s0:c1,c2"]
    assert selinux.dup_sec_opt("") == selinux.dup_sec_opt("u:r:t") == []
    assert selinux.disable_sec_opt() == ["label:disable"]


# --- files


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write labels where the test's file system takes attributes without SELinux."""
    monkeypatch.setattr(selinux, "_ATTRIBUTE", "trusted.selinux")


@pytest.mark.needs("root")
@pytest.mark.usefixtures("labelled")
def test_a_file_is_labelled_and_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert selinux.getfilecon(str(tmp_path / "file")) == ""
    selinux.setfilecon(str(tmp_path / "link"), CONTAINER)
    assert selinux.getfilecon(str(tmp_path / "file")) == ""
    assert selinux.getfilecon(str(tmp_path / "link")) == CONTAINER


@pytest.mark.needs("root")
@pytest.mark.usefixtures("labelled")
def test_a_whole_tree_is_labelled_and_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b/file").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (tmp_path / "tree/a/link").symlink_to(tmp_path / "outside")
    selinux.chcon(str(tmp_path / "tree"), CONTAINER, recurse=True)
    for name in ("tree", "tree/a", "tree/a/b", "tree/a/b/file", "tree/a/link"):
        assert selinux.getfilecon(str(tmp_path / name)) == CONTAINER
    for name in ("outside", "outside/file"):
        assert selinux.getfilecon(str(tmp_path / name)) == ""
    selinux.chcon(str(tmp_path / "tree"), "u:r:t:s0")
    assert selinux.getfilecon(str(tmp_path / "tree/a")) == CONTAINER


@pytest.mark.parametrize("path", ["/usr", "/usr/", "/usr/bin", "/etc/../usr", "/usr/nothing"])
def test_what_is_the_hosts_is_not_labelled(path: str) -> None:
    with pytest.raises(ConfigInvalid, match="is not allowed"):
        selinux.chcon(path, CONTAINER)
    selinux.chcon(path, "")


# --- whole containers


@pytest.mark.needs("root", "busybox")
@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="SELinux is here")
def test_a_container_whose_label_cannot_be_applied_never_runs(
        factory: Factory, busybox_rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("process_label", "mount_label"):
        container = factory.create(f"un{field}", standard(busybox_rootfs, **{field: CONTAINER}))
        with pytest.raises(SelinuxNotEnabled, match=f"^{field}: '{CONTAINER}' cannot be applied: SELinux is not"):
            run_in(container, "touch", "/ran")
        with monkeypatch.context() as patch:  # and when the caller is wrong about the host
            patch.setattr(selinux, "is_enabled", lambda: True)
            patch.setattr(selinux, "security_check_context", lambda context: None)
            with pytest.raises(ContainerError, match="EINVAL"):
                run_in(container, "touch", "/ran")
    assert not (busybox_rootfs / "ran").exists()


@pytest.mark.needs("root", "busybox", "selinux")
def test_the_program_runs_under_its_label_and_its_mounts_have_theirs(factory: Factory, busybox_rootfs: Path) -> None:
    own = new_context(selinux.getcon())
    own.level = "s0:c3,c7"
    selinux.chcon(str(busybox_rootfs), "system_u:object_r:bin_t:s0", recurse=True)  # else no policy lets it be executed
    files = "system_u:object_r:tmp_t:s0:c3,c7"
    selinux.security_check_context(own.get())
    selinux.security_check_context(files)
    config = standard(busybox_rootfs, process_label=own.get(), mount_label=files)
    with pytest.raises(ConfigInvalid, match="^process_label: the policy knows no context"):
        output_of(factory, standard(busybox_rootfs, process_label="no:such:context_t:s0"), "true")
    text = output_of(factory, config, "sh", "-c", "cat /proc/self/attr/current; echo; grep ' /dev ' /proc/self/mounts")
    assert text.split("\0")[0].split("\n")[0] == own.get()
    assert files in text
