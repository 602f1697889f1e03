"""Independent full-length runs: what random search and grid search have in common."""

from abc import abstractmethod
from collections.abc import Sequence

from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.search.budget import SLACK
from llmzero.search.decisions import Create
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT
from llmzero.strategies.base import BaseStrategy


class RunsStrategy(BaseStrategy):
    """Runs of ``maxDepth`` stages, each stage the continuation of the one before.

    A run is begun only where the budget holds it beside what the earlier runs still need, so
    that runs are whole; the last one gets what is left. A slot may stay idle for that.
    """

    @abstractmethod
    def setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        """Settings of run ``run``, from 0; None where there are no more."""

    def following(self, index: int) -> StageNode:
        """The stage after ``index`` in its run."""
        return self.going_on(index, "continue", "the same settings to the end of the run", "tree")

    def propose(self) -> Sequence[Proposed]:
        available = self.tree.account.left
        for first in self.tree.children(ROOT):
            tip = self._tip(first)
            missing = self._missing(tip)
            if missing and self.can_branch(tip) and self._fits(tip, available):
                return [Create(self.following(tip))]
            available -= missing
        steps = self.tree.stage_steps
        if available + SLACK < 1 or not self.affords(steps):
            return ()
        setting = self.setting(self.tree.next_number(ROOT))
        if setting is None:
            return ()
        return [Create(self.root_stage(*setting, steps=steps, segment="tree"))]

    def _tip(self, index: int) -> int:
        while children := self.tree.children(index):
            index = children[-1]
        return index

    def _missing(self, tip: int) -> float:
        """Full stages that the run of ``tip`` still needs beyond what is in flight."""
        row = self.tree.rows[tip]
        if row.kind is Kind.IN_FLIGHT or (row.kind is Kind.VALUED and row.tip is not None):
            return max(self.tree.horizon - row.end, 0) / self.tree.stage_steps
        return 0.0

    def _fits(self, tip: int, available: float) -> bool:
        row = self.tree.rows[tip]
        steps = self.child_steps(row.begin + (row.tip or 0))
        return steps / self.tree.stage_steps <= available + SLACK
