"""Independent full-length runs: what random search and grid search have in common."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.search.budget import SLACK
from llmzero.search.decisions import Create
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values
from llmzero.strategies.base import BaseStrategy


class RunsStrategy(BaseStrategy):
    """Runs of ``maxDepth`` stages, each stage the continuation of the one before.

    A run is begun only where the budget holds it beside what the earlier runs still need, so
    that runs are whole; the last one gets what is left. A slot may stay idle for that.
    """

    def __init__(self, tree: Tree, values: Values) -> None:
        super().__init__(tree, values)
        self._given = len(tree)

    @abstractmethod
    def setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        """Settings of run ``run``, from 0; None where there are no more."""

    def following(self, index: int) -> StageNode:
        """The stage after ``index`` in its run."""
        return self.going_on(index, "continue", "the same settings to the end of the run", "tree")

    def propose(self) -> Sequence[Proposed]:
        available = self.tree.account.left
        for tip in self._tips():
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

    def _tips(self) -> list[int]:
        """The newest stage of every run, in the order of the runs."""
        tree = self.tree
        first = np.arange(len(tree))
        for level in list(tree.levels())[1:]:
            first[level] = first[tree.parent[level]]
        for index in range(self._given, len(tree)):
            up = tree.parent[index]
            first[index] = index if up == ROOT else first[up]
        tips = np.flatnonzero(tree.width == 0)
        tips = tips[tips != ROOT]
        found: list[int] = tips[np.argsort(first[tips], kind="stable")].tolist()
        return found

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
