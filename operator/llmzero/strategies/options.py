"""Options of a strategy: a check for each, with answers that name the key and what is allowed."""

from collections.abc import Callable, Mapping
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
