"""What a leaf may still gain: ridge regression from a stage's features to its children's lead.

Source: reference "Why a tree loses to well-tuned constants", 2: slope, entropy and dead groups,
once a dozen parent-child pairs exist; until then a prior. (pass@k - pass@1 needs several samples
a question, which the status does not keep.)
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
PRIOR: Final = np.array([0.0, 0.5, 0.0, -0.5, 0.0])
"""Weights that the regression starts from, on standardized features, in standard deviations of the
residuals: a stage whose reward rises and whose groups are alive goes on learning, also where the
evaluation does not show it yet [ours]."""
PRIOR_RANGE: Final = 2.0
"""Bound of forecasts from the prior alone, in standard deviations of the residuals [ours]."""
MIN_STAGES: Final = 3
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


def fit(stages: Array, scale: float, features: Array, gains: Array) -> Ridge | None:
    """Ridge of gains on features, shrunk towards ``w0 = scale * PRIOR`` instead of zero:

    w = w0 + (X'X + a n I)^-1 X'(y - mean y - X w0) with standardized X, and w0 below twelve pairs.

    ``stages``: (m, features) of all stages, NaN where missing, by which X is standardized;
    ``scale``: standard deviation of their residuals; ``features``: (n, features) of the pairs'
    parents; ``gains``: (n,), by how much the child exceeds its parent. None below three stages or
    where all are alike. A missing feature counts as the average one.
    """
    if len(stages) < MIN_STAGES or not scale > 0:
        return None
    seen = np.isfinite(stages)
    known = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, stages, 0.0).sum(axis=0) / known
    spread = np.sqrt((np.where(seen, stages - center, 0.0) ** 2).sum(axis=0) / known)
    prior, count = scale * PRIOR, len(gains)
    if count < MIN_PAIRS:
        reach = PRIOR_RANGE * scale
        return Ridge(center, spread, prior, -reach, reach)
    x = _standard(features, center, spread)
    y = gains - gains.mean()
    penalty = PENALTY * count * np.eye(x.shape[1])
    weights = prior + np.linalg.solve(x.T @ x + penalty, x.T @ (y - x @ prior))
    return Ridge(center, spread, weights, float(y.min()), float(y.max()))


def _standard(features: Array, center: Array, spread: Array) -> Array:
    usable = np.isfinite(features) & (spread > 0)
    return np.where(usable, (features - center) / np.where(spread > 0, spread, 1.0), 0.0)
