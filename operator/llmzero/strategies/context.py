"""What a proposer or a judge may know of the tree: bounded, whatever the size of the tree."""

from itertools import islice

import numpy as np

from llmzero.api.curve import Curve
from llmzero.api.proposals import (
    BudgetLeft,
    Infeasible,
    ProposalRequest,
    StageView,
    VerdictRequest,
)
from llmzero.api.search import TrainingSearch
from llmzero.search.nodes import unit_draw
from llmzero.search.rows import Kind
from llmzero.search.stopping import Doomed
from llmzero.search.tree import Tree
from llmzero.search.values import Values

MOST_PATH = 64
MOST_CHILDREN = 64
MOST_BEST = 5
MOST_INFEASIBLE = 16
_SCALARS = (bool, int, float, str)


def view(tree: Tree, index: int, with_curve: bool = False) -> StageView:
    """One stage as a proposer sees it. ``value`` is the objective in its own direction."""
    row = tree.rows[index]
    spec, status = row.node.spec, row.node.status
    return StageView(
        node=row.name,
        path=row.path,
        depth=max(tree.depth(index), 1),
        parameters=spec.parameters,
        changes={c.name: (c.old, c.new) for c in spec.changes},
        proposer=row.proposer,
        rationale=spec.provenance.rationale[:512],
        outcome=status.outcome.value if status.outcome else None,
        steps=row.steps,
        value=None if row.goodness is None else tree.sign * row.goodness,
        standard_error=None if row.goodness is None else row.variance**0.5,
        features=status.features,
        pathologies=status.pathologies,
        scores=[s.with_(per_question="") for s in status.curve.scores],
        checkpoints=status.checkpoints,
        start_step=row.start_step,
        curve=_plain(status.curve) if with_curve else None,
    )


def proposal_request(
    tree: Tree,
    values: Values,
    index: int,
    request_id: str,
    count: int,
    failures: list[Infeasible],
) -> ProposalRequest:
    """The question how to go on from stage ``index``."""
    search = tree.search
    path = tree.path(index)[-MOST_PATH:]
    row = tree.rows[index]
    expansion = tree.expansion(index)
    asked = len(expansion.answers) if expansion else 0
    best = list(islice((int(i) for i in values.ranked if i not in path), MOST_BEST))
    return ProposalRequest(
        request_id=request_id,
        search=search.name,
        task=_task(search),
        objective=search.spec.objective.metric,
        direction=search.spec.objective.direction,
        parameters=search.spec.parameters,
        fixed={k: v for k, v in search.spec.fixed.items() if isinstance(v, _SCALARS)},
        stage_steps=tree.stage_steps,
        evaluation_temperature=search.spec.evaluation.temperature,
        path=[view(tree, i, with_curve=True) for i in path],
        curve=_plain(row.node.status.curve),
        children=[view(tree, i) for i in tree.children(index)[-MOST_CHILDREN:]],
        siblings=[view(tree, i) for i in _siblings(tree, index)],
        best=[view(tree, i, with_curve=place == 0) for place, i in enumerate(best)],
        infeasible=failures,
        samples=row.node.status.samples,
        budget=BudgetLeft(
            stages=tree.account.left,
            depth=max(-(-(tree.horizon - row.end) // tree.stage_steps), 0),
        ),
        count=count,
        # Of the path, not of the name, which holds the UID: the same manifest grows the same tree.
        seed=int(unit_draw("proposals", search.spec.strategy.seed, row.path, asked) * 2**31),
    )


def _siblings(tree: Tree, index: int) -> list[int]:
    """The other children of the stage's parent: the one that went on unchanged (child 0) and the
    newest."""
    parent = int(tree.parent[index])
    others = [i for i in tree.children(parent) if i != index] if parent >= 0 else []
    return others if len(others) <= MOST_CHILDREN else [others[0], *others[1 - MOST_CHILDREN :]]


def verdict_request(tree: Tree, values: Values, doomed: Doomed) -> VerdictRequest:
    """The question whether a doomed stage shall really stop."""
    best = values.leader
    assert best is not None
    row = tree.rows[doomed.index]
    return VerdictRequest(
        request_id=f"{row.name}-stop",
        search=tree.search.name,
        objective=tree.search.spec.objective.metric,
        direction=tree.search.spec.objective.direction,
        stage=view(tree, doomed.index),
        curve=_plain(row.node.status.curve),
        best=view(tree, best),
        best_curve=_plain(tree.rows[best].node.status.curve),
        reason=doomed.message[:1024],
    )


def infeasible(tree: Tree) -> list[Infeasible]:
    """Settings that ran out of memory or diverged: the newest, memory first.

    Out of memory is taken back where a stage of at least that capacity ended well: then it was
    the machine's, not the settings'.
    """
    columns = tree.columns
    failed = np.flatnonzero(tree.of_kind(Kind.FAILED))
    newest = np.lexsort((-columns["sequence"][failed], ~columns["out_of_memory"][failed]))
    fits = columns["sizes"][tree.of_kind(Kind.VALUED)]
    found: list[Infeasible] = []
    for index in failed[newest][: 4 * MOST_INFEASIBLE].tolist():
        needed = columns["sizes"][index]
        memory = bool(columns["out_of_memory"][index])
        if memory and len(needed) and (fits >= needed).all(axis=1).any():
            continue
        found.append(
            Infeasible(
                parameters=tree.rows[index].parameters,
                outcome="OutOfMemory" if memory else "Diverged",
            )
        )
    return found[:MOST_INFEASIBLE]


def _plain(curve: Curve) -> Curve:
    """Without the answers to single questions: nobody reads them, and they are large."""
    return curve.with_(scores=[s.with_(per_question="") for s in curve.scores])


def _task(search: TrainingSearch) -> str:
    task = search.spec.task
    options = ", ".join(f"{k}={v}" for k, v in sorted(task.options.items()))
    rewards = ", ".join(f"{r.name} (weight {r.weight:g})" for r in task.rewards)
    text = f"{task.name}{f' with {options}' if options else ''}; rewards: {rewards}"
    if task.system_prompt:
        text += f"; system prompt: {task.system_prompt}"
    return text[:2048]
