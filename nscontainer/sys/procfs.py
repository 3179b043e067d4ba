"""What /proc tells: mounts, cgroups, processes. Parsers of text, and readers of the files.

Lesson  A process may call itself anything, so its name in /proc/PID/stat can look like the rest of the line.
Read    proc_pid_mountinfo(5), proc_pid_cgroup(5), proc_pid_stat(5), proc_pid_status(5), cgroups(7)
Needs   nothing; other users' processes may be hidden by the mount option hidepid
"""
from __future__ import annotations

import os
from ctypes import addressof, c_char, c_int, c_size_t, c_ssize_t, c_void_p

from ..errors import SyscallError
from .files import AT_FDCWD, close, openat
from .libc import failure, function

__all__ = ["MountInfo", "ProcessStat", "cgroup_file", "mountinfo", "process_stat", "status"]


class MountInfo:
    """One line of mountinfo: a mount as the reader's mount namespace has it."""

    __slots__ = ("fstype", "id", "major", "minor", "mount_point", "optional", "options", "parent", "root", "source",
                 "super_options")

    def __init__(self, line: str) -> None:
        before, separator, after = line.partition(" - ")
        first, last = before.split(" "), after.split(" ")
        if not separator or len(first) < 6 or len(last) < 3:
            raise ValueError(f"not a line of mountinfo: {line!r}")
        self.id, self.parent = int(first[0]), int(first[1])
        major, _, minor = first[2].partition(":")
        self.major, self.minor = int(major), int(minor)
        self.root, self.mount_point = _unescaped(first[3]), _unescaped(first[4])
        self.options, self.optional = first[5], tuple(first[6:])      # "rw,nosuid"; ("shared:5", "master:1")
        self.fstype, self.source = last[0], _unescaped(last[1])
        self.super_options = " ".join(last[2:])

    def __repr__(self) -> str:
        return f"MountInfo({self.mount_point!r}, {self.fstype!r}, {self.options!r})"


def _unescaped(text: str) -> str:
    """Undo the octal escapes for space, tab, newline and backslash."""
    if "\\" not in text:
        return text
    first, *rest = text.split("\\")
    return first + "".join(
        chr(int(part[:3], 8)) + part[3:] if len(part) > 2 and not part[:3].strip("01234567") else "\\" + part
        for part in rest)


def mountinfo(text: str | None = None) -> list[MountInfo]:
    """Return the mounts of *text*, or those this process sees."""
    if text is None:
        try:
            with open("/proc/self/mountinfo", "rb") as file:
                text = file.read().decode(errors="surrogateescape")
        except OSError as error:
            raise SyscallError("open", error.errno or 0, "/proc/self/mountinfo") from None
    return [MountInfo(line) for line in text.split("\n") if line]


def cgroup_file(text: str) -> dict[str, str]:
    """Return the path for each controller of /proc/PID/cgroup; ``name=x`` for a named hierarchy, "" for cgroup v2."""
    paths = {}
    for line in text.split("\n"):
        if line:
            _, controllers, path = line.split(":", 2)  # a path may hold colons
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


class ProcessStat:
    """The fields of /proc/PID/stat that are used here; *start_time* is in clock ticks since boot."""

    __slots__ = ("comm", "pid", "ppid", "start_time", "state")

    def __init__(self, line: str) -> None:
        before, _, after = line.rpartition(")")
        pid, _, self.comm = before.partition(" (")
        fields = after.split()
        self.pid, self.state, self.ppid, self.start_time = int(pid), fields[0], int(fields[1]), int(fields[19])

    def __repr__(self) -> str:
        return f"ProcessStat(pid={self.pid}, comm={self.comm!r}, state={self.state})"


_read = function("read", c_int, c_void_p, c_size_t, restype=c_ssize_t)  # the kernel makes it up: it never waits
_STAT_BYTES = 4096
_Stat = c_char * _STAT_BYTES


def process_stat(pid: int | str) -> ProcessStat:
    """Read /proc/PID/stat. ENOENT or ESRCH: there is no such process."""
    fd = openat(AT_FDCWD, f"/proc/{pid}/stat", os.O_RDONLY | os.O_NONBLOCK)
    try:
        buffer = bytearray(_STAT_BYTES)
        size = _read(fd, addressof(_Stat.from_buffer(buffer)), _STAT_BYTES)
        if size < 0:
            raise failure("read", f"/proc/{pid}/stat")
    finally:
        close(fd)
    return ProcessStat(buffer[:size].decode(errors="surrogateescape"))


def status(pid: int | str = "self") -> dict[str, str]:
    """Read /proc/PID/status."""
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = file.read().decode(errors="surrogateescape").split("\n")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
