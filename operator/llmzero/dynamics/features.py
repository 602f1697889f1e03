"""From a curve to numbers: robust slopes, levels, ratios. A missing number is a missing key."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from llmzero.api.curve import GRAD_NORM_MAX, Curve, Score
from llmzero.dynamics.pairing import difference

START_POINTS = 3
"""Most points that make up the level at a stage's start."""
LAST_SHARE = 0.3
"""Last share of a stage that makes up its level at the end."""
MOST_FEATURES = 64
LEAST_FOR_INTERVAL = 5
"""Below so many points Sen's 95 % interval is the range of all slopes: it nearly always includes 0,
and a plateau would be found where nothing is known."""

Series = list[tuple[float, float]]

_LEVELS = {
    "reward": "reward",
    "reward_std": "reward_std",
    "entropy": "entropy",
    "kl": "kl",
    "grad_norm": "grad_norm",
    "dead_groups": "frac_reward_zero_std",
    "mean_length": "completions/mean_length",
    "terminated_length": "completions/mean_terminated_length",
    "clipped_ratio": "completions/clipped_ratio",
}
_SLOPES = ("reward", "entropy")


def series(curve: Curve, metric: str) -> Series:
    """The finite ``(step, value)`` points of one metric."""
    values = curve.metrics.get(metric, [])
    return [
        (float(s), float(v))
        for s, v in zip(curve.steps, values, strict=False)
        if v is not None and math.isfinite(v)
    ]


def tail(points: Series, share: float = LAST_SHARE, least: int = 1) -> Series:
    """The last ``share`` of the points, at least ``least`` of them where there are as many."""
    return points[-max(math.ceil(len(points) * share), min(least, len(points))) :]


def head(points: Series) -> Series:
    """The points of a stage's start: three, or as many as its end has where it is short."""
    return points[: min(START_POINTS, math.ceil(len(points) * LAST_SHARE))]


def theil_sen(points: Sequence[tuple[float, float]]) -> tuple[float, float, float] | None:
    """Median of the pairwise slopes with its 95 % interval; None below three points.

    Interval by the normal approximation of Kendall's S (Sen 1968, section 6): the slopes of rank
    (N -+ 1.96 sigma) / 2, sigma^2 = n (n - 1) (2 n + 5) / 18.
    """
    n = len(points)
    if n < 3:
        return None
    x, y = np.array(points, dtype=np.float64).T
    first, second = np.triu_indices(n, 1)
    run = x[second] - x[first]
    slopes = np.sort((y[second] - y[first])[run != 0] / run[run != 0])
    count = len(slopes)
    if count == 0:
        return None
    sigma = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(math.floor((count - 1.96 * sigma) / 2), 0)
    high = min(math.ceil((count + 1.96 * sigma) / 2), count - 1)
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def noise(points: Series) -> float:
    """Standard deviation of single points around their trend, from successive differences:
    median |difference| / (0.6745 sqrt 2), the robust estimate for normal noise; 0 below 3 points.
    """
    if len(points) < 3:
        return 0.0
    steps = np.abs(np.diff([v for _, v in points]))
    return float(np.median(steps)) / (0.6745 * math.sqrt(2))


def evaluations(curve: Curve, start: Score | None = None) -> list[Score]:
    """The stage's evaluations by step; ``start`` (of the checkpoint that it starts from) counts
    as step 0 where the stage has none of its own there."""
    scores = [s for s in curve.scores if math.isfinite(s.value)]
    if start is not None and (not scores or scores[0].step > 0):
        return [start.with_(step=0), *scores]
    return scores


def gaps(curve: Curve, scores: Sequence[Score], sign: float = 1.0) -> list[tuple[int, float]]:
    """By how much the gain of the train reward exceeds that of the objective: at each evaluation
    but the first, ``(step, gap)``. The train reward of an evaluation is the mean since the last.
    """
    reward = series(curve, "reward")
    if not reward or len(scores) < 2:
        return []
    begin = _mean(head(reward))
    found = []
    for before, score in pairwise(scores):
        window = [(s, v) for s, v in reward if before.step < s <= score.step]
        if window:
            gain = sign * (score.value - scores[0].value)
            found.append((score.step, _mean(window[-len(tail(reward)) :]) - begin - gain))
    return found


@np.errstate(over="ignore", invalid="ignore")  # what overflows is left out
def features(
    curve: Curve,
    direction: str = "maximize",
    parent: Mapping[str, float] | None = None,
    start: Score | None = None,
    carried_reference: bool = False,
) -> dict[str, float]:
    """All numbers that the curve allows. Units: per step for slopes, else those of the metric.

    For each metric: ``<name>_start`` (first three points), ``<name>_end`` (last 30 %),
    ``<name>_ratio`` (end over start); for reward and entropy ``<name>_slope`` with ``_slope_low``
    and ``_slope_high`` (95 %) over the last 30 %; ``reward_gain`` with ``reward_gain_error``.
    Of the evaluations (:func:`evaluations`): ``eval_first``, ``eval_last``, ``eval_gain``
    (positive is better), ``eval_gain_error``, ``eval_slope`` with its interval, ``eval_best_step``,
    ``eval_drop`` (best minus last, in the direction of better) with ``eval_drop_error``.
    ``kl_path`` is the drift from the root: ``kl`` restarts at 0 where the parent is the reference.
    ``eval_entropy_base`` is the base model's entropy, handed on from stage to stage.
    """
    found: dict[str, float] = {}
    for name, metric in _LEVELS.items():
        points = series(curve, metric)
        if points:
            found.update(_level(name, points))
    _lengths(found)
    _extremes(found, curve)
    _drift(found, parent or {}, carried_reference)
    sign = 1.0 if direction == "maximize" else -1.0
    scores = evaluations(curve, start)
    if scores:
        found.update(_evaluated(scores, sign))
        _base(found, parent)
        behind = gaps(curve, scores, sign)
        if behind:
            found["train_minus_eval_gain"] = behind[-1][1]
    finite = {k: float(f"{v:.6g}") for k, v in found.items() if math.isfinite(v)}
    return {k: v for k, v in finite.items() if math.isfinite(v)}


def _mean(points: Series) -> float:
    return float(np.mean([v for _, v in points]))


def _level(name: str, points: Series) -> dict[str, float]:
    first, last = head(points), tail(points)
    start, end = _mean(first), _mean(last)
    found = {f"{name}_start": start, f"{name}_end": end}
    if abs(start) > 1e-9:
        found[f"{name}_ratio"] = end / start
    if name == "reward" and len(points) >= 3:
        found["reward_gain"] = end - start
        found["reward_gain_error"] = noise(points) * math.sqrt(1 / len(first) + 1 / len(last))
    if name == "kl":
        found["kl_median"] = float(np.median([v for _, v in points]))
    if name in _SLOPES:
        _slope(found, name, tail(points, least=3))
    return found


def _slope(found: dict[str, float], name: str, points: Sequence[tuple[float, float]]) -> None:
    """The slope, and its interval where that is more than the range of all slopes."""
    slope = theil_sen(points)
    if slope is not None:
        keys = (f"{name}_slope", f"{name}_slope_low", f"{name}_slope_high")
        known = keys if len(points) >= LEAST_FOR_INTERVAL else keys[:1]
        found.update(zip(known, slope, strict=False))


def _lengths(found: dict[str, float]) -> None:
    """How much longer the mean completion is than those that ended by themselves, in tokens."""
    if "mean_length_end" in found and "terminated_length_end" in found:
        found["length_gap"] = found["mean_length_end"] - found["terminated_length_end"]


def _extremes(found: dict[str, float], curve: Curve) -> None:
    peaks = series(curve, GRAD_NORM_MAX) or series(curve, "grad_norm")
    if peaks:
        found["grad_norm_max"] = max(v for _, v in peaks)
    for name, metric in (
        ("clip_fraction", "clip_ratio/region_mean"),
        ("clip_high", "clip_ratio/high_mean"),
        ("sampler_ratio", "sampling/importance_sampling_ratio/mean"),
    ):
        points = series(curve, metric)
        if points:
            found[f"{name}_end"] = _mean(tail(points))


def _drift(found: dict[str, float], parent: Mapping[str, float], carried: bool) -> None:
    """Sum of the stages' kl along the path; a stage that carries its reference replaces the
    parent's own part, one without beta adds an unknown amount (counted as 0)."""
    before = parent.get("kl_path", parent.get("kl_end", 0.0))
    if carried:
        before = max(before - parent.get("kl_end", 0.0), 0.0)
    if "kl_end" in found or before > 0:
        found["kl_path"] = before + found.get("kl_end", 0.0)


def _base(found: dict[str, float], parent: Mapping[str, float] | None) -> None:
    """A root's first evaluation is that of the base model; deeper stages have their parent's word."""
    own = found.get("eval_entropy_first") if parent is None else parent.get("eval_entropy_base")
    if own is not None:
        found["eval_entropy_base"] = own


def _evaluated(scores: Sequence[Score], sign: float) -> dict[str, float]:
    first, last = scores[0], scores[-1]
    best = max(scores, key=lambda s: (sign * s.value, s.step))
    gain, drop = difference(last, first), difference(best, last)
    found = {
        "eval_first": first.value,
        "eval_last": last.value,
        "eval_gain": sign * gain.value,
        "eval_gain_error": gain.error,
        "eval_best_step": float(best.step),
        "eval_drop": sign * drop.value,
        "eval_drop_error": drop.error,
        "eval_count": float(len(scores)),
    }
    _slope(found, "eval", [(float(s.step), sign * s.value) for s in scores])
    for key in ("entropy", "reward"):
        if key in first.metrics and key in last.metrics:
            found[f"eval_{key}_first"] = first.metrics[key]
            found[f"eval_{key}_last"] = last.metrics[key]
    return found
