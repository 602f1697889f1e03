"""What a task is: questions in four disjoint splits, and a scorer."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import invalid

Message = dict[str, Any]
Scorer = Callable[[str, "Question"], float]
"""Score of a completion's text in 0..1; 1 counts as right for eval/accuracy."""

RESERVED_COLUMNS = frozenset(
    {"completion", "completions", "completion_ids", "prompts", "trainer_state", "log_extra"}
    | {"log_metric", "environments", "environment", "images", "image"}
)
"""Column names that TRL hands to reward functions itself, or reads as pictures."""


@dataclass(frozen=True)
class Question:
    """One question.

    prompt: text, or chat messages. answer: what the scorer compares with. columns: further
    values, handed to reward functions by name. entry: for the task's own scorer alone.
    """

    prompt: str | list[Message]
    answer: Any
    columns: Mapping[str, Any] = field(default_factory=dict)
    entry: Any = None

    @property
    def key(self) -> str:
        """Two questions with one key are the same question."""
        return self.prompt if isinstance(self.prompt, str) else repr(self.prompt)


@dataclass(frozen=True)
class LoadedTask:
    """A task with its splits drawn. The scored splits do not depend on the train options."""

    train: Sequence[Question]
    search: Sequence[Question]
    promote: Sequence[Question]
    held_out: Sequence[Question]
    score: Scorer

    def split(self, name: str) -> Sequence[Question]:
        """train, search, promote or heldOut."""
        return {
            "train": self.train,
            "search": self.search,
            "promote": self.promote,
            "heldOut": self.held_out,
        }[name]


def draw_splits(
    scored: Iterable[Question], train: Iterable[Question] | None, sizes: Splits, score: Scorer
) -> LoadedTask:
    """Four splits that share no prompt, held-out questions drawn first.

    ``scored`` feeds heldOut, promote and search in this order, so none of them moves when a
    later one is resized; then ``train`` (or what is left of ``scored``) feeds the train split.
    Both are deterministic streams. Raises StageError (InvalidRequest) where they run dry.
    """
    seen: set[str] = set()
    stream = iter(scored)
    held_out = _take(stream, sizes.held_out, seen, "heldOut")
    promote = _take(stream, sizes.promote, seen, "promote")
    search = _take(stream, sizes.search, seen, "search")
    source = stream if train is None else iter(train)
    train_questions = list(_unseen(source, sizes.train, seen))
    if not train_questions:
        raise invalid("task: no question is left for the train split")
    return LoadedTask(train_questions, search, promote, held_out, score)


def _take(stream: Iterator[Question], size: int, seen: set[str], name: str) -> list[Question]:
    taken = list(_unseen(stream, size, seen))
    if len(taken) < size:
        raise invalid(
            f"task.splits.{name}: {size} questions are asked for, {len(taken)} are left after "
            "the splits before it (order: heldOut, promote, search, train; one prompt counts once)"
        )
    return taken


def _unseen(stream: Iterator[Question], size: int, seen: set[str]) -> Iterator[Question]:
    left = size
    while left > 0:
        question = next(stream, None)
        if question is None:
            return
        if question.key not in seen:
            seen.add(question.key)
            left -= 1
            yield question


def shuffled(count: int, seed: int) -> list[int]:
    """A permutation of ``range(count)``, the same on every machine."""
    order = list(range(count))
    random.Random(f"llmzero-splits-{seed}").shuffle(order)
    return order


def question_from_row(
    row: Mapping[str, Any], prompt_column: str, answer_column: str, where: str
) -> Question:
    """A row of a file or data set as a question; all further columns go to the rewards.

    Raises StageError (InvalidRequest) that names the row.
    """
    if prompt_column not in row:
        raise invalid(f"{where}: no column {prompt_column!r}, found {sorted(row)}")
    prompt = row[prompt_column]
    messages = isinstance(prompt, list) and all(
        isinstance(m, dict) and "role" in m and "content" in m for m in prompt
    )
    if not isinstance(prompt, str) and not (messages and prompt):
        raise invalid(
            f"{where}: {prompt_column} must be text or a list of chat messages, found {prompt!r}"
        )
    columns = {k: v for k, v in row.items() if k not in (prompt_column, answer_column)}
    reserved = sorted(RESERVED_COLUMNS & set(columns))
    if reserved:
        raise invalid(f"{where}: column {reserved[0]!r} has a name that TRL uses itself: rename it")
    return Question(prompt=prompt, answer=row.get(answer_column), columns=columns)


def take_options(
    task: str, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Options over their defaults. Raises StageError for a name that the task does not know."""
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise invalid(
            f"task.options.{unknown[0]}: {task} does not know it, allowed are {sorted(defaults)}"
        )
    return {**defaults, **options}
