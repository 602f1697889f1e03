"""Grid search: independent full-length runs over a grid of constant settings."""

import math
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any, ClassVar

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.space import LEARNING_RATE
from llmzero.search.decisions import Create
from llmzero.search.nodes import train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Row
from llmzero.search.tree import ROOT
from llmzero.strategies.options import Options, boolean, fractions, one_of, points
from llmzero.strategies.runs import RunsStrategy

DEFAULT_POINTS = 3


class GridSearch(RunsStrategy):
    """``points``: values a dimension (a number for all, or by name); choices are all taken.

    ``order``: seeded visits the grid in a shuffled order, lexicographic as declared, the last
    parameter fastest. ``decay``: one more dimension, the learning rate of the last stage as a
    fraction of the first one's; it falls by the same factor from stage to stage (1: constant).

    ``schedules``: every sequence of points instead of every point, as a tree in which schedules
    share their prefixes, shallow stages first; moments and reference are carried on, so that
    nothing but the settings differs. For exhaustive studies: p points and depth d are
    p + p^2 + ... + p^d stages.
    """

    OPTIONS: ClassVar[Options] = {
        "points": points,
        "order": one_of("seeded", "lexicographic"),
        "decay": fractions,
        "schedules": boolean,
    }

    def propose(self) -> Sequence[Proposed]:
        if not self.options.get("schedules", False):
            return super().propose()
        for index in range(len(self.tree)):
            found = self._next_below(index)
            if found is not None:
                return [Create(found)]
        return ()

    def setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        found = self._point(run)
        if found is None:
            return None
        point, decay, size = found
        why = f"point {run + 1} of a grid of {size}"
        if decay != 1:
            why += f", the learning rate decays to {decay:g} of it"
        return point, Provenance(proposer="grid", rationale=why)

    def following(self, index: int) -> StageNode:
        row = self.tree.rows[index]
        found = self._point(int(row.path.partition("-")[0]))
        if found is None or found[1] == 1:
            return super().following(index)
        return self._decayed(row, found[0], found[1])

    def _decayed(self, row: Row, point: SettingsMap, decay: float) -> StageNode:
        """The next stage of a run whose learning rate decays from stage to stage."""
        assert row.tip is not None
        begin = row.begin + row.tip
        rate = next(p for p in self.search.spec.parameters if p.name == LEARNING_RATE)
        last = max(self.tree.horizon - self.tree.stage_steps, 1)
        share = min(begin / last, 1.0)
        return train_node(
            self.search,
            parent=row.node,
            number=0,
            steps=self.child_steps(begin),
            parameters={**point, rate.name: rate.clip(float(point[rate.name]) * decay**share)},
            provenance=Provenance(
                proposer="grid", rationale=f"the learning rate decays to {decay:g} of the first"
            ),
            segment="tree",
            start_step=row.tip,
            carry_optimizer=True,
            carry_reference=True,
        )

    def _next_below(self, index: int) -> StageNode | None:
        """The first point that a stage (or the base model) was not yet followed by."""
        row = self.tree.rows[index]
        if index == ROOT:
            steps = self.tree.stage_steps
        else:
            steps = self.child_steps(row.begin + (row.tip or 0)) if self.can_branch(index) else 0
        if not steps or not self.affords(steps):
            return None
        taken = [self.tree.rows[i].parameters for i in self.tree.children(index)]
        points = (self._point(i) for i in count())
        found = next(p for p in points if p is None or p[0] not in taken)
        if found is None:
            return None
        provenance = Provenance(proposer="grid", rationale=f"every schedule of {found[2]} points")
        if index == ROOT:
            return self.root_stage(found[0], provenance, steps=steps, segment="tree")
        return train_node(
            self.search,
            parent=row.node,
            number=self.tree.next_number(index),
            steps=steps,
            parameters=found[0],
            provenance=provenance,
            segment="tree",
            start_step=row.tip,
            carry_optimizer=True,
            carry_reference=True,
        )

    def _point(self, run: int) -> tuple[SettingsMap, float, int] | None:
        """Settings and decay of a point, and the size of the grid; None beyond it."""
        parameters = self.search.spec.parameters
        axes = [axis(p, self._points(p.name)) for p in parameters]
        axes.append(self._decays())
        size = math.prod(len(a) for a in axes)
        if run >= size:
            return None
        place = run
        if self.options.get("order", "seeded") == "seeded":
            place = shuffled(run, size, self.seed)
        chosen: list[Any] = []
        for values in reversed(axes):
            place, rest = divmod(place, len(values))
            chosen.insert(0, values[rest])
        names = [p.name for p in parameters]
        return dict(zip(names, chosen[:-1], strict=True)), float(chosen[-1]), size

    def _decays(self) -> list[Scalar]:
        searched = any(p.name == LEARNING_RATE for p in self.search.spec.parameters)
        return list(self.options.get("decay", [1.0])) if searched else [1.0]

    def _points(self, name: str) -> int:
        chosen: Any = self.options.get("points", DEFAULT_POINTS)
        return int(chosen.get(name, DEFAULT_POINTS) if isinstance(chosen, dict) else chosen)


def axis(parameter: Parameter, count: int) -> list[Scalar]:
    """``count`` values spread evenly along the parameter's scale, ends included, none twice."""
    if parameter.choices is not None:
        return list(parameter.choices)
    if count == 1:
        return [parameter.clip(parameter.initial)]
    values = [parameter.from_unit(i / (count - 1)) for i in range(count)]
    return list(dict.fromkeys(values))


def shuffled(place: int, size: int, seed: int) -> int:
    """Where ``place`` lies in a seeded permutation of range(size), however large it is.

    An affine map with a factor coprime to ``size`` visits everything once.
    """
    random = Random(f"{seed}/grid")
    offset = random.randrange(size)
    factor = next(
        f for f in iter(lambda: random.randrange(1, size + 1), None) if math.gcd(f, size) == 1
    )
    return (place * factor + offset) % size
