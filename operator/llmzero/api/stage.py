"""StageNode: one stage of training (or one evaluation) as an object."""

from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import Field

from llmzero.api.base import API_VERSION, Condition, Model, ObjectMeta, Time
from llmzero.api.contract import Volume
from llmzero.api.curve import Curve, Pathology
from llmzero.api.proposals import Answered, Expansion, Sample, VerdictAnswer, stood_in
from llmzero.api.spec import SettingsMap


class Purpose(StrEnum):
    """Why the object exists. Promote and HeldOut only evaluate."""

    TRAIN = "Train"
    PROMOTE = "Promote"
    HELD_OUT = "HeldOut"


class Phase(StrEnum):
    """Where a StageNode stands. The last three are final."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    STOPPED = "Stopped"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.STOPPED, Phase.FAILED)


class Outcome(StrEnum):
    """How an attempt or a stage ended."""

    SUCCEEDED = "Succeeded"
    EARLY_STOPPED = "EarlyStopped"
    OUT_OF_MEMORY = "OutOfMemory"
    DIVERGED = "Diverged"
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"


class CheckpointRef(Model):
    """A checkpoint of some stage of the same search."""

    node: str = Field(max_length=63, description="Name of the StageNode that wrote it.")
    step: int = Field(ge=0, description="Optimizer step within that stage.")


class SearchRef(Model):
    name: str = Field(max_length=63)
    uid: str = Field(max_length=64)


class Change(Model):
    """One parameter that differs from the parent stage."""

    name: str = Field(max_length=63)
    old: bool | int | float | str | None = Field(None, description="Value in the parent stage.")
    new: bool | int | float | str = Field(description="Value in this stage.")


class Provenance(Model):
    """Who proposed a stage and why."""

    proposer: str = Field(
        max_length=63,
        description="initial, continue, rules, agent, explore, random, grid, tpe, asha, pbt, "
        "schedule, replica, finish, promote or held-out.",
    )
    rationale: str = Field("", max_length=2048, description="Why, in words.")
    expected: dict[str, float] = Field(
        default_factory=dict,
        max_length=16,
        description="Metric name to the change that was expected of it.",
    )
    proposal: int | None = Field(
        None, ge=0, description="Index of the proposal in the expansion that it stands in."
    )
    answered_on: str = Field(
        "",
        max_length=63,
        description="StageNode whose expansion the proposal stands in; empty: the parent.",
    )


class StageSpec(Model):
    """Immutable: everything that decides what the stage computes."""

    search: SearchRef
    purpose: Purpose = Purpose.TRAIN
    path: str = Field(
        pattern=r"^[0-9]+(-[0-9]+)*$|^base$",
        max_length=255,
        description="Child numbers from the root: 0-2-1 is child 1 of child 2 of child 0.",
    )
    parent: str | None = Field(
        None, max_length=63, description="StageNode above; empty for a child of the base model."
    )
    start: CheckpointRef | None = Field(
        None, description="Checkpoint to start from (or to evaluate); empty for the base model."
    )
    steps: int = Field(ge=0, description="Optimizer steps; 0 for an evaluation.")
    parameters: SettingsMap = Field(
        default_factory=dict, max_length=32, description="Values of the searched parameters."
    )
    changes: list[Change] = Field(
        default_factory=list, max_length=32, description="What differs from the parent stage."
    )
    carry_optimizer: bool = Field(
        False, description="Start from the parent's Adam moments, not from zero."
    )
    carry_reference: bool = Field(
        False,
        description="Keep the parent's KL reference; otherwise the parent itself is the reference.",
    )
    micro_batch_halvings: int = Field(
        0, ge=0, le=16, description="Rungs of the out-of-memory ladder taken over from the parent."
    )
    data_offset: int = Field(0, ge=0, description="Prompts consumed along the path so far.")
    rollout_seed: int = Field(0, ge=0, description="Seed of the sampling of completions.")
    provenance: Provenance
    segment: Literal["screen", "tree", "finish", "promote"] = Field(
        "tree", description="Part of the budget that pays for it."
    )


class Cost(Model):
    """What was used, over all attempts."""

    stages: float = Field(0, ge=0, description="Full stages' worth of steps, charged.")
    device_seconds: float = Field(0, ge=0, description="Seconds a device was held.")
    train_tokens: int = Field(0, ge=0, description="Tokens generated for training.")
    eval_tokens: int = Field(0, ge=0, description="Tokens generated for evaluation.")


class StopDecision(Model):
    """Written before the stage is told to stop."""

    reason: Literal[
        "CurveBelowBest", "AgentRequest", "UserRequest", "SearchEnded", "Suspended", "Silent"
    ]
    message: str = Field("", max_length=1024)
    at: Time
    verdict: VerdictAnswer | None = Field(
        None, description="What the agent answered, where it was asked for a veto."
    )


class Audit(Model):
    """A stage that would have been stopped but runs on, so that false kills can be counted."""

    message: str = Field("", max_length=1024)
    at: Time
    step: int = Field(ge=0, description="Step at which it would have been stopped.")
    verdict: VerdictAnswer | None = Field(
        None, description="The agent's veto; empty where a draw chose the stage."
    )


AnsweredBy = Literal["agent", "repaired", "rules", "stand-in"]
"""stand-in: the rules answered in the place of an agent that was asked."""


class Receipt(NamedTuple):
    """Who gave one stored answer, proposals or verdict, and what it cost."""

    answered_by: AnsweredBy
    input_tokens: int
    output_tokens: int
    dollars: float


class Attempt(Model):
    """One try at the stage: a Job on a cluster, a process on one machine."""

    number: int = Field(ge=1)
    started_at: Time | None = None
    finished_at: Time | None = None
    outcome: Outcome | None = None
    reason: str = Field("", max_length=128)
    message: str = Field("", max_length=1024)
    counted: bool = Field(True, description="Whether it counts towards budget.attempts.")
    checkpoint: int = Field(0, ge=0, description="Newest checkpoint when it began.")


class Result(Model):
    """The objective at the stage's last checkpoint."""

    value: float
    standard_error: float = Field(ge=0)
    questions: int = Field(ge=1)
    step: int = Field(ge=0)
    split: Literal["search", "promote", "heldOut"] = "search"


class StageStatus(Model):
    """Everything that is known of a stage; what is larger lies in the stage's directory."""

    observed_generation: int | None = None
    phase: Phase = Phase.PENDING
    outcome: Outcome | None = None
    reason: str = Field("", max_length=128, description="One CamelCase word for the outcome.")
    message: str = Field("", max_length=2048, description="The outcome in plain words.")
    sequence: int | None = Field(
        None, ge=0, description="Place in the search's order of completions."
    )
    step: int = Field(0, ge=0, description="Last optimizer step reported.")
    attempts: list[Attempt] = Field(
        default_factory=list, max_length=8, description="The latest attempts."
    )
    attempt_count: int = Field(0, ge=0, description="Number of the newest attempt.")
    failed_attempts: int = Field(0, ge=0, description="Those that count towards budget.attempts.")
    lost_attempts: int = Field(
        0, ge=0, description="Interrupted ones in a row that left no new checkpoint."
    )
    last_seq: int = Field(0, ge=0, description="Last record of the newest attempt taken in.")
    last_heard_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    result: Result | None = None
    features: dict[str, float] = Field(
        default_factory=dict, max_length=64, description="Numbers read from the curve."
    )
    pathologies: list[Pathology] = Field(default_factory=list, max_length=16)
    curve: Curve = Field(default_factory=Curve)
    samples: list[Sample] = Field(
        default_factory=list,
        max_length=4,
        description="Worst and best answers of the last evaluation: what a model wrote, untrusted.",
    )
    checkpoints: list[int] = Field(
        default_factory=list, max_length=64, description="Steps of whole checkpoints that are kept."
    )
    cost: Cost = Field(default_factory=Cost)
    micro_batch_halvings: int = Field(
        0, ge=0, description="Rungs of the out-of-memory ladder that the stage ended on."
    )
    volume: Volume | None = None
    stop: StopDecision | None = None
    audit: Audit | None = None
    expansion: Expansion | None = Field(
        None, description="The stored answer that children of this stage are created from."
    )
    tree: str = Field(
        "", max_length=255, description="Path indented by depth, for kubectl's columns."
    )
    depth: int = Field(0, ge=0, description="Stages from the base model down to this one.")
    changed: str = Field(
        "", max_length=255, description="What differs from the parent, in short, for columns."
    )
    conditions: list[Condition] = Field(default_factory=list, max_length=16)

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """One for everything that an agent, or the rules in its place, answered about the stage."""
        answers: list[Answered | VerdictAnswer] = []
        if self.expansion is not None:
            answers += self.expansion.answers
        answers += [d.verdict for d in (self.stop, self.audit) if d is not None and d.verdict]
        return tuple(
            Receipt(
                "stand-in" if stood_in(a) else a.answered_by,
                a.usage.input_tokens,
                a.usage.output_tokens,
                a.usage.dollars,
            )
            for a in answers
        )

    @property
    def undecided(self) -> bool:
        """Whether stored proposals were neither approved nor refused (``approval: manual``)."""
        expansion = self.expansion
        return expansion is not None and bool(expansion.answers) and expansion.approved is None


class StageNode(Model):
    """One stage of a TrainingSearch."""

    api_version: Literal["llmzero.dev/v1alpha1"] = API_VERSION
    kind: Literal["StageNode"] = "StageNode"
    metadata: ObjectMeta
    spec: StageSpec
    status: StageStatus = Field(default_factory=StageStatus)

    @property
    def name(self) -> str:
        return self.metadata.name
