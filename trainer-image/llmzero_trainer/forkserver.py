"""A process that has imported everything once and forks a stage in a hundredth of a second.

    python -m llmzero_trainer.forkserver SOCKET

It preloads torch, transformers, datasets and TRL, then listens on the unix socket SOCKET. The
socket file appears (by rename) when the server is ready. If an import fails, the server prints it
on stderr and exits with 1 before the socket appears.

Wire protocol: JSON objects, one a line, UTF-8, at most 1 MiB a line. One connection carries one
request; the server answers on it and closes it.

* ``{"op": "ping"}`` is answered ``{"event": "ready", "pid": 71, "seconds": 6.1}`` (what the
  preloading took).
* ``{"op": "run", "env": {...}, "cwd": "/dir", "stdout": "/file", "stderr": "/file",
  "arguments": []}`` runs ``python -m llmzero_trainer ARGUMENTS`` in a forked child. ``env`` is the
  whole environment of the child. ``cwd``, ``arguments`` may be left out. ``stdout`` and ``stderr``
  are files, opened for appending; left out, the child takes two file descriptors that came with
  the line as SCM_RIGHTS (stdout first), else ``/dev/null``. Answers, in order:
  ``{"event": "started", "pid": 123}`` and, when the child has ended,
  ``{"event": "exited", "pid": 123, "code": 0, "signal": null}``; of a child that a signal killed,
  ``code`` is null and ``signal`` its number.
* What cannot be done is answered ``{"event": "error", "message": "..."}``.

The child leads a session and a process group of its own: signal it with ``kill(pid)`` or
``killpg(pid)``. Closing the connection does not stop it. The server ends when its parent ends, or
on SIGTERM; its children go on, as a process that was started afresh would.

For CPU stages. The server runs no tensor operation, starts no thread and never asks for a GPU:
``PYTORCH_NVML_BASED_CUDA_CHECK`` keeps ``torch.cuda.is_available()`` from poisoning later forks,
and ``JE_ARROW_MALLOC_CONF`` keeps Arrow's jemalloc from starting its background thread. Variables that
libraries read at import (OMP_NUM_THREADS, HF_HUB_OFFLINE) must be set for the server itself.
"""

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, NoReturn

LINE_LIMIT = 1024 * 1024
PR_SET_PDEATHSIG = 1
PRELOAD = (
    "torch",
    "transformers.models.qwen3.modeling_qwen3",
    "transformers.models.llama.modeling_llama",
    "transformers.generation.utils",
    "datasets",
    "peft",
    "trl.trainer.grpo_trainer",
    "llmzero_trainer.__main__",
    "llmzero_trainer.stage",
    "llmzero_trainer.training",
    "llmzero_trainer.tasks.scratchpad_addition",
)
ENVIRONMENT = {
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def serve(path: str) -> int:
    """Preload, listen, fork; returns when the parent is gone."""
    parent = os.getppid()
    die_with_parent(signal.SIGTERM)
    began = time.monotonic()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not preload():
        return 1
    if os.getppid() != parent:
        return 0
    return Server(path, time.monotonic() - began).loop()


def preload() -> bool:
    """Import what a stage needs; False after printing what failed."""
    import importlib

    for name in PRELOAD:
        try:
            importlib.import_module(name)
        except Exception:
            print(f"forkserver: {name} cannot be imported:", file=sys.stderr)
            traceback.print_exc()
            return False
    warm_up()
    gc.collect()
    gc.freeze()  # no stage's collector walks over what all of them share
    return True


def warm_up() -> None:
    """Fill caches of pure Python that the first model of a process pays for."""
    with contextlib.suppress(ImportError, AttributeError):  # internals: 0.2 s, no more
        from transformers import conversion_mapping

        conversion_mapping.get_checkpoint_conversion_mapping("qwen3")


def die_with_parent(number: signal.Signals) -> None:
    """Ask Linux for a signal when the parent ends (elsewhere the parent has to do it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


@dataclass
class _Connection:
    socket: socket.socket
    received: bytes = b""
    descriptors: list[int] = field(default_factory=list)
    pid: int | None = None

    def answer(self, **message: Any) -> None:
        try:
            self.socket.sendall((json.dumps(message) + "\n").encode())
        except OSError:
            return  # the client went away; its stage goes on

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []
        self.socket.close()


class _Child(BaseException):
    """Carries a request out of the event loop, in the forked child."""

    def __init__(self, request: dict[str, Any], descriptors: list[int]) -> None:
        self.request = request
        self.descriptors = descriptors


class Server:
    """One thread, one event loop."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._children: dict[int, _Connection] = {}
        self._selector = selectors.DefaultSelector()
        self._stop = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def loop(self) -> int:
        """Serve until SIGTERM; in a forked child, the stage's exit code instead."""
        self._listen()
        wake_in, wake_out = socket.socketpair()
        for end in (wake_in, wake_out):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_out.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stop", True))
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(wake_in, selectors.EVENT_READ, None)
        try:
            while not self._stop:
                for key, _ in self._selector.select():
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is wake_in:
                        wake_in.recv(4096)
                    else:
                        self._read(key.data)
                self._reap()
        except _Child as child:
            signal.set_wakeup_fd(-1)
            for connection in [*self._children.values(), *self._open()]:
                connection.socket.close()
            for opened in (self._listener, wake_in, wake_out):
                opened.close()
            self._selector.close()
            run_child(child.request, child.descriptors)
        os.unlink(self._path)
        return 0

    def _listen(self) -> None:
        made = f"{self._path}.{os.getpid()}"
        self._listener.bind(made)
        os.chmod(made, 0o600)
        self._listener.listen(64)
        os.rename(made, self._path)

    def _open(self) -> list[_Connection]:
        return [k.data for k in self._selector.get_map().values() if k.data is not None]

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        self._selector.register(accepted, selectors.EVENT_READ, _Connection(accepted))

    def _read(self, connection: _Connection) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(connection.socket, 65536, 2)
        except OSError:
            data, descriptors = b"", []
        connection.received += data
        connection.descriptors += descriptors
        if b"\n" in connection.received:
            self._selector.unregister(connection.socket)
            self._carry_out(connection)
        elif not data or len(connection.received) > LINE_LIMIT:
            self._selector.unregister(connection.socket)
            connection.answer(event="error", message="no line of JSON came")
            connection.close()

    def _carry_out(self, connection: _Connection) -> None:
        try:
            request = json.loads(connection.received.split(b"\n", 1)[0])
            if request["op"] == "ping":
                connection.answer(event="ready", pid=os.getpid(), seconds=round(self._seconds, 3))
                connection.close()
                return
            if request["op"] != "run":
                raise ValueError(f"op: found {request['op']!r}, allowed are ping and run")
            if not isinstance(request.get("env"), dict):
                raise ValueError("env: an object of strings is needed")
            pid = os.fork()
        except (OSError, ValueError, KeyError, TypeError) as error:
            connection.answer(event="error", message=f"{type(error).__name__}: {error}")
            connection.close()
            return
        if pid == 0:
            descriptors, connection.descriptors = connection.descriptors, []
            connection.socket.close()
            raise _Child(request, descriptors)
        for descriptor in connection.descriptors:
            os.close(descriptor)
        connection.descriptors = []
        connection.pid = pid
        self._children[pid] = connection
        connection.answer(event="started", pid=pid)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection = self._children.pop(pid)
            killed = os.WIFSIGNALED(status)
            connection.answer(
                event="exited",
                pid=pid,
                code=None if killed else os.WEXITSTATUS(status),
                signal=os.WTERMSIG(status) if killed else None,
            )
            connection.close()


def run_child(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Become the stage: own session, own output, own environment. Never returns."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        redirect(request, descriptors)
        os.chdir(request.get("cwd") or ".")
        os.environ.clear()
        os.environ.update({str(k): str(v) for k, v in request["env"].items()})
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [p for p in [os.getcwd(), *paths] if p and p not in sys.path]

        from llmzero_trainer.__main__ import main

        code = main([str(a) for a in request.get("arguments") or []])
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 2
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def redirect(request: dict[str, Any], descriptors: list[int]) -> None:
    """stdin from nowhere; stdout and stderr to the files or descriptors of the request."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for target, name in ((1, "stdout"), (2, "stderr")):
        path = request.get(name)
        if path:
            source = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        elif len(descriptors) >= target:
            source = descriptors[target - 1]
        else:
            source = null
        os.dup2(source, target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -m llmzero_trainer.forkserver SOCKET", file=sys.stderr)
        sys.exit(2)
    status = serve(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # frozen objects would be reported as leaks
