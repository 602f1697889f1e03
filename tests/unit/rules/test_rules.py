"""The embedded proposer: never outside the space, never without effect, never the same twice."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmzero.api.curve import Pathology, PathologyKind, Score
from llmzero.api.parameters import Parameter, Role, distance
from llmzero.api.proposals import (
    MAX_CHANGES,
    BudgetLeft,
    Infeasible,
    ProposalRequest,
    StageView,
)
from llmzero.strategies.bounds import beyond_bounds
from llmzero.strategies.rules import propose
from llmzero.strategies.space import DUPLICATE
from tests.unit.builders import parameters

K = PathologyKind
INITIAL = {p.name: p.initial for p in parameters()}


def view(path: str = "0", changes: dict[str, Any] | None = None, **fields: Any) -> StageView:
    values = {**INITIAL, **(fields.pop("settings", {}))}
    return StageView(
        **{
            "node": f"n-{path}",
            "path": path,
            "depth": path.count("-") + 1,
            "parameters": values,
            "changes": changes or {},
            "steps": 40,
            "value": 0.5,
            "standard_error": 0.02,
            "checkpoints": [20, 40],
            **fields,
        }
    )


def found(kind: K, severity: float = 0.6) -> Pathology:
    return Pathology(kind=kind, severity=severity, metric="reward", evidence="reward 0.1 at step 9")


def request(stage: StageView, **fields: Any) -> ProposalRequest:
    return ProposalRequest(
        **{
            "request_id": "r",
            "search": "test",
            "task": "add",
            "objective": "eval/accuracy",
            "parameters": parameters(),
            "stage_steps": 40,
            "path": [stage],
            "budget": BudgetLeft(stages=10, depth=4),
            "count": 1,
            **fields,
        }
    )


def first(kind: K, **fields: Any) -> dict[str, Any]:
    """The first proposal's changes after one finding."""
    return dict(propose(request(view(pathologies=[found(kind)], **fields))).proposals[0].changes)


def test_truncation_lengthens() -> None:
    changes = first(K.TRUNCATION)
    assert changes["max_completion_length"] == 24
    assert changes["learning_rate"] < INITIAL["learning_rate"]


def test_mild_truncation_lengthens_less() -> None:
    answer = propose(request(view(pathologies=[found(K.TRUNCATION, 0.2)])))
    assert answer.proposals[0].changes["max_completion_length"] == 18


def test_entropy_collapse_warms_and_slows() -> None:
    changes = first(K.ENTROPY_COLLAPSE)
    assert changes["temperature"] > 1.0
    assert changes["learning_rate"] < INITIAL["learning_rate"]


def test_drift_strengthens_the_kl_term() -> None:
    changes = first(K.POLICY_DRIFT)
    assert changes["beta"] == pytest.approx(0.02 * 3.8)
    assert changes["learning_rate"] == pytest.approx(INITIAL["learning_rate"] / 2)


def test_a_kl_coefficient_of_zero_is_entered_not_multiplied() -> None:
    assert first(K.POLICY_DRIFT, settings={"beta": 0.0})["beta"] == 1e-3


def test_hacking_never_changes_the_learning_rate_alone() -> None:
    answer = propose(request(view(pathologies=[found(K.REWARD_HACKING)]), count=3))
    for proposal in answer.proposals:
        if proposal.rationale.startswith("RewardHacking"):
            assert set(proposal.changes) - {"learning_rate"}


def test_dead_unsolved_groups_grow_the_group() -> None:
    assert first(K.ZERO_VARIANCE_GROUPS, features={"reward_end": 0.1})["num_generations"] == 16


def test_dead_solved_groups_sample_wider() -> None:
    assert first(K.ZERO_VARIANCE_GROUPS, features={"reward_end": 0.9})["temperature"] > 1.0


def test_gradient_spikes_calm_down() -> None:
    assert first(K.GRADIENT_SPIKES)["learning_rate"] == pytest.approx(
        INITIAL["learning_rate"] * 0.3, rel=1e-3
    )


def test_memory_is_the_only_reason_for_less_capacity() -> None:
    answer = propose(request(view(pathologies=[found(K.OUT_OF_MEMORY)])))
    assert answer.proposals[0].changes == {"num_generations": 4}
    assert "memory" in answer.proposals[0].justification


def test_the_branch_goes_before_the_harm() -> None:
    scores = [
        Score(step=s, value=v, standard_error=0.01, questions=200)
        for s, v in ((20, 0.6), (40, 0.4))
    ]
    hacked = view(pathologies=[found(K.REWARD_HACKING)], scores=scores)
    assert propose(request(hacked)).branch_from.step == 20
    assert propose(request(view(scores=scores))).branch_from.step == 40


def test_a_swing_that_paid_goes_on_and_one_that_did_not_turns_back() -> None:
    moved = {"learning_rate": (1e-5, 3e-5)}
    paid = propose(
        request(
            view("0-1", moved, value=0.6), path=[view(value=0.4), view("0-1", moved, value=0.6)]
        )
    )
    lost = propose(
        request(
            view("0-1", moved, value=0.3), path=[view(value=0.4), view("0-1", moved, value=0.3)]
        )
    )
    assert paid.proposals[0].changes["learning_rate"] > 3e-5
    assert lost.proposals[0].changes["learning_rate"] < 3e-5


def test_epsilon_high_without_effect_is_not_proposed() -> None:
    space = [*parameters(), Parameter(name="epsilon_high", min=0.2, max=0.4, initial=0.2)]
    stage = view(pathologies=[found(K.ENTROPY_COLLAPSE)], settings={"epsilon_high": 0.2})
    on_policy = propose(request(stage, parameters=space))
    off_policy = propose(request(stage, parameters=space, fixed={"num_iterations": 2}))
    assert "epsilon_high" not in on_policy.proposals[0].changes
    assert off_policy.proposals[0].changes["epsilon_high"] == 0.28


def test_a_space_with_nothing_left_says_so() -> None:
    single = [Parameter(name="beta", type="categorical", choices=[0.1], initial=0.1)]
    stage = view(settings={})
    stage = stage.with_(parameters={"beta": 0.1})
    answer = propose(request(stage, parameters=single))
    assert answer.proposals[0].changes == {}
    assert "nothing new" in answer.proposals[0].rationale


def test_settings_that_ran_out_of_memory_are_avoided() -> None:
    stage = view(pathologies=[found(K.TRUNCATION)])
    large = {**INITIAL, "max_completion_length": 20, "num_generations": 8}
    known = [Infeasible(parameters=large, outcome="OutOfMemory")]
    for proposal in propose(request(stage, infeasible=known, count=4)).proposals:
        child = {**INITIAL, **proposal.changes}
        assert child["max_completion_length"] < 20 or child["num_generations"] < 8


@st.composite
def requests(draw: st.DrawFn) -> ProposalRequest:
    space = parameters()

    def point() -> dict[str, Any]:
        return {p.name: p.from_unit(draw(st.floats(0, 1))) for p in space}

    pathologies = [
        found(kind, draw(st.floats(0, 1)))
        for kind in draw(st.lists(st.sampled_from(list(K)), max_size=3, unique=True))
        if kind is not K.OUT_OF_MEMORY
    ]
    stage = view(
        "0-1",
        settings=point(),
        pathologies=pathologies,
        changes={"learning_rate": (draw(st.floats(1e-6, 1e-3)), draw(st.floats(1e-6, 1e-3)))},
        features={"reward_end": draw(st.floats(0, 1)), "entropy_end": draw(st.floats(0, 2))},
        value=draw(st.floats(0, 1)),
    )
    children = [view(f"0-1-{i}", settings=point()) for i in range(draw(st.integers(0, 3)))]
    return request(
        stage,
        path=[view(settings=point()), stage],
        children=children,
        count=draw(st.integers(1, 8)),
        seed=draw(st.integers(0, 9)),
        budget=BudgetLeft(stages=5, depth=draw(st.integers(0, 6))),
    )


@settings(max_examples=200)
@given(requests())
def test_every_answer_stays_within_its_bounds(asked: ProposalRequest) -> None:
    answer = propose(asked)
    stage = asked.path[-1]
    space = {p.name: p for p in asked.parameters}
    assert 1 <= len(answer.proposals) <= asked.count
    assert answer.branch_from.step in stage.checkpoints
    assert propose(asked) == answer
    taken = [c.parameters for c in asked.children]
    for proposal in answer.proposals:
        assert 1 <= len(proposal.changes) <= MAX_CHANGES
        for name, new in proposal.changes.items():
            old = stage.parameters[name]
            assert space[name].problem_with(new) is None
            assert beyond_bounds(space[name], old, new) is None
            assert new != old
            if space[name].role is Role.CAPACITY:
                assert new > old
        child = {**stage.parameters, **proposal.changes}
        assert all(distance(asked.parameters, child, t) > DUPLICATE for t in taken)
        taken.append(child)
