"""What a user writes: the spec of a TrainingSearch, section by section."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from llmzero.api.base import Model, Scalar
from llmzero.api.parameters import Parameter

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DURATION = r"^([0-9]+[smhd])+$"


class Objective(Model):
    """What the search improves, measured after each stage by the fixed evaluation."""

    metric: str = Field(
        "eval/accuracy",
        pattern=r"^eval/[A-Za-z0-9_.-]+$",
        max_length=63,
        description="eval/accuracy (share of questions answered right), eval/reward (weighted "
        "sum of rewards) or eval/<reward name>; always on a split that is not trained on.",
    )
    direction: Literal["maximize", "minimize"] = Field(
        "maximize", description="maximize or minimize."
    )
    target: float | None = Field(
        None, description="The search is Complete once a promoted stage reaches this value."
    )


class Lora(Model):
    """LoRA adapter (peft.LoraConfig) trained in place of the full weights."""

    r: int = Field(16, ge=1, le=1024, description="Rank.")
    lora_alpha: float = Field(32, gt=0, description="Scaling numerator.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="Module names, or all-linear."
    )


class ModelSource(Model):
    """The base model: exactly one of ``path`` and ``builtin``."""

    path: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="A directory (on the claim or this machine) or a hub name.",
    )
    builtin: str | None = Field(
        None,
        max_length=63,
        description="A tiny model that the trainer makes itself, deterministically, "
        "for the task of its name: scratchpad-addition, imperfect-verifier, ramble or transcribe.",
    )
    revision: str | None = Field(None, max_length=128, description="Git revision of a hub model.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Arithmetic of training: bfloat16 is autocast; weights, optimizer state and "
        "stage checkpoints stay float32 (pure bf16 at lr 1e-6 moves 1 % of the weights).",
    )
    peft: Lora | None = Field(None, description="Train a LoRA adapter, not the full weights.")
    trust_remote_code: bool = Field(
        False, description="Let transformers execute code from the model's repository."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.builtin is None):
            raise ValueError("exactly one of path and builtin is needed")
        return self


class Splits(Model):
    """Sizes of the four disjoint splits, in questions."""

    train: int = Field(1000, ge=1, le=10_000_000, description="Prompts that GRPO trains on.")
    search: int = Field(
        200, ge=2, le=100_000, description="Scored after each stage; steers the search."
    )
    promote: int = Field(
        200, ge=2, le=100_000, description="Scored for the top candidates; chooses the winner."
    )
    held_out: int = Field(
        500, ge=2, le=100_000, description="Read once, after the choice; steers nothing."
    )


class Reward(Model):
    """One reward function; several are summed by weight."""

    name: str = Field(
        max_length=253,
        description="exact-match, math-verify, task (the task's own scorer) or module:function "
        "with TRL's reward signature.",
    )
    weight: float = Field(1.0, description="Factor in the summed reward.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments that a built-in reward takes."
    )


OWN_SCORES = ("accuracy", "reward", "mean_length", "clipped_ratio", "entropy")
"""Names in ``Score.metrics`` that every evaluation has."""


def reward_names(rewards: Sequence[Reward]) -> list[str]:
    """Short names in the order of ``rewards``: of module:function the function, a number where
    a name comes again or is one of :data:`OWN_SCORES`. Metrics (``eval/<name>``) and parameters
    (``rewards.<name>``) use them."""
    names: list[str] = []
    for reward in rewards:
        short = reward.name.rsplit(":", 1)[-1]
        name, number = short, 2
        while name in names or name in OWN_SCORES:
            name, number = f"{short}-{number}", number + 1
        names.append(name)
    return names


class Task(Model):
    """Where questions come from and how answers are scored."""

    name: str = Field(
        max_length=253,
        description="scratchpad-addition, imperfect-verifier, ramble, transcribe, "
        "reasoning-gym, jsonl, huggingface or module:function.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the task: dataset for reasoning-gym, path for jsonl, ...",
    )
    splits: Splits = Field(default_factory=Splits, description="Sizes of the four splits.")
    rewards: list[Reward] = Field(
        default_factory=lambda: [Reward(name="task")],
        min_length=1,
        max_length=16,
        description="Reward functions of training and of eval/<name>.",
    )
    system_prompt: str | None = Field(
        None, max_length=16384, description="System message put before every question."
    )


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
