"""Bounded steps of single parameters: what a transition is put together from.

A step that is impossible (not searched, at its bound, without effect) is None, so a transition
that is built of steps never contains one that alters nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter, Role
from llmzero.api.spec import SettingsMap
from llmzero.rules.bounds import FACTORS, SHIFTS, beyond_bounds

ENTRY = {"beta": 1e-3, "entropy_coef": 1e-3}
"""x k of 0 is 0: these terms are entered here (DeepScaleR's and ProRL's order of size for beta)."""
HOLDING = 0.04
"""The beta of GRPO's paper (arXiv 2402.03300): a KL term that holds a policy which does harm."""
LEAST_CHANGE = 0.02
"""A smaller relative change is no experiment [ours]."""
RANDOM_CHANGES = 3
GRID = 24
"""Values of a range that are tried where all ideas are used up."""
UNIT_STEP = 0.2
"""A random step of a parameter that has no bounds of its own, in unit coordinates [ours]."""

Step = tuple[str, Scalar] | None

_CLIPPING = frozenset({"epsilon", "epsilon_high", "delta"})
_REFERENCE = frozenset({"sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"})
_ADAPTIVE = frozenset(
    {"entropy_target", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta"}
)


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

    def scale(self, name: str, factor: float, least: float = 0.0) -> Step:
        """Multiply by ``factor``, or up to ``least``, within the bounds of one transition and of the
        space."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        low, high = FACTORS.get(name, (1 / 3, 3.0))
        if old == 0:
            enters = name in ENTRY and factor > 1
            return self._to(parameter, max(ENTRY[name], least)) if enters else None
        factor = min(max(factor, least / old, low), high)
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

    def raised(self, name: str, value: float) -> Step:
        """``value``, where the setting is below it."""
        old = self.value(name)
        return self.set(name, value) if old is not None and old < value else None

    def lowered(self, name: str, value: float) -> Step:
        """``value``, where the setting is above it."""
        old = self.value(name)
        return self.set(name, value) if old is not None and old > value else None

    def grow(self, name: str, factor: float = 2.0, most: float = 2.0) -> Step:
        """A capacity one step up: times 1.5 to ``most``, or the next larger choice."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        if parameter.choices is not None:
            larger = [c for c in parameter.choices if is_number(c) and float(c) > old]
            return (name, min(larger, key=float)) if larger else None
        step = self._to(parameter, max(old * min(max(factor, 1.5), most), old + 1))
        return step if step is None or float(step[1]) > old else None

    def shrink(self, name: str) -> Step:
        """A capacity one step down; only memory justifies it."""
        parameter, old = self.space.get(name), self.value(name)
        if parameter is None or old is None:
            return None
        if parameter.choices is not None:
            smaller = [c for c in parameter.choices if is_number(c) and float(c) < old]
            return (name, max(smaller, key=float)) if smaller else None
        return self._to(parameter, min(old * 0.6, old - 1))

    def grow_other(self, *names: str) -> Step:
        """The first capacity beside ``names`` that can grow: a user's own, or one of the task."""
        found = (self.grow(c, 1.5) for c in self.capacities() if c not in names)
        return next((s for s in found if s is not None), None)

    def grow_task(self) -> Step:
        """The first capacity of the task that can grow: more or harder questions."""
        found = (self.grow(c, 2.0) for c in self.capacities() if c.startswith("task."))
        return next((s for s in found if s is not None), None)

    def _to(self, parameter: Parameter, target: Scalar) -> Step:
        old = self.settings.get(parameter.name)
        new = parameter.clip(target)
        if not is_number(old) or not is_number(new) or not is_number(target):
            return None if new == old else (parameter.name, new)
        a, b, aim = float(old), float(new), float(target)  # type: ignore[arg-type]
        if parameter.choices is not None and (b - a) * (aim - a) <= 0 and aim != a:
            # The nearest choice is the old one: then the next one that way.
            beyond = [
                c for c in parameter.choices if is_number(c) and (float(c) - a) * (aim - a) > 0
            ]
            if not beyond:
                return None
            new = min(beyond, key=lambda c: abs(float(c) - a))
            b = float(new)
        if parameter.type == "int" and beyond_bounds(parameter, a, new) is not None:
            new = int(b) + (1 if b < a else -1)  # rounding went past the bound
            b = float(new)
        if (b - a) * (aim - a) <= 0 or (a != 0 and abs(b / a - 1) < LEAST_CHANGE):
            return None
        return (parameter.name, new) if beyond_bounds(parameter, a, new) is None else None

    def capacities(self) -> list[str]:
        return [p.name for p in self.space.values() if p.role is Role.CAPACITY]

    def off_policy(self) -> bool:
        """Only then do clipping and its epsilons compute anything (num_iterations above 1)."""
        return (self.value("num_iterations") or 1) > 1

    def effective(self, changes: SettingsMap) -> SettingsMap:
        """Without what alters nothing in the child: clipping on-policy, the upkeep of a reference
        that no KL term reads, the bounds of an entropy bonus that does not adapt."""
        child = {**self.fixed, **self.settings, **changes}
        inert: set[str] = set()
        if _off(child.get("num_iterations"), 1):
            inert |= _CLIPPING
        if _off(child.get("beta"), 0):
            inert |= _REFERENCE
        if not child.get("use_adaptive_entropy"):
            inert |= _ADAPTIVE
        return {
            k: v for k, v in changes.items() if k not in inert and not same(v, self.settings.get(k))
        }


def _off(value: Scalar | None, neutral: float) -> bool:
    return not is_number(value) or float(value) <= neutral  # type: ignore[arg-type]


def same(a: Scalar | None, b: Scalar | None) -> bool:
    """Equal, where True is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


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
    moves up only, and the size of groups, where it is one, not at all: that is for dead groups.
    """
    order = sorted(zip(position.space.values(), draws, strict=True), key=lambda d: -abs(d[1]))
    steps: list[Step] = []
    for parameter, draw in order:
        if sum(s is not None for s in steps) >= RANDOM_CHANGES:
            break
        steps.append(_random(position, parameter, draw))
    return together(*steps)


def _random(position: Position, parameter: Parameter, draw: float) -> Step:
    name, old = parameter.name, position.settings[parameter.name]
    if parameter.role is Role.CAPACITY and position.value(name) is not None:
        return None if name == "num_generations" else position.grow(name, 1.5 + 0.5 * abs(draw))
    if parameter.choices is not None:
        places = {True: 1, False: -1}
        place = parameter.choices.index(parameter.clip(old)) + places[draw > 0]
        return position.set(name, parameter.choices[min(max(place, 0), len(parameter.choices) - 1)])
    if name in FACTORS:
        low, high = FACTORS[name]
        return position.scale(name, high**draw if draw > 0 else low**-draw)
    if name in SHIFTS:
        return position.shift(name, SHIFTS[name] * draw)
    return position.set(name, parameter.from_unit(parameter.to_unit(old) + UNIT_STEP * draw))


def single_steps(position: Position) -> Iterator[SettingsMap]:
    """Every single-parameter step that the bounds allow, on a grid: what is left when all ideas
    are used up. Capacity moves up only."""
    for parameter in position.space.values():
        name = parameter.name
        if parameter.role is Role.CAPACITY and position.value(name) is not None:
            steps = [position.grow(name, f) for f in (2.0, 1.5, 1.75)]
        elif parameter.choices is not None:
            steps = [position.set(name, c) for c in parameter.choices]
        else:
            steps = [position.set(name, parameter.from_unit(i / GRID)) for i in range(GRID + 1)]
            if name in FACTORS:
                steps += [position.scale(name, f) for f in FACTORS[name]]
        for step in steps:
            if step is not None:
                yield together(step)
