"""The commands that every OCI runtime has, with runc's names and options: rows for cli.COMMANDS."""
from __future__ import annotations

from .cli_options import HELP, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["GLOBAL_OPTIONS", "OCI_COMMANDS"]

GLOBAL_OPTIONS: Final = (
    Option("--root", "DIR", "where the state of containers is; /run/nscontainer, or below $XDG_RUNTIME_DIR"),
    Option("--log", "FILE", "append what goes wrong to FILE as well"),
    Option("--log-format", "FORMAT", "text (the default) or json"),
    Option("--debug", "", "say more in the log"),
    Option("--systemd-cgroup", "", "have systemd make the cgroups: cgroupsPath is slice:prefix:name"),
    Option("--rootless", "WHETHER", "true, false or auto (the default): leave out what an ordinary user cannot do"),
)

_BUNDLE = Option("--bundle -b", "DIR", "the bundle; by default the current directory")
_CONSOLE = Option("--console-socket", "PATH", "a unix socket that gets the master of the container's terminal")
_PIDFD = Option("--pidfd-socket", "PATH", "a unix socket that gets a pidfd of the process")
_PID_FILE = Option("--pid-file", "PATH", "write the process id there")
_FDS = Option("--preserve-fds", "N", "pass N descriptors on, from 3, or from the last of LISTEN_FDS")
_DETACH = Option("--detach -d", "", "do not wait for the end")
_FORMAT = Option("--format -f", "FORMAT", "table (the default) or json")
_CREATE = (
    _BUNDLE, _CONSOLE, _PIDFD, _PID_FILE, _FDS,
    Option("--no-pivot", "", "do not use pivot_root: for a host whose root is a ramfs"),
    Option("--no-new-keyring", "", "keep the caller's session keyring"),
)


def _oci(name: str, operands: str, summary: str, module: str, *options: Option, clones: bool = False,
         program: bool = False, failure: int = 1, notes: str = "") -> Command:
    return Command(name, operands, summary, module, (*options, HELP), clones=clones, oci=True, program=program,
                   failure=failure, notes=notes)


_LIMIT = (
    ("--blkio-weight", "N", "relative weight for disks, 10 to 1000"),
    ("--cpu-period", "US", "CPU period"),
    ("--cpu-quota", "US", "CPU time in each period; -1: no limit"),
    ("--cpu-burst", "US", "what a quiet period may leave to a later one"),
    ("--cpu-share --cpu-shares", "N", "relative weight for CPUs"),
    ("--cpu-rt-period", "US", "period of real-time scheduling"),
    ("--cpu-rt-runtime", "US", "real-time CPU time in each period"),
    ("--cpu-idle", "0|1", "1: run only when nobody else wants to"),
    ("--cpuset-cpus", "LIST", "on which CPUs it runs: 0-3,7"),
    ("--cpuset-mems", "LIST", "of which memory nodes it takes memory"),
    ("--memory", "BYTES", "most memory: 268435456, 256M; -1: no limit"),
    ("--memory-reservation", "BYTES", "memory that is left alone as long as possible"),
    ("--memory-swap", "BYTES", "most memory and swap together; -1: no limit"),
    ("--pids-limit", "N", "processes and threads; -1: no limit"),
    ("--kernel-memory", "BYTES", "ignored"),
    ("--kernel-memory-tcp", "BYTES", "ignored"),
    ("--l3-cache-schema", "TEXT", "cache allocation: not supported"),
    ("--mem-bw-schema", "TEXT", "memory bandwidth: not supported"),
)

OCI_COMMANDS: Final = (
    _oci("create", "ID", "make a container that waits to be started", "cli_create:create", *_CREATE, clones=True),
    _oci("run", "ID", "create and start a container", "cli_create:run", *_CREATE, _DETACH,
         Option("--keep", "", "leave the container's state when it has ended"),
         Option("--no-subreaper", "", "accepted; nobody's processes become ours"), clones=True),
    _oci("start", "ID", "start a container that was created", "cli_life:start"),
    _oci("state", "ID", "print the state of a container as JSON", "cli_query:state"),
    _oci("kill", "ID [SIGNAL]", "send a signal to a container's first process, SIGTERM by default", "cli_life:kill",
         Option("--all -a", "", "accepted: a container that has ended is no error then"), program=True),
    _oci("delete", "ID", "remove a container that has stopped", "cli_life:delete",
         Option("--force -f", "", "kill it first if it runs; an unknown ID is no error")),
    _oci("exec", "ID COMMAND [ARG...]", "run a further program in a container", "cli_exec:execute",
         Option("--process -p", "FILE", "what to run, as the object `process` of config.json"),
         Option("--tty -t", "", "give it a terminal"), _DETACH,
         Option("--user -u", "UID[:GID]", "whom to run as"),
         Option("--additional-gids -g", "GID", "a further group", many=True),
         Option("--cwd", "DIR", "where to start"),
         Option("--env -e", "NAME=VALUE", "set a variable", many=True),
         Option("--cap -c", "NAME", "give a capability", many=True),
         Option("--no-new-privs", "", "let it gain no privileges"),
         Option("--apparmor", "PROFILE", "an AppArmor profile"),
         Option("--process-label", "LABEL", "an SELinux label"),
         Option("--cgroup", "PATH", "run it in a cgroup below the container's", many=True),
         Option("--ignore-paused", "", "enter a paused container; it starts when that is resumed"),
         _CONSOLE, _PIDFD, _PID_FILE, _FDS, clones=True, program=True, failure=255),
    _oci("list", "", "list containers", "cli_query:list_all", _FORMAT, Option("--quiet -q", "", "only their ids")),
    _oci("ps", "ID [PS-OPTION...]", "list the processes of a container", "cli_query:ps", _FORMAT, program=True),
    _oci("pause", "ID", "freeze all processes of a container", "cli_life:pause"),
    _oci("resume", "ID", "let them run on", "cli_life:resume"),
    _oci("update", "ID", "change the limits of a container", "cli_limits:update",
         Option("--resources -r", "FILE", "the new limits, as `linux.resources` of config.json; - is stdin"),
         *[Option(names, value, about) for names, value, about in _LIMIT]),
    _oci("events", "ID", "print counters, and tell when memory runs out, as JSON", "cli_limits:events",
         Option("--interval", "TIME", "how often: 500ms, 5s (the default), 1m"),
         Option("--stats", "", "print the counters once")),
    _oci("features", "", "print what this runtime can do, as JSON", "cli_query:features"),
    _oci("spec", "", "write a config.json to begin with", "cli_query:spec", _BUNDLE,
         Option("--rootless", "", "one that an ordinary user can run")),
)
