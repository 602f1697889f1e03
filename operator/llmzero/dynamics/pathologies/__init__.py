"""From features to named pathologies, each with evidence and severity, worst class first.

One function a pathology; the order of :data:`RULES` is the order of severity: infrastructure and
numbers, hacking, drift, entropy, truncation, signal, plateau. Numbers are in thresholds.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmzero.api.curve import Curve, Pathology, Score
from llmzero.api.stage import Outcome
from llmzero.dynamics.case import Case
from llmzero.dynamics.features import features
from llmzero.dynamics.pathologies.breakdown import gradient_spikes, non_finite, out_of_memory
from llmzero.dynamics.pathologies.policy import (
    entropy_collapse,
    entropy_explosion,
    over_constrained,
    policy_drift,
)
from llmzero.dynamics.pathologies.progress import overfit, plateau, reward_hacking
from llmzero.dynamics.pathologies.samples import (
    clip_saturation,
    length_hacking,
    stale_sampler,
    truncation,
    zero_variance_groups,
)

Rule = Callable[[Case], Pathology | None]

RULES: tuple[Rule, ...] = (
    out_of_memory,
    non_finite,
    gradient_spikes,
    reward_hacking,
    policy_drift,
    over_constrained,
    entropy_collapse,
    entropy_explosion,
    truncation,
    length_hacking,
    zero_variance_groups,
    clip_saturation,
    stale_sampler,
    overfit,
    plateau,
)


@np.errstate(over="ignore", invalid="ignore")  # what overflows is left out
def diagnose(
    curve: Curve,
    settings: Mapping[str, Any],
    outcome: Outcome | None = None,
    parent_features: Mapping[str, float] | None = None,
    direction: str = "maximize",
    start: Score | None = None,
    carried_reference: bool = False,
) -> tuple[dict[str, float], list[Pathology]]:
    """Features of the curve and the pathologies they show, in the order of severity classes.

    ``settings`` are the stage's GRPOConfig fields. ``parent_features`` add the drift along the
    path (``kl_path``): `kl` restarts at 0 in each stage unless the reference is carried.
    ``start`` is the evaluation of the checkpoint that the stage starts from: with it, gains count
    from there, not from the stage's first own evaluation.
    """
    found = features(curve, direction, parent_features, start, carried_reference)
    sign = 1.0 if direction == "maximize" else -1.0
    case = Case(curve, found, settings, outcome, sign, start)
    return found, [p for p in (rule(case) for rule in RULES) if p is not None]
