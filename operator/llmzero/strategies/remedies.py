"""The table: pathology → coordinated, bounded changes, best first, with the reason in words.

Source of the pairs: the literature named in docs/pathologies.md; the sizes are ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.api.proposals import StageView
from llmzero.api.spec import SettingsMap
from llmzero.strategies.moves import Position, together

K = PathologyKind
BRANCH_EARLIER = frozenset(
    {K.POLICY_DRIFT, K.REWARD_HACKING, K.OVERFIT, K.GRADIENT_SPIKES, K.NON_FINITE}
)
"""Kinds after which a checkpoint from before the harm is the better start."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One transition: what changes, why, and what it should do to which metric."""

    changes: SettingsMap
    reason: str
    expected: dict[str, float] = field(default_factory=dict)
    justification: str = ""


def _entropy_up(p: Position, stage: StageView) -> Iterator[Remedy]:
    epsilon = p.set("epsilon_high", 0.28) if p.off_policy() else None
    yield Remedy(
        together(p.shift("temperature", 0.15), p.scale("learning_rate", 0.5), epsilon),
        "sample more widely and step more softly, so that entropy recovers",
        {"entropy": 0.1},
    )
    yield Remedy(
        together(p.shift("temperature", 0.2), p.scale("beta", 2.0), p.scale("entropy_coef", 2.0)),
        "sample more widely and hold the policy closer to its reference",
        {"entropy": 0.15},
    )


def _entropy_down(p: Position, stage: StageView) -> Iterator[Remedy]:
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


def _drift(p: Position, stage: StageView) -> Iterator[Remedy]:
    yield Remedy(
        together(p.scale("beta", 3.0), p.scale("learning_rate", 0.5)),
        "a stronger KL term and smaller steps from an earlier checkpoint",
        {"kl": -0.5},
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.3), p.shift("temperature", -0.1)),
        "much smaller steps and narrower samples",
        {"kl": -0.3},
    )


def _over_constrained(p: Position, stage: StageView) -> Iterator[Remedy]:
    # The stage boundary itself resets reference and optimizer (ProRL's hard reset).
    yield Remedy(
        together(p.scale("beta", 0.5), p.scale("learning_rate", 1.3)),
        "the KL term holds the policy back: halve it, with the parent as the new reference",
        {"reward": 0.02},
    )
    yield Remedy(
        together(p.scale("beta", 0.3), p.shift("temperature", 0.1)),
        "a much weaker KL term and wider samples",
        {"reward": 0.02},
    )


def _hacking(p: Position, stage: StageView) -> Iterator[Remedy]:
    # Never the learning rate alone: slower hacking is still hacking.
    for changes in (
        together(p.scale("beta", 4.0), p.scale("learning_rate", 0.5)),
        together(p.scale("beta", 2.0), p.shift("temperature", 0.1)),
        together(p.shift("temperature", 0.15), p.scale("learning_rate", 0.4)),
    ):
        if set(changes) - {"learning_rate"}:
            yield Remedy(
                changes,
                "the reward rises without the objective: back to before the gap, closer to the "
                "reference; look at the reward function",
                {"reward": -0.05},
            )


def _length_hacking(p: Position, stage: StageView) -> Iterator[Remedy]:
    loss = p.set("loss_type", "dr_grpo") if p.settings.get("loss_type") != "dr_grpo" else None
    yield Remedy(
        together(
            loss, p.scale("learning_rate", 0.5), p.scale("beta", 2.0), p.shift("temperature", -0.1)
        ),
        "length grows without accuracy: smaller steps near the reference, no length bias in the loss",
        {"completions/mean_length": -1.0},
    )


def _truncation(p: Position, stage: StageView) -> Iterator[Remedy]:
    hard = any(q.kind is K.TRUNCATION and q.severity >= 0.5 for q in stage.pathologies)
    factor = 2.0 if hard else 1.5
    expected = {"completions/clipped_ratio": -0.1}
    longer = p.grow("max_completion_length", factor)
    if longer is not None:
        yield Remedy(
            together(longer, p.scale("learning_rate", 0.8)),
            f"answers are cut off: allow {factor:g}x the length, with slightly smaller steps",
            expected,
        )
        yield Remedy(
            together(p.grow("max_completion_length", 3.5 - factor), p.shift("temperature", -0.1)),
            "answers are cut off: more length and narrower samples",
            expected,
        )
    yield Remedy(
        together(p.shift("temperature", -0.15), p.scale("learning_rate", 0.7)),
        "answers ramble to the limit: narrower samples and smaller steps",
        expected,
    )


def _dead_groups(p: Position, stage: StageView) -> Iterator[Remedy]:
    expected = {"frac_reward_zero_std": -0.1}
    if stage.features.get("reward_end", 0.0) > 0.5:
        yield Remedy(
            together(p.shift("temperature", 0.2), p.scale("learning_rate", 1.3)),
            "most groups are solved alike: sample more widely, use the rarer signal more",
            expected,
        )
        yield Remedy(
            together(p.grow("num_generations"), p.shift("temperature", 0.1)),
            "most groups are solved alike: larger groups and wider samples find the exceptions",
            expected,
        )
    else:
        yield Remedy(
            together(p.grow("num_generations"), p.shift("temperature", 0.1)),
            "most groups fail alike: larger groups and wider samples find a first success",
            expected,
        )
        yield Remedy(
            together(p.shift("temperature", 0.2), p.grow("max_completion_length", 1.5)),
            "most groups fail alike: wider and longer samples",
            expected,
        )


def _clipping(p: Position, stage: StageView) -> Iterator[Remedy]:
    yield Remedy(
        together(
            p.scale("learning_rate", 0.5),
            p.scale("num_iterations", 0.5),
            p.set("epsilon_high", 0.28),
        ),
        "the ratio is clipped often: smaller steps, less reuse",
    )


def _calm(p: Position, stage: StageView) -> Iterator[Remedy]:
    iterations = p.set("num_iterations", 1) if p.off_policy() else None
    yield Remedy(
        together(p.scale("learning_rate", 0.3), p.scale("max_grad_norm", 0.5), iterations),
        "gradients blow up: far smaller steps from a checkpoint before the spike",
        {"grad_norm": -1.0},
    )
    yield Remedy(
        together(p.scale("learning_rate", 0.5), p.scale("beta", 2.0), iterations),
        "gradients blow up: smaller steps near the reference",
        {"grad_norm": -0.5},
    )


def _memory(p: Position, stage: StageView) -> Iterator[Remedy]:
    why = "the stage ran out of memory after the whole ladder"
    for name in ("num_generations", "max_completion_length"):
        yield Remedy(together(p.shrink(name)), f"{why}: less of {name}", {}, why)


def _overfit(p: Position, stage: StageView) -> Iterator[Remedy]:
    yield Remedy(
        together(p.scale("beta", 2.0), p.scale("learning_rate", 0.5)),
        "the evaluation falls behind training: an earlier checkpoint, smaller steps, more KL",
    )
    yield Remedy(
        together(p.shift("temperature", 0.15), p.scale("learning_rate", 0.6)),
        "the evaluation falls behind training: wider samples, smaller steps",
    )


def _plateau(p: Position, stage: StageView) -> Iterator[Remedy]:
    if stage.features.get("entropy_end", 1.0) < 0.1:
        yield from _entropy_up(p, stage)
        return
    yield Remedy(
        together(p.scale("learning_rate", 1.5), p.grow("num_generations")),
        "nothing moves and entropy is healthy: larger steps on larger groups",
        {"reward": 0.02},
    )
    if stage.features.get("clipped_ratio_end", 0.0) > 0.02:
        yield Remedy(
            together(p.grow("max_completion_length", 1.5), p.scale("learning_rate", 1.3)),
            "nothing moves and some answers are cut off: more length, larger steps",
            {"reward": 0.02},
        )
    yield Remedy(
        together(p.scale("learning_rate", 0.5), p.shift("temperature", -0.1)),
        "nothing moves: anneal, with smaller steps on narrower samples",
        {"reward": 0.02},
    )


_TABLE: dict[PathologyKind, Callable[[Position, StageView], Iterator[Remedy]]] = {
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
    K.STALE_SAMPLER: _clipping,
    K.OVERFIT: _overfit,
    K.PLATEAU: _plateau,
}


def remedies(pathology: Pathology, position: Position, stage: StageView) -> Iterator[Remedy]:
    """The transitions for one finding, best first; those without a possible change are left out."""
    for remedy in _TABLE[pathology.kind](position, stage):
        if remedy.changes:
            yield remedy
