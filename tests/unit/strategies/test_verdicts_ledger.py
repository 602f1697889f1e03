"""What verdicts took and did: in the ledger, beside what proposals took."""

import pytest
from simulated_engine import START, make_search
from trees import Grower

from llmzero import strategies
from llmzero.agent.calibration import spending
from llmzero.api.proposals import Usage, VerdictAnswer
from llmzero.api.search import Ledger
from llmzero.api.spec import Budget
from llmzero.api.stage import Audit, Outcome, Phase, StopDecision
from llmzero.search.decisions import Ask

USAGE = Usage(input_tokens=700, output_tokens=50, dollars=0.02)


def verdict(word: str) -> VerdictAnswer:
    return VerdictAnswer(
        request_id="sim-0-1-stop",
        verdict=word,  # type: ignore[arg-type]
        reason="kl rises",
        answered_by="agent",
        provider="openai:m",
        usage=USAGE,
    )


def judged(**kw: object) -> Grower:
    tree = Grower(make_search(agent=True, parallelism=1, stages=30, **kw))  # type: ignore[arg-type]
    tree.grow("0", 0.4)
    stopped = StopDecision(reason="CurveBelowBest", at=START, verdict=verdict("stop"))
    tree.grow("0-0", 0.2, ran=50, outcome=Outcome.EARLY_STOPPED, phase=Phase.STOPPED, stop=stopped)
    vetoed = Audit(at=START, step=50, verdict=verdict("continue"))
    tree.grow("0-1", 0.41, changes={"beta": 0.03}, audit=vetoed)
    tree.grow("0-2", 0.42, changes={"beta": 0.04}, audit=Audit(at=START, step=50))
    return tree


def test_vetoes_are_counted_and_paid() -> None:
    tree = judged()
    ledger: Ledger = strategies.plan(tree.search, list(tree.nodes.values()), START).status.ledger
    assert (ledger.audited, ledger.vetoed, ledger.early_stopped) == (2, 1, 1)
    assert (ledger.agent_tokens, ledger.agent_dollars) == (1500, 0.04)
    (row,) = spending(tree.nodes.values())
    assert (row.agent, row.decisions, row.input_tokens) == ("openai:m", 2, 1400)


@pytest.mark.parametrize(("tokens", "asks"), [(1501, True), (1500, False)])
@pytest.mark.parametrize("strategy", ["llmzero", "skill"])
def test_what_verdicts_took_counts_towards_the_agents_budget(
    tokens: int, asks: bool, strategy: str
) -> None:
    budget = Budget(stages=30, agent_tokens=tokens)
    tree = judged(strategy=strategy, budget=budget)
    found = strategies.plan(tree.search, list(tree.nodes.values()), START).decisions
    if strategy == "skill":
        assert any(isinstance(d, Ask) for d in found) == asks
    else:
        assert asks or not any(isinstance(d, Ask) for d in found)
