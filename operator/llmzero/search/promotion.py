"""The end of a search: candidates, the winner on the promote split, the held-out readings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmzero.api.search import Reading
from llmzero.api.stage import Phase, Purpose, StageNode
from llmzero.dynamics.pairing import difference
from llmzero.search.nodes import evaluation_node
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values

Subject = Literal["winner", "base", "best-constant"]


@dataclass(slots=True)
class Evaluations:
    """Promote and HeldOut nodes, by what they score."""

    promote: dict[str, StageNode] = field(default_factory=dict)
    """By the name of the stage that is scored."""
    held_out: dict[int, dict[str | None, StageNode]] = field(default_factory=dict)
    """By reading, then by the name of the stage (None: the base model)."""

    @classmethod
    def of(cls, nodes: Sequence[StageNode]) -> "Evaluations":
        found = cls()
        for node in sorted(nodes, key=lambda n: n.name):
            if node.spec.purpose is Purpose.PROMOTE:
                found.promote[node.spec.parent or ""] = node
            else:
                found.held_out.setdefault(reading_of(node), {})[node.spec.parent] = node
        return found

    @property
    def nodes(self) -> list[StageNode]:
        return [
            *self.promote.values(),
            *(n for reading in self.held_out.values() for n in reading.values()),
        ]

    def value(self, name: str) -> float | None:
        """The promote split's value of a stage, in the objective's own direction."""
        node = self.promote.get(name)
        return scored(node) if node else None

    def reading(self, tree: Tree) -> int:
        """The reading of the held-out split that is due or under way, from 1.

        A new one is due where a stage was trained after the last one began.
        """
        if not self.held_out:
            return 1
        last = max(self.held_out)
        begun = [n.status.sequence for n in self.held_out[last].values()]
        first = min((s for s in begun if s is not None), default=math.inf)
        return last + 1 if tree.columns["sequence"].max() > first else last


def reading_of(node: StageNode) -> int:
    """``held-out-2`` is reading 2."""
    tail = node.name.rpartition("held-out")[2]
    return int(tail[1:]) if tail[1:].isdigit() else 1


def scored(node: StageNode) -> float | None:
    """The value of an evaluation that ended well."""
    status = node.status
    return status.result.value if status.phase is Phase.SUCCEEDED and status.result else None


def is_constant_path(tree: Tree, index: int) -> bool:
    """Whether every stage from a child of the root down to ``index`` kept its settings."""
    while tree.parent[index] != ROOT:
        if not tree.rows[index].constant:
            return False
        index = tree.parent[index]
    return True


def ranked(tree: Tree, values: Values) -> list[int]:
    """Stages that ran to their end and whose checkpoint is kept, best filtered value first."""
    found: list[int] = values.ranked[tree.columns["tip"][values.ranked] >= 0].tolist()
    return found


def candidates(tree: Tree, values: Values, evaluations: Evaluations) -> list[int]:
    """Stages to choose the winner from on the promote split, best filtered value first.

    The best ``strategy.candidates``, the best constant, and whatever was promoted before.
    """
    order = ranked(tree, values)
    chosen = set(order[: tree.search.spec.strategy.candidates])
    if not any(is_constant_path(tree, index) for index in chosen):
        chosen.update([i for i in order if is_constant_path(tree, i)][:1])
    return [i for i in order if i in chosen or tree.rows[i].name in evaluations.promote]


def promote_nodes(tree: Tree, chosen: Sequence[int]) -> list[StageNode]:
    """The evaluations that score ``chosen`` on the promote split."""
    return [_evaluation(tree, index, Purpose.PROMOTE, 1) for index in chosen]


def best_of(tree: Tree, evaluations: Evaluations, chosen: Sequence[int]) -> int | None:
    """The candidate with the best promote value; the first of equals. None where none has one."""
    best, top = None, -math.inf
    for index in chosen:
        value = evaluations.value(tree.rows[index].name)
        if value is not None and tree.sign * value > top:
            best, top = index, tree.sign * value
    return best


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Who is read on the held-out split. None stands for the base model's row."""

    winner: int
    best_constant: int | None
    reading: int

    def nodes(self, tree: Tree) -> list[StageNode]:
        """The evaluations: winner, base model, best constant path (once if it is the winner)."""
        found = [
            _evaluation(tree, self.winner, Purpose.HELD_OUT, self.reading),
            evaluation_node(tree.search, None, 0, Purpose.HELD_OUT, self.reading),
        ]
        if self.best_constant is not None and self.best_constant != self.winner:
            found.append(_evaluation(tree, self.best_constant, Purpose.HELD_OUT, self.reading))
        return found


def confirmation(
    tree: Tree, evaluations: Evaluations, chosen: Sequence[int]
) -> Confirmation | None:
    """What to confirm, once every candidate is scored or dropped; None where no score exists."""
    winner = best_of(tree, evaluations, chosen)
    if winner is None:
        return None
    constants = [i for i in chosen if is_constant_path(tree, i)]
    return Confirmation(winner, best_of(tree, evaluations, constants), evaluations.reading(tree))


def readings(tree: Tree, values: Values, evaluations: Evaluations) -> list[Reading]:
    """All held-out readings so far, with the paired difference winner minus subject."""
    found: list[Reading] = []
    order = ranked(tree, values) if evaluations.held_out else []
    for number, nodes in sorted(evaluations.held_out.items()):
        chosen = [i for i in order if tree.rows[i].name in nodes]
        winner = best_of(tree, evaluations, chosen)
        winner_node = nodes.get(tree.rows[winner].name) if winner is not None else None
        if winner_node is None:
            continue
        subjects: list[tuple[Subject, StageNode | None]] = [
            ("winner", winner_node),
            ("base", nodes.get(None)),
        ]
        constants = [i for i in chosen if is_constant_path(tree, i)]
        constant = best_of(tree, evaluations, constants)
        if constant is not None:
            subjects.append(("best-constant", nodes.get(tree.rows[constant].name)))
        for subject, node in subjects:
            if node is not None and scored(node) is not None:
                found.append(_reading(subject, node, winner_node, number))
    return found[-16:]


def _reading(subject: Subject, node: StageNode, winner: StageNode, number: int) -> Reading:
    result = node.status.result
    assert result is not None
    gap, error = None, None
    if subject != "winner" and winner.status.result is not None and scored(winner) is not None:
        gap, error = _gap(winner, node)
    return Reading(
        subject=subject,
        node=node.spec.parent,
        path=node.spec.path if node.spec.parent else "",
        value=result.value,
        standard_error=result.standard_error,
        questions=result.questions,
        reading=number,
        difference=gap,
        difference_error=error,
    )


def _gap(winner: StageNode, other: StageNode) -> tuple[float, float]:
    """Winner minus other on the held-out split, paired where the evaluations kept the answers."""
    if winner is other:
        return 0.0, 0.0
    one, two = winner.status, other.status
    assert one.result is not None and two.result is not None
    if one.curve.scores and two.curve.scores:
        gap = difference(one.curve.scores[-1], two.curve.scores[-1])
        return gap.value, gap.error
    error = math.hypot(one.result.standard_error, two.result.standard_error)
    return one.result.value - two.result.value, error


def _evaluation(
    tree: Tree, index: int, purpose: Literal[Purpose.PROMOTE, Purpose.HELD_OUT], reading: int
) -> StageNode:
    row = tree.rows[index]
    assert row.tip is not None
    return evaluation_node(tree.search, row.node, row.tip, purpose, reading)
