"""What a user writes: the spec of a TrainingSearch, section by section."""

from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from llmzero.api.base import Model, Scalar
from llmzero.api.parameters import Parameter
from llmzero.api.task import ModelSource, Objective, Task

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DURATION = r"^([0-9]+[smhd])+$"


class StagePlan(Model):
    """Length of one stage, in optimizer steps."""

    steps: int = Field(100, ge=1, le=1_000_000, description="Optimizer steps of a full stage.")
    prompts_per_step: int = Field(
        8,
        ge=1,
        le=4096,
        description="Prompts of one optimizer step, whatever the group size: a step trains on "
        "promptsPerStep x num_generations completions, in micro-batches of at most "
        "fixed.per_device_train_batch_size.",
    )
    eval_every: int = Field(25, ge=1, description="Steps between evaluations.")
    checkpoint_every: int = Field(25, ge=1, description="Steps between checkpoints.")
    silence_seconds: int = Field(
        1800,
        ge=30,
        description="A stage that reports nothing for so long is stopped and tried again.",
    )
    start_seconds: int = Field(
        1800, ge=30, description="A stage must report within this time of its process starting."
    )


class Evaluation(Model):
    """The fixed protocol that scores every stage alike, whatever it trains with."""

    samples: int = Field(1, ge=1, le=64, description="Completions per question.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 decodes greedily.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus mass of the evaluation's decoder.")
    max_completion_length: int | None = Field(
        None, ge=1, description="Tokens; default: the largest that the search space allows."
    )
    batch_size: int = Field(64, ge=1, le=4096, description="Questions decoded at once.")


class EarlyStopping(Model):
    """Curve against best, paired, at equal cumulative cost."""

    enabled: bool = Field(True, description="Stop doomed stages.")
    margin: float = Field(
        0.05, ge=0, description="Gap to the best, in units of the objective, that is tolerated."
    )
    looks: int = Field(2, ge=1, le=100, description="Evaluations in a row beyond the margin.")
    grace: float = Field(
        0.3,
        ge=0,
        le=1,
        description="First share of a stage that is exempt after a change of capacity, "
        "temperature, task or reward.",
    )
    audit_fraction: float = Field(
        0.08, ge=0, le=1, description="Share of doomed stages that run on, to count false kills."
    )


class Strategy(Model):
    """Who proposes the next stages."""

    name: str = Field(
        "llmzero",
        pattern=DNS_LABEL,
        max_length=63,
        description="llmzero, skill, grid, random, tpe, asha, pbt or schedule.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the strategy, by name."
    )
    parallelism: int = Field(2, ge=1, le=1000, description="Stages that run at once.")
    max_depth: int = Field(
        6,
        ge=1,
        le=64,
        description="Full stages on the longest path; a screening rung and the short stage that "
        "completes it count as one.",
    )
    early_stopping: EarlyStopping = Field(default_factory=EarlyStopping)
    candidates: int = Field(
        3, ge=1, le=50, description="Stages that are scored again on the promote split."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of every random draw.")


FAILURE_FLOOR: Final = 0.25
"""Least charge of a failed stage, in full stages, so the least that must be left to start one: a
zero-cost failure makes a search run for ever.

Source: reference "Values and backup" (seen in a toy search)."""


class Budget(Model):
    """When the search ends. May be raised later, never below what is spent."""

    stages: float = Field(
        24,
        gt=0,
        le=1_000_000,
        description="Full stages' worth of steps: a quarter rung charges 0.25, a stopped stage "
        "what it ran, a failed one at least 0.25.",
    )
    gpu_hours: float | None = Field(None, gt=0, description="Device hours of all stages.")
    tokens: int | None = Field(
        None,
        gt=0,
        description="Tokens generated in all, to train on and to be scored: what a stage costs "
        "where answers have very different lengths. Spent before `stages` are, it ends the search.",
    )
    deadline: str | None = Field(
        None, pattern=DURATION, description="Time from the start, like 36h or 2d12h."
    )
    failures: int = Field(6, ge=0, description="Failed stages before the search is Failed.")
    attempts: int = Field(
        3, ge=1, le=20, description="Attempts of one stage after failures of infrastructure."
    )
    agent_tokens: int | None = Field(None, ge=0, description="Then the rules take over.")
    agent_dollars: float | None = Field(None, ge=0, description="Then the rules take over.")


class Agent(Model):
    """Which agent service answers; left out, the built-in rules do."""

    endpoint: str = Field(
        pattern=DNS_LABEL,
        max_length=63,
        description="Name of an endpoint that the administrator configured (never a URL: it "
        "would be handed the token).",
    )
    timeout_seconds: int = Field(
        120, ge=1, le=3600, description="For a whole decision, repair round included."
    )


class Trainer(Model):
    """The pods of the stages (cluster only)."""

    image: str | None = Field(None, min_length=1, max_length=512, description="Trainer image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="As in a container."
    )
    resources: dict[str, dict[str, str | int | float]] = Field(
        default_factory=dict, description="requests and limits of the trainer container."
    )
    pod_template: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the pod: nodeSelector, tolerations, volumes, ...",
    )
    queue_name: str | None = Field(
        None, pattern=DNS_LABEL, max_length=63, description="Kueue LocalQueue of the stage Jobs."
    )
    priority_class_name: str | None = Field(
        None, max_length=63, description="PriorityClass of the stage pods."
    )


class Retention(StrEnum):
    ALL = "all"
    BEST_PATH = "best-path"


class Storage(Model):
    """Where checkpoints are kept (cluster only)."""

    claim_name: str | None = Field(
        None, max_length=253, description="PersistentVolumeClaim, mounted by every stage."
    )
    retention: Retention = Field(
        Retention.BEST_PATH,
        description="all, or best-path: the base path of the best stages and what may still be "
        "branched from.",
    )


class SearchSpec(Model):
    """Immutable but for budget, suspend, suspendPolicy, parallelism, approval, agent, resources."""

    objective: Objective = Field(default_factory=Objective)
    model: ModelSource
    task: Task
    parameters: list[Parameter] = Field(
        min_length=1, max_length=32, description="The search space."
    )
    fixed: dict[str, Any] = Field(
        default_factory=dict, description="Any other GRPOConfig field, the same in every stage."
    )
    stage: StagePlan = Field(default_factory=StagePlan)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    strategy: Strategy = Field(default_factory=Strategy)
    budget: Budget = Field(default_factory=Budget)
    agent: Agent | None = None
    trainer: Trainer = Field(default_factory=Trainer)
    storage: Storage = Field(default_factory=Storage)
    approval: Literal["auto", "manual"] = Field(
        "auto", description="manual: proposals wait for a person."
    )
    suspend: bool = Field(False, description="Start nothing new.")
    suspend_policy: Literal["Drain", "Stop"] = Field(
        "Drain", description="Drain lets running stages end; Stop interrupts them."
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [p.name for p in self.parameters]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"parameters: declared twice: {', '.join(twice)}")
        both = sorted(set(names) & set(self.fixed))
        if both:
            raise ValueError(f"fixed: {', '.join(both)} is searched too: drop one of the two")
        return self


MUTABLE = ("budget", "suspend", "suspendPolicy", "approval", "agent")
"""Sections of the spec that may change (and strategy.parallelism, trainer.resources)."""


def immutable(spec: dict[str, Any]) -> dict[str, Any]:
    """The part of a dumped spec that a search's stages depend on."""
    kept = {k: v for k, v in spec.items() if k not in MUTABLE}
    for section, free in (("strategy", "parallelism"), ("trainer", "resources")):
        kept[section] = {k: v for k, v in spec.get(section, {}).items() if k != free}
    return kept


SettingsMap = dict[str, Scalar]
"""Values of the searched parameters, by parameter name."""
