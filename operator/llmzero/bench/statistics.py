"""Numbers that a comparison of methods may be summed up in.

Source: Agarwal et al., "Deep RL at the Edge of the Statistical Precipice" (arXiv 2108.13264):
interquartile means, stratified bootstrap intervals, probability of improvement. A stratum is a
task; seeds are paired over the methods, so they are drawn together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DRAWS: Final = 4000
COVERAGE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its bootstrap interval (95 %)."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        return self.high < 0


def iqm(scores: Floats, axis: int = -1) -> Floats:
    """Interquartile mean along an axis: the mean of the middle half, ends weighted by fractions."""
    ordered = np.sort(np.moveaxis(scores, axis, -1), axis=-1)
    count = ordered.shape[-1]
    places = np.arange(count)
    weights = np.clip(np.minimum(places + 1, 0.75 * count) - np.maximum(places, 0.25 * count), 0, 1)
    found: Floats = (ordered * weights).sum(axis=-1) / weights.sum()
    return found


def mean(scores: Floats, axis: int = -1) -> Floats:
    found: Floats = scores.mean(axis=axis)
    return found


def bootstrap(
    strata: Sequence[Floats],
    estimate: Callable[[Floats, int], Floats],
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """``estimate`` over all strata together, with its stratified percentile interval.

    ``strata``: one array a task, its scores by seed; seeds are drawn anew within each.
    """
    random = np.random.default_rng(seed)
    drawn = [s[random.integers(0, len(s), (draws, len(s)))] for s in strata]
    found = np.sort(estimate(np.concatenate(drawn, axis=1), 1))
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    value = estimate(np.concatenate(list(strata)), 0)
    return Interval(float(value), float(low), float(high))


def improvement(ours: Sequence[Floats], theirs: Sequence[Floats], seed: int = 0) -> Interval:
    """Probability that ours scores higher on a task and seed, ties counted half; paired."""
    wins = [(a > b).astype(np.float64) + 0.5 * (a == b) for a, b in zip(ours, theirs, strict=True)]
    return bootstrap(wins, mean, seed)


def lead(ours: Sequence[Floats], theirs: Sequence[Floats], seed: int = 0) -> Interval | None:
    """Mean paired difference, as a share of their mean score; None where that is 0."""
    scale = float(np.concatenate(list(theirs)).mean())
    if scale == 0:
        return None
    gaps = [(a - b) / scale for a, b in zip(ours, theirs, strict=True)]
    return bootstrap(gaps, mean, seed)


@dataclass(frozen=True, slots=True)
class Line:
    """One method of a comparison, over some tasks."""

    name: str
    score: Interval
    """Interquartile mean of the exact score of its own pick."""
    area: Interval
    """Interquartile mean of the area under the best-so-far curve."""
    lead: Interval | None
    """By how much the reference leads, relative to this method; None for the reference, and where
    this method scores 0."""
    improvement: Interval | None
    """Probability that the reference is better."""


def compare(
    results: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    reference: str,
    tasks: Sequence[str],
) -> list[Line]:
    """One line a method, the best first. ``results``: task, method, then score and area by seed."""
    names = [n for n in results[tasks[0]] if all(n in results[t] for t in tasks)]

    def strata(name: str, what: str) -> list[Floats]:
        return [np.asarray(results[t][name][what], dtype=np.float64) for t in tasks]

    lines = []
    for name in names:
        score, area = strata(name, "score"), strata(name, "area")
        known = name != reference and reference in names
        ours = strata(reference, "score") if known else []
        lines.append(
            Line(
                name,
                bootstrap(score, iqm),
                bootstrap(area, iqm),
                lead(ours, score) if known else None,
                improvement(ours, score) if known else None,
            )
        )
    return sorted(lines, key=lambda line: -line.score.value)
