"""Engines where stages fail or begin again, and what a test counts on them itself."""

from hypothesis import strategies as st
from simulated_engine import SimulatedEngine

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase


@st.composite
def troubled(draw: st.DrawFn, search: TrainingSearch) -> SimulatedEngine:
    """An engine where stages fail, or begin again, more or less often."""
    return SimulatedEngine(
        search,
        seed=draw(st.integers(0, 10_000)),
        out_of_memory=draw(st.sampled_from([0.0, 0.1, 0.5])),
        diverge=draw(st.sampled_from([0.0, 0.1])),
        crash=draw(st.sampled_from([0.0, 0.1])),
        retry=draw(st.sampled_from([0.0, 0.2])),
    )


def charged(engine: SimulatedEngine) -> float:
    """The budget used, by the words of the manifest's documentation and nothing else."""
    full, total = engine.search.spec.stage.steps, 0.0
    for node in engine.trains():
        ran = node.status.step / full
        match node.status.phase:
            case Phase.STOPPED:
                total += ran
            case Phase.FAILED:
                total += max(ran, 0.25)
            case _:
                total += node.spec.steps / full
    return total


def in_flight(engine: SimulatedEngine) -> int:
    return sum(not n.status.phase.final for n in engine.nodes.values())
