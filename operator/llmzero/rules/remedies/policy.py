"""Where the policy goes: back to its reference or further from it, entropy up or down."""

from collections.abc import Iterator

from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.moves import HOLDING, together


def entropy_up(f: Finding) -> Iterator[Remedy]:
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


def entropy_down(f: Finding) -> Iterator[Remedy]:
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


def drift(f: Finding) -> Iterator[Remedy]:
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


def over_constrained(f: Finding) -> Iterator[Remedy]:
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
