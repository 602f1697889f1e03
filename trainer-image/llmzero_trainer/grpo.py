"""From a request to a GRPOConfig: fields of the user's, fields of ours, and micro-batches.

What a field may be is checked before, too, by ``llmzero validate``; the tables are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmzero.api.contract import StageRequest
from llmzero.api.grpo import FIELDS, GONE, owned
from llmzero.api.grpo_values import value_problem
from llmzero_trainer.errors import invalid

if TYPE_CHECKING:
    from trl import GRPOConfig

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
    for name, value in grpo.items():
        if name not in FIELDS:
            raise invalid(f"{name}: {GONE.get(name, 'GRPOConfig has no such field')}")
        reason = owned(name)
        if reason is not None:
            raise invalid(f"{name}: cannot be set, {reason}")
        problem = value_problem(name, value)
        if problem is not None:
            raise invalid(f"{name}: found {value!r}, {problem}")


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
    given = {k: int(v) if _is_whole(k, v) else v for k, v in request.grpo.items()}
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


def _is_whole(name: str, value: Any) -> bool:
    """A whole number that JSON may have made a float: 8.0 generations."""
    return FIELDS[name] == "int" and isinstance(value, float)
