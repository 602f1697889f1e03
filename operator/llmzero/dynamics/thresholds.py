"""Every threshold of the diagnosis, in one place, with its origin.

"literature" names a source; "ours" is a starting guess, calibrated on runs of the tiny model.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    entropy_floor: float = 0.05
    """Ours, nats a token. Skywork-OR1 targets 0.2 on long reasoning; short exact answers sit lower."""
    entropy_collapse_ratio: float = 0.3
    """Ours: below 30 % of the stage's start. 73 % gone by step 200 is ordinary (arXiv 2505.22617),
    so a low ratio counts only together with a flat evaluation."""
    entropy_explosion_ratio: float = 1.5
    """Ours: above 1.5x the stage's start while the reward falls."""
    kl_floor: float = 0.1
    """Ours, nats: `kl` restarts at 0 in each stage, so a ratio alone would always fire early."""
    kl_drift_ratio: float = 3.0
    """Ours: the last window above 3x the stage's median."""
    kl_constraint: float = 0.3
    """Share of |loss| that beta * kl makes up before the KL term dominates (ProRL, 2505.24864)."""
    hacking_gap: float = 0.05
    """Ours: train reward up and the objective behind it by 5 points over two evaluations."""
    length_growth: float = 0.5
    """Ours: +50 % mean length with less than one point gained."""
    length_gain: float = 0.01
    clipped_ratio: float = 0.10
    """Ours: report above 10 %."""
    clipped_act: float = 0.20
    """Ours: severity 0.5 and up, where a rule acts, from 20 %."""
    dead_groups: float = 0.5
    """Ours: more than half of the groups carry no gradient (p^G + (1-p)^G, binary rewards)."""
    clip_fraction: float = 0.05
    """Ours: PPO clipping on more than 5 % of tokens; literature: 1.2 % at high staleness."""
    grad_spike_ratio: float = 10.0
    """Ours: two points above 10x the running median."""
    plateau_window: float = 0.3
    """Ours: the slope's interval over the last 30 % of the stage includes 0."""
    overfit_gap: float = 0.05
    """Ours: train reward minus evaluation widens by 5 points at two evaluations."""
    improvement: float = 0.005
    """Ours: a gain below this counts as flat, whatever its standard error."""


THRESHOLDS = Thresholds()
