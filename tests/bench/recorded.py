"""Evaluations of recorded runs, small enough to be kept: what each stage was given, what it scored."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from llmzero.api.stage import Purpose
from llmzero.local.store import RunDirectory, read_run
from llmzero.simulator.training import stage_settings
from llmzero.simulator.world import Settings

SETTINGS = tuple(f.name for f in fields(Settings) if f.name != "digits")


@dataclass(frozen=True, slots=True)
class Stage:
    parent: int | None
    """Index of the stage whose checkpoint it starts from; None: the base model."""
    begun: int
    """Step of that checkpoint."""
    carried: tuple[bool, bool]
    """Whether Adam's moments and the reference of the KL term went on."""
    settings: tuple[float, ...]
    """In the order of ``SETTINGS``."""
    steps: tuple[int, ...]
    """Of the evaluations; 0 is the start."""
    scores: tuple[float, ...]
    """Share of the questions of the search split answered rightly, one for each step."""
    lengths: tuple[float, ...]
    """Mean tokens of those answers."""

    def given(self) -> Settings:
        return Settings.of(dict(zip(SETTINGS, self.settings, strict=True)))


@dataclass(frozen=True, slots=True)
class Recorded:
    """One search. Stages stand after those that they start from."""

    method: str
    seed: int
    questions: int
    """That each evaluation asks."""
    left_out: int
    """Stages that ended before an evaluation, and those behind them."""
    stages: tuple[Stage, ...]

    def places(self) -> list[int]:
        """The step along its path, from the base model, at which each stage ends."""
        ends: list[int] = []
        begins: list[int] = []
        for stage in self.stages:
            begins.append(0 if stage.parent is None else begins[stage.parent] + stage.begun)
            ends.append(begins[-1] + stage.steps[-1])
        return ends


def record(run: Path) -> Recorded:
    """The search under ``METHOD-SEED/run``, as ``llmzero bench --dir`` leaves it. Raises ValueError
    where the folder has another name, UsageError or RunError where no run can be read."""
    found = re.fullmatch(r"(.+)-(\d+)", run.parent.name)
    if found is None:
        raise ValueError(f"{run}: found {run.parent.name!r}, a folder METHOD-SEED is expected")
    directory = read_run(run)
    stages, left_out = _stages(directory)
    questions = directory.search.spec.task.splits.search
    return Recorded(found[1], int(found[2]), questions, left_out, tuple(stages))


def _stages(run: RunDirectory) -> tuple[list[Stage], int]:
    places: dict[str, int] = {}
    found, left_out = [], 0
    trained = (n for n in run.nodes.values() if n.spec.purpose is Purpose.TRAIN)
    for node in sorted(trained, key=lambda n: len(n.spec.path)):
        scores, start = node.status.curve.scores, node.spec.start
        if not any(s.step for s in scores) or (start and start.node not in places):
            left_out += 1
            continue
        places[node.name] = len(places)
        settings = asdict(stage_settings(run.search.spec, node.spec.parameters))
        stage = Stage(
            None if start is None else places[start.node],
            0 if start is None else start.step,
            (node.spec.carry_optimizer, node.spec.carry_reference),
            tuple(float(f"{settings[name]:.4g}") for name in SETTINGS),
            tuple(s.step for s in scores),
            tuple(round(s.value, 4) for s in scores),
            tuple(round(s.metrics["mean_length"], 2) for s in scores),
        )
        found.append(stage)
    return found, left_out


def write(searches: Sequence[Recorded], file: Path) -> None:
    """A line for each search, and one for each of its stages behind it."""
    lines: list[dict[str, Any]] = []
    for search in searches:
        fields_ = asdict(search)
        stages = fields_.pop("stages")
        lines += [fields_, *stages]
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")


def read(file: Path) -> list[Recorded]:
    """Raises OSError."""
    found: list[tuple[dict[str, Any], list[Stage]]] = []
    for text in file.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "method" in line:
            found.append((line, []))
        else:
            found[-1][1].append(Stage(**_tuples(line)))
    return [Recorded(**search, stages=tuple(stages)) for search, stages in found]


def _tuples(line: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in line.items()}
