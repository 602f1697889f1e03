"""A real one-node Kubernetes for people.

up          starts it in the background; prints a line to eval, which sets KUBECONFIG and PATH
down        stops it and leaves nothing behind
kubeconfig  prints the path of its kubeconfig
build       builds the Kubernetes binaries if they are not in the cache

A cluster of level "node" has the trainer's image, llmzero-trainer:dev, and in the namespace
"default" a claim "checkpoints".
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.build import binaries
from tests.cluster.cluster import LEVELS, Cluster, Level
from tests.cluster.image import load_trainer
from tests.cluster.process import alive, identity, wait_until
from tests.cluster.volumes import make_claim
from tests.tools.cache import cache

STATE = cache() / "cluster"
KEEPER = STATE / "keeper"
KUBECONFIG = STATE / "kubeconfig"
PROGRAMS = STATE / "bin"


def up(level: Level) -> int:
    if _keeper() is not None:
        print("a cluster is up already", file=sys.stderr)
    elif not _start_keeper(level):
        return 1
    plugins = Path(sys.executable).parent  # kubectl finds kubectl-llmzero there
    print(f"export KUBECONFIG={KUBECONFIG} PATH={PROGRAMS.resolve()}:$PATH:{plugins}")
    return 0


def _start_keeper(level: Level) -> bool:
    binaries()  # may take minutes, and says so
    STATE.mkdir(parents=True, exist_ok=True)
    KUBECONFIG.unlink(missing_ok=True)
    log = STATE / "log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", "keep", "--level", level],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    KEEPER.write_text(identity(keeper.pid) or "")
    wait_until(lambda: keeper.poll() is not None or KUBECONFIG.exists(), 600)
    if not KUBECONFIG.exists():
        keeper.terminate()
        print(log.read_text()[-4000:], file=sys.stderr)
        return False
    return True


def keep(level: Level) -> int:
    """Holds the cluster until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Cluster(level) as cluster:
        if level == "node":
            load_trainer(cluster)
            make_claim(cluster.kube, "default")
        PROGRAMS.unlink(missing_ok=True)
        PROGRAMS.symlink_to(cluster.binaries)
        made = STATE / ".kubeconfig"
        made.touch(mode=0o600)
        made.write_bytes(cluster.kubeconfig.read_bytes())
        made.rename(KUBECONFIG)
        while True:
            signal.pause()


def down() -> int:
    keeper = _keeper()
    if keeper is None:
        print("no cluster is up")
    else:
        os.kill(keeper, signal.SIGTERM)
        wait_until(lambda: _keeper() is None, 60)
    for file in (KUBECONFIG, KEEPER):
        file.unlink(missing_ok=True)
    return 0


def _keeper() -> int | None:
    """The keeper's pid, where it lives."""
    recorded = KEEPER.read_text() if KEEPER.exists() else ""
    return int(recorded.split()[0]) if alive(recorded) else None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["up", "down", "kubeconfig", "build", "keep"])
    parser.add_argument("--level", choices=LEVELS, default="node", help="for up (default: node)")
    given = parser.parse_args()
    if given.command == "up":
        return up(given.level)
    if given.command == "keep":
        return keep(given.level)
    if given.command == "down":
        return down()
    print(binaries() if given.command == "build" else KUBECONFIG)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"cluster: {error}")
