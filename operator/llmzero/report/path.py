"""The best trajectory, stage by stage: what changed, why, and what it gave."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a path, as far as the path takes it."""

    node: StageNode
    steps: int
    """Up to the checkpoint that the next stage starts from."""
    gain: float | None
    """At the stage's end, over the evaluation of the checkpoint that it started from; None for the
    first, and where one of the two is not known."""


def path_to(nodes: Sequence[StageNode], name: str | None) -> list[StageNode]:
    """The training stages from the root down to ``name``; empty where it is unknown."""
    stages = {n.name: n for n in nodes if n.spec.purpose is Purpose.TRAIN}
    path: list[StageNode] = []
    while name is not None and name in stages and len(path) <= len(stages):
        node = stages[name]
        path.append(node)
        name = node.spec.parent
    return path[::-1]


def best_path(search: TrainingSearch, nodes: Sequence[StageNode]) -> list[Step]:
    """The path to ``status.best``, each stage with its gain in units of the objective."""
    best = search.status.best
    path = path_to(nodes, best.node if best else None)
    return [
        Step(node, steps_taken(node, below), gain(node, above))
        for above, node, below in zip([None, *path], path, [*path[1:], None], strict=False)
    ]


def steps_taken(node: StageNode, below: StageNode | None) -> int:
    """Steps of a stage up to the checkpoint that ``below`` starts from, or to its own last one."""
    if below is not None and below.spec.start is not None:
        return below.spec.start.step
    return max(node.status.checkpoints, default=node.status.step or node.spec.steps)


def gain(node: StageNode, above: StageNode | None) -> float | None:
    """What a stage gave: its result less the evaluation of the checkpoint that it started from."""
    result, start = node.status.result, node.spec.start
    ended = above.status.result if above is not None else None
    if above is None or ended is None or result is None:
        return None
    if start is None or start.step == ended.step:
        return result.value - ended.value
    scores = {s.step: s.value for s in above.status.curve.scores}
    return result.value - scores[start.step] if start.step in scores else None
