"""A budget in tokens: what is known only afterwards is forecast, so that nobody overdraws it."""

import pytest

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.search.forecast import Forecast
from llmzero.search.tree import Tree
from llmzero.simulator import SimulatedEngine, make_world
from llmzero.simulator.problems import simulated_search

TOKENS = 12_000_000


def limited(strategy: str, seed: int = 0) -> TrainingSearch:
    search = simulated_search(strategy, seed=seed, stages=200)
    budget = search.spec.budget.with_(tokens=TOKENS)
    return search.with_(spec=search.spec.with_(budget=budget))


def used(engine: SimulatedEngine) -> float:
    trained = [n.status.cost for n in engine.nodes.values() if n.spec.purpose is Purpose.TRAIN]
    return sum(c.train_tokens + c.eval_tokens for c in trained) / TOKENS


@pytest.mark.parametrize("strategy", ["llmzero", "random", "grid", "asha", "pbt", "tpe"])
def test_equal_tokens_are_equal_whatever_a_strategy_prefers(strategy: str) -> None:
    """Larger groups late in a search had cost llmzero 14 % more than it was given."""
    shares = []
    for seed in range(3):
        engine = SimulatedEngine(limited(strategy, seed), make_world("bottlenecks", seed))
        engine.run()
        assert engine.search.status.phase == "Complete"
        shares.append(used(engine))
    assert 0.9 < sum(shares) / len(shares) < 1.04
    assert max(shares) < 1.15


def ended(search: TrainingSearch) -> tuple[list[StageNode], StageNode]:
    """The stages of a search, and one of them that ended with a checkpoint."""
    engine = SimulatedEngine(search, make_world("saturating", 1))
    engine.run()
    stages = [n for n in engine.nodes.values() if n.spec.purpose is Purpose.TRAIN]
    return stages, next(n for n in stages if n.status.checkpoints and n.status.step >= 50)


@pytest.mark.parametrize(("group", "times"), [(4, 0.5), (8, 1.0), (16, 2.0)])
def test_a_group_twice_as_large_is_forecast_to_train_twice_the_tokens(
    group: int, times: float
) -> None:
    search = limited("random")
    stages, parent = ended(search)
    tree = Tree(search, stages)
    before = parent.spec.parameters["num_generations"]
    cost, ran = parent.status.cost, parent.status.step
    child = parent.with_(
        spec=parent.spec.with_(
            parent=parent.name,
            steps=100,
            parameters={**parent.spec.parameters, "num_generations": group},
        )
    )
    forecast = Forecast(tree)
    held = forecast.reserved.copy()
    forecast.added(child)
    expected = (cost.train_tokens * times * 8 / before + cost.eval_tokens) / ran * 100
    assert forecast.reserved[0] - held[0] == pytest.approx(expected)


def test_a_stage_is_as_long_as_the_tokens_allow_and_none_where_they_allow_too_little() -> None:
    search = limited("random")
    stages, parent = ended(search)
    child = parent.with_(spec=parent.spec.with_(parent=parent.name, steps=100))
    cost = parent.status.cost
    step = (cost.train_tokens + cost.eval_tokens) / parent.status.step
    for left, expected in ((101, 100), (60, 50), (24, 0), (0, 0)):
        tree = Tree(search, stages)
        tree.account.tokens.used = TOKENS - left * step
        assert Forecast(tree).fitting(child) == expected


def test_without_such_a_limit_or_before_anything_ended_nothing_is_cut() -> None:
    search = limited("random")
    stages, parent = ended(search)
    assert Forecast(Tree(search, [])).fitting(parent) == parent.spec.steps
    free = simulated_search("random", stages=200)
    tree = Tree(free, stages)
    tree.account.tokens.used = 1e12
    assert Forecast(tree).fitting(parent) == parent.spec.steps
