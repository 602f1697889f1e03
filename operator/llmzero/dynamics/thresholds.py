"""Every threshold of the diagnosis, in one place, with its origin.

"Literature" names a source; "ours" is a starting guess, looked at on the generated histories that
may be tuned on and on recorded runs of the tiny model. docs/pathologies.md shows the same table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A finding needs its metric beyond the first number; ``*_extreme`` is severity 1."""

    certainty: float = 2.0
    """Ours: standard errors that a change must exceed to count as one. At 1, every sixth stage
    looks fallen by chance, and the best of five evaluations looks better more often."""
    improvement: float = 0.005
    """Ours: a gain below this counts as flat, whatever its standard error."""

    grad_spike_ratio: float = 10.0
    """Ours: two points above 10x the running median (and above ``max_grad_norm``)."""
    grad_spike_extreme: float = 100.0

    hacking_gap: float = 0.05
    """Ours: train reward up, and the objective 5 points behind it at two evaluations in a row."""
    hacking_extreme: float = 0.30

    kl_floor: float = 0.1
    """Ours, nats a token: `kl` restarts at 0 in each stage, so a ratio alone always fires early."""
    kl_extreme: float = 2.0
    kl_drift_ratio: float = 3.0
    """Ours: the last window above 3x the stage's median."""
    kl_level: float = 1.0
    """Ours, nats a token: that far from the parent in one stage is drift, however it got there."""
    kl_path: float = 2.0
    """Ours, nats a token, summed over the stages from the root; counts with a flat evaluation."""
    crash: float = 0.05
    """Ours: evaluation and train reward fell together by 5 points: drift that no kl showed."""
    crash_extreme: float = 0.30

    kl_pull: float = 0.02
    """Ours: beta x kl, in reward, where the KL term dominates a flat reward. Literature: the KL
    term comes to dominate (ProRL, arXiv 2505.24864)."""
    kl_pull_extreme: float = 0.2
    small_gain: float = 0.05
    """Ours: a train reward that rose by less, or within its noise, is held back."""

    entropy_floor: float = 0.05
    """Ours, nats a token at temperature 1. Skywork-OR1 targets 0.2 on long reasoning; short exact
    answers are healthy below that."""
    entropy_of_base: float = 0.5
    """Ours: a base model that is surer than the floor collapses below half of its own entropy. Seen
    on ramble, where a base of 0.014 nats made every stage look collapsed."""
    entropy_collapse_ratio: float = 0.3
    """Ours: below 30 % of the stage's start. 73 % gone by step 200 is ordinary (arXiv 2505.22617),
    so a low ratio counts only together with a flat evaluation."""
    entropy_rising: float = 1.2
    """Ours: above that share of the stage's start it is no collapse, whatever the level."""
    entropy_explosion_ratio: float = 1.5
    """Ours: above 1.5x the stage's start while the reward falls."""
    entropy_explosion_extreme: float = 4.0
    guessing: float = 1.0
    """Ours, nats a token: most tokens are guesses, and a long answer is not guessed right. Where
    all groups fail, cooler samples find a success and hotter ones do not."""

    clipped_ratio: float = 0.10
    """Ours: report truncation above 10 %."""
    clipped_act: float = 0.20
    """Ours: from 20 % severity is 0.5 and up, where a rule acts in full."""

    length_growth: float = 0.5
    """Ours: +50 % mean length without a gain of the evaluation."""
    length_extreme: float = 3.0

    dead_groups: float = 0.5
    """Ours: more than half of the groups carry no gradient (p^G + (1-p)^G, binary rewards)."""

    clip_fraction: float = 0.05
    """Ours: more than 5 % of tokens clipped, off-policy. Literature: 1.2 % at high staleness."""
    clip_extreme: float = 0.3

    sampler_ratio: float = 2.0
    """Literature: verl calls a mean importance ratio outside 0.5..2 a mismatched sampler."""
    sampler_extreme: float = 10.0

    overfit_gap: float = 0.05
    """Ours: train reward minus evaluation widens by 5 points at two evaluations in a row."""
    overfit_extreme: float = 0.30

    plateau_window: float = 0.3
    """Ours: the slope's 95 % interval over the last 30 % of the stage includes 0."""

    def entropy_low(self, features: Mapping[str, float]) -> float:
        """Entropy (nats a token, temperature 1) below which a stage has collapsed, by what its base
        model had."""
        base = features.get("eval_entropy_base", math.inf)
        return min(self.entropy_floor, self.entropy_of_base * base)


THRESHOLDS = Thresholds()
