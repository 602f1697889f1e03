"""Where each stage stands in the picture of the tree: a tidy layout, computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Column (depth, the base model is 0) and row (0 at the top, in leaf units)."""

    column: int
    row: float


def tidy(children: Mapping[str, Sequence[str]], root: str) -> dict[str, Place]:
    """Leaves take one row each in depth-first order; a parent stands at the middle of its ends.

    ``children`` maps a name to its children's names in creation order. Iterative: a chain of any
    depth is fine. A name that cannot be reached from ``root`` gets no place.
    """
    places: dict[str, Place] = {}
    next_row = 0.0
    stack: list[tuple[str, int, bool]] = [(root, 0, False)]
    while stack:
        name, column, below_done = stack.pop()
        below = children.get(name, ())
        if not below:
            places[name] = Place(column, next_row)
            next_row += 1
        elif below_done:
            middle = (places[below[0]].row + places[below[-1]].row) / 2
            places[name] = Place(column, middle)
        else:
            stack.append((name, column, True))
            stack.extend((child, column + 1, False) for child in reversed(below))
    return places
