"""Evaluations are noisy: a stage's value is filtered along its path, given how stages usually go."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from llmzero.search.tree import Floats

MIN_PAIRS: Final = 3
"""Parent-child pairs before their mean and variance are believed [ours]."""


def filtered(
    prior: Floats, prior_variance: Floats, observed: Floats, variance: Floats
) -> tuple[Floats, Floats]:
    """Kalman update of priors by one evaluation each, with observation variance s2.

    Where the prior is missing (NaN) the observation stands. Source: reference "Values and
    backup": prior N(v_parent + mu_delta, P_parent + t2).
    """
    total = prior_variance + variance
    known = np.isfinite(prior)
    gain = np.where(known & (total > 0), prior_variance / np.where(total > 0, total, 1.0), 1.0)
    mean = np.where(known, prior, 0.0)
    mean = np.where(known, mean + gain * (observed - mean), observed)
    return mean, np.where(known, (1 - gain) * prior_variance, variance)


@dataclass(frozen=True, slots=True)
class Drift:
    """How a stage changes the value: mean mu_delta and variance t2 of one full stage."""

    mean: float
    variance: float

    def prior(self, start: Floats, variance: Floats, stages: Floats) -> tuple[Floats, Floats]:
        """What stages of these lengths from these values are expected to be worth.

        Mean and variance grow with length, so a quarter rung has a quarter of both [ours].
        """
        return start + self.mean * stages, variance + self.variance * stages


def drift(changes: Floats, noise: Floats, stages: Floats) -> Drift | None:
    """mu_delta and t2 of *true* changes over stages of these lengths.

    The noise variance of the two evaluations is taken off the observed variance, which never
    goes below zero. None below ``MIN_PAIRS`` pairs. Source: reference "Values and backup".
    """
    count, total = len(changes), float(stages.sum())
    if count < MIN_PAIRS or total <= 0:
        return None
    mean = float(changes.sum()) / total
    spread = float(((changes - mean * stages) ** 2).sum()) * count / (count - 1)
    return Drift(mean, max(spread - float(noise.sum()), 0.0) / total)
