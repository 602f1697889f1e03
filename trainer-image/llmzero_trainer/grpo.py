"""From a request to a GRPOConfig: fields of the user's, fields of ours, and micro-batches."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmzero.api.contract import StageRequest
from llmzero_trainer.errors import invalid

if TYPE_CHECKING:
    from trl import GRPOConfig

OWNED = frozenset(
    {
        "gradient_accumulation_steps",
        "steps_per_generation",
        "generation_batch_size",
        "max_steps",
        "num_train_epochs",
        "output_dir",
        "seed",
        "data_seed",
        "resume_from_checkpoint",
        "shuffle_dataset",
        "remove_unused_columns",
        "per_device_eval_batch_size",
        "num_generations_eval",
        "auto_find_batch_size",
        "bf16",
        "fp16",
        "use_cpu",
        "report_to",
        "reward_weights",
        "model_init_kwargs",
        "trust_remote_code",
        "enable_jit_checkpoint",
    }
)
"""Fields that the stage decides; ``save_*``, ``eval_*``, ``logging_*``, ``push_to_hub*`` and
``hub_*`` belong to them."""
OWNED_PREFIXES = ("save_", "eval_", "logging_", "push_to_hub", "hub_")
CHOICES: dict[str, tuple[Any, ...]] = {
    "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
    "scale_rewards": ("group", "batch", "none", True, False),
    "importance_sampling_level": ("token", "sequence"),
}
BOUNDS: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (0, 1, True),
    "temperature": (0, 100, False),
    "beta": (0, 1e9, True),
    "top_p": (0, 1, False),
    "max_completion_length": (1, 2**31, True),
    "num_generations": (2, 4096, True),
    "num_iterations": (1, 1000, True),
    "per_device_train_batch_size": (1, 2**20, True),
    "weight_decay": (0, 1e9, True),
    "max_grad_norm": (0, 1e9, True),
}
"""Low, high, whether low itself is allowed: values that TRL notices late or never."""
DEFAULT_GENERATIONS = 8
DEFAULT_PER_DEVICE = 8


@dataclass(frozen=True)
class Batching:
    """How the completions of one optimizer step are cut up.

    completions: prompts x num_generations. micro: completions of one backward pass, a divisor of
    completions. generation: completions decoded at once.
    """

    completions: int
    micro: int
    generation: int

    @property
    def accumulation(self) -> int:
        return self.completions // self.micro


def batching(prompts: int, generations: int, per_device: int, halvings: int) -> Batching:
    """The largest micro-batch that ``per_device`` allows, halved ``halvings`` times.

    Every halving of the out-of-memory ladder also halves how many completions are decoded at
    once; neither alters the loss, so a stage means the same on every rung (but for ``bnpo``,
    which normalises within a micro-batch).
    """
    completions = prompts * generations
    top = largest_divisor(completions, per_device)
    return Batching(
        completions=completions,
        micro=largest_divisor(completions, max(1, top >> halvings)),
        generation=max(1, completions >> halvings),
    )


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is at most ``limit``."""
    for candidate in range(min(number, limit), 0, -1):
        if number % candidate == 0:
            return candidate
    return 1


def check_fields(grpo: Mapping[str, Any]) -> None:
    """Raises StageError (InvalidRequest) that names the first field that cannot be."""
    from trl import GRPOConfig

    known = {f.name for f in fields(GRPOConfig)}
    for name, value in grpo.items():
        if name in OWNED or name.startswith(OWNED_PREFIXES):
            raise invalid(f"{name}: the stage decides this field, it cannot be set")
        if name not in known:
            raise invalid(f"{name}: GRPOConfig has no such field")
        if name in CHOICES and value not in CHOICES[name]:
            raise invalid(f"{name}: found {value!r}, allowed are {list(CHOICES[name])}")
        if name in BOUNDS:
            low, high, closed = BOUNDS[name]
            number = not isinstance(value, bool) and isinstance(value, int | float)
            if not number or not (low <= value <= high) or (value == low and not closed):
                edge = "at least" if closed else "above"
                raise invalid(f"{name}: found {value!r}, a number {edge} {low:g} is needed")


def group_size(request: StageRequest) -> int:
    """Completions of one prompt (num_generations)."""
    return int(request.grpo.get("num_generations", DEFAULT_GENERATIONS))


def stage_batching(request: StageRequest, halvings: int) -> Batching:
    per_device = int(request.grpo.get("per_device_train_batch_size", DEFAULT_PER_DEVICE))
    return batching(request.prompts_per_step, group_size(request), per_device, halvings)


def config(
    request: StageRequest, output: Path, cut: Batching, reward_weights: list[float], on_cpu: bool
) -> "GRPOConfig":
    """The GRPOConfig of a stage. Raises StageError (InvalidRequest) with TRL's own words."""
    from trl import GRPOConfig

    check_fields(request.grpo)
    given = {**request.grpo}
    given.pop("per_device_train_batch_size", None)
    given.setdefault("num_generations", DEFAULT_GENERATIONS)
    given.setdefault("lr_scheduler_type", "constant_with_warmup")
    given.setdefault("disable_tqdm", True)
    if on_cpu:
        given.setdefault("gradient_checkpointing", False)
        given.setdefault("dataloader_pin_memory", False)
    try:
        return GRPOConfig(
            **given,
            output_dir=str(output),
            per_device_train_batch_size=cut.micro,
            gradient_accumulation_steps=cut.accumulation,
            max_steps=request.steps,
            seed=request.rollout_seed % 2**32,
            bf16=request.model.dtype == "bfloat16",
            fp16=False,
            use_cpu=on_cpu,
            trust_remote_code=request.model.trust_remote_code,
            reward_weights=reward_weights,
            shuffle_dataset=False,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="steps",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
        )
    except (TypeError, ValueError) as error:
        raise invalid(f"GRPOConfig refuses the settings: {error}") from error
