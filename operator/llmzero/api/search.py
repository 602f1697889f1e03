"""TrainingSearch: the object a user applies, and what is reported back on it."""

from typing import Literal

from pydantic import Field

from llmzero.api.base import API_VERSION, Condition, Model, ObjectMeta, Time
from llmzero.api.spec import SearchSpec


class Counts(Model):
    """StageNodes of purpose Train, by phase."""

    pending: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    stopped: int = 0
    failed: int = 0


class Ledger(Model):
    """What the search has used and reserved, in the units of ``spec.budget``."""

    stages_spent: float = Field(0, description="Charged for stages that ended.")
    stages_reserved: float = Field(0, description="Reserved for stages that did not end yet.")
    gpu_hours: float = Field(0, description="Device hours of all attempts and evaluations.")
    train_tokens: int = 0
    eval_tokens: int = 0
    agent_tokens: int = 0
    agent_dollars: float = 0
    failures: int = 0
    saved_by_stopping: float = Field(0, description="Stages' worth of steps not run.")
    early_stopped: int = 0
    audited: int = Field(0, description="Doomed stages that ran on as an audit.")
    vetoed: int = Field(0, description="Of the audited, those whose stop the agent vetoed.")
    false_kills: int = Field(0, description="Audited stages that ended above the margin.")


class Best(Model):
    """The best stage so far, chosen by filtered value, later the promoted winner; the value is that
    stage's own evaluation on the named split."""

    node: str = Field(max_length=63)
    path: str = Field(max_length=255)
    value: float
    standard_error: float
    split: Literal["search", "promote"] = "search"


class Reading(Model):
    """One held-out score."""

    subject: Literal["winner", "base", "best-constant"]
    node: str | None = Field(None, max_length=63, description="Stage scored; empty for the base.")
    path: str = Field("", max_length=255)
    value: float
    standard_error: float
    questions: int = Field(ge=1)
    reading: int = Field(1, ge=1, description="2 and up: the split has been read before.")
    difference: float | None = Field(None, description="Winner minus this one, paired.")
    difference_error: float | None = Field(None, description="Standard error of the difference.")


class SearchStatus(Model):
    observed_generation: int | None = None
    phase: Literal[
        "Pending", "Running", "Promoting", "Confirming", "Suspended", "Complete", "Failed"
    ] = "Pending"
    message: str = Field("", max_length=2048, description="Where the search stands, in words.")
    started_at: Time | None = None
    finished_at: Time | None = None
    spec_digest: str = Field(
        "",
        max_length=64,
        description="SHA-256 of the immutable part of the spec as it was accepted: CEL cannot see "
        "untyped values.",
    )
    counts: Counts = Field(default_factory=Counts)
    ledger: Ledger = Field(default_factory=Ledger)
    depth: int = Field(0, description="Stages on the longest path so far.")
    best: Best | None = None
    held_out: list[Reading] = Field(default_factory=list, max_length=16)
    conditions: list[Condition] = Field(default_factory=list, max_length=16)


class TrainingSearch(Model):
    """A search over GRPO training trajectories."""

    api_version: Literal["llmzero.dev/v1alpha1"] = API_VERSION
    kind: Literal["TrainingSearch"] = "TrainingSearch"
    metadata: ObjectMeta
    spec: SearchSpec
    status: SearchStatus = Field(default_factory=SearchStatus)

    @property
    def name(self) -> str:
        return self.metadata.name
