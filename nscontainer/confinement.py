"""What the host must have before a confined program may start: the security modules that its description names.

A program whose fence is missing must not run. The child would find that out as well, and fail; here it is found before
there is a process, and said in the words of the description.
"""
from __future__ import annotations

from errno import EACCES

from .errors import ConfigInvalid, SyscallError
from .security import apparmor, label, landlock, selinux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config

__all__ = ["relabel_mounts", "require"]


def require(config: Config) -> None:
    """Raise unless this kernel has every security module that *config* asks for."""
    if config.apparmor_profile and not apparmor.is_enabled():
        raise apparmor.ApparmorNotEnabled(
            f"apparmor_profile: {config.apparmor_profile!r} cannot be applied: AppArmor is not enabled on this kernel",
            hint="leave it out to run without")
    for name in ("process_label", "mount_label"):
        value = getattr(config, name)
        if value:
            _check_context(name, value)
    if config.landlock is not None:
        landlock.check(config.landlock, landlock.abi())


def _check_context(name: str, value: str) -> None:
    if not selinux.is_enabled():
        raise selinux.SelinuxNotEnabled(f"{name}: {value!r} cannot be applied: SELinux is not enabled on this kernel",
                                        hint="leave it out to run without")
    try:
        selinux.security_check_context(value)
    except ConfigInvalid as error:
        raise ConfigInvalid(name, error.problem, hint="seinfo(1) lists what the policy knows") from None
    except SyscallError as error:
        if error.errno != EACCES:  # not everybody may ask; the child, or the mount, is told in any case
            raise


def relabel_mounts(config: Config) -> None:
    """Label the folders of the host that the container is given and that ask for it: z and Z."""
    for index, mount in enumerate(config.mounts):
        if mount.relabel:
            try:
                label.relabel(mount.source, config.mount_label, label.is_shared(mount.relabel))
            except ConfigInvalid as error:
                raise ConfigInvalid(f"mounts[{index}].relabel", error.problem, hint=error.hint) from None
