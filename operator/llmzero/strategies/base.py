"""What the strategies share: lengths, affordable children, early stopping."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import numpy as np

from llmzero.api.spec import FAILURE_FLOOR
from llmzero.api.stage import Audit, Provenance, StageNode, StopDecision
from llmzero.search.budget import SLACK
from llmzero.search.decisions import MarkAudit, Review, Stop
from llmzero.search.nodes import Segment, train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.stopping import audited, find_doomed
from llmzero.search.tree import ROOT, Flags, Ints, Tree
from llmzero.search.values import Values
from llmzero.strategies.context import verdict_request
from llmzero.strategies.options import Options


class BaseStrategy:
    """Implements :class:`llmzero.search.protocol.Strategy` but for ``propose``.

    ``OPTIONS`` maps the name of each option to its check.
    """

    OPTIONS: ClassVar[Options] = {}

    @classmethod
    def together(cls, options: Mapping[str, Any]) -> str | None:
        """What is wrong with the options beside each other, each being right by itself."""
        return None

    def __init__(self, tree: Tree, values: Values) -> None:
        self.tree, self.values, self.search = tree, values, tree.search
        self.seed = tree.search.spec.strategy.seed
        self.options: Mapping[str, Any] = tree.search.spec.strategy.options
        self.deepest = tree.search.spec.strategy.max_depth + 1
        """Level of the deepest stage: a rung and its completion are one stage of the depth, and
        a path that often goes back to earlier checkpoints grows no longer than others."""

    def propose(self) -> Sequence[Proposed]:
        raise NotImplementedError

    def questions(self) -> Sequence[Proposed]:
        return ()

    def waiting(self) -> bool:
        return False

    def stops(self, now: datetime) -> list[Stop | MarkAudit | Review]:
        """Curve against best; with an agent, the agent is asked for a veto first."""
        rule = self.search.spec.strategy.early_stopping
        found: list[Stop | MarkAudit | Review] = []
        for doomed in find_doomed(self.tree, self.values):
            name = self.tree.rows[doomed.index].name
            if audited(self.seed, name, rule):
                audit = Audit(message=doomed.message[:1024], at=now, step=doomed.step)
                found.append(MarkAudit(name, audit))
            elif self.search.spec.agent is not None:
                request = verdict_request(self.tree, self.values, doomed)
                found.append(Review(name, request))
            else:
                stop = StopDecision(reason="CurveBelowBest", message=doomed.message[:1024], at=now)
                found.append(Stop(name, stop))
        return found

    def child_steps(self, begin: int) -> int:
        """Steps of a stage that starts ``begin`` steps from the base model; 0 where none fits.

        Inside the first stage the rest of it, so that costs along all paths stay comparable; at
        the end of the budget what is left of it, in whole evaluations.
        """
        return int(self._child_steps(np.array([begin]))[0])

    def _child_steps(self, begin: Ints) -> Ints:
        full, left = self.tree.stage_steps, self.tree.account.left
        steps = np.minimum(np.where(begin < full, full - begin, full), self.tree.horizon - begin)
        every = self.search.spec.stage.eval_every
        short = int(left * full / every + SLACK) * every
        short = short if short >= FAILURE_FLOOR * full else 0
        cost = np.maximum(steps / full, FAILURE_FLOOR)
        return np.where(cost <= left + SLACK, np.maximum(steps, 0), np.where(steps > 0, short, 0))

    def affords(self, steps: int) -> bool:
        return self.tree.account.affords(steps / self.tree.stage_steps)

    def going_on(self, index: int, proposer: str, rationale: str, segment: Segment) -> StageNode:
        """Child 0 of a stage: the same settings, moments and reference carried on."""
        row = self.tree.rows[index]
        assert row.tip is not None
        return train_node(
            self.search,
            parent=row.node,
            number=0,
            steps=self.child_steps(row.begin + row.tip),
            parameters=dict(row.parameters),
            provenance=Provenance(proposer=proposer, rationale=rationale),
            segment=segment,
            start_step=row.tip,
            carry_optimizer=True,
            carry_reference=True,
        )

    def can_branch(self, index: int) -> bool:
        """Whether a stage ended well, below the horizon, with a checkpoint, and can be afforded."""
        row = self.tree.rows[index]
        ended_well = row.kind is Kind.VALUED and row.tip is not None
        above = row.path.count("-") + 1 < self.deepest
        return ended_well and above and self.child_steps(row.begin + (row.tip or 0)) > 0

    def branchable(self) -> Flags:
        """Which stages may take children, by index: those of :meth:`can_branch`, and those that
        diverged after a whole checkpoint."""
        tip, begin = self.tree.columns["tip"], self.tree.columns["begin"]
        ended = self.tree.of_kind(Kind.VALUED) & (tip >= 0)
        ended |= self.tree.of_kind(Kind.FAILED) & (tip > 0)
        ended &= self.tree.columns["level"] < self.deepest
        found: Flags = ended & (self._child_steps(begin + tip) > 0)
        return found

    def root_stage(
        self,
        parameters: dict[str, Any],
        provenance: Provenance,
        steps: int,
        segment: Segment,
    ) -> StageNode:
        """The next child of the base model."""
        return train_node(
            self.search,
            parent=None,
            number=self.tree.next_number(ROOT),
            steps=steps,
            parameters=parameters,
            provenance=provenance,
            segment=segment,
        )
