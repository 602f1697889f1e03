"""Schedules: shipped, written down, and replayed in a search with other bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_engine import PARAMETERS, SimulatedEngine, make_search

from llmzero.api.parameters import Parameter
from llmzero.api.schedule import Relative, ScheduleDocument, ScheduleStage
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget
from llmzero.api.stage import Purpose, StageNode
from llmzero.report.path import path_to
from llmzero.report.schedule import schedule_of
from llmzero.search.request import stage_request
from llmzero.strategies import check_options
from llmzero.strategies.presets import PRESETS, preset
from llmzero.strategies.replay import legs, relative, resolve

RATE = Parameter(name="learning_rate", min=1e-6, max=1e-4, scale="log", initial=1e-5)
LENGTH = Parameter(
    name="max_completion_length", role="capacity", type="int", min=4, max=64, initial=12
)
GROUPS = Parameter(
    name="num_generations", role="capacity", type="categorical", choices=[4, 8, 16], initial=8
)
WARMTH = Parameter(name="temperature", min=0.4, max=1.5, initial=1.0)
BETA = Parameter(name="beta", min=0, max=0.2, initial=0.0)
SPACE = [RATE, LENGTH, GROUPS, WARMTH, BETA]


def search(parameters: list[Parameter] | None = None, **kw: object) -> TrainingSearch:
    return make_search(strategy="schedule", parameters=parameters or SPACE, **kw)  # type: ignore[arg-type]


def replay(
    given: object, parameters: list[Parameter] | None = None, **kw: object
) -> list[StageNode]:
    options = {"from": given, **kw.pop("options", {})}  # type: ignore[dict-item]
    engine = SimulatedEngine(search(parameters, options=options, **kw))  # type: ignore[arg-type]
    engine.run()
    assert engine.search.status.phase == "Complete"
    return sorted(engine.trains(), key=lambda n: n.spec.path.count("-"))


def document(*stages: dict, **kw: object) -> ScheduleDocument:
    return ScheduleDocument.model_validate({"name": "mine", "stages": list(stages), **kw})


# Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "wanted", "value", "inside"),
    [
        (RATE, 2e-5, 2e-5, True),
        (RATE, 1e-3, 1e-4, False),
        (RATE, Relative(times=3), 3e-5, True),
        (RATE, Relative(times=100), 1e-4, False),
        (RATE, Relative(at=0.5), 1e-5, True),
        (LENGTH, Relative(times=2), 24, True),
        (LENGTH, Relative(times=1.3), 16, True),
        (LENGTH, Relative(times=9), 64, False),
        (GROUPS, Relative(times=2), 16, True),
        (GROUPS, 7, 8, False),
        (WARMTH, Relative(plus=-0.2), 0.8, True),
        (BETA, Relative(at=0.25), 0.05, True),
    ],
)
def test_values_are_absolute_or_tell_where_they_stand(
    parameter: Parameter, wanted: object, value: object, inside: bool
) -> None:
    found, was_inside = resolve(parameter, wanted)  # type: ignore[arg-type]
    assert found == pytest.approx(value) and was_inside is inside


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPACE), st.floats(0, 1))
def test_what_is_told_relative_comes_back_as_it_was(parameter: Parameter, unit: float) -> None:
    value = parameter.from_unit(unit)
    twin = relative(parameter, value)
    assert twin is not None
    found, _ = resolve(parameter, twin)
    assert parameter.to_unit(found) == pytest.approx(parameter.to_unit(value), abs=1e-3)


def test_text_has_no_relative_form() -> None:
    loss = Parameter(name="loss_type", type="categorical", choices=["dapo", "grpo"], initial="dapo")
    assert relative(loss, "grpo") is None
    assert resolve(loss, "grpo") == ("grpo", True)
    assert resolve(loss, "bnpo") == ("dapo", False)


# Lengths -------------------------------------------------------------------------------------


def test_shares_are_of_the_run_and_long_stages_are_cut_into_full_ones() -> None:
    given = document({"share": 0.6, "parameters": {"temperature": 0.6}}, {"share": 0.4})
    found = legs(given, search(max_depth=4, stages=24).spec)
    assert [(leg.place, leg.steps) for leg in found] == [
        (0, 100),
        (0, 100),
        (0, 50),
        (1, 100),
        (1, 50),
    ]
    assert [leg.parameters for leg in found[:3]] == [{"temperature": 0.6}, {}, {}]
    assert [leg.carry_optimizer for leg in found] == [False, True, True, False, True], (
        "what one stage is cut into goes on as one"
    )


def test_a_small_budget_shortens_the_run() -> None:
    found = legs(document({"share": 0.5}, {"share": 0.5}), search(max_depth=6, stages=2).spec)
    assert [leg.steps for leg in found] == [100, 100]


def test_steps_are_scaled_by_the_ratio_of_full_stages_and_end_at_evaluations() -> None:
    given = document({"steps": 10}, {"steps": 40}, {"steps": 40}, stageSteps=40)
    assert [leg.steps for leg in legs(given, search().spec)] == [25, 100, 100]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
    st.sampled_from([(100, 25), (7, 3), (40, 10)]),
    st.integers(1, 6),
    st.floats(0.5, 12),
)
def test_legs_fit_the_run(
    shares: list[float], lengths: tuple[int, int], depth: int, stages: float
) -> None:
    total = sum(shares)
    given = document(*({"share": s / total} for s in shares))
    spec = search(steps=lengths[0], eval_every=lengths[1], max_depth=depth, stages=stages).spec
    found = legs(given, spec)
    assert all(1 <= leg.steps <= lengths[0] for leg in found)
    horizon = min(depth, stages) * lengths[0]
    assert sum(leg.steps for leg in found) <= max(horizon, lengths[1]) + 1e-6


# Presets -------------------------------------------------------------------------------------

EXPECTED: dict[str, list[dict[str, object]]] = {
    "deepscaler": [
        {"max_completion_length": 12, "num_generations": 8, "temperature": 0.6, "beta": 0.001},
        {"max_completion_length": 24, "num_generations": 16, "temperature": 0.6},
        {"max_completion_length": 36, "num_generations": 16},
    ],
    "skywork-or1": [
        {"max_completion_length": 12, "temperature": 1.0, "beta": 0.0},
        {"max_completion_length": 24},
        {"max_completion_length": 48},
    ],
    "polaris": [
        {"max_completion_length": 12, "temperature": 1.4},
        {"max_completion_length": 14, "temperature": 1.45},
        {"max_completion_length": 16, "temperature": 1.5},
    ],
    "prorl": [
        {"max_completion_length": 12, "temperature": 1.2, "epsilon_high": 0.4},
        {"max_completion_length": 12},
        {"max_completion_length": 12},
        {"max_completion_length": 24, "temperature": 1.2},
    ],
    "dapo": [{"num_generations": 16, "beta": 0.0, "epsilon_high": 0.28, "temperature": 1.0}],
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_runs_scaled_to_the_search_at_hand(name: str) -> None:
    clip = Parameter(name="epsilon_high", min=0.2, max=0.4, initial=0.2)
    nodes = replay(name, [*SPACE, clip], max_depth=6, stages=6)
    given = preset(name)
    first = {leg.place: i for i, leg in reversed(list(enumerate(legs(given, search().spec))))}
    assert sum(n.spec.steps for n in nodes) == 600, "the whole run"
    for place, expected in enumerate(EXPECTED[name]):
        node = nodes[first[place]]
        assert {k: node.spec.parameters[k] for k in expected} == pytest.approx(expected)
        assert node.spec.parameters["learning_rate"] == 1e-5, "the learning rate stays initial"
        assert not node.spec.carry_optimizer, "every published stage began with fresh moments"
    assert len(EXPECTED[name]) == len(given.stages)
    assert given.sources and given.name == name and len(given.notes) > 100


def test_prorl_resets_reference_and_optimizer_at_its_parts_alone() -> None:
    nodes = replay("prorl", max_depth=8, stages=8)
    assert [n.spec.carry_reference for n in nodes] == [False, True] * 4
    requests = [stage_request(search(), n) for n in nodes]
    assert [r.carry_optimizer for r in requests] == [False, True] * 4


def test_what_a_search_does_not_declare_is_left_out_and_told() -> None:
    (first, *_) = replay("skywork-or1", max_depth=3, stages=3)
    assert "use_adaptive_entropy" not in first.spec.parameters
    assert "use_adaptive_entropy is not searched here" in first.spec.provenance.rationale


def test_what_lies_outside_of_the_space_is_moved_inside_and_told() -> None:
    cool = Parameter(name="temperature", min=0.4, max=1.2, initial=1.0)
    (first, *_) = replay("polaris", [RATE, cool], max_depth=3, stages=3)
    assert first.spec.parameters["temperature"] == 1.2
    assert "1.4 is outside of the space, 1.2 is not" in first.spec.provenance.rationale


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("deepscale", "presets are dapo, deepscaler, polaris, prorl, skywork-or1"),
        (3, "a schedule or its name is needed"),
        ({"name": "x", "stages": []}, "stages: found []; list should have at least 1 item"),
        ({"kind": "TrainingSearch"}, "kind: found 'TrainingSearch', a Schedule is needed"),
        ({"name": "x", "stages": [{"share": 2}]}, "stages[0].share: found 2; "),
        ({"name": "x", "stages": [{"share": 0.5, "steps": 3}]}, "exclude one another"),
        (
            {"name": "x", "stages": [{"relative": {"beta": {"times": 2, "plus": 1}}}]},
            "exactly one of times, plus and at",
        ),
    ],
)
def test_a_wrong_schedule_is_told_by_field(given: object, wrong: str) -> None:
    (found,) = check_options("schedule", {"from": given})
    assert found.startswith("strategy.options.from") and wrong in found


# Export and replay ---------------------------------------------------------------------------


def searched(seed: int = 4, **kw: object) -> SimulatedEngine:
    engine = SimulatedEngine(make_search(stages=16, max_depth=4, **kw), seed=seed)  # type: ignore[arg-type]
    engine.run()
    assert engine.search.status.best is not None
    return engine


def best_nodes(engine: SimulatedEngine) -> list[StageNode]:
    best = engine.search.status.best
    assert best is not None
    return path_to(list(engine.nodes.values()), best.node)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_path_replayed_in_its_own_search_is_the_same_path(seed: int) -> None:
    engine = searched(seed)
    found = schedule_of(engine.search, list(engine.nodes.values()))
    again = ScheduleDocument.model_validate(found.dump())
    nodes = replay(again.dump(), PARAMETERS, max_depth=4, stages=16)
    path = best_nodes(engine)
    assert [n.spec.parameters for n in nodes] == [n.spec.parameters for n in path]
    assert [n.spec.carry_optimizer for n in nodes] == [n.spec.carry_optimizer for n in path]
    assert [n.spec.carry_reference for n in nodes] == [n.spec.carry_reference for n in path]
    left = [c.spec.start.step for c in path[1:] if c.spec.start]
    assert [n.spec.steps for n in nodes] == [*left, path[-1].status.checkpoints[-1]]


def test_an_export_says_where_it_comes_from_and_what_was_seen() -> None:
    engine = next(
        e for e in map(searched, range(50)) if any(n.spec.changes for n in best_nodes(e)[1:])
    )
    nodes, path = list(engine.nodes.values()), best_nodes(engine)
    first = path[0]
    engine.set(first.name, features={"entropy_end": 0.3, "reward_end": 0.5})
    found = schedule_of(engine.search, list(engine.nodes.values()))
    assert found.found_in is not None
    assert (found.found_in.search, found.found_in.path) == ("sim", path[-1].spec.path)
    assert found.found_in.split == "promote" and found.stage_steps == 100
    assert found.stages[0].seen is None and set(found.stages[0].parameters) == {
        p.name for p in PARAMETERS
    }
    seen = found.stages[1].seen
    assert seen is not None and first.status.result is not None
    assert seen.value == first.status.result.value and seen.features == {"entropy_end": 0.3}
    changed = next(n for n in path[1:] if n.spec.changes)
    stage = found.stages[path.index(changed)]
    assert set(stage.parameters) == {c.name for c in changed.spec.changes}
    assert set(stage.relative) == set(stage.parameters)
    assert changed.spec.provenance.rationale in stage.why
    other = next(n for n in nodes if n.spec.purpose is Purpose.TRAIN and n.spec.parent is None)
    assert len(schedule_of(engine.search, nodes, other.name).stages) == 1


def test_a_search_without_a_value_has_nothing_to_export() -> None:
    with pytest.raises(ValueError, match="no stage has a value yet"):
        schedule_of(make_search(), [])


def test_other_bounds_get_the_relative_values_alike_bounds_the_absolute_ones() -> None:
    there = [RATE, LENGTH]
    given = ScheduleDocument(
        name="x",
        parameters=there,
        stages=[
            ScheduleStage(
                parameters={"learning_rate": 3e-5, "max_completion_length": 24},
                relative={
                    "learning_rate": Relative(times=3),
                    "max_completion_length": Relative(times=2),
                },
            )
        ],
    )
    longer = Parameter(
        name="max_completion_length", role="capacity", type="int", min=128, max=4096, initial=512
    )
    here = RATE.with_(initial=2e-5)
    spec = search([here, longer]).spec
    (leg,) = legs(given, spec)
    assert leg.parameters == {"learning_rate": 3e-5, "max_completion_length": 1024}
    (leg,) = legs(given, spec, "relative")
    assert leg.parameters == {"learning_rate": pytest.approx(6e-5), "max_completion_length": 1024}
    (leg,) = legs(given, spec, "absolute")
    assert leg.parameters == {"learning_rate": 3e-5, "max_completion_length": 128}
    assert leg.notes == ["max_completion_length: 24 is outside of the space, 128 is not"]


def test_inline_stages_work_as_before() -> None:
    stages = [{"parameters": {"beta": 0.01}}, {"steps": 50, "carryOptimizer": True}]
    engine = SimulatedEngine(
        search(options={"stages": stages}, budget=Budget(stages=3), max_depth=4)
    )
    engine.run()
    first, second = sorted(engine.trains(), key=lambda n: n.spec.path)
    assert (first.spec.steps, second.spec.steps) == (100, 50)
    assert first.spec.parameters["beta"] == second.spec.parameters["beta"] == 0.01
    assert second.spec.carry_optimizer and not second.spec.carry_reference
