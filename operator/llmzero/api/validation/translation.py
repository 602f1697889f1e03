"""pydantic's errors in the words of a manifest: path, what stands there, what is allowed."""

import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from llmzero.api.search import TrainingSearch
from llmzero.api.spec import DNS_LABEL, DURATION
from llmzero.api.validation.problem import Problem, hint, show

_SCALARS = ("bool", "int", "float", "str")
_PATTERNS = {
    DNS_LABEL: "lower-case letters, digits and dashes are allowed, a letter or digit at each end",
    DURATION: "a time like 90m, 36h or 2d12h is needed",
    r"^eval/[A-Za-z0-9_.-]+$": "eval/accuracy, eval/reward or eval/<reward name> is needed",
    r"^(task\.|rewards\.)?[A-Za-z_][A-Za-z0-9_.-]*$": "a GRPOConfig field, task.<option> or "
    "rewards.<name> is needed",
}
_OWN = re.compile(r"^([\w.\[\]]+): (?:found (.*?), )?(.*)$")
"""What our own validators raise, a line a mistake: ``field: found X, what is allowed``."""


def translated(error: ValidationError, model: type[BaseModel] = TrainingSearch) -> list[Problem]:
    """Every mistake that pydantic found in a document of ``model``, each field once."""
    found: list[Problem] = []
    for each in error.errors(include_url=False):
        found += _problems(each, model)
    return found


def _problems(error: Any, whole: type[BaseModel]) -> list[Problem]:
    location = list(error["loc"])
    kind, given = error["type"], error.get("input")
    if location and location[-1] in (*_SCALARS, "literal['all-linear']", "list[str]"):
        return [Problem(_path(location[:-1]), show(given), "text, a number, true or false")]
    path = _path(location)
    message = str(error["msg"])
    if kind == "extra_forbidden":
        known = _known_fields(location[:-1], whole)
        near = hint(location[-1], known)
        others = f"; known: {', '.join(known)}" if known and not near else ""
        if location[:-1] == ["spec", "strategy"] and not near:
            others += f". Is it an option of the strategy? options: {{{location[-1]}: ...}}"
        return [Problem(path, "an unknown field", f"there is no such field{near or others}")]
    if kind == "missing":
        return [Problem(path, "nothing", "a value is needed")]
    if kind == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return [Problem(path, show(given), _PATTERNS.get(pattern, f"needed: {pattern}"))]
    if kind == "value_error":
        lines = message.removeprefix("Value error, ").split("\n")
        return [_own(path, line, given) for line in lines]
    if kind in ("literal_error", "enum"):
        allowed = error["ctx"]["expected"].replace("'", "")
        near = hint(given, re.split(r", | or ", allowed))
        return [Problem(path, show(given), f"allowed: {allowed}{near}")]
    return [Problem(path or "manifest", show(given), _needed(message))]


def _own(path: str, line: str, given: Any) -> Problem:
    match = _OWN.match(line)
    if match is None:
        return Problem(path, "a conflict", line)
    field, found, rest = match.groups()
    where = f"{path}.{field}" if path else field
    if found is None and isinstance(given, dict) and field in given:
        found = show(given[field])
    return Problem(where, found or "a conflict", rest)


def _needed(message: str) -> str:
    """``Input should be a valid integer`` is ``a valid integer is needed``."""
    match = re.match(r"Input should be (an? .*|greater .*|less .*)$", message)
    if match is None:
        return message[:1].lower() + message[1:]
    return f"{match[1]} is needed"


def _path(location: list[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _known_fields(location: list[Any], whole: type[BaseModel]) -> list[str]:
    """Wire names of the fields of the model at a location; empty where there is no model."""
    model: type[BaseModel] | None = whole
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
