"""A stage's process: found again after the runner was killed, by pid and start time."""

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
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
    slot: str = ""
    """Name of the device slot; empty where it is not known."""

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
    write_whole(folder / FILE, json.dumps(asdict(identity)) + "\n")


def recall(folder: Path, attempt: int) -> Identity:
    """The process of this attempt, living or not.

    A runner killed between starting a process and writing it down left no file that says so;
    such a process is found by the log that it writes.
    """
    try:
        found = Identity(**json.loads((folder / FILE).read_text()))
        if found.attempt == attempt:
            return found
    except (OSError, ValueError, TypeError):
        pass
    pid = _writer(log_file(folder, attempt))
    return Identity(attempt, pid or 0, (start_ticks(pid) if pid else None) or -1)


def log_file(folder: Path, attempt: int) -> Path:
    """Where an attempt's stderr goes."""
    return folder / f"log-{attempt}.txt"


def _writer(log: Path) -> int | None:
    """The leader of the process group whose stderr is ``log``."""
    wanted = os.path.realpath(log)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if os.readlink(entry / "fd" / "2") == wanted and os.getpgid(pid) == pid:
                return pid
    return None
