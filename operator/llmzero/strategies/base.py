"""What the strategies share: lengths, affordable children, early stopping."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from llmzero.api.stage import Audit, Provenance, StageNode, StopDecision
from llmzero.search.decisions import MarkAudit, Review, Stop
from llmzero.search.nodes import Segment, train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.stopping import audited, find_doomed
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values
from llmzero.strategies.context import verdict_request
from llmzero.strategies.options import Options


class BaseStrategy:
    """Implements :class:`llmzero.search.protocol.Strategy` but for ``propose``.

    ``OPTIONS`` maps the name of each option to its check.
    """

    OPTIONS: ClassVar[Options] = {}

    def __init__(self, tree: Tree, values: Values) -> None:
        self.tree, self.values, self.search = tree, values, tree.search
        self.seed = tree.search.spec.strategy.seed
        self.options: Mapping[str, Any] = tree.search.spec.strategy.options

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
        """Steps of a stage that starts ``begin`` steps from the base model; 0 at the horizon.

        Inside the first stage the rest of it, so that costs along all paths stay comparable.
        """
        full = self.tree.stage_steps
        steps = full - begin if begin < full else full
        return max(min(steps, self.tree.horizon - begin), 0)

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
        if row.kind is not Kind.VALUED or row.tip is None:
            return False
        steps = self.child_steps(row.begin + row.tip)
        return steps > 0 and self.affords(steps)

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
