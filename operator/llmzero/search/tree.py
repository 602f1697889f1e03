"""The tree of Train stages in arrays: built once per plan, kept up to date while it creates.

Index 0 is the root (the base model). Every other index is one :class:`Row`; parents come before
their children, level by level, siblings in the order of their numbers, whatever the order of the
nodes given. What a plan adds comes behind.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt

from llmzero.api.proposals import Expansion
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.search.budget import Account
from llmzero.search.rows import SEGMENT_NAMES, Columns, Frame, Kind, Row, columns, read
from llmzero.search.table import NO_PARENT, link, table

ROOT = 0
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Tree:
    """Rows, their parents and children, visits, and the account of the budget.

    - ``rows[i]``: the row, for i from 1; ``columns`` their numbers, one record each.
    - ``parent[i]``: index of the parent; -1 for the root.
    - ``visits[i]``, ``flying[i]``: N and O of the subtree of i, in expected stage costs (a full
      stage is 1), so they may be fractions.
    - ``width[i]``: number of children; ``continued[i]``: whether child 0 is there.
    - ``orphans``: rows whose parent is gone: charged, but no part of the tree.
    - ``evaluations``: the Promote and HeldOut nodes.
    """

    def __init__(self, search: TrainingSearch, nodes: Sequence[StageNode]) -> None:
        self.search, self.frame = search, Frame.of(search)
        self.stage_steps = search.spec.stage.steps
        self.horizon = search.spec.strategy.max_depth * self.stage_steps
        self.sign = self.frame.sign
        self.account = Account.of(search.spec.budget)
        self._stored: dict[int, Expansion] = {}
        self._added: dict[int, list[int]] = {}
        self.rows: list[Row]
        self.columns: Columns
        self.parent: Ints
        self.width: Ints
        self.continued: Flags
        self.visits: Floats
        self.flying: Floats
        self.orphans: list[Row] = []
        self._places: dict[str | None, int]
        """Name to its place among what was given, from 1; ``_ranks`` maps places to indices."""
        self._ranks: Ints
        found = table(search, self.frame, nodes)
        self.evaluations = found.evaluations
        if NO_PARENT in found.parents:
            kept = self._without_orphans(found.rows)
            self._arrange(kept, *link(kept))
        else:
            self._arrange(found.rows, found.places.copy(), found.parents)
        self._sum()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def stages(self) -> range:
        """Indices of all rows."""
        return range(1, len(self.rows))

    def of_kind(self, *kinds: Kind) -> Flags:
        """Which rows are of one of these kinds; never the root."""
        column = self.columns["kind"]
        found = np.zeros(len(self), dtype=np.bool_)
        for kind in kinds:
            found |= column == kind
        found[ROOT] = False
        return found

    def children(self, index: int) -> list[int]:
        """Indices of the children, by number."""
        first, last = np.searchsorted(self._parents, [index, index + 1])
        found = list(range(int(first) + 1, int(last) + 1))
        if index in self._added:
            found = sorted([*found, *self._added[index]], key=lambda i: self.rows[i].number)
        return found

    def find(self, name: str) -> int | None:
        """Index of the stage of this name, None where it is no part of the tree."""
        place = self._places.get(name)
        return None if place is None else int(self._ranks[place])

    def index(self, name: str) -> int:
        """Index of a stage that is part of the tree. Raises KeyError where it is none."""
        return int(self._ranks[self._places[name]])

    def depth(self, index: int) -> int:
        """Full stages' worth of steps from the base model, rounded up."""
        return 0 if index == ROOT else -(-self.rows[index].end // self.stage_steps)

    def path(self, index: int) -> list[int]:
        """Indices from a child of the root down to ``index``; empty for the root."""
        found = []
        while index != ROOT:
            found.append(index)
            index = int(self.parent[index])
        return found[::-1]

    def next_number(self, index: int) -> int:
        """Number of the next child: numbers of deleted nodes are not given twice."""
        children = self.children(index)
        return self.rows[children[-1]].number + 1 if children else 0

    def expansion(self, index: int) -> Expansion | None:
        stored = self._stored.get(index)
        return stored if stored is not None else self.rows[index].node.status.expansion

    def store(self, index: int, expansion: Expansion) -> None:
        """As if the engine had applied an Expand decision."""
        self._stored[index] = expansion

    def add(self, node: StageNode) -> int:
        """As if the engine had applied a Create decision. Returns the index of the new row."""
        row = read(node, self.frame)
        parent = ROOT if row.parent is None else self.index(row.parent)
        index = len(self.rows)
        self.rows.append(row)
        self.columns = np.append(self.columns, columns(len(self.frame.capacity), [row]))
        self.parent = np.append(self.parent, parent)
        self.visits = np.append(self.visits, 0.0)
        self.flying = np.append(self.flying, 0.0)
        self.width = np.append(self.width, 0)
        self.continued = np.append(self.continued, False)
        self.width[parent] += 1
        self.continued[parent] |= row.number == 0
        self._added.setdefault(parent, []).append(index)
        self._places[row.name] = len(self._ranks)
        self._ranks = np.append(self._ranks, index)
        self.account.reserve(row.charge, row.segment)
        for above in [ROOT, *self.path(index)]:
            self.flying[above] += row.charge
        return index

    def levels(self) -> Iterator[slice]:
        """The rows level by level from the top, as they were when the plan began."""
        for first, last in pairwise(self._levels):
            yield slice(first, last)

    def add_up(self, values: Floats | Ints) -> None:
        """Adds every entry to its parent's, from the deepest level to the root, in place."""
        for first, last in reversed(list(pairwise(self._levels))):
            parents = self.parent[first:last]
            top = int(parents[0])
            sums = np.bincount(parents - top, weights=values[first:last])
            values[top : top + len(sums)] += sums.astype(values.dtype)  # counts stay whole

    def best_up(self, values: Floats) -> None:
        """Raises every entry's parent to it, from the deepest level to the root, in place."""
        for first, last in reversed(list(pairwise(self._levels))):
            np.maximum.at(values, self.parent[first:last], values[first:last])

    def _arrange(self, found: list[Row], places: dict[str | None, int], parents: list[int]) -> None:
        """Puts the rows into order: by level, then by the parent's place, then by number."""
        self._places = places
        above = np.array([-1, *parents], dtype=np.int64)
        records = columns(len(self.frame.capacity), found, root=True)
        level, number = records["level"], records["number"]
        top = int(level.max())
        order = np.zeros(1, dtype=np.int64)
        ranks = np.zeros(len(level), dtype=np.int64)
        self._levels = [1]
        for depth in range(1, top + 1):
            here = np.flatnonzero(level == depth)
            here = here[np.lexsort((number[here], ranks[above[here]]))]
            ranks[here] = np.arange(len(here)) + self._levels[-1]
            self._levels.append(self._levels[-1] + len(here))
            order = np.concatenate([order, here])
        self._ranks = ranks
        self.rows = [cast(Row, None), *(found[place - 1] for place in order[1:].tolist())]
        self.columns = records[order]
        self.parent = ranks[above[order]]
        self.parent[ROOT] = -1
        self._parents = self.parent[1:]
        self.width = np.bincount(self._parents, minlength=len(self.rows))
        self.continued = np.zeros(len(self.rows), dtype=np.bool_)
        self.continued[self._parents[self.columns["number"][1:] == 0]] = True

    def _without_orphans(self, found: list[Row]) -> list[Row]:
        known: set[str | None] = {None}
        kept = []
        for row in sorted(found, key=lambda row: row.path.count("-")):
            if row.parent in known:
                known.add(row.name)
                kept.append(row)
            else:
                self.orphans.append(row)
        return kept

    def _sum(self) -> None:
        flying = self.of_kind(Kind.IN_FLIGHT)
        charges = self.columns["charge"]
        self.flying = np.where(flying, charges, 0.0)
        self.visits = np.where(flying, 0.0, charges)
        account = self.account
        account.reserved = float(self.flying.sum())
        account.spent = float(self.visits.sum())
        ended = self.columns[~flying]
        account.seconds.settle(float(ended["device_seconds"].sum()))
        account.tokens.settle(float(ended["train_tokens"].sum() + ended["eval_tokens"].sum()))
        paid = np.bincount(
            self.columns["segment"][1:], weights=charges[1:], minlength=len(SEGMENT_NAMES)
        )
        account.by_segment = dict(zip(SEGMENT_NAMES, paid.tolist(), strict=True))
        for row in self.orphans:
            if row.kind is Kind.IN_FLIGHT:
                account.reserve(row.charge, row.segment)
            else:
                cost = row.node.status.cost
                tokens = cost.train_tokens + cost.eval_tokens
                account.settle(row.charge, row.segment, cost.device_seconds, tokens)
        self.add_up(self.visits)
        self.add_up(self.flying)
