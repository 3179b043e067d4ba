"""TCP through a veth pair: one that nscontainer makes for a container, against one that ip(8) makes.

    sudo python3 benchmarks/veth.py [ROUNDS]

Both ends of each connection are Python; each turn lasts a second, and the turns alternate. What is compared is the
kernel's work, so the ratio should be 1 but for noise. Needs iproute2 and unshare(1).
"""
from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time

from common import REPOSITORY

sys.path.insert(0, REPOSITORY)

from nscontainer import Veth, run
from nscontainer.sys.clone import CLONE, unshare
from nscontainer.sys.inet import parse_prefix
from nscontainer.sys.rtnetlink import Rtnetlink

PORT = 5001
CLIENT = f"""
import socket, time
connection = socket.create_connection(("10.5.0.1", {PORT}))
data, end = bytes(1 << 17), time.monotonic() + 1
while time.monotonic() < end:
    connection.sendall(data)
"""


def serve(server: socket.socket, rates: list[float], done: threading.Event) -> None:
    """Receive from one connection after another, and note the rate of each in Gbit/s."""
    while True:
        connection, _ = server.accept()
        with connection:
            start, size = time.monotonic(), 0
            while data := connection.recv(1 << 18):
                size += len(data)
            rates.append(size * 8 / (time.monotonic() - start) / 1e9)
        done.set()


def ours() -> None:
    """Send from a container of ours."""
    run([sys.executable, "-c", CLIENT], network=Veth("10.5.0.2/24", bridge="br0"), check=True)


def by_ip() -> None:
    """Send from a network namespace whose interface ip(8) has made."""
    script = 'read go; ip address add 10.5.0.3/24 dev eth0; ip link set eth0 up; exec "$0" -c "$1"'
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script, sys.executable, CLIENT],
                          stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        for command in (f"link add vip type veth peer name eth0 netns {process.pid}", "link set vip master br0 up"):
            subprocess.run(["ip", *command.split()], check=True)
        process.stdin.write(b"\n")
    with Rtnetlink() as kernel:
        while any(link.name == "vip" for link in kernel.links()):
            time.sleep(0.01)


def main() -> None:
    """Measure in a network namespace of our own."""
    unshare(CLONE.NEWNET)
    with Rtnetlink() as kernel:
        kernel.new_link("br0", "bridge")
        bridge = kernel.link("br0").index
        kernel.set_link(bridge, up=True)
        kernel.new_address(bridge, *parse_prefix("10.5.0.1/24"))
    rates: list[float] = []
    done = threading.Event()
    threading.Thread(target=serve, args=(socket.create_server(("10.5.0.1", PORT)), rates, done), daemon=True).start()
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        for turn in (ours, by_ip):
            done.clear()
            turn()
            done.wait(10)
    own, others = statistics.median(rates[::2]), statistics.median(rates[1::2])
    print(f"nscontainer {own:.1f} Gbit/s, ip {others:.1f} Gbit/s: ratio {own / others:.2f}")


if __name__ == "__main__":
    main()
