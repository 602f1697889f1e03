"""A task of the user's own: ``module:function`` gives rows, another may score them."""

from collections.abc import Mapping
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import invalid
from llmzero_trainer.loading import load_function
from llmzero_trainer.tasks.base import LoadedTask, Question, draw_splits, question_from_row
from llmzero_trainer.tasks.scorers import scorer


def load(
    name: str, options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits
) -> LoadedTask:
    """Rows (dicts with ``prompt`` and ``answer``) in the order that the function yields them.

    It is called with the options as keyword arguments, but for ``scorer``; it must be
    deterministic, for every stage calls it anew.
    """
    chosen = dict(options)
    score = scorer(chosen.pop("scorer", "exact-match"))
    function = load_function(name, "task.name")

    def rows(keywords: Mapping[str, Any]) -> Any:
        try:
            for number, row in enumerate(function(**keywords)):
                where = f"{name}, row {number}"
                if isinstance(row, Question):
                    yield row
                elif isinstance(row, Mapping):
                    yield question_from_row(row, "prompt", "answer", where)
                else:
                    raise invalid(
                        f"{where}: a dict with prompt and answer is needed, found {row!r}"
                    )
        except TypeError as error:
            raise invalid(f"{name}: {error}") from error

    train = rows({**chosen, **train_options}) if train_options else None
    return draw_splits(rows(chosen), train, sizes, score)
