"""First process inside a node-level cluster's namespaces: starts everything and waits.

When it dies, the kernel kills every process of the namespace and drops its mounts and network.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster import control_plane, node

PRIVATE = (
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
"""Paths that containerd, kubelet and CNI plugins do not let anybody configure."""


def _network(number: int) -> str:
    """Waits for our end of the veth pair, brings it up, returns our address."""
    link = f"lz{number}b"
    deadline = time.monotonic() + 20
    while subprocess.run(["ip", "link", "show", link], capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise SystemExit("the network pair did not come")
        time.sleep(0.02)
    address = f"10.213.{number}.2"
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "addr", "add", f"{address}/24", "dev", link],
        ["ip", "link", "set", link, "up"],
        ["ip", "route", "add", "default", "via", f"10.213.{number}.1"],
    ):
        subprocess.run(command, check=True)
    return address


def main() -> None:
    settings = json.loads(sys.argv[1])
    binaries, folder = Path(settings["binaries"]), Path(settings["folder"])
    address = _network(settings["network"])
    for path in PRIVATE:
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
    place = control_plane.place(binaries, folder, address, 6443)
    containerd = node.containerd(place)
    control_plane.start(place, controllers=True, started=[])
    node.start(place, containerd)
    (folder / "ready").write_text("")
    while True:  # reap what is orphaned to the first process of a pid namespace
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()


if __name__ == "__main__":
    main()
