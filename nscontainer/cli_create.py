"""The commands ``create`` and ``run``: a bundle becomes a container."""
from __future__ import annotations

import os
from _thread import start_new_thread

from . import relay
from .cli_oci import Engine, OciContainer
from .cli_options import UsageError
from .cli_report import log
from .cli_root import is_rootless, only_id, place_of
from .errors import ConfigInvalid, ContainerError, SyscallError
from .process import Process
from .spec import load_bundle
from .sys.fds import send_descriptors
from .sys.files import AT_FDCWD, close, openat
from .sys.unix import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cli_notify import Notifier
    from .spawner import Zygote
    from .spec import ProcessSpec

__all__ = ["Caller", "create", "process_of", "run"]


class Caller:
    """What the caller of create, run and exec wants to be given: a terminal, a pidfd, a file with the process id.

    All of them are found, or known to be missing, before a process exists.
    """

    def __init__(self, options: dict[str, Any], *, terminal: bool, detached: bool, name: str) -> None:
        self._sockets: list[int] = []
        self._name = name
        self._pid_file = options.get("pid-file", "")
        console = options.get("console-socket", "")
        if console and not (detached and terminal):
            raise UsageError("cannot use console socket if we will not detach or allocate tty")
        if detached and terminal and not console:
            raise UsageError("cannot allocate tty if we will detach without setting console socket")
        self._console = self._pidfd = -1
        try:
            self._console = self._reach("--console-socket", console)
            self._pidfd = self._reach("--pidfd-socket", options.get("pidfd-socket", ""))
        except BaseException:
            self.close()
            raise

    def _reach(self, option: str, path: str) -> int:
        if not path:
            return -1
        folder = -1
        try:
            folder = openat(AT_FDCWD, os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY)
            self._sockets.append(connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}"))
            return self._sockets[-1]
        except SyscallError as error:
            raise ContainerError(f"{option}: cannot connect with {path!r}: {error.strerror}") from None
        finally:
            if folder >= 0:
                close(folder)

    def close(self) -> None:
        """Let go of the sockets."""
        while self._sockets:
            close(self._sockets.pop())

    def tell(self, process: Process) -> None:
        """Give the caller what it wants of a process that is there."""
        if self._console >= 0 and process.console is not None:
            send_descriptors(self._console, b"/dev/ptmx", [process.console.fileno()])
            process.console.close()
        if self._pidfd >= 0:
            pidfd = process.fileno()
            try:
                send_descriptors(self._pidfd, self._name.encode(), [pidfd])
            finally:
                close(pidfd)
        self.close()
        if self._pid_file:
            _write_pid(self._pid_file, process.pid)


def _write_pid(path: str, pid: int) -> None:
    """Write the file under another name first: who finds it finds all of it."""
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, f".{name}")
    try:
        fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_SYNC | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)
        os.rename(hidden, path)
    except OSError as error:
        raise ContainerError(f"--pid-file: cannot write {path!r}: {error.strerror}") from None


def create(zygote: Zygote, options: dict[str, Any], operands: list[str]) -> int:
    """Make a container that waits to be started."""
    id = only_id(operands)
    _enter_bundle(options)
    engine = Engine(options, zygote)
    container, process, caller = _described(engine, id, options, detached=True)
    _begin(container, process, caller, options, hold=True)
    return 0


def run(zygote: Zygote, options: dict[str, Any], operands: list[str]) -> int:
    """Make a container, start it and, unless it is detached, stay with it until its end."""
    id, detached = only_id(operands), bool(options.get("detach"))
    _enter_bundle(options)
    engine = Engine(options, zygote)
    container, process, caller = _described(engine, id, options, detached=detached)
    notifier = _notifier(container)
    if detached:
        _begin(container, process, caller, options, hold=False)
        if notifier is not None:
            notifier.pass_on(process.pid)
        return 0
    with relay.Relay(process, terminal=container.about["terminal"], inside=True) as attendant:
        _begin(container, process, caller, options, hold=False)
        zygote.close()  # it has done its work, and goes away while the program does its own
        if notifier is not None:
            start_new_thread(notifier.pass_on, (process.pid,))
        code = attendant.attend()
    if not options.get("keep"):
        container.erase(options)
    return code


def _enter_bundle(options: dict[str, Any]) -> None:
    """Go to the bundle, where its hooks are to run. What the caller named is where the caller is."""
    for name in ("root", "log", "pid-file", "console-socket", "pidfd-socket"):
        if options.get(name):
            options[name] = os.path.abspath(options[name])
    bundle = options.get("bundle") or "."
    try:
        os.chdir(bundle)
    except OSError as error:
        raise ConfigInvalid("", f"cannot enter the bundle {bundle!r}: {error.strerror}") from None


def _described(engine: Engine, id: str, options: dict[str, Any], *,
               detached: bool) -> tuple[OciContainer, Process, Caller]:
    """Make a container's place, after all that can be wrong about it has been looked at."""
    bundle = load_bundle(os.getcwd(), systemd_cgroup=bool(options.get("systemd-cgroup")),
                         rootless=is_rootless(options), id=id)
    if bundle.process is None or not bundle.process.args:
        raise ConfigInvalid("process.args", "must not be empty", hint="say what to run")
    for warning in bundle.warnings:
        log(options, "warning", warning)
    config = bundle.config
    if options.get("no-pivot"):
        config.no_pivot_root = True
    if options.get("no-new-keyring"):
        config.no_new_keyring = True
    caller = Caller(options, terminal=bundle.process.terminal, detached=detached, name="standard")
    try:
        process = process_of(bundle.process, options)
        process.check()
        if os.environ.get("NOTIFY_SOCKET"):
            from . import cli_notify  # few have a service manager that waits for a word

            cli_notify.mount_for(config, place_of(engine.root, id))
            process.env.append(cli_notify.VARIABLE)
        if bundle.process.terminal and detached:
            process.want_console(*bundle.process.console_size or (0, 0))
        container = engine.create(id, config)
    except BaseException:
        caller.close()
        raise
    try:
        container.describe()
        if os.environ.get("NOTIFY_SOCKET"):
            cli_notify.make_directory(container.directory)
        container.about["terminal"] = bundle.process.terminal
    except BaseException:
        caller.close()
        container.erase(options)
        raise
    return container, process, caller


def _notifier(container: OciContainer) -> Notifier | None:
    manager = os.environ.get("NOTIFY_SOCKET")
    if not manager:
        return None
    from .cli_notify import Notifier

    return Notifier(container.directory, manager)


def process_of(spec: ProcessSpec, options: dict[str, Any]) -> Process:
    """Return the process to be started: our own streams are its own unless it gets a terminal."""
    passed = options["descriptors"]
    env = spec.env
    if passed and os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS"):
        env = [*env, f"LISTEN_FDS={os.environ['LISTEN_FDS']}", "LISTEN_PID=1"]
        if "LISTEN_FDNAMES" in os.environ:
            env.append(f"LISTEN_FDNAMES={os.environ['LISTEN_FDNAMES']}")
    return Process(spec.args, env=env, user=spec.user, cwd=spec.cwd, stdin=0, stdout=1, stderr=2, extra_files=passed)


def _begin(container: OciContainer, process: Process, caller: Caller, options: dict[str, Any], *, hold: bool) -> None:
    """Start the container's first process, on hold or not; nothing is left when that fails."""
    try:
        container.start(process, hold=hold)
        caller.tell(process)
    except BaseException:
        try:
            container.end()
        finally:
            container.erase(options)
        raise
    finally:
        caller.close()
