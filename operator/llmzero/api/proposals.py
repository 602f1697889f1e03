"""The agent contract: what an agent is asked and what it may answer (POST /v1/...)."""

from typing import Literal

from pydantic import Field

from llmzero.api.base import Model, Scalar, Time
from llmzero.api.curve import Curve, Pathology, PathologyKind, Score
from llmzero.api.parameters import Parameter
from llmzero.api.spec import SettingsMap

MAX_CHANGES = 4
"""Parameters that one transition may change together."""


class StageView(Model):
    """A finished (or running) stage as the agent sees it."""

    node: str = Field(max_length=63)
    path: str = Field(max_length=255)
    depth: int = Field(ge=1)
    parameters: SettingsMap
    changes: dict[str, tuple[Scalar | None, Scalar]] = Field(
        default_factory=dict, description="Parameter name to (value in the parent, value here)."
    )
    proposer: str = Field("", max_length=63)
    rationale: str = Field("", max_length=512)
    outcome: str | None = Field(None, max_length=32)
    steps: int = Field(ge=0)
    value: float | None = None
    standard_error: float | None = None
    features: dict[str, float] = Field(default_factory=dict)
    pathologies: list[Pathology] = Field(default_factory=list)
    scores: list[Score] = Field(default_factory=list, max_length=64)
    checkpoints: list[int] = Field(default_factory=list, max_length=64)
    start_step: int | None = Field(
        None, ge=0, description="Step of the parent's checkpoint that it started from."
    )
    curve: Curve | None = Field(
        None, description="For plots: of stages on the path and of the first of the best."
    )


class Infeasible(Model):
    """A setting that ran out of memory or diverged."""

    parameters: SettingsMap
    outcome: Literal["OutOfMemory", "Diverged"]


class Sample(Model):
    """A completion, untrusted data."""

    prompt: str = Field(max_length=2048)
    completion: str = Field(max_length=2048)
    reward: float | None = None


class BudgetLeft(Model):
    stages: float = Field(ge=0, description="Full stages' worth of steps.")
    depth: int = Field(ge=0, description="Stages that may still follow on this path.")


class ProposalRequest(Model):
    """Everything a proposer may know; bounded, whatever the size of the tree."""

    request_id: str = Field(max_length=128, description="Same id, same question.")
    search: str = Field(max_length=63)
    task: str = Field(max_length=2048, description="The task in words.")
    objective: str = Field(max_length=128)
    direction: Literal["maximize", "minimize"] = "maximize"
    parameters: list[Parameter]
    fixed: dict[str, Scalar] = Field(default_factory=dict)
    stage_steps: int = Field(ge=1)
    evaluation_temperature: float | None = Field(
        None, ge=0, description="Of the samples that every stage is scored by; 0 is greedy."
    )
    path: list[StageView] = Field(
        min_length=1,
        max_length=64,
        description="From the root to the stage to expand, which is last.",
    )
    curve: Curve = Field(default_factory=Curve, description="Curve of the stage to expand.")
    children: list[StageView] = Field(
        default_factory=list, max_length=64, description="What was tried from here already."
    )
    siblings: list[StageView] = Field(
        default_factory=list,
        max_length=64,
        description="Other children of the stage's parent; the one that went on unchanged shows "
        "what the stage's own changes gave.",
    )
    best: list[StageView] = Field(
        default_factory=list, max_length=8, description="The best stages elsewhere."
    )
    infeasible: list[Infeasible] = Field(default_factory=list, max_length=16)
    samples: list[Sample] = Field(default_factory=list, max_length=8)
    budget: BudgetLeft
    count: int = Field(1, ge=1, le=8, description="Proposals wanted.")
    seed: int = Field(0, ge=0)
    mode: Literal["expand", "steer"] = Field(
        "expand",
        description="expand: how to go on from the last stage of path. steer: the skill-based "
        "agent runs the search; it may start from any of stages, stop running ones and finish.",
    )
    stages: list[StageView] = Field(
        default_factory=list,
        max_length=64,
        description="steer: the best and the newest stages; without an outcome they run or wait.",
    )


class Diagnosis(Model):
    kind: PathologyKind
    severity: float = Field(ge=0, le=1)
    confidence: float = Field(0.5, ge=0, le=1)
    evidence: str = Field(max_length=512, description="Cites metric and steps.")


class BranchFrom(Model):
    step: int = Field(ge=0, description="Checkpoint of the stage to expand; its last by default.")
    reason: str = Field("", max_length=512)
    node: str = Field(
        "",
        max_length=63,
        description="steer: StageNode of the checkpoint, or base; empty: the stage to expand.",
    )


class Proposal(Model):
    """One coordinated transition."""

    changes: SettingsMap = Field(
        max_length=8, description="Parameter name to its new value; the others stay."
    )
    carry_optimizer: bool = False
    carry_reference: bool = False
    rationale: str = Field(max_length=1024)
    expected: dict[str, float] = Field(default_factory=dict, max_length=8)
    confidence: float = Field(0.5, ge=0, le=1)
    justification: str = Field(
        "", max_length=512, description="Needed for more than four changes or a capacity decrease."
    )
    branch_from: BranchFrom | None = Field(
        None, description="steer: where this one starts; empty: where the answer says."
    )


class StopStage(Model):
    """steer: a running stage to stop."""

    node: str = Field(max_length=63)
    reason: str = Field("", max_length=512)


class ProposalAnswer(Model):
    diagnosis: list[Diagnosis] = Field(default_factory=list, max_length=16)
    branch_from: BranchFrom
    proposals: list[Proposal] = Field(
        max_length=8, description="None is allowed where the agent steers."
    )
    stop: list[StopStage] = Field(default_factory=list, max_length=8)
    finish: bool = Field(False, description="steer: start nothing more, choose the winner.")


class Usage(Model):
    input_tokens: int = Field(0, ge=0)
    output_tokens: int = Field(0, ge=0)
    dollars: float = Field(0, ge=0)
    seconds: float = Field(0, ge=0)


class Answered(Model):
    """An answer with its origin, as the service returns it and the object stores it."""

    request_id: str = Field(max_length=128)
    answered_by: Literal["rules", "agent", "repaired"] = "rules"
    provider: str = Field("", max_length=128)
    template: str = Field("", max_length=128, description="Version of the prompt template.")
    answer: ProposalAnswer
    usage: Usage = Field(default_factory=Usage)
    note: str = Field("", max_length=512, description="Why the rules stood in, where they did.")


class Expansion(Model):
    """Stored answers of one node, written before any child is created from them (max 16 KB)."""

    answers: list[Answered] = Field(default_factory=list, max_length=8)
    approved: bool | None = Field(
        None, description="approval: manual; empty while the proposals wait for a person."
    )
    requested_at: Time | None = None

    @property
    def proposals(self) -> list[tuple[BranchFrom, Proposal, str]]:
        """All stored proposals in order, each with its branch point and who answered."""
        return [
            (p.branch_from or a.answer.branch_from, p, a.answered_by)
            for a in self.answers
            for p in a.answer.proposals
        ]


class VerdictRequest(Model):
    """A running stage that arithmetic would stop, against the best at equal cost."""

    request_id: str = Field(max_length=128)
    search: str = Field(max_length=63)
    objective: str = Field(max_length=128)
    direction: Literal["maximize", "minimize"] = "maximize"
    stage: StageView
    curve: Curve
    best: StageView
    best_curve: Curve
    reason: str = Field(max_length=1024, description="The arithmetic's case for stopping.")


class VerdictAnswer(Model):
    request_id: str = Field(max_length=128)
    verdict: Literal["continue", "stop"]
    reason: str = Field(max_length=1024)
    answered_by: Literal["rules", "agent", "repaired"] = "rules"
    provider: str = Field("", max_length=128)
    template: str = Field("", max_length=128, description="Version of the prompt template.")
    usage: Usage = Field(default_factory=Usage)
    note: str = Field("", max_length=512, description="Why arithmetic decided, where it did.")


def stood_in(answer: Answered | VerdictAnswer) -> bool:
    """Whether the rules answered in the place of an agent that was asked."""
    return answer.answered_by == "rules" and bool(answer.note)
