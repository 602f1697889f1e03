"""JSON from a stranger: bounded, finite, without duplicate keys, or a ValueError that says why."""

import json
import math
from typing import Any, NoReturn

BODY_BYTES = 1024 * 1024
"""Largest request or answer that is read."""


def loads(data: bytes, limit: int = BODY_BYTES) -> Any:
    """Parse ``data``. Raises ValueError: too large, not UTF-8, not JSON, NaN or infinite
    numbers, a key that stands twice, nested too deeply."""
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes, at most {limit} are read")
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_constant=_not_finite,
            parse_float=_finite,
            parse_int=_short,
        )
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key[:64]!r} stands twice in one object")
        result[key] = value
    return result


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"found {text}, only finite numbers are allowed")


def _short(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"found a whole number of {len(text)} digits, at most 20 are read")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"found {text[:32]}, only finite numbers are allowed")
    return number
