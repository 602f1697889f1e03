"""What is kept of a stage's training dynamics: bounded curves, features, pathologies."""

from enum import StrEnum

from pydantic import Field

from llmzero.api.base import Model

CURVE_POINTS = 48
CURVE_METRICS = (
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "entropy",
    "kl",
    "grad_norm",
    "loss",
    "learning_rate",
    "completions/mean_length",
    "completions/mean_terminated_length",
    "completions/clipped_ratio",
    "clip_ratio/region_mean",
    "clip_ratio/high_mean",
    "sampling/importance_sampling_ratio/mean",
)
"""TRL's metric names that the status keeps; everything else stays on the volume."""
GRAD_NORM_MAX = "grad_norm/max"
"""Our own column beside TRL's: the largest ``grad_norm`` among the steps of each point, where a
point is more than one step. A mean hides a spike."""
CURVE_BYTES = 8 * 1024


class Score(Model):
    """One evaluation of the objective by the fixed protocol."""

    step: int = Field(ge=0, description="Optimizer step of the stage; 0 is before training.")
    value: float = Field(description="Mean over questions.")
    standard_error: float = Field(ge=0, description="Standard error of value over questions.")
    questions: int = Field(ge=1, description="Questions asked.")
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="Means beside the objective: accuracy, reward, mean_length, clipped_ratio.",
    )
    per_question: str = Field(
        "",
        max_length=4096,
        description="One hex digit a question: its mean score in fifteenths of the range "
        "0..1, for paired comparisons; empty where it was dropped for size.",
    )


class Curve(Model):
    """Down-sampled training curve, at most 8 KB as JSON."""

    steps: list[int] = Field(
        default_factory=list, max_length=CURVE_POINTS, description="Optimizer steps of the points."
    )
    metrics: dict[str, list[float | None]] = Field(
        default_factory=dict,
        description="TRL's metric name to its mean over the steps up to each point; null where "
        "nothing finite was logged.",
    )
    scores: list[Score] = Field(
        default_factory=list, max_length=64, description="Evaluations on the search split."
    )


class PathologyKind(StrEnum):
    """The closed list (shared/reference: grpo-pathologies; docs explain each)."""

    NON_FINITE = "NonFinite"
    GRADIENT_SPIKES = "GradientSpikes"
    OUT_OF_MEMORY = "OutOfMemory"
    REWARD_HACKING = "RewardHacking"
    POLICY_DRIFT = "PolicyDrift"
    OVER_CONSTRAINED = "OverConstrained"
    ENTROPY_COLLAPSE = "EntropyCollapse"
    ENTROPY_EXPLOSION = "EntropyExplosion"
    TRUNCATION = "Truncation"
    LENGTH_HACKING = "LengthHacking"
    ZERO_VARIANCE_GROUPS = "ZeroVarianceGroups"
    CLIP_SATURATION = "ClipSaturation"
    STALE_SAMPLER = "StaleSampler"
    OVERFIT = "Overfit"
    PLATEAU = "Plateau"


class Pathology(Model):
    """One finding, with what it was read from."""

    kind: PathologyKind
    severity: float = Field(ge=0, le=1, description="0 just beyond the threshold, 1 extreme.")
    metric: str = Field(max_length=128, description="TRL's name of the metric it was read from.")
    evidence: str = Field(
        max_length=512, description="Numbers and steps in words, threshold included."
    )
