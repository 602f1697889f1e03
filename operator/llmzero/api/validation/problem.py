"""One mistake, and the words for it."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake (or, as a warning, one doubtful choice).

    path: as kubectl writes it, ``spec.parameters[0].min``.
    """

    path: str
    found: str
    allowed: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}; {self.allowed}"


def show(value: Any) -> str:
    """A value as a manifest has it, cut short."""
    if isinstance(value, str):
        text = repr(value)
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def hint(found: object, names: Iterable[str]) -> str:
    """``; did you mean X?`` where a name is near, else nothing."""
    near = difflib.get_close_matches(str(found), list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def one_of(path: str, found: str, allowed: Iterable[str], more: str = "") -> Problem:
    """``found`` is none of the allowed names."""
    names = list(allowed)
    return Problem(path, show(found), f"allowed: {', '.join(names)}{more}{hint(found, names)}")
