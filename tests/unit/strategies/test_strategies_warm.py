"""A search that starts from a schedule tries its line first, and goes on as a search."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_engine import PARAMETERS, SimulatedEngine, make_search

from llmzero.api.parameters import Parameter
from llmzero.api.spec import EarlyStopping
from llmzero.api.stage import StageNode
from llmzero.strategies import check_options
from llmzero.strategies.presets import PRESETS

RATE = Parameter(name="learning_rate", min=1e-6, max=1e-4, scale="log", initial=1e-5)
LENGTH = Parameter(
    name="max_completion_length", role="capacity", type="int", min=4, max=64, initial=48
)
SCHEDULE: dict[str, Any] = {
    "name": "mine",
    "stageSteps": 100,
    "stages": [
        {"steps": 100, "parameters": {"learning_rate": 8e-5}},
        {"steps": 100, "parameters": {"max_completion_length": 60}, "carryOptimizer": True},
        {"steps": 200, "parameters": {"learning_rate": 2e-6}},
    ],
}


def grown(warm: Any, stages: float = 24, seed: int = 1, **kw: Any) -> list[StageNode]:
    kw.setdefault("parameters", [RATE, LENGTH])
    kw.setdefault("early_stopping", EarlyStopping(enabled=False))
    search = make_search(options={"warmStart": warm}, stages=stages, seed=seed, **kw)
    engine = SimulatedEngine(search, seed=seed)
    engine.run()
    assert engine.search.status.phase == "Complete"
    return engine.trains()


def line(nodes: list[StageNode]) -> list[StageNode]:
    return [n for n in nodes if n.spec.provenance.proposer == "schedule"]


def test_the_line_of_the_schedule_is_in_the_tree() -> None:
    nodes = grown(SCHEDULE)
    by_name = {n.name: n for n in nodes}
    found = line(nodes)
    first = next(n for n in found if n.spec.parent is None)
    assert first.spec.parameters == {"learning_rate": 8e-5, "max_completion_length": 48}
    assert "mine" in first.spec.provenance.rationale
    second = [n for n in found if n.spec.parameters["max_completion_length"] == 60]
    assert second, "its first change was tried"
    assert second[0].spec.carry_optimizer
    assert by_name[second[0].spec.parent or ""].spec.parameters == first.spec.parameters
    assert second[0].spec.start is not None
    assert len(nodes) > len(found) + 5, "and the search searched"


RESETS: dict[str, Any] = {
    **SCHEDULE,
    "stages": [
        {"steps": 50, "parameters": {"learning_rate": 8e-5}},
        {"steps": 100, "parameters": {"learning_rate": 2e-5}, "carryOptimizer": True},
        {"steps": 150, "carryOptimizer": False, "carryReference": False},
    ],
}
"""Changes inside a full stage, and a stage that only resets, as ProRL hands its reference over."""


@pytest.mark.parametrize("parallelism", [1, 2, 8])
@pytest.mark.parametrize("schedule", [SCHEDULE, RESETS], ids=["changes", "resets"])
def test_the_line_is_the_schedule_to_its_end(schedule: dict[str, Any], parallelism: int) -> None:
    for seed in range(4):
        # What runs beside the line must not spend the budget before it ends.
        nodes = grown(schedule, 64, seed=seed, parallelism=parallelism)
        found = sorted(line(nodes), key=lambda n: n.spec.path.count("-"))
        assert [n.spec.parent for n in found] == [None, *(n.name for n in found[:-1])]
        begin, wanted, settings = 0, [], {"learning_rate": 1e-5, "max_completion_length": 48}
        for stage in schedule["stages"]:
            settings = {**settings, **stage.get("parameters", {})}
            wanted.append((begin, begin + stage["steps"], dict(settings), stage))
            begin += stage["steps"]
        at = 0
        for node in found:
            first, last, settings, stage = next(w for w in wanted if w[0] <= at < w[1])
            assert node.spec.parameters == settings
            if at and at == first:
                assert node.spec.carry_optimizer == stage.get("carryOptimizer", False)
                assert node.spec.carry_reference == stage.get("carryReference", False)
            elif at:
                assert node.spec.carry_optimizer and node.spec.carry_reference
            at += node.spec.steps
            assert at <= last
        assert at == begin


def test_the_line_goes_first() -> None:
    nodes = grown(SCHEDULE, parallelism=1)
    begun = sorted(nodes, key=lambda n: n.status.sequence or 0)
    others = [n for n in begun if n.spec.path.count("-") > 1 and n not in line(nodes)]
    assert begun.index(line(begun)[-1]) < min(begun.index(n) for n in others)


@pytest.mark.parametrize("parallelism", [1, 2, 8])
def test_the_line_ends_where_a_stage_of_it_fails(parallelism: int) -> None:
    ends = set()
    for seed in range(8):
        search = make_search(
            options={"warmStart": RESETS}, parameters=[RATE, LENGTH], seed=seed,
            parallelism=parallelism,
        )  # fmt: skip
        engine = SimulatedEngine(search, seed=seed, diverge=0.3)
        engine.run()
        found = sorted(line(engine.trains()), key=lambda n: n.spec.path.count("-"))
        assert [n.spec.parent for n in found] == [None, *(n.name for n in found[:-1])]
        assert all(n.status.phase == "Succeeded" for n in found[:-1])
        ends.add(str(found[-1].status.phase))
    assert "Failed" in ends


def test_a_small_budget_has_room_for_the_schedule() -> None:
    nodes = grown(SCHEDULE, stages=3, parallelism=1, max_depth=4)
    assert len(line(nodes)) > 1


def test_settings_near_the_initial_ones_begin_the_line() -> None:
    near = {**SCHEDULE, "stages": [{"parameters": {"learning_rate": 1.02e-5}}, {"parameters": {}}]}
    found = line(grown(near))
    assert found and found[0].spec.parameters["learning_rate"] == 1.02e-5


def test_the_line_is_no_constraint() -> None:
    """Initial settings are tried too, and the schedule's stages may be stopped as any other."""
    nodes = grown(SCHEDULE)
    roots = [n for n in nodes if n.spec.parent is None]
    assert roots[0].spec.provenance.proposer == "initial"
    assert sum(n.spec.provenance.proposer == "schedule" for n in roots) == 1


def test_a_preset_can_be_started_from() -> None:
    (first,) = (n for n in line(grown("prorl", parameters=PARAMETERS)) if n.spec.parent is None)
    assert first.spec.parameters["temperature"] == 1.2
    assert check_options("llmzero", {"warmStart": "prorl"}) == []


@pytest.mark.parametrize(
    ("given", "words"), [("lost", "presets are"), ({"name": "x", "stages": []}, "at least 1 item")]
)
def test_what_is_no_schedule_is_told(given: Any, words: str) -> None:
    (problem,) = check_options("llmzero", {"warmStart": given})
    assert words in problem and "warmStart" in problem


@given(st.sampled_from([*PRESETS, None]), st.integers(1, 12), st.integers(0, 3))
def test_a_search_ends_within_its_budget_whatever_it_starts_from(
    name: str | None, stages: int, seed: int
) -> None:
    nodes = grown(SCHEDULE if name is None else name, stages, seed, max_depth=4)
    assert sum(n.status.cost.stages for n in nodes) <= stages + 1e-6
    made = [(n.spec.parent, n.spec.start, tuple(n.spec.parameters.items())) for n in nodes]
    changed = [m for m, n in zip(made, nodes, strict=True) if n.spec.changes]
    assert len(set(map(str, changed))) == len(changed), "no transition twice"
