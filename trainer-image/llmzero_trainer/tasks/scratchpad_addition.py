"""Addition with an optional scratchpad: the tiny task that learns on a CPU.

``57+48=`` may be answered directly (``105``) or by way of a scratchpad (``>501>105``: the digits
reversed, then the answer). What follows the last ``>`` counts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import invalid
from llmzero_trainer.tasks.base import (
    LoadedTask,
    Question,
    draw_splits,
    shuffled,
    take_options,
)

DIGITS = 2
"""Digits of the operands that the tiny model has seen; more have never been shown to it."""
SEED = 0


def load(options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits) -> LoadedTask:
    """Options: ``digits`` (1 to 3), the most that an operand has."""
    scored = questions(_digits(options))
    train = questions(_digits({**options, **train_options})) if train_options else None
    return draw_splits(scored, train, sizes, score)


def _digits(options: Mapping[str, Any]) -> int:
    digits = take_options("scratchpad-addition", options, {"digits": DIGITS})["digits"]
    if isinstance(digits, bool) or digits not in (1, 2, 3):
        raise invalid(f"task.options.digits: found {digits!r}, allowed is 1 to 3")
    return int(digits)


def questions(digits: int) -> Iterator[Question]:
    """All pairs in a fixed shuffled order."""
    base = 10**digits
    for index in shuffled(base * base, SEED):
        a, b = divmod(index, base)
        yield Question(prompt=f"{a}+{b}=", answer=str(a + b))


def score(completion: str, question: Question) -> float:
    """1 where what follows the last ``>`` is the sum."""
    return float(completion.rsplit(">", 1)[-1].strip() == question.answer)
