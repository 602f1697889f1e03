"""Tasks by name: where questions come from and how answers are scored."""

import importlib
from collections.abc import Mapping
from typing import Any

from llmzero.api.catalog import TASKS
from llmzero.api.task import Task
from llmzero_trainer.errors import invalid
from llmzero_trainer.tasks.base import LoadedTask


def load(task: Task, train_options: Mapping[str, Any] | None = None) -> LoadedTask:
    """The task's four splits.

    ``train_options`` (searched ``task.*`` parameters) change the train split alone: every stage
    is scored on the same questions. Raises StageError (InvalidRequest, Storage).
    """
    own = dict(train_options or {})
    if ":" in task.name:
        from llmzero_trainer.tasks import function

        return function.load(task.name, task.options, own, task.splits)
    if task.name not in TASKS:
        raise invalid(
            f"task.name: found {task.name!r}, allowed are {', '.join(TASKS)} or module:function"
        )
    module = importlib.import_module(f"{__name__}.{task.name.replace('-', '_')}")
    loaded: LoadedTask = module.load(task.options, own, task.splits)
    return loaded


__all__ = ["LoadedTask", "load"]
