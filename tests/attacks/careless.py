"""A runtime that makes the published mistakes, so that attacks have something to succeed on.

It has just enough of a runtime's command line: run, exec, delete; a copy of the interpreter runs it. What is wrong with
it was wrong with others: paths of the image are handed to the kernel as they are, before the root changes; a path is
looked at and then used; what is found at a name is taken for what should be there; descriptors stay open; the working
directory is not checked; the runtime's process can be looked into, and its program written; a filter denies what its
author knew. Never use it.
"""
from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import struct
import sys
import time
from typing import Any

__all__ = ["main"]

WINDOW = 0.003  # seconds between a look and the deed
NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
FLAGS = {"ro": MS_RDONLY, "nosuid": 2, "nodev": 4, "noexec": 8, "strictatime": 1 << 24, "bind": MS_BIND,
         "rbind": MS_BIND | MS_REC}
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
NUMBERS = {"x86_64": {"unshare": 272, "mount": 165, "setns": 308, "ioctl": 16, "socket": 41},
           "aarch64": {"unshare": 97, "mount": 40, "setns": 268, "ioctl": 29, "socket": 198}}
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*[os.fsencode(a) if isinstance(a, str) else a for a in arguments]) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", str(arguments))


def _mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str = "") -> None:
    _call("mount", source, target, fstype, ctypes.c_ulong(flags), data or None)


def _make_place(target: str, source: str) -> None:
    if os.path.isfile(source) or os.path.exists(source) and not os.path.isdir(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    elif not os.path.isdir(target):
        parent = os.path.dirname(target)
        if not os.path.isdir(parent):
            _make_place(parent, "")
        time.sleep(WINDOW)
        os.makedirs(target, exist_ok=True)


def _looked_up(root: str, path: str) -> str:
    """Follow a link below the root by its text, as it is now."""
    try:
        return root + os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(root + path)))
    except OSError:
        return root + path


def _mounts(root: str, spec: dict[str, Any]) -> list[str]:
    seal = []
    for entry in spec["mounts"]:
        flags = sum(FLAGS.get(word, 0) for word in entry["options"])
        data = ",".join(word for word in entry["options"] if word not in FLAGS)
        target = _looked_up(root, entry["destination"])
        time.sleep(WINDOW)             # ... and much later the deed
        _make_place(target, entry["source"] if entry["type"] == "bind" else "")
        time.sleep(WINDOW)
        if entry["type"] == "bind":
            _mount(entry["source"], target, None, MS_BIND | MS_REC)
            if flags & MS_RDONLY:
                seal.append(target)
        else:
            _mount(entry["source"], target, entry["type"], flags, data)
    return seal


def _devices(root: str, spec: dict[str, Any]) -> None:
    nodes = [(f"/dev/{name}", os.makedev(major, minor)) for name, major, minor in DEVICES]
    nodes += [(entry["path"], os.makedev(entry["major"], entry["minor"]))
              for entry in spec["linux"].get("devices", ())]
    for path, number in nodes:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        try:
            os.mknod(root + path, 0o666 | 0o020000, number)
        except FileExistsError:
            pass
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")):
        if not os.path.lexists(f"{root}/dev/{name}"):
            os.symlink(target, f"{root}/dev/{name}")
    if os.path.lexists(f"{root}/dev/ptmx"):
        os.unlink(f"{root}/dev/ptmx")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")


def _console(root: str) -> None:
    """Make a terminal by the image's ptmx, and show whatever has the name of its slave as the console."""
    os.close(os.open(f"{root}/dev/console", os.O_CREAT | os.O_WRONLY, 0o644))
    master = os.open(f"{root}/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    number = struct.unpack("i", fcntl.ioctl(master, 0x80045430, b"\0\0\0\0"))[0]   # TIOCGPTN
    _mount(f"{root}/dev/pts/{number}", f"{root}/dev/console", None, MS_BIND)


def _streams(root: str, uid: int) -> None:
    """Take the container's null for ours, and give the streams to the user."""
    for fd in (0, 1, 2):
        if os.fstat(fd).st_rdev == os.makedev(1, 3):
            os.dup2(os.open(f"{root}/dev/null", os.O_RDWR), fd)
        os.fchown(fd, uid, -1)


def _restrict(root: str, linux: dict[str, Any]) -> None:
    for path in linux["readonlyPaths"]:
        if os.path.exists(root + path):
            _mount(root + path, root + path, None, MS_BIND | MS_REC)
            _mount(None, root + path, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    for path in linux["maskedPaths"]:
        if os.path.isfile(root + path):
            _mount(f"{root}/dev/null", root + path, None, MS_BIND)


def _home(root: str) -> str:
    with open(f"{root}/etc/passwd") as file:
        return next((line.split(":")[5] for line in file if line.startswith("user:")), "/")


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _filter(profile: dict[str, Any]) -> None:
    """Deny what is denied by name, and let all pass that is not: a list of what was known when it was written.

    One condition of several is enough. An argument is compared in all its bits, though the kernel looks at 32 of them,
    and a mask is no matter. Calls are told by their number alone, whatever machine it is a number of.
    """
    refuse, allow = _instruction(6, 0x50001), _instruction(6, 0x7FFF0000)
    program = _instruction(0x20, 0)
    for name, number in NUMBERS[os.uname().machine].items():
        body = b""
        rules = [rule for rule in profile["syscalls"] if name in rule["names"]]
        for rule in rules:
            denied = rule["action"] != "SCMP_ACT_ALLOW"
            for arg in rule["args"]:
                value = arg["valueTwo"] if arg["op"] == "SCMP_CMP_MASKED_EQ" else arg["value"]
                at = 16 + 8 * arg["index"]
                body += _instruction(0x20, at + 4) + _instruction(0x15, value >> 32, 0, 3)
                body += _instruction(0x20, at) + _instruction(0x15, value & 0xFFFFFFFF, 0, 1)
                body += refuse if denied else allow
            if not rule["args"]:
                body += refuse if denied else allow
        listed = rules[-1]["action"] == "SCMP_ACT_ALLOW" if rules else profile["defaultAction"] != "SCMP_ACT_ALLOW"
        body += refuse if listed else allow
        program += _instruction(0x15, number, 0, len(body) // 8) + body
    program += allow
    code = ctypes.create_string_buffer(program, len(program))
    whole = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    _call("prctl", 38, 1, 0, 0, 0)
    _call("prctl", 22, 2, whole, 0, 0)


def _become(process: dict[str, Any], home: str) -> None:
    os.chdir(process["cwd"])
    os.setgroups([])
    os.setresgid(*[process["user"]["gid"]] * 3)
    os.setresuid(*[process["user"]["uid"]] * 3)
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    environment = dict(pair.split("=", 1) for pair in process["env"])
    os.execvpe(process["args"][0], process["args"], {"HOME": home, **environment})


def _container(spec: dict[str, Any]) -> None:
    """Become process 1 of the container."""
    root = spec["root"]["path"]
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount(root, root, None, MS_BIND | MS_REC)
    seal = _mounts(root, spec)
    for key, value in spec["linux"].get("sysctl", {}).items():
        with open(f"{root}/proc/sys/{key.replace('.', '/')}", "w") as file:
            file.write(value)
    _devices(root, spec)
    if spec["process"]["terminal"]:
        _console(root)
    _streams(root, spec["process"]["user"]["uid"])
    for target in seal:
        _mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    _restrict(root, spec["linux"])
    home = _home(root)
    os.chdir(root)
    _call("pivot_root", ".", ".")
    _call("umount2", ".", 2)
    os.chdir("/")
    if "seccomp" in spec["linux"]:
        _filter(spec["linux"]["seccomp"])
    _become(spec["process"], home)


def run(state: str, options: dict[str, str], id: str) -> int:
    """Make a container and wait for its end, unless it is to run on its own."""
    with open(f"{options['--bundle']}/config.json") as file:
        spec = json.load(file)
    _call("unshare", NEWNS | NEWUTS | NEWIPC | NEWNET | NEWPID)
    pid = os.fork()
    if pid == 0:
        _container(spec)
    os.makedirs(f"{state}/{id}")
    with open(f"{state}/{id}/pid", "w") as out:
        out.write(str(pid))
    return 0 if "--detach" in options else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _label(file: str) -> None:
    """Ask for a profile by what the container calls a file of the kernel's."""
    try:
        with open(file, "w") as out:
            out.write("exec unconfined")
    except OSError:
        pass  # a kernel without AppArmor


def enter(state: str, options: dict[str, str], id: str, args: list[str]) -> int:
    """Run a further program in a container."""
    with open(f"{state}/{id}/pid") as file:
        pid = int(file.read())
    host = os.open("/", os.O_RDONLY)
    namespaces = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("pid", "mnt")]
    for fd in namespaces:
        _call("setns", fd, 0)
    if (child := os.fork()) == 0:
        time.sleep(0.1)   # there for all to see, with a descriptor of the host's root and a program to be written
        os.set_inheritable(host, True)
        _label("/proc/self/attr/exec")
        _become({"args": args, "env": ["PATH=/bin"], "cwd": options.get("--cwd", "/"), "user": {"uid": 0, "gid": 0}},
                "/")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> int:
    """Do as the command line says."""
    state, command, *rest = sys.argv[1:]
    options = {}
    while rest[0].startswith("--"):
        name, equals, value = rest.pop(0).partition("=")
        options[name] = value if equals else rest.pop(0) if name == "--bundle" else ""
    id, *args = rest
    if command == "run":
        return run(state, options, id)
    if command == "exec":
        return enter(state, options, id, args)
    try:
        with open(f"{state}/{id}/pid") as file:
            os.kill(int(file.read()), signal.SIGKILL)
    except OSError:
        pass
    shutil.rmtree(f"{state}/{id}", ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
