"""ASHA: many short runs, the best of them continued from their checkpoints, asynchronously.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934).
"""

import math
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import ClassVar

from llmzero.api.spec import FAILURE_FLOOR, SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.space import fresh_point
from llmzero.search.budget import SLACK
from llmzero.search.decisions import Create, MarkAudit, Review, Stop
from llmzero.search.nodes import train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind, Row
from llmzero.search.tree import ROOT
from llmzero.strategies.base import BaseStrategy
from llmzero.strategies.context import infeasible
from llmzero.strategies.options import Options, number, whole

DEFAULT_ETA = 3
DEFAULT_RUNGS = 3


class ASHA(BaseStrategy):
    """``eta``: one in eta of a rung is promoted. ``rungs``: how many there are; the last is the
    horizon (maxDepth full stages), each one before is eta times shorter.

    A promotion continues the run from its checkpoint with settings, moments and reference. Stages
    are at most full ones, so a long rung is several. A slot goes to the highest promotion that is
    due; then to a new configuration, as long as the budget could still promote one in eta of
    every rung; then to the best run that was left behind. Runs that failed count as the worst of
    their rung. Configuration 0 is the declared initial one. The curve-against-best rule is off:
    the rungs are the early stopping.
    """

    OPTIONS: ClassVar[Options] = {"eta": number(1.5, 16), "rungs": whole(1, 8)}

    @cached_property
    def eta(self) -> float:
        return float(self.options.get("eta", DEFAULT_ETA))

    @cached_property
    def ends(self) -> list[int]:
        """Where the rungs end, in steps from the base model."""
        rungs = int(self.options.get("rungs", DEFAULT_RUNGS))
        return rung_ends(self.tree.horizon, self.eta, rungs, self.search.spec.stage.eval_every)

    def propose(self) -> Sequence[Proposed]:
        tips = [self._run(root)[-1] for root in self.tree.children(ROOT)]
        for tip in tips:
            if self._open(tip) and self.tree.rows[tip].end not in self.ends:
                node = self._onward(tip, "continue", "on to the end of the rung")
                if node is not None:
                    return (Create(node),)
        node = self._promoted() or self._begun() or self._left_behind(tips)
        return () if node is None else (Create(node),)

    def stops(self, now: datetime) -> list[Stop | MarkAudit | Review]:
        return []

    def _run(self, root: int) -> list[int]:
        """The stages of the run that begins with ``root``."""
        found = [root]
        while children := self.tree.children(found[-1]):
            found.append(children[0])
        return found

    def _open(self, tip: int) -> bool:
        """Whether the run may go on."""
        row = self.tree.rows[tip]
        whole_ = row.kind is Kind.VALUED and row.tip is not None and not self.tree.width[tip]
        return whole_ and row.end < self.tree.horizon

    def _reached(self, rung: int) -> list[tuple[float, int]]:
        """``(goodness, stage)`` of every run whose fate at this rung is known, the best first."""
        end = self.ends[rung]
        found: list[tuple[float, int]] = []
        for root in self.tree.children(ROOT):
            for index in self._run(root):
                row = self.tree.rows[index]
                if row.kind is Kind.IN_FLIGHT:
                    break
                if row.kind is not Kind.VALUED or row.goodness is None:
                    lost = row.begin < end and (rung == 0 or row.begin >= self.ends[rung - 1])
                    found += [(-math.inf, index)] if lost else []
                    break
                if row.end == end:
                    found.append((row.goodness, index))
                    break
        return sorted(found, key=lambda item: (-item[0], item[1]))

    def _promoted(self) -> StageNode | None:
        for rung in reversed(range(len(self.ends) - 1)):
            reached = self._reached(rung)
            for value, index in reached[: int(len(reached) / self.eta)]:
                if math.isfinite(value) and self._open(index):
                    why = f"in the top 1/{self.eta:g} of the {len(reached)} runs at rung {rung}"
                    node = self._onward(index, "asha", why)
                    if node is not None:
                        return node
        return None

    def _begun(self) -> StageNode | None:
        """The next configuration of the lowest rung."""
        tree, first = self.tree, self.ends[0]
        number_ = tree.next_number(ROOT)
        if number_ >= self._configurations():
            return None
        steps = min(first, tree.stage_steps)
        if not self.affords(steps):
            return None
        found = self._setting(number_)
        return None if found is None else self.root_stage(*found, steps=steps, segment="tree")

    def _configurations(self) -> int:
        """How many the budget pays where one in eta of each rung is promoted; at least one."""
        lengths = [b - a for a, b in zip([0, *self.ends], self.ends, strict=False)]
        cost = sum(length / self.eta**rung for rung, length in enumerate(lengths))
        failed = self.tree.of_kind(Kind.FAILED, Kind.VOID).sum()
        fits = self.tree.account.limit * self.tree.stage_steps / cost + SLACK
        return max(int(fits), 1) + int(failed)

    def _setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        taken = [self.tree.rows[i].parameters for i in self.tree.children(ROOT)]
        point = fresh_point(
            self.search.spec.parameters, taken, infeasible(self.tree), self.seed, "asha", run
        )
        why = "drawn from the space" if taken else "the declared initial values"
        proposer = "random" if taken else "initial"
        return None if point is None else (point, Provenance(proposer=proposer, rationale=why))

    def _left_behind(self, tips: list[int]) -> StageNode | None:
        """The best run of the highest rung that was not promoted: better than an idle slot."""
        rows = self.tree.rows
        waiting = [i for i in tips if self._open(i)]
        waiting.sort(key=lambda i: (-rows[i].end, -(rows[i].goodness or 0.0), i))
        for index in waiting:
            node = self._onward(index, "asha", "no promotion is due and no configuration fits")
            if node is not None:
                return node
        return None

    def _onward(self, index: int, proposer: str, why: str) -> StageNode | None:
        """The next stage of a run, up to the end of its rung; None where none can be afforded."""
        row = self.tree.rows[index]
        steps = self._steps(row)
        if steps == 0:
            return None
        assert row.tip is not None
        return train_node(
            self.search,
            parent=row.node,
            number=0,
            steps=steps,
            parameters=dict(row.parameters),
            provenance=Provenance(proposer=proposer, rationale=why),
            segment="tree",
            start_step=row.tip,
            carry_optimizer=True,
            carry_reference=True,
        )

    def _steps(self, row: Row) -> int:
        at = row.begin + (row.tip or 0)
        goal = next((e for e in self.ends if e > at), self.tree.horizon)
        steps = min(goal - at, self.tree.stage_steps)
        if self.affords(steps):
            return steps
        short = self.child_steps(at)  # what is left of the budget
        return short if short >= FAILURE_FLOOR * self.tree.stage_steps and short < steps else 0


def rung_ends(horizon: int, eta: float, rungs: int, every: int) -> list[int]:
    """Steps at which the rungs end: horizon / eta^k, rounded up to whole evaluations, ascending."""
    found = {math.ceil(horizon / eta**k / every - SLACK) * every for k in range(1, rungs)}
    return [*sorted(e for e in found if e < horizon), horizon]
