"""Labels of a container: chosen from options, put on its process, its mounts and the files it is given.

Lesson  A label is drawn up once, for process and files alike; from then on the policy keeps the two together.
Read    selinux(8), mount(8) on context=, docker-run(1) on --security-opt label and on the z and Z of volumes

Without SELinux every function does nothing and returns what is empty. A container whose description names a label is
refused there all the same: confinement.py.
"""
from __future__ import annotations

import os

from ..errors import ConfigInvalid
from . import selinux
from .selinux import disable_sec_opt, dup_sec_opt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "REFUSED", "IncompatibleLabel", "disable_sec_opt", "dup_sec_opt", "format_mount_label", "gen_labels",
    "get_pid_label", "get_process_label", "init", "init_labels", "is_shared", "key_label", "relabel", "relabel_needed",
    "reserve_label", "set_file_create_label", "set_file_label", "set_key_label", "set_process_label",
    "set_socket_label", "socket_label", "unreserve_label", "validate",
]

# Folders that the host cannot do without, each refused itself; below them one may relabel what is one's own.
REFUSED = frozenset((
    "/", "/bin", "/boot", "/dev", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home", "/lib", "/lib64", "/media",
    "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log"))
_OPTIONS = ("user", "role", "type", "level")


class IncompatibleLabel(ConfigInvalid):
    """A volume cannot be shared (z) and private (Z) at once."""


def init() -> None:
    """Find out whether SELinux is on, while the host's files are in sight."""
    selinux.is_enabled()


def init_labels(options: Iterable[str] = ()) -> tuple[str, str]:
    """Draw up the labels of a new container's process and mounts, at a level that nobody else has.

    The policy's own contexts for containers are the start. An option ``type:container_t``, or of user, role or level,
    changes that part; user and level change it for the mounts too. ``disable`` gives two empty labels.
    """
    process, mount = selinux.get_lxc_contexts()
    if not process:
        return "", ""
    own, files, drawn = selinux.new_context(process), selinux.new_context(mount), process
    try:
        for index, option in enumerate(options):
            if option == "disable":
                selinux.free_lxc_contexts(drawn)
                return "", ""
            name, colon, value = option.partition(":")
            if not colon or not value or name not in _OPTIONS:
                raise ConfigInvalid(f"labels[{index}]", f"{option!r} is no option of a label",
                                    hint=f"'disable', or one of {', '.join(_OPTIONS)} with a colon and a value")
            setattr(own, name, value)
            if name in ("user", "level"):
                setattr(files, name, value)
    except BaseException:
        selinux.free_lxc_contexts(drawn)
        raise
    if own.level != selinux.new_context(drawn).level:
        selinux.free_lxc_contexts(drawn)
        selinux.reserve_label(own.get())
    return own.get(), files.get()


def gen_labels(options: str) -> tuple[str, str]:
    """Draw up labels from options that are separated by spaces: init_labels is better."""
    return init_labels(options.split())


def format_mount_label(data: str, label: str) -> str:
    """Add a label to the options of a mount."""
    if not label:
        return data
    return f'{data},context="{label}"' if data else f'context="{label}"'


# -------------------------------------------------------------------------------------------- of the calling thread

def set_process_label(label: str) -> None:
    """Have the next execve take *label*; nothing happens when that is empty."""
    if label and _on():
        selinux.setexeccon(label)


def get_process_label() -> str:
    """Return the label that the next execve takes."""
    return selinux.getexeccon() if _on() else ""


def set_file_create_label(label: str) -> None:
    """Label files that are made from now on; empty: as the policy says."""
    if _on():
        selinux.setfscreatecon(label)


def set_key_label(label: str) -> None:
    """Label keys that are made from now on; empty: as the policy says."""
    if _on():
        selinux.setkeycreatecon(label)


def key_label() -> str:
    """Return the label of keys that are made from now on."""
    return selinux.getkeycreatecon() if _on() else ""


def set_socket_label(label: str) -> None:
    """Label sockets that are made from now on; empty: as the policy says."""
    if _on():
        selinux.setsockcreatecon(label)


def socket_label() -> str:
    """Return the label of sockets that are made from now on."""
    return selinux.getsockcreatecon() if _on() else ""


def get_pid_label(pid: int) -> str:
    """Return the label of a process."""
    return selinux.getpidcon(pid) if _on() else ""


def _on() -> bool:
    return selinux.is_enabled()


# ---------------------------------------------------------------------------------------------------------- of files

def set_file_label(path: str, label: str) -> None:
    """Label a file, a symlink itself; nothing happens when *label* is empty."""
    if label and _on():
        selinux.setfilecon(path, label)


def relabel(path: str, label: str, shared: bool) -> None:
    """Label a folder of the host, and all below it, for a container; or at s0 for all containers, when *shared*.

    REFUSED and the home of root or of an ordinary user are not for that, under whatever name: the host would lose them.
    """
    if not label or not _on():
        return
    real = os.path.realpath(path)
    if real in REFUSED or os.path.dirname(real) == "/home" or real == os.path.realpath(os.environ.get("HOME") or "/"):
        raise ConfigInvalid("", f"relabelling {path!r} is not allowed: the host needs its label",
                            hint="give the container a folder of its own")
    if shared:
        context = selinux.new_context(label)
        context.level = "s0"
        label = context.get()
    selinux.chcon(real, label, recurse=True)


def validate(options: str) -> None:
    """Refuse a volume that is to be shared and private."""
    if "z" in options and "Z" in options:
        raise IncompatibleLabel("", f"{options!r}: a label is shared (z) or private (Z), not both")


def relabel_needed(options: str) -> bool:
    """Say whether a volume's options ask for a label."""
    return "z" in options or "Z" in options


def is_shared(options: str) -> bool:
    """Say whether a volume's options ask for a label that all containers share."""
    return "z" in options


# -------------------------------------------------------------------------------------------------------- categories

def reserve_label(label: str) -> None:
    """Take note that a container runs with *label*, so that nobody else gets its level."""
    selinux.reserve_label(label)


def unreserve_label(label: str) -> None:
    """Take note that no container runs with *label* any more."""
    selinux.free_lxc_contexts(label)
