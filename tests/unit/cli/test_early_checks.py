"""What ``llmzero run`` refuses before anything is loaded, and ``llmzero validate`` warns of."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import llmzero
from llmzero.api.manifest import MANIFEST_BYTES
from llmzero.local.forkserver import Forkserver
from llmzero.local.store import read_run
from tests.fakes.harness import manifest
from tests.unit.cli.conftest import Call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command; the trainer must not be started."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Forkserver, "_spawn", lambda _: pytest.fail("the trainer was started"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return folder


def write(folder: Path, **spec: Any) -> Path:
    file = folder / "search.yaml"
    file.write_text(json.dumps(manifest(**spec)))
    return file


def lost() -> dict[str, Any]:
    """Sections with one of everything that is not here."""
    rewards = [{"name": "task"}, {"name": "no_such_module:f"}]
    options = {"path": "lost.jsonl", "scorer": "no_such_module:score"}
    return {
        "task": {"name": "jsonl", "options": options, "rewards": rewards},
        "model": {"path": "./no-such-model"},
    }


FIELDS = (
    "spec.model.path: found './no-such-model'; no such directory in the working directory",
    "spec.task.options.path: found 'lost.jsonl'; no such file in the working directory",
    "spec.task.options.scorer: found 'no_such_module:score'; no module no_such_module",
    "spec.task.rewards[1].name: found 'no_such_module:f'; no module no_such_module",
)


def test_a_run_refuses_what_is_not_here_before_it_starts_anything(call: Call, here: Path) -> None:
    result = call("run", write(here, **lost()))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == len(FIELDS)
    for line, field in zip(lines, FIELDS, strict=True):
        assert line.startswith(f"error: {here}/search.yaml: {field}")
    assert str(here) in lines[0]
    assert not (here / "runs").exists()


def test_all_other_mistakes_are_told_at_the_same_time(call: Call, here: Path) -> None:
    result = call("run", write(here, **lost(), fixed={"max_steps": 3}))
    assert "spec.fixed.max_steps" in result.stderr and "lost.jsonl" in result.stderr


def test_validate_warns_of_it_since_it_may_be_on_the_cluster(call: Call, here: Path) -> None:
    file = write(here, **lost())
    result = call("validate", file)
    assert result.exit_code == 0
    assert "is valid" in result.output
    refused = call("run", file).stderr
    assert result.stderr == refused.replace("error:", "warning:")


def test_what_lies_next_to_the_manifest_is_said_to(
    call: Call, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_us.py").write_text("def f(completions, **columns): ...\n")
    (tmp_path / "q.jsonl").write_text("{}\n")
    rewards = [{"name": "beside_us:f"}]
    task = {"name": "jsonl", "options": {"path": "q.jsonl"}, "rewards": rewards}
    file = write(tmp_path, task=task, model={"path": str(here)})
    result = call("run", file)
    assert result.exit_code == 2
    words = f"; it lies next to the manifest: run in {tmp_path}"
    assert [line.endswith(words) for line in result.stderr.splitlines()] == [True, True]
    monkeypatch.chdir(tmp_path)
    assert call("validate", file).stderr == ""


def test_a_run_that_is_over_needs_nothing_any_more(
    call: Call,
    tmp_path: Path,
    fake_trainer: pytest.MonkeyPatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.jsonl").write_text("{}\n")
    task = {"name": "jsonl", "options": {"path": "q.jsonl"}}
    file, directory = write(tmp_path, task=task), tmp_path / "run"
    assert call("run", file, "--dir", directory).exit_code == 0
    (tmp_path / "q.jsonl").unlink()
    assert call("run", file, "--dir", directory).exit_code == 0

    raised = write(tmp_path, task=task, budget={"stages": 6, "attempts": 10})
    assert call("run", raised, "--dir", directory).exit_code == 2
    assert read_run(directory).search.spec.budget.stages == 4
    again = call("retrain", directory)
    assert again.exit_code == 2
    assert f"error: {directory}: spec.task.options.path: found 'q.jsonl'" in again.stderr


def test_the_own_code_is_not_run_to_be_judged(call: Call, here: Path) -> None:
    package = here / "mine_of_tests"
    package.mkdir()
    for name in ("__init__", "rewards"):
        (package / f"{name}.py").write_text("raise SystemExit('it was run')\ndef f(): ...\n")
    task = {"name": "mine_of_tests:f", "rewards": [{"name": "mine_of_tests.rewards:f"}]}
    file = write(here, task=task, model={"path": str(here)})
    result = call("validate", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert not [m for m in sys.modules if m.startswith("mine_of_tests")]


@pytest.mark.parametrize(
    ("strategy", "stages"), [("llmzero", 0.3), ("random", 0.9), ("schedule", 1.5)]
)
def test_a_budget_that_pays_no_first_stage_is_a_mistake(
    call: Call, here: Path, strategy: str, stages: float
) -> None:
    options = {"stages": [{"steps": 16}]} if strategy == "schedule" else {}
    file = write(here, strategy={"name": strategy, "options": options}, budget={"stages": stages})
    for command in ("validate", "run"):
        result = call(command, file)
        assert result.exit_code == 2
        words = f"spec.budget.stages: found {stages:g}; strategy {strategy} can pay no first stage"
        assert words in result.stderr


def test_a_budget_below_the_least_charge_is_told_once(call: Call, here: Path) -> None:
    result = call("validate", write(here, budget={"stages": 0.01}))
    assert result.exit_code == 2
    assert result.stderr.count("spec.budget.stages") == 1
    assert "found 0.01; at least 0.25" in result.stderr


def test_a_manifest_without_an_end_is_not_read_to_it() -> None:
    """In a process with little memory: it would be killed."""
    command = [sys.executable, "-m", "llmzero.cli.main", "validate"]
    ours = {**os.environ, "PYTHONPATH": str(Path(llmzero.__file__).parents[1])}
    for arguments in (["/dev/zero"], ["-"]):
        with open("/dev/zero", "rb") as endless:
            done = subprocess.run(
                ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "-", *command, *arguments],
                stdin=endless,
                env=ours,
                capture_output=True,
                text=True,
                timeout=60,
            )
        assert done.returncode == 2
        words = f"too large: no manifest may be larger than {MANIFEST_BYTES} bytes"
        assert done.stderr == f"error: {arguments[0]}: {words}\n"
