"""Root file systems for tests: one of busybox in milliseconds, one of Debian from a cache."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import host

__all__ = ["make_busybox", "make_debian", "own_by", "remove"]

DIRECTORIES = ("bin", "dev", "etc", "home/user", "mnt", "proc", "root", "run", "sys", "usr/bin", "var")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:a user:/home/user:/bin/sh\n"
                  "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nstaff:x:50:user\nuser:x:1000:\nextra:x:1001:user\nnogroup:x:65534:\n",
    "etc/hostname": "busybox\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": "",
}


def make_busybox(root: Path) -> Path:
    """Fill *root* with a static busybox and a link per applet, the directories of a Unix, and two accounts."""
    program = shutil.which("busybox")
    assert program is not None, "mark the test: needs('busybox')"
    os.chmod(root, 0o755)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    os.mkdir(root / "tmp")
    os.chmod(root / "tmp", 0o1777)
    os.chmod(root / "root", 0o700)
    for name, text in FILES.items():
        (root / name).write_text(text)
    shutil.copyfile(program, root / "bin/busybox")
    os.chmod(root / "bin/busybox", 0o755)
    for applet in subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", root / "bin" / applet)
    if os.geteuid() == 0:
        os.chown(root / "home/user", 1000, 1000)
    return root


def own_by(root: Path, uid: int, gid: int) -> None:
    """Give a tree to an ordinary user."""
    os.chown(root, uid, gid)
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)


def remove(tree: Path) -> None:
    """Remove a tree, whatever modes a container gave its directories."""
    for folder, directories, _ in os.walk(tree):
        for name in directories:
            path = os.path.join(folder, name)
            if not os.path.islink(path) and os.stat(path).st_uid == os.geteuid():
                os.chmod(path, 0o700)
    shutil.rmtree(tree, ignore_errors=os.geteuid() != 0)  # what subordinate ids own, an ordinary user cannot remove


def _mirrors() -> list[str]:
    """The lines of a sources.list for this machine's own release, from the mirrors its apt uses."""
    fields = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
    listing = subprocess.run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = []
    for line in dict.fromkeys(listing.splitlines()):
        origin, component, codename, uri = line.split("|")
        if origin == "Debian" and component == "main":
            lines.append(f"deb {uri} {codename} main")
    if not lines:
        pytest.skip(host.skip_text("debian", "apt knows no Debian mirror; did apt-get update run?"))
    return lines


def _apt_options() -> list[str]:
    """How this machine's apt reaches its mirrors."""
    dump = subprocess.run(["apt-config", "dump"], stdout=subprocess.PIPE, text=True, check=True).stdout
    wanted = re.compile(r"Acquire::(https?|Retries|Check-Date|Check-Valid-Until|Languages)\b")
    return [f"--aptopt={line.rstrip(';')}" for line in dump.splitlines()
            if wanted.match(line) and not line.endswith(' "";')]


def make_debian(packages: tuple[str, ...] = ()) -> Path:
    """Return a minimal Debian root, from the cache or made now (half a minute); shared, so never written to.

    It is built beside its final name and renamed, so that a run that dies half-way leaves no half a Debian.
    """
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "stable").strip('"')
    recipe = ["--variant=essential", "--dpkgopt=force-unsafe-io", "--skip=check/qemu",
              *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man"))]
    if packages:
        recipe.append(f"--include={','.join(sorted(packages))}")
    key = hashlib.sha256("\n".join([suite, os.uname().machine, *recipe]).encode()).hexdigest()[:12]
    folders = host.debian_cache()
    for folder in folders:
        if (folder / f"debian-{key}/etc/debian_version").exists():
            return folder / f"debian-{key}"
    folders[0].mkdir(parents=True, exist_ok=True)
    target = folders[0] / f"debian-{key}"
    lines = _mirrors()
    with tempfile.TemporaryDirectory(prefix=".debian-", dir=folders[0]) as work:
        os.chmod(work, 0o755)
        made = Path(work) / "root"
        command = ["mmdebstrap", "--quiet", "--format=directory", *recipe, *_apt_options(), suite, str(made), "-"]
        done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise AssertionError(f"mmdebstrap failed:\n{done.stderr}")
        os.rename(made, target)
    return target
