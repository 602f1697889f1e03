"""Stored searches and stages as Prometheus families.

Series of a search live as long as the object; series of a stage only while it is live, so their
number follows ``parallelism``, never the size of the tree. Every label but the names of objects
comes from a closed list.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from prometheus_client.core import Metric

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase, Purpose, StageNode
from llmzero.telemetry import searches as search_families
from llmzero.telemetry import stages as stage_families
from llmzero.telemetry.writer import Writer

MOST_LIVE_STAGES: Final = 500
"""Live stages with series of their own, over all searches; the rest is counted."""


def samples(
    searches: Iterable[TrainingSearch], nodes: Iterable[StageNode], now: datetime
) -> Sequence[Metric]:
    """Families of everything that is stored. Stages of an unknown search are left out."""
    writer = Writer()
    by_search: defaultdict[str, list[StageNode]] = defaultdict(list)
    for node in nodes:
        by_search[node.spec.search.uid].append(node)
    shown, hidden = 0, 0
    for search in searches:
        mine = by_search.get(search.metadata.uid or "", [])
        labels = {"namespace": search.metadata.namespace or "", "search": search.name}
        search_families.add(writer, labels, search, mine)
        if search.status.phase in ("Complete", "Failed"):
            continue
        live = [node for node in mine if _live(node)]
        room = max(MOST_LIVE_STAGES - shown, 0)
        for node in live[:room]:
            stage_families.add(writer, {**labels, "path": node.spec.path}, search, node, now)
        shown, hidden = shown + len(live[:room]), hidden + len(live[room:])
        stage_families.add_best(writer, labels, search, mine)
    writer.gauge("llmzero_live_stages_hidden", "Live stages beyond those with series.", {}, hidden)
    return writer.families()


def _live(node: StageNode) -> bool:
    return node.spec.purpose is Purpose.TRAIN and node.status.phase in (
        Phase.RUNNING,
        Phase.STOPPING,
    )
