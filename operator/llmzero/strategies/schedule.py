"""A schedule: one path of stages with given settings, replayed from the base model."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import ValidationError

from llmzero.api.schedule import ScheduleDocument
from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.api.validation.problem import show
from llmzero.api.validation.translation import translated
from llmzero.search.budget import WARM
from llmzero.search.decisions import Create, MarkAudit, Review, Stop
from llmzero.search.nodes import train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT
from llmzero.strategies.base import BaseStrategy
from llmzero.strategies.options import Options, one_of
from llmzero.strategies.presets import PRESETS, loaded
from llmzero.strategies.replay import Leg, legs

_FIELDS = ("parameters", "steps", "carryOptimizer", "carryReference")
_SCALARS = (bool, int, float, str)

FILES = "a file is read by `llmzero run`, next to the manifest"
"""Of a name that is no preset, where nobody has looked for a file (on a cluster)."""


def stages_option(value: Any) -> str | None:
    """A list of stages; each maps some of ``_FIELDS`` to their values."""
    if not isinstance(value, list) or not value:
        return f"found {value!r}, a list of stages is needed"
    for place, stage in enumerate(value):
        problem = _stage_problem(stage)
        if problem:
            return f"stage {place}: {problem}"
    return None


def _stage_problem(stage: Any) -> str | None:
    if not isinstance(stage, Mapping):
        return f"found {stage!r}, a mapping with {', '.join(_FIELDS)} is needed"
    unknown = [str(k) for k in stage if k not in _FIELDS]
    if unknown:
        return f"{', '.join(unknown)}: unknown; known are {', '.join(_FIELDS)}"
    steps = stage.get("steps", 1)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        return f"steps: found {steps!r}, a whole number from 1 is needed"
    settings = stage.get("parameters", {})
    if not isinstance(settings, Mapping) or not all(
        isinstance(v, _SCALARS) for v in settings.values()
    ):
        return f"parameters: found {settings!r}, a mapping from names to plain values is needed"
    for field in ("carryOptimizer", "carryReference"):
        if not isinstance(stage.get(field, False), bool):
            return f"{field}: found {stage[field]!r}, allowed are true and false"
    return None


def source_option(value: Any) -> str | None:
    """The name of a preset, or a schedule document."""
    presets = f"presets are {', '.join(PRESETS)}"
    if isinstance(value, str):
        if value in PRESETS:
            return None
        return f"found {value!r}; {presets}; {FILES}"
    if not isinstance(value, Mapping):
        return f"found {value!r}, a schedule or its name is needed; {presets}"
    kind = value.get("kind", "Schedule")
    if kind != "Schedule":
        needed = "a Schedule is needed (llmzero strategy export writes one)"
        return f"kind: found {show(kind)}, {needed}"
    try:
        ScheduleDocument.model_validate(dict(value))
    except ValidationError as error:
        return str(translated(error, ScheduleDocument)[0])
    return None


def unfitting(spec: SearchSpec) -> list[tuple[str, str, str]]:
    """What of the schedule that a search replays, or starts from, does not fit it and is left out
    or moved: the option's path, the schedule and a sentence each. The options are valid."""
    options = spec.strategy.options
    found = []
    for key in ("from", WARM):
        if key in options:
            document = loaded(options[key])
            parts = legs(document, spec, options.get("values", "auto"))
            notes = dict.fromkeys(note for leg in parts for note in leg.notes)
            path = f"spec.strategy.options.{key}"
            found += [(path, f"schedule {document.name}", note) for note in notes]
    return found


class Schedule(BaseStrategy):
    """``stages``: for each stage its parameters (those left out stay as they were), steps (default
    a full stage), carryOptimizer and carryReference. Or ``from``: a schedule document (or the name
    of a preset), made to fit by the rules of :mod:`llmzero.strategies.replay`; ``values`` says
    which of its values count: auto, absolute or relative.

    No stage is stopped early: a schedule is measured, not searched.
    """

    OPTIONS: ClassVar[Options] = {
        "stages": stages_option,
        "from": source_option,
        "values": one_of("auto", "absolute", "relative"),
    }

    @classmethod
    def together(cls, options: Mapping[str, Any]) -> str | None:
        given = [name for name in ("stages", "from") if name in options]
        if len(given) == 1:
            return None
        found = "both stages and from" if given else "neither stages nor from"
        return f"found {found}; strategy schedule needs one of them"

    def propose(self) -> Sequence[Proposed]:
        index, done = ROOT, 0
        while children := self.tree.children(index):
            index, done = children[0], done + 1
        found = self._legs()
        if done >= len(found) or not self.affords(found[done].steps):
            return ()
        if index == ROOT:
            return [Create(self._stage(found[done], None, None))]
        row = self.tree.rows[index]
        if row.kind is not Kind.VALUED or row.tip is None:
            return ()
        return [Create(self._stage(found[done], row.node, row.tip))]

    def stops(self, now: datetime) -> list[Stop | MarkAudit | Review]:
        return []

    def _legs(self) -> list[Leg]:
        given = self.options.get("from")
        if given is not None:
            return legs(loaded(given), self.search.spec, self.options.get("values", "auto"))
        return [
            Leg(
                place,
                int(stage.get("steps", self.tree.stage_steps)),
                dict(stage.get("parameters", {})),
                bool(stage.get("carryOptimizer", False)),
                bool(stage.get("carryReference", False)),
            )
            for place, stage in enumerate(self.options.get("stages") or [])
        ]

    def _stage(self, leg: Leg, parent: StageNode | None, start_step: int | None) -> StageNode:
        before: SettingsMap = (
            dict(parent.spec.parameters)
            if parent
            else {p.name: p.clip(p.initial) for p in self.search.spec.parameters}
        )
        why = "; ".join([f"stage {leg.place} of the schedule", *leg.notes])
        return train_node(
            self.search,
            parent=parent,
            number=0,
            steps=leg.steps,
            parameters={**before, **leg.parameters},
            provenance=Provenance(proposer="schedule", rationale=why[:2048]),
            segment="tree",
            start_step=start_step,
            carry_optimizer=leg.carry_optimizer and parent is not None,
            carry_reference=leg.carry_reference and parent is not None,
        )
