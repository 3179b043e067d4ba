"""AppArmor: the profile for the next execve, and never none in its place."""
from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, output_of, run_in, standard, with_user_namespace
from nscontainer import PIPE, CommandHook, ContainerError, Factory, Hooks, Process
from nscontainer.config import Command
from nscontainer.errors import SetupError, SyscallError
from nscontainer.security import apparmor, procfs
from nscontainer.security.apparmor import ApparmorNotEnabled, apply_profile, current_profile, is_enabled
from test_security_procfs import fake, refusing

# The name of a container's files begins where its root is attached; outside of it, nowhere.
PROFILE = """
abi <abi/3.0>,
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  signal,
  unix,
  ptrace,
  mount,
  deny /etc/secret r,
}}
"""


@pytest.mark.parametrize(("content", "enabled"), [("Y\n", True), ("N\n", False), ("", False), (None, False)])
def test_the_kernels_parameter_says_whether_it_is_enabled(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, enabled: bool) -> None:
    if content is not None:
        (tmp_path / "enabled").write_text(content)
    monkeypatch.setattr(apparmor, "_ENABLED", str(tmp_path / "enabled"))
    assert is_enabled() is enabled


def test_a_profile_is_asked_for_by_one_write(tmp_path: Path) -> None:
    proc = fake(tmp_path, "apparmor/exec")
    apply_profile("web//&:ns:base", proc)
    assert (tmp_path / "thread-self/attr/apparmor/exec").read_text() == "exec web//&:ns:base"
    os.close(proc)


def test_no_profile_is_no_write() -> None:
    apply_profile("", -1)  # nobody looks at the descriptor


def test_where_there_is_no_apparmor_to_ask_for_a_profile_is_an_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apparmor, "_ENABLED", str(tmp_path / "nothing"))
    (tmp_path / "thread-self/attr").mkdir(parents=True)
    proc = fake(tmp_path)
    with pytest.raises(ApparmorNotEnabled, match="'web': AppArmor is not enabled"):
        apply_profile("web", proc)
    os.close(proc)


def test_why_the_kernel_refused_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "enabled").write_text("Y")
    monkeypatch.setattr(apparmor, "_ENABLED", str(tmp_path / "enabled"))
    proc = fake(tmp_path, "apparmor/exec")
    for number, words in ((2, "no such profile is loaded"), (22, "not the name of a profile"), (13, "change_profile")):
        monkeypatch.setattr(procfs, "write_all", refusing("write", number))
        with pytest.raises(SyscallError, match=words):
            apply_profile("web", proc)
    os.close(proc)


@pytest.mark.needs("root", "busybox")
def test_a_container_whose_profile_cannot_be_applied_never_runs(
        factory: Factory, busybox_rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = standard(busybox_rootfs, apparmor_profile="nscontainer-no-such-profile")
    container = factory.create("unconfined", config)
    with pytest.raises(ContainerError, match=r"AppArmor is not enabled|no such profile is loaded"):
        run_in(container, "touch", "/ran")
    # And when the caller is wrong about the host, the child says no.
    monkeypatch.setattr(apparmor, "is_enabled", lambda: True)
    with pytest.raises(SetupError, match=r"AppArmor is not enabled|no such profile is loaded") as caught:
        run_in(container, "touch", "/ran")
    assert caught.value.step == "label the program"
    assert not (busybox_rootfs / "ran").exists()


# --- where AppArmor is


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    """Load a profile that denies /etc/secret; unload it afterwards."""
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin")
    if parser is None:
        pytest.skip("no apparmor_parser")
    name = f"nscontainer-test-{os.getpid()}"
    file = tmp_path / "profile"
    file.write_text(PROFILE.format(name=name))
    subprocess.run([parser, "-Kr", file], check=True)
    yield name
    subprocess.run([parser, "-R", file], check=True)


needs_apparmor = pytest.mark.needs("root", "busybox", "apparmor")


@needs_apparmor
def test_the_kernel_says_who_we_are() -> None:
    assert current_profile() == current_profile(os.getpid()) != ""


@needs_apparmor
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_program_runs_under_its_profile(
        factory: Factory, busybox_rootfs: Path, profile: str, user: bool, no_new_privileges: bool) -> None:
    (busybox_rootfs / "etc").mkdir(exist_ok=True)
    (busybox_rootfs / "etc/secret").write_text("secret")
    (busybox_rootfs / "etc/known").write_text("known")
    fields: dict[str, Any] = {"apparmor_profile": profile, "no_new_privileges": no_new_privileges}
    config = with_user_namespace(busybox_rootfs, size=65536, **fields) if user else standard(busybox_rootfs, **fields)
    text = output_of(factory, config, "sh", "-c",
                     "cat /proc/self/attr/apparmor/current /etc/known /etc/secret 2>&1; exit 0")
    assert text.startswith(f"{profile} (enforce)\nknown")
    assert text.endswith("can't open '/etc/secret': Permission denied\n")
    assert "unconfined" in output_of(factory, standard(busybox_rootfs), "cat", "/proc/self/attr/apparmor/current")


@needs_apparmor
def test_a_further_process_has_it_too_and_so_have_hooks_of_the_image(
        factory: Factory, busybox_rootfs: Path, profile: str) -> None:
    label = "cat /proc/self/attr/apparmor/current"
    config = standard(busybox_rootfs, apparmor_profile=profile)
    config.hooks = Hooks(start_container=(
        CommandHook(command=Command(path="/bin/sh", args=("sh", "-c", f"{label} > /hook"))),))
    with factory.create("further", config) as container:
        first = Process(["cat"], env=ENVIRONMENT, stdin=PIPE)
        container.start(first)
        assert run_in(container, "sh", "-c", label)[0] == f"{profile} (enforce)\n"
        assert (busybox_rootfs / "hook").read_text() == f"{profile} (enforce)\n"
        first.stdin.close()
        assert first.wait(timeout=20).returncode == 0


@needs_apparmor
@pytest.mark.parametrize("user", [False, True])
def test_a_container_that_hides_its_proc_cannot_keep_a_further_process_unconfined(
        factory: Factory, busybox_rootfs: Path, profile: str, user: bool) -> None:
    """CVE-2015-1334: who entered a container wrote the label into a file of the container's."""
    fields: dict[str, Any] = {"apparmor_profile": profile, "readonly_paths": [], "mask_paths": [],
                              "capabilities": ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]}
    config = with_user_namespace(busybox_rootfs, size=65536, **fields) if user else standard(busybox_rootfs, **fields)
    (busybox_rootfs / "real").mkdir()
    trap = ("mount -t proc proc /real && mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/attr/apparmor "
            "/proc/thread-self/attr/apparmor && touch /proc/self/attr/apparmor/exec "
            "/proc/thread-self/attr/apparmor/exec && echo set; cat")
    with factory.create("trap", config) as container:
        first = Process(["sh", "-c", trap], env=ENVIRONMENT, stdin=PIPE, stdout=PIPE)
        container.start(first)
        assert first.stdout.readline() == b"set\n"
        further = run_in(container, "cat", "/real/self/attr/apparmor/current", "/proc/thread-self/attr/apparmor/exec")
        first.stdin.close()
        first.stdout.close()
        assert first.wait(timeout=20).returncode == 0
        assert further[0] == f"{profile} (enforce)\n"


@needs_apparmor
def test_two_profiles_can_be_stacked(factory: Factory, busybox_rootfs: Path, profile: str) -> None:
    config = standard(busybox_rootfs, apparmor_profile=f"unconfined//&{profile}")
    text = output_of(factory, config, "cat", "/proc/self/attr/apparmor/current")
    assert profile in text
    assert "//&" in text


@needs_apparmor
def test_a_profile_that_is_not_loaded_is_an_error(in_child: Any) -> None:
    def ask() -> str:
        with pytest.raises(SyscallError) as caught:
            apply_profile("nscontainer-no-such-profile")
        return str(caught.value)

    assert "no such profile is loaded" in in_child(ask)
