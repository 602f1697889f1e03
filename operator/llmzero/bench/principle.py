"""Does the recurring pattern hold on our own trees: capacity accumulates, regularization swings?

Source of the claim: LLMZero (arXiv 2606.18388, abstract). Measured on the signs of the changes
along paths from the root: how often a capacity step goes up, and how often a regularization step
turns back the one before. A step that several paths share counts once. The null of the first is a
fair coin, that of the second the same changes in random order: of n signs with a up and b down,
2ab/n neighbours differ on average. A swing beyond that null is a fact, not yet a strategy: settings
that are drawn independently from a range turn back more often, too.

Paths share stages, so whole clusters are the sample: the interval is the ratio's by linearization
with Student's t over clusters (Cochran, Sampling Techniques, 1977, 6.4), and nothing is decided
below ``LEAST_CLUSTERS``.
"""

import math
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
from llmzero.bench.statistics import Interval, student
from llmzero.report.path import path_to

Verdict = Literal["holds", "fails", "undecided"]
EVEN: Final = 0.5
LEAST_STEPS: Final = 5
"""Below so many steps nothing is decided."""
LEAST_CLUSTERS: Final = 6
"""If each cluster leaned either way by a coin, five would all lean one way in 1 of 16 cases."""
ONLY_UP: Final = ("initial", "continue", "rules", "explore", "replica", "finish")
Tree = tuple[TrainingSearch, Sequence[StageNode]]
Cluster = tuple[int, int]
"""Search and child of the root: paths in one cluster share stages."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The non-zero changes of one parameter along one path: +1 up, -1 down; with the stage that
    made each."""

    parameter: str
    role: Role
    cluster: Cluster
    signs: tuple[int, ...]
    stages: tuple[str, ...]

    @property
    def ups(self) -> int:
        return self.signs.count(1)

    @property
    def expected_turns(self) -> float:
        """Of the same signs in random order."""
        n, a = len(self.signs), self.ups
        return 2 * a * (n - a) / n if n else 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its interval; ``steps`` is what it is a share of, ``clusters`` of how many the
    sample consists."""

    found: Interval | None
    null: float
    steps: int
    clusters: int

    @property
    def verdict(self) -> Verdict:
        if self.found is None or self.steps < LEAST_STEPS or self.clusters < LEAST_CLUSTERS:
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
        moves = np.diff(np.asarray(places))
        changed = np.flatnonzero(np.abs(moves) > 1e-9).tolist()
        signs = tuple(int(s) for s in np.sign(moves[changed]))
        if signs:
            stages = tuple(path[i + 1].name for i in changed)
            found.append(Signs(parameter.name, parameter.role, cluster, signs, stages))
    return found


def _ordered(parameter: Parameter) -> bool:
    def number(value: Scalar) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    return parameter.choices is None or (
        all(map(number, parameter.choices))
        and list(parameter.choices) == sorted(parameter.choices, key=float)
    )


def _measured(found: Sequence[Signs], paths: int) -> Principle:
    ups: Counts = defaultdict(lambda: [0.0, 0.0])
    turns: Counts = defaultdict(lambda: [0.0, 0.0])
    null = 0.0
    known: set[tuple[Cluster | str, ...]] = set()
    for signs in found:
        steps = list(zip(signs.stages, signs.signs, strict=True))
        if signs.role is Role.CAPACITY:
            for stage, sign in steps:
                if _new(known, signs.cluster, signs.parameter, stage):
                    _add(ups[signs.cluster], sign > 0, 1)
        elif len(steps) > 1:
            chance = signs.expected_turns / (len(steps) - 1)
            for (before, was), (stage, now) in pairwise(steps):
                if _new(known, signs.cluster, signs.parameter, before, stage):
                    _add(turns[signs.cluster], (was != now) - chance, 1)
                    null += chance
    pairs = int(sum(whole for _, whole in turns.values()))
    null = null / pairs if pairs else 0.0
    beyond = _ratio(turns)
    return Principle(
        paths,
        Share(_ratio(ups), EVEN, int(sum(whole for _, whole in ups.values())), len(ups)),
        Share(
            beyond and Interval(beyond.value + null, beyond.low + null, beyond.high + null),
            null,
            pairs,
            len(turns),
        ),
    )


Counts = dict[Cluster, list[float]]
"""Part and whole of a share, by cluster."""


def _new(known: set[tuple[Cluster | str, ...]], *step: Cluster | str) -> bool:
    """Whether it is seen for the first time."""
    fresh = step not in known
    known.add(step)
    return fresh


def _add(count: list[float], part: float, whole: float) -> None:
    count[0] += part
    count[1] += whole


def _ratio(counts: Counts) -> Interval | None:
    """Sum over sum with its interval; None below three clusters."""
    part, whole = np.asarray(list(counts.values()), dtype=np.float64).reshape(-1, 2).T
    n = len(part)
    if n < 3:
        return None
    share = part.sum() / whole.sum()
    spread = math.sqrt(n / (n - 1) * float(((part - share * whole) ** 2).sum())) / whole.sum()
    half = student(n - 1) * spread
    return Interval(float(share), float(share - half), float(share + half))


def bound_to_grow(trees: Sequence[Tree]) -> bool:
    """Whether all transitions come from proposers that never lower capacity but for memory: then
    it says nothing that capacity goes up."""
    return all(
        node.spec.provenance.proposer in ONLY_UP
        for _, nodes in trees
        for node in nodes
        if node.spec.purpose is Purpose.TRAIN
    )
