"""Each setting by itself: GRPOConfig fields, fixed and searched, task options, reward weights."""

from collections.abc import Iterator
from typing import Any

from llmzero.api.catalog import DIGITS, TASKS
from llmzero.api.grpo import FIELDS, GONE, owned
from llmzero.api.grpo_values import value_problem
from llmzero.api.parameters import Parameter
from llmzero.api.task import reward_names
from llmzero.api.validation.parts import Parts
from llmzero.api.validation.problem import Problem, hint, one_of, show

TASK, REWARD = "task.", "rewards."


def setting_problems(parts: Parts) -> Iterator[Problem]:
    for name, value in parts.fixed.items():
        path = f"spec.fixed.{name}"
        if name.startswith((TASK, REWARD)):
            where = "spec.task.options" if name.startswith(TASK) else "spec.task.rewards[].weight"
            yield Problem(path, show(value), f"fixed holds GRPOConfig fields: use {where}")
            continue
        wrong = list(_field(path, name))
        yield from wrong or _value(path, name, value)
    for i, parameter in parts.parameters:
        path = f"spec.parameters[{i}]"
        if parameter.name.startswith(REWARD):
            yield from _weight(path, parameter, parts)
        elif parameter.name.startswith(TASK):
            yield from _option(path, parameter, parts)
        else:
            wrong = list(_field(f"{path}.name", parameter.name))
            yield from wrong or _searched(path, parameter)
    for path, name, value in parts.scheduled():
        if name.startswith((TASK, REWARD)):
            yield from _declared(path, name, value, parts)
        else:
            wrong = list(_field(path, name))
            yield from wrong or _value(path, name, value)


def _field(path: str, name: str) -> Iterator[Problem]:
    why = owned(name)
    if why is not None:
        yield Problem(path, show(name), f"this field cannot be set: {why}")
    elif name in GONE:
        yield Problem(path, show(name), f"GRPOConfig has no such field: {GONE[name]}")
    elif name not in FIELDS:
        near = hint(name, [f for f in FIELDS if not owned(f)])
        yield Problem(path, show(name), f"GRPOConfig has no such field{near}")


def _value(path: str, name: str, value: Any) -> Iterator[Problem]:
    wrong = value_problem(name, value)
    if wrong is not None:
        yield Problem(path, show(value), wrong)


def _declared(path: str, name: str, value: Any, parts: Parts) -> Iterator[Problem]:
    """What a schedule sets of the task or a reward: its range is that of spec.parameters."""
    known = {p.name: p for _, p in parts.parameters}
    if name in known:
        wrong = known[name].problem_with(value)
        if wrong is not None:
            yield Problem(path, show(value), wrong)
    elif parts.whole:
        near = hint(name, known)
        yield Problem(path, show(name), f"declare it in spec.parameters, with its range{near}")


def _searched(path: str, parameter: Parameter) -> Iterator[Problem]:
    """The ends of the range (or each choice) of a searched field."""
    name, kind = parameter.name, FIELDS[parameter.name]
    if parameter.choices is not None:
        for j, choice in enumerate(parameter.choices):
            yield from _value(f"{path}.choices[{j}]", name, choice)
        return
    if kind not in ("int", "float"):
        takes = {"bool": "true or false", "str": "text"}.get(kind, "no plain number")
        yield Problem(f"{path}.type", parameter.type, f"{name} takes {takes}: type categorical")
        return
    if kind == "int" and parameter.type == "float":
        yield Problem(f"{path}.type", "float", f"{name} takes whole numbers: type int")
        return
    for end in ("min", "max"):
        yield from _value(f"{path}.{end}", name, getattr(parameter, end))


def _weight(path: str, parameter: Parameter, parts: Parts) -> Iterator[Problem]:
    if parts.task is not None:
        known = [f"{REWARD}{n}" for n in reward_names(parts.task.rewards)]
        if parameter.name not in known:
            yield one_of(f"{path}.name", parameter.name, known)
    for j, choice in enumerate(parameter.choices or []):
        if isinstance(choice, bool | str):
            yield Problem(f"{path}.choices[{j}]", show(choice), "a weight is a number")
    if parts.objective is not None and parts.objective.metric == "eval/reward":
        yield Problem(
            f"{path}.name",
            show(parameter.name),
            "the objective eval/reward would weigh the rewards of each stage differently: use "
            "eval/accuracy or eval/<reward name>",
        )


def _option(path: str, parameter: Parameter, parts: Parts) -> Iterator[Problem]:
    if parts.task is None or parts.task.name not in TASKS:
        return
    task, option = parts.task.name, parameter.name.removeprefix(TASK)
    known = TASKS[task]
    if not known.searchable(option):
        can = [f"{TASK}{o}" for o in known.options or () if known.searchable(o)]
        words = f"allowed: {', '.join(can)}" if can else "no option like this can be searched"
        yield Problem(f"{path}.name", show(parameter.name), f"task {task}: {words}")
        return
    values: list[Any] = [*(parameter.choices or (parameter.min, parameter.max))]
    if option in known.shares:
        if not all(isinstance(v, int | float) and 0 <= v <= 1 for v in values):
            yield Problem(path, show(values), f"{option} is a number from 0 to 1")
        return
    whole = parameter.type != "float" and all(v in DIGITS for v in values)
    if task == "scratchpad-addition" and not whole:
        words = f"{option} is a whole number from {DIGITS[0]} to {DIGITS[-1]}"
        yield Problem(path, show(values), words)
