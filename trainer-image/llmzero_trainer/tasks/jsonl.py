"""A JSONL file of the user's: prompt, answer, and any further columns for the rewards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmzero.api.task import Splits
from llmzero_trainer.errors import from_os_error, invalid, storage
from llmzero_trainer.tasks.base import (
    LoadedTask,
    Question,
    draw_splits,
    question_from_row,
    shuffled,
    take_options,
)
from llmzero_trainer.tasks.scorers import scorer

OPTIONS = {
    "path": None,
    "prompt_column": "prompt",
    "answer_column": "answer",
    "scorer": "exact-match",
    "seed": 0,
}


def load(options: Mapping[str, Any], train_options: Mapping[str, Any], sizes: Splits) -> LoadedTask:
    """Options: ``path``, ``prompt_column``, ``answer_column``, ``scorer``, ``seed`` (of splits)."""
    if train_options:
        raise invalid(f"task.{sorted(train_options)[0]}: options of jsonl cannot be searched")
    chosen = take_options("jsonl", options, OPTIONS)
    if not chosen["path"]:
        raise invalid("task.options.path: missing, the path of a JSONL file is needed")
    found = read(Path(chosen["path"]), chosen["prompt_column"], chosen["answer_column"])
    order = shuffled(len(found), chosen["seed"])
    return draw_splits((found[i] for i in order), None, sizes, scorer(chosen["scorer"]))


def read(path: Path, prompt_column: str, answer_column: str) -> list[Question]:
    """All rows. Raises StageError: Storage for a missing file, InvalidRequest naming the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise storage(f"{path.absolute()}: no such file (task.options.path)") from error
    except UnicodeDecodeError as error:
        raise invalid(f"{path}: not UTF-8: {error}") from error
    except OSError as error:
        raise from_os_error(error, path) or storage(f"{path}: {error}") from error
    questions = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise invalid(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise invalid(f"{path}:{number}: a JSON object is needed, found {line[:60]!r}")
        questions.append(question_from_row(row, prompt_column, answer_column, f"{path}:{number}"))
    if not questions:
        raise invalid(f"{path}: no rows")
    return questions
