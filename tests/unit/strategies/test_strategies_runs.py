"""Random and grid search: whole, independent runs of constant settings."""

from collections import defaultdict

import pytest
from simulated_engine import PARAMETERS, SimulatedEngine, make_search

from llmzero.api.parameters import Parameter
from llmzero.api.stage import Outcome, Phase, StageNode
from llmzero.rules.space import draw
from llmzero.strategies import STRATEGIES, check_options
from llmzero.strategies.grid import axis, shuffled


def runs(engine: SimulatedEngine) -> dict[int, list[StageNode]]:
    found: dict[int, list[StageNode]] = defaultdict(list)
    for node in sorted(engine.trains(), key=lambda n: n.spec.path.count("-")):
        found[int(node.spec.path.split("-")[0])].append(node)
    return dict(found)


def run(**kw: object) -> SimulatedEngine:
    engine = SimulatedEngine(make_search(**kw), seed=3)  # type: ignore[arg-type]
    engine.run()
    return engine


@pytest.mark.parametrize("strategy", ["random", "grid"])
@pytest.mark.parametrize("parallelism", [1, 4])
def test_runs_are_whole_and_constant(strategy: str, parallelism: int) -> None:
    engine = run(strategy=strategy, stages=12, max_depth=4, parallelism=parallelism)
    found = runs(engine)
    assert [len(stages) for stages in found.values()] == [4, 4, 4]
    for stages in found.values():
        assert len({str(n.spec.parameters) for n in stages}) == 1
        assert all(n.spec.steps == 100 for n in stages)
        for node in stages[1:]:
            assert node.spec.path.endswith("-0") and node.spec.provenance.proposer == "continue"
            assert node.spec.carry_optimizer and node.spec.carry_reference
    assert len({str(s[0].spec.parameters) for s in found.values()}) == 3


def test_the_last_run_gets_what_is_left_whatever_the_parallelism() -> None:
    found = runs(run(strategy="random", stages=10, max_depth=6, parallelism=8))
    assert [len(s) for s in found.values()] == [6, 4]


def test_a_budget_below_one_run_is_one_short_run() -> None:
    found = runs(run(strategy="random", stages=3, max_depth=6, parallelism=4))
    assert [len(s) for s in found.values()] == [3]


def test_what_a_failed_run_leaves_goes_to_another() -> None:
    engine = SimulatedEngine(make_search(strategy="random", stages=8, max_depth=4, parallelism=1))
    engine.step()
    engine._close(engine.running()[0], Phase.FAILED, Outcome.DIVERGED)
    engine.run()
    found = runs(engine)
    assert [len(s) for s in found.values()] == [1, 4, 3 + 1]
    assert [n.spec.steps for n in found[2]] == [100, 100, 100, 75], "the rest of the budget"


def test_per_stage_draws_every_stage_anew() -> None:
    engine = run(strategy="random", stages=8, max_depth=4, options={"perStage": True})
    for stages in runs(engine).values():
        assert len({str(n.spec.parameters) for n in stages}) == len(stages)
        assert all(n.spec.provenance.proposer == "random" for n in stages)
        assert all(n.spec.changes and not n.spec.carry_optimizer for n in stages[1:])


def test_random_runs_depend_on_the_seed_alone() -> None:
    def settings(**kw: object) -> list[str]:
        engine = run(strategy="random", stages=6, max_depth=1, **kw)
        return [str(n.spec.parameters) for _, (n, *_) in sorted(runs(engine).items())]

    assert settings(seed=1, parallelism=1) == settings(seed=1, parallelism=5)
    assert settings(seed=1) != settings(seed=2)


def test_draws_fill_the_scale_evenly() -> None:
    rates = [PARAMETERS[0].to_unit(draw(PARAMETERS, 1, i)["learning_rate"]) for i in range(400)]
    assert 0.45 < sum(rates) / len(rates) < 0.55
    assert min(rates) < 0.02 and max(rates) > 0.98


def test_a_small_discrete_space_is_drawn_once_each() -> None:
    only = Parameter(name="num_generations", type="categorical", choices=[4, 8], initial=4)
    engine = run(strategy="random", stages=50, max_depth=1, parameters=[only])
    assert sorted(n.spec.parameters["num_generations"] for n in engine.trains()) == [4, 8]
    assert engine.search.status.phase == "Complete"


# Grid ----------------------------------------------------------------------------------------

GRID = [
    Parameter(name="learning_rate", min=1e-6, max=1e-4, scale="log", initial=1e-5),
    Parameter(name="loss_type", type="categorical", choices=["dapo", "grpo"], initial="dapo"),
]


def test_an_axis_spreads_over_the_scale_with_its_ends() -> None:
    assert axis(GRID[0], 3) == pytest.approx([1e-6, 1e-5, 1e-4])
    assert axis(GRID[0], 1) == [1e-5]
    assert axis(GRID[1], 1) == ["dapo", "grpo"]
    whole = Parameter(name="n", type="int", min=1, max=3, initial=1)
    assert axis(whole, 9) == [1, 2, 3]


def test_lexicographic_order_moves_the_last_parameter_fastest() -> None:
    options = {"points": 3, "order": "lexicographic"}
    engine = run(strategy="grid", stages=99, max_depth=1, parameters=GRID, options=options)
    points = [n.spec.parameters for _, (n, *_) in sorted(runs(engine).items())]
    assert [(p["learning_rate"], p["loss_type"]) for p in points] == [
        (pytest.approx(rate), loss) for rate in (1e-6, 1e-5, 1e-4) for loss in ("dapo", "grpo")
    ]


def test_points_may_differ_by_dimension() -> None:
    options = {"points": {"learning_rate": 5}}
    engine = run(strategy="grid", stages=99, max_depth=1, parameters=GRID, options=options)
    assert len(engine.trains()) == 10


@pytest.mark.parametrize("size", [1, 2, 7, 12, 243, 1000])
def test_the_seeded_order_is_a_permutation_that_the_seed_decides(size: int) -> None:
    order = [shuffled(i, size, 1) for i in range(size)]
    assert sorted(order) == list(range(size))
    if size > 7:
        assert order != [shuffled(i, size, 2) for i in range(size)]
    assert 0 <= shuffled(5, 3**40, 1) < 3**40


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("llmzero", {}, []),
        ("llmzero", {"explore": 0.5}, []),
        ("random", {"perStage": True}, []),
        ("grid", {"points": 4, "order": "seeded"}, []),
        ("grid", {"points": {"beta": 2}}, []),
        (
            "bayes",
            {},
            [f"strategy.name: found 'bayes', allowed are {', '.join(sorted(STRATEGIES))}"],
        ),
        ("llmzero", {"explore": 2}, ["strategy.options.explore: found 2, allowed is 0 to 1"]),
        ("llmzero", {"explore": True}, ["strategy.options.explore: found True, allowed is 0 to 1"]),
        (
            "random",
            {"perStage": 1, "seed": 2},
            [
                "strategy.options.perStage: found 1, allowed are true and false",
                "strategy.options.seed: unknown; strategy random has the options: perStage",
            ],
        ),
        (
            "grid",
            {"points": 0, "order": "best"},
            [
                "strategy.options.points: found 0, a whole number from 1 to 1000 is needed",
                "strategy.options.order: found 'best', allowed are seeded, lexicographic",
            ],
        ),
    ],
)
def test_options_are_checked_all_at_once(name: str, options: dict, expected: list[str]) -> None:
    assert check_options(name, options) == expected
