"""Population based training: a population of runs, the worst of which copy the best.

Source: Jaderberg et al., "Population Based Training of Neural Networks" (arXiv 1711.09846):
truncation selection; exploit copies weights *and* hyperparameters, then explore perturbs.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from random import Random
from typing import ClassVar

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.space import fresh_point, hopeless
from llmzero.search.decisions import Create, MarkAudit, Review, Stop
from llmzero.search.nodes import train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT
from llmzero.strategies.base import BaseStrategy
from llmzero.strategies.context import infeasible
from llmzero.strategies.options import Options, number, share, whole

FACTORS = (0.8, 1.25)
"""Source: arXiv 1711.09846, and Ray's default (1.2 and 0.8)."""
DEFAULT_QUANTILE = 0.25
DEFAULT_RESAMPLE = 0.25
LEAST_POPULATION = 4
TRIES = 32


class PBT(BaseStrategy):
    """``population``: runs that live at once. ``quantile``: share at either end that is replaced
    and copied. ``resample``: chance that a parameter is drawn anew, not perturbed.

    A generation is one stage. Generations are *asynchronous*: a member that ended generation g is
    ranked among those that ended it too and waits for none; members behind go first, so that they
    stay close together. One in the lower quantile, or one that failed, starts its next stage from
    the checkpoint of a member in the upper quantile of the *same* generation (a comparison at
    equal cost) with its settings perturbed and its moments; the others go on unchanged. The
    curve-against-best rule is off: selection is the early stopping.

    Who is who stands in the paths: child 0 is the same member, child m + 1 is member m, who copied.
    """

    OPTIONS: ClassVar[Options] = {
        "population": whole(2, 1000),
        "quantile": number(0.05, 0.5),
        "resample": share,
    }

    @cached_property
    def population(self) -> int:
        """As given; else what the budget pays to the horizon, at least 4 and one a slot."""
        strategy = self.search.spec.strategy
        paid = int(self.tree.account.limit // strategy.max_depth)
        default = max(paid, strategy.parallelism, LEAST_POPULATION)
        return int(self.options.get("population", default))

    @cached_property
    def quantile(self) -> float:
        return float(self.options.get("quantile", DEFAULT_QUANTILE))

    def propose(self) -> Sequence[Proposed]:
        newest = self._members()
        node = self._new_member(newest)
        if node is None:
            level = self.tree.columns["level"]
            order = sorted(newest, key=lambda m: (level[newest[m]], m))
            node = next((n for m in order if (n := self._next(m, newest[m])) is not None), None)
        if node is None and not self.tree.of_kind(Kind.IN_FLIGHT).any():
            node = self._born()  # all are at the horizon, and some budget is left
        return () if node is None else (Create(node),)

    def stops(self, now: datetime) -> list[Stop | MarkAudit | Review]:
        return []

    def _members(self) -> dict[int, int]:
        """The newest stage of every member."""
        found: dict[int, int] = {}
        level = self.tree.columns["level"]
        for index in self.tree.stages:
            name = member(self.tree.rows[index].path)
            if name not in found or level[index] > level[found[name]]:
                found[name] = index
        return found

    def _new_member(self, newest: dict[int, int]) -> StageNode | None:
        """Fills the population; also takes the place of members that nobody can save."""
        stuck = sum(self._dead(i) and not self._donors(1) for i in newest.values())
        return self._born() if len(newest) - stuck < self.population else None

    def _born(self) -> StageNode | None:
        """The next child of the base model."""
        tree = self.tree
        steps = self.child_steps(0)
        if not steps or not self.affords(steps):
            return None
        run = tree.next_number(ROOT)
        taken = [tree.rows[i].parameters for i in tree.children(ROOT)]
        failed = infeasible(tree)
        point = fresh_point(self.search.spec.parameters, taken, failed, self.seed, "pbt", run)
        if point is None:
            return None
        proposer, why = "random", f"member {run}, drawn from the space"
        if not taken:
            proposer, why = "initial", "member 0, the declared initial values"
        found = Provenance(proposer=proposer, rationale=why)
        return self.root_stage(point, found, steps, "tree")

    def _dead(self, index: int) -> bool:
        row = self.tree.rows[index]
        if row.kind is Kind.IN_FLIGHT:
            return False
        return row.kind is not Kind.VALUED or row.tip is None

    def _ended(self, generation: int) -> list[int]:
        """Stages that ended a generation well, best goodness first."""
        tree = self.tree
        found = [
            int(i)
            for i in tree.of_kind(Kind.VALUED).nonzero()[0]
            if tree.columns["level"][i] == generation and tree.columns["tip"][i] >= 0
        ]
        return sorted(found, key=lambda i: (-(tree.rows[i].goodness or 0.0), i))

    def _donors(self, generation: int) -> list[int]:
        """The upper quantile of those that ended a generation well; at least one of them."""
        ended = [i for i in self._ended(generation) if self.can_branch(i)]
        return ended[: max(self._at_either_end(len(ended)), 1)]

    def _at_either_end(self, count: int) -> int:
        """Members of a quantile, so that nobody is in both."""
        return min(round(count * self.quantile), count // 2)

    def _next(self, name: int, index: int) -> StageNode | None:
        """The next stage of a member; None where it runs, is done, or nothing can be afforded."""
        row = self.tree.rows[index]
        if row.kind is Kind.IN_FLIGHT:
            return None
        generation = int(self.tree.columns["level"][index])
        if self._dead(index):
            return self._exploit(name, generation, "failed")
        if not self.can_branch(index):
            return None
        ended = self._ended(generation)
        place = ended.index(index)
        if place >= len(ended) - self._at_either_end(len(ended)):
            node = self._exploit(name, generation, f"is {place + 1} of {len(ended)}")
            if node is not None:
                return node
        return self.going_on(index, "continue", f"member {name} goes on", "tree")

    def _exploit(self, name: int, generation: int, why: str) -> StageNode | None:
        """Member ``name`` copies a donor's checkpoint and settings, then explores around them."""
        tree = self.tree
        donors = self._donors(generation)
        if not donors:
            return None
        random = Random(f"{self.seed}/pbt/{name}/{generation}")
        donor = donors[random.randrange(len(donors))]
        row = tree.rows[donor]
        assert row.tip is not None
        return train_node(
            self.search,
            parent=row.node,
            number=name + 1,
            steps=self.child_steps(row.begin + row.tip),
            parameters=self._explored(row.parameters, random),
            provenance=Provenance(
                proposer="pbt",
                rationale=f"member {name} {why} of generation {generation}: copies {row.path}",
            ),
            segment="tree",
            start_step=row.tip,
            carry_optimizer=True,
            carry_reference=True,
        )

    def _explored(self, settings: SettingsMap, random: Random) -> SettingsMap:
        chance = float(self.options.get("resample", DEFAULT_RESAMPLE))
        failed = infeasible(self.tree)
        parameters = self.search.spec.parameters
        found = dict(settings)
        for _ in range(TRIES):
            found = {p.name: perturbed(p, settings[p.name], random, chance) for p in parameters}
            if not hopeless(parameters, found, failed):
                break
        return found


def member(path: str) -> int:
    """Who a stage belongs to: the last number of its path that is not 0, or else the root's."""
    root, *below = (int(part) for part in path.split("-"))
    copied = [number_ for number_ in below if number_]
    return copied[-1] - 1 if copied else root


def perturbed(parameter: Parameter, value: Scalar, random: Random, resample: float) -> Scalar:
    """``value`` times 0.8 or 1.25, or the choice next to it; drawn anew with chance ``resample``,
    and where a factor leaves it as it is (0, or a bound)."""
    if random.random() < resample:
        return parameter.from_unit(random.random())
    if parameter.choices is not None:
        place = parameter.choices.index(parameter.clip(value)) + random.choice((-1, 1))
        return parameter.choices[min(max(place, 0), len(parameter.choices) - 1)]
    moved = parameter.clip(float(value) * random.choice(FACTORS))
    return parameter.from_unit(random.random()) if moved == value else moved
