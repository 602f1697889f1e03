"""What may not come out of an agent, sentence by sentence."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmzero.api.curve import PathologyKind
from llmzero.api.proposals import BranchFrom, Diagnosis, Infeasible, Proposal, ProposalAnswer
from llmzero.client.judge import ANSWER_BYTES, clean, problems, settled
from llmzero.rules.bounds import beyond_bounds
from tests.unit.agent.questions import PARAMETERS, SETTINGS, question, stage

SPACE = {p.name: p for p in PARAMETERS}
OOM = Infeasible(parameters={**SETTINGS, "max_completion_length": 4096}, outcome="OutOfMemory")


def answer(*changes: dict[str, Any], step: int = 100, **more: Any) -> ProposalAnswer:
    return ProposalAnswer(
        branch_from=BranchFrom(step=step),
        proposals=[Proposal(changes=c, rationale="because", **more) for c in changes],
    )


def found(given_answer: ProposalAnswer, **asked: Any) -> list[str]:
    asked = {"infeasible": [], **asked}
    return problems(question(**asked), given_answer)


def test_a_coordinated_transition_inside_of_the_bounds_is_accepted() -> None:
    assert found(answer({"learning_rate": 2e-6, "beta": 0.05, "temperature": 1.2})) == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"budget": 1000}, "proposals[0].changes.budget: not a searched parameter"),
    "outside": ({"learning_rate": 0.4}, "found 0.4, allowed is 1e-07 to 0.0001"),
    "huge": ({"max_completion_length": 10**400}, "a number beyond 1e+18"),
    "infinite": ({"beta": float("-inf")}, "a number beyond 1e+18"),
    "nan": ({"learning_rate": float("nan")}, "a finite number is needed"),
    "text for a number": ({"learning_rate": "2e-6"}, "a number is needed"),
    "true for a number": ({"beta": True}, "a number is needed"),
    "fraction for an int": ({"max_completion_length": 600.5}, "a whole number is needed"),
    "no such choice": ({"loss_type": "ppo"}, "allowed are ['dapo', 'grpo', 'dr_grpo']"),
    "far": ({"learning_rate": 1e-5}, "too large a step, allowed is 3e-07 to 2e-06"),
    "hot": ({"temperature": 1.4}, "too large a step, allowed is 0.8 to 1.2"),
    "tight": ({"beta": 0.2}, "too large a step, allowed is 0.006 to 0.1"),
    "nothing": ({}, "nothing changes"),
    "unchanged": ({"learning_rate": 1e-6}, "nothing changes"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_problem_is_a_sentence_with_field_finding_and_remedy(name: str) -> None:
    changes, sentence = BAD[name]
    request = question(infeasible=[])
    said = problems(request, settled(request, answer(changes)))
    assert len(said) == 1
    assert sentence in said[0]


def test_all_problems_are_collected_for_one_repair_round() -> None:
    bad = answer({"learning_rate": 0.4}, {"beta": 9}, step=60)
    said = found(bad.with_(diagnosis=[_finding("it looks bad")]))
    assert len(said) == 4
    assert "branchFrom.step: found 60, there are checkpoints at [25, 50, 75, 100]" in said


def test_more_than_four_changes_need_a_justification() -> None:
    five = {
        "learning_rate": 2e-6,
        "beta": 0.04,
        "temperature": 1.1,
        "max_completion_length": 600,
        "loss_type": "grpo",
    }
    assert "at most 4 are allowed without a justification" in found(answer(five))[0]
    assert found(answer(five, justification="a new phase")) == []


def test_capacity_shrinks_only_where_memory_ran_out_and_with_a_reason() -> None:
    smaller = {"max_completion_length": 300}
    assert "none did" in found(answer(smaller, justification="OOM, believe me"))[0]
    assert "say in 'justification'" in found(answer(smaller), infeasible=[OOM])[0]
    assert found(answer(smaller, justification="4096 ran out"), infeasible=[OOM]) == []
    died = question().path[-1].with_(outcome="OutOfMemory")
    assert found(answer(smaller, justification="it died"), path=[died]) == []


def test_what_a_sibling_tried_is_not_tried_again() -> None:
    tried = {**SETTINGS, "learning_rate": 2e-6}
    sibling = stage("0-1-1", parameters=tried, start_step=100)
    near = answer({"learning_rate": 1.9e-6})
    assert "stage 0-1-1, which was tried already" in found(near, children=[sibling])[0]
    from_elsewhere = near.with_(branch_from=BranchFrom(step=50))
    assert found(from_elsewhere, children=[sibling]) == []
    twice = answer({"learning_rate": 1.5e-6}, {"learning_rate": 1.55e-6})
    assert found(twice) == ["proposals[1]: within 0.02 of proposals[0]"]


def test_known_failures_are_not_repeated() -> None:
    request = {"infeasible": [OOM.with_(parameters={**SETTINGS, "max_completion_length": 1024})]}
    longer = answer({"max_completion_length": 1200})
    assert "at least the memory of settings that ended OutOfMemory" in found(longer, **request)[0]
    diverged = Infeasible(parameters={**SETTINGS, "learning_rate": 2e-6}, outcome="Diverged")
    assert "ended Diverged" in found(answer({"learning_rate": 2e-6}), infeasible=[diverged])[0]


def _finding(evidence: str, kind: PathologyKind = PathologyKind.PLATEAU) -> Diagnosis:
    return Diagnosis(kind=kind, severity=0.5, evidence=evidence)


def test_evidence_cites_a_metric_and_numbers() -> None:
    good = answer({"learning_rate": 2e-6})
    for bad in ("the run is tired", "reward is flat", "it is flat from 60 to 100"):
        assert "must cite a metric" in found(good.with_(diagnosis=[_finding(bad)]))[0]
    cited = _finding("reward 0.52 at step 75, 0.526 at step 100")
    memory = _finding("ran out of memory", PathologyKind.OUT_OF_MEMORY)
    assert found(good.with_(diagnosis=[cited, memory])) == []


def test_forecasts_name_known_metrics_and_finite_changes() -> None:
    changes = {"learning_rate": 2e-6}
    assert "is not a metric of this search" in found(answer(changes, expected={"iq": 10}))[0]
    assert "finite" in found(answer(changes, expected={"reward": float("inf")}))[0]
    assert found(answer(changes, expected={"eval/accuracy": 0.02, "entropy": 0.1})) == []


def test_settling_plain_numbers_and_text() -> None:
    given_answer = answer(
        {"max_completion_length": 1024.0, "num_generations": 16.0, "temperature": 1},
        {"beta": 0.03},
        {"beta": 0.04},
        justification="a\x1b[2Jb\r\nc",
    )
    plain = settled(question(), given_answer)
    assert len(plain.proposals) == 2
    changes = plain.proposals[0].changes
    assert changes == {"max_completion_length": 1024, "num_generations": 16}
    assert [type(v) for v in changes.values()] == [int, int]
    assert plain.proposals[0].justification == "a [2Jb c"


def test_an_answer_of_any_length_is_stored_within_its_bound() -> None:
    long = answer(*({"beta": 0.03 + i / 1000} for i in range(8)), justification="ü" * 512)
    long = long.with_(
        diagnosis=[_finding("reward 1 " + "ä" * 480)] * 16,
        proposals=[p.with_(rationale="漢" * 1024) for p in long.proposals],
    )
    plain = settled(question(count=8), long)
    assert len(plain.model_dump_json(by_alias=True).encode()) <= ANSWER_BYTES
    assert [p.changes for p in plain.proposals] == [p.changes for p in long.proposals]


def test_branching_from_a_stage_without_checkpoints_means_its_end() -> None:
    bare = question().path[-1].with_(checkpoints=[], steps=40)
    assert found(answer({"beta": 0.03}, step=40), path=[bare]) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "allowed"),
    [
        ("learning_rate", 1e-6, 3e-7, True),
        ("learning_rate", 1e-6, 2.9e-7, False),
        ("learning_rate", 1e-6, 2e-6, True),
        ("learning_rate", 1e-6, 2.1e-6, False),
        ("beta", 0.02, 0.1, True),
        ("beta", 0.02, 0.11, False),
        ("beta", 0.0, 0.05, True),
        ("beta", 0.0, 0.06, False),
        ("beta", 0.04, 0.0, True),
        ("beta", 0.1, 0.0, False),
        ("temperature", 1.0, 0.8, True),
        ("temperature", 1.0, 0.79, False),
        ("max_completion_length", 128, 1500, True),
        ("max_completion_length", 1000, 3001, False),
        ("num_generations", 4, 8, True),
        ("num_generations", 4, 16, False),
        ("loss_type", "dapo", "dr_grpo", True),
    ],
)
def test_bounds_of_one_step(name: str, old: Any, new: Any, allowed: bool) -> None:
    assert (beyond_bounds(SPACE[name], old, new) is None) == allowed


SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=True, allow_infinity=True), st.text()
)


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*SPACE, "budget", "$(x)"]), SCALARS, max_size=8),
    step=st.integers(0, 200),
)
def test_no_answer_leaves_the_space(changes: dict[str, Any], step: int) -> None:
    request = question()
    plain = settled(request, answer(changes, step=step))
    if problems(request, plain) == []:
        assert step in request.path[-1].checkpoints
        for name, value in plain.proposals[0].changes.items():
            assert SPACE[name].problem_with(value) is None


@given(st.text(max_size=300), st.integers(0, 100))
def test_clean_text_is_printable_and_short(text: str, limit: int) -> None:
    result = clean(text, limit)
    assert len(result) <= limit
    assert result.isprintable() or result == ""
