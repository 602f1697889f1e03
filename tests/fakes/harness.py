"""A search of fake stages in a directory: started, killed, looked at."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from llmzero.api.stage import StageNode
from llmzero.local.process import recall
from llmzero.local.store import RunDirectory, read_run

ROOT = Path(__file__).parents[2]

PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "learning_rate",
        "role": "regularization",
        "min": 1e-6,
        "max": 1e-3,
        "scale": "log",
        "initial": 1e-5,
    },
    {"name": "temperature", "role": "regularization", "min": 0.4, "max": 1.5, "initial": 1.0},
]


def manifest(
    strategy: dict[str, Any] | None = None, stage: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A small search; early stopping is off, because when a curve is seen depends on the clock."""
    return {
        "apiVersion": "llmzero.dev/v1alpha1",
        "kind": "TrainingSearch",
        "metadata": {"name": "fake"},
        "spec": {
            "model": {"builtin": "scratchpad-addition"},
            "task": {"name": "scratchpad-addition"},
            "parameters": copy.deepcopy(PARAMETERS),
            "stage": {"steps": 8, "evalEvery": 4, "checkpointEvery": 4, **(stage or {})},
            "strategy": {
                "parallelism": 1,
                "maxDepth": 3,
                "seed": 3,
                "earlyStopping": {"enabled": False},
                **(strategy or {}),
            },
            "budget": {"stages": 4, "attempts": 10},
            **spec,
        },
    }


class FakeRun:
    """A run directory and the manifest and faults that go with it."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "run"
        self.plan = folder / "plan.json"
        self.write(document)
        self.faults({})

    def write(self, document: dict[str, Any]) -> None:
        (self.folder / "search.yaml").write_text(json.dumps(document))

    def faults(self, plan: dict[str, Any]) -> None:
        """See :mod:`tests.fakes.fake_trainer`."""
        self.plan.write_text(json.dumps(plan))

    def command(self) -> list[str]:
        files = [str(self.folder / "search.yaml"), str(self.path)]
        return [sys.executable, "-m", "tests.fakes.local_run", *files]

    def environment(self) -> dict[str, str]:
        ours = {"CUDA_VISIBLE_DEVICES": "", "FAKE_TRAINER_PLAN": str(self.plan)}
        return {**os.environ, **ours}

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(),
            cwd=ROOT,
            env={**self.environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, **environment: str) -> tuple[int, str, str]:
        """Run to the end: exit code, stdout, stderr."""
        process = self.start(**environment)
        out, said = process.communicate(timeout=120)
        return process.returncode, out, said

    def read(self) -> RunDirectory:
        return read_run(self.path)

    def tree(self) -> dict[str, Any]:
        """What was decided and what came out, by purpose and path."""
        run = self.read()
        return {f"{n.spec.purpose} {n.spec.path}": _essence(n) for n in run.nodes.values()}

    def order(self) -> list[str]:
        """Names of the ended stages in the recorded order."""
        nodes = [n for n in self.read().nodes.values() if n.status.sequence is not None]
        return [n.name for n in sorted(nodes, key=lambda n: n.status.sequence or 0)]

    def untouched_since(self, before: dict[str, int]) -> bool:
        """Whether no stage of ``before`` (name to lines in trained.log) trained again."""
        return all(self.lines()[name] == count for name, count in before.items())

    def lines(self) -> Counter[str]:
        """Steps trained, by stage."""
        log = self.path / "stages" / "trained.log"
        text = log.read_text() if log.exists() else ""
        return Counter(line.split()[0] for line in text.splitlines())

    def ended(self) -> dict[str, int]:
        """Steps trained so far by the stages whose end is recorded."""
        lines = self.lines()
        return {name: lines[name] for name in self.order()} if self.started() else {}

    def started(self) -> bool:
        return (self.path / "search.json").exists()

    def processes(self) -> list[int]:
        """Pids of the stages that live."""
        if not self.started():
            return []
        run = self.read()
        found = [recall(run.stage(n.name), n.status.attempt_count) for n in run.nodes.values()]
        return [f.pid for f in found if f.alive]

    def kill_stages(self) -> int:
        killed = self.processes()
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # it may just have ended
                os.killpg(pid, signal.SIGKILL)
        return len(killed)


def _essence(node: StageNode) -> dict[str, Any]:
    spec, status = node.spec.dump(), node.status
    return {
        "spec": spec,
        "outcome": status.outcome,
        "sequence": status.sequence,
        "result": status.result.dump() if status.result else None,
        "pathologies": [p.kind for p in status.pathologies],
        "checkpoints": status.checkpoints,
        "expansion": status.expansion.dump() if status.expansion else None,
        "stages": status.cost.stages,
    }
