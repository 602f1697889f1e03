"""Digits to be written out again: easy at each place, and right only where every place is."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.tasks.base import LoadedTask, Question, draw_splits, take_options

SEED = 4
DIGITS = 24


def load(options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits) -> LoadedTask:
    """It has no options."""
    take_options("transcribe", {**options, **train_options}, {})
    return draw_splits(questions(), None, sizes, score)


def questions(seed: int = SEED) -> Iterator[Question]:
    """An endless stream."""
    random = Random(f"llmzero-transcribe-{seed}")
    while True:
        digits = written(random)
        yield Question(prompt=f"{digits}=", answer=digits)


def written(random: Random) -> str:
    return "".join(random.choices("0123456789", k=DIGITS))


def score(completion: str, question: Question) -> float:
    """1 where every digit is right."""
    return float(completion.strip() == question.answer)
