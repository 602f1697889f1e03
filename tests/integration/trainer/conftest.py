"""Real stages on the tiny model, in this process: TRL is imported once for all tests."""

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    REQUEST_HASH_ENV,
    ROOT_ENV,
    TERMINATION_ENV,
    Record,
    ResultRecord,
    StageRequest,
    parse_record,
)
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Splits, Task
from llmzero_trainer.__main__ import run_stage

GRPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "max_completion_length": 12,
    "num_generations": 4,
    "per_device_train_batch_size": 8,
}


def stage_request(node: str, **changes: Any) -> StageRequest:
    """Four steps of 4 prompts x 4 completions, scored on 24 questions after each second step."""
    grpo = {**GRPO, **changes.pop("grpo", {})}
    fields: dict[str, Any] = {
        "search_uid": "uid",
        "node": node,
        "model": ModelSource(builtin="scratchpad-addition"),
        "task": addition(),
        "objective_metric": "eval/accuracy",
        "evaluation": Evaluation(max_completion_length=12),
        "steps": 4,
        "prompts_per_step": 4,
        "eval_every": 2,
        "checkpoint_every": 2,
        "order_seed": 0,
        "data_offset": 0,
        "rollout_seed": 7,
    }
    return StageRequest(grpo=grpo, **{**fields, **changes})


def addition(**changes: Any) -> Task:
    sizes = Splits(train=400, search=24, promote=30, held_out=36)
    return Task(**{"name": "scratchpad-addition", "splits": sizes, **changes})


@dataclass(frozen=True)
class Run:
    """What one attempt said, and how it ended."""

    code: int
    text: str
    directory: Path

    @property
    def records(self) -> list[Record]:
        return [parse_record(line) for line in self.text.splitlines()]

    def of(self, kind: str) -> list[Any]:
        return [r for r in self.records if r.type == kind]

    @property
    def result(self) -> ResultRecord:
        found = self.of("result")[-1]
        assert isinstance(found, ResultRecord)
        return found

    def weights(self, step: int) -> dict[str, Any]:
        from safetensors.torch import load_file

        (file,) = (self.directory / f"checkpoint-{step}").glob("*model.safetensors")
        return load_file(file)

    def losses(self) -> list[float]:
        return [r.metrics["loss"] for r in self.of("step")]


class Bench:
    """Runs stages below one root."""

    def __init__(self, root: Path, environment: pytest.MonkeyPatch) -> None:
        self.root = root
        self._environment = environment

    def run(self, request: StageRequest, attempt: int = 1, digest: str | None = None) -> Run:
        set_ = self._environment.setenv
        set_(REQUEST_ENV, request.encode())
        set_(REQUEST_HASH_ENV, digest or request.digest())
        set_(ROOT_ENV, str(self.root))
        set_(ATTEMPT_ENV, str(attempt))
        set_(TERMINATION_ENV, str(self.root / "termination"))
        out = io.StringIO()
        code = run_stage(out)
        return Run(int(code), out.getvalue(), self.root / "uid" / request.node)

    def termination(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "termination").read_text())
        return found


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two checkpoints are equal to the last bit."""
    import torch

    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A stage in this process takes over SIGTERM and SIGINT: put them back. A timer that it left
    would end the process of whoever comes after it."""
    kept = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    left = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
    assert all(t.finished.is_set() for t in left)


@pytest.fixture(scope="session", autouse=True)
def _quiet_hub() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A root with one finished stage, ``parent``, for tests that start from it or compare."""
    with pytest.MonkeyPatch.context() as environment:
        bench = Bench(tmp_path_factory.mktemp("family"), environment)
        yield bench


@pytest.fixture(scope="session")
def parent(family: Bench) -> Run:
    kept = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    run = family.run(stage_request("parent"))
    for number, handler in kept.items():
        signal.signal(number, handler)
    assert run.code == 0
    return run
