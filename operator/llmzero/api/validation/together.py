"""Settings that only make sense beside others, in every combination that a stage can reach."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from llmzero.api.catalog import (
    BUILTIN_MODELS,
    DEFAULT_DIGITS,
    DIGITS,
    POSITIONS,
    TASKS,
    completion_length,
    digit_prompt,
)
from llmzero.api.grpo import FIELDS, owned
from llmzero.api.grpo_values import (
    CLIPPING,
    DECAYING,
    DEPENDENT,
    OFF_POLICY_SAMPLING,
    SCHEDULER_KEYS,
    value_problem,
)
from llmzero.api.validation.parts import Parts
from llmzero.api.validation.problem import Problem, show

TRL_LEARNING_RATE = 1e-6
POLYNOMIAL_END = 1e-7
"""lr_end of transformers' polynomial schedule, which must be below the learning rate."""
DEFAULT_GENERATIONS = 8
DEFAULT_PER_DEVICE = 8


@dataclass(frozen=True)
class Reach:
    """The values that each field can have in some stage: fixed, searched, or its default."""

    values: dict[str, list[Any]]
    paths: dict[str, str]

    @classmethod
    def of(cls, parts: Parts) -> "Reach":
        values: dict[str, list[Any]] = {}
        paths: dict[str, str] = {}
        for name, value in parts.fixed.items():
            values[name], paths[name] = [value], f"spec.fixed.{name}"
        for i, parameter in parts.parameters:
            ends = [parameter.min, parameter.max, parameter.initial]
            values[parameter.name] = list(parameter.choices or ends)
            paths[parameter.name] = f"spec.parameters[{i}]"
        for path, name, value in parts.scheduled():
            values.setdefault(name, []).append(value)
            paths[name] = f"{paths[name]}, {path}" if name in paths else path
        usable = {n for n in values if n in FIELDS and not owned(n)}
        return cls(
            {n: [v for v in values[n] if value_problem(n, v) is None] for n in usable},
            {n: paths[n] for n in usable},
        )

    def __contains__(self, name: str) -> bool:
        return bool(self.values.get(name))

    def of_field(self, name: str, default: Any) -> list[Any]:
        return self.values.get(name) or [default]

    def can_be(self, name: str, values: Iterable[Any], default: Any) -> bool:
        return any(v in values for v in self.of_field(name, default))

    def largest(self, name: str, default: float) -> float:
        return max((v for v in self.of_field(name, default) if v is not None), default=default)

    def problem(self, name: str, allowed: str, warning: bool = False) -> Problem:
        found = self.values[name]
        return Problem(
            self.paths[name], show(found[0] if len(found) == 1 else found), allowed, warning
        )


def combination_problems(parts: Parts) -> Iterator[Problem]:
    reach = Reach.of(parts)
    yield from _reference(reach, parts)
    yield from _schedule(reach, parts)
    yield from _vllm(reach)
    yield from _entropy(reach)
    yield from _length(reach, parts)
    yield from _without_effect(reach)
    yield from _doubtful(reach, parts)


def _reference(reach: Reach, parts: Parts) -> Iterator[Problem]:
    if not reach.can_be("sync_ref_model", (True,), False):
        return
    if reach.can_be("beta", (0,), 0.0):
        path = "beta" if "beta" in reach else "nothing, 0 by default"
        yield reach.problem(
            "sync_ref_model",
            f"there is no reference model to sync where beta is 0 ({path}): raise beta",
        )
    if parts.model is not None and parts.model.peft is not None:
        yield reach.problem("sync_ref_model", "TRL cannot sync the reference of a LoRA adapter")


def _schedule(reach: Reach, parts: Parts) -> Iterator[Problem]:
    name = "lr_scheduler_type"
    chosen = reach.of_field(name, "constant_with_warmup")
    given = reach.of_field("lr_scheduler_kwargs", None)[0]
    keys = set(given) if isinstance(given, dict) else set()
    for schedule in chosen:
        needed = SCHEDULER_KEYS.get(schedule)
        if needed and not keys & set(needed):
            yield reach.problem(
                name, f"{schedule} needs {' or '.join(needed)} in spec.fixed.lr_scheduler_kwargs"
            )
    rates = reach.of_field("learning_rate", TRL_LEARNING_RATE)
    end = given.get("lr_end", POLYNOMIAL_END) if isinstance(given, dict) else POLYNOMIAL_END
    if "polynomial" in chosen and isinstance(end, int | float) and min(rates) <= end:
        yield reach.problem(
            name, f"polynomial ends at {end:g}: every learning_rate must be above that"
        )
    if decaying := [c for c in chosen if c in DECAYING and name in reach]:
        yield reach.problem(
            name,
            f"{decaying[0]} brings the learning rate near 0 within every stage anew "
            "(constant_with_warmup does not)",
            warning=True,
        )
    if "learning_rate" in reach and 0 in rates:
        yield reach.problem("learning_rate", "at 0 nothing is trained", warning=True)
    steps = parts.stage.steps if parts.stage is not None else math.inf
    if "warmup_steps" in reach and reach.largest("warmup_steps", 0) >= steps:
        words = f"no stage of {steps} steps reaches its learning rate"
        yield reach.problem("warmup_steps", words, warning=True)


def _vllm(reach: Reach) -> Iterator[Problem]:
    if not reach.can_be("use_vllm", (True,), False):
        return
    low = reach.of_field("vllm_importance_sampling_clip_min", None)
    high = reach.of_field("vllm_importance_sampling_clip_max", 3.0)
    mode = "vllm_importance_sampling_mode"
    modes = reach.of_field(mode, "sequence_mask")
    if any(a is not None and b is not None and a >= b for a in low for b in high):
        yield reach.problem(
            "vllm_importance_sampling_clip_min",
            f"must be below vllm_importance_sampling_clip_max ({show(min(high))})",
        )
    if not reach.can_be("vllm_importance_sampling_correction", (True,), True):
        return
    truncating = [m for m in modes if m.endswith("_truncate")]
    if truncating and None in low and None in high:
        yield reach.problem(
            mode, "a truncate mode needs vllm_importance_sampling_clip_min or _clip_max"
        )
    whole = [m for m in modes if m.startswith("sequence")]
    if whole and reach.can_be("loss_type", ("vespo",), "dapo"):
        yield reach.problem(
            "loss_type", f"vespo with vLLM needs {mode} token_mask or token_truncate"
        )


def _entropy(reach: Reach) -> Iterator[Problem]:
    low = reach.largest("entropy_coef_min", 0.0)
    if "entropy_coef_min" in reach and low > min(reach.of_field("entropy_coef_max", 1.0)):
        yield reach.problem("entropy_coef_min", "must be at most entropy_coef_max")
    repository = reach.of_field("log_completions_hub_repo", None) != [None]
    if repository and not reach.can_be("log_completions", (True,), False):
        yield reach.problem("log_completions_hub_repo", "needs log_completions: true")


def _length(reach: Reach, parts: Parts) -> Iterator[Problem]:
    """Beyond a model's positions its answers are nonsense, without any error."""
    builtin = parts.model.builtin if parts.model else None
    longest = int(reach.largest("max_completion_length", completion_length(builtin)))
    limit = parts.evaluation.max_completion_length if parts.evaluation else None
    if builtin in BUILTIN_MODELS:
        prompt = _longest_prompt(parts)
        room = POSITIONS - prompt
        words = f"at most {room}: {builtin} has {POSITIONS} positions, prompts take {prompt}"
        if longest > room:
            yield reach.problem("max_completion_length", words)
        if limit is not None and limit > room:
            yield Problem("spec.evaluation.maxCompletionLength", str(limit), words)
    known = parts.whole or "max_completion_length" in reach
    if limit is not None and known and limit < longest:
        words = f"stages that train with up to {longest} tokens are scored with less"
        yield Problem("spec.evaluation.maxCompletionLength", str(limit), words, warning=True)


def _longest_prompt(parts: Parts) -> int:
    """In tokens of a built-in model."""
    known = TASKS.get(parts.task.name) if parts.task else None
    if known is not None and known.prompt is not None:
        return known.prompt
    options = parts.task.options if parts.task else {}
    digits = [options.get("digits", DEFAULT_DIGITS)]
    for _, _, parameter in parts.searched("task.digits"):
        digits += parameter.choices or [parameter.max]
    return digit_prompt(max((int(d) for d in digits if d in DIGITS), default=2))


def _without_effect(reach: Reach) -> Iterator[Problem]:
    for rule in DEPENDENT:
        if reach.can_be(rule.other, rule.values, rule.default):
            continue
        for name in reach.values:
            if name.startswith(rule.fields) and name in reach:
                needed = f"{rule.other} is {show(rule.values[0])}"
                yield reach.problem(name, f"without effect unless {needed}", warning=True)
    if reach.of_field("num_iterations", 1) == [1]:
        for name in CLIPPING:
            if name in reach:
                words = "without effect: with num_iterations 1 the ratio is 1, nothing is clipped"
                yield reach.problem(name, words, warning=True)


def _doubtful(reach: Reach, parts: Parts) -> Iterator[Problem]:
    for name, neutral in OFF_POLICY_SAMPLING.items():
        if any(v is not None and v != neutral for v in reach.of_field(name, neutral)):
            words = "samples then come from another distribution than the one that is trained"
            yield reach.problem(name, f"{words} (neutral is {neutral:g})", warning=True)
    losses = reach.of_field("loss_type", "dapo")
    levels = reach.of_field("importance_sampling_level", "token")
    if "luspo" in losses and "token" in levels:
        words = "luspo is meant to go with importance_sampling_level sequence"
        yield reach.problem("loss_type", words, warning=True)
    summed = [x for x in losses if x in ("bnpo", "dr_grpo", "dapo", "cispo")]
    if "sequence" in levels and summed:
        words = f"sequence weights in {summed[0]} count long answers more: GSPO takes loss_type"
        yield reach.problem("importance_sampling_level", f"{words} grpo", warning=True)
    if parts.stage is not None:
        yield from _batches(reach, parts.stage.prompts_per_step)


def _batches(reach: Reach, prompts: int) -> Iterator[Problem]:
    """Every combination divides; some only into micro-batches far below what was allowed."""
    for limit in reach.of_field("per_device_train_batch_size", DEFAULT_PER_DEVICE):
        for group in reach.of_field("num_generations", DEFAULT_GENERATIONS):
            completions = prompts * int(group)
            wanted = min(int(limit), completions)
            micro = _largest_divisor(completions, wanted)
            if 2 * micro <= wanted:
                words = f"spec.stage.promptsPerStep {prompts} x num_generations {group} = "
                yield Problem(
                    "spec.stage.promptsPerStep",
                    str(prompts),
                    f"{words}{completions} is only divisible into micro-batches of {micro}, while "
                    f"{limit} are allowed: slow",
                    warning=True,
                )


def _largest_divisor(number: int, limit: int) -> int:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return max(d for d in (*small, *(number // d for d in small)) if d <= limit)
