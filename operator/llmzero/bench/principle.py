"""Does the recurring pattern hold on our own trees: capacity accumulates, regularization swings?

Source of the claim: LLMZero (arXiv 2606.18388, abstract). Measured on the signs of the changes
along paths from the root: how often a capacity step goes up, and how often a regularization step
turns back the one before. The null of the second is the same changes in random order: of n signs
with a up and b down, 2ab/n neighbours differ on average. A swing beyond that null is a fact, not
yet a strategy: settings that are drawn independently from a range turn back more often, too.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter, Role
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.bench.statistics import COVERAGE, DRAWS, Interval
from llmzero.report.path import path_to

Verdict = Literal["holds", "fails", "undecided"]
EVEN: Final = 0.5
LEAST_STEPS: Final = 5
"""Below so many steps nothing is decided."""
ONLY_UP: Final = ("initial", "continue", "rules", "explore", "replica", "finish")
Tree = tuple[TrainingSearch, Sequence[StageNode]]
Cluster = tuple[int, int]
"""Search and child of the root: paths in one cluster share stages."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The non-zero changes of one parameter along one path: +1 up, -1 down."""

    parameter: str
    role: Role
    cluster: Cluster
    signs: tuple[int, ...]

    @property
    def ups(self) -> int:
        return self.signs.count(1)

    @property
    def turns(self) -> int:
        """Neighbours that differ."""
        return sum(a != b for a, b in pairwise(self.signs))

    @property
    def expected_turns(self) -> float:
        """Of the same signs in random order."""
        n, a = len(self.signs), self.ups
        return 2 * a * (n - a) / n if n else 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its interval; ``steps`` is what it is a share of."""

    found: Interval | None
    null: float
    steps: int

    @property
    def verdict(self) -> Verdict:
        if self.found is None or self.steps < LEAST_STEPS:
            return "undecided"
        if self.found.low > self.null:
            return "holds"
        return "fails" if self.found.high < self.null else "undecided"


@dataclass(frozen=True, slots=True)
class Principle:
    """What was measured over some paths."""

    paths: int
    capacity: Share
    """Steps of capacity that go up, against one half."""
    regularization: Share
    """Steps of regularization that turn back the one before, against random order."""

    @property
    def verdict(self) -> Verdict:
        both = {self.capacity.verdict, self.regularization.verdict}
        if both == {"holds"}:
            return "holds"
        return "fails" if "fails" in both else "undecided"


def along_best(trees: Sequence[Tree]) -> Principle:
    """Over the best path of each search."""
    found: list[Signs] = []
    count = 0
    for number, (search, nodes) in enumerate(trees):
        best = search.status.best
        path = path_to(nodes, best.node if best else None)
        if path:
            count += 1
            found += signs_of(search, path, (number, 0))
    return _measured(found, count)


def along_all(trees: Sequence[Tree]) -> Principle:
    """Over every path from the root to a leaf."""
    found: list[Signs] = []
    count = 0
    for number, (search, nodes) in enumerate(trees):
        stages = [n for n in nodes if n.spec.purpose is Purpose.TRAIN]
        parents = {n.spec.parent for n in stages}
        for leaf in stages:
            if leaf.name not in parents:
                count += 1
                path = path_to(stages, leaf.name)
                root = int(leaf.spec.path.partition("-")[0])
                found += signs_of(search, path, (number, root))
    return _measured(found, count)


def signs_of(search: TrainingSearch, path: Sequence[StageNode], cluster: Cluster) -> list[Signs]:
    """One sequence for each ordered parameter that changed along the path."""
    found = []
    for parameter in search.spec.parameters:
        if parameter.role is Role.FREE or not _ordered(parameter):
            continue
        values = [node.spec.parameters[parameter.name] for node in path]
        places = [parameter.to_unit(v) for v in values]
        steps = np.diff(np.asarray(places))
        signs = tuple(int(s) for s in np.sign(steps[np.abs(steps) > 1e-9]))
        if signs:
            found.append(Signs(parameter.name, parameter.role, cluster, signs))
    return found


def _ordered(parameter: Parameter) -> bool:
    def number(value: Scalar) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    return parameter.choices is None or (
        all(map(number, parameter.choices))
        and list(parameter.choices) == sorted(parameter.choices, key=float)
    )


def _measured(found: Sequence[Signs], paths: int) -> Principle:
    capacity = [s for s in found if s.role is Role.CAPACITY]
    swings = [s for s in found if s.role is Role.REGULARIZATION and len(s.signs) > 1]
    pairs = sum(len(s.signs) - 1 for s in swings)
    null = sum(s.expected_turns for s in swings) / pairs if pairs else 0.0
    ups = _ratio([(s.cluster, s.ups, len(s.signs)) for s in capacity])
    beyond = _ratio([(s.cluster, s.turns - s.expected_turns, len(s.signs) - 1) for s in swings])
    turns = beyond and Interval(beyond.value + null, beyond.low + null, beyond.high + null)
    return Principle(
        paths,
        Share(ups, EVEN, sum(len(s.signs) for s in capacity)),
        Share(turns, null, pairs),
    )


def _ratio(counts: Sequence[tuple[Cluster, float, int]], seed: int = 0) -> Interval | None:
    """Sum over sum with an interval by drawing clusters anew; None below two clusters."""
    clusters: dict[Cluster, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for cluster, part, whole in counts:
        clusters[cluster][0] += part
        clusters[cluster][1] += whole
    sums = np.asarray(list(clusters.values()), dtype=np.float64)
    if len(sums) < 2:
        return None
    drawn = sums[np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))].sum(axis=1)
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [tail, 1 - tail])
    total = sums.sum(axis=0)
    return Interval(float(total[0] / total[1]), float(low), float(high))


def bound_to_grow(trees: Sequence[Tree]) -> bool:
    """Whether all transitions come from proposers that never lower capacity but for memory: then
    it says nothing that capacity goes up."""
    return all(
        node.spec.provenance.proposer in ONLY_UP
        for _, nodes in trees
        for node in nodes
        if node.spec.purpose is Purpose.TRAIN
    )
