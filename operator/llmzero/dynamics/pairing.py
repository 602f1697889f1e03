"""Comparing two evaluations: paired by question where the answers were kept."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from llmzero.api.curve import Score

_LEVELS: Final = 15
_TOLERANCE: Final = 0.5 / _LEVELS + 1e-6
"""Rounding to hex digits moves a mean by half a level at most."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``value`` is a minus b, ``error`` its standard error."""

    value: float
    error: float
    paired: bool


def difference(a: Score, b: Score) -> Difference:
    """a - b with its standard error; paired where both name the same questions one by one.

    Unpaired, the variances add, which overstates the error of a paired protocol.
    """
    one, other = _digits(a), _digits(b)
    if one is not None and other is not None and len(one) == len(other) > 1:
        gaps = (one - other) / _LEVELS
        error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
        return Difference(a.value - b.value, error, True)
    return Difference(a.value - b.value, math.hypot(a.standard_error, b.standard_error), False)


def _digits(score: Score) -> npt.NDArray[np.float64] | None:
    """Per-question scores in fifteenths; None where they are missing or belong to another scale
    (an objective outside of 0..1 cannot be written in these digits)."""
    text = score.per_question
    if not text or len(text) != score.questions:
        return None
    codes = np.frombuffer(text.lower().encode(), dtype=np.uint8).astype(np.float64)
    digits = np.where(codes <= ord("9"), codes - ord("0"), codes - ord("a") + 10)
    if digits.min() < 0 or digits.max() > _LEVELS:
        return None
    if abs(float(digits.mean()) / _LEVELS - score.value) > _TOLERANCE:
        return None
    return digits
