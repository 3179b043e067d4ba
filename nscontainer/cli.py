"""The command line: arguments in, exit code out.

A command is a row of COMMANDS: what it takes, what it is for, and the module whose ``run`` does it. The module is
imported when the command is used. A command that makes processes has its zygote started before that, so that the two
interpreters load side by side.

Whatever goes wrong is one line on standard error, and an exit code: 2 for a wrong command line, 125 for a failure of
ours, 126 and 127 for a program that cannot be executed or found; else the program's own, or 128 + N after signal N. The
commands that engines call have runc's codes: 1, and 255 from exec.
"""
from __future__ import annotations

import os
import sys
from _signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal
from _warnings import filters

from .cli_options import HELP, OCI_VERSION, Command, Option, UsageError, parse, passed_descriptors
from .cli_report import log, say
from .cli_table import GLOBAL_OPTIONS as OCI_GLOBAL_OPTIONS, OCI_COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

__all__ = ["COMMANDS", "HELP", "Command", "Option", "UsageError", "main", "parse"]

PROGRAM: Final = "nscontainer"
OURS, NOT_EXECUTABLE, NOT_FOUND, USAGE = 125, 126, 127, 2


SANDBOX: Final = Command("sandbox", "[--] [COMMAND [ARG...]]", "run a program in its own container", "cli_sandbox", (
    Option("--rootfs", "DIR", "the folder that is its /; without it, a view of this host whose changes vanish"),
    Option("--ephemeral", "", "with --rootfs: changes vanish as well"),
    Option("--read-only", "", "mount / read-only"),
    Option("--bind", "SRC:DST[:ro]", "show a file or folder of the host at DST", many=True),
    Option("--tmpfs", "DST", "put an empty folder in memory at DST", many=True),
    Option("--network", "KIND", "none (the default), host, or no-abstract-sockets: host, less sockets of no file"),
    Option("--hostname", "NAME", "its host name (sandbox)"),
    Option("--user", "USER[:GROUP]", "whom to run as, by name or number; its root unless given"),
    Option("--cwd --workdir", "DIR", "where to start; by default here, or / with --rootfs"),
    Option("--env", "NAME[=VALUE]", "set a variable; without a value, to what it is here", many=True),
    Option("--cap-drop", "NAME", "take a capability away, or ALL of them", many=True),
    Option("--cap-add", "NAME", "give a capability, after those of --cap-drop have gone", many=True),
    Option("--memory", "BYTES", "kill who takes more memory: 268435456, 256M, 1.5G"),
    Option("--swap", "BYTES", "with --memory: how much swap beside it; as much as memory unless given, 0 for none"),
    Option("--cpus", "NUMBER", "how many CPUs' time it gets at most: 0.5, 2"),
    Option("--cpuset", "LIST", "on which CPUs it runs: 0-3,7"),
    Option("--pids", "NUMBER", "how many processes and threads there may be at a time"),
    Option("--seccomp", "default|unconfined", "filter its system calls (the default), or leave it all of them"),
    Option("--timeout", "SECONDS", "kill it after that time; the exit code is 124 then"),
    Option("--tty", "", "give it a terminal of its own; the default when both stdin and stdout are terminals"),
    Option("--no-tty", "", "pass stdin, stdout and stderr through as they are"),
    HELP,
), clones=True, notes="""\
COMMAND is process 1 of a container with its own processes, mounts, host name, IPC and network, no more than fourteen
capabilities, and no way to gain any. Without COMMAND, that is a shell. Its environment is PATH, LANG, TERM and HOME,
and what --env adds. An ordinary user needs nothing but user namespaces, and is root in there.

Exit code: COMMAND's own, or 128 + N after signal N; 126 when it cannot be executed, 127 when there is no such program,
124 after --timeout, 125 when the container cannot be made, 2 for a wrong command line.

  nscontainer sandbox                               a shell, on a copy of this system
  nscontainer sandbox -- sh -c 'hostname; id; ps -ef'
  nscontainer sandbox --bind .:/src:ro --cwd /src --timeout 60 -- make -s test
  nscontainer sandbox --rootfs /srv/debian --ephemeral --user 1000 -- python3 untrusted.py
""")

COMMANDS: Final = {command.name: command for command in (SANDBOX, *OCI_COMMANDS)}
GLOBAL_OPTIONS: Final = (*OCI_GLOBAL_OPTIONS, HELP, Option("--version -v", "", "show the version"))


def _help() -> str:
    lines = [f"usage: {PROGRAM} [options] COMMAND ...", "", "Linux containers in pure Python.", "", "Commands:"]
    lines += [f"  {command.name:<12} {command.summary}" for command in COMMANDS.values()]
    return "\n".join([*lines, "", "Options:", *_describe(GLOBAL_OPTIONS), "",
                      f"{PROGRAM} COMMAND --help tells more of one.", ""])


def _help_of(command: Command) -> str:
    head = f"usage: {PROGRAM} {command.name} [options] {command.operands}"
    about = command.summary[0].upper() + command.summary[1:] + "."
    return "\n".join([head, "", about, "", "Options:", *_describe(command.options), "", command.notes])


def _describe(options: Sequence[Option]) -> list[str]:
    lines = []
    for option in options:
        names = ", ".join(option.names) + (f" {option.value}" if option.value else "")
        lines.append(f"  {names:<26} {option.about}{'; may be repeated' if option.many else ''}")
    return lines


def _complain(problem: str, command: Command | None, options: dict[str, Any]) -> None:
    text = " ".join(problem.split("\n"))
    plain = f"{PROGRAM}: {command.name + ': ' if command else ''}{text}"
    if command is None or not command.oci:
        options = {}
    log(options, "error", text, plain=plain)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code; never raises."""
    _open_streams()
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, SIG_DFL)  # Ctrl-C ends this process, as it does others; not by a KeyboardInterrupt somewhere
    command: Command | None = None
    options: dict[str, Any] = {}
    try:
        options, rest = parse(GLOBAL_OPTIONS, sys.argv[1:] if arguments is None else arguments)
        if options.get("version"):
            from . import __version__

            say(f"{PROGRAM} {__version__}\nspec: {OCI_VERSION}\n")
            return 0
        if options.get("help"):
            say(_help())
            return 0
        if not rest:
            raise UsageError("no command")
        if rest[0] not in COMMANDS:
            raise UsageError(f"unknown command {rest[0]!r}")
        command = COMMANDS[rest[0]]
        return _run(command, rest[1:], options)
    except UsageError as error:
        _complain(f"{error}; try '{PROGRAM} {command.name + ' ' if command else ''}--help'", command, options)
        return command.failure if command and command.oci else USAGE
    except Exception as error:
        return _failed(error, command, options)


def _run(command: Command, arguments: list[str], before: dict[str, Any]) -> int:
    own, operands = parse(command.options, arguments, program=command.program)
    if own.get("help"):
        say(_help_of(command))
        return 0
    options: dict[str, Any] = {**before, **own}
    if command.oci:
        # Engines give every container names of system calls and capabilities that only other machines have.
        filters.insert(0, ("ignore", None, RuntimeWarning, None, 0))
    if command.clones and command.oci:
        options["descriptors"] = passed_descriptors(options)
    if not command.clones:
        return int(_function(command)(options, operands))
    from .spawner import Zygote

    zygote = Zygote()
    try:
        zygote.start()
        return int(_function(command)(zygote, options, operands))
    finally:
        zygote.close()


def _function(command: Command) -> Callable[..., Any]:
    module = __import__(f"{__package__}.{command.module}", fromlist=[command.function])
    found: Callable[..., Any] = getattr(module, command.function)
    return found


def _failed(error: Exception, command: Command | None, options: dict[str, Any]) -> int:
    """Report a failure and return its exit code."""
    from .errors import ContainerError, ProgramNotExecutable, ProgramNotFound

    if isinstance(error, ContainerError):
        problem = str(error)
    elif isinstance(error, OSError):
        problem = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    else:
        problem = f"internal error: {type(error).__name__}: {error}"
    _complain(problem, command, options)
    if command is not None and command.oci:
        if options.get("debug"):
            _log_stack(error, options)
        return command.failure
    return (NOT_FOUND if isinstance(error, ProgramNotFound)
            else NOT_EXECUTABLE if isinstance(error, ProgramNotExecutable) else OURS)


def _log_stack(error: Exception, options: dict[str, Any]) -> None:
    from .errors import ContainerError, frames_of

    frames = error.frames if isinstance(error, ContainerError) else frames_of(error.__traceback__)
    log(options, "debug", "; ".join(f"{frame.function} at {frame.file}:{frame.line}" for frame in frames))


def _open_streams() -> None:
    """See that 0, 1 and 2 are open: else the next descriptor made would become somebody's standard stream."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest free number is this one
