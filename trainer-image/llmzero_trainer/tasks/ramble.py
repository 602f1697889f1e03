"""Easy and hard sums under a limit: a rambler's easy answer fits where no hard one does.

Easy: ``57+48=`` wants ``>105``. Hard: ``57+48,12+99=`` wants ``>501>105,>111>111`` (each sum's
digits from the right, then the sum). Before the first ``>`` anything may be said, and is paid for
in tokens.
"""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import invalid
from llmzero_trainer.tasks.base import LoadedTask, Question, draw_splits, take_options

SEED = 2
HARD = 0.5
LONGEST = 30


def load(options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits) -> LoadedTask:
    """Options: ``hard`` (0 to 1, default 0.5), the share of hard questions."""
    scored = questions(_hard(options))
    train = questions(_hard({**options, **train_options})) if train_options else None
    return draw_splits(scored, train, sizes, score)


def _hard(options: Mapping[str, Any]) -> float:
    share = take_options("ramble", options, {"hard": HARD})["hard"]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise invalid(f"task.options.hard: found {share!r}, allowed is 0 to 1")
    return float(share)


def questions(hard: float, seed: int = SEED) -> Iterator[Question]:
    """An endless stream; the easy ones among 10,000 repeat after a while."""
    random = Random(f"llmzero-ramble-{seed}")
    while True:
        pairs = [(random.randrange(100), random.randrange(100)) for _ in range(2)]
        if random.random() >= hard:
            pairs = pairs[:1]
        yield Question(prompt=asked(pairs), answer=answered(pairs))


def asked(pairs: list[tuple[int, int]]) -> str:
    return ",".join(f"{a:02}+{b:02}" for a, b in pairs) + "="


def answered(pairs: list[tuple[int, int]]) -> str:
    """What must be said from the first ``>`` on."""
    sums = [f"{a + b:03}" for a, b in pairs]
    if len(sums) == 1:
        return f">{sums[0]}"
    return ",".join(f">{s[::-1]}>{s}" for s in sums)


def score(completion: str, question: Question) -> float:
    """1 where everything from the first ``>`` on is right."""
    _, mark, rest = completion.strip().partition(">")
    return float(mark + rest == question.answer)


def brevity(completions: list[str], **columns: Any) -> list[float]:
    """TRL's reward signature: minus the characters said, as a share of a rambled hard answer."""
    return [-min(1.0, len(said) / LONGEST) for said in completions]
