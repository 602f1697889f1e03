"""A StageNode as the planner sees it: plain numbers, read once per object.

Attribute access on pydantic models is what a plan over 10,000 nodes would spend its time on. So
a node is read into a row once, and the row carries its numbers packed: the columns of a whole
tree are one join of bytes.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llmzero.api.parameters import Parameter, Role
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Outcome, Phase, StageNode
from llmzero.search.budget import SEGMENTS, charge
from llmzero.search.gain import FEATURES, vector

PHASES: Final = tuple(Phase)
SEGMENT_NAMES: Final = tuple(SEGMENTS)
REPLICA: Final = "replica"


class Kind(IntEnum):
    """What a Train stage tells the search."""

    IN_FLIGHT = 0
    VALUED = 1
    """Ran to its end: its objective is its value."""
    CENSORED = 2
    """Was stopped: its last objective is a bound, not a value."""
    FAILED = 3
    """Out of memory or diverged: a failure of the settings, worth nothing."""
    VOID = 4
    """Failed for reasons that say nothing about the settings."""


_FIELDS: Final = {
    "kind": "b",
    "phase": "b",
    "segment": "b",
    "constant": "?",
    "replica": "?",
    "audited": "?",
    "vetoed": "?",
    "out_of_memory": "?",
    "number": "i",
    "level": "i",
    "steps": "i",
    "start_step": "i",
    "value_step": "i",
    "tip": "i",
    "checkpoints": "i",
    "begin": "q",
    "end": "q",
    "sequence": "q",
    "train_tokens": "q",
    "eval_tokens": "q",
    "agent_tokens": "q",
    "goodness": "d",
    "variance": "d",
    "charge": "d",
    "device_seconds": "d",
    "agent_dollars": "d",
    "saved": "d",
}
_NUMPY: Final = {"b": "i1", "?": "?", "i": "<i4", "q": "<i8", "d": "<f8"}
Columns = npt.NDArray[Any]
"""One record a row; -1 and NaN stand for None. Beside the fields above ``features`` of
:mod:`llmzero.search.gain` and ``sizes``, the capacity parameters in unit coordinates."""


@cache
def layout(sizes: int) -> tuple[struct.Struct, npt.DTypeLike]:
    """How a row is packed, and the columns of many, with so many capacity parameters."""
    packed = "<" + "".join(_FIELDS.values()) + "d" * (len(FEATURES) + sizes)
    fields: list[Any] = [(name, _NUMPY[code]) for name, code in _FIELDS.items()]
    fields += [("features", "<f8", (len(FEATURES),)), ("sizes", "<f8", (sizes,))]
    return struct.Struct(packed), np.dtype(fields)


def columns(sizes: int, found: Iterable["Row"], root: bool = False) -> Columns:
    """The records of rows, after an empty one for the root where that is wanted."""
    record, dtype = layout(sizes)
    first = bytes(record.size) if root else b""
    return np.frombuffer(first + b"".join([row.packed for row in found]), dtype=dtype)


@dataclass(slots=True, eq=False)
class Row:
    """One Train stage. Steps are optimizer steps; ``goodness`` is larger where better."""

    node: StageNode
    name: str
    path: str
    number: int
    parent: str | None
    parameters: SettingsMap
    steps: int
    start_step: int | None
    """Step of the parent's checkpoint that it starts from; None for the base model."""
    begin: int
    """Steps trained along the path before this stage."""
    end: int
    """Steps trained along the path up to the checkpoint that its value belongs to."""
    kind: Kind
    goodness: float | None
    variance: float
    tip: int | None
    """Newest checkpoint that is kept, within this stage; None where nothing can be branched."""
    value_step: int
    sequence: int | None
    charge: float
    segment: str
    proposer: str
    proposal: int | None
    constant: bool
    """Goes on from its parent with the same settings, moments and reference."""
    packed: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    """What rows are measured by: the same for all nodes of a search."""

    stage_steps: int
    prompts_per_step: int
    sign: float
    """-1 where the objective is minimized."""
    capacity: tuple[Parameter, ...]

    @classmethod
    def of(cls, search: TrainingSearch) -> "Frame":
        spec = search.spec
        return cls(
            spec.stage.steps,
            spec.stage.prompts_per_step,
            1.0 if spec.objective.direction == "maximize" else -1.0,
            tuple(p for p in spec.parameters if p.role is Role.CAPACITY),
        )


def read(node: StageNode, frame: Frame) -> Row:
    """The row of one Train node."""
    spec, status = node.spec, node.status
    kind = kind_of(node)
    begin = spec.data_offset // frame.prompts_per_step
    goodness, variance, value_step = None, 0.0, min(status.step, spec.steps)
    if kind in (Kind.VALUED, Kind.CENSORED):
        scored = status.result or (status.curve.scores[-1] if status.curve.scores else None)
        if scored is not None:
            goodness, variance = frame.sign * scored.value, scored.standard_error**2
            value_step = scored.step
    final = kind is not Kind.IN_FLIGHT
    # How far a doomed stage gets until it hears of its end depends on the clock: it is charged up
    # to its last evaluation, so that the same completions grow the same tree.
    ran = value_step if kind is Kind.CENSORED else status.step
    row = Row(
        node=node,
        name=node.metadata.name,
        path=spec.path,
        number=int(spec.path.rpartition("-")[2]),
        parent=spec.parent,
        parameters=spec.parameters,
        steps=spec.steps,
        start_step=spec.start.step if spec.start else None,
        begin=begin,
        end=begin + (value_step if final else spec.steps),
        kind=kind,
        goodness=goodness,
        variance=variance,
        tip=max(status.checkpoints, default=None) if final else None,
        value_step=value_step,
        sequence=status.sequence,
        charge=charge(spec.steps, ran, status.phase, frame.stage_steps),
        segment=spec.segment,
        proposer=spec.provenance.proposer,
        proposal=spec.provenance.proposal,
        constant=is_constant(node),
    )
    row.packed = _packed(row, frame)
    return row


def _packed(row: Row, frame: Frame) -> bytes:
    status = row.node.status
    receipts = status.receipts
    saved = max(row.steps - status.step, 0) / frame.stage_steps if stopped_early(row.node) else 0.0
    numbers = {
        "kind": row.kind,
        "phase": PHASES.index(status.phase),
        "segment": SEGMENT_NAMES.index(row.segment),
        "constant": row.constant,
        "replica": row.proposer == REPLICA,
        "audited": status.audit is not None,
        "vetoed": status.audit is not None and status.audit.verdict is not None,
        "out_of_memory": status.outcome is Outcome.OUT_OF_MEMORY,
        "number": row.number,
        "level": row.path.count("-") + 1,
        "steps": row.steps,
        "start_step": -1 if row.start_step is None else row.start_step,
        "value_step": row.value_step,
        "tip": -1 if row.tip is None else row.tip,
        "checkpoints": len(status.checkpoints),
        "begin": row.begin,
        "end": row.end,
        "sequence": -1 if row.sequence is None else row.sequence,
        "train_tokens": status.cost.train_tokens,
        "eval_tokens": status.cost.eval_tokens,
        "agent_tokens": sum(r.input_tokens + r.output_tokens for r in receipts),
        "goodness": float("nan") if row.goodness is None else row.goodness,
        "variance": row.variance,
        "charge": row.charge,
        "device_seconds": status.cost.device_seconds,
        "agent_dollars": sum(r.dollars for r in receipts),
        "saved": saved,
    }
    features = vector(status.features if row.kind is Kind.VALUED else {})
    sizes = [p.to_unit(row.parameters.get(p.name, p.initial)) for p in frame.capacity]
    record, _ = layout(len(sizes))
    return record.pack(*(numbers[name] for name in _FIELDS), *features, *sizes)


def kind_of(node: StageNode) -> Kind:
    """What a Train node's outcome says about its settings."""
    status = node.status
    if not status.phase.final:
        return Kind.IN_FLIGHT
    if status.outcome in (Outcome.OUT_OF_MEMORY, Outcome.DIVERGED):
        return Kind.FAILED
    if status.phase is Phase.SUCCEEDED and status.result is not None:
        return Kind.VALUED
    if status.phase is Phase.STOPPED:
        return Kind.CENSORED
    return Kind.VOID


def stopped_early(node: StageNode) -> bool:
    """Whether the curve-versus-best rule, or an agent that steers, ended the stage."""
    stop = node.status.stop
    return (
        node.status.phase is Phase.STOPPED
        and stop is not None
        and stop.reason in ("CurveBelowBest", "AgentRequest")
    )


def is_constant(node: StageNode) -> bool:
    """Whether the stage goes on as its parent did: such stages make a constant run a path."""
    spec = node.spec
    return (
        spec.parent is not None
        and not spec.changes
        and spec.carry_optimizer
        and spec.carry_reference
    )
