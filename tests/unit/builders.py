"""Objects for tests, with everything filled in that a test does not care about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from llmzero.api.base import ObjectMeta
from llmzero.api.curve import Curve, Score
from llmzero.api.parameters import Parameter
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Provenance, SearchRef, StageNode, StageSpec, StageStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "0b5e5a6e-7a0f-4b7e-9a53-0c8b6d1f2a3b"

PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "learning_rate",
        "role": "regularization",
        "min": 1e-6,
        "max": 1e-3,
        "scale": "log",
        "initial": 3e-5,
    },
    {"name": "temperature", "role": "regularization", "min": 0.4, "max": 1.5, "initial": 1.0},
    {"name": "beta", "role": "regularization", "min": 0, "max": 0.2, "initial": 0.02},
    {
        "name": "max_completion_length",
        "role": "capacity",
        "type": "int",
        "min": 4,
        "max": 64,
        "initial": 12,
    },
    {
        "name": "num_generations",
        "role": "capacity",
        "type": "categorical",
        "choices": [4, 8, 16],
        "initial": 8,
    },
]


def parameters() -> list[Parameter]:
    return [Parameter.model_validate(p) for p in PARAMETERS]


def manifest(**spec: Any) -> dict[str, Any]:
    """A small valid manifest; keyword arguments replace sections of the spec."""
    return {
        "apiVersion": "llmzero.dev/v1alpha1",
        "kind": "TrainingSearch",
        "metadata": {"name": "test"},
        "spec": {
            "model": {"builtin": "scratchpad-addition"},
            "task": {"name": "scratchpad-addition"},
            "parameters": PARAMETERS,
            "stage": {"steps": 40, "evalEvery": 10, "checkpointEvery": 20},
            **spec,
        },
    }


def search(**spec: Any) -> TrainingSearch:
    found = TrainingSearch.model_validate(manifest(**spec))
    return found.with_(metadata=ObjectMeta(name="test", uid=UID, creation_timestamp=NOW))


def stage(
    path: str = "0",
    status: StageStatus | None = None,
    settings: Mapping[str, Any] | None = None,
    **spec: Any,
) -> StageNode:
    values = {p["name"]: p["initial"] for p in PARAMETERS} | dict(settings or {})
    above = path.rpartition("-")[0]
    return StageNode(
        metadata=ObjectMeta(name=f"test-{path}", uid=f"uid-{path}"),
        spec=StageSpec(
            **{
                "search": SearchRef(name="test", uid=UID),
                "path": path,
                "parent": f"test-{above}" if above else None,
                "steps": 40,
                "parameters": values,
                "provenance": Provenance(proposer="initial"),
                **spec,
            }
        ),
        status=status or StageStatus(),
    )


def curve(scores: Mapping[int, float] | None = None, error: float = 0.02, **metrics: Any) -> Curve:
    """A curve of the metrics given as lists (``__`` stands for ``/``), a point every step."""
    length = max((len(v) for v in metrics.values()), default=0)
    return Curve(
        steps=list(range(1, length + 1)),
        metrics={k.replace("__", "/"): v for k, v in metrics.items()},
        scores=[
            Score(step=s, value=v, standard_error=error, questions=200)
            for s, v in (scores or {}).items()
        ],
    )
