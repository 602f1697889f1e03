"""Moves of a healthy stage: what paid goes on, what did not turns back."""

from typing import Any

import pytest

from llmzero.api.proposals import BudgetLeft, StageView
from llmzero.rules import propose
from tests.unit.rules.questions import INITIAL, request, view

RATE = 3e-5
MOVED = {"learning_rate": (RATE, 6e-5), "temperature": (1.0, 1.2)}
THERE = {"learning_rate": 6e-5, "temperature": 1.2}


def moved(value: float, path: str = "0-1") -> StageView:
    return view(path, MOVED, settings=THERE, value=value)


def calm(value: float, path: str = "0-0", error: float = 0.02) -> StageView:
    return view(path, proposer="continue", value=value, standard_error=error)


def first(stage: StageView, **fields: Any) -> tuple[dict[str, Any], str]:
    proposal = propose(request(stage, **fields)).proposals[0]
    return dict(proposal.changes), proposal.rationale


def test_a_change_that_paid_goes_on_with_a_smaller_step() -> None:
    changes, why = first(moved(0.6), path=[view(), moved(0.6)], siblings=[calm(0.5)])
    assert changes["learning_rate"] == pytest.approx(6e-5 * 2**0.5, rel=1e-3)
    assert changes["temperature"] == pytest.approx(1.3)
    assert "paid (+0.100 +- 0.028 against its sibling 0-0, which went on unchanged)" in why


def test_a_change_that_cost_turns_back() -> None:
    changes, why = first(moved(0.4), path=[view(), moved(0.4)], siblings=[calm(0.5)])
    assert changes["learning_rate"] == pytest.approx(6e-5 / 2**0.7, rel=1e-3)
    assert changes["temperature"] == pytest.approx(1.2 - 0.7 * 0.2)
    assert "cost" in why


def test_a_change_that_changed_nothing_turns_half_back() -> None:
    changes, _ = first(moved(0.51), path=[view(), moved(0.51)], siblings=[calm(0.5)])
    assert changes["learning_rate"] == pytest.approx(6e-5 / 2**0.5, rel=1e-3)


def test_it_is_the_sibling_that_counts_not_the_parent() -> None:
    """Better than the parent, but worse than going on unchanged: the change cost something."""
    line = [view(value=0.3), moved(0.5)]
    changes, _ = first(line[-1], path=line, siblings=[calm(0.7)])
    assert changes["learning_rate"] < 6e-5
    alone, why = first(line[-1], path=line)
    assert alone["learning_rate"] > 6e-5
    assert "against its parent" in why


def test_a_sibling_that_was_no_continuation_is_no_yardstick() -> None:
    line = [view(value=0.3), moved(0.5)]
    other = view("0-2", {"beta": (0.02, 0.05)}, value=0.9, proposer="rules")
    assert "against its parent" in first(line[-1], path=line, siblings=[other])[1]


def test_a_child_that_cost_is_answered_with_its_opposite() -> None:
    children = [calm(0.6), moved(0.4)]
    changes, why = first(view(), children=children)
    assert changes["learning_rate"] == pytest.approx(RATE / 2**0.7, rel=1e-3)
    assert changes["temperature"] == pytest.approx(1.0 - 0.7 * 0.2)
    assert "against 0-0, which went on unchanged" in why


def test_a_child_that_paid_is_extended() -> None:
    grown = {"max_completion_length": (12, 18), "temperature": (1.0, 1.1)}
    child = view(
        "0-1", grown, settings={"max_completion_length": 18, "temperature": 1.1}, value=0.8
    )
    changes, _ = first(view(), children=[calm(0.6), child])
    assert changes == {"max_completion_length": 24, "temperature": 1.15}


def test_minimize_turns_the_judgement_round() -> None:
    fields = {"path": [view(), moved(0.6)], "siblings": [calm(0.5)], "direction": "minimize"}
    assert first(moved(0.6), **fields)[0]["learning_rate"] < 6e-5


def test_capacity_never_turns_back() -> None:
    grown = {"max_completion_length": (12, 24), "learning_rate": (RATE, 6e-5)}
    stage = view(
        "0-1", grown, settings={"max_completion_length": 24, "learning_rate": 6e-5}, value=0.3
    )
    answer = propose(request(stage, path=[view(), stage], siblings=[calm(0.6)], count=8))
    assert all(p.changes.get("max_completion_length", 24) >= 24 for p in answer.proposals)
    assert answer.proposals[0].changes["learning_rate"] < 6e-5


def test_a_better_stage_elsewhere_draws_towards_its_settings() -> None:
    best = view("1-0", settings={"learning_rate": 4e-6, "beta": 0.1}, value=0.9)
    changes, why = first(view(), best=[best])
    assert changes["learning_rate"] == pytest.approx(RATE * 0.3)  # as far as one step goes
    assert changes["beta"] == pytest.approx(0.1)
    assert "towards the settings of stage 1-0" in why
    same = view("1-0", settings={"learning_rate": 4e-6, "beta": 0.1}, value=0.51)
    assert "towards" not in first(view(), best=[same])[1]


def test_near_the_end_of_a_path_it_anneals() -> None:
    changes, _ = first(view(), budget=BudgetLeft(stages=5, depth=1))
    assert changes == {"learning_rate": pytest.approx(RATE / 2), "temperature": 0.9}


def test_the_seed_decides_the_order_of_ideas() -> None:
    firsts = {str(first(view(), seed=seed)[0]) for seed in range(20)}
    assert len(firsts) > 2
    assert first(view(), seed=3) == first(view(), seed=3)


def test_going_on_unchanged_is_not_proposed() -> None:
    answer = propose(request(view(), children=[calm(0.6)], count=8))
    assert len(answer.proposals) == 8
    assert all({**INITIAL, **p.changes} != INITIAL for p in answer.proposals)
