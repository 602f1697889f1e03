"""What proposers and judges are told: complete where it matters, bounded whatever the tree."""

import pytest
from simulated_engine import PARAMETERS, SimulatedEngine, make_search
from trees import Grower, look

from llmzero.api.parameters import Parameter, distance
from llmzero.api.proposals import Infeasible
from llmzero.api.stage import Outcome
from llmzero.rules.space import (
    hopeless,
    inside,
    known,
    local,
    nearby,
    shrunk,
    spread,
)
from llmzero.search.values import Values
from llmzero.strategies.context import infeasible, proposal_request

INITIAL = {p.name: p.initial for p in PARAMETERS}


def request_for(grower: Grower, path: str):
    tree = grower.tree()
    return proposal_request(
        tree, Values(tree), tree.index(grower.node(path).name), "id-1", 2, infeasible(tree)
    )


def test_a_question_tells_path_siblings_best_and_failures() -> None:
    grower = Grower(make_search(stages=24))
    grower.grow("0", 0.3, steps=25, features={"reward_slope": 0.1})
    grower.grow("0-0", 0.4, steps=75, scores=[look(75, 0.4, 0.02, "f0")])
    grower.grow("0-0-0", 0.45)
    grower.grow("0-0-1", 0.2, changes={"beta": 0.1})
    grower.grow("1", 0.6, changes={"beta": 0.05})
    grower.grow("2", outcome=Outcome.DIVERGED, ran=25, changes={"learning_rate": 1e-3})
    request = request_for(grower, "0-0")
    assert [s.path for s in request.path] == ["0", "0-0"]
    assert [s.path for s in request.children] == ["0-0-0", "0-0-1"]
    assert request.children[1].changes == {"beta": (0.02, 0.1)}
    assert request.best[0].path == "1" and request.best[0].curve is not None
    assert {s.path for s in request.best}.isdisjoint({"0", "0-0"})
    assert [i.outcome for i in request.infeasible] == ["Diverged"]
    assert request.path[0].features == {"reward_slope": 0.1}
    assert request.path[1].start_step == 25
    assert request.path[1].value == pytest.approx(0.4)
    assert request.budget.depth == 5, "one stage of six is behind it"
    assert request.budget.stages == pytest.approx(24 - 0.25 - 0.75 - 1 - 1 - 1 - 0.25)
    assert request.siblings == []
    assert [s.path for s in request_for(grower, "0-0-1").siblings] == ["0-0-0"]
    assert (request.count, request.stage_steps, request.request_id) == (2, 100, "id-1")
    assert (
        "per_question" not in request.model_dump_json() or '"f0"' not in request.model_dump_json()
    )


def test_values_are_told_in_the_objectives_own_direction() -> None:
    grower = Grower(make_search(direction="minimize"))
    grower.grow("0", 0.3)
    grower.grow("1", 0.2)
    request = request_for(grower, "0")
    assert request.direction == "minimize"
    assert request.path[-1].value == pytest.approx(0.3)
    assert request.best[0].path == "1"


def test_the_question_is_bounded_in_a_wide_and_deep_tree() -> None:
    grower = Grower(make_search(stages=1000, max_depth=64))
    path = "0"
    grower.grow(path, 0.3)
    for _ in range(63):
        path += "-0"
        grower.grow(path, 0.3)
    for number in range(100):
        grower.grow(f"{path}-{number + 1}", 0.3, changes={"beta": 0.03 + number / 1000})
        grower.grow(str(number + 1), outcome=Outcome.OUT_OF_MEMORY, ran=0)
    request = request_for(grower, path)
    assert len(request.path) == 64 and len(request.children) == 64
    assert len(request.best) == 5 and len(request.infeasible) <= 16


def test_out_of_memory_is_taken_back_where_as_much_fitted() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.3)
    grower.grow("1", outcome=Outcome.OUT_OF_MEMORY, ran=0)
    large = {"num_generations": 16, "max_completion_length": 4096}
    grower.grow("2", outcome=Outcome.OUT_OF_MEMORY, ran=0, changes=large)
    assert [i.parameters["num_generations"] for i in infeasible(grower.tree())] == [16]


# The space -----------------------------------------------------------------------------------


def test_moves_and_spreads_stay_inside_and_differ() -> None:
    points = [local(PARAMETERS, n, 1)[0] for n in range(40)]
    points += [spread(PARAMETERS, n, 1) for n in range(40)]
    points += [nearby(PARAMETERS, INITIAL, {}, 1, n) for n in range(40)]
    assert all(inside(PARAMETERS, p) for p in points)
    assert len({str(p) for p in points}) > 100


def test_a_nearby_transition_is_bounded_and_never_takes_capacity_down() -> None:
    for n in range(60):
        point = nearby(PARAMETERS, INITIAL, {}, "seed", n)
        changed = [p for p in PARAMETERS if point[p.name] != INITIAL[p.name]]
        assert len(changed) <= 3
        assert point["num_generations"] >= 8 and point["max_completion_length"] >= 512
        assert 0.3e-6 <= point["learning_rate"] <= 2e-6 * 1.001
        assert abs(point["temperature"] - 1.0) <= 0.2 + 1e-9


@pytest.mark.parametrize("block", [0, 1])
def test_every_block_of_the_spread_takes_each_eighth_of_each_dimension_once(block: int) -> None:
    points = [spread(PARAMETERS, 8 * block + n, 5) for n in range(8)]
    for p in PARAMETERS[:3]:
        assert sorted(int(8 * p.to_unit(x[p.name])) for x in points) == list(range(8))
    halves = {tuple(p.to_unit(x[p.name]) < 0.5 for p in PARAMETERS[:2]) for x in points}
    assert len(halves) > 2, "dimensions do not move together"


def test_a_limit_to_choose_is_spread_evenly_from_its_initial_value_up() -> None:
    limit = Parameter(
        name="max_completion_length", role="capacity", type="categorical",
        choices=[128, 256, 512, 1024], initial=512,
    )  # fmt: skip
    given = [spread([PARAMETERS[0], limit], n, 1)["max_completion_length"] for n in range(8)]
    assert sorted(given) == [512] * 4 + [1024] * 4
    alone = {str(spread([limit], n, 1)) for n in range(8)}
    assert len(alone) > 1, "where nothing else is searched, capacity is spread"


def test_known_hopeless_and_shrunk() -> None:
    near = {**INITIAL, "beta": 0.0201}
    assert known(PARAMETERS, near, [INITIAL])
    assert not known(PARAMETERS, {**INITIAL, "beta": 0.1}, [INITIAL])
    starved = [Infeasible(parameters=INITIAL, outcome="OutOfMemory")]
    assert hopeless(PARAMETERS, {**INITIAL, "beta": 0.1}, starved), "as much memory"
    smaller = shrunk(PARAMETERS, INITIAL, starved)
    assert not hopeless(PARAMETERS, smaller, starved)
    assert inside(PARAMETERS, smaller) and smaller["beta"] == INITIAL["beta"]
    assert distance(PARAMETERS, smaller, INITIAL) > 0.02
    diverged = [Infeasible(parameters=INITIAL, outcome="Diverged")]
    assert hopeless(PARAMETERS, near, diverged)
    assert not hopeless(PARAMETERS, {**INITIAL, "beta": 0.1}, diverged)
    free = [Parameter(name="beta", min=0, max=1, initial=0.1)]
    assert not hopeless(
        free, {"beta": 0.5}, [Infeasible(parameters={"beta": 0.1}, outcome="OutOfMemory")]
    ), "without a capacity parameter memory says nothing about others"


def test_a_search_where_most_of_the_space_fails_still_ends_quickly() -> None:
    engine = SimulatedEngine(make_search(stages=8, parallelism=3), out_of_memory=0.9, seed=4)
    engine.run()
    assert engine.search.status.phase in ("Complete", "Failed")
    assert engine.plans < 200
