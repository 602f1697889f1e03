"""Any data set of reasoning-gym by name: endless questions, scored by the data set itself."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import invalid
from llmzero_trainer.tasks.base import LoadedTask, Question, draw_splits

SCORED_SEED = 1_000_003
TRAIN_SEED = 2_000_003
TRIES = 20
"""A split of n questions draws at most 20 n: small data sets repeat themselves."""


def load(options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits) -> LoadedTask:
    """Options: ``dataset`` (a name of reasoning-gym), ``seed``, and any field of its config."""
    if "dataset" not in options:
        raise invalid(
            "task.options.dataset: missing, a name of reasoning-gym (countdown) is needed"
        )
    if "dataset" in train_options:
        raise invalid("task.dataset: cannot be searched, the scored questions are of one data set")
    scored_size = sizes.held_out + sizes.promote + sizes.search
    scored = _Source(options, SCORED_SEED, TRIES * scored_size)
    train = _Source({**options, **train_options}, TRAIN_SEED, TRIES * sizes.train)

    def score(completion: str, question: Question) -> float:
        source, entry = question.entry
        return float(source.score(completion, entry))

    return draw_splits(scored, train, sizes, score)


class _Source:
    def __init__(self, options: Mapping[str, Any], seed: int, size: int) -> None:
        import reasoning_gym

        config = dict(options)
        name = str(config.pop("dataset"))
        shift = config.pop("seed", 0)
        if isinstance(shift, bool) or not isinstance(shift, int):
            raise invalid(f"task.options.seed: found {shift!r}, a whole number is needed")
        try:
            self._data = reasoning_gym.create_dataset(name, seed=seed + shift, size=size, **config)
        except (TypeError, ValueError, AssertionError) as error:
            raise invalid(f"task.options: reasoning-gym refuses {name!r}: {error}") from error

    def __iter__(self) -> Iterator[Question]:
        for index in range(len(self._data)):
            entry = self._data[index]
            yield Question(
                prompt=str(entry["question"]),
                answer="" if entry["answer"] is None else str(entry["answer"]),
                columns={"metadata": json.dumps(entry.get("metadata"), default=str)},
                entry=(self, entry),
            )

    def score(self, completion: str, entry: dict[str, Any]) -> float:
        """The data set's score of what stands in <answer> tags, or of the whole completion."""
        from reasoning_gym.utils import extract_answer

        answer = extract_answer(completion)
        said = completion.strip() if answer is None else answer
        try:
            return float(self._data.score_answer(said, entry))
        except Exception:  # a scorer that trips over what a model made up
            return 0.0
