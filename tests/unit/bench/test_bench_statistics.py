"""The numbers of a comparison, each by hand or against scipy."""

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import trim_mean

from llmzero.bench.statistics import (
    Interval,
    bootstrap,
    compare,
    improvement,
    iqm,
    lead,
    mean,
    student,
)


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    assert iqm(np.arange(1.0, 9.0)) == pytest.approx(4.5)
    # Of five values one and a quarter are left out at either end.
    assert iqm(np.array([9.0, 1, 2, 3, 4])) == pytest.approx((0.75 * 2 + 3 + 0.75 * 4) / 2.5)
    draws = np.random.default_rng(1).normal(size=(7, 40))
    assert iqm(draws) == pytest.approx([trim_mean(row, 0.25) for row in draws])
    assert iqm(draws.T, 0) == pytest.approx(iqm(draws))


@pytest.mark.filterwarnings("error")
def test_nobody_leads_by_a_share_of_nothing() -> None:
    """On transcribe grid and random search score 0 on every seed."""
    zero, some = {"score": [0.0] * 6, "area": [0.0] * 6}, {"score": [0.9] * 6, "area": [0.4] * 6}
    lines = compare({"t": {"ours": some, "none": zero}}, "ours", ["t"])
    assert lines[1].name == "none" and lines[1].lead is None
    assert lines[1].improvement is not None and lines[1].improvement.value == 1.0


def test_one_outlier_does_not_move_it() -> None:
    calm = np.full(20, 0.5)
    wild = np.append(calm[:-1], 100.0)
    assert iqm(wild) == pytest.approx(0.5)


def test_tasks_are_strata_and_drawn_apart() -> None:
    found = bootstrap([np.full(10, 0.2), np.full(10, 0.8)], mean)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        found = bootstrap([random.normal(1.0, 1.0, 40)], mean, seed=trial, draws=400)
        hits += found.low <= 1.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_comparison_is_paired_and_ties_count_half() -> None:
    ours, theirs = np.array([0.5, 0.6, 0.7, 0.4]), np.array([0.4, 0.6, 0.8, 0.3])
    assert improvement([ours], [theirs]).value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert lead([ours], [theirs]).value == pytest.approx((0.1 + 0 - 0.1 + 0.1) / 4 / 0.525)


def test_ten_wins_of_ten_are_not_certainty() -> None:
    found = improvement([np.ones(10)], [np.zeros(10)])
    # Wilson's interval for 10 of 10, and for 5 of 10, from the literature's tables.
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.7225, 1.0), abs=1e-4)
    half = improvement([np.array([1.0, 0.0] * 5)], [np.array([0.0, 1.0] * 5)])
    assert (half.low, half.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_students_quantile() -> None:
    for freedom in range(3, 60):
        assert student(freedom) == pytest.approx(student_t.ppf(0.975, freedom), rel=0.01)


@pytest.mark.filterwarnings("error")
def test_both_means_of_a_lead_vary() -> None:
    """What we are held against may itself be luck: with it fixed, the interval was too narrow."""
    random = np.random.default_rng(1)
    hits, truth = 0, 1.0
    for _ in range(200):
        theirs = random.choice([0.25, 0.75], 20)
        found = lead([np.ones(20)], [theirs])
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 200 <= 0.99
    both = lead([np.array([0, 0, 0, 0.5])], [np.array([0, 0, 0, 0.2])])
    assert (both.low, both.value) == pytest.approx((0.0, 1.5)), "a draw may hold zeros alone"
    rare = np.array([0.5] + [0.0] * 5)
    found = lead([np.full(6, 0.9)], [rare])
    assert found.value == pytest.approx(0.9 * 6 / 0.5 - 1) and found.high == np.inf


def test_pairing_finds_a_small_lead_between_very_different_tasks() -> None:
    random = np.random.default_rng(5)
    theirs = random.uniform(0, 1, 30)
    ours = theirs + 0.02 + random.normal(0, 0.01, 30)
    assert lead([ours], [theirs]).above_zero
    assert not Interval(0.1, -0.1, 0.3).above_zero and Interval(-0.2, -0.3, -0.1).below_zero


def test_methods_are_ordered_by_score_and_held_against_the_reference() -> None:
    results = {
        task: {
            name: {"score": [level + 0.01 * s for s in range(8)], "area": [level / 2] * 8}
            for name, level in (("grid", 0.3), ("llmzero", 0.5), ("asha", 0.6))
        }
        for task in ("a", "b")
    }
    lines = compare(results, "llmzero", ["a", "b"])
    assert [line.name for line in lines] == ["asha", "llmzero", "grid"]
    assert lines[1].lead is None and lines[1].improvement is None
    assert lines[2].lead is not None and lines[2].lead.above_zero
    assert lines[0].improvement is not None and lines[0].improvement.value == 0
    assert lines[2].area.value == pytest.approx(0.15)
