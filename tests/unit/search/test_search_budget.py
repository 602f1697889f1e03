"""The ledger: charges, reserves, device hours, durations."""

from datetime import timedelta
from typing import Any

import pytest
from simulated_engine import make_search
from trees import Grower

from llmzero.api.spec import Budget
from llmzero.api.stage import Cost, Outcome, Phase
from llmzero.search.budget import GUIDED, SEGMENTS, Account, charge, duration, segments


@pytest.mark.parametrize(
    ("steps", "ran", "phase", "expected"),
    [
        (100, 100, Phase.SUCCEEDED, 1.0),
        (25, 25, Phase.SUCCEEDED, 0.25),
        (100, 40, Phase.STOPPED, 0.4),
        (100, 0, Phase.STOPPED, 0.0),
        (100, 0, Phase.FAILED, 0.25),
        (100, 60, Phase.FAILED, 0.6),
        (25, 3, Phase.FAILED, 0.25),
        (100, 0, Phase.PENDING, 1.0),
        (100, 40, Phase.RUNNING, 1.0),
        (75, 40, Phase.STOPPING, 0.75),
        (10, 0, Phase.QUEUED, 0.25),  # a failure would charge that much
        (0, 0, Phase.SUCCEEDED, 0.0),
        (0, 0, Phase.RUNNING, 0.0),
    ],
)
def test_charge(steps: int, ran: int, phase: Phase, expected: float) -> None:
    assert charge(steps, ran, phase, 100) == pytest.approx(expected)


def test_a_reserve_is_never_below_what_is_charged_in_the_end() -> None:
    for steps in range(1, 101):
        for ran in (0, steps // 2, steps):
            for end in (Phase.SUCCEEDED, Phase.STOPPED, Phase.FAILED):
                assert charge(steps, ran, end, 100) <= charge(steps, 0, Phase.PENDING, 100)


def test_segments_share_the_whole_budget() -> None:
    assert list(SEGMENTS.values()) == [0.3, 0.1, 0.6, 0.0], "docs/search.md says so"
    assert list(GUIDED.values()) == [0.25, 0.3, 0.45, 0.0]
    for shares in (SEGMENTS, GUIDED):
        assert list(shares) == ["screen", "tree", "finish", "promote"]
        assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "kw", [{"agent": True}, {"approval": "manual"}, {"options": {"warmStart": "prorl"}}]
)
def test_who_is_asked_or_led_has_a_larger_tree(kw: dict[str, Any]) -> None:
    assert segments(make_search().spec) == SEGMENTS
    assert segments(make_search(**kw).spec) == GUIDED


def test_an_account_affords_what_is_left_and_no_failure_more() -> None:
    account = Account.of(Budget(stages=2))
    account.reserve(1.0, "tree")
    account.settle(0.7, "screen", 60, 1000)
    assert account.left == pytest.approx(0.3)
    assert account.affords(0.3) and not account.affords(0.31)
    account.reserve(0.2, "tree")
    assert not account.affords(0.1), "it could fail, which charges 0.25"
    assert account.by_segment == {"screen": 0.7, "tree": 1.2, "finish": 0, "promote": 0}


def test_device_hours_bound_the_budget_at_the_rate_seen_so_far() -> None:
    account = Account.of(Budget(stages=100, gpu_hours=10))
    assert account.left == 100, "nothing is known of the rate yet"
    account.settle(2.0, "tree", 2 * 3600, 0)  # one hour a stage
    account.reserve(3.0, "tree")
    assert account.left == pytest.approx(10 - 2 - 3)
    account.settle(0.0, "promote", 0, 0)
    account.seconds.used += 4 * 3600  # evaluations
    assert account.left == pytest.approx(1)
    assert not account.affords(1.5)


def test_a_search_within_device_hours_ends() -> None:
    from simulated_engine import SimulatedEngine

    engine = SimulatedEngine(make_search(budget=Budget(stages=50, gpu_hours=0.15)))
    engine.run()  # 100 device seconds a stage: 5.4 stages
    seconds = sum(n.status.cost.device_seconds for n in engine.trains())
    assert 0.5 * 540 < seconds <= 540


def test_tokens_bound_the_budget_and_evaluations_use_them_too() -> None:
    account = Account.of(Budget(stages=100, tokens=1_000_000))
    account.settle(2.0, "tree", 0, 100_000)
    assert account.left == pytest.approx(18)
    account.tokens.used += 500_000
    account.reserve(3.0, "tree")
    assert account.left == pytest.approx(5)


def test_a_search_within_tokens_ends() -> None:
    from simulated_engine import SimulatedEngine

    engine = SimulatedEngine(make_search(budget=Budget(stages=50, tokens=300_000)))
    engine.run()
    ledger = engine.search.status.ledger
    assert engine.search.status.phase == "Complete"
    assert 150_000 < ledger.train_tokens + ledger.eval_tokens <= 300_000


def test_progress_is_that_of_the_limit_that_is_nearest() -> None:
    account = Account.of(Budget(stages=100, tokens=1_000_000, gpu_hours=10))
    assert account.progress == 0 and account.expected == 100
    account.settle(2.0, "tree", 3600, 300_000)
    assert account.progress == pytest.approx(0.3)
    assert account.expected == pytest.approx(2 + 2 * 7 / 3)
    account.seconds.used += 9 * 3600
    assert account.progress == pytest.approx(1.0)


@pytest.mark.parametrize("limit", [{"tokens": 500_000}, {"gpu_hours": 0.3}])
def test_a_search_that_tokens_or_hours_end_is_divided_like_one_that_stages_end(
    limit: dict[str, float],
) -> None:
    """Not only rungs, as for a budget of 200 stages: paths grow, and some are finished."""
    from simulated_engine import SimulatedEngine

    engine = SimulatedEngine(make_search(budget=Budget(stages=200, **limit)))
    engine.run()
    trains = engine.trains()
    charges = {n: sum(t.spec.steps for t in trains if t.spec.segment == n) for n in SEGMENTS}
    assert charges["finish"] >= 0.15 * sum(charges.values())
    assert charges["screen"] <= 0.6 * sum(charges.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("36h", timedelta(hours=36)),
        ("2d12h", timedelta(days=2, hours=12)),
        ("1h30m", timedelta(minutes=90)),
    ],
)
def test_duration(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


def test_the_tree_books_what_the_nodes_say() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.4, steps=25, segment="screen", cost=Cost(device_seconds=30))
    grower.grow("0-0", ran=10, outcome=Outcome.DIVERGED, cost=Cost(device_seconds=12))
    grower.grow("1", outcome=None, segment="finish", cost=Cost(device_seconds=99))
    account = grower.tree().account
    assert account.spent == 0.5
    assert account.reserved == 1.0
    assert account.by_segment == {"screen": 0.25, "tree": 0.25, "finish": 1.0, "promote": 0}
    assert account.seconds.used == 42, "what still runs is not known yet"
