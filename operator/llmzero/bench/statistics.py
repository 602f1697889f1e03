"""Numbers that a comparison of methods may be summed up in.

Source: Agarwal et al., "Deep RL at the Edge of the Statistical Precipice" (arXiv 2108.13264):
interquartile means, stratified bootstrap intervals, probability of improvement. A stratum is a
task; seeds are paired over the methods, so they are drawn together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DRAWS: Final = 4000
COVERAGE: Final = 0.95
NORMAL: Final = 1.959964
"""Quantile of the normal distribution for that coverage, both sides."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

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
    # No interpolation: the ends may be infinite.
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")
    value = estimate(np.concatenate(list(strata)), 0)
    return Interval(float(value), float(low), float(high))


def improvement(ours: Sequence[Floats], theirs: Sequence[Floats]) -> Interval:
    """Probability that ours scores higher on a task and seed, ties counted half; paired.

    With Wilson's interval for a share of independent pairs: a bootstrap of ten wins out of ten would
    give [1, 1].
    """
    wins = [(a > b).astype(np.float64) + 0.5 * (a == b) for a, b in zip(ours, theirs, strict=True)]
    return wilson(float(np.concatenate(wins).mean()), sum(map(len, wins)))


def wilson(share: float, count: int) -> Interval:
    """Source: Wilson, JASA 22 (1927); Brown, Cai and DasGupta, Statistical Science 16 (2001), eq. 4."""
    z2 = NORMAL**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) * NORMAL / (1 + z2 / count)
    return Interval(share, middle - half, middle + half)


def student(freedom: int) -> float:
    """Quantile of Student's t for the coverage, both sides; off by 3 % at 2 degrees of freedom, by
    less than 1 % from 3 on. Source: Abramowitz and Stegun, 26.7.5."""
    z = NORMAL
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / float(freedom**power) for power, term in enumerate(terms))


def lead(ours: Sequence[Floats], theirs: Sequence[Floats], seed: int = 0) -> Interval | None:
    """Ratio of the mean scores, less 1; pairs are drawn together, so both means vary. None where
    their mean is 0, an end that is infinite where that of a draw is."""
    pairs = [np.stack([a, b], axis=-1) for a, b in zip(ours, theirs, strict=True)]
    if not np.concatenate(pairs).mean(axis=0)[1]:
        return None
    return bootstrap(pairs, _ratio, seed)


@np.errstate(divide="ignore", invalid="ignore")
def _ratio(pairs: Floats, axis: int) -> Floats:
    """Two means of 0 are equal."""
    means = pairs.mean(axis=axis)
    ours, theirs = means[..., 0], means[..., 1]
    found: Floats = np.where(ours == theirs, 0.0, ours / theirs - 1)
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One method of a comparison, over some tasks."""

    name: str
    score: Interval
    """Interquartile mean of the exact score of its own pick."""
    area: Interval
    """Interquartile mean of the area under the best-so-far curve."""
    lead: Interval | None
    """By how much the reference's mean score is above this method's, relative to it; None for the
    reference, and where this method scores 0."""
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
