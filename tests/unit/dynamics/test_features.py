"""From curve to numbers: each formula by hand, every oddity with a defined result."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmzero.api.curve import CURVE_METRICS, GRAD_NORM_MAX, Curve, PathologyKind, Score
from llmzero.api.stage import Outcome
from llmzero.dynamics import diagnose
from llmzero.dynamics.features import MOST_FEATURES, features, gaps, noise, theil_sen
from llmzero.dynamics.pairing import difference
from tests.unit.builders import curve

RISING = {0: 0.3, 10: 0.4, 20: 0.5, 30: 0.6}


def test_theil_sen_golden() -> None:
    """y = 2x with one wild point: the median slope stays 2 (Sen 1968). Of the 45 slopes those of
    rank (45 -+ 1.96 sqrt(125)) / 2 are the interval: numbers 11 and 34 of the sorted ones."""
    points = [(float(x), 2.0 * x) for x in range(10)]
    points[4] = (4.0, 100.0)
    slopes = sorted(
        (points[j][1] - points[i][1]) / (points[j][0] - points[i][0])
        for i in range(10)
        for j in range(i + 1, 10)
    )
    assert theil_sen(points) == pytest.approx((2.0, slopes[11], slopes[34]))


@pytest.mark.parametrize(("steps", "known"), [(3, False), (13, False), (14, True), (40, True)])
def test_a_slope_of_few_points_has_no_interval(steps: int, known: bool) -> None:
    """Of three or four points, which is what the last 30 % of 13 steps are, the interval is the
    range of all slopes: it includes 0 and shows no plateau."""
    flat = curve({0: 0.5, steps: 0.5}, reward=[0.1 * (i % 2) for i in range(steps)])
    found, pathologies = diagnose(flat, {})
    assert "reward_slope" in found
    assert ("reward_slope_low" in found) == known
    assert (PathologyKind.PLATEAU in [p.kind for p in pathologies]) == known


def test_theil_sen_needs_three_points_and_two_places() -> None:
    assert theil_sen([(0, 0), (1, 1)]) is None
    assert theil_sen([(1, 0), (1, 1), (1, 2)]) is None


def test_noise_golden() -> None:
    """Alternating by d around a trend: the median difference is 2d, sigma = 2d / (0.6745 sqrt 2)."""
    points = [(float(i), 0.01 * (-1) ** i) for i in range(20)]
    assert noise(points) == pytest.approx(0.02 / (0.6745 * math.sqrt(2)))
    assert noise(points[:2]) == 0.0


def test_levels_are_the_first_three_points_and_the_last_thirty_percent() -> None:
    found = features(curve(reward=[float(i) for i in range(20)]))
    assert found["reward_start"] == 1.0  # 0, 1, 2
    assert found["reward_end"] == 16.5  # 14 to 19
    assert found["reward_ratio"] == 16.5
    assert found["reward_gain"] == 15.5
    assert found["reward_gain_error"] == pytest.approx(
        math.sqrt(1 / 3 + 1 / 6) / (0.6745 * math.sqrt(2)), rel=1e-5
    )
    assert found["reward_slope"] == found["reward_slope_low"] == 1.0


def test_the_gain_counts_from_where_the_stage_starts() -> None:
    scores = {10: 0.5, 20: 0.6}
    start = Score(step=70, value=0.3, standard_error=0.02, questions=200)
    assert features(curve(scores))["eval_gain"] == pytest.approx(0.1)
    assert features(curve(scores), start=start)["eval_gain"] == pytest.approx(0.3)
    # A stage that scored its own start (the root) knows better.
    assert features(curve({0: 0.4, **scores}), start=start)["eval_gain"] == pytest.approx(0.2)


def test_minimize_turns_the_gain_round() -> None:
    falling = {0: 0.6, 10: 0.5, 20: 0.4, 30: 0.3}
    less, more = features(curve(falling), "minimize"), features(curve(falling), "maximize")
    assert less["eval_gain"] == pytest.approx(0.3) and more["eval_gain"] == pytest.approx(-0.3)
    assert less["eval_drop"] == 0.0 and more["eval_drop"] == pytest.approx(0.3)
    assert less["eval_slope"] == pytest.approx(0.01) and more["eval_best_step"] == 0.0


def test_the_gap_is_the_train_gain_less_the_evaluation_gain() -> None:
    line = curve({0: 0.3, 10: 0.3, 20: 0.35}, reward=[0.2] * 10 + [0.5] * 10)
    assert gaps(line, line.scores) == [(10, pytest.approx(0.0)), (20, pytest.approx(0.25))]
    assert features(line)["train_minus_eval_gain"] == pytest.approx(0.25)


def test_the_length_gap_is_what_cut_answers_add() -> None:
    line = curve(
        completions__mean_length=[30.0] * 5, completions__mean_terminated_length=[22.0] * 5
    )
    assert features(line)["length_gap"] == 8.0


def test_the_largest_gradient_is_found_in_the_column_of_maxima() -> None:
    line = curve(grad_norm=[1.0] * 5)
    assert features(line)["grad_norm_max"] == 1.0
    wide = line.with_(metrics={**line.metrics, GRAD_NORM_MAX: [1.0, 9.0, 1.0, 1.0, 1.0]})
    assert features(wide)["grad_norm_max"] == 9.0


@pytest.mark.parametrize(
    ("parent", "carried", "expected"),
    [
        ({}, False, 0.2),
        ({"kl_end": 0.3}, False, 0.5),  # a parent that was the root
        ({"kl_end": 0.3, "kl_path": 1.0}, False, 1.2),
        ({"kl_end": 0.3, "kl_path": 1.0}, True, 0.9),  # its part is measured anew
        ({"kl_path": 1.0}, True, 1.2),
    ],
)
def test_drift_adds_up_along_the_path(
    parent: dict[str, float], carried: bool, expected: float
) -> None:
    found, _ = diagnose(
        curve(RISING, kl=[0.2] * 9), {}, parent_features=parent, carried_reference=carried
    )
    assert found["kl_path"] == pytest.approx(expected)


def test_a_stage_without_a_kl_term_hands_the_drift_on() -> None:
    assert features(curve(RISING, reward=[0.1] * 5), parent={"kl_path": 0.7})["kl_path"] == 0.7
    assert "kl_path" not in features(curve(RISING, reward=[0.1] * 5))


def test_a_stage_of_one_step() -> None:
    found = features(curve({1: 0.4}, reward=[0.3], entropy=[0.0]))
    assert found["reward_start"] == found["reward_end"] == 0.3
    assert found["eval_gain"] == 0.0
    assert "entropy_ratio" not in found and "reward_slope" not in found


def test_nothing_known_gives_no_features() -> None:
    assert features(Curve()) == {}
    assert features(Curve(steps=[1], metrics={"reward": [None]})) == {}


def test_pairing_golden() -> None:
    """Digits 15 15 0 0 against 15 0 0 0: differences 0 1 0 0, mean 1/4, standard error 1/4."""
    one = Score(step=1, value=0.5, standard_error=0.25, questions=4, per_question="ff00")
    other = Score(step=2, value=0.25, standard_error=0.22, questions=4, per_question="f000")
    found = difference(one, other)
    assert (found.value, found.error, found.paired) == (0.25, pytest.approx(0.25), True)
    unpaired = difference(one, other.with_(per_question=""))
    assert unpaired.error == pytest.approx(math.hypot(0.25, 0.22))
    assert not unpaired.paired


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([1e308, -1e308, 5e-324, 0.0]))


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    n = draw(st.integers(0, 48))
    names = draw(st.lists(st.sampled_from([*CURVE_METRICS, GRAD_NORM_MAX]), unique=True))
    steps = sorted(draw(st.sets(st.integers(1, 10**6), min_size=n, max_size=n)))
    at = sorted(draw(st.sets(st.integers(0, 10**6), max_size=6)))
    return Curve(
        steps=steps,
        metrics={name: draw(st.lists(numbers, min_size=n, max_size=n)) for name in names},
        scores=[
            Score(
                step=step,
                value=draw(st.floats(-10, 10)),
                standard_error=draw(st.floats(0, 1)),
                questions=2,
                per_question=draw(st.sampled_from(["", "0f", "zz", "0"])),
                metrics=draw(
                    st.dictionaries(st.sampled_from(["entropy", "reward"]), st.floats(0, 1))
                ),
            )
            for step in at
        ],
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    curves(),
    st.sampled_from([None, *Outcome]),
    st.sampled_from([{}, {"beta": 0.1, "num_iterations": 4}, {"beta": None, "max_grad_norm": "x"}]),
    st.sampled_from(["maximize", "minimize"]),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(["kl_end", "kl_path"]), st.floats(0, 9))),
    st.booleans(),
)
def test_any_curve_has_a_defined_diagnosis(
    line: Curve,
    outcome: Outcome | None,
    grpo: dict[str, object],
    direction: str,
    parent: dict[str, float] | None,
    carried: bool,
) -> None:
    start = line.scores[-1] if line.scores else None
    found, pathologies = diagnose(line, grpo, outcome, parent, direction, start, carried)
    assert diagnose(line, grpo, outcome, parent, direction, start, carried) == (
        found,
        pathologies,
    )
    assert len(found) <= MOST_FEATURES
    assert all(math.isfinite(v) for v in found.values())
    assert len({p.kind for p in pathologies}) == len(pathologies) <= 16
    assert all(p.evidence and 0 <= p.severity <= 1 for p in pathologies)


def test_a_full_curve_has_at_most_sixty_four_features() -> None:
    every = {m.replace("/", "__"): [0.5 + 0.01 * i for i in range(48)] for m in CURVE_METRICS}
    line = curve(RISING, **every)
    scores = [s.with_(metrics={"entropy": 0.4, "reward": 0.5}) for s in line.scores]
    found = features(line.with_(scores=scores), parent={"kl_path": 1.0})
    assert 50 < len(found) <= MOST_FEATURES
