"""Searches of the simulator (no model, no training): ended, or cut off with live stages."""

import contextlib

from llmzero.api.base import ObjectMeta
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Agent
from llmzero.api.stage import Phase, StageNode
from llmzero.search.decisions import Decision, Start
from llmzero.simulator import SimulatedEngine, make_world
from llmzero.simulator.problems import simulated_search


class Cut(Exception):
    """Enough."""


class TellingEngine(SimulatedEngine):
    """Running stages tell their curve up to the middle; stops after so many stages ended."""

    cut_after = 10_000

    def _apply(self, decision: Decision) -> bool:
        asked = super()._apply(decision)
        if isinstance(decision, Start) and self.nodes[decision.node].spec.steps:
            training = self._running[decision.node]
            self._tell(decision.node, training.ran // 2)
            status = self.nodes[decision.node].status
            cost = status.cost.with_(device_seconds=40.0, train_tokens=50_000)
            self._set(decision.node, cost=cost, last_heard_at=self.now)
        return asked

    def _end(self, name: str) -> None:
        if self._completions >= self.cut_after:
            raise Cut
        super()._end(name)


def simulated(
    name: str = "demo",
    ended: int | None = None,
    seed: int = 1,
    stages: float = 12,
    **options: object,
) -> tuple[TrainingSearch, list[StageNode]]:
    """A search after so many completions (None: at its end) and its stages."""
    search = simulated_search("llmzero", seed=seed, stages=stages, depth=4, **options)  # type: ignore[arg-type]
    spec = search.spec.with_(agent=Agent(endpoint="default"))
    meta = ObjectMeta(name=name, namespace="research", uid=f"uid-of-{name}-{seed}")
    engine = TellingEngine(search.with_(metadata=meta, spec=spec), make_world("saturating", seed))
    if ended is not None:
        engine.cut_after = ended
    with contextlib.suppress(Cut):
        engine.run()
    return engine.search, list(engine.nodes.values())


def live(nodes: list[StageNode]) -> list[StageNode]:
    return [n for n in nodes if n.status.phase in (Phase.RUNNING, Phase.STOPPING)]
