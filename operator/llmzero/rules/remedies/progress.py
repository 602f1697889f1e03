"""Where reward and evaluation part, or nothing moves."""

from collections.abc import Iterator

from llmzero.dynamics.thresholds import THRESHOLDS
from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.moves import HOLDING, together
from llmzero.rules.remedies.policy import entropy_up


def hacking(f: Finding) -> Iterator[Remedy]:
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


def overfit(f: Finding) -> Iterator[Remedy]:
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


def plateau(f: Finding) -> Iterator[Remedy]:
    p, expected = f.p, {"reward": 0.02}
    if f.feature("entropy_end", 1.0) < 2 * THRESHOLDS.entropy_low(f.stage.features):
        yield from entropy_up(f)
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
