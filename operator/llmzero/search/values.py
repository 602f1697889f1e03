"""What a stage is worth: filtered along its path, compared at equal cost, backed up the tree.

Everything here is *goodness*: the objective, its sign turned where it is minimized.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmzero.search.rows import Kind, Row
from llmzero.search.tree import ROOT, Tree

MIX: Final = 0.25
"""lambda of the backup. Source: reference "Values and backup"."""
MIN_PAIRS: Final = 3
"""Parent-child pairs before their mean and variance are believed [ours]."""
BINS_PER_STAGE: Final = 4
"""Costs are equal where they fall into the same quarter of a stage [ours]."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its variance."""

    mean: float
    variance: float


def filtered(prior: Estimate | None, observed: float, variance: float) -> Estimate:
    """Kalman update of ``prior`` by one evaluation with observation variance s2.

    Without a prior (None) the observation stands. Source: reference "Values and backup": prior
    N(v_parent + mu_delta, P_parent + t2), observation variance s2.
    """
    if prior is None:
        return Estimate(observed, variance)
    total = prior.variance + variance
    gain = prior.variance / total if total > 0 else 1.0
    return Estimate(prior.mean + gain * (observed - prior.mean), (1 - gain) * prior.variance)


@dataclass(frozen=True, slots=True)
class Drift:
    """How a stage changes the value: mean mu_delta and variance t2 of one full stage."""

    mean: float
    variance: float

    def step(self, start: Estimate, stages: float) -> Estimate:
        """The prior of a stage of length ``stages`` that starts from ``start``.

        Mean and variance grow with length, so a quarter rung has a quarter of both [ours].
        """
        return Estimate(start.mean + self.mean * stages, start.variance + self.variance * stages)


def drift(changes: Sequence[tuple[float, float, float]]) -> Drift | None:
    """mu_delta and t2 of *true* changes from (observed change, noise variance, stages) each.

    The noise of the two evaluations is taken off the observed variance, which never goes below
    zero. None below ``MIN_PAIRS`` pairs. Source: reference "Values and backup".
    """
    stages = sum(w for _, _, w in changes)
    if len(changes) < MIN_PAIRS or stages <= 0:
        return None
    mean = sum(d for d, _, _ in changes) / stages
    spread = sum((d - mean * w) ** 2 for d, _, w in changes) * len(changes) / (len(changes) - 1)
    noise = sum(s2 for _, s2, _ in changes)
    return Drift(mean, max(spread - noise, 0.0) / stages)


def normalized(q: float, low: float, high: float) -> float:
    """q~ in 0..1, and 0.5 where all values are alike. Source: reference "Selection"."""
    if not high > low:
        return 0.5
    return min(max((q - low) / (high - low), 0.0), 1.0)


def backup(cost: float, weighted: float, best: float) -> float:
    """q = (1 - lambda) * cost-weighted mean + lambda * max over the subtree.

    ``weighted`` is the sum of cost * residual, ``cost`` the sum of costs (> 0).
    Source: reference "Values and backup": max alone chases lucky evaluations.
    """
    return (1 - MIX) * weighted / cost + MIX * best


class Values:
    """Values of all stages of a tree, in one pass over it: O(nodes).

    ``estimate[i]`` is the filtered value (None where there is none), ``residual[i]`` the value
    against stages of equal cumulative cost, ``q[i]`` its backup normalized to 0..1.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.base = base_value(tree)
        self.drift = drift(self._changes())
        self.estimate: list[Estimate | None] = [None] * len(tree)
        self._start: list[Estimate | None] = [None] * len(tree)
        self._filter()
        self.baseline = self._baseline()
        self.residual: list[float | None] = self._residuals()
        own = [
            r
            for r, row in zip(self.residual[1:], tree.rows[1:], strict=True)
            if r is not None and row.kind is Kind.VALUED
        ]
        self.low, self.high = min(own, default=0.0), max(own, default=0.0)
        self.q = self._backed_up()

    def added(self) -> None:
        """A stage was added to the tree: it is in flight, and rated nothing yet."""
        self.estimate.append(None)
        self.residual.append(None)
        self.q.append(0.5)

    def expected(self, end: int) -> float:
        """Baseline at ``end`` steps along a path: of its bin, or of the nearest one."""
        wanted = self._bin(end)
        if wanted in self.baseline or not self.baseline:
            return self.baseline.get(wanted, 0.0)
        return self.baseline[min(self.baseline, key=lambda b: (abs(b - wanted), b))]

    def _bin(self, steps: int) -> int:
        return round(BINS_PER_STAGE * steps / self.tree.stage_steps)

    def _changes(self) -> list[tuple[float, float, float]]:
        tree, found = self.tree, []
        for index in tree.stages:
            row = tree.rows[index]
            if row.kind is not Kind.VALUED or row.goodness is None:
                continue
            start = self._observed_start(index, row)
            if start is not None and row.end > row.begin:
                length = (row.end - row.begin) / tree.stage_steps
                noise = row.variance + start.variance
                found.append((row.goodness - start.mean, noise, length))
        return found

    def _observed_start(self, index: int, row: Row) -> Estimate | None:
        """The evaluation of the checkpoint that a stage started from."""
        up = self.tree.parent[index]
        if up == ROOT:
            return self.base
        parent = self.tree.rows[up]
        if parent.value_step == row.start_step and parent.goodness is not None:
            return Estimate(parent.goodness, parent.variance)
        return score_at(parent, row.start_step, self.tree.sign)

    def _filter(self) -> None:
        tree, estimate, start = self.tree, self.estimate, self._start
        for index in tree.stages:
            row = tree.rows[index]
            up = tree.parent[index]
            first = self.base if up == ROOT else estimate[up]
            if up != ROOT and tree.rows[up].value_step != row.start_step:
                first = self._moved(first, tree.rows[up], row.start_step)
            start[index] = first
            if row.goodness is None:
                continue
            prior = None
            if first is not None and self.drift is not None:
                prior = self.drift.step(first, (row.end - row.begin) / tree.stage_steps)
            estimate[index] = filtered(prior, row.goodness, row.variance)

    def _moved(self, at_end: Estimate | None, parent: Row, step: int | None) -> Estimate | None:
        """The estimate at an earlier checkpoint: shifted by the observed difference."""
        there = score_at(parent, step, self.tree.sign)
        if there is None or at_end is None or parent.goodness is None:
            return there or at_end
        return Estimate(at_end.mean + there.mean - parent.goodness, at_end.variance)

    def _baseline(self) -> dict[int, float]:
        """Expected goodness by bin of cumulative cost.

        The mean, over the stages that end in a bin, of the baseline where they started plus what
        they gained. Where all start together this is their plain mean. Deeper, a plain mean
        would be that of the survivors, and the only stage of its depth would always be average;
        this way it keeps its path's lead [ours].
        """
        ends: dict[int, list[int]] = {}
        for index in self.tree.stages:
            if self.tree.rows[index].kind is Kind.VALUED:
                ends.setdefault(self._bin(self.tree.rows[index].end), []).append(index)
        found = {} if self.base is None else {0: self.base.mean}
        self.baseline = found
        for end in sorted(ends):
            total = 0.0
            for index in ends[end]:
                estimate, start = self.estimate[index], self._start[index]
                assert estimate is not None
                total += estimate.mean
                if start is not None and found:
                    total += self.expected(self.tree.rows[index].begin) - start.mean
            found[end] = total / len(ends[end])
        return found

    def _residuals(self) -> list[float | None]:
        found: list[float | None] = [None] * len(self.tree)
        for index in self.tree.stages:
            estimate = self.estimate[index]
            if estimate is not None:
                found[index] = estimate.mean - self.expected(self.tree.rows[index].end)
        for group in replicas(self.tree):
            own = [
                r
                for i in group
                if (r := found[i]) is not None and self.tree.rows[i].kind is Kind.VALUED
            ]
            if own:
                mean = sum(own) / len(own)
                for i in group:
                    if self.tree.rows[i].kind is Kind.VALUED:
                        found[i] = mean
        return found

    def _backed_up(self) -> list[float]:
        """q~ of every subtree; 0.5 where nothing in it is rated yet.

        A failed stage is worth the lowest residual there is (q~ = 0). A stopped one is a bound:
        it is clipped to what ended, so that it moves neither end of the scale.
        """
        tree, count = self.tree, len(self.tree)
        cost, weighted = [0.0] * count, [0.0] * count
        best = [float("-inf")] * count
        found = [0.5] * count
        low, high = self.low, self.high
        for index in range(count - 1, 0, -1):
            row, residual = tree.rows[index], self.residual[index]
            if row.kind is Kind.FAILED:
                residual = low
            elif row.kind is Kind.CENSORED and residual is not None:
                residual = min(max(residual, low), high)
            if residual is not None and row.charge > 0:
                cost[index] += row.charge
                weighted[index] += row.charge * residual
                best[index] = max(best[index], residual)
            up = tree.parent[index]
            if cost[index] > 0:
                found[index] = normalized(
                    backup(cost[index], weighted[index], best[index]), low, high
                )
                cost[up] += cost[index]
                weighted[up] += weighted[index]
                best[up] = max(best[up], best[index])
        return found


def base_value(tree: Tree) -> Estimate | None:
    """The base model's goodness: the evaluations at step 0 of the stages that start from it."""
    found = []
    for index in tree.children[ROOT]:
        scores = tree.rows[index].node.status.curve.scores
        if scores and scores[0].step == 0 and tree.rows[index].kind is not Kind.IN_FLIGHT:
            found.append((tree.sign * scores[0].value, scores[0].standard_error ** 2))
    if not found:
        return None
    # The same questions and decoder every time: averaging takes no noise away.
    return Estimate(sum(v for v, _ in found) / len(found), sum(s for _, s in found) / len(found))


def score_at(row: Row, step: int | None, sign: float) -> Estimate | None:
    """The evaluation of a stage at its step ``step``, where there was one."""
    for score in row.node.status.curve.scores:
        if score.step == step:
            return Estimate(sign * score.value, score.standard_error**2)
    return None


def replicas(tree: Tree) -> list[list[int]]:
    """Groups of siblings that repeat one transition with other seeds, the original first."""
    found: list[list[int]] = []
    for index in tree.stages:
        row = tree.rows[index]
        if row.proposer != REPLICA:
            continue
        siblings = tree.children[tree.parent[index]]
        group = [i for i in siblings if same_transition(tree.rows[i], row)]
        if group not in found:
            found.append(group)
    return found


REPLICA: Final = "replica"


def same_transition(a: Row, b: Row) -> bool:
    """Whether two siblings differ by nothing but the seed of their rollouts."""
    one, other = a.node.spec, b.node.spec
    return (
        a.start_step == b.start_step
        and a.steps == b.steps
        and a.parameters == b.parameters
        and one.carry_optimizer == other.carry_optimizer
        and one.carry_reference == other.carry_reference
    )
