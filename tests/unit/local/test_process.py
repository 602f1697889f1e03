"""A stage's process is found again after its runner was killed, and told from another one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmzero.local.process import Identity, log_file, recall, remember, start_ticks


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log_file(tmp_path, 1).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"],
            stderr=log,
            start_new_session=True,
        )
    yield process
    process.kill()
    process.wait()


def test_a_process_is_remembered_with_its_start(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    identity = Identity(1, sleeper.pid, start_ticks(sleeper.pid) or 0, "cpu:1")
    remember(tmp_path, identity)
    assert recall(tmp_path, 1) == identity
    assert identity.alive


def test_a_process_that_nobody_wrote_down_is_found_by_its_log(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    found = recall(tmp_path, 1)
    assert found.pid == sleeper.pid
    assert found.alive
    assert not recall(tmp_path, 2).alive


def test_a_file_of_an_earlier_attempt_names_no_process_of_this_one(tmp_path: Path) -> None:
    remember(tmp_path, Identity(1, os.getpid(), start_ticks(os.getpid()) or 0))
    assert not recall(tmp_path, 2).alive


@pytest.mark.parametrize("text", ["", "{", "[]", '{"attempt": 1}', '{"attempt": 1, "x": 2}'])
def test_a_torn_file_is_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "process.json").write_text(text)
    assert not recall(tmp_path, 1).alive


def test_a_pid_that_was_given_away_again_is_not_signalled() -> None:
    stranger = Identity(1, os.getpid(), (start_ticks(os.getpid()) or 0) - 1)
    assert not stranger.alive
    stranger.terminate()  # would end this test


def test_the_whole_group_is_told(tmp_path: Path) -> None:
    script = "sleep 60 & echo $!; wait"
    process = subprocess.Popen(
        ["bash", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    Identity(1, process.pid, start_ticks(process.pid) or 0).signal(signal.SIGKILL)
    process.wait(10)
    deadline = time.monotonic() + 10
    while start_ticks(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_ticks(child) is None
