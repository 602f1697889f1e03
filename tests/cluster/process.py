"""Child processes that die with their starter, whatever kills it."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StartFailed(RuntimeError):
    """A component ended or stayed silent; the message holds the end of its log."""


def die_with_parent() -> Callable[[], None]:
    """For ``preexec_fn``: the child gets SIGKILL when the thread that started it ends."""
    parent = os.getpid()

    def before_exec() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return before_exec


def identity(pid: int) -> str | None:
    """The pid with its start time, which no later process has; None where it ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{pid} {started}"


def alive(recorded: str) -> bool:
    """Whether the process of this identity still runs."""
    pid, _, _ = recorded.partition(" ")
    return pid.isdigit() and identity(int(pid)) == recorded


def wait_until(ready: Callable[[], bool], seconds: float) -> bool:
    """Polls; False where it did not become true in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Component:
    """One running program with its log file."""

    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                preexec_fn=die_with_parent(),
            )

    def wait_for(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Raises StartFailed where it ends or is not ready in time."""
        came = wait_until(lambda: self.process.poll() is not None or ready(), seconds)
        if self.process.poll() is not None:
            raise StartFailed(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
        if not came:
            raise StartFailed(f"{self.name} was not ready after {seconds:.0f} s: {self.tail()}")

    def tail(self, size: int = 3000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def stop(self, seconds: float = 5.0) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
