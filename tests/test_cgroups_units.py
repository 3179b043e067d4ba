"""Limits as people write them, and that they bite."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import nscontainer
from nscontainer import units
from nscontainer.config import Config
from nscontainer.errors import ConfigInvalid
from nscontainer.popen import Popen
from nscontainer.resources import ThrottleDevice
from nscontainer.validate import ConfigValidator

MIB = 1 << 20


@pytest.mark.parametrize(("written", "meant"), [
    (0, 0), (268435456, 256 * MIB), ("268435456", 256 * MIB), ("256M", 256 * MIB), ("256m", 256 * MIB),
    (" 256 M".replace(" ", ""), 256 * MIB), ("256MB", 256 * MIB), ("256MiB", 256 * MIB), ("1.5G", 1536 * MIB),
    ("0.5k", 512), ("4096B", 4096), ("1T", 1 << 40),
])
def test_an_amount_is_in_bytes(written: Any, meant: int) -> None:
    assert units.amount(written, "memory") == meant


@pytest.mark.parametrize("wrong", ["", "M", "x", "1X", "-1", -1, 1.5, True, None, "1 0", "1.M", ".5M", "1e3", "٣", "8E",
                                   "9" * 50, 1 << 63, "9000P", [], "1MM"])
def test_nonsense_is_no_amount(wrong: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"^memory: expected bytes as in"):
        units.amount(wrong, "memory")


def test_without_limits_there_is_no_cgroup() -> None:
    assert units.limits("x") is None
    assert units.limits("x", io={}) is None


def test_limits_are_those_of_a_cgroup() -> None:
    group = units.limits("x", memory="64M", swap="1M", cpus=1.5, cpuset="0-3,7", pids=33)
    assert group is not None
    assert (group.name, group.memory, group.memory_swap) == ("x", 64 * MIB, 65 * MIB)
    assert (group.cpu_quota, group.cpu_period, group.cpuset_cpus, group.pids_limit) == (150000, 100000, "0-3,7", 33)
    for swap, both in ((None, 128 * MIB), (0, 64 * MIB), ("0", 64 * MIB)):
        group = units.limits("x", memory="64M", swap=swap)
        assert group is not None and group.memory_swap == both
        ConfigValidator().validate(Config(rootfs="/", cgroups=group))


@pytest.mark.parametrize(("wrong", "where"), [
    ({"memory": "512K"}, "memory: 524288 bytes are too little"), ({"swap": "1G"}, "swap: means nothing without memory"),
    ({"cpus": 0}, "cpus: expected a number"), ({"cpus": True}, "cpus: "), ({"cpus": "2"}, "cpus: "),
    ({"cpus": float("nan")}, "cpus: "), ({"cpus": float("inf")}, "cpus: "), ({"pids": 0}, "pids: expected a whole"),
    ({"pids": 1.5}, "pids: "), ({"cpuset": "3-1"}, "cpuset: expected CPUs"), ({"cpuset": ""}, "cpuset: "),
    ({"cpuset": "a"}, "cpuset: "), ({"cpuset": 1}, "cpuset: "), ({"io": {"/no/such": "1M"}}, "io['/no/such']: "),
    ({"io": {"/proc": "1M"}}, "io['/proc']: '/proc' is on no disk"),
])
def test_nonsense_is_refused_by_the_arguments_name(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        units.limits("x", **wrong)
    assert str(caught.value).startswith(where)


@pytest.fixture
def disk() -> str:
    for name in sorted(os.listdir("/dev")):
        if Path("/sys/class/block", name).exists() and not Path("/sys/class/block", name, "partition").exists():
            return f"/dev/{name}"
    pytest.skip("no disk has a node in /dev")


def test_traffic_is_limited_by_disk(disk: str) -> None:
    number = os.stat(disk).st_rdev
    major, minor = os.major(number), os.minor(number)
    group = units.limits("x", io={disk: "1M"})
    assert group is not None
    assert group.blkio_throttle_read_bps_device == (ThrottleDevice(major, minor, MIB),)
    assert group.blkio_throttle_write_bps_device == (ThrottleDevice(major, minor, MIB),)
    group = units.limits("x", io={disk: {"write": "2K", "read_ops": 7}})
    assert group is not None
    assert group.blkio_throttle_write_bps_device == (ThrottleDevice(major, minor, 2048),)
    assert group.blkio_throttle_read_iops_device == (ThrottleDevice(major, minor, 7),)
    for wrong in ({"sideways": 1}, {"read": 0}, {"write_ops": "1M"}):
        with pytest.raises(ConfigInvalid, match=r"^io\["):
            units.limits("x", io={disk: wrong})


# --- they bite

EATER = ["/usr/bin/python3", "-c", "b'x' * (128 << 20)"]
bites = pytest.mark.parametrize("host", [pytest.param("v1", marks=pytest.mark.needs("root", "cgroup1")),
                                         pytest.param("v2", marks=pytest.mark.needs("root", "cgroup2_controllers"))])


@bites
def test_who_takes_more_memory_than_there_is_is_killed(host: str) -> None:
    with Popen(EATER, memory="64M", swap=0) as program:
        assert program.wait(60) == -9
    assert program.resources is not None and program.resources.oom_killed
    assert 32 * MIB < program.resources.peak_memory <= 64 * MIB


@bites
def test_who_stays_below_the_limit_is_not(host: str) -> None:
    with Popen(["sh", "-c", "head -c 4096 /dev/zero >/dev/null"], memory="64M") as program:
        assert program.wait(60) == 0
    assert program.resources is not None and not program.resources.oom_killed
    assert program.resources.cpu_time > 0


@bites
def test_the_33rd_process_is_not_forked(host: str) -> None:
    script = ("import os, signal\nn = 1\ntry:\n    while n < 99:\n        if os.fork() == 0: signal.pause()\n"
              "        n += 1\nexcept BlockingIOError: pass\nprint(n)")
    done = nscontainer.run(["/usr/bin/python3", "-c", script], pids=32, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "32\n", "")


@bites
def test_a_quarter_of_a_cpu_is_a_quarter(host: str) -> None:
    with Popen(["sh", "-c", "while :; do :; done"], cpus=0.25) as program:
        time.sleep(1.2)
        program.kill()
    assert program.resources is not None
    assert 0.15 < program.resources.cpu_time < 0.5


@bites
def test_the_command_takes_the_same_limits(host: str) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "nscontainer", *words], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, cwd=Path(nscontainer.__file__).parent.parent)

    done = command("sandbox", "--memory", "64M", "--swap", "0", "--", *EATER)
    assert done.returncode == 137
    done = command("sandbox", "--pids", "many", "--", "true")
    assert (done.returncode, "--cpus, --pids: expected a number" in done.stderr) == (2, True)
    done = command("sandbox", "--memory", "many", "--", "true")
    assert (done.returncode, "memory: expected bytes" in done.stderr) == (2, True)


@bites
def test_what_a_host_does_not_have_is_a_clear_refusal_and_leaves_nothing(host: str, leaves_nothing: Any) -> None:
    with pytest.raises(nscontainer.ContainerError, match=r"cpuset.cpus.*text=4000.*not all of these exist"):
        Popen(["true"], cpuset="4000")
