"""Stages that would learn nothing from going on unchanged, and ends of lines that were treated."""

from collections import Counter

import pytest

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.api.stage import StageStatus
from llmzero.simulator import FAMILIES, SimulatedEngine, make_world
from llmzero.simulator.problems import simulated_search
from llmzero.strategies.finishing import TREATMENTS
from llmzero.strategies.stuck import spent, untrained

PLATEAU = Pathology(kind=PathologyKind.PLATEAU, severity=0.5, metric="reward", evidence="flat")


def status(dead: float, reward: float = 0.5, flat: bool = True) -> StageStatus:
    features = {"dead_groups_end": dead, "reward_end": reward}
    return StageStatus(features=features, pathologies=[PLATEAU] if flat else [])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (status(0.95), True),
        (status(0.95, flat=False), False),  # it still rises
        (status(0.8), False),
        (status(0.97, reward=0.01), False),  # a first success is awaited
    ],
)
def test_a_flat_reward_on_groups_that_are_all_alike_is_spent(
    found: StageStatus, expected: bool
) -> None:
    assert spent(found) is expected


@pytest.mark.parametrize(
    ("dead", "settings", "expected"),
    [(1.0, {}, True), (0.99, {}, False), (1.0, {"beta": 0.01}, False), (1.0, {"beta": 0.0}, True)],
)
def test_dead_groups_train_nothing_unless_a_kl_term_does(
    dead: float, settings: dict[str, float], expected: bool
) -> None:
    assert untrained({}, dict(settings), status(dead)) is expected


@pytest.mark.parametrize("family", FAMILIES)
def test_one_end_of_a_line_is_treated_twice_at_most(family: str) -> None:
    for seed in range(6):
        engine = SimulatedEngine(simulated_search("llmzero", seed=seed), make_world(family, seed))
        engine.run()
        finished = [n.spec.parent for n in engine.nodes.values() if n.spec.segment == "finish"]
        assert max(Counter(finished).values()) <= TREATMENTS
