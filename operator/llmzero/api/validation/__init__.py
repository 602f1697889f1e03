"""Everything that is wrong with a manifest, at once: field, what was found, what is allowed."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from llmzero.api.search import TrainingSearch
from llmzero.api.validation.parts import Parts
from llmzero.api.validation.problem import Problem
from llmzero.api.validation.sections import section_problems
from llmzero.api.validation.settings import setting_problems
from llmzero.api.validation.together import combination_problems
from llmzero.api.validation.translation import translated

__all__ = ["CheckOptions", "Problem", "problems", "semantics"]

CheckOptions = Callable[[str, Mapping[str, Any]], list[str]]
"""What is wrong with a strategy's name and options, in sentences."""


def problems(
    document: Any, check_options: CheckOptions | None = None
) -> tuple[TrainingSearch | None, list[Problem]]:
    """The search (None where it cannot be built) and every problem of the document.

    Sections that can be read are judged even where others cannot.
    """
    search, found = None, []
    try:
        # Strict JSON with wire names, as an API server reads it: no "5" for 5, no snake_case.
        text = json.dumps(document)
        search = TrainingSearch.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        found = translated(error)
    except (TypeError, ValueError) as error:
        return None, [Problem("manifest", type(document).__name__, f"JSON data is needed: {error}")]
    parts = Parts.of(search) if search else Parts.readable(document)
    found += _judged(parts, check_options)
    return search, _once(found)


def semantics(search: TrainingSearch, check_options: CheckOptions | None = None) -> list[Problem]:
    """What a well-formed search can still have wrong."""
    return _once(_judged(Parts.of(search), check_options))


def _judged(parts: Parts, check_options: CheckOptions | None) -> list[Problem]:
    found = [*section_problems(parts), *setting_problems(parts), *combination_problems(parts)]
    strategy = parts.strategy
    if strategy is not None and check_options is not None:
        for text in check_options(strategy.name, strategy.options):
            found.append(Problem("spec.strategy", repr(strategy.name), text))
    return found


def _once(found: list[Problem]) -> list[Problem]:
    """Mistakes before warnings, each once."""
    return sorted(dict.fromkeys(found), key=lambda p: p.warning)
