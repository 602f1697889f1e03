"""What of a question goes into a prompt, and what is dropped, in which order, to fit a budget.

Pure. A view is plain JSON data with numbers of four digits; the templates only lay it out.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmzero.api.curve import Curve
from llmzero.api.parameters import Parameter
from llmzero.api.proposals import ProposalRequest, Sample, StageView, VerdictRequest
from llmzero.client.judge import branch_steps, clean
from llmzero.client.steering import running

View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of each part is shown. Text in characters, everything else in items."""

    samples: int = 6
    sample_text: int = 400
    rationale: int = 240
    best: int = 4
    infeasible: int = 8
    children: int = 64
    """Also of siblings."""
    ancestor_features: bool = True
    ancestors: int = 63
    points: int = 24
    evidence: int = 160
    features: int = 64
    fixed: int = 32
    choices: int = 32
    task: int = 2048


ORDER: tuple[tuple[str, Callable[[Limits], Limits]], ...] = (
    ("all but two sample completions", lambda m: replace(m, samples=2, sample_text=240)),
    ("sample completions", lambda m: replace(m, samples=0)),
    ("rationales of earlier stages", lambda m: replace(m, rationale=0)),
    ("best stages beyond two", lambda m: replace(m, best=2)),
    ("infeasible settings beyond four", lambda m: replace(m, infeasible=4)),
    ("features of the stages above", lambda m: replace(m, ancestor_features=False)),
    ("children and siblings beyond sixteen", lambda m: replace(m, children=16)),
    ("the middle of the path", lambda m: replace(m, ancestors=4)),
    ("every second point of the curve", lambda m: replace(m, points=12)),
    ("children and siblings beyond six", lambda m: replace(m, children=6)),
    ("best stages beyond one", lambda m: replace(m, best=1)),
    ("fixed settings, features beyond sixteen", lambda m: replace(m, fixed=0, features=16)),
    ("half of the remaining points, long evidence", lambda m: replace(m, points=6, evidence=60)),
    ("the end of the task's description", lambda m: replace(m, task=300, choices=12)),
    ("other stages", lambda m: replace(m, children=0, best=0, infeasible=0, ancestors=0)),
    ("evidence", lambda m: replace(m, evidence=0, task=120)),
)
"""What is dropped, first to last, until the prompt fits. Never dropped: the stage to expand with
its scores, the parameter table, the checkpoints, the budget."""


def proposal_view(request: ProposalRequest, limits: Limits) -> View:
    """The question as the template ``proposal`` shows it."""
    *above, stage = request.path
    shown = _ends(above, limits.ancestors)
    return {
        "task": clean(request.task, limits.task),
        "objective": request.objective,
        "direction": request.direction,
        "stage_steps": request.stage_steps,
        "evaluation_temperature": request.evaluation_temperature,
        "budget": {"stages": request.budget.stages, "depth": request.budget.depth},
        "parameters": [
            _parameter(p, stage.parameters.get(p.name), limits) for p in request.parameters
        ],
        "fixed": {k: _value(v) for k, v in list(request.fixed.items())[: limits.fixed]},
        "path": [
            *(_stage(s, limits, features=limits.ancestor_features) for s in shown),
            _stage(stage, limits, features=True, settings=True, scores=True),
        ],
        "checkpoints": branch_steps(stage),
        "curve": _rows(request.curve, limits.points),
        "children": _others(request.children, request.direction, limits),
        "siblings": _others(request.siblings, request.direction, limits),
        "best": [
            _stage(s, limits, features=True, settings=True) for s in request.best[: limits.best]
        ],
        "infeasible": [
            {"settings": {k: _value(v) for k, v in i.parameters.items()}, "ended": i.outcome}
            for i in request.infeasible[: limits.infeasible]
        ],
        "samples": [_sample(s, limits) for s in _worst_and_best(request.samples, limits.samples)],
    }


def steer_view(request: ProposalRequest, limits: Limits) -> View:
    """What the skill-based agent is told at the start of a turn; the rest it reads by its tools."""
    ended = [s for s in request.stages if s.value is not None]
    sign = 1.0 if request.direction == "maximize" else -1.0
    best = max(ended, key=lambda s: sign * (s.value or 0.0), default=None)
    expand = proposal_view(request, limits)
    kept = ("task", "objective", "direction", "stage_steps", "budget", "fixed", "infeasible")
    return {
        **{name: expand[name] for name in kept},
        "parameters": [
            {
                ("initial" if k == "now" else k): v
                for k, v in _parameter(p, p.initial, limits).items()
            }
            for p in request.parameters
        ],
        "running": [s.path for s in running(request)],
        "stages": len(request.stages),
        "best": best and _stage(best, limits, settings=True),
    }


def listed(stage: StageView) -> View:
    """One line of the skill-based agent's list of stages."""
    parts = _stage(stage, Limits(rationale=60), settings=not stage.changes)
    if not stage.changes:
        parts.pop("changed", None)
    return parts | {"checkpoints": stage.checkpoints}


def metrics_of(stage: StageView, points: int) -> View:
    """What the skill-based agent reads of one stage."""
    return {
        **_stage(stage, Limits(), features=True, settings=True, scores=True),
        "checkpoints": stage.checkpoints,
        "curve": dict(_rows(stage.curve, points)) if stage.curve else {},
    }


def verdict_view(request: VerdictRequest, limits: Limits) -> View:
    """The question as the template ``verdict`` shows it."""
    return {
        "objective": request.objective,
        "direction": request.direction,
        "reason": clean(request.reason, 1024),
        "stage": _stage(request.stage, limits, features=True, settings=True, scores=True),
        "curve": _rows(request.curve, limits.points),
        "best": _stage(request.best, limits, features=True, settings=True, scores=True),
        "best_curve": _rows(request.best_curve, limits.points),
    }


def rounded(value: Any) -> Any:
    """The same JSON data with numbers of four significant digits; null where not finite."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value


def _parameter(parameter: Parameter, now: Any, limits: Limits) -> View:
    view: View = {"name": parameter.name, "role": parameter.role.value, "type": parameter.type}
    if parameter.choices is not None:
        view["choices"] = [_value(c) for c in parameter.choices[: limits.choices]]
    else:
        view |= {"min": parameter.min, "max": parameter.max, "scale": parameter.scale}
    return view | {"now": _value(now)}


def _stage(
    stage: StageView,
    limits: Limits,
    features: bool = False,
    settings: bool = False,
    scores: bool = False,
) -> View:
    view: View = {"stage": stage.path, "by": stage.proposer, "outcome": stage.outcome}
    view["steps"] = stage.steps
    if settings:
        view["settings"] = {k: _value(v) for k, v in stage.parameters.items()}
    if stage.changes:
        view["changed"] = {k: [_value(a), _value(b)] for k, (a, b) in stage.changes.items()}
    if stage.value is not None:
        view["value"] = [stage.value, stage.standard_error]
    if features and stage.features:
        view["features"] = dict(list(stage.features.items())[: limits.features])
    if stage.pathologies:
        view["pathologies"] = [
            [p.kind.value, p.severity, *([clean(p.evidence, limits.evidence)] if features else [])]
            for p in stage.pathologies
        ]
    if scores and stage.scores:
        view["scores"] = [[s.step, s.value, s.standard_error] for s in stage.scores]
    if limits.rationale and stage.rationale:
        view["why"] = clean(stage.rationale, limits.rationale)
    return {k: v for k, v in view.items() if v not in (None, "")}


def _rows(curve: Curve, points: int) -> list[tuple[str, list[Any]]]:
    """Steps, then every metric, then the evaluations as [step, value, standard error]."""
    kept = thinned(range(len(curve.steps)), points)
    rows: list[tuple[str, list[Any]]] = []
    if kept:
        rows.append(("steps", [curve.steps[i] for i in kept]))
    for name, values in curve.metrics.items():
        row = [values[i] for i in kept if i < len(values)]
        if any(v is not None for v in row):
            rows.append((name, row))
    scores = [curve.scores[i] for i in thinned(range(len(curve.scores)), max(points, 8))]
    if scores:
        rows.append(("evaluations", [[s.step, s.value, s.standard_error] for s in scores]))
        for name in sorted({n for s in scores for n in s.metrics}):
            rows.append((f"eval/{name}", [s.metrics.get(name) for s in scores]))
    return rows


def thinned(indices: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the indices, evenly spread, first and last among them."""
    if len(indices) <= count:
        return list(indices)
    if count <= 1:
        return list(indices[-1:]) if count else []
    return [indices[round(i * (len(indices) - 1) / (count - 1))] for i in range(count)]


def _ends(stages: Sequence[StageView], count: int) -> list[StageView]:
    """The first stage and the last ``count - 1``: where the path began and how it got here."""
    if len(stages) <= count:
        return list(stages)
    return [*stages[:1], *stages[len(stages) - count + 1 :]] if count > 1 else []


def _others(stages: Sequence[StageView], direction: str, limits: Limits) -> list[View]:
    """Those that say most where not all fit: two thirds the best by value, then failures."""
    count = limits.children
    if len(stages) > count:
        sign = -1.0 if direction == "maximize" else 1.0
        ranked = sorted(stages, key=lambda s: (s.value is None, sign * (s.value or 0.0)))
        stages = ranked[: count - count // 3] + ranked[len(ranked) - count // 3 :]
    return [_stage(s, limits) for s in stages]


def _worst_and_best(samples: Iterable[Sample], count: int) -> list[Sample]:
    ranked = sorted(samples, key=lambda s: s.reward if s.reward is not None else 0.0)
    if len(ranked) <= count:
        return ranked
    return ranked[: count - count // 2] + ranked[len(ranked) - count // 2 :]


def _sample(sample: Sample, limits: Limits) -> View:
    return {
        "prompt": clean(sample.prompt, limits.sample_text),
        "completion": clean(sample.completion, limits.sample_text),
        "reward": sample.reward,
    }


def _value(value: Any) -> Any:
    return clean(value, 64) if isinstance(value, str) else value
