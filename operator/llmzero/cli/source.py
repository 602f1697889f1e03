"""Where a command's objects come from: a run directory, or a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmzero.api.names import depth
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.cli.output import fail, in_order, run_of
from llmzero.local.store import worked_on


@dataclass(frozen=True, slots=True)
class Source:
    """A search and its stages, and where they were found, for messages."""

    where: str
    search: TrainingSearch
    nodes: Mapping[str, StageNode]
    idle: bool = False
    """Whether it has not ended and nobody works on it; never so on a cluster."""


def directory(path: Path) -> Source:
    """The run in a directory, or an error and exit."""
    run = run_of(path)
    # A suspended one says itself how it goes on.
    ended = run.search.status.phase in ("Complete", "Failed", "Suspended")
    return Source(str(path), run.search, run.nodes, idle=not ended and not worked_on(path))


def node_of(source: Source, wanted: str) -> StageNode:
    """A stage by its name or by its path (``0-1``), or an error that lists what there is."""
    for node in source.nodes.values():
        train = node.spec.purpose is Purpose.TRAIN
        if node.name == wanted or (train and node.spec.path == wanted):
            return node
    nodes = in_order(source.nodes.values())
    paths = [n.spec.path for n in nodes if n.spec.purpose is Purpose.TRAIN]
    listed = ", ".join(sorted(paths, key=lambda p: (depth(p), p))[:20]) or "none yet"
    fail(f"{wanted}: no such stage in {source.where}; there are {listed}")
