"""Terminals: whose keyboard it is."""
from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import termios
from pathlib import Path

import pytest

import fork

from .bundle import spec
from .canaries import Fell
from .marks import attack
from .runtimes import Runtime

pytestmark = pytest.mark.needs("root", "busybox", "pty")

# ioctl_tty(2): TIOCSTI types a character; TIOCLINUX pastes the selection of a virtual terminal.
_TYPIST = r"""
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
int main(void) {
    int typed = 0;
    for (int fd = 0; fd < 3; fd++)
        for (const char *c = "typed\n"; *c; c++) typed += !ioctl(fd, TIOCSTI, c);
    char paste[] = {3};
    for (int fd = 0; fd < 3; fd++) typed += !ioctl(fd, 0x541C, paste);
    FILE *said = fopen("/said", "w");
    fprintf(said, "%d\n", typed);
    return fclose(said);
}
"""


@pytest.mark.needs("gcc")
@attack("CVE-2016-10124", "CVE-2017-5226")
def test_cve_2017_5226_nobody_types_into_the_caller_s_terminal(runtime: Runtime, image: Path, tmp_path: Path) -> None:
    """The program gets a terminal of its own; the caller's, which is the runtime's own, is not in its reach."""
    (tmp_path / "typist.c").write_text(_TYPIST)
    subprocess.run(["gcc", "-static", "-o", str(image / "bin/typist"), str(tmp_path / "typist.c")], check=True)

    def at_a_terminal() -> list[bool]:
        slave = os.openpty()[1]
        os.setsid()
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.close(os.open("/dev/tty", os.O_RDWR))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ran = runtime.afresh().terminal(spec(image, "typist"))
        return [ran.started, bool(select.select([0], [], [], 0)[0])]

    started, typed = fork.run_in_child(at_a_terminal)
    assert started and (image / "said").exists()
    if typed:
        raise Fell("the program has typed into the caller's terminal")
