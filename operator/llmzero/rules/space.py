"""Points of the search space: draws, moves around a point, an even spread, a grid."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter, Role, distance
from llmzero.api.proposals import Infeasible
from llmzero.api.spec import SettingsMap
from llmzero.rules.moves import Position, random_step

DUPLICATE: Final = 0.02
"""Two settings closer than this in every dimension (unit coordinates) count as one [ours]."""
SPREAD_BLOCK: Final = 8
LEARNING_RATE: Final = "learning_rate"
LENGTH: Final = "max_completion_length"
LOCAL_FACTOR: Final = 3.0
LOCAL_SHIFT: Final = 0.25
MOST_MOVED: Final = 4
DRAWS: Final = 64
"""Points drawn before a space counts as used up."""


def draw(parameters: Sequence[Parameter], *seed: object) -> SettingsMap:
    """A point drawn evenly along each parameter's scale; a function of ``seed``."""
    random = Random("/".join(map(str, seed)))
    return {p.name: p.from_unit(random.random()) for p in parameters}


def spread(parameters: Sequence[Parameter], number: int, seed: int) -> SettingsMap:
    """Point ``number`` of an even spread over all but the capacity, where anything else is searched.
    Then groups stay as they begin, and the limit of an answer is drawn from its initial value up,
    because a short limit may cut all answers off.

    Latin hypercubes (McKay, Beckman and Conover 1979) of eight points: each block of eight takes
    every eighth of every dimension once. Sixteen rungs take ten of them.
    """
    moved = [p for p in parameters if p.role is not Role.CAPACITY] or list(parameters)
    moved += [p for p in parameters if p.name == LENGTH and p not in moved]
    block, place = divmod(number, SPREAD_BLOCK)
    point: SettingsMap = {p.name: p.clip(p.initial) for p in parameters}
    for parameter in moved:
        random = Random(f"{seed}/spread/{block}/{parameter.name}")
        strata = random.sample(range(SPREAD_BLOCK), SPREAD_BLOCK)
        offsets = [random.random() for _ in range(SPREAD_BLOCK)]
        unit = (strata[place] + offsets[place]) / SPREAD_BLOCK
        if parameter.name == LENGTH and parameter.role is Role.CAPACITY:
            unit = _upwards(parameter, point[parameter.name], unit)
        point[parameter.name] = parameter.from_unit(unit)
    return point


def _upwards(parameter: Parameter, value: Scalar, unit: float) -> float:
    """The place of ``unit`` between a value and the upper end; of choices each is as likely."""
    least = parameter.to_unit(value)
    if parameter.choices is not None:
        least = parameter.choices.index(value) / len(parameter.choices)
    return least + (1 - least) * unit


def local(parameters: Sequence[Parameter], number: int, seed: int) -> tuple[SettingsMap, str]:
    """Coordinated move ``number`` around the initial point, and what it does in words.

    The first two move the parameter that matters most alone, up and down: the learning rate by a
    factor of 3 where it is searched. The rest move two to four parameters together.
    """
    initial: SettingsMap = {p.name: p.clip(p.initial) for p in parameters}
    first = next(
        (p for p in parameters if p.name == LEARNING_RATE),
        next((p for p in parameters if p.role is not Role.CAPACITY), parameters[0]),
    )
    if number < 2:
        up = number == 0
        moved = {first.name: _moved(first, initial[first.name], 1.0 if up else -1.0)}
        words = f"{first.name} {'up' if up else 'down'} from its initial value"
        return {**initial, **moved}, words
    random = Random(f"{seed}/local/{number}")
    count = min(random.randint(2, MOST_MOVED), len(parameters))
    chosen = random.sample(list(parameters), count)
    moved = {}
    for parameter in chosen:
        sign = 1.0 if parameter.role is Role.CAPACITY else random.choice((-1.0, 1.0))
        draw_ = sign * random.uniform(0.4, 1.0)
        moved[parameter.name] = _moved(parameter, initial[parameter.name], draw_)
    return {**initial, **moved}, f"a move of {', '.join(sorted(moved))} around the initial point"


def _moved(parameter: Parameter, value: Scalar, draw_: float) -> Scalar:
    if parameter.name == LEARNING_RATE and parameter.type == "float":
        return parameter.clip(float(value) * LOCAL_FACTOR**draw_)
    if parameter.choices is not None:
        step = 1 if draw_ > 0 else -1
        place = parameter.choices.index(parameter.clip(value)) + step
        return parameter.choices[min(max(place, 0), len(parameter.choices) - 1)]
    return parameter.from_unit(parameter.to_unit(value) + LOCAL_SHIFT * draw_)


def fresh_point(
    parameters: Sequence[Parameter],
    taken: Sequence[SettingsMap],
    failures: Sequence[Infeasible],
    *seed: object,
) -> SettingsMap | None:
    """The initial point where nothing is taken, then drawn ones: none twice, none that is known
    to fail. None where the space is used up."""
    if not taken:
        return {p.name: p.clip(p.initial) for p in parameters}
    for attempt in range(DRAWS):
        point = draw(parameters, *seed, attempt)
        if point not in taken and not hopeless(parameters, point, failures):
            return point
    return None


def nearby(
    parameters: Sequence[Parameter], settings: SettingsMap, fixed: Mapping[str, Any], *seed: object
) -> SettingsMap:
    """A random bounded transition from ``settings``: at most three parameters, capacity up."""
    random = Random("/".join(map(str, seed)))
    position = Position({p.name: p for p in parameters}, settings, dict(fixed))
    changes = random_step(position, [random.uniform(-1, 1) for _ in parameters])
    return {**settings, **changes}


def known(
    parameters: Sequence[Parameter], point: SettingsMap, others: Iterable[SettingsMap]
) -> bool:
    """Whether ``point`` is one of the others, within the tolerance."""
    return any(distance(parameters, point, other) <= DUPLICATE for other in others)


def hopeless(
    parameters: Sequence[Parameter], point: SettingsMap, failures: Iterable[Infeasible]
) -> bool:
    """Whether ``point`` failed before, or needs at least the memory of one that ran out of it."""
    sizes = [p for p in parameters if p.role is Role.CAPACITY]
    for failure in failures:
        if distance(parameters, point, failure.parameters) <= DUPLICATE:
            return True
        if (
            failure.outcome == "OutOfMemory"
            and sizes
            and all(
                p.to_unit(point[p.name]) >= p.to_unit(failure.parameters[p.name]) for p in sizes
            )
        ):
            return True
    return False


def shrunk(
    parameters: Sequence[Parameter], point: SettingsMap, failures: Iterable[Infeasible]
) -> SettingsMap:
    """``point`` with each capacity halfway below the smallest that ran out of memory."""
    starved = [f.parameters for f in failures if f.outcome == "OutOfMemory"]
    smaller = {
        p.name: p.from_unit(min(p.to_unit(s[p.name]) for s in starved) / 2)
        for p in parameters
        if p.role is Role.CAPACITY and starved
    }
    return {**point, **smaller}


def inside(parameters: Sequence[Parameter], point: SettingsMap) -> bool:
    """Whether ``point`` names every parameter and lies within all of them."""
    return set(point) == {p.name for p in parameters} and not any(
        p.problem_with(point[p.name]) for p in parameters
    )
