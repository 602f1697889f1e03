"""A stage's process: found again after the runner was killed, by pid and start time."""

import contextlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from llmzero.local.files import write_whole

FILE = "process.json"


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: with it a reused pid is told from the old process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process works on a stage; stored in the stage's directory."""

    attempt: int
    pid: int
    ticks: int

    @property
    def alive(self) -> bool:
        return start_ticks(self.pid) == self.ticks

    def signal(self, number: int) -> None:
        """To the whole process group, so that data loader workers hear it, too."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


def remember(folder: Path, identity: Identity) -> None:
    text = json.dumps({"attempt": identity.attempt, "pid": identity.pid, "ticks": identity.ticks})
    write_whole(folder / FILE, text + "\n")


def recall(folder: Path) -> Identity | None:
    """The process that was last started for this stage, living or not."""
    try:
        data = json.loads((folder / FILE).read_text())
        return Identity(int(data["attempt"]), int(data["pid"]), int(data["ticks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
