"""Were the forecasts any good? Expected effects against what happened, beside ``continue``.

A proposal forecasts the difference of named metrics to going on unchanged; the sibling that did
go on unchanged (``continue``, or an unchanged start of the agent that steers) is the control.
Pure: reads stored objects.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmzero.api.base import Model
from llmzero.api.proposals import Answered, VerdictAnswer
from llmzero.api.stage import Phase, Purpose, StageNode
from llmzero.dynamics.features import series, tail
from llmzero.dynamics.pairing import difference
from llmzero.search.rows import is_constant


@dataclass(frozen=True, slots=True)
class Forecast:
    """One metric of one proposal that was run beside its control."""

    agent: str
    node: str
    metric: str
    expected: float
    observed: float
    error: float | None
    """Standard error of the observed difference; None for training metrics."""


class Calibration(Model):
    """One agent's forecasts of one metric."""

    agent: str
    metric: str
    forecasts: int
    expected: float
    """Mean of what was forecast."""
    observed: float
    """Mean of what happened, compared with ``continue``."""
    mean_absolute_error: float
    right_sign: float
    """Share of forecasts other than 0 whose sign came true."""
    within_two_errors: float | None
    """Share within two standard errors of what happened; None for training metrics."""


class Spending(Model):
    """What one agent's decisions took."""

    agent: str
    decisions: int
    repaired: int
    input_tokens: int
    output_tokens: int
    dollars: float
    seconds: float
    notes: int
    """Decisions with a note: the rules stood in, or no price was known."""


def forecasts(nodes: Iterable[StageNode], objective: str) -> list[Forecast]:
    """Every scored forecast: the proposal's stage and its control both ended with a result."""
    by_name = {n.name: n for n in nodes if n.spec.purpose is Purpose.TRAIN}
    controls = {n.spec.parent: n for n in by_name.values() if is_constant(n) and _ended_well(n)}
    found = []
    for node in by_name.values():
        control = controls.get(node.spec.parent) if node.spec.parent else None
        if control is None or control.name == node.name or not _ended_well(node):
            continue
        answered = by_name.get(node.spec.provenance.answered_on or node.spec.parent or "")
        for metric, expected in sorted(node.spec.provenance.expected.items()):
            effect = _effect(node, control, metric, objective)
            if effect is not None and math.isfinite(expected):
                found.append(Forecast(_agent(node, answered), node.name, metric, expected, *effect))
    return found


def calibration(found: Sequence[Forecast]) -> list[Calibration]:
    """The table: one row for each agent and metric, by name."""
    groups: dict[tuple[str, str], list[Forecast]] = defaultdict(list)
    for forecast in found:
        groups[forecast.agent, forecast.metric].append(forecast)
    return [_row(agent, metric, group) for (agent, metric), group in sorted(groups.items())]


def spending(nodes: Iterable[StageNode]) -> list[Spending]:
    """What the stored decisions took, verdicts included: one row for each agent, by name."""
    groups: dict[str, list[Answered | VerdictAnswer]] = defaultdict(list)
    for node in nodes:
        status = node.status
        for answered in status.expansion.answers if status.expansion else ():
            groups[_name(answered)].append(answered)
        for decision in (status.stop, status.audit):
            if decision is not None and decision.verdict is not None:
                groups[_name(decision.verdict)].append(decision.verdict)
    return [
        Spending(
            agent=agent,
            decisions=len(group),
            repaired=sum(a.answered_by == "repaired" for a in group),
            input_tokens=sum(a.usage.input_tokens for a in group),
            output_tokens=sum(a.usage.output_tokens for a in group),
            dollars=sum(a.usage.dollars for a in group),
            seconds=sum(a.usage.seconds for a in group),
            notes=sum(bool(a.note) for a in group),
        )
        for agent, group in sorted(groups.items())
    ]


def _row(agent: str, metric: str, group: Sequence[Forecast]) -> Calibration:
    signed = [f for f in group if f.expected]
    judged = [(f, f.error) for f in group if f.error is not None]
    return Calibration(
        agent=agent,
        metric=metric,
        forecasts=len(group),
        expected=_mean(f.expected for f in group),
        observed=_mean(f.observed for f in group),
        mean_absolute_error=_mean(abs(f.expected - f.observed) for f in group),
        right_sign=_mean(float(f.expected * f.observed > 0) for f in signed),
        within_two_errors=_mean(
            float(abs(f.expected - f.observed) <= 2 * error) for f, error in judged
        )
        if judged
        else None,
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0


def _ended_well(node: StageNode) -> bool:
    return node.status.phase is Phase.SUCCEEDED and node.status.result is not None


def _agent(node: StageNode, answered_on: StageNode | None) -> str:
    """Who made the forecast: provider and model as stored with the answer, else the proposer."""
    number = node.spec.provenance.proposal
    expansion = answered_on.status.expansion if answered_on else None
    for answered in expansion.answers if expansion and number is not None else ():
        assert number is not None
        if number < len(answered.answer.proposals):
            return _name(answered)
        number -= len(answered.answer.proposals)
    return node.spec.provenance.proposer


def _name(answered: Answered | VerdictAnswer) -> str:
    return answered.provider or answered.answered_by


def _effect(
    node: StageNode, control: StageNode, metric: str, objective: str
) -> tuple[float, float | None] | None:
    """Stage minus control and its standard error; None where one of them lacks the metric."""
    ours, theirs = node.status.curve.scores, control.status.curve.scores
    if metric == objective:
        if ours and theirs:
            gap = difference(ours[-1], theirs[-1])
            return gap.value, gap.error
        a, b = node.status.result, control.status.result
        assert a is not None and b is not None
        return a.value - b.value, math.hypot(a.standard_error, b.standard_error)
    if ours and theirs:
        name = metric.removeprefix("eval/")
        x, y = ours[-1].metrics.get(name), theirs[-1].metrics.get(name)
        if x is not None and y is not None and metric.startswith("eval/"):
            return x - y, None
    x, y = _level(node, metric), _level(control, metric)
    return None if x is None or y is None else (x - y, None)


def _level(node: StageNode, metric: str) -> float | None:
    """Mean of a training metric over the last 30 % of the stage."""
    points = tail(series(node.status.curve, metric))
    return _mean(value for _, value in points) if points else None
