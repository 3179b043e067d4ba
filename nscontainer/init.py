"""Process 1 of a new container: a table of steps that ends in the user's program.

The order is the lesson. While the host's files are still in sight, everything that needs them is done; then the root
changes, and nothing is opened by a name of the host again; then power is given up, each right only after the last
step that needs it. A step that fails ends the process: the program never runs in half a container.
"""
from __future__ import annotations

import os

from . import hooks, init_steps, sync, warm
from .config import Command, CommandHook, Config
from .mounts import dev, pivot, resolve, restrict, rootfs
from .network import inside
from .security.capabilities import Sets
from .sys.clone import CLONE, unshare
from .sys.files import close
from .sys.prctl import set_dumpable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from .sync import Message

    Step = tuple[str, Callable[["Child"], object], Callable[["Child"], object] | None]

__all__ = ["STEPS", "Child", "introduce"]


def introduce(link: int, new_user: bool) -> tuple[Message, list[int]]:
    """Wait until the caller has done its part outside, and hear what to be."""
    if new_user:
        # /proc/PID/uid_map of a process that is not dumpable belongs to the host's root, and the caller may be
        # anybody. There is nothing to be seen in here yet, and nobody else in the namespace to look.
        set_dumpable(True)
        sync.send(link, {"map": True})
    message, descriptors = sync.receive(link)
    if new_user:
        set_dumpable(False)
    if message is None:  # the caller wanted the namespace only, or has given up
        os._exit(0)
    return message, descriptors


class Child:
    """What the steps know and find out about the process they make."""

    proc = ruleset = -1  # a /proc of our own, and Landlock's rules, from the steps that open them
    root_fd = -1  # the container's root, from "open the root filesystem" to "enter it"

    def __init__(self, link: int, message: Message, descriptors: list[int]) -> None:
        self.link = link
        self.config: Config = Config.unpack(message["config"])
        self.args: list[str] = message["args"]
        self.env: list[str] = message["env"]
        self.user: str = message["user"]
        self.cwd: str = message["cwd"]
        self.stdio = [descriptors[index] for index in message["stdio"]]
        self.console: int | None = None if message["console"] is None else descriptors[message["console"]]
        self.console_path: str | None = message["console_path"]
        self.cgroups: list[int] = [descriptors[index] for index in message["cgroups"]]
        self.extra_files = [None if index is None else descriptors[index] for index in message["extra"]]
        self.mount_maps = {int(at): descriptors[index] for at, index in message["mount_maps"].items()}
        self.hooks: dict[str, list[Message | None]] = message["hooks"]
        self.state: Message = message["state"]
        self.last_cap: int = message["last_cap"]
        self.filter: Message | None = message["seccomp"]
        self.terminal: list[int] | None = message["terminal"]
        self.gate = -1 if message["gate"] is None else descriptors[message["gate"]]
        self.capabilities: Sets = Sets(*message["capabilities"])
        self.namespaces: dict[str, str] = {namespace.type: namespace.path for namespace in self.config.namespaces}
        self.home = "/"
        self.look: warm.Look | None = warm.look() if message["look"] else None

    def creates(self, kind: str) -> bool:
        """Say whether this process is the first of a namespace of its own of that kind."""
        return self.namespaces.get(kind) == ""

    def ask(self, message: Message) -> None:
        """Ask the caller to do something out there, and wait until it is done."""
        sync.send(self.link, message)
        answer, _ = sync.receive(self.link)
        if answer is None:
            os._exit(1)  # the caller is gone, or will tell its user itself what it could not do


def new_mounts(child: Child) -> bool:
    """A mount namespace of our own: only then is there a root to build."""
    return child.creates("NEWNS")


def run_hooks(kind: str) -> Callable[[Child], None]:
    """Make the step that runs one kind of the hooks that belong inside the container's namespaces."""

    def step(child: Child) -> None:
        child.state["pid"] = os.getpid()
        for index, hook in enumerate(child.hooks[kind]):
            if hook is None:  # a Python callable: it lives in the caller
                child.ask({"hook": kind, "index": index})
            else:
                hooks.run(CommandHook.unpack(hook), child.state, inherit_env=False)

    return step


def _mount_all(child: Child) -> None:
    rootfs.mount_all(child.root_fd, child.config, _run_command, child.mount_maps)


def _run_command(command: Command) -> None:
    hooks.run_command(command)


def _open_root(child: Child) -> None:
    child.root_fd = rootfs.open_root(child.config)


def _populate_dev(child: Child) -> None:
    made = dev.populate(child.root_fd, child.config, child.console, child.console_path,
                        terminal=child.terminal is not None)
    if made is not None:
        init_steps.take_terminal(child, *made)
    dev.reopen_null(child.root_fd, (0, 1, 2))


def _enter_root(child: Child) -> None:
    pivot.enter(child.root_fd, child.config)
    close(child.root_fd)


def introduce_again(child: Child) -> None:
    """Let the caller run the hooks that belong outside: prestart, then createRuntime."""
    child.ask({"hook": "create_runtime", "index": None})


STEPS: Final[tuple[Step, ...]] = (
    # the host's files are still here
    ("enter the cgroups", init_steps.enter_cgroups, lambda child: child.cgroups),
    ("become root of the user namespace", init_steps.become_root,
        lambda child: "NEWUSER" in child.namespaces),
    ("take up standard input and output", init_steps.take_stdio, None),
    ("start a session", init_steps.start_session, None),
    *init_steps.OWN_PROC,
    ("adjust the out-of-memory score", init_steps.adjust_oom_score, init_steps.needs_oom_score),
    ("make a cgroup namespace", lambda child: unshare(CLONE.NEWCGROUP),   # after the caller has put us in our cgroup
        lambda child: child.creates("NEWCGROUP")),
    ("configure the network", lambda child: inside.configure_inside(child.config.networks, child.config.routes),
        lambda child: child.config.networks or child.config.routes),
    ("name the host", init_steps.name_host,
        lambda child: child.config.hostname or child.config.domainname),
    ("set kernel parameters", init_steps.set_sysctls, lambda child: child.config.sysctl),
    ("open the root filesystem", _open_root, new_mounts),
    ("mount the container's filesystems", _mount_all, new_mounts),
    ("make the container's devices", _populate_dev, lambda child: new_mounts(child) and child.config.devices),
    ("make a terminal", init_steps.make_terminal,
        lambda child: child.terminal and not (new_mounts(child) and child.config.devices)),
    ("wait for the hooks outside", introduce_again, lambda child: child.hooks["create_runtime"]),
    ("run the createContainer hooks", run_hooks("create_container"), lambda child: child.hooks["create_container"]),
    ("make the working directory", lambda child: close(resolve.made(child.root_fd, child.cwd)),
        lambda child: new_mounts(child) and child.config.make_cwd),
    ("make paths read-only", lambda child: restrict.make_readonly(child.root_fd, child.config.readonly_paths),
        lambda child: new_mounts(child) and child.config.readonly_paths),
    ("mask paths", lambda child: restrict.mask(child.root_fd, child.config.mask_paths),
        lambda child: new_mounts(child) and child.config.mask_paths),
    ("make the root read-only", lambda child: restrict.readonly_root(child.root_fd),
        lambda child: new_mounts(child) and child.config.readonlyfs),
    ("enter the root filesystem", _enter_root, new_mounts),
    # only the container's files from here on; now give up power
    *init_steps.GIVE_UP_POWER,
    ("wait to be started", init_steps.wait_to_be_started, lambda child: child.gate >= 0),
    ("run the startContainer hooks", run_hooks("start_container"), lambda child: child.hooks["start_container"]),
    *init_steps.BECOME_THE_PROGRAM,
)
