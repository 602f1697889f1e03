"""Searches with real training: a task is a manifest, each search is a ``llmzero run`` of its own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from llmzero.api.manifest import read_search, to_yaml
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.bench.methods import method
from llmzero.bench.results import Experiment, Key
from llmzero.local.store import RunDirectory, read_run

COMPLETE, SEARCH_FAILED = 0, 3
LOG_TAIL = 2000
POINTS = 21


@dataclass(frozen=True, slots=True)
class Run:
    """One search, by what its user would read off it."""

    score: float
    """Held-out objective of the search's own pick; of the base model where it has none."""
    error: float
    """Standard error of the score over the held-out questions (not over seeds)."""
    area: float
    """Mean best-so-far on the search split over the budget: of tokens where that is given, else of
    stages."""
    base: float
    constant: float | None
    """Held-out objective of the best path with constant settings, where the search tells it."""
    depth: int
    spent: float
    train_tokens: float
    """Generated in training, in millions."""
    eval_tokens: float
    """Generated in evaluations, in millions: part of the cost of whoever evaluates more."""
    device_seconds: float
    saved: float
    stopped: int
    agent_tokens: int
    curve: list[float] | None = None
    """Best so far at ``POINTS`` even places of the budget, its begin and its end included."""


@dataclass(frozen=True)
class Trained(Experiment):
    """``tasks``: name to manifest. Every method has the manifest's model, space, stage and budget
    (``stages`` and ``tokens`` replace the latter); the seed is ``strategy.seed``. Runs lie under
    ``directory`` and go on where they were cut off."""

    kind: ClassVar[str] = "trained"
    what: ClassVar[str] = (
        "Held-out scores of real GRPO runs: each search's own pick, read once on questions that "
        "nothing else read."
    )
    row: ClassVar[type] = Run

    directory: Path
    tasks: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    stages: float | None = None
    tokens: float | None = None
    """Budgets instead of the manifests'; tokens in millions."""

    @classmethod
    def of(
        cls,
        files: Iterable[Path],
        directory: Path,
        stages: float | None = None,
        tokens: float | None = None,
    ) -> "Trained":
        """Raises OSError, ManifestError; ValueError where two manifests have one name."""
        tasks: dict[str, dict[str, Any]] = {}
        for file in files:
            document = read_search(file.read_text(encoding="utf-8"))
            name = TrainingSearch.model_validate(document).name
            if name in tasks:
                raise ValueError(f"{file}: metadata.name {name!r} is that of another task")
            tasks[name] = document
        return cls(directory, tasks, stages, tokens)

    def protocol(self) -> dict[str, Any]:
        """What is trained, by the digest of the manifests without their strategy's name."""
        digests = {
            name: hashlib.sha256(to_yaml(self.manifest((name, "random", 0))).encode()).hexdigest()
            for name in self.tasks
        }
        # Left out where there are none, as in files from before they could be given.
        tokens = {} if self.tokens is None else {"tokens": self.tokens}
        return {"stages": self.stages, **tokens, "tasks": digests}

    def manifest(self, key: Key) -> dict[str, Any]:
        """The task's manifest with the method's strategy and the seed."""
        task, name, seed = key
        chosen = method(name)
        document = TrainingSearch.model_validate(self.tasks[task]).dump()
        spec = document["spec"]
        document.pop("status", None)
        document["metadata"] = {"name": task}
        spec["strategy"] |= {"name": chosen.strategy, "options": dict(chosen.options), "seed": seed}
        if not chosen.roles:
            spec["parameters"] = [{**p, "role": "free"} for p in spec["parameters"]]
        spec["strategy"].setdefault("earlyStopping", {})["enabled"] = chosen.early_stopping
        if self.stages is not None:
            spec["budget"]["stages"] = self.stages
        if self.tokens is not None:
            spec["budget"]["tokens"] = round(self.tokens * 1e6)
        return document

    def run(self, key: Key) -> Run:
        """Raises RuntimeError with the end of its output where a search does not end."""
        task, name, seed = key
        home = self.directory / task / f"{name}-{seed}"
        home.mkdir(parents=True, exist_ok=True)
        file, log = home / "search.yaml", home / "output.log"
        file.write_text(to_yaml(self.manifest(key)), encoding="utf-8")
        words = ["run", str(file), "--dir", str(home / "run")]
        with open(log, "ab") as output:
            code = subprocess.run(
                [sys.executable, "-m", "llmzero.cli.main", *words],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=os.environ,
            ).returncode
        if code not in (COMPLETE, SEARCH_FAILED):
            said = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
            raise RuntimeError(f"{task}, {name}, seed {seed}: exit code {code}\n{said}")
        return row(read_run(home / "run"))


def row(run: RunDirectory) -> Run:
    """The numbers of an ended search."""
    status, ledger = run.search.status, run.search.status.ledger
    read = {r.subject: r for r in status.held_out}
    if "base" not in read:
        raise RuntimeError(f"{run.path}: the base model has no held-out reading: {status.message}")
    pick = read.get("winner", read["base"])
    constant = read.get("best-constant")
    steps = best_so_far(run.search, list(run.nodes.values()), read["base"].value)
    return Run(
        score=round(pick.value, 4),
        error=round(pick.standard_error, 4),
        area=round(area(steps), 4),
        base=round(read["base"].value, 4),
        constant=None if constant is None else round(constant.value, 4),
        depth=max((n.status.depth for n in run.nodes.values()), default=0),
        spent=round(ledger.stages_spent, 2),
        train_tokens=round(ledger.train_tokens / 1e6, 3),
        eval_tokens=round(ledger.eval_tokens / 1e6, 3),
        device_seconds=round(ledger.gpu_hours * 3600, 1),
        saved=round(ledger.saved_by_stopping, 2),
        stopped=ledger.early_stopped,
        agent_tokens=ledger.agent_tokens,
        curve=[round(v, 3) for v in curve(steps)],
    )


Steps = list[tuple[float, float]]
"""Share of the budget that was spent, in 0..1 and ascending, and the best value from there on."""


def best_so_far(search: TrainingSearch, nodes: Iterable[StageNode], base: float) -> Steps:
    """The best value on the search split as the budget is spent, ``base`` at first."""
    sign = 1.0 if search.spec.objective.direction == "maximize" else -1.0
    budget = search.spec.budget
    limit = budget.stages if budget.tokens is None else budget.tokens
    ended = [n for n in nodes if n.spec.purpose is Purpose.TRAIN and n.status.sequence is not None]
    found, spent = [(0.0, base)], 0.0
    for node in sorted(ended, key=lambda n: n.status.sequence or 0):
        cost = node.status.cost
        spent += cost.stages if budget.tokens is None else cost.train_tokens + cost.eval_tokens
        result, best = node.status.result, found[-1][1]
        if result is not None and sign * result.value > sign * best:
            found.append((min(spent / limit, 1.0), result.value))
    return found


def area(steps: Steps) -> float:
    """Mean of the best so far over the whole budget."""
    ends = [share for share, _ in steps[1:]] + [1.0]
    return sum((end - share) * value for (share, value), end in zip(steps, ends, strict=True))


def curve(steps: Steps) -> list[float]:
    """The best so far at even places of the budget."""
    shares = [i / (POINTS - 1) for i in range(POINTS)]
    return [[value for share, value in steps if share <= at][-1] for at in shares]
