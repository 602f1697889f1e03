"""Reward and evaluation beside each other: hacking, overfitting, a plateau."""

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.dynamics.case import Case
from llmzero.dynamics.pathologies.found import excess, found
from llmzero.dynamics.thresholds import THRESHOLDS as T


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
    return found(
        PathologyKind.REWARD_HACKING,
        excess(gap, T.hacking_gap, T.hacking_extreme),
        "reward",
        f"reward rose by {gain:.3f} while {c.words_of_eval()}: {gap:.3f} behind, above "
        f"{T.hacking_gap} at two evaluations in a row",
    )


def overfit(c: Case) -> Pathology | None:
    if not c.dropped or c.f.get("reward_gain", 0.0) <= 0 or not c.widening:
        return None
    if "train_minus_eval_gain" not in c.f:  # an absurd reward overflows
        return None
    gap = c.f["train_minus_eval_gain"]
    if gap <= T.overfit_gap:
        return None
    return found(
        PathologyKind.OVERFIT,
        excess(gap, T.overfit_gap, T.overfit_extreme),
        "reward",
        f"the evaluation fell by {c.f['eval_drop']:.3f} +- {c.f['eval_drop_error']:.3f} from its "
        f"best at step {c.f['eval_best_step']:.0f} while reward rose by {c.f['reward_gain']:.3f}: "
        f"{gap:.3f} apart (threshold {T.overfit_gap})",
    )


def plateau(c: Case) -> Pathology | None:
    if not c.flat_reward or not c.flat_eval or c.fell:
        return None
    return found(
        PathologyKind.PLATEAU,
        1 - max(c.f["eval_gain"], 0.0) / c.least_gain,
        "reward",
        f"{c.words_of_slope()} includes 0, {c.words_of_eval()}",
    )
