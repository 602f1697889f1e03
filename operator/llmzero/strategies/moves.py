"""Bounded steps of single parameters: what a transition is put together from.

A step that is impossible (not searched, at its bound, without effect) is None, so a transition
that is built of steps never contains one that alters nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter, Role
from llmzero.api.spec import SettingsMap
from llmzero.strategies.bounds import FACTORS, SHIFTS

BETA_ENTRY = 1e-3
"""beta x k of 0 is 0: the KL term is entered here (DeepScaleR's and ProRL's order of size)."""
LEAST_CHANGE = 0.02
"""A smaller relative change is no experiment [ours]."""

Step = tuple[str, Scalar] | None


def is_number(value: Scalar | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stage stands in the space, and what its fixed settings are."""

    space: Mapping[str, Parameter]
    settings: SettingsMap
    fixed: Mapping[str, Scalar]

    def value(self, name: str) -> float | None:
        """The number in force, searched or fixed; None where it is no number or not set."""
        found = self.settings.get(name, self.fixed.get(name))
        return float(found) if found is not None and is_number(found) else None

    def scale(self, name: str, factor: float) -> Step:
        """Multiply by ``factor``, within the bounds of one transition and of the space."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        low, high = FACTORS.get(name, (1 / 3, 3.0))
        factor = min(max(factor, low), high)
        if old == 0:
            return self._to(parameter, BETA_ENTRY) if name == "beta" and factor > 1 else None
        return self._to(parameter, old * factor)

    def shift(self, name: str, delta: float) -> Step:
        """Add ``delta``, within the bounds of one transition and of the space."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        limit = SHIFTS.get(name, abs(delta))
        return self._to(parameter, old + min(max(delta, -limit), limit))

    def set(self, name: str, value: Scalar) -> Step:
        parameter = self.space.get(name)
        return None if parameter is None else self._to(parameter, value)

    def grow(self, name: str, factor: float = 2.0) -> Step:
        """A capacity one step up: times ``factor``, or the next larger choice."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        if parameter.choices is not None:
            larger = [c for c in parameter.choices if is_number(c) and float(c) > old]
            return (name, min(larger, key=float)) if larger else None
        return self._to(parameter, max(old * factor, old + 1))

    def shrink(self, name: str) -> Step:
        """A capacity one step down; only memory justifies it."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        if parameter.choices is not None:
            smaller = [c for c in parameter.choices if is_number(c) and float(c) < old]
            return (name, max(smaller, key=float)) if smaller else None
        return self._to(parameter, min(old * 0.6, old - 1))

    def _to(self, parameter: Parameter, target: Scalar) -> Step:
        new = parameter.clip(target)
        old = self.settings.get(parameter.name)
        if new == old:
            return None
        if is_number(old) and is_number(new) and float(old) != 0:  # type: ignore[arg-type]
            ratio = float(new) / float(old)  # type: ignore[arg-type]
            if abs(ratio - 1) < LEAST_CHANGE:
                return None
        return parameter.name, new

    def capacities(self) -> list[str]:
        return [p.name for p in self.space.values() if p.role is Role.CAPACITY]

    def off_policy(self) -> bool:
        """Only then do clipping and its epsilons compute anything (num_iterations above 1)."""
        return (self.value("num_iterations") or 1) > 1


def together(*steps: Step) -> SettingsMap:
    """The possible ones of these steps as one transition."""
    changes: SettingsMap = {}
    for step in steps:
        if step is not None:
            changes.setdefault(*step)
    return changes


def random_step(position: Position, draws: Sequence[float]) -> SettingsMap:
    """A random transition inside a trust region, from numbers in -1..1, one a parameter.

    The three largest draws move their parameters by up to 0.2 in unit coordinates; capacity
    moves up only.
    """
    order = sorted(zip(position.space.values(), draws, strict=True), key=lambda d: -abs(d[1]))
    steps: list[Step] = []
    for parameter, draw in order:
        if sum(s is not None for s in steps) >= 3:
            break
        if parameter.role is Role.CAPACITY:
            steps.append(position.grow(parameter.name, 1 + abs(draw)))
        elif parameter.name in FACTORS:
            low, high = FACTORS[parameter.name]
            steps.append(position.scale(parameter.name, high**draw if draw > 0 else low**-draw))
        elif parameter.name in SHIFTS:
            steps.append(position.shift(parameter.name, SHIFTS[parameter.name] * draw))
        elif parameter.choices is not None:
            index = parameter.choices.index(parameter.clip(position.settings[parameter.name]))
            index = min(max(index + (1 if draw > 0 else -1), 0), len(parameter.choices) - 1)
            steps.append(position.set(parameter.name, parameter.choices[index]))
        else:
            unit = parameter.to_unit(position.settings[parameter.name]) + 0.2 * draw
            steps.append(position.set(parameter.name, parameter.from_unit(unit)))
    return together(*steps)
