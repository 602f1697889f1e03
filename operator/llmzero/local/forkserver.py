"""Stages forked from a preloaded process: they begin in hundredths of a second on a CPU.

Speaks the wire protocol that ``llmzero_trainer.forkserver`` documents; this room imports neither
the trainer nor torch.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from llmzero.api.contract import StageRequest
from llmzero.local.devices import Slot
from llmzero.local.errors import RunError
from llmzero.local.launch import Ended, Handle, environment
from llmzero.local.process import Identity, log_file, start_ticks

READY_SECONDS = 300.0
"""Importing torch and TRL takes 6 to 20 s; a cold disk takes longer."""
ANSWER_SECONDS = 30.0
STOP_SECONDS = 10.0


class Forkserver:
    """Starts the server at once; it takes some seconds to be ready."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._was_ready = False
        # A unix socket's path is limited to 107 bytes, so it is not put below the run directory.
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="llmzero-")
            self._log = (Path(self._folder.name) / "log").open("w+b")
        except OSError as error:
            raise RunError(f"{tempfile.gettempdir()}: cannot be written: {error}") from error
        self._socket = Path(self._folder.name) / "forkserver"
        self._server = self._spawn()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self._began = time.monotonic()
        self._socket.unlink(missing_ok=True)
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        return subprocess.Popen(
            [sys.executable, "-m", "llmzero_trainer.forkserver", str(self._socket)],
            env={**os.environ, "OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is the runner's to handle
        )

    def ready(self) -> bool:
        """Whether everything is imported. Raises RunError where that failed."""
        if self._server.poll() is not None:
            if not self._was_ready:
                raise RunError(f"the trainer cannot be loaded: {self._said()}")
            self._server = self._spawn()  # it was killed
        elif self._socket.exists():
            self._was_ready = True
            return True
        if time.monotonic() > self._began + READY_SECONDS:
            raise RunError(f"the trainer was not loaded within {READY_SECONDS:.0f} s")
        return False

    def start(self, request: StageRequest, attempt: int, slot: Slot, folder: Path) -> Handle:
        """Raises RunError where the server does not answer or the fork fails."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(self._socket))
            order = {
                "op": "run",
                "env": environment(self._root, request, attempt, slot),
                "cwd": os.getcwd(),
                "stdout": os.devnull,
                "stderr": str(log_file(folder, attempt).resolve()),
            }
            connection.sendall(json.dumps(order).encode() + b"\n")
            handle = _Forked(connection, attempt, slot)
            handle.await_start()
        except OSError as error:
            connection.close()
            raise RunError(f"the forkserver does not answer: {error}. {self._said()}") from error
        return handle

    def close(self) -> None:
        """SIGTERM to the server; stages that still run go on."""
        if self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        self._log.close()
        with contextlib.suppress(OSError):
            self._folder.cleanup()

    def _said(self) -> str:
        """The server's last words."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else "it said nothing"


class _Forked:
    """A forked stage; its end comes over the connection that asked for it."""

    def __init__(self, connection: socket.socket, attempt: int, slot: Slot) -> None:
        self._connection = connection
        self._buffer = b""
        self._attempt = attempt
        self._slot = slot.name
        self._ended: Ended | None = None
        self.identity = Identity(attempt, 0, -1)

    def await_start(self) -> None:
        event = self._next()
        if event is None or event.get("event") != "started":
            raise RunError(f"the stage could not be forked: {(event or {}).get('message')}")
        pid = int(event["pid"])
        self.identity = Identity(self._attempt, pid, start_ticks(pid) or 0, self._slot)
        self._connection.setblocking(False)

    def poll(self) -> Ended | None:
        if self._ended is None and select.select([self._connection], [], [], 0)[0]:
            try:
                event = self._next()
            except BlockingIOError:
                return None
            except OSError:
                event = None
            if event is None:  # the server died, and with it the answer
                self._ended = None if self.identity.alive else Ended(None)
            else:
                code = event.get("code")
                self._ended = Ended(int(code) if code is not None else -int(event["signal"] or 9))
            if self._ended is not None:
                self._connection.close()
        return self._ended

    def _next(self) -> dict[str, Any] | None:
        """The next event; None at the end of the connection."""
        while b"\n" not in self._buffer:
            data = self._connection.recv(65536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event
