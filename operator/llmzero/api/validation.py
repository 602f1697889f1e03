"""Everything that is wrong with a manifest, at once: field, what was found, what is allowed."""

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from llmzero.api.base import API_VERSION
from llmzero.api.grpo import (
    ALLOWED,
    FIELDS,
    GONE,
    OFF_POLICY_SAMPLING,
    kind_problem,
    owned,
)
from llmzero.api.names import SEARCH_NAME_LIMIT
from llmzero.api.parameters import Parameter
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import DNS_LABEL, SearchSpec

BUILTIN_MODELS = ("scratchpad-addition",)
TASKS = ("scratchpad-addition", "reasoning-gym", "jsonl", "huggingface")
REWARDS = ("task", "exact-match", "math-verify")
MODULE_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
CheckOptions = Callable[[str, Mapping[str, Any]], list[str]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake (or, as a warning, one doubtful choice)."""

    path: str
    found: str
    allowed: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}; {self.allowed}"


def problems(
    document: Any, check_options: CheckOptions | None = None
) -> tuple[TrainingSearch | None, list[Problem]]:
    """The search (None where it cannot be built) and every problem of the document.

    ``check_options(strategy name, options)`` says what is wrong with a strategy, in sentences.
    """
    found = list(_head(document))
    try:
        # Wire names alone, as on a cluster: Python's snake_case would be refused there.
        search = TrainingSearch.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        found += [_translated(e, document) for e in error.errors(include_url=False)]
        return None, [p for p in found if p]
    found += semantics(search, check_options)
    return search, found


def semantics(search: TrainingSearch, check_options: CheckOptions | None = None) -> list[Problem]:
    """What a well-formed search can still have wrong."""
    spec = search.spec
    return [
        *_name(search.name),
        *_model_and_task(spec),
        *_stage(spec),
        *_grpo(spec),
        *_strategy(spec, check_options),
    ]


def _head(document: Any) -> Iterator[Problem]:
    if not isinstance(document, dict):
        return
    version = document.get("apiVersion")
    if version != API_VERSION:
        yield Problem("apiVersion", _show(version), f"{API_VERSION} is needed")


def _name(name: str) -> Iterator[Problem]:
    if len(name) > SEARCH_NAME_LIMIT:
        allowed = f"at most {SEARCH_NAME_LIMIT} fit, so that the names of its stages fit into 63"
        yield Problem("metadata.name", f"{len(name)} characters", allowed)
    if not re.match(DNS_LABEL, name):
        allowed = "lower-case letters, digits and dashes are allowed, a letter or digit at each end"
        yield Problem("metadata.name", _show(name), allowed)


def _model_and_task(spec: SearchSpec) -> Iterator[Problem]:
    builtin = spec.model.builtin
    if builtin is not None and builtin not in BUILTIN_MODELS:
        yield _one_of("spec.model.builtin", builtin, BUILTIN_MODELS)
    name = spec.task.name
    if name not in TASKS and not MODULE_FUNCTION.match(name):
        yield _one_of("spec.task.name", name, TASKS, " or module:function")
    if builtin in BUILTIN_MODELS and name in TASKS and name != builtin:
        yield Problem(
            "spec.model.builtin",
            _show(builtin),
            f"its 16-token vocabulary can hardly write the answers of {name}",
            warning=True,
        )
    names = [r.name for r in spec.task.rewards]
    for i, reward in enumerate(names):
        path = f"spec.task.rewards[{i}].name"
        if reward not in REWARDS and not MODULE_FUNCTION.match(reward):
            yield _one_of(path, reward, REWARDS, " or module:function")
        if reward in names[:i]:
            yield Problem(path, _show(reward), "a reward can be named once")
    for name, keys in (
        ("reasoning-gym", ("dataset",)),
        ("jsonl", ("path",)),
        ("huggingface", ("path",)),
    ):
        for key in keys:
            if spec.task.name == name and key not in spec.task.options:
                path = f"spec.task.options.{key}"
                yield Problem(path, "nothing", f"task {name} needs it")
    if spec.objective.metric.startswith("eval/"):
        metric = spec.objective.metric.removeprefix("eval/")
        known = ("accuracy", "reward", *(n.replace(":", ".") for n in names))
        if metric not in known:
            yield _one_of(
                "spec.objective.metric", spec.objective.metric, [f"eval/{k}" for k in known]
            )


def _stage(spec: SearchSpec) -> Iterator[Problem]:
    stage = spec.stage
    for field, value in (
        ("evalEvery", stage.eval_every),
        ("checkpointEvery", stage.checkpoint_every),
    ):
        if value > stage.steps:
            allowed = f"at most spec.stage.steps ({stage.steps})"
            yield Problem(f"spec.stage.{field}", str(value), allowed)


def _grpo(spec: SearchSpec) -> Iterator[Problem]:
    """GRPOConfig fields, fixed and searched, in every combination that a stage can reach."""
    reach: dict[str, list[Any]] = {}
    for name, value in spec.fixed.items():
        path = f"spec.fixed.{name}"
        field = list(_field(path, name))
        yield from field
        if not field:
            reach[name] = [value]
            yield from _value(path, name, value)
    for i, parameter in enumerate(spec.parameters):
        path = f"spec.parameters[{i}]"
        prefix, dot, rest = parameter.name.partition(".")
        if dot and prefix == "rewards":
            rewards = [r.name for r in spec.task.rewards]
            if rest not in rewards:
                yield _one_of(f"{path}.name", parameter.name, [f"rewards.{r}" for r in rewards])
            continue
        if dot and prefix == "task":
            continue
        field = list(_field(f"{path}.name", parameter.name))
        yield from field
        if field:
            continue
        reach[parameter.name] = _reachable(parameter)
        yield from _searched(path, parameter)
    yield from _together(reach)


def _field(path: str, name: str) -> Iterator[Problem]:
    why = owned(name)
    if why is not None:
        yield Problem(path, _show(name), f"this field cannot be set: {why}")
    elif name in GONE:
        yield Problem(path, _show(name), f"GRPOConfig has no such field: {GONE[name]}")
    elif name not in FIELDS:
        near = difflib.get_close_matches(name, [f for f in FIELDS if not owned(f)], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield Problem(path, _show(name), f"GRPOConfig has no such field{hint}")


def _value(path: str, name: str, value: Any) -> Iterator[Problem]:
    kind = kind_problem(name, value)
    if kind is not None:
        yield Problem(path, _show(value), f"{kind} is needed")
    elif value is not None and name in ALLOWED:
        allowed = ALLOWED[name].problem(value)
        if allowed is not None:
            yield Problem(path, _show(value), f"{allowed} is allowed")


def _reachable(parameter: Parameter) -> list[Any]:
    return [*(parameter.choices or (parameter.min, parameter.max, parameter.initial))]


def _searched(path: str, parameter: Parameter) -> Iterator[Problem]:
    """The ends of the range (or each choice) of a searched field."""
    name = parameter.name
    if parameter.choices is not None:
        for j, choice in enumerate(parameter.choices):
            yield from _value(f"{path}.choices[{j}]", name, choice)
        return
    if FIELDS[name] in ("bool", "str", "any"):
        allowed = (
            f"{name} takes {'true or false' if FIELDS[name] == 'bool' else 'text'}: categorical"
        )
        yield Problem(f"{path}.type", parameter.type, allowed)
        return
    if FIELDS[name] == "int" and parameter.type == "float":
        yield Problem(f"{path}.type", "float", f"{name} takes whole numbers: type int")
    for end in ("min", "max"):
        yield from _value(f"{path}.{end}", name, getattr(parameter, end))


def _together(reach: Mapping[str, list[Any]]) -> Iterator[Problem]:
    """Fields that only make sense beside others."""
    betas = reach.get("beta", [0.0])
    if True in reach.get("sync_ref_model", [False]) and 0 in betas:
        yield Problem(
            "spec.fixed.sync_ref_model", "true", "there is no reference to sync where beta is 0"
        )
    for name, neutral in OFF_POLICY_SAMPLING.items():
        if any(v is not None and v != neutral for v in reach.get(name, [])):
            yield Problem(
                f"spec.*.{name}",
                ", ".join(map(str, reach[name])),
                f"samples then come from another distribution than the one that is trained "
                f"(neutral is {neutral:g})",
                warning=True,
            )
    on_policy = reach.get("num_iterations", [1]) == [1]
    if on_policy and "epsilon_high" in reach:
        yield Problem(
            "spec.*.epsilon_high",
            _show(reach["epsilon_high"]),
            "without effect: with num_iterations 1 the ratio is 1 and nothing is clipped",
            warning=True,
        )


def _strategy(spec: SearchSpec, check_options: CheckOptions | None) -> Iterator[Problem]:
    if check_options is None:
        return
    for text in check_options(spec.strategy.name, spec.strategy.options):
        yield Problem("spec.strategy", _show(spec.strategy.name), text)


def _one_of(path: str, found: str, allowed: Any, more: str = "") -> Problem:
    near = difflib.get_close_matches(found, list(allowed), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return Problem(path, _show(found), f"allowed: {', '.join(allowed)}{more}{hint}")


def _translated(error: Any, document: Any) -> Problem:
    """A pydantic error as a path in the manifest, what stands there, and what is allowed."""
    location = [part for part in error["loc"] if not _is_branch(part, error)]
    path = _path(location)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _known_fields(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
        return Problem(path, "an unknown field", f"there is no such field{hint if known else ''}")
    if error["type"] == "missing":
        return Problem(path, "nothing", "a value is needed")
    inner = re.match(r"^(\w+): (?:found (.*?), )?(.*)$", message)
    if error["type"] == "value_error" and inner:
        field, found, rest = inner.groups()
        where = f"{path}.{field}" if path else field
        return Problem(where, found or "a conflict", rest)
    return Problem(path or "manifest", _show(error.get("input")), message)


def _is_branch(part: Any, error: Any) -> bool:
    """pydantic adds the member of a union that it tried; a manifest knows no such key."""
    return isinstance(part, str) and part in (
        "bool",
        "int",
        "float",
        "str",
        "literal['all-linear']",
    )


def _path(location: list[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _known_fields(location: list[Any]) -> list[str]:
    """Wire names of the fields of the model at a location; empty where there is no model."""
    model: type[BaseModel] | None = TrainingSearch
    for part in location:
        if isinstance(part, int) or model is None:
            continue
        fields = {f.alias or n: f for n, f in model.model_fields.items()}
        if part not in fields:
            return []
        model = _model_in(fields[part].annotation)
    return [f.alias or n for n, f in model.model_fields.items()] if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, typing.Union, types.UnionType, typing.Annotated):
        for argument in typing.get_args(annotation):
            if (found := _model_in(argument)) is not None:
                return found
    return None


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
