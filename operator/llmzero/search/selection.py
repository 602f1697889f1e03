"""Which stage gets the next child: descent by UCT, inside the widths first, by force after."""

from collections.abc import Callable

from llmzero.search import uct
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values
from llmzero.search.widening import width


class Selection:
    """Keeps, for every subtree, how many stages in it may take a child.

    ``able(index)`` says whether a stage could take another child at all (``ROOT`` included);
    ``root_width`` is the number of children up to which the root widens unforced.
    Building is O(stages), each choice O(depth * children).
    """

    def __init__(
        self, tree: Tree, values: Values, able: Callable[[int], bool], root_width: int
    ) -> None:
        self._tree, self._values, self._root_width = tree, values, root_width
        self._able = [able(ROOT), *(able(index) for index in tree.stages)]
        self._open = [self._is_open(index) for index in range(len(self._able))]
        self._able_below = [int(a) for a in self._able]
        self._open_below = [int(o) for o in self._open]
        for index in range(len(self._able) - 1, 0, -1):
            up = tree.parent[index]
            self._able_below[up] += self._able_below[index]
            self._open_below[up] += self._open_below[index]

    def choose(self) -> int | None:
        """The stage to widen, or None where no stage can take a child.

        Where no width allows another child, the best S is widened beyond its width: a free slot
        is not left idle.
        """
        if self._open_below[ROOT]:
            return self._descend(self._open, self._open_below, self_first=True)
        if self._able_below[ROOT]:
            return self._descend(self._able, self._able_below, self_first=False)
        return None

    def added(self, index: int) -> None:
        """Stage ``index`` was created: it is in flight, and the widths above it grow."""
        self._able.append(False)
        self._open.append(False)
        self._able_below.append(0)
        self._open_below.append(0)
        while index != ROOT:
            index = self._tree.parent[index]
            self._set(self._open, self._open_below, index, self._is_open(index))

    def block(self, index: int) -> None:
        """``index`` takes no more children in this plan."""
        self._set(self._able, self._able_below, index, False)
        self._set(self._open, self._open_below, index, False)

    def _is_open(self, index: int) -> bool:
        if not self._able[index]:
            return False
        tree = self._tree
        if index != ROOT and tree.rows[index].kind is Kind.FAILED:
            return False  # its last finite checkpoint is branched from by force alone
        if index == ROOT:
            return len(tree.children[ROOT]) < self._root_width
        return len(tree.children[index]) < width(tree.visits[index], tree.flying[index])

    def _set(self, flags: list[bool], below: list[int], index: int, flag: bool) -> None:
        if flags[index] == flag:
            return
        flags[index] = flag
        change = 1 if flag else -1
        below[index] += change
        while index != ROOT:
            index = self._tree.parent[index]
            below[index] += change

    def _descend(self, flags: list[bool], below: list[int], self_first: bool) -> int:
        index = ROOT
        while True:
            inside = [c for c in self._tree.children[index] if below[c]]
            if flags[index] and (self_first or not inside):
                return index
            index = max(inside, key=self._score)

    def _score(self, child: int) -> float:
        tree, up = self._tree, self._tree.parent[child]
        return uct.score(
            self._values.q[child],
            tree.visits[child],
            tree.flying[child],
            tree.visits[up],
            tree.flying[up],
        )
