"""Steps too small for a room of their own, and the two tails that both kinds of process share.

Each takes the child as its only argument. By the second half of the list the image's files are the only ones in
sight, so nothing here imports, looks up a name through libc, or opens a path of the host.
"""
from __future__ import annotations

import os
import stat
from errno import EACCES, EINVAL, ENOENT, ENOEXEC, ENOTDIR, EPERM, EROFS

from . import sync, user
from .errors import ProgramNotExecutable, ProgramNotFound, SetupError, SyscallError
from .mounts import dev
from .security import apparmor, capabilities, keyring, landlock, procfs, seccomp
from .sys.credentials import setgroups, setresgid, setresuid, setsid
from .sys.fds import CLOSE_RANGE, close_range
from .sys.files import AT_FDCWD, close, dup3, fcntl_dupfd, openat, write_all
from .sys.mempolicy import set_mempolicy
from .sys.personality import personality
from .sys.prctl import set_keepcaps, set_no_new_privs, set_pdeathsig
from .sys.process import execve
from .sys.resource import prlimit
from .sys.scheduling import ioprio_set, sched_setaffinity, sched_setattr
from .sys.terminal import set_controlling_terminal, set_window_size
from .sys.unix import accept
from .sys.uts import setdomainname, sethostname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

    from .init import Child, Step
    from .sync import Message

__all__ = ["BECOME_THE_PROGRAM", "GIVE_UP_POWER", "OWN_PROC", "adjust_oom_score", "become_root", "enter_cgroups",
           "enter_on_cpus", "inherit_oom_score", "make_terminal", "name_host", "needs_oom_score", "run_on_cpus",
           "set_sysctls", "start_session", "take_stdio", "take_terminal", "wait_to_be_started"]

# Descriptors of regular files keep their owner: they are the caller's own files. A pipe, a socket or a terminal is a
# channel to us, and a program that is not root could not open it again through /dev/stderr.
_CHANNELS = (stat.S_IFIFO, stat.S_IFSOCK)
_TERMINALS = range(136, 144)  # majors of pseudo-terminals; any other device is the host's, and stays its owner's


def needs_proc(child: Child) -> object:
    """Say whether anything is going to be written to /proc."""
    config = child.config
    return needs_oom_score(child) or config.sysctl or config.apparmor_profile or config.process_label


def open_proc(child: Child) -> None:
    """Get a /proc that nobody else can mount upon; whole, when there are kernel parameters to set."""
    child.proc = procfs.open_procfs(whole=bool(child.config.sysctl))


def join_keyring(child: Child) -> None:
    """Leave the caller's session keyring for one of the container's own: keyrings(7) are in no namespace."""
    if child.config.process_label:
        procfs.set_attribute(child.proc, "keycreate", child.config.process_label)  # the ring is the program's to use
    keyring.join_new(child.state["id"])
    if child.config.process_label:
        procfs.set_attribute(child.proc, "keycreate", "")


def label_program(child: Child) -> None:
    """Have the next execve take the AppArmor profile and the SELinux label, and let go of /proc.

    Programs of startContainer hooks, which are the image's too, take them likewise: a forked process inherits the wish.
    """
    apparmor.apply_profile(child.config.apparmor_profile, child.proc)
    if child.config.process_label:
        procfs.set_attribute(child.proc, "exec", child.config.process_label)
    close(child.proc)


def write_landlock_rules(child: Child) -> None:
    """Open what Landlock's rules name, in the container's root and with rights that are about to go."""
    assert child.config.landlock is not None
    child.ruleset = landlock.prepare(child.config.landlock)


def enter_landlock(child: Child) -> None:
    """Give up what Landlock's rules do not allow, after the last file that we open ourselves."""
    if child.ruleset >= 0:
        landlock.enter(child.ruleset)


def inherit_oom_score(score: int) -> None:
    """Set the score of a helper whose child will inherit it, and will not see the host's /proc any more."""
    proc = procfs.open_procfs()
    procfs.write(proc, "self/oom_score_adj", str(score))
    close(proc)


def enter_cgroups(child: Child) -> None:
    """Write ourselves into the cgroups of version 1; into one of version 2 we were born."""
    for fd in child.cgroups:
        write_all(fd, b"0")
        close(fd)


def become_root(child: Child) -> None:
    """Take the ids 0 of the new user namespace: until now ours had no name in it."""
    _setgroups([])
    setresgid(0, 0, 0)
    setresuid(0, 0, 0)


def _setgroups(groups: Sequence[int], asked_for: bool = False) -> None:
    try:
        setgroups(groups)
    except SyscallError as error:
        # user_namespaces(7): where an ordinary user wrote the map, setgroups is denied for good. What somebody asked
        # for then cannot be; what merely follows from the image's files for root is left out.
        if error.errno != EPERM or asked_for or _setgroups_allowed():
            error.hint = "supplementary groups need a map of their ids, which an ordinary user has newgidmap write"
            raise


def _setgroups_allowed() -> bool:
    try:
        proc = procfs.open_procfs()
    except (SyscallError, SetupError):
        return False  # no /proc in the container: nothing says that it is allowed
    try:
        return procfs.read(proc, "self/setgroups").strip() != b"deny"
    finally:
        close(proc)


def take_stdio(child: Child) -> None:
    """Put the three streams of the program on 0, 1 and 2."""
    for number, fd in enumerate(child.stdio):
        dup3(fd, number)


def start_session(child: Child) -> None:
    """Leave the caller's session, and make the console the controlling terminal of our own."""
    setsid()
    if child.console is not None:
        set_controlling_terminal(0)


def make_terminal(child: Child) -> None:
    """Make a terminal where the container's files are in sight as they are: in a container that runs, for example."""
    take_terminal(child, *dev.new_terminal(openat(AT_FDCWD, "/dev/pts", os.O_PATH | os.O_DIRECTORY)))


def take_terminal(child: Child, master: int, slave: int, path: str) -> None:
    """Give the caller the master of our new terminal, and have the slave for our streams."""
    assert child.terminal is not None
    if all(child.terminal):
        set_window_size(master, *child.terminal)
    sync.send(child.link, {"terminal": path}, [master])
    close(master)
    set_controlling_terminal(slave)
    for number in (0, 1, 2):
        dup3(slave, number)
    close(slave)


def needs_oom_score(child: Child) -> bool:
    """Say whether the score is ours to set: in a user namespace the file is the host's root's, and the caller has."""
    return child.config.oom_score_adj is not None and "NEWUSER" not in child.namespaces


def adjust_oom_score(child: Child) -> None:
    """Write oom_score_adj: proc(5). Going below the inherited score needs CAP_SYS_RESOURCE on the host."""
    procfs.write(child.proc, "self/oom_score_adj", str(child.config.oom_score_adj))


def name_host(child: Child) -> None:
    """Set the names that uname(2) reports."""
    if child.config.hostname:
        sethostname(child.config.hostname)
    if child.config.domainname:
        setdomainname(child.config.domainname)


def set_sysctls(child: Child) -> None:
    """Write kernel parameters of our own namespaces; validation has let through no others: sysctl(8)."""
    for key, value in child.config.sysctl.items():
        # Like sysctl(8): where a slash is the first separator, dots and slashes have changed places.
        slash = 0 <= key.find("/") < (key.find(".") % (len(key) + 1))
        procfs.write(child.proc, "sys/" + (key if slash else key.translate(_SWAP_SEPARATORS)), value)


_SWAP_SEPARATORS = str.maketrans("./", "/.")


def enter_on_cpus(child: Child) -> None:
    """Do what is left of the set-up on the CPUs that are meant for it. In a cgroup that has none of them, anywhere."""
    assert child.config.exec_cpu_affinity is not None
    try:
        sched_setaffinity(0, _bits(child.config.exec_cpu_affinity.initial))
    except SyscallError as error:
        if error.errno != EINVAL:  # it is about the moment before the cgroup is entered, and we are in it
            raise


def run_on_cpus(child: Child) -> None:
    """Choose the CPUs of the program."""
    assert child.config.exec_cpu_affinity is not None
    sched_setaffinity(0, _bits(child.config.exec_cpu_affinity.final))


def schedule(child: Child) -> None:
    """Choose the scheduling policy: while we may still have the right to go up."""
    wanted = child.config.scheduler
    assert wanted is not None
    sched_setattr(0, wanted.policy, wanted.flags, nice=wanted.nice, priority=wanted.priority, runtime=wanted.runtime,
                  deadline=wanted.deadline, period=wanted.period)


def queue_at_disk(child: Child) -> None:
    """Choose the rank at the disk, for all of our process group."""
    wanted = child.config.io_priority
    assert wanted is not None
    ioprio_set(2, 0, wanted.io_class, wanted.priority)  # IOPRIO_WHO_PGRP


def place_memory(child: Child) -> None:
    """Choose the nodes that memory comes from."""
    wanted = child.config.memory_policy
    assert wanted is not None
    set_mempolicy(wanted.mode, wanted.flags, _bits(wanted.nodes))


def _bits(listed: str) -> int:
    """Return a list such as "0-3,7", which validation has looked at, as a number with those bits."""
    mask = 0
    for part in listed.split(",") if listed else ():
        first, _, last = part.partition("-")
        mask |= (1 << int(last or first) + 1) - (1 << int(first))
    return mask


def set_umask(child: Child) -> None:
    """Set the file mode creation mask; without a wish it is 022, the zygote's, whatever the caller's may be."""
    os.umask(child.config.umask or 0)


def become_user(child: Child) -> None:
    """Look the user up in the container's own files and become it, keeping capabilities for the next step."""
    found = user.resolve(child.user, child.config.additional_groups)
    child.home = found.home
    if found.uid or found.gid:
        _give_channels(found.uid, found.gid)
    set_keepcaps(True)  # setuid to another user than root would drop them: capabilities(7)
    _setgroups(found.sgids, bool(found.sgids and (child.user or child.config.additional_groups)))
    setresgid(found.gid, found.gid, found.gid)
    setresuid(found.uid, found.uid, found.uid)


def _give_channels(uid: int, gid: int) -> None:
    for fd in (0, 1, 2):
        status = os.fstat(fd)
        kind = stat.S_IFMT(status.st_mode)
        if kind in _CHANNELS or kind == stat.S_IFCHR and os.major(status.st_rdev) in _TERMINALS:
            try:
                os.fchown(fd, uid, gid)
            except OSError as error:
                # A terminal or pipe of an id that has no name in our user namespace, or on a read-only mount: the
                # descriptor itself works all the same.
                if error.errno not in (EPERM, EINVAL, EROFS):
                    raise


def keep_capabilities(child: Child) -> None:
    """Keep what is listed, and what it takes to put on a filter of system calls in the end."""
    needed = child.filter is not None and not child.config.no_new_privileges
    capabilities.apply(child.capabilities, seccomp.ADMIN if needed else 0)


def change_directory(child: Child) -> None:
    """Go to the working directory, and make sure that it is inside: CVE-2024-21626 was one that was not."""
    try:
        os.chdir(child.cwd)
    except OSError as error:
        raise SetupError(f"chdir to {child.cwd!r}: {error.strerror}", errno=error.errno, filename=child.cwd,
                         call="chdir", hint="the working directory must exist in the container") from None
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False  # getcwd(3): "(unreachable)"
    if not inside:
        raise SetupError(f"the working directory {child.cwd!r} lies outside the container's root", filename=child.cwd)


def wait_to_be_started(child: Child) -> None:
    """Wait until somebody connects to the gate and says go; whoever made us may be gone long before: gate.py.

    From then on the connection is our link. It needs no file to be opened: there may be none of the host's in sight,
    and what is in sight may be forbidden to us by now.
    """
    environment = _environment(child)
    candidates = _candidates(child.args[0], environment)
    if not any(os.access(path, os.X_OK) for path in candidates):  # to be told now, not when it is too late
        raise _no_program(child, environment, next(filter(os.path.exists, candidates), None))
    child.ask({"waits": True})
    close(child.link)
    child.link = accept(child.gate)
    close(child.gate)
    if sync.receive(child.link)[0] is None:
        os._exit(1)  # killed between its knock and its word: its container is not to hang for ever
    if "status" in child.state:
        child.state["status"] = "created"  # for the hooks that come


def limit_resources(child: Child) -> None:
    """Set the ceilings: setrlimit(2). Last: a small one would hit the steps before. The caller raised hard limits."""
    for limit in child.config.rlimits:
        prlimit(0, limit.type, (limit.soft, limit.hard))


def pass_descriptors(child: Child) -> None:
    """Put the extra files on 3, 4, …, and mark everything else to be closed by execve."""
    if not child.extra_files:
        _keep_none([child.link] if child.look is None else [child.link, child.look.pages])
        return
    # Sources may sit where targets go: lift all of them out of the way first.
    first_free = 3 + len(child.extra_files)
    child.link = fcntl_dupfd(child.link, first_free)
    lifted = [None if fd is None else fcntl_dupfd(fd, first_free) for fd in child.extra_files]
    _keep_none([child.link, *[fd for fd in lifted if fd is not None]])
    for number, fd in enumerate(lifted, 3):
        if fd is not None:
            dup3(fd, number)


def _keep_none(needed: Sequence[int]) -> None:
    """Have execve close everything from 3 on. Before Linux 5.11 close it now, but for what is *needed* until then.

    Those close on execve as it is, like all that we open; this is for what we do not know of.
    """
    try:
        close_range(3, flags=CLOSE_RANGE.CLOEXEC)
    except SyscallError as error:
        if error.errno != EINVAL:
            raise
        first = 3
        for fd in sorted(needed):
            if fd > first:
                close_range(first, fd - 1)
            first = fd + 1
        close_range(first)


def follow_parent(child: Child) -> None:
    """Ask for a signal when the caller dies: prctl(2). After the user change, which clears it."""
    set_pdeathsig(child.config.parent_death_signal)


def filter_system_calls(child: Child, filter: Message) -> int:
    """Put on the filter of system calls, and return its listener, if it has one."""
    return seccomp.load(bytes.fromhex(filter["code"]), filter["flags"],
                        raise_admin=not child.config.no_new_privileges)


def execute(child: Child) -> NoReturn:
    """Say goodbye, forbid ourselves whatever is to be forbidden, and become the program: execve(2)."""
    environment = _environment(child)
    args = [os.fsencode(arg) for arg in child.args]
    candidates = _candidates(child.args[0], environment)
    ready = {"exec": True} if child.look is None else {"exec": True, "own": child.look.own()}
    if child.filter is not None:
        if not any(os.access(path, os.X_OK) for path in candidates):
            raise _no_program(child, environment, next(filter(os.path.exists, candidates), None))
        if child.filter["notifies"]:  # validation has made sure that sendmsg is allowed
            sync.send(child.link, {"listener": True}, [filter_system_calls(child, child.filter)])
    sync.send(child.link, ready)  # EPIPE here: the caller is gone, and with it whoever wanted this program
    if child.filter is not None and not child.filter["notifies"]:
        filter_system_calls(child, child.filter)  # from here on, an error is told only where the filter lets us
    denied = None
    for path in candidates:
        try:
            execve(path, args, environment)
        except SyscallError as error:
            if error.errno == ENOEXEC:
                raise ProgramNotExecutable(
                    f"exec: {path!r}: exec format error", errno=ENOEXEC, call="execve", filename=path,
                    hint="it is for another machine, or a script without #! in its first line") from None
            if error.errno == EACCES:
                denied = path
            elif error.errno not in (ENOENT, ENOTDIR):
                raise
            elif os.path.isfile(path) and error.errno == ENOENT:
                raise ProgramNotFound(
                    f"exec: {path!r}: no such file or directory: it is there, and the loader it asks for is not",
                    errno=ENOENT, call="execve", filename=path,
                    hint="install its interpreter or dynamic loader in the root filesystem") from None
    raise _no_program(child, environment, denied)


def _no_program(child: Child, environment: list[bytes], denied: str | None) -> SetupError:
    """Return the error for a program that is not there, or, where something of its name is, may not be executed."""
    if denied is not None:
        return ProgramNotExecutable(f"exec: {denied!r}: permission denied", errno=EACCES, call="execve",
                                    filename=denied, hint=_FORGOTTEN if child.ruleset >= 0 else None)
    name = child.args[0]
    if "/" in name:
        return ProgramNotFound(f"exec: {name!r}: stat {name}: no such file or directory", errno=ENOENT, call="execve",
                               filename=name)
    return ProgramNotFound(f"exec: {name!r}: executable file not found in $PATH", errno=ENOENT, call="execve",
                           filename=name, hint=f"PATH is {_value(environment, b'PATH')!r}")


_FORGOTTEN = "landlock.paths must allow to execute and read it, its loader and its libraries"


def _environment(child: Child) -> list[bytes]:
    """The program's variables: of duplicates the last, HOME added when it is missing or empty."""
    variables = {}
    for pair in child.env:
        name, _, value = os.fsencode(pair).partition(b"=")
        variables[name] = value
    if not variables.get(b"HOME"):
        variables[b"HOME"] = os.fsencode(child.home)
    return [name + b"=" + value for name, value in variables.items()]


def _value(environment: list[bytes], name: bytes) -> str:
    for pair in environment:
        if pair.startswith(name + b"="):
            return os.fsdecode(pair[len(name) + 1:])
    return ""


def _candidates(name: str, environment: list[bytes]) -> list[str]:
    """Where execvp(3) would look: the path itself when it has a slash, else each directory of PATH."""
    if "/" in name:
        return [name]
    if not name:
        return []
    directories = _value(environment, b"PATH").split(":") if any(e.startswith(b"PATH=") for e in environment) else []
    return [os.path.join(directory or ".", name) for directory in directories]


OWN_PROC: Final[tuple[Step, ...]] = (
    ("open a /proc of our own", open_proc, needs_proc),
    ("join a new session keyring", join_keyring, lambda child: not child.config.no_new_keyring),
)

GIVE_UP_POWER: Final[tuple[Step, ...]] = (
    ("label the program", label_program, needs_proc),
    ("write the Landlock rules", write_landlock_rules, lambda child: child.config.landlock),
    ("set the file mode creation mask", set_umask, lambda child: child.config.umask is not None),
    ("choose the scheduler", schedule, lambda child: child.config.scheduler),
    ("choose the rank at the disk", queue_at_disk, lambda child: child.config.io_priority),
    ("choose where memory comes from", place_memory, lambda child: child.config.memory_policy),
    ("take on a personality", lambda child: personality(child.config.personality or 0),
        lambda child: child.config.personality is not None),
    ("forbid new privileges", lambda child: set_no_new_privs(), lambda child: child.config.no_new_privileges),
    ("shrink the bounding set",                                  # needs CAP_SETPCAP: before the user changes
        lambda child: capabilities.drop_bounding(child.capabilities, child.last_cap), None),
    ("become the user", become_user, None),
    ("keep the listed capabilities", keep_capabilities, None),
    ("enter the working directory", change_directory, None),     # as the user: a directory it may not enter is refused
    ("enter the Landlock domain", enter_landlock, lambda child: child.config.landlock),
)

BECOME_THE_PROGRAM: Final[tuple[Step, ...]] = (
    ("die with the parent", follow_parent, lambda child: child.config.parent_death_signal),
    ("pass descriptors", pass_descriptors, None),
    ("limit resources", limit_resources, lambda child: child.config.rlimits),
    ("run the program", execute, None),                          # and filter its system calls, in the last moment
)
