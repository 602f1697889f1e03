"""Tasks by name: where questions come from and how answers are scored."""

from collections.abc import Mapping
from typing import Any

from llmzero.api.spec import Task
from llmzero_trainer.errors import invalid
from llmzero_trainer.tasks.base import LoadedTask


def load(task: Task, train_options: Mapping[str, Any] | None = None) -> LoadedTask:
    """The task's four splits.

    ``train_options`` (searched ``task.*`` parameters) change the train split alone: every stage
    is scored on the same questions. Raises StageError (InvalidRequest, Storage).
    """
    own = dict(train_options or {})
    match task.name:
        case "scratchpad-addition":
            from llmzero_trainer.tasks import scratchpad_addition as module
        case "reasoning-gym":
            from llmzero_trainer.tasks import reasoning_gym as module
        case "jsonl":
            from llmzero_trainer.tasks import jsonl as module
        case "huggingface":
            from llmzero_trainer.tasks import huggingface as module
        case name if ":" in name:
            from llmzero_trainer.tasks import function

            return function.load(name, task.options, own, task.splits)
        case name:
            raise invalid(
                f"task.name: found {name!r}, allowed are scratchpad-addition, reasoning-gym, "
                "jsonl, huggingface or module:function"
            )
    return module.load(task.options, own, task.splits)


__all__ = ["LoadedTask", "load"]
