"""What is trained, and how it is scored: model, task, rewards and objective of a TrainingSearch."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from llmzero.api.base import Model


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
