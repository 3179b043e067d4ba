"""Labels of a container, from options; which folders of the host are never relabelled."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from containers import standard
from nscontainer.confinement import relabel_mounts
from nscontainer.errors import ConfigInvalid
from nscontainer.security import label, selinux
from nscontainer.security.label import (
    IncompatibleLabel,
    disable_sec_opt,
    dup_sec_opt,
    format_mount_label,
    gen_labels,
    init_labels,
    is_shared,
    relabel,
    relabel_needed,
    validate,
)

PROCESS, FILE = "system_u:system_r:svirt_t:s0:c1,c2", "system_u:object_r:svirt_file_t:s0:c1,c2"


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that SELinux is on, with contexts for containers in its policy."""
    monkeypatch.setattr(selinux, "is_enabled", lambda: True)
    monkeypatch.setattr(selinux, "get_lxc_contexts", lambda: (PROCESS, FILE))
    monkeypatch.setattr(selinux, "_reserved", {"s0:c1,c2"})
    monkeypatch.setattr(selinux, "_ATTRIBUTE", "trusted.selinux")


@pytest.fixture
def disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "_answer", [""])


# --- drawing labels up


@pytest.mark.usefixtures("disabled")
def test_without_selinux_everything_is_empty_and_nothing_is_done(tmp_path: Path) -> None:
    assert init_labels(["type:container_t"]) == init_labels() == gen_labels("") == ("", "")
    label.init()
    label.set_process_label(PROCESS)
    label.set_file_label(str(tmp_path), FILE)
    label.set_file_create_label(FILE)
    label.set_key_label(PROCESS)
    label.set_socket_label(PROCESS)
    relabel("/", FILE, True)
    assert label.get_process_label() == label.key_label() == label.socket_label() == label.get_pid_label(1) == ""


@pytest.mark.usefixtures("enabled")
def test_without_options_the_policys_contexts_are_taken() -> None:
    assert init_labels() == init_labels([]) == (PROCESS, FILE)


@pytest.mark.usefixtures("enabled")
def test_options_change_a_part_of_the_process_and_user_and_level_of_the_mounts_too() -> None:
    process, mount = init_labels(["user:user_u", "role:user_r", "type:user_t", "level:s0:c1,c15"])
    assert process == "user_u:user_r:user_t:s0:c1,c15"
    assert mount == "user_u:object_r:svirt_file_t:s0:c1,c15"
    assert gen_labels("user:user_u role:user_r type:user_t level:s0:c1,c15") == (process, mount)
    assert selinux._reserved == {"s0:c1,c15"}


@pytest.mark.usefixtures("enabled")
def test_disable_gives_no_labels_and_gives_the_level_back() -> None:
    assert init_labels(["type:user_t", "disable"]) == ("", "")
    assert selinux._reserved == set()


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("option", ["user", "user_u", "colour:blue", "", ":", "type:", "User:x"])
def test_what_is_no_option_is_refused_and_gives_the_level_back(option: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^labels\[1\]: .* is no option of a label"):
        init_labels(["type:user_t", option])
    assert selinux._reserved == set()


def test_a_mount_is_told_its_label() -> None:
    assert format_mount_label("", "") == ""
    assert format_mount_label("mode=755", "") == "mode=755"
    assert format_mount_label("", FILE) == f'context="{FILE}"'
    assert format_mount_label("mode=755", FILE) == f'mode=755,context="{FILE}"'


def test_a_label_is_repeated_as_options() -> None:
    assert dup_sec_opt("system_u:system_r:svirt_t:s0:c1,c2") == [
        "label:user:system_u", "label:role:system_r", "label:type:svirt_t", "label:level:s0:c1,c2"]
    assert disable_sec_opt() == ["label:disable"]


def test_a_level_is_reserved_and_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "_reserved", set())
    label.reserve_label(PROCESS)
    assert selinux._reserved == {"s0:c1,c2"}
    label.unreserve_label(PROCESS)
    label.unreserve_label(PROCESS)
    assert selinux._reserved == set()


# --- options of volumes


def test_a_volume_is_shared_or_private() -> None:
    for options in ("Z", "z", "", "ro,z"):
        validate(options)
    with pytest.raises(IncompatibleLabel):
        validate("zZ")
    assert [is_shared(options) for options in ("Z", "z", "Zz", "")] == [False, True, True, False]
    assert [relabel_needed(options) for options in ("Z", "z", "ro", "")] == [True, True, False, False]


# --- files


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("path", [
    "/", "//", "/etc", "/etc/", "/usr", "/usr/bin", "/var/lib", "/tmp", "/home", "/home/somebody", "/proc", "/sys",
    "/dev", "/root", "/var/../etc", "/bin"])
def test_a_folder_that_the_host_needs_is_refused_by_any_name(path: str) -> None:
    for shared in (False, True):
        with pytest.raises(ConfigInvalid, match="is not allowed"):
            relabel(path, FILE, shared)
    relabel(path, "", False)


@pytest.mark.usefixtures("enabled")
def test_a_link_to_such_a_folder_is_refused_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(ConfigInvalid, match="is not allowed"):
        relabel(str(tmp_path / "link"), FILE, False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigInvalid, match="is not allowed"):
        relabel(str(tmp_path), FILE, False)


@pytest.mark.usefixtures("enabled")
@pytest.mark.needs("root")
def test_a_private_folder_has_the_containers_level_and_a_shared_one_everybodys(tmp_path: Path) -> None:
    (tmp_path / "volume/inner").mkdir(parents=True)
    for shared, expected in ((False, FILE), (True, "system_u:object_r:svirt_file_t:s0")):
        relabel(str(tmp_path / "volume"), FILE, shared)
        assert {selinux.getfilecon(str(tmp_path / name)) for name in ("volume", "volume/inner")} == {expected}
    assert selinux.getfilecon(str(tmp_path)) == ""


@pytest.mark.usefixtures("enabled")
@pytest.mark.needs("root")
def test_the_mounts_of_a_config_are_labelled_as_they_ask(tmp_path: Path) -> None:
    for name in ("shared", "private", "neither"):
        (tmp_path / name).mkdir()
    mounts: list[dict[str, Any]] = [
        {"source": str(tmp_path / name), "destination": f"/{name}", "device": "bind", "flags": 4096, "relabel": letter}
        for name, letter in (("shared", "z"), ("private", "Z"), ("neither", ""))]
    relabel_mounts(standard("/", mounts=mounts, mount_label=FILE))
    assert [selinux.getfilecon(str(tmp_path / name)) for name in ("shared", "private", "neither")] == [
        "system_u:object_r:svirt_file_t:s0", FILE, ""]
    mounts[1]["source"] = "/etc"
    with pytest.raises(ConfigInvalid, match=r"^mounts\[1\]\.relabel: relabelling '/etc' is not allowed"):
        relabel_mounts(standard("/", mounts=mounts, mount_label=FILE))


# --- where SELinux is


@pytest.mark.needs("root", "selinux")
def test_the_kernel_takes_the_labels_of_a_thread_and_gives_them_back(in_child: Any) -> None:
    def take() -> list[str]:
        own = selinux.getcon()
        assert own == selinux.getpidcon(os.getpid()) == label.get_pid_label(os.getpid())
        selinux.setexeccon(own)
        label.set_file_create_label("system_u:object_r:tmp_t:s0")
        label.set_socket_label(own)
        label.set_key_label(own)
        taken = [label.get_process_label(), selinux.getfscreatecon(), label.socket_label(), label.key_label()]
        assert taken == [own, "system_u:object_r:tmp_t:s0", own, own]
        selinux.setexeccon("")
        for reset in (label.set_file_create_label, label.set_socket_label, label.set_key_label):
            reset("")
        return [label.get_process_label(), selinux.getfscreatecon(), label.socket_label(), label.key_label()]

    assert selinux.is_enabled()
    assert in_child(take) == ["", "", "", ""]


@pytest.mark.needs("root", "selinux")
def test_the_kernel_takes_labels_of_files(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    relabel(str(tmp_path / "volume"), "system_u:object_r:tmp_t:s0:c1,c2", False)
    assert selinux.getfilecon(str(tmp_path / "volume")) == "system_u:object_r:tmp_t:s0:c1,c2"
