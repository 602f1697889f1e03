"""What the plan creates if recorded completions come again in the recorded order."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from llmzero import strategies
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.search.decisions import Create, Expand


def replayed(search: TrainingSearch, recorded: Sequence[StageNode]) -> dict[str, Any]:
    """Specs of the Train stages by name: one completion, one plan, as an engine does it."""
    known = {n.name: n for n in recorded}
    ended = [n for n in recorded if n.status.sequence is not None]
    waiting = [n.name for n in sorted(ended, key=lambda n: n.status.sequence or 0)]
    search = search.with_(status=SearchStatus())
    nodes: dict[str, StageNode] = {}
    while True:
        plan = strategies.plan(search, list(nodes.values()), datetime.now(UTC))
        for decision in plan.decisions:
            if isinstance(decision, Create):
                nodes.setdefault(decision.node.name, decision.node)
            elif isinstance(decision, Expand):
                node = nodes[decision.node]
                status = node.status.with_(expansion=decision.expansion)
                nodes[node.name] = node.with_(status=status)
        if not waiting:
            return specs(nodes.values())
        name = waiting.pop(0)
        assert name in nodes, f"{name} was created, the replay does not create it by then"
        every, steps = search.spec.stage.checkpoint_every, nodes[name].spec.steps
        # As they were when it ended; retention has deleted some since.
        checkpoints = sorted({*range(every, steps + 1, every), steps}) if steps else []
        status = known[name].status.with_(
            expansion=nodes[name].status.expansion, checkpoints=checkpoints
        )
        nodes[name] = nodes[name].with_(status=status)


def specs(nodes: Any) -> dict[str, Any]:
    """By name, of the Train stages."""
    return {n.name: n.spec.dump() for n in nodes if n.spec.purpose is Purpose.TRAIN}
