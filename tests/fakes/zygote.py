"""Starts ``llmzero operator`` in a tenth of a second: forks from a process that imported it.

    python -m tests.fakes.zygote        requests as JSON lines on stdin, ends on stdout

The forked process is an operator like any other: it can be killed, and it shares nothing.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Zygote:
    """The template process; use as a context."""

    def __enter__(self) -> "Zygote":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: queue.Queue[int] = queue.Queue()
        self._ends: dict[int, queue.Queue[int]] = {}
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> "Forked":
        assert self._process.stdin is not None
        request = {"arguments": list(arguments), "env": dict(env), "log": str(log)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid = self._started.get(timeout=60)
        return Forked(pid, self._ends[pid])

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, int] = json.loads(line)
            if "code" in said:
                self._ends[said["pid"]].put(said["code"])
            else:
                self._ends[said["pid"]] = queue.Queue()
                self._started.put(said["pid"])


class Forked:
    """Like subprocess.Popen, as far as it is needed."""

    def __init__(self, pid: int, ends: "queue.Queue[int]") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ends = ends

    def poll(self) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(queue.Empty):
                self.returncode = self._ends.get_nowait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises queue.Empty where it takes longer."""
        if self.returncode is None:
            self.returncode = self._ends.get(timeout=timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _main() -> None:
    import llmzero.controller.process  # noqa: F401
    from llmzero.cli.main import main

    def reap(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                _say(pid=pid, code=os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            _become(request, main)
        _say(pid=pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _become(request: dict[str, Any], main: Any) -> None:
    code = 1
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["llmzero", "operator", *request["arguments"]]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    finally:
        os._exit(code)


def _say(**fields: int) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


if __name__ == "__main__":
    _main()
