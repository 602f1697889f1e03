"""A StageNode as the planner sees it: plain numbers in slots, read once per object.

Attribute access on pydantic models is what a plan over 10,000 nodes would spend its time on, so
rows are remembered by the identity of the (frozen) node they were read from.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Outcome, Phase, Purpose, StageNode
from llmzero.search.budget import charge


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
    device_seconds: float
    train_tokens: int
    eval_tokens: int
    agent_tokens: int
    agent_dollars: float
    phase: Phase
    audited: bool
    saved: float
    """Full stages' worth of steps not run because the stage was stopped early."""
    segment: str
    proposer: str
    proposal: int | None
    constant: bool
    """Goes on from its parent with the same settings, moments and reference."""


_CACHE_SEARCHES = 8
_Cached = dict[str, tuple[StageNode, Row]]
_cache: OrderedDict[tuple[str, int, int, str], _Cached] = OrderedDict()


def rows(search: TrainingSearch, nodes: Iterable[StageNode]) -> list[Row]:
    """Rows of the Train nodes among ``nodes``, in their order."""
    stage, direction = search.spec.stage, search.spec.objective.direction
    key = (search.metadata.uid, stage.steps, stage.prompts_per_step, direction)
    known = _cache.get(key, {})
    sign = 1.0 if direction == "maximize" else -1.0
    fresh: _Cached = {}
    found: list[Row] = []
    for node in nodes:
        name = node.metadata.name
        pair = known.get(name)
        if pair is None or pair[0] is not node:
            if node.spec.purpose is not Purpose.TRAIN:
                continue
            pair = (node, read(node, stage.steps, stage.prompts_per_step, sign))
        fresh[name] = pair
        found.append(pair[1])
    _cache[key] = fresh
    _cache.move_to_end(key)
    if len(_cache) > _CACHE_SEARCHES:
        _cache.popitem(last=False)
    return found


def read(node: StageNode, stage_steps: int, prompts_per_step: int, sign: float) -> Row:
    """The row of one Train node. ``sign`` is -1 where the objective is minimized."""
    spec, status = node.spec, node.status
    kind = kind_of(node)
    begin = spec.data_offset // prompts_per_step
    goodness, variance, value_step = None, 0.0, min(status.step, spec.steps)
    if kind in (Kind.VALUED, Kind.CENSORED):
        scored = status.result or (status.curve.scores[-1] if status.curve.scores else None)
        if scored is not None:
            goodness, variance = sign * scored.value, scored.standard_error**2
            value_step = scored.step
    final = kind is not Kind.IN_FLIGHT
    usages = [a.usage for a in status.expansion.answers] if status.expansion else []
    return Row(
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
        charge=charge(spec.steps, status.step, status.phase, stage_steps),
        device_seconds=status.cost.device_seconds,
        train_tokens=status.cost.train_tokens,
        eval_tokens=status.cost.eval_tokens,
        agent_tokens=sum(u.input_tokens + u.output_tokens for u in usages),
        agent_dollars=sum(u.dollars for u in usages),
        phase=status.phase,
        audited=status.audit is not None,
        saved=max(spec.steps - status.step, 0) / stage_steps if stopped_early(node) else 0.0,
        segment=spec.segment,
        proposer=spec.provenance.proposer,
        proposal=spec.provenance.proposal,
        constant=is_constant(node),
    )


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
    """Whether the curve-versus-best rule ended the stage."""
    stop = node.status.stop
    return (
        node.status.phase is Phase.STOPPED and stop is not None and stop.reason == "CurveBelowBest"
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
