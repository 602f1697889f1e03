"""Which values of GRPOConfig's fields make sense.

TRL itself refuses few wrong values at once, notices some only after the model is loaded, and runs
silently wrong on others; the bounds here catch them before a Job is spent.
"""

from dataclasses import dataclass
from typing import Any

from llmzero.api.grpo import FIELDS, NULLABLE


@dataclass(frozen=True, slots=True)
class Allowed:
    """A range; ``above`` and ``below`` are exclusive bounds."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        """What is allowed, in words, where ``value`` is not; None where it is."""
        if self.choices:
            return None if value in self.choices else f"one of {', '.join(self.choices)}"
        if (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        ):
            return self.words()
        return None

    def words(self) -> str:
        parts = []
        if self.least is not None:
            parts.append(f"at least {self.least:g}")
        if self.above is not None:
            parts.append(f"above {self.above:g}")
        if self.most is not None:
            parts.append(f"at most {self.most:g}")
        if self.below is not None:
            parts.append(f"below {self.below:g}")
        return " and ".join(parts)


SCHEDULERS = (
    "constant_with_warmup",
    "constant",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
)
"""transformers.SchedulerType without those that follow a metric of transformers' own evaluation."""
METRIC_SCHEDULERS = ("reduce_lr_on_plateau", "greedy")
DECAYING = ("linear", "cosine", "cosine_with_restarts", "polynomial", "warmup_stable_decay")
"""Schedules that end near 0, here in every stage anew."""
SCHEDULER_KEYS = {
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps",),
}
"""Schedules that need one of these keys in lr_scheduler_kwargs."""
_OPTIMIZERS = """
    adamw_torch_fused adamw_torch adamw_torch_xla adamw_torch_npu_fused adafactor adamw_anyprecision
    adamw_torch_4bit adamw_torch_8bit ademamix sgd adagrad adamw_bnb_8bit adamw_8bit ademamix_8bit
    lion_8bit lion_32bit paged_adamw_32bit paged_adamw_8bit paged_ademamix_32bit
    paged_ademamix_8bit paged_lion_32bit paged_lion_8bit rmsprop rmsprop_bnb rmsprop_bnb_8bit
    rmsprop_bnb_32bit galore_adamw galore_adamw_8bit galore_adafactor galore_adamw_layerwise
    galore_adamw_8bit_layerwise galore_adafactor_layerwise lomo adalomo grokadamw
    schedule_free_radam schedule_free_adamw schedule_free_sgd apollo_adamw apollo_adamw_layerwise
    stable_adamw
"""
OPTIMIZERS = tuple(_OPTIMIZERS.split())
"""transformers' OptimizerNames."""

_POSITIVE, _NOT_NEGATIVE, _SHARE = Allowed(above=0), Allowed(least=0), Allowed(least=0, most=1)
ALLOWED: dict[str, Allowed] = {
    "learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "warmup_steps": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "adam_beta1": Allowed(least=0, below=1),
    "adam_beta2": Allowed(least=0, below=1),
    "adam_epsilon": _POSITIVE,
    "per_device_train_batch_size": Allowed(least=1, most=2**20),
    "num_generations": Allowed(least=2, most=4096),
    "max_completion_length": Allowed(least=1),
    "num_iterations": Allowed(least=1),
    "temperature": _POSITIVE,
    "top_p": Allowed(above=0, most=1),
    "top_k": _NOT_NEGATIVE,
    "min_p": _SHARE,
    "repetition_penalty": _POSITIVE,
    "beta": _NOT_NEGATIVE,
    "epsilon": _NOT_NEGATIVE,
    "epsilon_high": _NOT_NEGATIVE,
    "delta": _POSITIVE,
    "top_entropy_quantile": _SHARE,
    "entropy_coef_min": _NOT_NEGATIVE,
    "entropy_coef_max": _NOT_NEGATIVE,
    "entropy_coef_delta": _NOT_NEGATIVE,
    "entropy_target": _NOT_NEGATIVE,
    "off_policy_mask_threshold": _NOT_NEGATIVE,
    "sapo_temperature_neg": _POSITIVE,
    "sapo_temperature_pos": _POSITIVE,
    "vllm_tensor_parallel_size": Allowed(least=1),
    "vllm_max_model_length": Allowed(least=1),
    "dataloader_num_workers": _NOT_NEGATIVE,
    "ref_model_mixup_alpha": _SHARE,
    "ref_model_sync_steps": Allowed(least=1),
    "vllm_gpu_memory_utilization": Allowed(above=0, most=1),
    "loss_type": Allowed(
        choices=("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo")
    ),
    "scale_rewards": Allowed(choices=("group", "batch", "none")),
    "importance_sampling_level": Allowed(choices=("token", "sequence")),
    "multi_objective_aggregation": Allowed(choices=("sum_then_normalize", "normalize_then_sum")),
    "vllm_mode": Allowed(choices=("colocate", "server")),
    "vllm_importance_sampling_mode": Allowed(
        choices=("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
    ),
    "lr_scheduler_type": Allowed(choices=SCHEDULERS),
    "optim": Allowed(choices=OPTIMIZERS),
}

OFF_POLICY_SAMPLING: dict[str, float] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0,
    "repetition_penalty": 1.0,
}
"""Sampling that departs from the policy whose log-probabilities are trained, with the neutral
value of each."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """Fields (or their prefixes) without effect unless another field has one of some values."""

    fields: tuple[str, ...]
    other: str
    values: tuple[Any, ...]
    default: Any


DEPENDENT = (
    Dependent(("ref_model_",), "sync_ref_model", (True,), False),
    Dependent(
        ("entropy_target", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta"),
        "use_adaptive_entropy",
        (True,),
        False,
    ),
    Dependent(("sapo_",), "loss_type", ("sapo",), "dapo"),
    Dependent(("vespo_",), "loss_type", ("vespo",), "dapo"),
    Dependent(("vllm_",), "use_vllm", (True,), False),
)
CLIPPING = ("epsilon", "epsilon_high", "delta")
"""Bounds of the importance ratio, which is 1 while num_iterations is 1: a batch is generated for
every optimizer step."""

TRUTH_VALUES = {"scale_rewards": {True: "group", False: "none"}}
"""Choices that may be given as true or false, too."""


def value_problem(name: str, value: Any) -> str | None:
    """What is allowed for a real field, in words, where ``value`` is not; None where it is."""
    if value is None:
        return None if name in NULLABLE else f"{_KIND[FIELDS[name]]} is needed"
    if isinstance(value, bool) and value in TRUTH_VALUES.get(name, {}):
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "int": number and (isinstance(value, int) or value.is_integer()),
        "float": number,
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "any": True,
    }
    kind = FIELDS[name]
    if not fits[kind]:
        return f"{_KIND[kind]} is needed"
    allowed = ALLOWED[name].problem(value) if name in ALLOWED else None
    return f"{allowed} is allowed" if allowed else None


_KIND = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "any": "a value",
}
