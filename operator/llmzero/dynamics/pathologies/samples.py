"""What the samples show: cut off, too long, without a gradient, clipped, stale."""

import math

import numpy as np

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.dynamics.case import Case
from llmzero.dynamics.features import series
from llmzero.dynamics.pathologies.found import excess, found
from llmzero.dynamics.thresholds import THRESHOLDS as T


def truncation(c: Case) -> Pathology | None:
    clipped = c.f.get("clipped_ratio_end", 0.0)
    if clipped <= T.clipped_ratio:
        return None
    severity = (
        0.5 * excess(clipped, T.clipped_ratio, T.clipped_act)
        if clipped <= T.clipped_act
        else 0.5 + 0.5 * excess(clipped, T.clipped_act, 1.0)
    )
    gap = c.f.get("length_gap")
    more = f"; the mean length is {gap:.1f} above the terminated ones" if gap is not None else ""
    return found(
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
    return found(
        PathologyKind.LENGTH_HACKING,
        excess(ratio, 1 + T.length_growth, T.length_extreme),
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
    return found(
        PathologyKind.ZERO_VARIANCE_GROUPS,
        excess(dead, T.dead_groups, 1.0),
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
    return found(
        PathologyKind.CLIP_SATURATION,
        excess(clipped, T.clip_fraction, T.clip_extreme),
        "clip_ratio/region_mean",
        f"clip_ratio {clipped:.1%} of tokens at steps {points[worst][0]:.0f}-"
        f"{points[worst + 2][0]:.0f}{side} (threshold {T.clip_fraction:.0%})",
    )


def stale_sampler(c: Case) -> Pathology | None:
    ratio = c.f.get("sampler_ratio_end", 1.0)
    off = max(ratio, 1 / max(ratio, 1e-9))
    if off <= T.sampler_ratio:
        return None
    return found(
        PathologyKind.STALE_SAMPLER,
        math.log(off / T.sampler_ratio) / math.log(T.sampler_extreme / T.sampler_ratio),
        "sampling/importance_sampling_ratio/mean",
        f"importance_sampling_ratio {ratio:.2f} over {c.window} (allowed "
        f"{1 / T.sampler_ratio:g} to {T.sampler_ratio:g})",
    )
