"""The rows of a search as its nodes were given, remembered from one plan to the next.

Between two plans one stage has ended and a few were created. So what is remembered is compared
with what is given object by object, and only what differs is read again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from threading import Lock
from typing import Final

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.search.rows import Frame, Row, read

NO_PARENT: Final = -1
_SEARCHES: Final = 8
"""Searches that are remembered, the latest ones."""


@dataclass(slots=True, eq=False)
class Table:
    """Never changed once made; ``places`` count from 1, the root (None) is 0."""

    frame: Frame
    given: list[StageNode]
    slots: list[int]
    """For each given node its index in ``rows``, -1 for an evaluation."""
    rows: list[Row]
    places: dict[str | None, int]
    parents: list[int]
    """For each row the place of its parent; NO_PARENT where that is not among the rows."""

    @property
    def evaluations(self) -> list[StageNode]:
        """The Promote and HeldOut nodes."""
        return [node for node, slot in zip(self.given, self.slots, strict=True) if slot < 0]


_lock = Lock()
_known: OrderedDict[str, Table] = OrderedDict()


def table(search: TrainingSearch, frame: Frame, nodes: Sequence[StageNode]) -> Table:
    """The table of ``nodes``, a function of its arguments however much is remembered."""
    uid, given = search.metadata.uid, list(nodes)
    old = _known.get(uid)
    found = None
    if old is not None and old.frame == frame:
        found = _updated(old, given) or _built(frame, given, old)
    found = found or _built(frame, given)
    with _lock:
        _known[uid] = found
        _known.move_to_end(uid)
        if len(_known) > _SEARCHES:
            _known.popitem(last=False)
    return found


def forget() -> None:
    """Drops what is remembered: the next plan reads every object again, as after a restart."""
    _known.clear()


def link(rows: Sequence[Row]) -> tuple[dict[str | None, int], list[int]]:
    """Places by name, and the place of every row's parent."""
    places: dict[str | None, int] = {None: 0}
    for place, row in enumerate(rows, start=1):
        places[row.name] = place
    return places, [places.get(row.parent, NO_PARENT) for row in rows]


def _built(frame: Frame, given: list[StageNode], old: Table | None = None) -> Table:
    known: dict[int, Row] = {}
    if old is not None:  # a row keeps its node alive, so no id can have come to mean another
        known = {id(row.node): row for row in old.rows}
    slots: list[int] = []
    rows: list[Row] = []
    for node in given:
        if node.spec.purpose is Purpose.TRAIN:
            slots.append(len(rows))
            rows.append(known.get(id(node)) or read(node, frame))
        else:
            slots.append(-1)
    return Table(frame, given, slots, rows, *link(rows))


def _updated(old: Table, given: list[StageNode]) -> Table | None:
    """The old table with what changed in place and what came behind; None where it is neither."""
    count = len(old.given)
    if len(given) < count or NO_PARENT in old.parents:
        return None
    rows, slots = old.rows.copy(), old.slots.copy()
    places, parents = old.places.copy(), old.parents.copy()
    for index, same in enumerate(map(is_, given, old.given)):
        if same:
            continue
        node, slot = given[index], slots[index]
        if (slot < 0) != (node.spec.purpose is not Purpose.TRAIN):
            return None
        if slot >= 0:
            if (node.metadata.name, node.spec.parent) != (rows[slot].name, rows[slot].parent):
                return None
            rows[slot] = read(node, old.frame)
    for node in given[count:]:
        if node.spec.purpose is not Purpose.TRAIN:
            slots.append(-1)
            continue
        row = read(node, old.frame)
        if row.parent not in places:
            return None
        slots.append(len(rows))
        rows.append(row)
        places[row.name] = len(rows)
        parents.append(places[row.parent])
    return Table(old.frame, given, slots, rows, places, parents)
