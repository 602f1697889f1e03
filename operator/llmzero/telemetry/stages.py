"""Families of a live stage: its training dynamics, and those of the best stage beside them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from llmzero.api.curve import Curve
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.telemetry.writer import Writer

Labels = Mapping[str, str]

DYNAMICS: Final = {
    "reward": ("reward", "Mean reward of the latest steps."),
    "reward_stddev": ("reward_std", "Standard deviation of the reward within a group."),
    "kl_nats": ("kl", "KL divergence to the reference."),
    "entropy_nats": ("entropy", "Entropy of the policy."),
    "grad_norm": ("grad_norm", "Norm of the gradient."),
    "loss": ("loss", "Loss."),
    "learning_rate": ("learning_rate", "Learning rate."),
    "dead_groups_ratio": ("frac_reward_zero_std", "Share of groups whose rewards are all equal."),
    "completion_length_tokens": ("completions/mean_length", "Mean length of completions."),
    "terminated_length_tokens": (
        "completions/mean_terminated_length",
        "Mean length of completions that ended by themselves.",
    ),
    "clipped_ratio": ("completions/clipped_ratio", "Share of completions cut at the limit."),
}
"""Our name (unit last) to TRL's name and a help text."""


def add(
    writer: Writer, labels: Labels, search: TrainingSearch, node: StageNode, now: datetime
) -> None:
    status = node.status
    for name, text, value in (
        ("step", "Last optimizer step.", status.step),
        ("planned_steps", "Optimizer steps that the stage has.", node.spec.steps),
        ("attempts", "Attempts begun.", status.attempt_count),
    ):
        writer.gauge(f"llmzero_stage_{name}", text, labels, value)
    _dynamics(writer, "llmzero_stage", labels, status.curve)
    seconds, tokens = status.cost.device_seconds, status.cost.train_tokens
    writer.counter(
        "llmzero_stage_train_tokens_total", "Tokens generated for training.", labels, tokens
    )
    writer.gauge(
        "llmzero_stage_tokens_per_second",
        "Training tokens a second, since the stage began.",
        labels,
        tokens / seconds if seconds > 0 else None,
    )
    moments = [m for m in (status.last_heard_at, _begun(node)) if m is not None]
    if moments:
        silence = max((now - max(moments)).total_seconds(), 0.0)
        writer.gauge(
            "llmzero_stage_silence_seconds", "Seconds since its last record.", labels, silence
        )
    limit = search.spec.stage.silence_seconds
    writer.gauge(
        "llmzero_stage_silence_limit_seconds",
        "A stage that is silent for so long is tried again.",
        labels,
        limit,
    )


def add_best(
    writer: Writer, labels: Labels, search: TrainingSearch, nodes: Sequence[StageNode]
) -> None:
    """Where the best stage ended: the line that live stages are held against."""
    best = search.status.best
    node = next((n for n in nodes if best is not None and n.name == best.node), None)
    if node is not None:
        # A copy: the curve of an ended stage may be packed, and each look would unpack it.
        _dynamics(writer, "llmzero_best_stage", labels, node.status.curve.model_copy())


def _dynamics(writer: Writer, prefix: str, labels: Labels, curve: Curve) -> None:
    for name, (metric, text) in DYNAMICS.items():
        values = curve.metrics.get(metric, [])
        latest = next((v for v in reversed(values) if v is not None), None)
        writer.gauge(f"{prefix}_{name}", text, labels, latest)
    if curve.scores:
        score = curve.scores[-1]
        writer.gauge(f"{prefix}_objective", "Objective on the search split.", labels, score.value)
        writer.gauge(
            f"{prefix}_objective_standard_error",
            "Its standard error.",
            labels,
            score.standard_error,
        )


def _begun(node: StageNode) -> datetime | None:
    attempts = node.status.attempts
    return (attempts[-1].started_at if attempts else None) or node.status.started_at
