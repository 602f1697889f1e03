"""Progressive widening: how many children a stage may have by now."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

FACTOR: Final = 1.0
EXPONENT: Final = 0.5
ROOT_MOST: Final = 16
_ROUNDING: Final = 1e-9


def widths(
    visits: npt.NDArray[np.float64], flying: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """ceil(C * (N_i + O_i)^alpha), C = 1, alpha = 0.5. Source: reference "Selection"."""
    found: npt.NDArray[np.float64] = np.ceil(FACTOR * (visits + flying) ** EXPONENT - _ROUNDING)
    return found


def width(visits: float, flying: float) -> int:
    """:func:`widths` of one stage."""
    return int(widths(np.array([visits]), np.array([flying]))[0])


def root_width(stages: float, max_depth: int, parallelism: int) -> int:
    """clamp(ceil(stages / (2 * maxDepth)), parallelism, 16). Source: reference "Selection".

    Too narrow lost to plain random search in a toy study; too wide never leaves depth 1.
    """
    return min(max(math.ceil(stages / (2 * max_depth) - _ROUNDING), parallelism), ROOT_MOST)
