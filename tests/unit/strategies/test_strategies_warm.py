"""A search that starts from a schedule tries its line first, and goes on as a search."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_engine import PARAMETERS, SimulatedEngine, make_search

from llmzero.api.parameters import Parameter
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


def test_the_line_is_followed_to_its_end_before_others_go_on() -> None:
    nodes = grown(SCHEDULE)
    by_name = {n.name: n for n in nodes}
    last = next(n for n in line(nodes) if n.spec.parameters["learning_rate"] == 2e-6)
    path = [last]
    while path[-1].spec.parent:
        path.append(by_name[path[-1].spec.parent])
    assert [n.spec.provenance.proposer for n in path] == ["schedule"] * len(path)
    # A rung, the rest of its stage, and one stage for each of the schedule's changes.
    assert sum(n.spec.steps for n in reversed(path)) == 300
    begun = [n for n in nodes if n.status.sequence is not None]
    begun.sort(key=lambda n: n.status.sequence or 0)
    others = [n for n in begun if n.spec.path.count("-") > 1 and n not in line(nodes)]
    assert begun.index(last) < min(begun.index(n) for n in others)


def test_a_stage_that_only_resets_is_a_stage_of_the_line() -> None:
    """ProRL hands the reference over at settings that stay."""
    resets = {
        **SCHEDULE,
        "stages": [
            {"steps": 100, "parameters": {"learning_rate": 8e-5}},
            {"steps": 100, "parameters": {}, "carryOptimizer": False, "carryReference": False},
        ],
    }
    first, rest, second = (n for n in line(grown(resets)))
    assert rest.spec.carry_optimizer and rest.spec.carry_reference
    assert not second.spec.carry_optimizer and not second.spec.carry_reference
    assert second.spec.parent == rest.name and second.spec.parameters == first.spec.parameters


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
