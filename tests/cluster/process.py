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


def die_with_parent() -> None:
    """In a child before exec: SIGKILL when the thread that started it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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
                preexec_fn=die_with_parent,
            )

    def wait_for(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Raises StartFailed where it ends or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise StartFailed(
                    f"{self.name} ended with {self.process.returncode}: {self.tail()}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready after {seconds:.0f} s: {self.tail()}")
            time.sleep(0.05)

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
