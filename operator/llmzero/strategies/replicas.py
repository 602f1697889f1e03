"""Leading transitions that are repeated with other rollouts, before more is spent below them."""

from llmzero.api.stage import Provenance, StageNode
from llmzero.search.budget import SLACK
from llmzero.search.nodes import train_node
from llmzero.search.rows import REPLICA
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values, same_transition

REPLICATE_BELOW = 1.0
"""Stages spent below a leading transition at which it is repeated: before two are [reference]."""


def to_repeat(tree: Tree, values: Values, share: float) -> int | None:
    """The first transition on the path to the leader that asks for it; ``share``: of the budget, for
    all of them. None where none does or none can be paid."""
    account, best = tree.account, values.leader
    if best is None or not share:
        return None
    for index in tree.path(best):
        row = tree.rows[index]
        cost = row.steps / tree.stage_steps
        below = tree.visits[index] + tree.flying[index] - row.charge
        if row.constant or row.proposer == REPLICA or below + SLACK < REPLICATE_BELOW:
            continue
        if tree.parent[index] == ROOT:
            continue  # a choice of settings, screened against others, and no transition
        siblings = [tree.rows[i] for i in tree.children(int(tree.parent[index]))]
        if any(s.proposer == REPLICA and same_transition(s, row) for s in siblings):
            continue
        paid = account.by_segment["promote"] + cost
        if paid <= share * account.limit + SLACK and account.affords(cost):
            return index
    return None


def repetition(tree: Tree, index: int) -> StageNode:
    """The same transition from the same checkpoint, with another rollout seed."""
    row, up = tree.rows[index], int(tree.parent[index])
    spec = row.node.spec
    return train_node(
        tree.search,
        parent=tree.rows[up].node,
        number=tree.next_number(up),
        steps=row.steps,
        parameters=dict(row.parameters),
        provenance=Provenance(
            proposer=REPLICA,
            rationale=f"repeats {row.path}, which leads, with other rollouts",
        ),
        segment="promote",
        start_step=row.start_step,
        carry_optimizer=spec.carry_optimizer,
        carry_reference=spec.carry_reference,
        replica=1,
    )
