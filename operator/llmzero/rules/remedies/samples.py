"""Samples that are cut off, too long, without a gradient, clipped or stale."""

from collections.abc import Iterator

from llmzero.dynamics.thresholds import THRESHOLDS
from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.moves import together


def length_hacking(f: Finding) -> Iterator[Remedy]:
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


def truncation(f: Finding) -> Iterator[Remedy]:
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


def dead_groups(f: Finding) -> Iterator[Remedy]:
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


def clipping(f: Finding) -> Iterator[Remedy]:
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


def stale(f: Finding) -> Iterator[Remedy]:
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
