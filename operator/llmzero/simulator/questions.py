"""Evaluations in a simulated world: the same questions every time, each right or wrong."""

import math
from functools import cache
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from llmzero.api.curve import Score

SHARED: Final = 0.65
"""Share of an answer's variance that belongs to the question: what pairing takes away."""


@cache
def _difficulty(world_seed: int, split: str, count: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng([world_seed, *split.encode()]).standard_normal(count)


def evaluate(
    accuracy: float,
    step: int,
    count: int,
    world_seed: int,
    split: str,
    luck: Random,
) -> Score:
    """A score of mean ``accuracy``, binomial, paired over questions (a Gaussian copula)."""
    p = min(max(accuracy, 1e-4), 1 - 1e-4)
    own = np.random.default_rng(luck.getrandbits(63)).standard_normal(count)
    latent = math.sqrt(SHARED) * _difficulty(world_seed, split, count)
    right = latent + math.sqrt(1 - SHARED) * own < _quantile(p)
    mean = float(right.mean())
    return Score(
        step=step,
        value=mean,
        standard_error=math.sqrt(max(mean * (1 - mean), 1e-4) / max(count - 1, 1)),
        questions=count,
        per_question=np.where(right, b"f", b"0").tobytes().decode() if count <= 4096 else "",
    )


def _quantile(p: float) -> float:
    """Of the standard normal: Abramowitz and Stegun 26.2.23, refined by two Newton steps."""
    low = min(p, 1 - p)
    t = math.sqrt(-2 * math.log(low))
    x = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (
        1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t**3
    )
    x = -x
    for _ in range(2):
        error = 0.5 * math.erfc(-x / math.sqrt(2)) - low
        x -= error * math.sqrt(2 * math.pi) * math.exp(x * x / 2)
    return x if p < 0.5 else -x
