"""What a stage is worth: filtered along its path, compared at equal cost, backed up the tree.

Everything here is *goodness*: the objective, its sign turned where it is minimized.
"""

from functools import cached_property
from typing import Final

import numpy as np

from llmzero.search.filtering import drift, filtered
from llmzero.search.gain import fit
from llmzero.search.rows import Kind, Row
from llmzero.search.tree import ROOT, Floats, Ints, Tree

MIX: Final = 0.25
"""lambda of the backup. Source: reference "Values and backup"."""
BINS_PER_STAGE: Final = 4
"""Costs are equal where they fall into the same quarter of a stage [ours]."""


Estimate = tuple[float, float]
"""A value and its variance."""


def normalized(q: Floats, low: float, high: float) -> Floats:
    """q~ in 0..1, and 0.5 where all values are alike. Source: reference "Selection"."""
    if not high > low:
        return np.full(len(q), 0.5)
    return np.clip((q - low) / (high - low), 0.0, 1.0)


def backup(cost: Floats, weighted: Floats, best: Floats) -> Floats:
    """q = (1 - lambda) * cost-weighted mean + lambda * max over each subtree.

    ``weighted`` is the sum of cost * residual, ``cost`` the sum of costs (> 0).
    Source: reference "Values and backup": max alone chases lucky evaluations.
    """
    return (1 - MIX) * weighted / cost + MIX * best


class Values:
    """Values of all stages of a tree, level by level in arrays: O(stages).

    All by index, NaN where there is none: ``mean`` and ``variance`` are the filtered value,
    ``residual`` the value against stages of equal cumulative cost. ``q`` is the residual backed
    up and normalized to 0..1, 0.5 where nothing is rated yet.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.base = base_value(tree)
        """The base model's goodness, where it was measured."""
        self._valued = tree.of_kind(Kind.VALUED)
        self._length = (tree.columns["end"] - tree.columns["begin"]) / tree.stage_steps
        self._observed, self._observed_variance = self._observed_starts()
        self.drift = drift(*self._changes())
        self.mean, self.variance, self._start = self._filter()
        self.baseline: dict[int, float] = {}
        self._fill_baseline()
        self.residual = self._residuals()
        own = self.residual[self._valued & np.isfinite(self.residual)]
        self.low, self.high = (float(own.min()), float(own.max())) if len(own) else (0.0, 0.0)
        self.outlook = self._outlooks()
        self.q = self._backed_up()

    def added(self) -> None:
        """A stage was added to the tree: it is in flight, and rated nothing yet."""
        self.mean = np.append(self.mean, np.nan)
        self.q = np.append(self.q, 0.5)

    @cached_property
    def ranked(self) -> Ints:
        """Stages that ran to their end, best filtered value first, equals in the tree's order."""
        ended = np.flatnonzero(self._valued & np.isfinite(self.mean[: len(self._valued)]))
        found: Ints = ended[np.argsort(-self.mean[ended], kind="stable")]
        return found

    @property
    def leader(self) -> int | None:
        """The stage with the best filtered value so far."""
        return int(self.ranked[0]) if len(self.ranked) else None

    def expected(self, ends: Ints) -> Floats:
        """Baseline at each number of steps along a path: of its bin, or of the nearest one."""
        if not self.baseline:
            return np.zeros(len(ends))
        bins = np.array(sorted(self.baseline))
        levels = np.array([self.baseline[b] for b in bins])
        wanted = bins_of(ends, self.tree.stage_steps)
        above = np.clip(np.searchsorted(bins, wanted), 0, len(bins) - 1)
        below = np.maximum(above - 1, 0)
        nearest = np.where(wanted - bins[below] <= np.abs(bins[above] - wanted), below, above)
        found: Floats = levels[nearest]
        return found

    def _observed_starts(self) -> tuple[Floats, Floats]:
        """The evaluation of the checkpoint that each stage started from, and its variance."""
        tree, columns = self.tree, self.tree.columns
        above = np.maximum(tree.parent, ROOT)
        value, variance = columns["goodness"][above], columns["variance"][above]
        base = self.base or (np.nan, 0.0)
        at_root = tree.parent == ROOT
        value, variance = np.where(at_root, base[0], value), np.where(at_root, base[1], variance)
        self._earlier: list[int] = np.flatnonzero(
            (tree.parent > ROOT) & (columns["value_step"][above] != columns["start_step"])
        ).tolist()
        """Stages that do not start where their parent was valued: few."""
        for index in self._earlier:
            score = score_at(tree.rows[tree.parent[index]], tree.rows[index].start_step, tree.sign)
            value[index], variance[index] = score or (np.nan, 0.0)
        return value, variance

    def _changes(self) -> tuple[Floats, Floats, Floats]:
        columns = self.tree.columns
        change = columns["goodness"] - self._observed
        noise = columns["variance"] + self._observed_variance
        usable = self._valued & np.isfinite(change) & (self._length > 0)
        return change[usable], noise[usable], self._length[usable]

    def _filter(self) -> tuple[Floats, Floats, Floats]:
        """Filtered values with their variances, and the values that the stages started from."""
        tree, columns = self.tree, self.tree.columns
        goodness, s2 = columns["goodness"], columns["variance"]
        mean, variance = np.full(len(tree), np.nan), np.zeros(len(tree))
        if self.base is not None:
            mean[ROOT], variance[ROOT] = self.base
        start = np.full(len(tree), np.nan)
        for level in tree.levels():
            above = tree.parent[level]
            start[level] = mean[above]
            for index in self._earlier:
                if level.start <= index < level.stop:
                    start[index] += self._shift(index)
            prior = start[level], variance[above]
            length = self._length[level]
            if self.drift is None:
                mean[level], variance[level] = goodness[level], s2[level]
            else:
                mean[level], variance[level] = filtered(
                    *self.drift.prior(*prior, length), goodness[level], s2[level]
                )
        mean[ROOT] = np.nan
        return mean, variance, start

    def _shift(self, index: int) -> float:
        """From a parent's last value to the checkpoint that ``index`` starts from."""
        row = self.tree.rows[self.tree.parent[index]]
        shift = self._observed[index] - row.goodness if row.goodness is not None else np.nan
        return float(shift) if np.isfinite(shift) else 0.0

    def _fill_baseline(self) -> None:
        """Expected goodness by bin of cumulative cost.

        The mean, over the stages that end in a bin, of the baseline where they started plus what
        they gained. Where all start together this is their plain mean. Deeper, a plain mean
        would be that of the survivors, and the only stage of its depth would always be average;
        this way it keeps its path's lead [ours].
        """
        columns = self.tree.columns
        if self.base is not None:
            self.baseline[0] = self.base[0]
        ended = np.flatnonzero(self._valued)
        bins = bins_of(columns["end"][ended], self.tree.stage_steps)
        for end in np.unique(bins):
            group = ended[bins == end]
            worth = self.mean[group]
            if self.baseline:
                gained = self.expected(columns["begin"][group]) - self._start[group]
                worth = worth + np.where(np.isfinite(gained), gained, 0.0)
            self.baseline[int(end)] = float(worth.mean())

    def _residuals(self) -> Floats:
        found = self.mean - self.expected(self.tree.columns["end"])
        for group in replicas(self.tree):
            pooled = [i for i in group if self._valued[i]]
            if pooled:
                found[pooled] = found[pooled].mean()
        return found

    def _outlooks(self) -> Floats:
        """Remaining gain of the leaves, relative to the average, from their features."""
        tree, columns = self.tree, self.tree.columns
        found = np.zeros(len(tree))
        known = self._valued & np.isfinite(columns["features"]).any(axis=1)
        above = np.maximum(tree.parent, ROOT)
        pairs = np.flatnonzero(self._valued & known[above])
        features, ended = columns["features"], np.flatnonzero(known)
        ridge = fit(
            features[ended],
            float(np.nanstd(self.residual[ended])) if len(ended) else 0.0,
            features[above[pairs]],
            self.residual[pairs] - self.residual[above[pairs]],
        )
        leaves = np.flatnonzero(known & (tree.width == 0))
        if ridge is not None and len(leaves):
            found[leaves] = ridge.predict(features[leaves])
        return found

    def _backed_up(self) -> Floats:
        """q~ of every subtree.

        A failed stage is worth the lowest residual there is (q~ = 0). A stopped one is a bound:
        it is clipped to what ended, so that it moves neither end of the scale.
        """
        tree = self.tree
        worth = np.where(
            tree.of_kind(Kind.CENSORED), np.clip(self.residual, self.low, self.high), self.residual
        )
        worth = np.where(tree.of_kind(Kind.FAILED), self.low, worth + self.outlook)
        rated = np.isfinite(worth) & (tree.columns["charge"] > 0)
        cost = np.where(rated, tree.columns["charge"], 0.0)
        weighted = np.where(rated, cost * worth, 0.0)
        best = np.where(rated, worth, -np.inf)
        tree.add_up(cost)
        tree.add_up(weighted)
        tree.best_up(best)
        found = np.full(len(tree), 0.5)
        some = cost > 0
        q = backup(cost[some], weighted[some], best[some])
        found[some] = normalized(q, self.low, self.high)
        return found


def bins_of(steps: Ints, stage_steps: int) -> Ints:
    """Quarter stages, rounded."""
    found: Ints = np.rint(BINS_PER_STAGE * steps / stage_steps).astype(np.int64)
    return found


def base_value(tree: Tree) -> Estimate | None:
    """The base model's goodness: the evaluations at step 0 of the stages that start from it."""
    found = []
    for index in tree.children(ROOT):
        row = tree.rows[index]
        scores = row.node.status.curve.scores
        if scores and scores[0].step == 0 and row.kind is not Kind.IN_FLIGHT:
            found.append((tree.sign * scores[0].value, scores[0].standard_error ** 2))
    if not found:
        return None
    # The same questions and decoder every time: averaging takes no noise away.
    return sum(v for v, _ in found) / len(found), sum(s for _, s in found) / len(found)


def score_at(row: Row, step: int | None, sign: float) -> Estimate | None:
    """The evaluation of a stage at its step ``step``, where there was one."""
    for score in row.node.status.curve.scores:
        if score.step == step:
            return sign * score.value, score.standard_error**2
    return None


def replicas(tree: Tree) -> list[list[int]]:
    """Groups of siblings that repeat one transition with other seeds, the original first."""
    found: list[list[int]] = []
    for index in np.flatnonzero(tree.columns["replica"]):
        row = tree.rows[index]
        siblings = tree.children(int(tree.parent[index]))
        group = [i for i in siblings if same_transition(tree.rows[i], row)]
        if group not in found:
            found.append(group)
    return found


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
