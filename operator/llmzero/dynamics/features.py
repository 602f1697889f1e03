"""From a curve to numbers: robust slopes, levels, ratios. A missing number is a missing key."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from llmzero.api.curve import Curve

START_POINTS = 3
"""Points that make up the level at a stage's start."""
LAST_SHARE = 0.3
"""Last share of a stage that makes up its level at the end."""

Series = list[tuple[float, float]]


def series(curve: Curve, metric: str) -> Series:
    """The finite ``(step, value)`` points of one metric."""
    values = curve.metrics.get(metric, [])
    return [
        (float(s), float(v))
        for s, v in zip(curve.steps, values, strict=False)
        if v is not None and math.isfinite(v)
    ]


def tail(points: Series, share: float = LAST_SHARE, least: int = 3) -> Series:
    """The last ``share`` of the points, at least ``least`` of them where there are as many."""
    return points[-max(math.ceil(len(points) * share), min(least, len(points))) :]


def theil_sen(points: Sequence[tuple[float, float]]) -> tuple[float, float, float] | None:
    """Median of the pairwise slopes with its 95 % interval; None below three points.

    Interval by the normal approximation of Kendall's S (Sen 1968, section 6): the slopes of rank
    (N -+ 1.96 sigma) / 2, sigma^2 = n (n - 1) (2 n + 5) / 18.
    """
    n = len(points)
    if n < 3:
        return None
    slopes = np.sort(
        [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x2 != x1]
    )
    count = len(slopes)
    if count == 0:
        return None
    sigma = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(math.floor((count - 1.96 * sigma) / 2), 0)
    high = min(math.ceil((count + 1.96 * sigma) / 2), count - 1)
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def _mean(points: Series) -> float:
    return float(np.mean([v for _, v in points]))


_LEVELS = {
    "reward": "reward",
    "entropy": "entropy",
    "kl": "kl",
    "grad_norm": "grad_norm",
    "loss": "loss",
    "dead_groups": "frac_reward_zero_std",
    "mean_length": "completions/mean_length",
    "terminated_length": "completions/mean_terminated_length",
    "clipped_ratio": "completions/clipped_ratio",
}


def features(curve: Curve, direction: str = "maximize") -> dict[str, float]:
    """All numbers that the curve allows. Units: per step for slopes, else those of the metric.

    For each metric: ``<name>_start`` (first three points), ``<name>_end`` (last 30 %),
    ``<name>_ratio`` (end over start), and for reward and entropy ``<name>_slope`` with
    ``_slope_low`` and ``_slope_high`` (95 %) over the last 30 %. Of the evaluations:
    ``eval_first``, ``eval_last``, ``eval_gain`` (positive is better), ``eval_gain_error``,
    ``eval_best_step``, ``eval_drop`` (best minus last, in the direction of better).
    """
    found: dict[str, float] = {}
    for name, metric in _LEVELS.items():
        points = series(curve, metric)
        if not points:
            continue
        start, end = _mean(points[:START_POINTS]), _mean(tail(points))
        found[f"{name}_start"], found[f"{name}_end"] = start, end
        if abs(start) > 1e-9:
            found[f"{name}_ratio"] = end / start
        found[f"{name}_median"] = float(np.median([v for _, v in points]))
        found[f"{name}_max"] = max(v for _, v in points)
        if name in ("reward", "entropy"):
            slope = theil_sen(tail(points))
            if slope:
                found[f"{name}_slope"], found[f"{name}_slope_low"], found[f"{name}_slope_high"] = (
                    slope
                )
    sign = 1.0 if direction == "maximize" else -1.0
    if curve.scores:
        first, last = curve.scores[0], curve.scores[-1]
        found["eval_first"], found["eval_last"] = first.value, last.value
        found["eval_gain"] = sign * (last.value - first.value)
        found["eval_gain_error"] = math.hypot(first.standard_error, last.standard_error)
        best = max(curve.scores, key=lambda s: (sign * s.value, s.step))
        found["eval_best_step"] = float(best.step)
        found["eval_drop"] = sign * (best.value - last.value)
        found["eval_count"] = float(len(curve.scores))
        if "reward_end" in found and "reward_start" in found:
            reward_gain = found["reward_end"] - found["reward_start"]
            found["train_minus_eval_gain"] = reward_gain - found["eval_gain"]
    return {k: v for k, v in found.items() if math.isfinite(v)}
