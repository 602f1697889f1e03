"""Which stage gets the next child: descent by UCT, inside the widths first, by force after."""

import numpy as np

from llmzero.search import uct
from llmzero.search.tree import ROOT, Flags, Ints, Tree
from llmzero.search.values import Values
from llmzero.search.widening import width, widths


class Selection:
    """Keeps, for every subtree, how many stages in it may take a child.

    ``able`` says which stages could take another child at all, ``eager`` which of them may
    unforced: widths are asked of eager stages alone. Both by index; the root is for the strategy.
    ``in_flight``: whether running stages count in the bonus (only an ablation says no).
    Building is O(stages), each choice O(depth * children).
    """

    def __init__(
        self, tree: Tree, values: Values, able: Flags, eager: Flags, in_flight: bool = True
    ) -> None:
        self._tree, self._values = tree, values
        self._in_flight = float(in_flight)
        self._able, self._eager = able.copy(), eager.copy()
        self._open = self._able & self._eager & (tree.width < widths(tree.visits, tree.flying))
        self._able_below = self._able.astype(np.int64)
        self._open_below = self._open.astype(np.int64)
        tree.add_up(self._able_below)
        tree.add_up(self._open_below)

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
        tree = self._tree
        self._able, self._eager, self._open = (
            np.append(flags, False) for flags in (self._able, self._eager, self._open)
        )
        self._able_below = np.append(self._able_below, 0)
        self._open_below = np.append(self._open_below, 0)
        for above in [ROOT, *tree.path(index)[:-1]]:
            room = tree.width[above] < width(tree.visits[above], tree.flying[above])
            flag = bool(self._able[above] and self._eager[above] and room)
            self._set(self._open, self._open_below, above, flag)

    def block(self, index: int) -> None:
        """``index`` takes no more children in this plan."""
        self._set(self._able, self._able_below, index, False)
        self._set(self._open, self._open_below, index, False)

    def _set(self, flags: Flags, below: Ints, index: int, flag: bool) -> None:
        if bool(flags[index]) == flag:
            return
        flags[index] = flag
        for above in [ROOT, *self._tree.path(index)]:
            below[above] += 1 if flag else -1

    def _descend(self, flags: Flags, below: Ints, self_first: bool) -> int:
        index = ROOT
        while True:
            inside = [c for c in self._tree.children(index) if below[c]]
            if flags[index] and (self_first or not inside):
                return index
            index = max(inside, key=self._score)

    def _score(self, child: int) -> float:
        tree, up = self._tree, self._tree.parent[child]
        return uct.score(
            float(self._values.q[child]),
            float(tree.visits[child]),
            float(tree.flying[child]) * self._in_flight,
            float(tree.visits[up]),
            float(tree.flying[up]) * self._in_flight,
        )
