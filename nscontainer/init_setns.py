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
    ("begin on the right CPUs", init_steps.enter_on_cpus,
        lambda child: child.config.exec_cpu_affinity and child.config.exec_cpu_affinity.initial),
    ("enter the cgroups", init_steps.enter_cgroups, lambda child: child.cgroups),
    ("choose the CPUs", init_steps.run_on_cpus,
        lambda child: child.config.exec_cpu_affinity and child.config.exec_cpu_affinity.final),
    ("become root of the user namespace", init_steps.become_root, lambda child: "NEWUSER" in child.namespaces),
    ("take up standard input and output", init_steps.take_stdio, None),
    ("start a session", init_steps.start_session, None),
    ("make a terminal", init_steps.make_terminal, lambda child: child.terminal),
    *init_steps.OWN_PROC,
    *init_steps.GIVE_UP_POWER,
    *init_steps.BECOME_THE_PROGRAM,
)
