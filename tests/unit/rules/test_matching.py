"""Training on easier samples than are scored: what the next transition does about it."""

from typing import Any

import pytest

from llmzero.api.curve import PathologyKind
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import StageView
from llmzero.rules import propose
from tests.unit.builders import parameters
from tests.unit.rules.questions import found, request, view

DIGITS = Parameter(name="task.digits", role=Role.CAPACITY, type="int", min=1, max=6, initial=2)
COOL = {"temperature": 0.6}


def stage(trained: float, scored: float, digits: int = 2, **fields: Any) -> StageView:
    settings = {"task.digits": digits, **fields.pop("settings", {})}
    features = {"reward_end": trained, "eval_reward_last": scored, **fields.pop("features", {})}
    return view(features=features, settings=settings, **fields)


def changes(asked: StageView, evaluated_at: float | None = 0.0) -> dict[str, Any]:
    answer = propose(
        request(asked, parameters=[*parameters(), DIGITS], evaluation_temperature=evaluated_at)
    )
    return dict(answer.proposals[0].changes)


def test_questions_of_the_task_grow_where_what_is_trained_on_is_the_easier() -> None:
    assert changes(stage(0.6, 0.3)) == {"task.digits": 4}


def test_cooler_samples_than_the_evaluation_s_are_warmed_towards_it() -> None:
    found = changes(stage(0.9, 0.2, digits=6, settings=COOL), evaluated_at=1.0)
    assert found == {"temperature": pytest.approx(0.8)}
    found = changes(stage(0.9, 0.2, digits=6, settings={"temperature": 0.95}), evaluated_at=1.0)
    assert found == {"temperature": pytest.approx(1.0)}


def test_both_are_one_transition() -> None:
    found = changes(stage(0.9, 0.2, settings=COOL), evaluated_at=1.0)
    assert found == {"task.digits": 4, "temperature": pytest.approx(0.8)}


@pytest.mark.parametrize(
    "asked",
    [
        stage(0.6, 0.5),  # within a quarter
        stage(0.6, 0.6, features={"eval_reward_last": 0.7}),
        stage(0.3, 0.0),  # hardly learnt yet
        stage(0.6, 0.4, standard_error=0.15),  # within the noise
        view(features={"reward_end": 0.9}, settings={"task.digits": 2}),  # unknown
    ],
)
def test_what_is_not_easier_is_not_made_harder(asked: StageView) -> None:
    answer = propose(
        request(asked, parameters=[*parameters(), DIGITS], evaluation_temperature=0.0, count=1)
    )
    assert "closer to those that are scored" not in answer.proposals[0].rationale


@pytest.mark.parametrize("kind", [PathologyKind.REWARD_HACKING, PathologyKind.GRADIENT_SPIKES])
def test_what_is_broken_is_mended_first(kind: PathologyKind) -> None:
    answer = propose(
        request(
            stage(0.9, 0.2, pathologies=[found(kind)]),
            parameters=[*parameters(), DIGITS],
            evaluation_temperature=1.0,
        )
    )
    assert answer.proposals[0].rationale.startswith(str(kind))


def test_an_evaluation_cooler_than_the_samples_cools_nothing() -> None:
    answer = propose(
        request(stage(0.9, 0.2, digits=6), parameters=[*parameters(), DIGITS], count=8)
    )
    assert not any("closer to those" in p.rationale for p in answer.proposals)
