#!/usr/bin/env python3
"""Run a command, or the suite, in a guest with pure cgroup v2, every controller, systemd and AppArmor.

    tests/vm/vm.py                                  the suite, as root
    tests/vm/vm.py --user tester                    ... as an ordinary user with a systemd of its own
    tests/vm/vm.py -- python3 -m pytest tests/test_cgroups.py

The guest is a Debian in qemu that is made once, in a minute or two: by root, with mmdebstrap and e2fsprogs, from the
mirror that apt is configured with, on x86_64. It gets a copy of this tree, and what it writes is thrown away. Without
KVM it computes ten times as slowly as its host.

Exit status: the command's own; 124 when the time ran out; 125 when the guest failed.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import io
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["main"]

TREE = Path(__file__).resolve().parent.parent.parent
TIMED_OUT, FAILED = 124, 125
PR_SET_PDEATHSIG = 1
SUITE, USER = "bookworm", "tester"
# Of qemu the next Debian's: it emulates several times as fast as this one's.
QEMU = ("trixie", "qemu-system-x86")
PACKAGES = (
    "linux-image-cloud-amd64", "initramfs-tools", "zstd", "systemd-sysv", "udev", "dbus", "dbus-user-session",
    "libpam-systemd", "apparmor", "procps", "iproute2", "python3-venv", "python3-pytest", "python3-pytest-timeout",
    "busybox-static", "uidmap", "attr", "strace")
FILES = {
    "etc/hostname": "guest\n", "etc/hosts": "127.0.0.1 localhost guest\n", "etc/fstab": "", "etc/resolv.conf": "",
    "etc/subuid": f"{USER}:100000:65536\n", "etc/subgid": f"{USER}:100000:65536\n",
    "etc/systemd/journald.conf.d/vm.conf": "[Journal]\nStorage=volatile\n",
    # What systemd lends to an ordinary user is memory and pids, as a rule.
    "etc/systemd/system/user@.service.d/vm.conf": "[Service]\nDelegate=cpu cpuset io memory pids\n",
    "etc/systemd/system/vm.service":
        "[Unit]\nAfter=basic.target dbus.service systemd-logind.service\nRequires=basic.target dbus.service\n"
        "[Service]\nType=exec\nExecStartPre=/bin/mkdir /src\nExecStartPre=/bin/tar -xf /dev/vdb -C /src\n"
        "ExecStart=/bin/sh /src/tests/vm/guest.sh\nTimeoutStartSec=infinity\n",
}
IDLE_UNITS = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
              "e2scrub_reap.service", "fstrim.timer", "getty.target", "systemd-update-utmp.service",
              "systemd-journal-flush.service", "systemd-random-seed.service", "ldconfig.service")
KERNEL = ("root=/dev/vda rw quiet panic=-1 oops=panic mitigations=off console=ttyS0 apparmor=1 security=apparmor "
          "tsc=reliable no_timer_check")
LEFT_OUT = {".git", ".tox", ".venv", "__pycache__", "build", "dist"}


class GuestFailed(Exception):
    """The guest could not be made, or did not live to run the command."""


def run(*command: str | Path, **options: Any) -> str:
    """Run a tool and return what it says; GuestFailed with its last words."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    except FileNotFoundError:
        raise GuestFailed(f"no {command[0]} here: the guest needs mmdebstrap and e2fsprogs") from None
    if done.returncode:
        raise GuestFailed(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return str(done.stdout)


# --- making it

def debootstrap(suite: str, root: Path, packages: tuple[str, ...], *options: str) -> None:
    """Fill *root* with packages of a Debian, from the mirrors of this machine's apt."""
    listing = run("apt-get", "indextargets", "--format", "$(LABEL)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages")
    mirrors = {label: uri for label, component, uri in (line.split("|") for line in listing.splitlines()
                                                        if line.count("|") == 2) if component == "main"}
    if "Debian" not in mirrors:
        raise GuestFailed("apt knows no Debian mirror here: has apt-get update been run?")
    sources = [f"deb {mirrors['Debian']} {suite} main"]
    if "Debian-Security" in mirrors:
        sources.append(f"deb {mirrors['Debian-Security']} {suite}-security main")
    wanted = re.compile(r"Acquire::(https?|Retries|Check-Date|Check-Valid-Until)\b")
    own = [f"--aptopt={line.rstrip(';')}" for line in run("apt-config", "dump").splitlines()
           if wanted.match(line) and not line.endswith(' "";')]
    run("mmdebstrap", "--quiet", "--mode=root", "--format=directory", f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"', *own, *options, suite, root, "-", input="\n".join(sources) + "\n",
        env={**os.environ, "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"})


def make(target: Path) -> None:
    """Make the guest's disk, and take qemu from where it is good."""
    if os.geteuid() != 0:
        raise GuestFailed("it takes root to make the guest, once; then anybody can run it")
    with tempfile.TemporaryDirectory(prefix=".vm-", dir=target.parent) as work:
        image, root = Path(work, "image"), Path(work, "root")
        image.mkdir()
        image.chmod(0o755)
        debootstrap(QEMU[0], image / "qemu", QEMU[1:], "--variant=extract")
        few = ('cd "$1/etc" && mkdir -p initramfs-tools/conf.d && echo MODULES=list >initramfs-tools/conf.d/vm && '
               "printf 'virtio_pci\\nvirtio_blk\\next4\\n' >initramfs-tools/modules")
        debootstrap(SUITE, root, PACKAGES, "--variant=apt", f"--essential-hook={few}",
                    "--dpkgopt=force-unsafe-io", "--dpkgopt=force-confold",
                    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")))
        run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", USER)
        units = root / "etc/systemd/system"
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).unlink(missing_ok=True)
            (root / name).write_text(text)
        for name in IDLE_UNITS:
            (units / name).unlink(missing_ok=True)
            (units / name).symlink_to("/dev/null")
        (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        (units / "multi-user.target.wants/vm.service").symlink_to("../vm.service")
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(next((root / "boot").glob(f"{name}-*")), image / name)
            (image / name).chmod(0o644)
        run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root, image / "disk", "3G")
        image.rename(target)


def made() -> Path:
    """Return the directory of the guest; its name says what it was made of."""
    recipe = repr((SUITE, QEMU, PACKAGES, FILES, IDLE_UNITS))
    own = os.environ.get("XDG_CACHE_HOME")
    cache = Path(own, "nscontainer-tests") if own else Path("/var/cache/nscontainer-tests")
    target = cache / f"vm-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / ".vm-lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever else wants it waits until it is there
            if not target.exists():
                print(f"making {target}", file=sys.stderr)
                make(target)
    return target


# --- running it

def pack(target: Path, user: str, mark: str, command: list[str]) -> None:
    """Write the tree and the job to what will be the guest's second disk."""
    def chosen(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = os.path.basename(member.name)
        return None if name in LEFT_OUT or name.endswith(("_cache", ".egg-info")) else member

    job = f"export NSCONTAINER_VM=1 LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1\ncd /src\nexec {shlex.join(command)}\n"
    with tarfile.open(target, "w") as archive:
        archive.add(TREE, arcname=".", filter=chosen)
        for name, text in (("settings", f"user={user} mark={mark}\n"), ("job", job)):
            member = tarfile.TarInfo(f".vm/{name}")
            member.size, member.mode = len(text.encode()), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    with open(target, "r+b") as file:
        file.truncate(-(-target.stat().st_size // 512) * 512)


def _die_with_us() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def booted(image: Path, disk: Path, console: Path, memory: int, append: str) -> Iterator[subprocess.Popen[bytes]]:
    """A guest that runs; what its second serial line says is the process's stdout."""
    usr = image / "qemu/usr"
    libraries = usr / "lib/x86_64-linux-gnu"
    # With several threads the guest's kernel crashes where it patches its own code: qemu 11.1 and before.
    accelerator = os.environ.get("NSCONTAINER_VM_ACCEL", "tcg,thread=single")
    command: list[str | Path] = [
        libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, usr / "bin/qemu-system-x86_64",
        "-L", usr / "share/qemu", "-L", usr / "share/seabios", "-accel", accelerator, "-machine", "q35",
        "-cpu", "host" if accelerator.startswith("kvm") else "Nehalem,+rdrand", "-smp", "2", "-m", str(memory),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
        "-kernel", image / "vmlinuz", "-initrd", image / "initrd.img", "-append", f"{KERNEL} {append}",
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-chardev", "file,id=job,path=/dev/stdout", "-serial", "chardev:job", "-device", "virtio-rng-pci",
        "-drive", f"if=virtio,file={image / 'disk'},format=raw,cache=unsafe,snapshot=on",
        "-drive", f"if=virtio,file={disk},format=raw,readonly=on"]
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               preexec_fn=_die_with_us,  # noqa: PLW1509  we have no threads
                               env={**os.environ, "QEMU_MODULE_DIR": str(libraries / "qemu"),
                                    "TMPDIR": str(disk.parent)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def follow(process: subprocess.Popen[bytes], mark: bytes, deadline: float) -> int:
    """Pass on what the guest says, until it says how the command has ended."""
    assert process.stdout is not None
    held = b""
    while select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            raise GuestFailed("the guest went down before the command ended")
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            before, found, status = line.partition(mark + b" ")
            sys.stdout.buffer.write(before if found else line + b"\n")
            if found:
                return int(status)
        sys.stdout.buffer.flush()
    return TIMED_OUT


def main() -> int:
    """Make the guest if need be, run the command in it, and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", default="root", choices=("root", USER))
    parser.add_argument("--timeout", type=float, default=3600, metavar="SECONDS", help="of all but the making")
    parser.add_argument("--memory", type=int, default=4096, metavar="MIB")
    parser.add_argument("--append", default="", metavar="WORDS",
                        help="for the kernel; systemd.unified_cgroup_hierarchy=0 brings cgroup v1 beside v2")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and so through every "finally"
    mark = secrets.token_hex(12)
    try:
        image = made()
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="nscontainer-vm-", dir="/var/tmp") as work:
            disk, console = Path(work, "tree.tar"), Path(work, "console")
            pack(disk, arguments.user, mark, arguments.command or ["python3", "-m", "pytest", "-q"])
            try:
                with booted(image, disk, console, arguments.memory, arguments.append) as process:
                    status = follow(process, mark.encode(), started + arguments.timeout)
            except GuestFailed as error:
                said = console.read_text(errors="replace") if console.exists() else ""
                raise GuestFailed(f"{error}\n{said[-4000:]}") from None
    except GuestFailed as error:
        print(f"vm: {error}", file=sys.stderr)
        return FAILED
    sys.stdout.flush()
    print(f"vm: status {status} after {time.monotonic() - started:.1f} s", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
