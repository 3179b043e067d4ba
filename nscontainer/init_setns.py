"""A further process in a running container: the steps of init, less what the first process has done already.

It is born inside: the helper that cloned it has joined every namespace of the container.
"""
from __future__ import annotations

from . import init_steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .init import Step

__all__ = ["STEPS"]

STEPS: Final[tuple[Step, ...]] = (
    ("enter the cgroups", init_steps.enter_cgroups, lambda child: child.cgroups),
    ("become root of the user namespace", init_steps.become_root, lambda child: "NEWUSER" in child.namespaces),
    ("take up standard input and output", init_steps.take_stdio, None),
    ("start a session", init_steps.start_session, None),
    *init_steps.OWN_PROC,
    *init_steps.GIVE_UP_POWER,
    *init_steps.BECOME_THE_PROGRAM,
)
