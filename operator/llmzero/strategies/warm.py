"""A known schedule as a search's first guess: a candidate at the root, and what follows on its line.

The line is tried first, to the schedule's end or until a stage of it fails or is stopped; from then
on its stages are valued and finished like all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.search.rows import Row
from llmzero.search.tree import ROOT, Tree
from llmzero.strategies.presets import loaded
from llmzero.strategies.replay import Leg, legs


class WarmStart:
    """The schedule's settings by distance from the base model, made to fit the search by the rules
    of :mod:`llmzero.strategies.replay`."""

    def __init__(self, given: str | Mapping[str, Any], spec: SearchSpec) -> None:
        document = loaded(given)
        self.name = document.name
        settings: SettingsMap = {p.name: p.clip(p.initial) for p in spec.parameters}
        self._parts: list[_Part] = []
        end = 0
        for leg in legs(document, spec):
            settings = {**settings, **leg.parameters}
            self._parts.append(_Part(end, end + leg.steps, leg, settings))
            end += leg.steps

    @property
    def first(self) -> SettingsMap:
        return dict(self._parts[0].settings)

    def line(self, tree: Tree) -> list[int]:
        """The schedule's line as far as it is in the tree, from the child of the base model on."""
        found: list[int] = []
        while True:
            below = tree.children(found[-1] if found else ROOT)
            rows = [tree.rows[i] for i in found]
            fits = [i for i in below if self._is_line([*rows, tree.rows[i]])]
            if not fits:
                return found
            # Of a line that was tried twice, the try that got further counts.
            found.append(max(fits, key=lambda i: (len(tree.children(i)), -i)))

    def after(self, path: Sequence[Row]) -> tuple[Leg, SettingsMap] | None:
        """What follows on ``path`` (from the child of the base model on) where it is the schedule's
        line so far and the schedule changes settings, or resets something, at its end; None
        elsewhere."""
        if not self._is_line(path):
            return None
        end = path[-1].begin + (path[-1].tip or 0)
        part = next((part for part in self._parts if end < part.end), None)
        if part is None:
            return None
        resets = end == part.begin and not (part.leg.carry_optimizer and part.leg.carry_reference)
        changes = part.settings != path[-1].parameters
        return (part.leg, part.settings) if changes or resets else None

    def over(self, end: int) -> bool:
        """Whether the schedule has ended so many steps from the base model."""
        return end >= self._parts[-1].end

    def _is_line(self, path: Sequence[Row]) -> bool:
        """Its settings everywhere, and no branch from an earlier checkpoint."""
        return all(row.parameters == self._settings(row.begin) for row in path) and all(
            below.begin == above.begin + (above.tip or 0) for above, below in pairwise(path)
        )

    def _settings(self, at: int) -> SettingsMap | None:
        return next((part.settings for part in self._parts if at < part.end), None)


@dataclass(frozen=True, slots=True)
class _Part:
    """Steps from the base model, and what holds between them."""

    begin: int
    end: int
    leg: Leg
    settings: SettingsMap
