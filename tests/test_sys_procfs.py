"""Parsers of /proc: names are whatever a process or an image likes."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nscontainer.sys.prctl import set_name
from nscontainer.errors import SyscallError
from nscontainer.sys.procfs import MountInfo, ProcessStat, cgroup_file, mountinfo, process_stat, status

InChild = Callable[..., Any]
LINE = r"36 35 98:0 /mnt1 /a\040b\011c\012d\134040 rw,noatime shared:1 master:2 - ext3 /dev/a\040- rw,errors=x y"


def test_a_line_of_mountinfo_is_taken_apart() -> None:
    found, = mountinfo(LINE + "\n")
    assert (found.id, found.parent, found.major, found.minor) == (36, 35, 98, 0)
    assert (found.root, found.mount_point) == ("/mnt1", "/a b\tc\nd\\040")
    assert (found.options, found.optional) == ("rw,noatime", ("shared:1", "master:2"))
    assert (found.fstype, found.source, found.super_options) == ("ext3", "/dev/a -", "rw,errors=x y")
    assert repr(found) == "MountInfo('/a b\\tc\\nd\\\\040', 'ext3', 'rw,noatime')"


def test_fields_that_are_missing_or_empty_are_so() -> None:
    found, = mountinfo("36 35 0:5 / / rw - tmpfs  rw")
    assert (found.optional, found.source, found.super_options) == ((), "", "rw")


def test_a_backslash_that_begins_no_number_stays() -> None:
    assert MountInfo(r"36 35 0:5 / /a\89x\04 rw - tmpfs x rw").mount_point == r"/a\89x\04"


@pytest.mark.parametrize("line", ["36 35 0:5 / / rw", "36 35 0:5 / - tmpfs x rw", "x 35 0:5 / / rw - tmpfs x rw",
                                  "36 35 0:5 / / rw - tmpfs x"])
def test_what_is_no_line_of_mountinfo_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a line of mountinfo|invalid literal"):
        mountinfo(line)


def test_this_process_has_a_root_mount() -> None:
    assert "/" in {entry.mount_point for entry in mountinfo()}


@contextmanager
def _process_called(name: str) -> Iterator[int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        set_name(name)
        os.write(writer, b"x")
        time.sleep(20)
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("name", ["plain", ") Z 1 1 (", "a) R 0", "(((", ")))", "with space", "new\nline", "\udcff"])
def test_a_process_does_not_lie_by_its_name(name: str) -> None:
    with _process_called(name) as pid:
        found = process_stat(pid)
        assert (found.pid, found.comm, found.ppid) == (pid, name, os.getpid())
        assert found.state in "RSD"
        assert abs(found.start_time / os.sysconf("SC_CLK_TCK") - time.clock_gettime(time.CLOCK_BOOTTIME)) < 20
        shown = status(pid)
        assert shown["PPid"] == str(os.getpid())
        assert shown["Pid"] == str(pid)


def test_a_stat_line_is_taken_apart_after_the_last_parenthesis() -> None:
    found = ProcessStat("7 (x) S 1) D 3 " + " ".join(str(number) for number in range(5, 60)))
    assert (found.pid, found.comm, found.state, found.ppid, found.start_time) == (7, "x) S 1", "D", 3, 22)
    assert repr(found) == "ProcessStat(pid=7, comm='x) S 1', state=D)"


def test_a_process_that_is_gone_is_not_found() -> None:
    with pytest.raises(SyscallError, match="ENOENT"):
        process_stat(0x7FFFFFFF)


def test_controllers_and_paths_are_paired() -> None:
    text = "12:cpu,cpuacct:/a:b\n3:name=systemd:/x y\n0::/user.slice/ä\n"
    assert cgroup_file(text) == {"cpu": "/a:b", "cpuacct": "/a:b", "name=systemd": "/x y", "": "/user.slice/ä"}
    assert cgroup_file("") == {}
    assert cgroup_file(Path("/proc/self/cgroup").read_text())


def test_a_status_line_is_a_name_and_a_value(in_child: InChild) -> None:
    assert in_child(lambda: status()["PPid"]) == str(os.getpid())
    assert status("self")["Threads"].isdigit()
