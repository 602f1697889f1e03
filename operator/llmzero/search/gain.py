"""What a leaf may still gain: ridge regression from a stage's features to its children's lead.

Source: reference "Why a tree loses to well-tuned constants", 2: slope, entropy and dead groups,
once a dozen parent-child pairs exist. (pass@k - pass@1 needs several samples a question, which
the status does not keep.)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FEATURES: Final = (
    "eval_gain",
    "reward_slope",
    "entropy_end",
    "dead_groups_end",
    "clipped_ratio_end",
)
"""Names of :mod:`llmzero.dynamics.features`."""
MIN_PAIRS: Final = 12
PENALTY: Final = 1.0
"""Ridge penalty a pair on standardized features: forecasts are about half of least squares [ours]."""

Array = npt.NDArray[np.float64]


def vector(features: Mapping[str, float]) -> list[float]:
    """The features in order, NaN where missing."""
    return [features.get(name, math.nan) for name in FEATURES]


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A fitted regression; forecasts stay inside the range that was seen."""

    center: Array
    spread: Array
    weights: Array
    low: float
    high: float

    def predict(self, features: Array) -> Array:
        """Deviation from the average gain, one for each row of features."""
        gains = _standard(features, self.center, self.spread) @ self.weights
        clipped: Array = np.clip(gains, self.low, self.high)
        return clipped


def fit(features: Array, gains: Array) -> Ridge | None:
    """Ridge of gains on features: w = (X'X + a n I)^-1 X'(y - mean y) with standardized X.

    ``features``: (n, features) of stages, NaN where missing; ``gains``: (n,), by how much a child
    exceeds its stage. None below twelve pairs. A missing feature counts as the average one.
    """
    count = len(gains)
    if count < MIN_PAIRS:
        return None
    seen = np.isfinite(features)
    known = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, features, 0.0).sum(axis=0) / known
    spread = np.sqrt((np.where(seen, features - center, 0.0) ** 2).sum(axis=0) / known)
    x = _standard(features, center, spread)
    y = gains - gains.mean()
    weights = np.linalg.solve(x.T @ x + PENALTY * count * np.eye(x.shape[1]), x.T @ y)
    return Ridge(center, spread, weights, float(y.min()), float(y.max()))


def _standard(features: Array, center: Array, spread: Array) -> Array:
    usable = np.isfinite(features) & (spread > 0)
    return np.where(usable, (features - center) / np.where(spread > 0, spread, 1.0), 0.0)
