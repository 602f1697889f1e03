"""A Hugging Face data set, from a directory or a hub name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import invalid, storage
from llmzero_trainer.tasks.base import (
    LoadedTask,
    draw_splits,
    question_from_row,
    shuffled,
    take_options,
)
from llmzero_trainer.tasks.scorers import scorer

OPTIONS = {
    "path": None,
    "name": None,
    "split": "train",
    "revision": None,
    "prompt_column": "prompt",
    "answer_column": "answer",
    "scorer": "exact-match",
    "seed": 0,
}


def load(options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits) -> LoadedTask:
    """Options: those of jsonl, and ``name``, ``split``, ``revision`` as in ``load_dataset``."""
    if train_options:
        raise invalid(f"task.{sorted(train_options)[0]}: options of huggingface cannot be searched")
    chosen = take_options("huggingface", options, OPTIONS)
    if not chosen["path"]:
        raise invalid("task.options.path: missing, a directory or a hub name is needed")
    rows = _rows(chosen)
    where = f"{chosen['path']}[{chosen['split']}]"
    questions = (
        question_from_row(
            rows[i], chosen["prompt_column"], chosen["answer_column"], f"{where}, row {i}"
        )
        for i in shuffled(len(rows), chosen["seed"])
    )
    return draw_splits(questions, None, sizes, scorer(chosen["scorer"]))


def _rows(chosen: Mapping[str, Any]) -> Any:
    import datasets

    path, split = str(chosen["path"]), chosen["split"]
    try:
        if (Path(path) / "dataset_dict.json").exists():
            return datasets.load_from_disk(path)[split]
        if (Path(path) / "dataset_info.json").exists():
            return datasets.load_from_disk(path)
        return datasets.load_dataset(path, chosen["name"], split=split, revision=chosen["revision"])
    except (KeyError, ValueError) as error:
        raise invalid(f"task.options: data set {path!r}: {error}") from error
    except (OSError, ConnectionError) as error:
        raise storage(f"task.options.path: data set {path!r}: {error}") from error
