"""A known schedule as a search's first guess: a candidate at the root, and what follows on its line.

The line is only tried first: its stages are valued, stopped and finished like all others.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from llmzero.api.schedule import ScheduleDocument
from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.search.rows import Row
from llmzero.strategies.presets import preset
from llmzero.strategies.replay import Leg, legs


class WarmStart:
    """The schedule's settings by distance from the base model, made to fit the search by the rules
    of :mod:`llmzero.strategies.replay`."""

    def __init__(self, given: str | Mapping[str, Any], spec: SearchSpec) -> None:
        if isinstance(given, str):
            document = preset(given)
        else:
            document = ScheduleDocument.model_validate(dict(given))
        self.name = document.name
        settings: SettingsMap = {p.name: p.clip(p.initial) for p in spec.parameters}
        self._parts: list[tuple[int, Leg, SettingsMap]] = []
        end = 0
        for leg in legs(document, spec):
            settings = {**settings, **leg.parameters}
            end += leg.steps
            self._parts.append((end, leg, settings))

    @property
    def first(self) -> SettingsMap:
        return dict(self._parts[0][2])

    def after(self, path: Sequence[Row]) -> tuple[Leg, SettingsMap] | None:
        """What follows on ``path`` (from the child of the base model on) where it is the schedule's
        line so far and the schedule changes something at its end; None elsewhere."""
        if any(row.parameters != self._settings(row.begin) for row in path):
            return None
        if any(below.begin != above.begin + (above.tip or 0) for above, below in pairwise(path)):
            return None  # branched from an earlier checkpoint: no line of the schedule
        end = path[-1].begin + (path[-1].tip or 0)
        follows = next(((leg, point) for stop, leg, point in self._parts if end < stop), None)
        return None if follows is None or follows[1] == path[-1].parameters else follows

    def _settings(self, at: int) -> SettingsMap | None:
        return next((point for stop, _, point in self._parts if at < stop), None)
