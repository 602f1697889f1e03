"""The pathology bench itself: what it generates, and how it scores."""

import json

from llmzero import rules
from llmzero.agent.settings import AgentSettings
from llmzero.api.curve import PathologyKind as K
from llmzero.api.proposals import Proposal
from llmzero.client.judge import problems
from tests.bench.bench_agent import NEEDED, RIGHT, real, run, well_aimed
from tests.bench.histories import generated

HISTORIES = list(generated())


def test_there_are_at_least_200_histories_and_half_of_the_families_are_kept_out() -> None:
    families = {(h.family, h.tuning) for h in HISTORIES}
    assert len(HISTORIES) >= 200
    assert len({h.name for h in HISTORIES}) == len(HISTORIES)
    assert len(families) == 2 * sum(tuning for _, tuning in families)
    assert {h.severity for h in HISTORIES} == {"mild", "severe"}


def test_every_kind_is_injected_alone_and_some_in_pairs_and_some_are_healthy() -> None:
    alone = {next(iter(h.injected)) for h in HISTORIES if len(h.injected) == 1}
    assert alone == set(K) == set(RIGHT)
    assert any(len(h.injected) == 2 for h in HISTORIES)
    assert any(not h.injected for h in HISTORIES)


def test_the_same_seed_makes_the_same_histories_and_another_seed_others() -> None:
    again = list(generated(repeats=1))
    assert again == list(generated(repeats=1))
    assert again != list(generated(seed=8, repeats=1))


def test_what_the_rules_propose_passes_the_judge_on_every_history() -> None:
    for h in HISTORIES:
        assert problems(h.request, rules.propose(h.request)) == [], h.name


def test_there_are_at_least_twelve_real_histories() -> None:
    recorded = real()
    assert len(recorded) >= 12
    for name, _, request in recorded:
        assert len(request.curve.scores) >= 2, name
        assert problems(request, rules.propose(request)) == [], name


def proposal(**changes: float) -> Proposal:
    return Proposal(changes=changes, rationale="r")


def test_direction_asks_for_a_remedy_and_for_no_harm() -> None:
    parent = {"learning_rate": 1e-6, "beta": 0.02, "temperature": 1.0, "num_generations": 8}
    drift, dead = {K.POLICY_DRIFT}, {K.ZERO_VARIANCE_GROUPS}
    assert well_aimed(drift, parent, proposal(beta=0.05))
    assert not well_aimed(drift, parent, proposal(temperature=0.9))
    assert not well_aimed(drift, parent, proposal(beta=0.05, learning_rate=2e-6))
    assert well_aimed(drift | dead, parent, proposal(num_generations=16, learning_rate=5e-7))
    assert not well_aimed(drift | dead, parent, proposal(num_generations=16, beta=0.01))
    assert not well_aimed({K.REWARD_HACKING}, parent, proposal(learning_rate=5e-7))
    assert well_aimed(set(), parent, proposal(learning_rate=5e-7))


async def test_the_rules_agree_on_nine_of_ten_histories_kept_out_ones_too() -> None:
    results = await run(AgentSettings(), repeats=1, limit=None)
    assert json.loads(json.dumps(results)).keys() == results.keys()
    assert results["groups"]["generated"]["valid"] == 1.0
    assert results["groups"]["real"]["histories"] >= 12
    for group in ("generated", "tuning", "kept out"):
        assert results["groups"][group]["agreement"] >= NEEDED, results["disagreements"]
        assert results["groups"][group]["direction"] >= NEEDED
