"""Searched parameters: their declaration, and the arithmetic of the space they span."""

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from llmzero.api.base import Model, Scalar


class Role(StrEnum):
    """How a parameter tends to move along a trajectory: a prior, not a rule.

    Source: LLMZero (arXiv 2606.18388, abstract): capacity accumulates over the stages,
    regularization predominantly oscillates.
    """

    CAPACITY = "capacity"
    REGULARIZATION = "regularization"
    FREE = "free"


class Parameter(Model):
    """One dimension of the search space."""

    name: str = Field(
        pattern=r"^(task\.|rewards\.)?[A-Za-z_][A-Za-z0-9_.-]*$",
        max_length=63,
        description="A GRPOConfig field (learning_rate), a task option (task.digits) or the "
        "weight of a reward (rewards.format).",
    )
    role: Role = Field(
        Role.FREE,
        description="capacity (tends to grow from stage to stage), regularization (tends to "
        "swing) or free.",
    )
    type: Literal["float", "int", "categorical"] = Field(
        "float", description="float, int or categorical."
    )
    min: float | None = Field(None, description="Smallest value allowed, inclusive.")
    max: float | None = Field(None, description="Largest value allowed, inclusive.")
    scale: Literal["linear", "log"] = Field(
        "linear", description="How values are spread between min and max; log needs min > 0."
    )
    choices: list[Scalar] | None = Field(
        None, min_length=1, max_length=32, description="The values of a categorical, in order."
    )
    initial: Scalar = Field(description="The value that the first stage starts with.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = list(self._conflicts())
        if not wrong and (problem := self.problem_with(self.initial)):
            wrong.append(f"initial: {problem}")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _conflicts(self) -> Iterator[str]:
        """Every mistake but ``initial``'s, each as ``field: found X, what is allowed``."""
        if self.type == "categorical":
            if not self.choices:
                yield "choices: found nothing, type categorical needs choices"
            elif len({repr(c) for c in self.choices}) != len(self.choices):
                yield "choices: a value stands twice"
            for name, end in (("min", self.min), ("max", self.max)):
                if end is not None:
                    yield f"{name}: found {end:g}, type categorical takes choices, not {name}"
            return
        if self.choices is not None:
            yield f"choices: type {self.type} takes min and max, not choices"
        for name, end in (("min", self.min), ("max", self.max)):
            if end is None:
                yield f"{name}: found nothing, type {self.type} needs min and max"
            elif self.type == "int" and not end.is_integer():
                yield f"{name}: found {end:g}, type int takes whole numbers"
        if self.min is None or self.max is None:
            return
        if not self.min < self.max:
            yield f"min: found {self.min:g}, it must be below max ({self.max:g})"
        if self.scale == "log" and self.min <= 0:
            yield f"min: found {self.min:g}, scale log allows only values above 0"

    def problem_with(self, value: Scalar) -> str | None:
        """Why ``value`` is outside of this dimension, in words; None where it is inside."""
        if self.type == "categorical":
            assert self.choices is not None
            if any(type(c) is type(value) and c == value for c in self.choices):
                return None
            return f"found {_shown(value)}, allowed are {self.choices}"
        assert self.min is not None and self.max is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"found {value!r}, a number is needed"
        if not math.isfinite(_float(value)):
            return f"found {_shown(value)}, a finite number is needed"
        if self.type == "int" and value != int(value):
            return f"found {value:g}, a whole number is needed"
        if not self.min <= value <= self.max:
            return f"found {value:g}, allowed is {self.min:g} to {self.max:g}"
        return None

    def clip(self, value: Scalar) -> Scalar:
        """The nearest allowed value. Categorical: the nearest number, else ``initial``.

        Raises ValueError for a value that is not finite.
        """
        if self.type == "categorical":
            assert self.choices is not None
            for choice in self.choices:
                if type(choice) is type(value) and choice == value:
                    return choice
            numbers = [c for c in self.choices if _is_number(c)]
            if not numbers or not _is_number(value):
                return self.initial
            return min(numbers, key=lambda c: abs(float(c) - _float(value)))
        assert self.min is not None and self.max is not None
        number = _float(value)
        if not math.isfinite(number):
            raise ValueError(f"{self.name}: {_shown(value)} is not finite")
        number = min(max(number, self.min), self.max)
        if self.type == "int":
            return min(max(round(number), math.ceil(self.min)), math.floor(self.max))
        return float(f"{number:.6g}") if self.min <= float(f"{number:.6g}") <= self.max else number

    def to_unit(self, value: Scalar) -> float:
        """Position of ``value`` in 0..1 along ``scale`` (categorical: by index)."""
        if self.type == "categorical":
            assert self.choices is not None
            index = self.choices.index(self.clip(value))
            return index / max(len(self.choices) - 1, 1)
        assert self.min is not None and self.max is not None
        number = min(max(_float(value), self.min), self.max)
        if self.scale == "log":
            return math.log(number / self.min) / math.log(self.max / self.min)
        return (number - self.min) / (self.max - self.min)

    def from_unit(self, unit: float) -> Scalar:
        """The value at position ``unit`` in 0..1: the inverse of :meth:`to_unit`, rounded."""
        unit = min(max(unit, 0.0), 1.0)
        if self.type == "categorical":
            assert self.choices is not None
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        assert self.min is not None and self.max is not None
        if self.scale == "log":
            return self.clip(self.min * (self.max / self.min) ** unit)
        return self.clip(self.min + unit * (self.max - self.min))


def _float(value: Scalar) -> float:
    """As ``float``; a whole number beyond its range (YAML and JSON have such) is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if isinstance(value, int) and value > 0 else -math.inf


def _shown(value: Scalar) -> str:
    """``repr``, but for whole numbers so long that Python refuses to print them."""
    if isinstance(value, int) and not math.isfinite(_float(value)):
        return f"a whole number of {value.bit_length()} bits"
    return repr(value)


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def initial_point(parameters: Sequence[Parameter]) -> dict[str, Scalar]:
    """The settings of the first stage, by parameter name."""
    return {p.name: p.clip(p.initial) for p in parameters}


def distance(
    parameters: Sequence[Parameter], a: Mapping[str, Scalar], b: Mapping[str, Scalar]
) -> float:
    """Largest difference of two settings over all dimensions, in unit coordinates (0..1)."""
    gaps = [abs(p.to_unit(a[p.name]) - p.to_unit(b[p.name])) for p in parameters]
    return max(gaps, default=0.0)
