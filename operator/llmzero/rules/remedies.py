"""The table: pathology → coordinated, bounded changes, best first, with the reason in words.

Source of the pairs: the literature named in docs/pathologies.md; the sizes are ours. A transition
carries the optimizer's moments and the KL reference on, as `continue` does, so that the difference
to it is the change alone; where a reset is part of the cure, the remedy says so.
"""

from collections.abc import Callable, Iterator

from llmzero.api.curve import PathologyKind
from llmzero.dynamics.thresholds import THRESHOLDS
from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.moves import HOLDING, together

K = PathologyKind


def _entropy_up(f: Finding) -> Iterator[Remedy]:
    p = f.p
    yield Remedy(
        together(f.warmer(), p.scale("learning_rate", 0.5), p.raised("epsilon_high", 0.28)),
        "sample more widely and step more softly, so that entropy recovers",
        {"entropy": 0.1},
    )
    yield Remedy(
        together(p.shift("temperature", 0.2), p.scale("beta", 2.0), p.scale("entropy_coef", 2.0)),
        "sample more widely and hold the policy closer to its reference",
        {"entropy": 0.15},
    )


def _entropy_down(f: Finding) -> Iterator[Remedy]:
    p = f.p
    yield Remedy(
        together(
            p.shift("temperature", -0.1),
            p.scale("learning_rate", 0.5),
            p.scale("entropy_coef", 0.34),
        ),
        "sample more narrowly and step more softly, so that entropy stops growing",
        {"entropy": -0.1},
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.3), p.scale("beta", 3.0)),
        "much smaller steps near the reference",
        {"entropy": -0.2},
    )


def _drift(f: Finding) -> Iterator[Remedy]:
    p = f.p
    yield Remedy(
        together(p.scale("beta", 2.0 + 3.0 * f.severity, HOLDING), p.scale("learning_rate", 0.5)),
        "a stronger KL term to the reference of before and smaller steps",
        {"kl": -0.5},
        reset_optimizer=True,
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.3), p.shift("temperature", -0.1)),
        "much smaller steps and narrower samples",
        {"kl": -0.3},
        reset_optimizer=True,
    )


def _over_constrained(f: Finding) -> Iterator[Remedy]:
    p = f.p
    why = "with the parent as the new reference and fresh moments"
    yield Remedy(
        together(p.scale("beta", 0.5), p.scale("learning_rate", 1.3)),
        f"the KL term holds the policy back: halve it, {why}",
        {"reward": 0.02},
        reset_optimizer=True,
        reset_reference=True,
    )
    yield Remedy(
        together(p.scale("beta", 0.3), p.shift("temperature", 0.1)),
        f"a much weaker KL term and wider samples, {why}",
        {"reward": 0.02},
        reset_optimizer=True,
        reset_reference=True,
    )


def _hacking(f: Finding) -> Iterator[Remedy]:
    p = f.p
    for changes in (
        together(p.scale("beta", 4.0, HOLDING), p.scale("learning_rate", 0.5)),
        together(p.scale("beta", 2.0, HOLDING), p.shift("temperature", 0.1)),
        together(p.shift("temperature", 0.15), p.scale("learning_rate", 0.4)),
    ):
        # Never the learning rate alone: slower hacking is still hacking.
        if set(changes) - {"learning_rate"}:
            yield Remedy(
                changes,
                "the reward rises without the objective: closer to the reference of before; look "
                "at the reward function",
                {"reward": -0.05},
                reset_optimizer=True,
            )


def _length_hacking(f: Finding) -> Iterator[Remedy]:
    p = f.p
    loss = None
    if p.settings.get("loss_type") not in ("dapo", "dr_grpo"):
        loss = p.set("loss_type", "dr_grpo") or p.set("loss_type", "dapo")
    reason = "length grows without accuracy: smaller steps near the reference"
    if loss:
        reason += ", and a loss without the bias to length"
    yield Remedy(
        together(
            loss, p.scale("learning_rate", 0.5), p.scale("beta", 2.0), p.shift("temperature", -0.1)
        ),
        reason,
        {"completions/mean_length": -1.0},
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.4), p.scale("beta", 3.0)),
        "length grows without accuracy: far smaller steps near the reference",
        {"completions/mean_length": -1.0},
    )


def _truncation(f: Finding) -> Iterator[Remedy]:
    p, expected = f.p, {"completions/clipped_ratio": -0.1}
    # Answers that are cut off fail alike, and how much room they need is not known: a stage whose
    # limit is still too short teaches nothing at twice the price (seen on ramble).
    most = 3.0 if f.feature("dead_groups_end", 0.0) > THRESHOLDS.dead_groups else 2.0
    longer = p.grow("max_completion_length", most if f.acts else 1.5, most)
    masked = p.set("mask_truncated_completions", True)
    if longer is not None:
        yield Remedy(
            together(longer, p.scale("learning_rate", 0.8), masked),
            f"answers are cut off: {longer[1]} tokens, with slightly smaller steps",
            expected,
        )
        yield Remedy(
            together(
                p.grow("max_completion_length", 1.5 if f.acts else 2.0),
                p.shift("temperature", -0.1),
            ),
            "answers are cut off: more length and narrower samples",
            expected,
        )
    yield Remedy(
        together(p.shift("temperature", -0.15), p.scale("learning_rate", 0.7), masked),
        "answers ramble to the limit: narrower samples and smaller steps",
        expected,
    )


def _dead_groups(f: Finding) -> Iterator[Remedy]:
    p, expected = f.p, {"frac_reward_zero_std": -0.1}
    warmer = p.shift("temperature", 0.2)
    if f.feature("reward_end", 0.0) > 0.5:
        yield Remedy(
            together(p.grow_task(), warmer, p.scale("learning_rate", 1.3)),
            "most groups are solved alike: sample more widely, use the rarer signal more",
            expected,
        )
        yield Remedy(
            together(p.grow("num_generations"), p.shift("temperature", 0.1)),
            "most groups are solved alike: larger groups and wider samples find the exceptions",
            expected,
        )
    else:
        if f.feature("entropy_end", 0.0) > THRESHOLDS.guessing:
            # Not larger groups too: they cost as much more as they find.
            yield Remedy(
                together(p.shift("temperature", -0.2)),
                "most groups fail alike, and most tokens are guesses: narrower samples",
                expected,
            )
        yield Remedy(
            together(p.grow("num_generations"), p.shift("temperature", 0.1)),
            "most groups fail alike: larger groups and wider samples find a first success",
            expected,
        )
        yield Remedy(
            together(warmer, p.grow("max_completion_length", 1.5)),
            "most groups fail alike: wider and longer samples",
            expected,
        )


def _clipping(f: Finding) -> Iterator[Remedy]:
    p = f.p
    high = f.feature("clip_high_end", 0.0) > 0.5 * f.feature("clip_fraction_end", 0.0)
    wider = p.raised("epsilon_high", 0.28) if high else None
    yield Remedy(
        together(p.scale("learning_rate", 0.5), f.less_reuse(), wider),
        "the ratio is clipped often: smaller steps, less reuse",
        {"clip_ratio/region_mean": -0.03},
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.4), p.scale("beta", 2.0)),
        "the ratio is clipped often: far smaller steps near the reference",
        {"clip_ratio/region_mean": -0.03},
    )


def _stale(f: Finding) -> Iterator[Remedy]:
    p = f.p
    expected = {"sampling/importance_sampling_ratio/mean": -0.5}
    sequence = p.set("importance_sampling_level", "sequence")
    yield Remedy(
        together(p.scale("learning_rate", 0.5), f.less_reuse(), sequence),
        "sampler and trainer disagree: smaller steps, less reuse, ratios of whole sequences",
        expected,
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.4), p.shift("temperature", -0.1)),
        "sampler and trainer disagree: far smaller steps on likelier samples",
        expected,
    )


def _calm(f: Finding) -> Iterator[Remedy]:
    p = f.p
    yield Remedy(
        together(p.scale("learning_rate", 0.3), p.scale("max_grad_norm", 0.5), f.less_reuse()),
        "gradients blow up: far smaller steps with fresh moments",
        {"grad_norm": -1.0},
        reset_optimizer=True,
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.5), p.scale("beta", 2.0), f.less_reuse()),
        "gradients blow up: smaller steps near the reference, with fresh moments",
        {"grad_norm": -0.5},
        reset_optimizer=True,
    )


def _memory(f: Finding) -> Iterator[Remedy]:
    p = f.p
    why = "the stage ran out of memory after the whole ladder"
    sizes = ("per_device_train_batch_size", "num_generations", "max_completion_length")
    for name in sizes:  # length last: it is what answers are made of
        yield Remedy(together(p.shrink(name)), f"{why}: less of {name}", {}, why)


def _overfit(f: Finding) -> Iterator[Remedy]:
    p = f.p
    yield Remedy(
        together(p.grow_task(), p.scale("beta", 2.0), p.scale("learning_rate", 0.5)),
        "the evaluation falls behind training: smaller steps, more KL",
        {"reward": -0.02},
        reset_optimizer=True,
    )
    yield Remedy(
        together(
            p.shift("temperature", 0.15),
            p.scale("learning_rate", 0.6),
            p.scale("weight_decay", 2.0),
        ),
        "the evaluation falls behind training: wider samples, smaller steps",
        {"reward": -0.02},
        reset_optimizer=True,
    )


def _plateau(f: Finding) -> Iterator[Remedy]:
    p, expected = f.p, {"reward": 0.02}
    if f.feature("entropy_end", 1.0) < 2 * THRESHOLDS.entropy_low(f.stage.features):
        yield from _entropy_up(f)
        return
    yield Remedy(
        # Not larger groups: where theirs are alive, they cost as much more as they tell.
        together(p.scale("learning_rate", 1.5)),
        "nothing moves and entropy is healthy: larger steps",
        expected,
    )
    if f.feature("clipped_ratio_end", 0.0) > 0.02:
        yield Remedy(
            together(p.grow("max_completion_length", 1.5), p.scale("learning_rate", 1.3)),
            "nothing moves and some answers are cut off: more length, larger steps",
            expected,
        )
    yield Remedy(
        together(p.grow_other("num_generations"), p.scale("learning_rate", 1.3)),
        "nothing moves: more capacity, larger steps",
        expected,
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.5), p.shift("temperature", -0.1)),
        "nothing moves: anneal, with smaller steps on narrower samples",
        expected,
    )


_TABLE: dict[PathologyKind, Callable[[Finding], Iterator[Remedy]]] = {
    K.OUT_OF_MEMORY: _memory,
    K.NON_FINITE: _calm,
    K.GRADIENT_SPIKES: _calm,
    K.REWARD_HACKING: _hacking,
    K.POLICY_DRIFT: _drift,
    K.OVER_CONSTRAINED: _over_constrained,
    K.ENTROPY_COLLAPSE: _entropy_up,
    K.ENTROPY_EXPLOSION: _entropy_down,
    K.TRUNCATION: _truncation,
    K.LENGTH_HACKING: _length_hacking,
    K.ZERO_VARIANCE_GROUPS: _dead_groups,
    K.CLIP_SATURATION: _clipping,
    K.STALE_SAMPLER: _stale,
    K.OVERFIT: _overfit,
    K.PLATEAU: _plateau,
}


def remedies(finding: Finding) -> Iterator[Remedy]:
    """The transitions for one finding, best first; those without a possible change are left out."""
    return (r for r in _TABLE[finding.pathology.kind](finding) if r.changes)
