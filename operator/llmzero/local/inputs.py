"""What a manifest names and the trainer will not find on this machine, told before it is loaded.

Judged as the trainer looks: paths and modules from the working directory, ``~`` taken as it
stands. What may be a name on a hub is left to the hub and its cache.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmzero.api.catalog import MODULE_FUNCTION, TASKS
from llmzero.api.spec import SearchSpec
from llmzero.api.task import ModelSource, Task
from llmzero.api.validation.problem import Problem, show
from llmzero.local.functions import function_problem, has_module, search_folders


def input_problems(spec: SearchSpec, beside: Path | None = None) -> list[Problem]:
    """Files, directories and functions that are not here. No code of the user's is run.

    ``beside``: the manifest's folder, to say where something lies that is looked for elsewhere.
    """
    return [
        *_model(spec.model, beside),
        *_questions(spec.task, beside),
        *_functions(spec.task, beside),
    ]


def _model(model: ModelSource, beside: Path | None) -> Iterator[Problem]:
    given = model.path
    if given is None or os.path.isdir(given):
        return
    field = "spec.model.path"
    if _is_local(given) or given.count("/") > 1:  # a name on the hub has one slash at most
        if os.path.exists(given):
            yield Problem(field, show(given), "it is a file, a directory is needed")
        else:
            yield Problem(field, show(given), _no("directory", given, beside))
        return
    folder = given.partition("/")[0]
    if "/" in given and os.path.isdir(folder):
        words = f"no such directory, though {folder} is one in the working directory"
        hub = "the model of that name on the hub is taken"
        yield Problem(field, show(given), f"{words} ({os.getcwd()}): {hub}", warning=True)


def _questions(task: Task, beside: Path | None) -> Iterator[Problem]:
    given = task.options.get("path")
    field = "spec.task.options.path"
    if not given or task.name not in ("jsonl", "huggingface"):
        return
    if not isinstance(given, str):
        yield Problem(field, show(given), "text is needed")
    elif task.name == "huggingface":
        if _is_local(given) and not os.path.exists(os.path.expanduser(given)):
            yield Problem(field, show(given), _no("directory", given, beside))
    elif os.path.isdir(given):
        yield Problem(field, show(given), "it is a directory, a JSONL file is needed")
    elif not os.path.exists(given):
        yield Problem(field, show(given), _no("file", given, beside))


def _functions(task: Task, beside: Path | None) -> Iterator[Problem]:
    folders = search_folders()
    for field, name in _named(task):
        if not isinstance(name, str) or not MODULE_FUNCTION.match(name):
            continue
        problem = function_problem(name, folders)
        if problem is None:
            continue
        module = name.partition(":")[0]
        if beside is not None and problem.startswith("no module"):
            folder = os.path.abspath(beside)
            if folder not in folders and has_module(module, [folder]):
                problem += f"; it lies next to the manifest: run in {folder}"
        yield Problem(field, show(name), problem)


def _named(task: Task) -> Iterator[tuple[str, Any]]:
    """(field, name) of all that may be a function of the user's."""
    yield "spec.task.name", task.name
    if task.name in ("jsonl", "huggingface") or task.name not in TASKS:
        yield "spec.task.options.scorer", task.options.get("scorer")
    for i, reward in enumerate(task.rewards):
        yield f"spec.task.rewards[{i}].name", reward.name


def _is_local(path: str) -> bool:
    """Nothing on a hub begins like this."""
    return path.startswith(("/", ".", "~"))


def _no(what: str, path: str, beside: Path | None) -> str:
    """``no such file`` and where it was looked for."""
    if path.startswith("~"):
        return f"no such {what}: ~ is not expanded here, write the whole path"
    if os.path.isabs(path):
        return f"no such {what} on this machine"
    words = f"no such {what} in the working directory ({os.getcwd()})"
    if beside is not None and (beside / path).exists():
        words += f"; it lies next to the manifest: run in {os.path.abspath(beside)}"
    return words
