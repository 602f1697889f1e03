"""What a cluster leaves when its starter is killed: its processes die with it, this removes the rest.

``python -m tests.cluster.leftovers FOLDER`` is started beside every cluster, in a session of its
own. It waits until its standard input closes, which a starter cannot avoid by dying, and cleans up.
Should that process be killed too, the next start sweeps.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.cluster import cgroups
from tests.cluster.process import alive, identity, wait_until

PREFIX = "llmzero-cluster-"
"""The name goes on with the starter's pid, its start time and something random."""
PROCESSES = "processes"
LINK = "link"
STOP_SECONDS = 10


def make_folder() -> Path:
    """A new cluster's folder, named after this process, its owner."""
    owner = (identity(os.getpid()) or "").replace(" ", "-")
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-"))


def start_janitor(folder: Path) -> subprocess.Popen[bytes]:
    """Removes the cluster when its standard input closes."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.leftovers", str(folder)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def sweep() -> None:
    """Removes the clusters whose starters live no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid, _, started = folder.name.removeprefix(PREFIX).rpartition("-")[0].partition("-")
        if pid.isdigit() and not alive(f"{pid} {started}"):
            remove(folder)


def remove(folder: Path) -> None:
    """Everything of a cluster."""
    end(folder)
    wait_until(lambda: _gone(folder), STOP_SECONDS)


def end(folder: Path) -> None:
    """Ends what still runs, by recorded pid and start time; deletes network link and groups."""
    if not folder.name.startswith(PREFIX):
        raise ValueError(f"{folder}: not a cluster's folder")
    for recorded in _read(folder / PROCESSES).splitlines():
        if alive(recorded):
            os.kill(int(recorded.split()[0]), signal.SIGKILL)
        wait_until(partial(_ended, recorded), STOP_SECONDS)
    if link := _read(folder / LINK):
        subprocess.run(["ip", "link", "delete", link], capture_output=True)
    cgroups.remove(folder.name)


def _ended(recorded: str) -> bool:
    return not alive(recorded)


def _gone(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.stdin.buffer.read()
    if Path(sys.argv[1]).exists():
        remove(Path(sys.argv[1]))
