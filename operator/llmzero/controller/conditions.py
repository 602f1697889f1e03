"""Conditions as Kubernetes wants them: one a type, a time that tells when its status changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from llmzero.api.base import Condition, ObjectMeta

PRUNED: Final = "CheckpointsPruned"
"""On a StageNode: False while a Job deletes what its status no longer lists."""
DELETING: Final = "Deleting"
BLOCKED: Final = "Blocked"
"""On a TrainingSearch: True while a stage cannot start or end; the message says what to do."""
ONE_NODE: Final = "OneNode"
"""On a TrainingSearch: True where its claim lets all stages run on one node only."""

State = Literal["True", "False", "Unknown"]


def with_condition(
    conditions: Sequence[Condition],
    kind: str,
    status: State,
    reason: str,
    message: str,
    now: datetime,
    metadata: ObjectMeta,
) -> list[Condition]:
    """The list with this one set; its time stays while its status does."""
    old = find(conditions, kind)
    since = old.last_transition_time if old is not None and old.status == status else now
    made = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:2048],
        observed_generation=metadata.generation,
        last_transition_time=since.replace(microsecond=0),
    )
    return [*(c for c in conditions if c.type != kind), made]


def find(conditions: Sequence[Condition], kind: str) -> Condition | None:
    return next((c for c in conditions if c.type == kind), None)
