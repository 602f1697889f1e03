"""Grid search: independent full-length runs over a grid of constant settings."""

import math
from random import Random
from typing import Any, ClassVar

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance
from llmzero.strategies.options import Options, one_of, points
from llmzero.strategies.runs import RunsStrategy

DEFAULT_POINTS = 3


class GridSearch(RunsStrategy):
    """``points``: values a dimension (a number for all, or by name); choices are all taken.

    ``order``: seeded visits the grid in a shuffled order, lexicographic as declared, the last
    parameter fastest.
    """

    OPTIONS: ClassVar[Options] = {"points": points, "order": one_of("seeded", "lexicographic")}

    def setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        parameters = self.search.spec.parameters
        axes = [axis(p, self._points(p.name)) for p in parameters]
        size = math.prod(len(a) for a in axes)
        if run >= size:
            return None
        place = run
        if self.options.get("order", "seeded") == "seeded":
            place = shuffled(run, size, self.seed)
        point: SettingsMap = {}
        for parameter, values in reversed(list(zip(parameters, axes, strict=True))):
            place, rest = divmod(place, len(values))
            point[parameter.name] = values[rest]
        point = {p.name: point[p.name] for p in parameters}
        why = f"point {run + 1} of a grid of {size}"
        return point, Provenance(proposer="grid", rationale=why)

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
