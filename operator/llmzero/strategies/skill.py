"""The skill-based agent: one agent with a written skill steers the whole search itself.

The baseline that the tree's agent is compared with. After each completion the agent gets one
*turn*: it lists stages, reads metrics, and says which stages to start from which checkpoints,
which running ones to stop, or that the search is finished. The turn's answer is stored on the
stage whose completion gave it (the *anchor*) before anything follows from it; here it becomes
decisions, within the same budget, depth and space as with any other strategy. Where no agent
answers, the rules continue and change the best stage.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar

import numpy as np

from llmzero.api.proposals import Answered, BranchFrom, Expansion, Proposal, StageView
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode, StopDecision
from llmzero.rules.space import fresh_point, inside, known
from llmzero.search.decisions import Ask, Create, MarkAudit, Review, Stop
from llmzero.search.expansion import has_room
from llmzero.search.nodes import BASE_PATH, train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values
from llmzero.strategies.context import proposal_request, view
from llmzero.strategies.options import Options
from llmzero.strategies.proposing import ProposingStrategy

MOST_STAGES = 64
"""Stages that one question carries: half of them the best, the rest the newest."""
MOST_CURVES = 24
"""Stages, the newest of those, that carry their curve: a question stays below 1 MiB."""
MOST_STARTS = 8


class SkillAgent(ProposingStrategy):
    """No options. The first stage has the declared initial values; then the agent steers."""

    OPTIONS: ClassVar[Options] = {}

    def __init__(self, tree: Tree, values: Values) -> None:
        super().__init__(tree, values)
        self._asked = False
        self._used_by: dict[str | None, set[int | None]] = {}
        self._read = 1

    def propose(self) -> Sequence[Proposed]:
        if not self.tree.stages:
            return self._first()
        if self._finished():
            return ()
        node = next((n for i in self._ended() for n in self._approved(i)), None)
        if node is not None:
            return (Create(node),)
        return self._turn()

    def stops(self, now: datetime) -> list[Stop | MarkAudit | Review]:
        """Curve against best as ever, then what the agent wants stopped."""
        found = super().stops(now)
        decided = {decision.node for decision in found}
        for order in (o for i in self._ended() for a in self._answers(i) for o in a.answer.stop):
            index = self.tree.find(order.node)
            status = self.tree.rows[index].node.status if index else None
            if status is None or status.phase.final or status.stop is not None:
                continue
            if order.node not in decided:
                decided.add(order.node)
                why = f"the agent: {order.reason}"[:1024]
                found.append(
                    Stop(order.node, StopDecision(reason="AgentRequest", message=why, at=now))
                )
        return found

    # Turns ----------------------------------------------------------------------------------

    def _turn(self) -> Sequence[Proposed]:
        """The question of the newest completion; the rules where nobody answers questions."""
        if not self.asks_agent:
            return self._by_rules()
        anchor = next((i for i in self._ended() if not self._rejected(i)), None)
        idle = not self.tree.of_kind(Kind.IN_FLIGHT).any()
        if anchor is None:
            return self._by_rules() if idle else ()
        expansion = self.tree.expansion(anchor)
        if expansion is None or not expansion.answers:
            self._waits = True
            if self._asked:
                return ()
            self._asked = True
            return (self._turn_question(anchor),)
        if expansion.approved is None and self.manual:
            self._waits = True
            return ()
        return self._by_rules() if idle else ()

    def _turn_question(self, anchor: int) -> Ask:
        tree = self.tree
        free = self.search.spec.strategy.parallelism - int(tree.of_kind(Kind.IN_FLIGHT).sum())
        request = proposal_request(
            tree,
            self.values,
            next(self._by_value(), anchor),
            self._request_id(anchor),
            min(max(free, 1), MOST_STARTS),
            self.failures,
        )
        request = request.with_(
            mode="steer",
            path=[stage.with_(curve=None) for stage in request.path],
            stages=self._views(),
        )
        return Ask(tree.rows[anchor].name, request)

    def _views(self) -> list[StageView]:
        """The best and the newest stages, oldest first; a stage that nothing may start from shows
        no checkpoints."""
        tree, able = self.tree, self.branchable()
        best = [int(i) for i in self.values.ranked[: MOST_STAGES // 2]]
        running = np.flatnonzero(tree.of_kind(Kind.IN_FLIGHT)).tolist()
        shown = dict.fromkeys([*running, *best, *self._ended()])
        kept = list(shown)[:MOST_STAGES]
        recent = {*running, *self._ended()[:MOST_CURVES], *best[:1]}
        views = []
        for index in sorted(kept, key=lambda i: (tree.rows[i].sequence is None, i)):
            found = view(tree, index, with_curve=index in recent)
            views.append(found if able[index] else found.with_(checkpoints=[]))
        return views

    def _ended(self) -> list[int]:
        """Stages that ended, the newest completion first."""
        sequence = self.tree.columns["sequence"]
        return [int(i) for i in np.argsort(-sequence, kind="stable") if sequence[i] >= 0 and i]

    # Stored answers -------------------------------------------------------------------------

    def _answers(self, index: int) -> Sequence[Answered]:
        expansion = self.tree.expansion(index)
        usable = expansion is not None and (expansion.approved is True or not self.manual)
        return expansion.answers if expansion is not None and usable else ()

    def _approved(self, index: int) -> Iterator[StageNode]:
        return self._unused(index) if self._answers(index) else iter(())

    def _rejected(self, index: int) -> bool:
        expansion = self.tree.expansion(index)
        return self.manual and expansion is not None and expansion.approved is False

    def _finished(self) -> bool:
        return any(a.answer.finish for i in self._ended() for a in self._answers(i))

    def _used(self, index: int) -> set[int | None]:
        for row in self.tree.rows[self._read :]:
            place = row.node.spec.provenance.answered_on or row.parent
            self._used_by.setdefault(place, set()).add(row.proposal)
        self._read = len(self.tree)
        return self._used_by.get(self.tree.rows[index].name, set())

    def _of(self, index: int, expansion: Expansion) -> Iterator[StageNode]:
        used = self._used(index)
        for number, (branch, proposal, by) in enumerate(expansion.proposals):
            if number not in used:
                node = self._started(index, number, branch, proposal, by)
                if node is not None:
                    yield node

    def _started(
        self, anchor: int, number: int, branch: BranchFrom, proposal: Proposal, by: str
    ) -> StageNode | None:
        """The stage that a stored proposal asks for; None where it cannot be had (any more)."""
        tree = self.tree
        start = tree.find(branch.node) if branch.node else anchor
        start = ROOT if branch.node == BASE_PATH else start
        if start is None:
            return None
        settings = self._initial() if start == ROOT else tree.rows[start].parameters
        point = {**settings, **proposal.changes}
        if not inside(self.search.spec.parameters, point):
            return None
        step: int | None = branch.step
        if start != ROOT and not self.branchable()[start]:
            if by != "rules":
                return None
            # The rules know the ill stage alone: their remedy starts where that one started.
            step, start = tree.rows[start].start_step, int(tree.parent[start])
        why = Provenance(
            proposer="rules" if by == "rules" else "agent",
            rationale=proposal.rationale,
            expected=proposal.expected,
            proposal=number,
            answered_on="" if start == anchor else tree.rows[anchor].name,
        )
        if start == ROOT:
            taken = [tree.rows[i].parameters for i in tree.children(ROOT)]
            fits = self.affords(tree.stage_steps)
            if not fits or known(self.search.spec.parameters, point, taken):
                return None
            return self.root_stage(point, why, tree.stage_steps, "tree")
        row = tree.rows[start]
        assert row.tip is not None
        step = step if step in row.node.status.checkpoints else row.tip
        if point == row.parameters and step == row.tip and not tree.continued[start]:
            return self._carried_on(start, proposal, why)
        return self._child(
            start, step, point, why, proposal.carry_optimizer, proposal.carry_reference
        )

    def _carried_on(self, index: int, proposal: Proposal, why: Provenance) -> StageNode | None:
        """The same settings from the last checkpoint: child 0, what changes are compared with."""
        row = self.tree.rows[index]
        assert row.tip is not None
        steps = self.child_steps(row.begin + row.tip)
        if steps == 0:
            return None
        return train_node(
            self.search,
            parent=row.node,
            number=0,
            steps=steps,
            parameters=dict(row.parameters),
            provenance=why,
            segment="tree",
            start_step=row.tip,
            carry_optimizer=proposal.carry_optimizer,
            carry_reference=proposal.carry_reference,
        )

    # Without an agent -----------------------------------------------------------------------

    def _by_rules(self) -> Sequence[Proposed]:
        """The best stage carried on, then changed by the rules; another root where none can be."""
        for index in self._by_value():
            expansion = self.tree.expansion(index)
            if self.manual and expansion is not None and expansion.approved is not True:
                self._waits |= expansion.approved is None
                continue
            if not self.tree.continued[index]:
                why = "the same settings carried on: what every change is compared with"
                return (Create(self.going_on(index, "continue", why, "tree")),)
            if has_room(expansion) and not self._fruitless(index):
                answer = self._rules_answer(index)
                if answer is not None:
                    return answer
        return () if self.tree.of_kind(Kind.IN_FLIGHT).any() else self._another_root()

    def _another_root(self) -> Sequence[Proposed]:
        if not self.affords(self.tree.stage_steps):
            return ()
        taken = [self.tree.rows[i].parameters for i in self.tree.children(ROOT)]
        number = self.tree.next_number(ROOT)
        point = fresh_point(
            self.search.spec.parameters, taken, self.failures, "skill", self.seed, number
        )
        if point is None:
            return ()
        why = Provenance(proposer="explore", rationale="no stage can be continued: a new start")
        return (Create(self.root_stage(point, why, self.tree.stage_steps, "tree")),)

    def _by_value(self) -> Iterator[int]:
        """Stages that may take children and have a value, the best first."""
        able, mean = self.branchable() & self.tree.of_kind(Kind.VALUED), self.values.mean
        found = [int(i) for i in np.flatnonzero(able) if mean[i] == mean[i]]
        return iter(sorted(found, key=lambda i: (-mean[i], i)))

    def _first(self) -> Sequence[Proposed]:
        if not self.affords(self.tree.stage_steps):
            return ()
        why = Provenance(proposer="initial", rationale="the declared initial values")
        return (Create(self.root_stage(self._initial(), why, self.tree.stage_steps, "tree")),)

    def _initial(self) -> SettingsMap:
        return {p.name: p.clip(p.initial) for p in self.search.spec.parameters}
