"""Forecasts are scored beside the sibling that went on unchanged."""

from typing import Any

import pytest

from llmzero.agent.calibration import calibration, forecasts, spending
from llmzero.api.proposals import Answered, BranchFrom, Expansion, Proposal, ProposalAnswer, Usage
from llmzero.api.stage import Outcome, Phase, Provenance, Result, StageNode, StageStatus
from tests.unit.builders import curve, stage


def ended(value: float, entropy: float = 0.5, **changes: Any) -> StageStatus:
    return StageStatus(
        phase=Phase.SUCCEEDED,
        outcome=Outcome.SUCCEEDED,
        result=Result(value=value, standard_error=0.02, questions=200, step=40),
        curve=curve({0: 0.3, 40: value}, entropy=[0.9] * 7 + [entropy] * 3),
    ).with_(**changes)


def answered(provider: str, proposals: int, by: str = "agent") -> Answered:
    return Answered.model_validate(
        {
            "request_id": f"{provider}-{proposals}",
            "answered_by": by,
            "provider": provider,
            "answer": ProposalAnswer(
                branch_from=BranchFrom(step=40),
                proposals=[Proposal(changes={"beta": 0.1}, rationale="r")] * proposals,
            ),
            "usage": Usage(input_tokens=1000, output_tokens=100, dollars=0.01, seconds=2),
        }
    )


def child(number: int, value: float, proposal: int, **expected: float) -> StageNode:
    names = {k.replace("__", "/"): v for k, v in expected.items()}
    made = Provenance(proposer="agent", expected=names, proposal=proposal)
    return stage(f"0-{number}", ended(value, entropy=0.7), provenance=made)


def control() -> StageNode:
    made = Provenance(proposer="continue")
    status = ended(0.5, entropy=0.4)
    return stage("0-0", status, provenance=made, carry_optimizer=True, carry_reference=True)


def tree() -> list[StageNode]:
    expansion = Expansion(answers=[answered("openai:m", 2), answered("rules", 1, "rules")])
    return [
        stage("0", ended(0.4, expansion=expansion)),
        control(),
        child(1, 0.56, 0, eval__accuracy=0.05, entropy=0.2),
        child(2, 0.45, 1, eval__accuracy=0.05),
        child(3, 0.52, 2, eval__accuracy=0.02, completions__mean_length=-5),
    ]


def test_each_forecast_is_compared_with_the_control() -> None:
    found = {(f.node, f.metric): f for f in forecasts(tree(), "eval/accuracy")}
    assert set(found) == {
        ("test-0-1", "eval/accuracy"),
        ("test-0-1", "entropy"),
        ("test-0-2", "eval/accuracy"),
        ("test-0-3", "eval/accuracy"),  # its length was not logged: nothing to compare
    }
    first = found["test-0-1", "eval/accuracy"]
    assert (first.agent, first.expected) == ("openai:m", 0.05)
    assert first.observed == pytest.approx(0.06)
    assert first.error == pytest.approx(0.02 * 2**0.5)
    assert found["test-0-1", "entropy"].observed == pytest.approx(0.3)
    assert found["test-0-3", "eval/accuracy"].agent == "rules"


def test_the_table_has_one_row_for_each_agent_and_metric() -> None:
    rows = {(r.agent, r.metric): r for r in calibration(forecasts(tree(), "eval/accuracy"))}
    ours = rows["openai:m", "eval/accuracy"]
    assert (ours.forecasts, ours.right_sign) == (2, 0.5)
    assert ours.observed == pytest.approx((0.06 - 0.05) / 2)
    assert ours.mean_absolute_error == pytest.approx((0.01 + 0.10) / 2)
    assert ours.within_two_errors == 0.5
    assert rows["openai:m", "entropy"].within_two_errors is None
    assert rows["rules", "eval/accuracy"].right_sign == 1.0


def test_without_a_control_or_a_result_nothing_is_scored() -> None:
    nodes = tree()
    assert forecasts([n for n in nodes if n.name != "test-0-0"], "eval/accuracy") == []
    failed = nodes[1].with_(status=StageStatus(phase=Phase.FAILED, outcome=Outcome.DIVERGED))
    assert forecasts([nodes[0], failed, *nodes[2:]], "eval/accuracy") == []
    assert forecasts([], "eval/accuracy") == []


def test_what_decisions_took_adds_up_by_agent() -> None:
    rows = {s.agent: s for s in spending(tree())}
    assert rows["openai:m"].decisions == rows["rules"].decisions == 1
    assert rows["openai:m"].input_tokens == 1000
    assert rows["openai:m"].dollars == pytest.approx(0.01)


def test_what_an_agent_that_steers_forecast_is_found_where_its_answer_is_stored() -> None:
    """The answer stands on 0-0, whose completion gave the turn; its stage started from 0."""
    nodes = [n for n in tree() if n.spec.path != "0-1"]
    turn = control()
    turn = turn.with_(
        status=turn.status.with_(expansion=Expansion(answers=[answered("openai:skill", 1)]))
    )
    made = Provenance(
        proposer="agent", expected={"eval/accuracy": 0.1}, proposal=0, answered_on="test-0-0"
    )
    nodes = [n for n in nodes if n.spec.path != "0-0"] + [
        turn,
        stage("0-4", ended(0.56, entropy=0.7), provenance=made),
    ]
    (found,) = [f for f in forecasts(nodes, "eval/accuracy") if f.node == "test-0-4"]
    assert (found.agent, found.expected) == ("openai:skill", 0.1)
    assert found.observed == pytest.approx(0.06)
