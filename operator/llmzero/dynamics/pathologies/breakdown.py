"""What breaks a stage: memory, numbers, gradients."""

import math

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.api.stage import Outcome
from llmzero.dynamics.case import Case, broken_at
from llmzero.dynamics.pathologies.found import excess, found
from llmzero.dynamics.thresholds import THRESHOLDS as T


def out_of_memory(c: Case) -> Pathology | None:
    if c.outcome is not Outcome.OUT_OF_MEMORY:
        return None
    return found(
        PathologyKind.OUT_OF_MEMORY,
        1.0,
        "completions/max_length",
        f"out of memory after the whole ladder, by step {c.last_step}, at max_completion_length "
        f"{c.settings.get('max_completion_length')}, num_generations "
        f"{c.settings.get('num_generations')}",
    )


def non_finite(c: Case) -> Pathology | None:
    step = broken_at(c.curve)
    if c.outcome is not Outcome.DIVERGED and step is None:
        return None
    return found(
        PathologyKind.NON_FINITE,
        1.0,
        "loss",
        f"loss, grad_norm or weights not finite from step {step or c.last_step} on",
    )


def gradient_spikes(c: Case) -> Pathology | None:
    spikes = c.spikes()
    if len(spikes) < 2 or c.nearly_solved:
        return None
    step, ratio = max(spikes, key=lambda s: s[1])
    return found(
        PathologyKind.GRADIENT_SPIKES,
        excess(math.log(ratio), math.log(T.grad_spike_ratio), math.log(T.grad_spike_extreme)),
        "grad_norm",
        f"grad_norm reached {ratio:.0f}x its running median at step {step}; {len(spikes)} points "
        f"above {T.grad_spike_ratio:.0f}x, the first at step {spikes[0][0]}",
    )
