"""``python -m tests.cluster up [--level node] | down | kubeconfig``: a cluster for people.

``up`` leaves a keeper running in the background; ``down`` ends it, and with it everything.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.build import cache
from tests.cluster.cluster import Cluster, Level
from tests.cluster.image import load_trainer

STATE = cache() / "cluster"
LIMIT_SECONDS = 1200


def up(level: Level) -> int:
    if _keeper() is not None:
        print(f"a cluster is up already: export KUBECONFIG={STATE / 'kubeconfig'}")
        return 0
    STATE.mkdir(parents=True, exist_ok=True)
    for name in ("kubeconfig", "ready"):
        (STATE / name).unlink(missing_ok=True)
    with (STATE / "log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", "keep", "--level", level],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (STATE / "pid").write_text(str(keeper.pid))
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (STATE / "ready").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            print((STATE / "log").read_text()[-4000:], file=sys.stderr)
            return 1
        time.sleep(0.1)
    print(f"export KUBECONFIG={STATE / 'kubeconfig'} PATH={(STATE / 'bin').resolve()}:$PATH")
    return 0


def keep(level: Level) -> int:
    """Holds the cluster until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Cluster(level) as cluster:
        if level == "node":
            load_trainer(cluster)
        link = STATE / "bin"
        link.unlink(missing_ok=True)
        link.symlink_to(cluster.binaries)
        (STATE / "kubeconfig").write_bytes(cluster.kubeconfig.read_bytes())
        (STATE / "ready").write_text("")
        while True:
            signal.pause()


def down() -> int:
    keeper = _keeper()
    if keeper is None:
        print("no cluster is up")
        return 0
    os.kill(keeper, signal.SIGTERM)
    while Path(f"/proc/{keeper}").exists():
        time.sleep(0.05)
    (STATE / "pid").unlink(missing_ok=True)
    return 0


def _keeper() -> int | None:
    """The keeper's pid, where it lives."""
    try:
        pid = int((STATE / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"tests.cluster" in words else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "kubeconfig", "keep"])
    parser.add_argument("--level", choices=["api", "controllers", "node"], default="node")
    given = parser.parse_args()
    if given.command == "up":
        return up(given.level)
    if given.command == "keep":
        return keep(given.level)
    if given.command == "down":
        return down()
    print(STATE / "kubeconfig")
    return 0


if __name__ == "__main__":
    sys.exit(main())
