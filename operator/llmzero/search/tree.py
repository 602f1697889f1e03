"""The tree of Train stages in arrays: built once per plan, kept up to date while it creates.

Index 0 is the root (the base model). Every other index is one :class:`Row`; parents come before
their children, siblings in the order of their numbers, whatever the order of the nodes given.
"""

from collections.abc import Sequence
from typing import cast

from llmzero.api.proposals import Expansion
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.search.budget import Account
from llmzero.search.rows import Kind, Row, read, rows

ROOT = 0
_NO_ROW = cast(Row, None)


class Tree:
    """Rows, their parents and children, visits, and the account of the budget.

    ``visits[i]`` is N of the subtree of i, ``flying[i]`` is O, both in expected stage costs
    (a full stage is 1), so they may be fractions.
    """

    def __init__(self, search: TrainingSearch, nodes: Sequence[StageNode]) -> None:
        self.search = search
        self.stage_steps = search.spec.stage.steps
        self.horizon = search.spec.strategy.max_depth * self.stage_steps
        self._prompts = search.spec.stage.prompts_per_step
        self.sign = 1.0 if search.spec.objective.direction == "maximize" else -1.0
        self.account = Account.of(search.spec.budget)
        self.orphans: list[Row] = []
        """Rows whose parent is gone: charged, but no part of the tree."""
        self._stored: dict[int, Expansion] = {}
        self._arrange(rows(search, nodes))
        self._sum()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def stages(self) -> range:
        """Indices of all rows."""
        return range(1, len(self._rows))

    @property
    def rows(self) -> list[Row]:
        """Rows by index; do not read index 0, which is the root."""
        return self._rows

    def depth(self, index: int) -> int:
        """Full stages' worth of steps from the base model, rounded up."""
        return 0 if index == ROOT else -(-self._rows[index].end // self.stage_steps)

    def path(self, index: int) -> list[int]:
        """Indices from a child of the root down to ``index``; empty for the root."""
        found = []
        while index != ROOT:
            found.append(index)
            index = self.parent[index]
        return found[::-1]

    def next_number(self, index: int) -> int:
        """Number of the next child: numbers of deleted nodes are not given twice."""
        children = self.children[index]
        return self._rows[children[-1]].number + 1 if children else 0

    def has_continue(self, index: int) -> bool:
        children = self.children[index]
        return bool(children) and self._rows[children[0]].number == 0

    def expansion(self, index: int) -> Expansion | None:
        stored = self._stored.get(index)
        return stored if stored is not None else self._rows[index].node.status.expansion

    def store(self, index: int, expansion: Expansion) -> None:
        """As if the engine had applied an Expand decision."""
        self._stored[index] = expansion

    def add(self, node: StageNode) -> int:
        """As if the engine had applied a Create decision. Returns the index of the new row."""
        row = read(node, self.stage_steps, self._prompts, self.sign)
        parent = ROOT if row.parent is None else self.by_name[row.parent]
        index = len(self._rows)
        self._rows.append(row)
        self.parent.append(parent)
        self.children.append([])
        self.children[parent].append(index)
        self.children[parent].sort(key=lambda child: self._rows[child].number)
        self.by_name[row.name] = index
        self.visits.append(0.0)
        self.flying.append(0.0)
        self.account.reserve(row.charge, row.segment)
        while True:
            self.flying[index] += row.charge
            if index == ROOT:
                return len(self._rows) - 1
            index = self.parent[index]

    def _arrange(self, found: list[Row]) -> None:
        below: dict[str | None, list[Row]] = {}
        for row in found:
            siblings = below.get(row.parent)
            if siblings is None:
                below[row.parent] = [row]
            else:
                siblings.append(row)
        self._rows: list[Row] = [_NO_ROW]
        self.parent: list[int] = [ROOT]
        self.children: list[list[int]] = [[]]
        self.by_name: dict[str, int] = {}
        name: str | None = None
        index = 0
        while True:
            siblings = below.pop(name, None)
            if siblings:
                if len(siblings) > 1:
                    siblings.sort(key=_number)
                for row in siblings:
                    child = len(self._rows)
                    self._rows.append(row)
                    self.parent.append(index)
                    self.children.append([])
                    self.children[index].append(child)
                    self.by_name[row.name] = child
            index += 1
            if index == len(self._rows):
                break
            name = self._rows[index].name
        for lost in below.values():
            self.orphans += lost

    def _sum(self) -> None:
        count = len(self._rows)
        self.visits = [0.0] * count
        self.flying = [0.0] * count
        account = self.account
        for index in range(count - 1, 0, -1):
            row = self._rows[index]
            if row.kind is Kind.IN_FLIGHT:
                self.flying[index] += row.charge
            else:
                self.visits[index] += row.charge
            up = self.parent[index]
            self.visits[up] += self.visits[index]
            self.flying[up] += self.flying[index]
            _book(account, row)
        for row in self.orphans:
            _book(account, row)


def _book(account: Account, row: Row) -> None:
    if row.kind is Kind.IN_FLIGHT:
        account.reserve(row.charge, row.segment)
    else:
        account.settle(row.charge, row.segment, row.device_seconds)


def _number(row: Row) -> int:
    return row.number
