"""Questions to the proposer, with everything filled in that a test does not care about."""

from typing import Any

from llmzero.api.curve import Pathology, PathologyKind, Score
from llmzero.api.proposals import BudgetLeft, ProposalRequest, StageView
from tests.unit.builders import parameters

INITIAL = {p.name: p.initial for p in parameters()}


def view(path: str = "0", changes: dict[str, Any] | None = None, **fields: Any) -> StageView:
    """A stage at the initial settings but for ``settings``."""
    values = {**INITIAL, **(fields.pop("settings", {}))}
    return StageView(
        **{
            "node": f"n-{path}",
            "path": path,
            "depth": path.count("-") + 1,
            "parameters": values,
            "changes": changes or {},
            "steps": 40,
            "value": 0.5,
            "standard_error": 0.02,
            "checkpoints": [20, 40],
            **fields,
        }
    )


def found(kind: PathologyKind, severity: float = 0.6) -> Pathology:
    return Pathology(kind=kind, severity=severity, metric="reward", evidence="reward 0.1 at step 9")


def request(stage: StageView, **fields: Any) -> ProposalRequest:
    return ProposalRequest(
        **{
            "request_id": "r",
            "search": "test",
            "task": "add",
            "objective": "eval/accuracy",
            "parameters": parameters(),
            "stage_steps": 40,
            "path": [stage],
            "budget": BudgetLeft(stages=10, depth=4),
            "count": 1,
            **fields,
        }
    )


def score(step: int, value: float, error: float = 0.01) -> Score:
    return Score(step=step, value=value, standard_error=error, questions=200)
