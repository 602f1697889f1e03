"""Searches with the real trainer on the tiny model, through the command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.stage import Phase, Purpose
from llmzero.local.process import recall
from llmzero.local.store import RunDirectory, read_run

ROOT = Path(__file__).parents[2]

MANIFEST: dict[str, Any] = {
    "apiVersion": "llmzero.dev/v1alpha1",
    "kind": "TrainingSearch",
    "metadata": {"name": "mini"},
    "spec": {
        "model": {"builtin": "scratchpad-addition"},
        "task": {
            "name": "scratchpad-addition",
            "splits": {"train": 400, "search": 40, "promote": 40, "heldOut": 60},
        },
        "parameters": [
            {
                "name": "learning_rate",
                "role": "regularization",
                "min": 1e-6,
                "max": 1e-3,
                "scale": "log",
                "initial": 1e-4,
            },
            {
                "name": "max_completion_length",
                "role": "capacity",
                "type": "int",
                "min": 4,
                "max": 16,
                "initial": 12,
            },
        ],
        "fixed": {"per_device_train_batch_size": 16, "num_generations": 4},
        "stage": {"steps": 4, "promptsPerStep": 4, "evalEvery": 2, "checkpointEvery": 2},
        "strategy": {
            "name": "random",
            "parallelism": 1,
            "maxDepth": 2,
            "earlyStopping": {"enabled": False},
        },
        "budget": {"stages": 3, "attempts": 10},
    },
}


def llmzero(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "llmzero.cli.main", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments: str | Path) -> tuple[int, str, str]:
    process = llmzero(*arguments)
    out, said = process.communicate(timeout=300)
    return process.returncode, out, said


def manifest(folder: Path, **changes: Any) -> Path:
    file = folder / "search.yaml"
    file.write_text(json.dumps({**MANIFEST, "spec": {**MANIFEST["spec"], **changes}}))
    return file


def essence(run: RunDirectory) -> dict[str, Any]:
    """Specs, results and per-question answers: equal only where the training was the same."""
    return {
        f"{n.spec.purpose} {n.spec.path}": (
            n.spec.dump(),
            n.status.result,
            n.status.sequence,
            [s.per_question for s in n.status.curve.scores],
        )
        for n in run.nodes.values()
    }


def processes(run: RunDirectory) -> list[int]:
    found = [recall(run.stage(n.name), n.status.attempt_count) for n in run.nodes.values()]
    return [f.pid for f in found if f.alive]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, said = call("run", manifest(folder), "--dir", folder / "run")
    assert code == 0, said
    assert "Held-out confirmation, 60 questions" in out
    return folder / "run"


def test_a_search_trains_real_stages_and_confirms_the_winner(undisturbed: Path) -> None:
    run = read_run(undisturbed)
    stages = [n for n in run.nodes.values() if n.spec.purpose is Purpose.TRAIN]
    assert len(stages) == 3
    for node in stages:
        assert node.status.phase is Phase.SUCCEEDED
        assert node.status.curve.metrics["grad_norm"]
        assert (run.stage(node.name) / f"checkpoint-{node.spec.steps}").is_dir() or (
            node.spec.steps not in node.status.checkpoints
        )
    assert {r.subject for r in run.search.status.held_out} >= {"winner", "base"}


def test_kills_at_random_end_in_the_tree_of_the_undisturbed_run(
    undisturbed: Path, tmp_path: Path
) -> None:
    file, directory = manifest(tmp_path), tmp_path / "run"
    for place, what in enumerate(("runner", "stage", "both")):
        process = llmzero("run", file, "--dir", directory)
        pids = _wait_for(directory, process, len(read_ended(directory)) + (place > 0))
        if what != "stage":
            process.kill()
        if what != "runner":
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # it may just have ended
                    os.killpg(pid, signal.SIGKILL)
        time.sleep(0.5)
        process.kill()
        process.communicate()
    code, _, said = call("run", file, "--dir", directory)
    assert code == 0, said
    assert essence(read_run(directory)) == essence(read_run(undisturbed))


def read_ended(directory: Path) -> list[str]:
    if not (directory / "search.json").exists():
        return []
    return [n.name for n in read_run(directory).nodes.values() if n.status.phase.final]


def _wait_for(directory: Path, process: "subprocess.Popen[str]", ended: int) -> list[int]:
    """Pids of the living stages, once one lives and ``ended`` stages have ended."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        if (directory / "search.json").exists():
            pids = processes(read_run(directory))
            if pids and len(read_ended(directory)) >= ended:
                return pids
        if process.poll() is not None:
            return []
        time.sleep(0.1)
    raise AssertionError("no stage ran")


def test_ctrl_c_leaves_no_process_and_the_search_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    file, directory = manifest(tmp_path), tmp_path / "run"
    process = llmzero("run", file, "--dir", directory)
    _wait_for(directory, process, 0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to go on" in said
    assert processes(read_run(directory)) == []
    code, _, said = call("run", file, "--dir", directory)
    assert code == 0, said
    assert essence(read_run(directory)) == essence(read_run(undisturbed))


def test_a_fresh_process_trains_what_a_forked_one_trains(undisturbed: Path, tmp_path: Path) -> None:
    file = manifest(tmp_path, budget={"stages": 1, "attempts": 10})
    code, _, said = call("run", file, "--dir", tmp_path / "run", "--fresh-process")
    assert code == 0, said
    fresh, forked = read_run(tmp_path / "run"), read_run(undisturbed)
    first = next(n for n in fresh.nodes.values() if n.spec.path == "0" and n.spec.steps)
    same = next(n for n in forked.nodes.values() if n.spec.path == "0" and n.spec.steps)
    assert first.status.curve.metrics == same.status.curve.metrics
    assert first.status.result == same.status.result


def test_a_missing_model_is_named_and_may_be_mended(tmp_path: Path) -> None:
    model = tmp_path / "model"
    file = manifest(tmp_path, model={"path": str(model)}, budget={"stages": 1})
    code, _, said = call("run", file, "--dir", tmp_path / "run")
    assert code == 2, "told before anything starts"
    assert str(model) in said and "no such directory" in said
    assert not (tmp_path / "run").exists()
    made = subprocess.run(
        [sys.executable, "-m", "llmzero_trainer", "make-model", "scratchpad-addition", str(model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    code, _, said = call("run", file, "--dir", tmp_path / "run")
    assert code == 0, said


def test_a_forkserver_that_is_killed_is_replaced(undisturbed: Path, tmp_path: Path) -> None:
    file, directory = manifest(tmp_path), tmp_path / "run"
    process = llmzero("run", file, "--dir", directory)
    _wait_for(directory, process, 0)
    servers = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_forkserver(entry, process.pid)
    ]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert essence(read_run(directory)) == essence(read_run(undisturbed))


def _is_forkserver(entry: Path, parent: int) -> bool:
    with contextlib.suppress(OSError):
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
        return int(fields[1]) == parent and b"forkserver" in (entry / "cmdline").read_bytes()
    return False
