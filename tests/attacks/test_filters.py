"""What a program may ask of the kernel: the filter that is the default, and filters that mean what they say."""
from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import fork
from nscontainer.config import Action, Arg, Operator, Seccomp, Syscall
from nscontainer.sandbox import CAPABILITIES
from nscontainer.security.default_profile import default_profile
from nscontainer.security.seccomp_compiler import numbers_of
from nscontainer.sys.keyctl import join_session_keyring

from .bundle import Spec, filtered, spec
from .canaries import SECRET, Fell
from .marks import attack
from .runtimes import Ran, Runtime

pytestmark = pytest.mark.needs("root", "busybox", "gcc")
HERE = Path(__file__).resolve().parent
FIOCLEX = 0x5451
SAFE = default_profile(CAPABILITIES)


@pytest.fixture(scope="session")
def intruder(scratch: Path) -> Path:
    """The program of intruder.c, static."""
    program = scratch / "intruder"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(program), str(HERE / "intruder.c")], check=True)
    return program


def _try(runtime: Runtime, image: Path, intruder: Path, profile: Seccomp, *ways: str, uid: int = 0) -> Ran:
    """Run the intruder behind a filter; Fell if it reached something."""
    shutil.copy(intruder, image / "bin/intruder")
    made: Spec = spec(image, f"intruder {' '.join(ways)}", user={"uid": uid, "gid": uid}, noNewPrivileges=True)
    ran = runtime.run(filtered(made, profile))
    assert ran.started and "+ended" in ran.output, ran
    if "REACHED" in ran.output or SECRET in ran.output:
        raise Fell(str(ran))
    return ran


@pytest.mark.needs("userns")
@attack("CVE-2020-14386", "CVE-2021-22555", "CVE-2022-32250", "CVE-2023-32233", "CVE-2024-1086", "CVE-2016-3135",
        "CVE-2022-0185", "CVE-2021-3493", "CVE-2023-0386", "CVE-2023-2640", "CVE-2023-32629", "CVE-2022-0492",
        "CVE-2021-41133", falls={"way": ["clone", "clone3"]})
@pytest.mark.parametrize("way", ["unshare", "clone", "clone-high", "clone3"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_cve_2022_0185_no_user_namespace_is_a_way_to_mounts_and_packet_filters(
        runtime: Runtime, image: Path, intruder: Path, way: str, uid: int) -> None:
    _try(runtime, image, intruder, SAFE, way, uid=uid)


@attack("CVE-2021-41133", falls=True)
def test_cve_2021_41133_a_call_that_the_filter_does_not_name_is_not_to_be_had(
        runtime: Runtime, image: Path, intruder: Path) -> None:
    _try(runtime, image, intruder, SAFE, "newer")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are those of x86_64")
@pytest.mark.needs("userns")
@attack("CVE-2021-41133", falls={"table": ["x86"]})
@pytest.mark.parametrize("table", ["x86", "x32"])
def test_cve_2021_41133_a_call_has_no_second_number(runtime: Runtime, image: Path, intruder: Path, table: str) -> None:
    _try(runtime, image, intruder, SAFE, table)


@attack("CVE-2019-10063", "CVE-2019-7303", falls=True)
def test_cve_2019_10063_a_request_is_told_by_the_bits_that_the_kernel_looks_at(
        runtime: Runtime, image: Path, intruder: Path) -> None:
    rule = Arg(1, 0xFFFFFFFF, FIOCLEX, Operator.MASK_EQUAL_TO)
    _try(runtime, image, intruder, Seccomp(Action.ALLOW, (), (Syscall("ioctl", Action.ERRNO, (rule,)),)), "ioctl")


@attack("CVE-2017-18367", falls=True)
def test_cve_2017_18367_all_conditions_of_a_rule_must_hold(runtime: Runtime, image: Path, intruder: Path) -> None:
    rule = Syscall("socket", Action.ALLOW, (Arg(0, 2, 0, Operator.EQUAL_TO), Arg(1, 1, 0, Operator.EQUAL_TO)))
    others = tuple(sorted(numbers_of(os.uname().machine).keys() - {"socket"}))
    ran = _try(runtime, image, intruder, Seccomp(Action.ERRNO, (), (
        Syscall("", Action.ALLOW, (), others), rule)), "socket")
    assert "allowed is allowed" in ran.output


@attack("BenchExec 2.2", falls=True)
@pytest.mark.parametrize("ring", ["session", "user"])
def test_benchexec_2_2_no_key_of_the_caller_is_in_reach(runtime: Runtime, image: Path, intruder: Path,
                                                       ring: str) -> None:
    def with_a_key() -> str | None:
        join_session_keyring("nscontainer-attacked")
        number = numbers_of(os.uname().machine)["add_key"]
        where = -3 if ring == "session" else -4
        serial = _libc_call(number, b"user", b"nscontainer-attacked", SECRET.encode(), len(SECRET), where)
        again = runtime.afresh()
        try:
            _try(again, image, intruder, SAFE, f"keys:{serial}")
        except Fell as fell:
            return str(fell)
        finally:
            if again is not runtime:
                again.close()
            _libc_call(numbers_of(os.uname().machine)["keyctl"], 9, serial, where)   # KEYCTL_UNLINK
        return None

    if fell := fork.run_in_child(with_a_key):
        raise Fell(fell)


def _libc_call(number: int, *arguments: Any) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result
