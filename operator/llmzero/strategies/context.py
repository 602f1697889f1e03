"""What a proposer or a judge may know of the tree: bounded, whatever the size of the tree."""

from heapq import nsmallest
from itertools import islice

from numpy import flatnonzero

from llmzero.api.curve import Curve
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import (
    BudgetLeft,
    Infeasible,
    ProposalRequest,
    StageView,
    VerdictRequest,
)
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Outcome
from llmzero.search.nodes import unit_draw
from llmzero.search.rows import Kind, Row
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
        path=[view(tree, i, with_curve=True) for i in path],
        curve=_plain(row.node.status.curve),
        children=[view(tree, i) for i in tree.children(index)[-MOST_CHILDREN:]],
        best=[view(tree, i, with_curve=place == 0) for place, i in enumerate(best)],
        infeasible=failures,
        budget=BudgetLeft(
            stages=tree.account.left,
            depth=max(-(-(tree.horizon - row.end) // tree.stage_steps), 0),
        ),
        count=count,
        seed=int(unit_draw("proposals", search.spec.strategy.seed, request_id) * 2**31),
    )


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
    rows = nsmallest(
        4 * MOST_INFEASIBLE,
        (tree.rows[i] for i in flatnonzero(tree.of_kind(Kind.FAILED))),
        key=lambda r: (not _no_memory(r), -(r.sequence or 0)),
    )
    if rows and _no_memory(rows[0]):
        fits = _fitting(tree)
        rows = [r for r in rows if not (_no_memory(r) and _fits(tree, fits, r))]
    return [_infeasible(row) for row in rows[:MOST_INFEASIBLE]]


def _no_memory(row: Row) -> bool:
    return row.node.status.outcome is Outcome.OUT_OF_MEMORY


def _fitting(tree: Tree) -> set[tuple[float, ...]]:
    """Capacities, in unit coordinates, of the stages that ended well."""
    sizes = _sizes(tree)
    raw = {
        tuple(tree.rows[i].parameters[p.name] for p in sizes)
        for i in flatnonzero(tree.of_kind(Kind.VALUED))
    }
    return {tuple(p.to_unit(v) for p, v in zip(sizes, r, strict=True)) for r in raw}


def _fits(tree: Tree, fits: set[tuple[float, ...]], row: Row) -> bool:
    needed = [p.to_unit(row.parameters[p.name]) for p in _sizes(tree)]
    return any(all(f >= n for f, n in zip(fit, needed, strict=True)) for fit in fits)


def _sizes(tree: Tree) -> list[Parameter]:
    return [p for p in tree.search.spec.parameters if p.role is Role.CAPACITY]


def _infeasible(row: Row) -> Infeasible:
    return Infeasible(
        parameters=row.parameters, outcome="OutOfMemory" if _no_memory(row) else "Diverged"
    )


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
