"""Against what breaks a stage: memory, numbers, gradients."""

from collections.abc import Iterator

from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.moves import together


def memory(f: Finding) -> Iterator[Remedy]:
    p = f.p
    why = "the stage ran out of memory after the whole ladder"
    sizes = ("per_device_train_batch_size", "num_generations", "max_completion_length")
    for name in sizes:  # length last: it is what answers are made of
        yield Remedy(together(p.shrink(name)), f"{why}: less of {name}", {}, why)


def calm(f: Finding) -> Iterator[Remedy]:
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
