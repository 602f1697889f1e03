"""The forkserver, and the trainer as a process: what only a real process shows."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    REQUEST_HASH_ENV,
    ROOT_ENV,
    ExitCode,
    StageRequest,
    parse_record,
)
from tests.integration.trainer.conftest import Run, same, stage_request

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def stage_environment(request: StageRequest, root: Path, attempt: int = 1) -> dict[str, str]:
    return {
        **ENVIRONMENT,
        REQUEST_ENV: request.encode(),
        REQUEST_HASH_ENV: request.digest(),
        ROOT_ENV: str(root),
        ATTEMPT_ENV: str(attempt),
    }


class Client:
    """A client of the wire protocol, as a runner writes one."""

    def __init__(self, path: Path, process: "subprocess.Popen[bytes]") -> None:
        self.path = path
        self.process = process

    def connect(self, message: Any, descriptors: list[int] | None = None) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(300)
        connection.connect(str(self.path))
        line = message if isinstance(message, bytes) else (json.dumps(message) + "\n").encode()
        socket.send_fds(connection, [line], descriptors or [])
        return connection.makefile("r")

    def ask(self, message: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.connect(message).readline())
        return answer

    def start(self, request: StageRequest, root: Path, attempt: int = 1) -> tuple[int, Any]:
        lines = self.connect(
            {
                "op": "run",
                "env": stage_environment(request, root, attempt),
                "cwd": str(root),
                "stdout": str(root / f"out-{attempt}"),
                "stderr": str(root / f"err-{attempt}"),
            }
        )
        started = json.loads(lines.readline())
        assert started["event"] == "started"
        return started["pid"], lines

    def run(self, request: StageRequest, root: Path, attempt: int = 1) -> Run:
        _, lines = self.start(request, root, attempt)
        ended = json.loads(lines.readline())
        assert ended["event"] == "exited" and lines.readline() == ""
        text = (root / f"out-{attempt}").read_text()
        return Run(ended["code"], text, root / "uid" / request.node)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    path = tmp_path_factory.mktemp("forkserver") / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "llmzero_trainer.forkserver", str(path)], env=ENVIRONMENT
    )
    wait_for(path.exists, 400, process)
    yield Client(path, process)
    process.terminate()
    assert process.wait(60) == 0
    assert not path.exists()


def wait_for(
    condition: Callable[[], bool], seconds: float, process: "subprocess.Popen[bytes] | None" = None
) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        assert process is None or process.poll() is None, "the process ended"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_it_is_one_thread_when_it_is_ready(server: Client) -> None:
    ready = server.ask({"op": "ping"})
    assert ready["event"] == "ready" and ready["pid"] == server.process.pid
    assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 1


def test_a_forked_stage_is_the_stage(server: Client, parent: Run, tmp_path: Path) -> None:
    run = server.run(stage_request("parent"), tmp_path)
    assert run.code == 0, (tmp_path / "err-1").read_text()
    assert same(run.weights(4), parent.weights(4))
    assert [r.type for r in run.records] == [r.type for r in parent.records]


def test_two_at_once_and_the_reserved_exit_codes(server: Client, tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
    good = server.start(stage_request("n", steps=1), roots[0])
    bad = server.start(stage_request("n", grpo={"temperature": 0}), roots[1])
    assert good[0] != bad[0]
    assert json.loads(bad[1].readline())["code"] == ExitCode.INVALID_REQUEST
    assert json.loads(good[1].readline())["code"] == 0


def test_kill_9_of_a_stage_loses_nothing(server: Client, parent: Run, tmp_path: Path) -> None:
    request = stage_request("n", steps=40, eval_every=40, checkpoint_every=10)
    whole = server.run(request, tmp_path / "whole" if (tmp_path / "whole").mkdir() else tmp_path)
    cut = tmp_path / "cut"
    cut.mkdir()
    pid, lines = server.start(request, cut)
    wait_for((cut / "uid" / "n" / "checkpoint-10").exists, 240)
    os.kill(pid, signal.SIGKILL)
    ended = json.loads(lines.readline())
    assert (ended["code"], ended["signal"]) == (None, signal.SIGKILL)
    again = server.run(request, cut, attempt=2)
    assert again.code == 0
    assert same(again.weights(40), whole.weights(40))
    assert again.result.value == whole.result.value


def test_sigterm_ends_a_stage_in_good_time(server: Client, tmp_path: Path) -> None:
    pid, lines = server.start(stage_request("n", steps=5000), tmp_path)
    wait_for((tmp_path / "uid" / "n" / "checkpoint-2").exists, 240)
    began = time.monotonic()
    os.killpg(pid, signal.SIGTERM)
    assert json.loads(lines.readline())["code"] == ExitCode.INTERRUPTED
    assert time.monotonic() - began < 10
    last = parse_record((tmp_path / "out-1").read_text().splitlines()[-1])
    assert last.type == "result" and last.reason == "Interrupted"


def test_output_to_descriptors_that_came_with_the_request(server: Client, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    errors = (tmp_path / "err").open("w")
    environment = stage_environment(stage_request("n", steps=1), tmp_path)
    message = {"op": "run", "env": environment}
    lines = server.connect(message, [writer, errors.fileno()])
    os.close(writer)
    with os.fdopen(reader) as stream:
        records = [parse_record(line) for line in stream]
    assert records[-1].type == "result"
    assert json.loads(lines.readline())["event"] == "started"
    assert json.loads(lines.readline())["code"] == 0


def test_other_commands_and_the_users_own_modules(server: Client, tmp_path: Path) -> None:
    (tmp_path / "chatty_reward.py").write_text(
        "print('hello from a reward')\n"
        "def reward(completions, **_):\n    print('called')\n    return [0.0] * len(completions)\n"
    )
    task = stage_request("n").task.with_(
        rewards=[{"name": "chatty_reward:reward"}],
    )
    request = stage_request("n", steps=1, task=task.dump())
    run = server.run(request, tmp_path)
    assert run.code == 0
    assert "hello" not in run.text  # stdout is for records alone
    assert "hello from a reward" in (tmp_path / "err-1").read_text()
    directory = str(tmp_path / "uid" / "n")
    lines = server.connect(
        {
            "op": "run",
            "env": ENVIRONMENT,
            "arguments": ["report", directory],
            "stdout": str(tmp_path / "report"),
        }
    )
    assert [json.loads(line)["event"] for line in lines] == ["started", "exited"]
    assert (tmp_path / "report").read_text() == run.text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"op": "dance"}, "op: found 'dance', allowed are ping and run"),
        ({"op": "run"}, "env: an object of strings is needed"),
        (b"nonsense\n", "JSONDecodeError"),
        (b"[]\n", "TypeError"),
    ],
)
def test_what_it_cannot_do_it_says(server: Client, message: Any, words: str) -> None:
    answer = server.ask(message)
    assert answer["event"] == "error" and words in answer["message"]
    assert server.ask({"op": "ping"})["event"] == "ready"


def test_it_ends_with_its_parent_and_its_stages_go_on(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'llmzero_trainer.forkserver', sys.argv[1]])\n"
        "print(p.pid, flush=True)\ntime.sleep(600)\n"
    )
    middle = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert middle.stdout is not None
    pid = int(middle.stdout.readline())
    wait_for(path.exists, 400, middle)
    request = stage_request("n", steps=20, eval_every=20, checkpoint_every=20)
    stage, _ = Client(path, middle).start(request, tmp_path)
    middle.kill()
    middle.wait()
    wait_for(lambda: not alive(pid), 60)
    wait_for(lambda: not alive(stage), 240)
    last = parse_record((tmp_path / "out-1").read_text().splitlines()[-1])
    assert last.type == "result" and last.exit_code == 0


def test_an_import_that_fails_is_reported(tmp_path: Path) -> None:
    (tmp_path / "datasets.py").write_text("raise ImportError('this one is broken')\n")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    socket_path = tmp_path / "socket"
    done = subprocess.run(
        [sys.executable, "-m", "llmzero_trainer.forkserver", str(socket_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 1 and not socket_path.exists()
    assert "this one is broken" in done.stderr


def test_report_and_prune_import_no_torch(parent: Run, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom llmzero_trainer.__main__ import main\n"
        "code = main(sys.argv[1:])\nassert 'torch' not in sys.modules\nsys.exit(code)\n"
    )

    def call(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
        )

    assert call("report", str(parent.directory)).stdout == parent.text
    request = stage_request("parent")
    environment = stage_environment(request, parent.directory.parent.parent)
    assert call("report", **environment).stdout == parent.text
    missing = call("report", str(tmp_path / "gone"))
    assert missing.returncode == 64 and "no such stage directory" in missing.stderr
    copy = tmp_path / "copy"
    for step in (2, 4):
        (copy / f"checkpoint-{step}").mkdir(parents=True)
        (copy / f"checkpoint-{step}" / "model.safetensors").write_text("w")
    assert call("prune", "--keep", "4", str(copy)).returncode == 0
    assert [p.name for p in copy.iterdir()] == ["checkpoint-4"]
