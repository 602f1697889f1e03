"""The next transition of an ended stage: from stored proposals, the agent, the rules, or chance."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from llmzero import rules
from llmzero.api.proposals import Answered, Expansion, Infeasible, Proposal, ProposalRequest
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.space import hopeless, inside, known, nearby
from llmzero.search.decisions import Ask, Create, Expand
from llmzero.search.expansion import has_room, with_answer
from llmzero.search.nodes import train_node, unit_draw
from llmzero.search.protocol import Proposed
from llmzero.strategies.base import BaseStrategy
from llmzero.strategies.context import infeasible, proposal_request

TRIES = 32
FROM_RULES = 1
"""Proposals a question to the rules: they cost nothing, and later ones know more."""
FROM_AGENT = 2
"""Proposals a question to the agent, which costs money."""


class ProposingStrategy(BaseStrategy):
    """Children of ended stages. ``explore`` is the share of random transitions."""

    explore: float = 0.0
    branches: bool = True
    """Whether a child starts at the checkpoint that was chosen, or always at the last."""
    _waits = False

    def waiting(self) -> bool:
        return self._waits

    @property
    def manual(self) -> bool:
        return self.search.spec.approval == "manual"

    @cached_property
    def failures(self) -> list[Infeasible]:
        return infeasible(self.tree)

    @cached_property
    def asks_agent(self) -> bool:
        """Whether an agent is configured and its budget is not spent: else the rules answer."""
        spec = self.search.spec
        if spec.agent is None:
            return False
        tokens, dollars = spec.budget.agent_tokens, spec.budget.agent_dollars
        columns = self.tree.columns
        return not (
            (tokens is not None and columns["agent_tokens"].sum() >= tokens)
            or (dollars is not None and columns["agent_dollars"].sum() >= dollars)
        )

    def transition(self, index: int, explores: bool = True) -> Sequence[Proposed]:
        """What makes the next changed child of ``index``; empty where it takes none now.
        ``explores``: whether it may be the turn of a random one."""
        expansion = self.tree.expansion(index)
        ready = next(self._unused(index), None)
        if expansion is not None and self.manual and expansion.approved is not True:
            if expansion.approved is None and ready is not None:
                self._waits = True
            return ()
        if explores and not self.manual and self._turn_to_explore(index):
            node = self._explored(index)
            if node is not None:
                return (Create(node),)
        if ready is not None:
            return (Create(ready),)
        if has_room(expansion) and not self._fruitless(index):
            if self.asks_agent:
                self._waits = True
                return (self._question(index),)
            answer = self._rules_answer(index)
            if answer is not None:
                return answer
        node = None if self.manual else self._explored(index)
        return () if node is None else (Create(node),)

    def transition_now(self, index: int, explores: bool = True) -> Sequence[Proposed]:
        """:meth:`transition` where nobody has to be waited for; empty elsewhere."""
        if self.manual or (self.asks_agent and next(self._unused(index), None) is None):
            return ()
        return self.transition(index, explores)

    def question_ahead(self, index: int) -> Ask | None:
        """The question that the next child of ``index`` will need, if an agent answers it."""
        expansion = self.tree.expansion(index)
        if expansion is not None and self.manual and expansion.approved is not True:
            return None
        if next(self._unused(index), None) is not None or self._fruitless(index):
            return None
        return self._question(index) if has_room(expansion) else None

    def _question(self, index: int) -> Ask:
        row = self.tree.rows[index]
        return Ask(row.name, self._request(index, FROM_AGENT))

    def _rules_answer(self, index: int) -> Sequence[Proposed] | None:
        """The rules' answer, stored before its child is created; None where it offers nothing."""
        tree, name = self.tree, self.tree.rows[index].name
        request = self._request(index, FROM_RULES)
        answered = Answered(
            request_id=request.request_id,
            answered_by="rules",
            provider="rules",
            answer=rules.propose(request),
            note=self._why_rules(),
        )
        expansion = with_answer(tree.expansion(index), answered, self.manual)
        ready = next(self._of(index, expansion), None)
        if ready is None:
            return None
        if self.manual:
            self._waits = True
            return (Expand(name, expansion),)
        return (Expand(name, expansion), Create(ready))

    def _why_rules(self) -> str:
        return "" if self.search.spec.agent is None else "the agent's budget is spent"

    def _request(self, index: int, count: int) -> ProposalRequest:
        name = self._request_id(index)
        return proposal_request(self.tree, self.values, index, name, count, self.failures)

    def _request_id(self, index: int) -> str:
        """Same id, same question: the number of the answer that it will become."""
        expansion = self.tree.expansion(index)
        return f"{self.tree.rows[index].name}-{len(expansion.answers) if expansion else 0}"

    def _turn_to_explore(self, index: int) -> bool:
        row, number = self.tree.rows[index], self.tree.next_number(index)
        return unit_draw("explore", self.seed, row.path, number) < self.explore

    def _fruitless(self, index: int) -> bool:
        """Whether the latest answer led to no child: another question would get the same."""
        expansion = self.tree.expansion(index)
        if expansion is None or not expansion.answers:
            return False
        total = sum(len(a.answer.proposals) for a in expansion.answers)
        latest = total - len(expansion.answers[-1].answer.proposals)
        used = self._used(index)
        return not any(number in used for number in range(latest, total))

    def _used(self, index: int) -> set[int | None]:
        return {self.tree.rows[child].proposal for child in self.tree.children(index)}

    def _unused(self, index: int) -> Iterator[StageNode]:
        expansion = self.tree.expansion(index)
        return iter(()) if expansion is None else self._of(index, expansion)

    def _of(self, index: int, expansion: Expansion) -> Iterator[StageNode]:
        """Stages of the proposals that no child was made of and that may be run."""
        used = self._used(index)
        for number, (branch, proposal, by) in enumerate(expansion.proposals):
            if number not in used:
                node = self._proposed(index, number, branch.step, proposal, by)
                if node is not None:
                    yield node

    def _proposed(
        self, index: int, number: int, step: int, proposal: Proposal, by: str
    ) -> StageNode | None:
        row = self.tree.rows[index]
        if step not in row.node.status.checkpoints or not self.branches:
            assert row.tip is not None
            step = row.tip
        point = {**row.parameters, **proposal.changes}
        if not proposal.changes or not inside(self.search.spec.parameters, point):
            return None
        return self._child(
            index,
            step,
            point,
            Provenance(
                proposer="rules" if by == "rules" else "agent",
                rationale=proposal.rationale,
                expected=proposal.expected,
                proposal=number,
            ),
            carry_optimizer=proposal.carry_optimizer,
            carry_reference=proposal.carry_reference,
        )

    def _explored(self, index: int) -> StageNode | None:
        """A random bounded transition that was not tried; None where none is found."""
        row, parameters = self.tree.rows[index], self.search.spec.parameters
        number = self.tree.next_number(index)
        assert row.tip is not None
        why = Provenance(proposer="explore", rationale="a random step nearby")
        for attempt in range(TRIES):
            point = nearby(
                parameters,
                row.parameters,
                self.search.spec.fixed,
                self.seed,
                row.path,
                number,
                attempt,
            )
            if point != row.parameters and not hopeless(parameters, point, self.failures):
                node = self._child(index, row.tip, point, why)
                if node is not None:
                    return node
        return None

    def _child(
        self,
        index: int,
        step: int,
        point: SettingsMap,
        provenance: Provenance,
        carry_optimizer: bool = False,
        carry_reference: bool = False,
    ) -> StageNode | None:
        """The next changed child, or None where a sibling is the same or it is not affordable."""
        tree, row = self.tree, self.tree.rows[index]
        siblings = [
            tree.rows[c].parameters for c in tree.children(index) if tree.rows[c].start_step == step
        ]
        steps = self.child_steps(row.begin + step)
        if steps == 0 or known(self.search.spec.parameters, point, siblings):
            return None
        return train_node(
            self.search,
            parent=row.node,
            # Number 0 is kept for going on unchanged, also where that makes no sense.
            number=max(tree.next_number(index), 1),
            steps=steps,
            parameters=point,
            provenance=provenance,
            segment="tree",
            start_step=step,
            carry_optimizer=carry_optimizer,
            carry_reference=carry_reference,
        )
