"""How far one transition may move one parameter.

Source: reference grpo-pathologies ("bound each change": lr x[0.3, 2], beta x[0.3, 5],
temperature +-0.2). The rule for all other parameters is ours: a factor of at most 3, or 0.35 of
the declared range, whichever allows more. A list of choices can be coarser than any of these: the
choice next to the old one is always in reach.
"""

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter

FACTORS = {"learning_rate": (0.3, 2.0), "beta": (0.3, 5.0)}
SHIFTS = {"temperature": 0.2}
OTHER_FACTOR = 3.0
OTHER_RANGE = 0.35
FROM_ZERO = 0.05
"""Largest new value of a factor-bounded parameter that stands at 0 (a factor of 0 is 0)."""
_SLACK = 1e-6


def beyond_bounds(parameter: Parameter, old: Scalar, new: Scalar) -> str | None:
    """Why the step from ``old`` to ``new`` is too large, in words; None where it is allowed.

    Both values are inside the dimension already. Choices without an order (text, bool) are free.
    """
    if not _number(old) or not _number(new):
        return None
    if parameter.choices is not None and _neighbours(parameter, old, new):
        return None
    a, b = float(old), float(new)
    if parameter.name in FACTORS:
        low, high = FACTORS[parameter.name]
        if a == 0:
            allowed = 0 <= b <= FROM_ZERO
            limits = f"0 to {FROM_ZERO:g} in one step from 0"
        else:
            allowed = low * a * (1 - _SLACK) <= b <= high * a * (1 + _SLACK)
            # Down to a bound of the space (0 for beta) would need endless steps of a factor.
            allowed = allowed or (b == 0 and parameter.min == 0 and a <= FROM_ZERO)
            limits = f"{low * a:g} to {high * a:g} (a factor of {low:g} to {high:g})"
    elif parameter.name in SHIFTS:
        shift = SHIFTS[parameter.name]
        allowed = abs(b - a) <= shift + _SLACK
        limits = f"{a - shift:g} to {a + shift:g}"
    else:
        in_range = abs(parameter.to_unit(new) - parameter.to_unit(old)) <= OTHER_RANGE + _SLACK
        in_factor = a * b > 0 and 1 / OTHER_FACTOR <= b / a * (1 + _SLACK) <= OTHER_FACTOR + 1e-5
        allowed = in_range or in_factor
        limits = f"a factor of {OTHER_FACTOR:g} or {OTHER_RANGE:g} of its range"
    return None if allowed else f"{old} to {new} is too large a step, allowed is {limits}"


def _neighbours(parameter: Parameter, old: Scalar, new: Scalar) -> bool:
    """Whether no other number of the choices lies between the two."""
    low, high = sorted((float(old), float(new)))
    return not any(_number(c) and low < float(c) < high for c in parameter.choices or ())


def _number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
