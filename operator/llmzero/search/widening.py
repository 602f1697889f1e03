"""Progressive widening: how many children a stage may have by now."""

import math
from typing import Final

FACTOR: Final = 1.0
EXPONENT: Final = 0.5
ROOT_MOST: Final = 16
_ROUNDING: Final = 1e-9


def width(visits: float, flying: float) -> int:
    """ceil(C * (N_i + O_i)^alpha), C = 1, alpha = 0.5. Source: reference "Selection"."""
    return math.ceil(FACTOR * math.pow(visits + flying, EXPONENT) - _ROUNDING)


def root_width(stages: float, max_depth: int, parallelism: int) -> int:
    """clamp(ceil(stages / (2 * maxDepth)), parallelism, 16). Source: reference "Selection".

    Too narrow lost to plain random search in a toy study; too wide never leaves depth 1.
    """
    return min(max(math.ceil(stages / (2 * max_depth) - _ROUNDING), parallelism), ROOT_MOST)
