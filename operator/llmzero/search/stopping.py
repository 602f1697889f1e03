"""Early stopping: a running stage's curve against the best at equal cumulative cost.

Source: reference "Stopping doomed stages", the rule called ours. Arithmetic proposes the stop;
an agent may veto it; a share of the doomed runs on, so that false kills can be counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from numpy import flatnonzero

from llmzero.api.curve import Score
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import VerdictAnswer, VerdictRequest
from llmzero.api.spec import EarlyStopping
from llmzero.api.stage import Audit, Phase, StageNode, StopDecision
from llmzero.dynamics.pairing import Difference, difference
from llmzero.search.nodes import unit_draw
from llmzero.search.rows import Kind
from llmzero.search.tree import Tree
from llmzero.search.values import Values


@dataclass(frozen=True, slots=True)
class Doomed:
    """A running stage that the arithmetic would stop."""

    index: int
    step: int
    message: str


CERTAIN: Final = 3.0
"""Standard errors by which a stage must be behind. The best is the luckiest of many, and a stage has
many looks: at two, 17 to 32 % of the stops in simulation were wrong, at three 5 to 9 % [ours]."""
CLEAR: Final = 2.0
"""Standard errors by which a stage that ran on must have ended behind to have been doomed."""


def beyond(gap: Difference, margin: float, errors: float = CERTAIN) -> bool:
    """Whether the best is ahead by more than ``margin`` and so many standard errors."""
    return gap.value > tolerated(gap, margin, errors)


def tolerated(gap: Difference, margin: float, errors: float = CERTAIN) -> float:
    """max(margin, errors * SE)."""
    return max(margin, errors * gap.error)


def doomed(gaps: Sequence[Difference], rule: EarlyStopping) -> bool:
    """Whether the last ``looks`` evaluations in a row lie beyond."""
    return len(gaps) >= rule.looks and all(beyond(g, rule.margin) for g in gaps[-rule.looks :])


def needs_grace(node: StageNode, parameters: Sequence[Parameter]) -> bool:
    """Whether the stage changed capacity, temperature, task or reward: its curve starts anew."""
    capacity = {p.name for p in parameters if p.role is Role.CAPACITY}
    return any(
        c.name in capacity or c.name == "temperature" or c.name.startswith(("task.", "rewards."))
        for c in node.spec.changes
    )


def track(tree: Tree, index: int) -> list[tuple[int, Score]]:
    """Evaluations along the path to a stage, by steps from the base model, ascending."""
    path = tree.path(index)
    found: dict[int, Score] = {}
    for place, here in enumerate(path):
        row = tree.rows[here]
        last = place + 1 == len(path)
        leaves = row.end if last else tree.rows[path[place + 1]].begin
        for score in row.node.status.curve.scores:
            # The first evaluation of a stage repeats the last one of its parent.
            if row.begin + score.step <= leaves:
                found.setdefault(row.begin + score.step, score)
    return sorted(found.items())


def gaps(tree: Tree, index: int, best: Sequence[tuple[int, Score]]) -> list[Difference]:
    """The best minus this stage at each of its looks, in goodness.

    The best is taken at equal cumulative cost, or at the nearest cost below: with less training,
    which speaks for the running stage. Looks inside the grace, and step 0, are left out.
    """
    row, spec = tree.rows[index], tree.search.spec
    rule = spec.strategy.early_stopping
    grace = rule.grace * row.steps if needs_grace(row.node, spec.parameters) else 0.0
    found: list[Difference] = []
    place = -1
    for score in row.node.status.curve.scores:
        steps = row.begin + score.step
        while place + 1 < len(best) and best[place + 1][0] <= steps:
            place += 1
        if place < 0 or score.step == 0 or score.step <= grace:
            continue
        gap = difference(best[place][1], score)
        found.append(Difference(tree.sign * gap.value, gap.error, gap.paired))
    return found


def find_doomed(tree: Tree, values: Values) -> Iterator[Doomed]:
    """Running stages beyond the margin that nobody decided on yet, in the tree's order."""
    rule = tree.search.spec.strategy.early_stopping
    best = values.leader if rule.enabled else None
    if best is None:
        return
    curve: list[tuple[int, Score]] | None = None
    for index in flatnonzero(tree.of_kind(Kind.IN_FLIGHT)).tolist():
        row = tree.rows[index]
        status = row.node.status
        if (
            status.phase is not Phase.RUNNING
            or status.stop is not None
            or status.audit is not None
            or status.step >= row.steps
            or len(status.curve.scores) < rule.looks
        ):
            continue
        if curve is None:
            curve = track(tree, best)
        found = gaps(tree, index, curve)
        if doomed(found, rule):
            yield Doomed(index, status.step, _case(tree, best, found, rule))


def audited(search_seed: int, name: str, rule: EarlyStopping) -> bool:
    """Whether a doomed stage runs on all the same: a draw that belongs to its name."""
    return unit_draw("audit", search_seed, name) < rule.audit_fraction


def false_kill(tree: Tree, index: int, best: Sequence[tuple[int, Score]]) -> bool:
    """Whether a stage that the rule would have stopped ended within the margin of the best."""
    found = gaps(tree, index, best)
    margin = tree.search.spec.strategy.early_stopping.margin
    return bool(found) and not beyond(found[-1], margin, CLEAR)


def after_review(
    request: VerdictRequest, answer: VerdictAnswer | None, step: int, now: datetime
) -> StopDecision | Audit:
    """What an engine stores on the node after a Review: the stop, or the veto as an audit.

    No answer in time (None) lets the stop proceed. A vetoed stage runs on like an audited one, so
    that vetoes are judged by how the stage ends, and is not proposed again. ``step`` is where
    the stage stood.
    """
    if answer is not None and answer.verdict == "continue":
        why = f"vetoed: {answer.reason}"
        return Audit(message=why[:1024], at=now, step=step, verdict=answer)
    why = request.reason
    if answer is not None and answer.answered_by != "rules":
        why = f"{why} The agent agrees: {answer.reason}"
    return StopDecision(reason="CurveBelowBest", message=why[:1024], at=now, verdict=answer)


def _case(tree: Tree, best: int, found: Sequence[Difference], rule: EarlyStopping) -> str:
    last = found[-1]
    metric = tree.search.spec.objective.metric
    return (
        f"{metric} is {last.value:.3f} (standard error {last.error:.3f}, "
        f"{'paired' if last.paired else 'unpaired'}) worse than on the path to "
        f"{tree.rows[best].path} at equal cost, at {rule.looks} looks in a row; "
        f"tolerated is {tolerated(last, rule.margin):.3f}."
    )
