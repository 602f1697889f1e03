"""Options of a strategy: a check for each, with answers that name the key and what is allowed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], str | None]
"""What is wrong with a value, in words; None where it is allowed."""
Options = Mapping[str, Check]


def problems(options: Mapping[str, Any], allowed: Options, strategy: str) -> list[str]:
    """Every mistake in ``options``, each as a sentence with the field's path."""
    found = []
    for key, value in options.items():
        where = f"strategy.options.{key}"
        if key not in allowed:
            names = ", ".join(sorted(allowed)) or "none"
            found.append(f"{where}: unknown; strategy {strategy} has the options: {names}")
        elif problem := allowed[key](value):
            found.append(f"{where}: {problem}")
    return found


def boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"found {value!r}, allowed are true and false"


def share(value: Any) -> str | None:
    """A number from 0 to 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if number and 0 <= value <= 1 else f"found {value!r}, allowed is 0 to 1"


def one_of(*names: str) -> Check:
    def check(value: Any) -> str | None:
        return None if value in names else f"found {value!r}, allowed are {', '.join(names)}"

    return check


def points(value: Any) -> str | None:
    """A whole number of values a dimension, or a map from parameter names to such numbers."""
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 1000:
            return f"found {number!r}, a whole number from 1 to 1000 is needed"
    return None


def whole(low: int, high: int) -> Check:
    """A whole number from ``low`` to ``high``."""

    def check(value: Any) -> str | None:
        inside = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if inside else f"found {value!r}, a whole number from {low} to {high} is needed"

    return check


def number(low: float, high: float) -> Check:
    """A number from ``low`` to ``high``."""

    def check(value: Any) -> str | None:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        inside = plain and low <= value <= high
        return None if inside else f"found {value!r}, a number from {low:g} to {high:g} is needed"

    return check


def division(parts: Sequence[str]) -> Check:
    """A mapping with a share from 0 to 1 for each part, together 1."""

    def check(value: Any) -> str | None:
        if not isinstance(value, Mapping) or set(value) != set(parts):
            return f"found {value!r}, a share for each of {', '.join(parts)} is needed"
        for part, item in value.items():
            if problem := share(item):
                return f"{part}: {problem}"
        total = sum(value.values())
        return None if abs(total - 1) < 1e-6 else f"the shares add up to {total:g}, 1 is needed"

    return check


def fractions(value: Any) -> str | None:
    """A list of numbers above 0 and at most 1, none twice."""
    if not isinstance(value, list) or not value:
        return f"found {value!r}, a list of numbers above 0 and at most 1 is needed"
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 < item <= 1:
            return f"found {item!r}, a number above 0 and at most 1 is needed"
    return "a value stands twice" if len(set(value)) < len(value) else None
