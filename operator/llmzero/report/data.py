"""What the page embeds of each stage: small, rounded, without the per-question scores."""

import math
from collections.abc import Sequence
from typing import Any

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.report.layout import tidy
from llmzero.report.path import best_path

ROOT = "base"


def _round(value: float | None) -> float | None:
    """Four significant digits; None for what is not finite (JSON has no NaN)."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


def _stage(node: StageNode) -> dict[str, Any]:
    spec, status = node.spec, node.status
    answers = status.expansion.answers if status.expansion else []
    return {
        "name": node.name,
        "path": spec.path,
        "parent": spec.parent or ROOT,
        "phase": str(status.phase),
        "outcome": str(status.outcome) if status.outcome else None,
        "message": status.message,
        "value": _round(status.result.value) if status.result else None,
        "se": _round(status.result.standard_error) if status.result else None,
        "cost": _round(status.cost.stages),
        "steps": spec.steps,
        "parameters": dict(spec.parameters),
        "changes": [[c.name, c.old, c.new] for c in spec.changes],
        "proposer": spec.provenance.proposer,
        "why": spec.provenance.rationale,
        "pathologies": [[str(p.kind), _round(p.severity), p.evidence] for p in status.pathologies],
        "curve": {
            "steps": status.curve.steps,
            "metrics": {
                name: [_round(v) for v in values] for name, values in status.curve.metrics.items()
            },
        },
        "scores": [
            [s.step, _round(s.value), _round(s.standard_error)] for s in status.curve.scores
        ],
        "answers": [
            {
                "by": a.answered_by,
                "provider": a.provider,
                "note": a.note,
                "diagnosis": [[str(d.kind), d.evidence] for d in a.answer.diagnosis],
                "proposals": [[p.changes, p.rationale] for p in a.answer.proposals],
            }
            for a in answers
        ],
    }


def page_data(search: TrainingSearch, nodes: Sequence[StageNode]) -> dict[str, Any]:
    """Everything the page shows, as JSON data, with each stage's place in the tree."""
    stages = [n for n in nodes if n.spec.purpose is Purpose.TRAIN]
    stages.sort(key=lambda n: [int(part) for part in n.spec.path.split("-")])
    children: dict[str, list[str]] = {}
    for node in stages:
        children.setdefault(node.spec.parent or ROOT, []).append(node.name)
    places = tidy(children, ROOT)
    best = search.status.best
    status = search.status.dump()
    return {
        "search": search.name,
        "objective": search.spec.objective.dump(),
        "task": search.spec.task.name,
        "model": search.spec.model.path or search.spec.model.builtin,
        "parameters": [p.dump() for p in search.spec.parameters],
        "status": {k: v for k, v in status.items() if k != "conditions"},
        "budget": search.spec.budget.dump(),
        "best": best.node if best else None,
        "bestPath": [
            {"name": s.node.name, "steps": s.steps, "gain": _round(s.gain)}
            for s in best_path(search, stages)
        ],
        "root": {"column": 0, "row": places[ROOT].row},
        "stages": [
            {**_stage(n), "column": places[n.name].column, "row": places[n.name].row}
            for n in stages
            if n.name in places
        ],
        "manifest": {
            "apiVersion": search.api_version,
            "kind": search.kind,
            "metadata": {"name": search.name},
            "spec": search.spec.dump(),
        },
    }
