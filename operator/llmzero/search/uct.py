"""Selection: UCT over stages, with those in flight counted in the bonus alone (WU-UCT)."""

import math
from typing import Final

EXPLORATION: Final = 0.5
"""c on normalized q. Source: reference "Selection" [ours]; AIRA-dojo uses 0.25."""
LEAST_VISITS: Final = 0.25
"""Floor below the root sign, in full stages: visits may be fractions."""


def score(
    q: float, visits: float, flying: float, parent_visits: float, parent_flying: float
) -> float:
    """S_j = q~_j + c * sqrt(ln(1 + N_i + O_i) / max(N_j + O_j, 0.25)).

    N and O are completed and in-flight visits in expected stage costs. Source: WU-UCT (arXiv
    1810.11755); the 1 keeps the logarithm of fractions from going negative.
    """
    bonus = math.log(1 + parent_visits + parent_flying) / max(visits + flying, LEAST_VISITS)
    return q + EXPLORATION * math.sqrt(bonus)
