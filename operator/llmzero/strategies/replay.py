"""A schedule document made to fit a search: which values, how long, in stages of at most full
length.

The rules, also in docs/schedules.md:

1. A parameter that the search does not declare is left out; one that the schedule does not name
   stays at its initial value.
2. Lengths: ``share`` is of the run (maxDepth full stages, or the budget where that is less);
   ``steps`` are scaled by the ratio of full stages. Both end at whole evaluations.
3. Values: ``auto`` takes an absolute one where the search declares the parameter with the range
   it was found in (or where the schedule names no range), and the relative one elsewhere.
   ``absolute`` and ``relative`` take that one wherever there is one.
4. What lies outside of the search's bounds is moved to the nearest value inside.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter
from llmzero.api.schedule import Relative, ScheduleDocument, ScheduleStage
from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.search.budget import SLACK

Values = Literal["auto", "absolute", "relative"]
SHIFTED: Final = ("temperature",)
"""Parameters whose changes are sums by nature; those of the others are factors."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One stage to run."""

    place: int
    """Number of the document's stage that it belongs to."""
    steps: int
    parameters: SettingsMap
    """What it sets; all else stays."""
    carry_optimizer: bool
    carry_reference: bool
    notes: list[str] = field(default_factory=list)
    """What did not fit and was moved or left out."""


def legs(document: ScheduleDocument, spec: SearchSpec, values: Values = "auto") -> list[Leg]:
    """The stages that replay ``document`` in a search; none is longer than a full one."""
    space = {p.name: p for p in spec.parameters}
    ends = _ends(document, spec)
    found: list[Leg] = []
    begin = 0
    for place, (stage, end) in enumerate(zip(document.stages, ends, strict=True)):
        settings, notes = _settings(document, stage, space, values)
        carry = stage.carry_optimizer, stage.carry_reference
        while begin < end:
            steps = min(spec.stage.steps, end - begin)
            found.append(Leg(place, steps, settings, *carry, notes))
            begin += steps
            # What a long stage is cut into goes on as if it were one.
            settings, notes, carry = {}, [], (True, True)
    return found


def _ends(document: ScheduleDocument, spec: SearchSpec) -> list[int]:
    """Steps from the base model at which the document's stages end."""
    full, every = spec.stage.steps, spec.stage.eval_every
    horizon = int(min(spec.strategy.max_depth, spec.budget.stages) * full + SLACK)
    scale = full / document.stage_steps if document.stage_steps else 1.0
    total, last = 0.0, 0
    found = []
    for stage in document.stages:
        if stage.share is not None:
            total += stage.share * horizon
        else:
            total += stage.steps * scale if stage.steps is not None else full
        nearest = round(total / every) * every
        last = min(max(nearest, last + every), max(horizon, last))
        found.append(last)
    return found


def _settings(
    document: ScheduleDocument,
    stage: ScheduleStage,
    space: Mapping[str, Parameter],
    values: Values,
) -> tuple[SettingsMap, list[str]]:
    declared = {p.name: p for p in document.parameters}
    settings: SettingsMap = {}
    notes: list[str] = []
    for name, given in stage.parameters.items():
        parameter = space.get(name)
        if parameter is None:
            notes.append(f"{name} is not searched here: left out")
            continue
        wanted = given
        twin = stage.relative.get(name)
        if twin is not None and not isinstance(given, Relative):
            there = declared.get(name)
            alike = there is None or same_range(there, parameter)
            if values == "relative" or (values == "auto" and not alike):
                wanted = twin
        value, inside = resolve(parameter, wanted)
        if not inside:
            notes.append(f"{name}: {_shown(wanted)} is outside of the space, {value} is not")
        settings[name] = value
    return settings, notes


def same_range(a: Parameter, b: Parameter) -> bool:
    """Whether two declarations span the same values on the same scale."""
    return (a.type, a.min, a.max, a.scale, a.choices) == (b.type, b.min, b.max, b.scale, b.choices)


def resolve(parameter: Parameter, wanted: Scalar | Relative) -> tuple[Scalar, bool]:
    """The value in this space, and whether it was inside before it was moved there."""
    if not isinstance(wanted, Relative):
        number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
        found = wanted if parameter.choices or number else parameter.initial
        value = parameter.clip(found)
        return value, parameter.problem_with(wanted) is None
    if wanted.at is not None:
        return parameter.from_unit(wanted.at), True
    initial = parameter.clip(parameter.initial)
    if isinstance(initial, bool | str):
        return initial, False
    target = initial * wanted.times if wanted.times is not None else initial + (wanted.plus or 0.0)
    if not math.isfinite(target):
        return initial, False
    value = parameter.clip(target)
    return value, parameter.choices is not None or math.isclose(
        float(value), target, rel_tol=1e-3, abs_tol=0.5 if parameter.type == "int" else 1e-9
    )


def relative(parameter: Parameter, value: Scalar) -> Relative | None:
    """How ``value`` is told to another search: as a factor of the initial value; as a difference
    for temperatures; by its place in the range where neither is possible (0). None for text."""
    initial = parameter.clip(parameter.initial)
    if isinstance(value, bool | str) or isinstance(initial, bool | str):
        return None
    if parameter.name in SHIFTED:
        return Relative(plus=_short(float(value) - float(initial)))
    if value > 0 and initial > 0:
        return Relative(times=_short(float(value) / float(initial)))
    return Relative(at=_short(parameter.to_unit(value)))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _shown(wanted: Scalar | Relative) -> str:
    return str(wanted.dump()) if isinstance(wanted, Relative) else repr(wanted)
