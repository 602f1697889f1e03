"""The best trajectory, stage by stage: what changed, why, and what it gave."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a path with its gain over the stage before (None for the first)."""

    node: StageNode
    gain: float | None


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
    steps: list[Step] = []
    before: float | None = None
    for node in path_to(nodes, best.node if best else None):
        value = node.status.result.value if node.status.result else None
        gain = value - before if value is not None and before is not None else None
        steps.append(Step(node, gain))
        before = value if value is not None else before
    return steps
