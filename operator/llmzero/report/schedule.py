"""The best path of a search as a schedule document, for another search to replay."""

from collections.abc import Sequence
from typing import Final

from llmzero.api.parameters import Parameter
from llmzero.api.schedule import FoundIn, Relative, ScheduleDocument, ScheduleStage, Seen
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.report.path import path_to, steps_taken
from llmzero.strategies.replay import relative

FEATURES: Final = (
    "eval_gain",
    "eval_gain_error",
    "reward_slope",
    "entropy_end",
    "dead_groups_end",
    "clipped_ratio_end",
    "kl_path",
)
"""What is told of a stage's dynamics; names of :mod:`llmzero.dynamics.features`."""


def schedule_of(
    search: TrainingSearch, nodes: Sequence[StageNode], name: str | None = None
) -> ScheduleDocument:
    """The path to the best stage (or to the stage ``name``). Raises ValueError where there is none.

    A stage counts up to the checkpoint that the next one starts from. ``stages`` hold what each
    one changes, absolute and relative to this search's initial values; the first holds all.
    """
    best = search.status.best
    target = name or (best.node if best else None)
    path = path_to(nodes, target)
    if not path:
        raise ValueError("no stage has a value yet" if target is None else f"no stage {target}")
    space = {p.name: p for p in search.spec.parameters}
    stages = [
        _stage(node, above, below, space)
        for above, node, below in zip([None, *path], path, [*path[1:], None], strict=False)
    ]
    spec, last = search.spec, path[-1]
    chosen = best if best is not None and best.node == last.name else None
    result = last.status.result
    return ScheduleDocument(
        name=f"{search.name}-{last.spec.path}"[:63],
        found_in=FoundIn(
            search=search.name,
            model=spec.model.path or spec.model.builtin or "",
            task=spec.task.name,
            path=last.spec.path,
            objective=spec.objective.metric,
            value=chosen.value if chosen else result.value if result else None,
            standard_error=chosen.standard_error
            if chosen
            else result.standard_error
            if result
            else None,
            split=chosen.split if chosen else "search",
            seed=spec.strategy.seed,
        ),
        stage_steps=spec.stage.steps,
        parameters=list(spec.parameters),
        stages=stages,
    )


def _stage(
    node: StageNode,
    above: StageNode | None,
    below: StageNode | None,
    space: dict[str, Parameter],
) -> ScheduleStage:
    changed = dict(node.spec.parameters)
    if above is not None:
        changed = {k: v for k, v in changed.items() if above.spec.parameters.get(k) != v}
    twins: dict[str, Relative] = {}
    for name, value in changed.items():
        twin = relative(space[name], value) if name in space else None
        if twin is not None:
            twins[name] = twin
    why = node.spec.provenance
    return ScheduleStage(
        steps=max(steps_taken(node, below), 1),
        parameters={**changed},
        relative=twins,
        carry_optimizer=node.spec.carry_optimizer,
        carry_reference=node.spec.carry_reference,
        why=f"{why.proposer}: {why.rationale}"[:2048] if why.rationale else why.proposer,
        seen=None if above is None else _seen(above),
    )


def _seen(node: StageNode) -> Seen:
    status = node.status
    return Seen(
        value=status.result.value if status.result else None,
        standard_error=status.result.standard_error if status.result else None,
        pathologies=[p.kind.value for p in status.pathologies],
        features={k: status.features[k] for k in FEATURES if k in status.features},
    )
