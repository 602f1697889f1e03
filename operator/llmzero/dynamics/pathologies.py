"""From features to named pathologies, each with evidence and severity, worst class first.

One function a pathology; the order of :data:`RULES` is the order of severity: infrastructure and
numbers, hacking, drift, entropy, truncation, signal, plateau.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmzero.api.curve import Curve, Pathology, PathologyKind
from llmzero.api.stage import Outcome
from llmzero.dynamics.features import features, series
from llmzero.dynamics.thresholds import THRESHOLDS as T


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule may look at."""

    curve: Curve
    f: Mapping[str, float]
    settings: Mapping[str, Any]
    outcome: Outcome | None

    @property
    def last_step(self) -> int:
        return self.curve.steps[-1] if self.curve.steps else 0

    @property
    def flat_eval(self) -> bool:
        """The evaluation gained nothing that its standard error would not explain."""
        gain = self.f.get("eval_gain")
        if gain is None or self.f.get("eval_count", 0) < 2:
            return False
        return gain < max(T.improvement, self.f.get("eval_gain_error", 0.0))


Rule = Callable[[Case], Pathology | None]


def _found(kind: PathologyKind, severity: float, metric: str, evidence: str) -> Pathology:
    return Pathology(
        kind=kind,
        severity=min(max(severity, 0.0), 1.0),
        metric=metric,
        evidence=evidence[:512],
    )


def _excess(value: float, threshold: float, extreme: float) -> float:
    """0 at the threshold, 1 at the extreme."""
    return (value - threshold) / (extreme - threshold)


def non_finite(c: Case) -> Pathology | None:
    if c.outcome is not Outcome.DIVERGED:
        return None
    return _found(
        PathologyKind.NON_FINITE, 1.0, "loss", f"loss or gradients not finite by step {c.last_step}"
    )


def out_of_memory(c: Case) -> Pathology | None:
    if c.outcome is not Outcome.OUT_OF_MEMORY:
        return None
    size = c.settings.get("max_completion_length")
    return _found(
        PathologyKind.OUT_OF_MEMORY,
        1.0,
        "completions/max_length",
        f"out of memory after the ladder, at max_completion_length {size}, "
        f"num_generations {c.settings.get('num_generations')}",
    )


def gradient_spikes(c: Case) -> Pathology | None:
    points = series(c.curve, "grad_norm")
    if len(points) < 5:
        return None
    spikes = []
    for i in range(3, len(points)):
        median = float(np.median([v for _, v in points[:i]]))
        if median > 0 and points[i][1] > T.grad_spike_ratio * median:
            spikes.append((points[i][0], points[i][1] / median))
    if len(spikes) < 2:
        return None
    step, ratio = max(spikes, key=lambda s: s[1])
    return _found(
        PathologyKind.GRADIENT_SPIKES,
        _excess(math.log(ratio), math.log(T.grad_spike_ratio), math.log(T.grad_spike_ratio * 10)),
        "grad_norm",
        f"grad_norm reached {ratio:.0f}x its running median at step {step:.0f}, "
        f"{len(spikes)} points above {T.grad_spike_ratio:.0f}x",
    )


def reward_hacking(c: Case) -> Pathology | None:
    f = c.f
    if "reward_ratio" not in f or f.get("eval_count", 0) < 3:
        return None
    gain = f["reward_end"] - f["reward_start"]
    gap = f["train_minus_eval_gain"]
    down = [s.value for s in c.curve.scores][-2:]
    falling = f["eval_drop"] > max(T.improvement, f["eval_gain_error"])
    if gain <= T.hacking_gap or gap <= T.hacking_gap or not (c.flat_eval or falling):
        return None
    return _found(
        PathologyKind.REWARD_HACKING,
        _excess(gap, T.hacking_gap, 6 * T.hacking_gap),
        "reward",
        f"reward rose by {gain:.3f} while the evaluation changed by {f['eval_gain']:+.3f} "
        f"(last two {down[0]:.3f}, {down[-1]:.3f}); gap above {T.hacking_gap}",
    )


def policy_drift(c: Case) -> Pathology | None:
    end, median = c.f.get("kl_end"), c.f.get("kl_median")
    if end is None or median is None or end < T.kl_floor:
        return None
    ratio = end / max(median, 1e-9)
    if ratio < T.kl_drift_ratio and end < 10 * T.kl_floor:
        return None
    return _found(
        PathologyKind.POLICY_DRIFT,
        max(_excess(end, T.kl_floor, 20 * T.kl_floor), 0.2),
        "kl",
        f"kl {end:.3f} over the last 30 % (median {median:.3f}, floor {T.kl_floor}) "
        f"by step {c.last_step}",
    )


def over_constrained(c: Case) -> Pathology | None:
    beta = float(c.settings.get("beta") or 0)
    kl, slope = c.f.get("kl_end"), c.f.get("reward_slope_low")
    if beta <= 0 or kl is None or slope is None or not c.flat_eval:
        return None
    high = c.f.get("reward_slope_high", 0.0)
    pull = beta * kl
    rising = c.f.get("reward_end", 0) - c.f.get("reward_start", 0) > 0.05
    if pull < 0.02 or not (slope <= 0 <= high) or rising:
        return None
    return _found(
        PathologyKind.OVER_CONSTRAINED,
        _excess(pull, 0.02, 0.2),
        "kl",
        f"beta x kl = {beta:g} x {kl:.3f} = {pull:.3f} with a flat reward "
        f"(slope {slope:.1e} to {high:.1e}) and a flat evaluation",
    )


def entropy_collapse(c: Case) -> Pathology | None:
    ratio, end = c.f.get("entropy_ratio"), c.f.get("entropy_end")
    if ratio is None or end is None or not c.flat_eval:
        return None
    if ratio >= T.entropy_collapse_ratio and end >= T.entropy_floor:
        return None
    return _found(
        PathologyKind.ENTROPY_COLLAPSE,
        max(1 - ratio / T.entropy_collapse_ratio, 1 - end / T.entropy_floor, 0.1),
        "entropy",
        f"entropy {c.f['entropy_start']:.3f} to {end:.3f} ({ratio:.0%} of the start, threshold "
        f"{T.entropy_collapse_ratio:.0%} or {T.entropy_floor}) with a flat evaluation",
    )


def entropy_explosion(c: Case) -> Pathology | None:
    ratio, slope = c.f.get("entropy_ratio"), c.f.get("reward_slope")
    if ratio is None or slope is None or ratio <= T.entropy_explosion_ratio:
        return None
    if c.f["reward_end"] >= c.f["reward_start"] - 0.01:
        return None
    return _found(
        PathologyKind.ENTROPY_EXPLOSION,
        _excess(ratio, T.entropy_explosion_ratio, 4.0),
        "entropy",
        f"entropy grew to {ratio:.1f}x its start (threshold {T.entropy_explosion_ratio}) while the "
        f"reward fell from {c.f['reward_start']:.3f} to {c.f['reward_end']:.3f}",
    )


def truncation(c: Case) -> Pathology | None:
    clipped = c.f.get("clipped_ratio_end")
    if clipped is None or clipped <= T.clipped_ratio:
        return None
    below = clipped <= T.clipped_act
    severity = (
        0.5 * _excess(clipped, T.clipped_ratio, T.clipped_act)
        if below
        else 0.5 + 0.5 * _excess(clipped, T.clipped_act, 1.0)
    )
    gap = c.f.get("mean_length_end", 0) - c.f.get("terminated_length_end", 0)
    return _found(
        PathologyKind.TRUNCATION,
        severity,
        "completions/clipped_ratio",
        f"{clipped:.0%} of completions hit max_completion_length "
        f"{c.settings.get('max_completion_length')} by step {c.last_step} (threshold "
        f"{T.clipped_ratio:.0%}); mean length is {gap:.1f} above the terminated ones",
    )


def length_hacking(c: Case) -> Pathology | None:
    ratio = c.f.get("mean_length_ratio")
    if ratio is None or "eval_gain" not in c.f or c.f.get("eval_count", 0) < 2:
        return None
    if ratio <= 1 + T.length_growth or c.f["eval_gain"] >= T.length_gain:
        return None
    return _found(
        PathologyKind.LENGTH_HACKING,
        _excess(ratio, 1 + T.length_growth, 4.0),
        "completions/mean_length",
        f"mean length grew to {ratio:.2f}x while the evaluation changed by "
        f"{c.f['eval_gain']:+.3f} (thresholds +{T.length_growth:.0%}, {T.length_gain})",
    )


def zero_variance_groups(c: Case) -> Pathology | None:
    dead = c.f.get("dead_groups_end")
    if dead is None or dead <= T.dead_groups:
        return None
    reward = c.f.get("reward_end", 0.0)
    side = "solved" if reward > 0.5 else "unsolved"
    return _found(
        PathologyKind.ZERO_VARIANCE_GROUPS,
        _excess(dead, T.dead_groups, 1.0),
        "frac_reward_zero_std",
        f"{dead:.0%} of the groups carry no gradient (threshold {T.dead_groups:.0%}), mostly "
        f"{side}: mean reward {reward:.3f}",
    )


def clip_saturation(c: Case) -> Pathology | None:
    # On-policy (one iteration) the ratio is 1 and clipping is always 0: says nothing.
    if int(c.settings.get("num_iterations") or 1) < 2:
        return None
    points = series(c.curve, "clip_ratio/region_mean")
    if not points:
        return None
    mean = float(np.mean([v for _, v in points]))
    if mean <= T.clip_fraction:
        return None
    return _found(
        PathologyKind.CLIP_SATURATION,
        _excess(mean, T.clip_fraction, 0.3),
        "clip_ratio/region_mean",
        f"{mean:.1%} of tokens clipped (threshold {T.clip_fraction:.0%})",
    )


def overfit(c: Case) -> Pathology | None:
    drop, error = c.f.get("eval_drop"), c.f.get("eval_gain_error", 0.0)
    if drop is None or c.f.get("eval_count", 0) < 3:
        return None
    gap = c.f.get("train_minus_eval_gain", 0.0)
    if drop <= max(T.improvement, error) or gap <= T.overfit_gap:
        return None
    return _found(
        PathologyKind.OVERFIT,
        _excess(gap, T.overfit_gap, 6 * T.overfit_gap),
        "reward",
        f"the evaluation fell by {drop:.3f} from its best at step {c.f['eval_best_step']:.0f} "
        f"while train minus evaluation widened by {gap:.3f} (threshold {T.overfit_gap})",
    )


def plateau(c: Case) -> Pathology | None:
    low, high = c.f.get("reward_slope_low"), c.f.get("reward_slope_high")
    if low is None or high is None or not c.flat_eval or not low <= 0 <= high:
        return None
    return _found(
        PathologyKind.PLATEAU,
        0.5,
        "reward",
        f"reward slope {low:.1e} to {high:.1e} a step over the last {T.plateau_window:.0%}, "
        f"evaluation changed by {c.f['eval_gain']:+.3f} +- {c.f['eval_gain_error']:.3f}",
    )


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
    overfit,
    plateau,
)


def diagnose(
    curve: Curve,
    settings: Mapping[str, Any],
    outcome: Outcome | None = None,
    parent_features: Mapping[str, float] | None = None,
    direction: str = "maximize",
) -> tuple[dict[str, float], list[Pathology]]:
    """Features of the curve and the pathologies they show, in the order of severity classes.

    ``settings`` are the stage's GRPOConfig fields. ``parent_features`` add the drift along the
    path (``kl_path``): `kl` restarts at 0 in each stage because the parent is the reference.
    """
    found = features(curve, direction)
    if "kl_end" in found and parent_features is not None:
        found["kl_path"] = found["kl_end"] + parent_features.get(
            "kl_path", parent_features.get("kl_end", 0.0)
        )
    case = Case(curve, found, settings, outcome)
    findings = [p for p in (rule(case) for rule in RULES) if p is not None]
    return {k: float(f"{v:.6g}") for k, v in found.items()}, findings[:16]
