"""From features to named pathologies, each with evidence and severity, worst class first.

One function a pathology; the order of :data:`RULES` is the order of severity: infrastructure and
numbers, hacking, drift, entropy, truncation, signal, plateau. Numbers are in thresholds.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmzero.api.curve import Curve, Pathology, PathologyKind, Score
from llmzero.api.stage import Outcome
from llmzero.dynamics.case import Case, broken_at
from llmzero.dynamics.features import features, series
from llmzero.dynamics.thresholds import THRESHOLDS as T

Rule = Callable[[Case], Pathology | None]


def _found(kind: PathologyKind, severity: float, metric: str, evidence: str) -> Pathology:
    return Pathology(
        kind=kind,
        severity=round(min(max(severity, 0.0), 1.0), 3),
        metric=metric,
        evidence=evidence[:512],
    )


def _excess(value: float, threshold: float, extreme: float) -> float:
    """0 at the threshold, 1 at the extreme."""
    return (value - threshold) / (extreme - threshold)


def out_of_memory(c: Case) -> Pathology | None:
    if c.outcome is not Outcome.OUT_OF_MEMORY:
        return None
    return _found(
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
    return _found(
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
    return _found(
        PathologyKind.GRADIENT_SPIKES,
        _excess(math.log(ratio), math.log(T.grad_spike_ratio), math.log(T.grad_spike_extreme)),
        "grad_norm",
        f"grad_norm reached {ratio:.0f}x its running median at step {step}; {len(spikes)} points "
        f"above {T.grad_spike_ratio:.0f}x, the first at step {spikes[0][0]}",
    )


def reward_hacking(c: Case) -> Pathology | None:
    """The reads are of the search split only: nothing else is in a curve."""
    if not c.has("reward_gain", "train_minus_eval_gain"):
        return None
    gain, gap = c.f["reward_gain"], c.f["train_minus_eval_gain"]
    if gain <= max(T.hacking_gap, c.reward_noise) or not c.behind(T.hacking_gap):
        return None
    if not (c.flat_eval or c.dropped):
        return None
    if c.by_heart:
        return None
    return _found(
        PathologyKind.REWARD_HACKING,
        _excess(gap, T.hacking_gap, T.hacking_extreme),
        "reward",
        f"reward rose by {gain:.3f} while {c.words_of_eval()}: {gap:.3f} behind, above "
        f"{T.hacking_gap} at two evaluations in a row",
    )


def policy_drift(c: Case) -> Pathology | None:
    kl, median = c.f.get("kl_end", 0.0), c.f.get("kl_median", 0.0)
    ratio = kl / max(median, 1e-9)
    path = c.f.get("kl_path", 0.0)
    far = kl >= T.kl_level and over_constrained(c) is None
    if kl >= T.kl_floor and (ratio >= T.kl_drift_ratio or far):
        severity = math.log(kl / T.kl_floor) / math.log(T.kl_extreme / T.kl_floor)
        evidence = (
            f"kl {kl:.3f} over {c.window}, {ratio:.1f}x its median (floor {T.kl_floor}, "
            f"{T.kl_drift_ratio:g}x or {T.kl_level:g})"
        )
        return _found(PathologyKind.POLICY_DRIFT, severity, "kl", evidence)
    if path >= T.kl_path and c.flat_eval:
        severity = _excess(path, T.kl_path, 5 * T.kl_path)
        evidence = (
            f"kl adds up to {path:.3f} along the path by step {c.last_step} (threshold "
            f"{T.kl_path:g}) with {c.words_of_eval()}"
        )
        return _found(PathologyKind.POLICY_DRIFT, severity, "kl", evidence)
    return _crash(c)


def _crash(c: Case) -> Pathology | None:
    """Drift that no kl shows (beta 0): reward and evaluation are lost together."""
    if not c.fell or "reward_gain" not in c.f or _exploded(c):
        return None
    loss = -c.f["eval_gain"]
    if loss <= T.crash or c.f["reward_gain"] >= -min(T.crash, c.reward_noise):
        return None
    return _found(
        PathologyKind.POLICY_DRIFT,
        _excess(loss, T.crash, T.crash_extreme),
        "reward",
        f"reward fell from {c.f['reward_start']:.3f} to {c.f['reward_end']:.3f} with "
        f"{c.words_of_eval()}: the policy left what it could do (threshold {T.crash})",
    )


def over_constrained(c: Case) -> Pathology | None:
    beta, kl = c.number("beta"), c.f.get("kl_end", 0.0)
    pull = beta * kl
    if pull < T.kl_pull or not c.flat_eval or c.fell or "reward_gain" not in c.f:
        return None
    gain = c.f["reward_gain"]
    if gain > max(T.small_gain, c.reward_noise):
        return None
    return _found(
        PathologyKind.OVER_CONSTRAINED,
        _excess(pull, T.kl_pull, T.kl_pull_extreme),
        "kl",
        f"beta x kl = {beta:g} x {kl:.3f} = {pull:.3f} (threshold {T.kl_pull}) over {c.window}, "
        f"reward changed by {gain:+.3f}, {c.words_of_eval()}",
    )


def entropy_collapse(c: Case) -> Pathology | None:
    """Only with a flat evaluation: entropy that pays for a gain is ordinary. Entropy that was low
    from the start and rises has not collapsed, however low it still is."""
    if not c.has("entropy_start", "entropy_end") or not c.flat_eval:
        return None
    start, end = c.f["entropy_start"], c.f["entropy_end"]
    ratio = end / start if start > 0 else 1.0
    if ratio > T.entropy_rising:
        return None
    # The protocol's own entropy is at temperature 1, that of the samples at the stage's.
    level, low = c.f.get("eval_entropy_last", end), T.entropy_low(c.f)
    if ratio >= T.entropy_collapse_ratio and level >= low:
        return None
    return _found(
        PathologyKind.ENTROPY_COLLAPSE,
        max(1 - ratio / T.entropy_collapse_ratio, 1 - level / max(low, 1e-9)),
        "entropy",
        f"entropy {start:.3f} to {end:.3f} over {c.window} ({ratio:.0%} of the start; thresholds "
        f"{T.entropy_collapse_ratio:.0%} and {low:.2g} nats) with {c.words_of_eval()}",
    )


def _exploded(c: Case) -> bool:
    return c.f.get("entropy_ratio", 1.0) > T.entropy_explosion_ratio


def entropy_explosion(c: Case) -> Pathology | None:
    if not _exploded(c) or c.f.get("reward_gain", 0.0) >= -max(T.improvement, c.reward_noise):
        return None
    ratio = c.f["entropy_ratio"]
    return _found(
        PathologyKind.ENTROPY_EXPLOSION,
        _excess(ratio, T.entropy_explosion_ratio, T.entropy_explosion_extreme),
        "entropy",
        f"entropy grew to {ratio:.1f}x its start over {c.window} (threshold "
        f"{T.entropy_explosion_ratio}) while the reward fell from {c.f['reward_start']:.3f} to "
        f"{c.f['reward_end']:.3f}",
    )


def truncation(c: Case) -> Pathology | None:
    clipped = c.f.get("clipped_ratio_end", 0.0)
    if clipped <= T.clipped_ratio:
        return None
    severity = (
        0.5 * _excess(clipped, T.clipped_ratio, T.clipped_act)
        if clipped <= T.clipped_act
        else 0.5 + 0.5 * _excess(clipped, T.clipped_act, 1.0)
    )
    gap = c.f.get("length_gap")
    more = f"; the mean length is {gap:.1f} above the terminated ones" if gap is not None else ""
    return _found(
        PathologyKind.TRUNCATION,
        severity,
        "completions/clipped_ratio",
        f"clipped_ratio {clipped:.0%} over {c.window} (report at {T.clipped_ratio:.0%}, act at "
        f"{T.clipped_act:.0%}) at max_completion_length "
        f"{c.settings.get('max_completion_length')}{more}",
    )


def length_hacking(c: Case) -> Pathology | None:
    ratio = c.f.get("mean_length_ratio", 1.0)
    if ratio <= 1 + T.length_growth or not c.flat_eval:
        return None
    return _found(
        PathologyKind.LENGTH_HACKING,
        _excess(ratio, 1 + T.length_growth, T.length_extreme),
        "completions/mean_length",
        f"mean_length {c.f['mean_length_start']:.1f} to {c.f['mean_length_end']:.1f} tokens over "
        f"{c.window} (threshold +{T.length_growth:.0%}) with {c.words_of_eval()}",
    )


def zero_variance_groups(c: Case) -> Pathology | None:
    dead = c.f.get("dead_groups_end", 0.0)
    if dead <= T.dead_groups:
        return None
    reward = c.f.get("reward_end", 0.0)
    side = "solved" if reward > 0.5 else "unsolved"
    return _found(
        PathologyKind.ZERO_VARIANCE_GROUPS,
        _excess(dead, T.dead_groups, 1.0),
        "frac_reward_zero_std",
        f"frac_reward_zero_std {dead:.0%} over {c.window} (threshold {T.dead_groups:.0%}): groups "
        f"without a gradient, mostly {side}, at a mean reward of {reward:.3f}",
    )


def clip_saturation(c: Case) -> Pathology | None:
    points = series(c.curve, "clip_ratio/region_mean")
    if not c.off_policy or len(points) < 3:
        return None
    # The worst three points in a row: once a policy is wrecked, nothing is clipped any more.
    windows = [np.mean([v for _, v in points[i : i + 3]]) for i in range(len(points) - 2)]
    worst = int(np.argmax(windows))
    clipped = float(windows[worst])
    if clipped <= T.clip_fraction:
        return None
    high = dict(series(c.curve, "clip_ratio/high_mean"))
    above = float(np.mean([high.get(s, 0.0) for s, _ in points[worst : worst + 3]]))
    side = f", {above:.1%} on the high side" if high else ""
    return _found(
        PathologyKind.CLIP_SATURATION,
        _excess(clipped, T.clip_fraction, T.clip_extreme),
        "clip_ratio/region_mean",
        f"clip_ratio {clipped:.1%} of tokens at steps {points[worst][0]:.0f}-"
        f"{points[worst + 2][0]:.0f}{side} (threshold {T.clip_fraction:.0%})",
    )


def stale_sampler(c: Case) -> Pathology | None:
    ratio = c.f.get("sampler_ratio_end", 1.0)
    off = max(ratio, 1 / max(ratio, 1e-9))
    if off <= T.sampler_ratio:
        return None
    return _found(
        PathologyKind.STALE_SAMPLER,
        math.log(off / T.sampler_ratio) / math.log(T.sampler_extreme / T.sampler_ratio),
        "sampling/importance_sampling_ratio/mean",
        f"importance_sampling_ratio {ratio:.2f} over {c.window} (allowed "
        f"{1 / T.sampler_ratio:g} to {T.sampler_ratio:g})",
    )


def overfit(c: Case) -> Pathology | None:
    if not c.dropped or c.f.get("reward_gain", 0.0) <= 0 or not c.widening:
        return None
    if "train_minus_eval_gain" not in c.f:  # an absurd reward overflows
        return None
    gap = c.f["train_minus_eval_gain"]
    if gap <= T.overfit_gap:
        return None
    return _found(
        PathologyKind.OVERFIT,
        _excess(gap, T.overfit_gap, T.overfit_extreme),
        "reward",
        f"the evaluation fell by {c.f['eval_drop']:.3f} +- {c.f['eval_drop_error']:.3f} from its "
        f"best at step {c.f['eval_best_step']:.0f} while reward rose by {c.f['reward_gain']:.3f}: "
        f"{gap:.3f} apart (threshold {T.overfit_gap})",
    )


def plateau(c: Case) -> Pathology | None:
    if not c.flat_reward or not c.flat_eval or c.fell:
        return None
    return _found(
        PathologyKind.PLATEAU,
        1 - max(c.f["eval_gain"], 0.0) / c.least_gain,
        "reward",
        f"{c.words_of_slope()} includes 0, {c.words_of_eval()}",
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
