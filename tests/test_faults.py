"""Every call fails once: an error that says which, and neither a program nor anything else left.

A start is walked by making its first call fail, then its second, and so on, until a run is not disturbed any more.
Where the code goes on without a call, the program must find its container complete: it writes down what it sees, and
that is compared with what it sees when nothing fails.
"""
from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from errno import EIO, EINTR, ENOMEM, ENOSPC, ENOSYS, EPERM, errorcode
from pathlib import Path
from typing import Any

import pytest

from containers import ENVIRONMENT, MOUNTS, standard, with_user_namespace
from faults import CALLER, CHILD, FURTHER, ZYGOTE, Faults, init_args
from leftovers import SEEN, Leftovers
from nscontainer import Config, Container, ContainerError, Factory, Process
from nscontainer.sys.fds import poll
from nscontainer.sys.mount import MS

pytestmark = pytest.mark.needs("root", "busybox")

# The program: "ran" at once, then what it sees of its container. Its descriptor 3 is the pipe's end.
PROGRAM = r"""
echo ran >&3; exec >&3 2>&1
hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmni /proc/self/oom_score_adj
pwd; umask; ulimit -n; ulimit -Hn; env
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status
cut -d' ' -f4- /proc/self/mountinfo
stat -c '%n %F %a %u %g %t:%T' /dev/* /dev/
readlink /dev/* /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2
ls /proc/self/fd /mnt
cat /proc/self/timens_offsets; echo $$
cat /proc/version; ls /sys/firmware; echo written > /proc/sys/kernel/shmmni; echo written > /etc/hostname
for kind in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$kind; done
ip link show lo
"""


class Outcome:
    """How one start went: its error, what its program wrote, and the call that failed before either."""

    def __init__(self, error: ContainerError | None, report: str, failed: str) -> None:
        self.error, self.report, self.failed = error, report, failed


class Stage:
    """Containers that are made of one configuration, and calls that fail while they are."""

    def __init__(self, factory: Factory, faults: Faults, ids: Callable[[], str], make: Callable[[], Container] | None = None,
                 config: Config | None = None, **fields: Any) -> None:
        self.factory, self.faults, self.ids = factory, faults, ids
        self.config, self.fields = config, fields

