"""Families of simulated worlds. Two are for tuning planners, the others for confirmation."""

from collections.abc import Mapping
from typing import Final

from llmzero.simulator.families.bottlenecks import Bottlenecks
from llmzero.simulator.families.gamed import Gamed
from llmzero.simulator.families.levels import Levels
from llmzero.simulator.families.recited import Recited
from llmzero.simulator.families.saturating import Saturating
from llmzero.simulator.world import World

FAMILIES: Final[Mapping[str, type[World]]] = {
    "saturating": Saturating,
    "bottlenecks": Bottlenecks,
    "gamed": Gamed,
    "levels": Levels,
    "recited": Recited,
}
TUNED: Final = ("saturating", "bottlenecks")
"""Families that planners may be tuned on."""
SEEN: Final = ("gamed", "levels")
"""Families that were for confirmation, until variants of the planner were looked at in them."""
UNSEEN: Final = ("recited",)
"""Families for confirmation only: made after the planner, which was never changed for them."""


def make_world(family: str, seed: int) -> World:
    """A world of a family. Raises ValueError for an unknown family."""
    if family not in FAMILIES:
        raise ValueError(f"family: found {family!r}, known are {', '.join(FAMILIES)}")
    return FAMILIES[family](seed)
