"""Where the policy goes: too far from its reference, not far enough, its entropy lost or blown up."""

import math

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.dynamics.case import Case
from llmzero.dynamics.pathologies.found import excess, found
from llmzero.dynamics.thresholds import THRESHOLDS as T


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
        return found(PathologyKind.POLICY_DRIFT, severity, "kl", evidence)
    if path >= T.kl_path and c.flat_eval:
        severity = excess(path, T.kl_path, 5 * T.kl_path)
        evidence = (
            f"kl adds up to {path:.3f} along the path by step {c.last_step} (threshold "
            f"{T.kl_path:g}) with {c.words_of_eval()}"
        )
        return found(PathologyKind.POLICY_DRIFT, severity, "kl", evidence)
    return _crash(c)


def _crash(c: Case) -> Pathology | None:
    """Drift that no kl shows (beta 0): reward and evaluation are lost together."""
    if not c.fell or "reward_gain" not in c.f or _exploded(c):
        return None
    loss = -c.f["eval_gain"]
    if loss <= T.crash or c.f["reward_gain"] >= -min(T.crash, c.reward_noise):
        return None
    return found(
        PathologyKind.POLICY_DRIFT,
        excess(loss, T.crash, T.crash_extreme),
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
    return found(
        PathologyKind.OVER_CONSTRAINED,
        excess(pull, T.kl_pull, T.kl_pull_extreme),
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
    return found(
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
    return found(
        PathologyKind.ENTROPY_EXPLOSION,
        excess(ratio, T.entropy_explosion_ratio, T.entropy_explosion_extreme),
        "entropy",
        f"entropy grew to {ratio:.1f}x its start over {c.window} (threshold "
        f"{T.entropy_explosion_ratio}) while the reward fell from {c.f['reward_start']:.3f} to "
        f"{c.f['reward_end']:.3f}",
    )
