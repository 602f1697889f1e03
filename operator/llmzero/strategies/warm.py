"""A known schedule as a search's first guess: a candidate at the root, and what follows on its line.

The line is tried first, to the schedule's end or until a stage of it fails or is stopped; from then
on its stages are valued and finished like all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.search.tree import ROOT, Tree
from llmzero.strategies.presets import loaded
from llmzero.strategies.replay import Leg, legs

SCHEDULE = "schedule"
"""Proposer of the stages on the line."""


@dataclass(frozen=True, slots=True)
class Part:
    """Steps from the base model, and what holds between them."""

    begin: int
    end: int
    leg: Leg
    settings: SettingsMap


class WarmStart:
    """The schedule's settings by distance from the base model, made to fit the search by the rules
    of :mod:`llmzero.strategies.replay`."""

    def __init__(self, given: str | Mapping[str, Any], spec: SearchSpec) -> None:
        document = loaded(given)
        self.name = document.name
        settings: SettingsMap = {p.name: p.clip(p.initial) for p in spec.parameters}
        self._parts: list[Part] = []
        end = 0
        for leg in legs(document, spec):
            settings = {**settings, **leg.parameters}
            self._parts.append(Part(end, end + leg.steps, leg, settings))
            end += leg.steps

    @property
    def first(self) -> SettingsMap:
        return dict(self._parts[0].settings)

    def line(self, tree: Tree) -> list[int]:
        """The schedule's line as far as it is in the tree, from the child of the base model on."""
        roots = [i for i in tree.children(ROOT) if tree.rows[i].parameters == self.first]
        found = roots[:1]
        while found:
            below = [i for i in tree.children(found[-1]) if tree.rows[i].proposer == SCHEDULE]
            if not below:
                break
            found.append(below[0])
        return found

    def at(self, end: int) -> Part | None:
        """What the schedule does so many steps from the base model; None where it is over."""
        return next((part for part in self._parts if end < part.end), None)
