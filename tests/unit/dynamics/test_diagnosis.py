"""Each pathology is found where it is, with evidence, and not where it is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.curve import CURVE_METRICS, Curve, PathologyKind, Score
from llmzero.api.stage import Outcome
from llmzero.dynamics import diagnose
from llmzero.dynamics.features import features, theil_sen
from tests.unit.builders import curve

K = PathologyKind
N = 30


def ramp(start: float, end: float, n: int = N) -> list[float]:
    return [start + (end - start) * i / (n - 1) for i in range(n)]


def flat(value: float, n: int = N) -> list[float]:
    return [value + 0.001 * (-1) ** i for i in range(n)]


RISING = {0: 0.3, 10: 0.4, 20: 0.5, 30: 0.6}
FLAT = {0: 0.30, 10: 0.31, 20: 0.30, 30: 0.305}
HEALTHY = {
    "reward": ramp(0.3, 0.6),
    "entropy": ramp(1.0, 0.6),
    "grad_norm": flat(0.5),
    "frac_reward_zero_std": flat(0.2),
    "completions__clipped_ratio": flat(0.01),
    "completions__mean_length": flat(20),
}


def kinds(
    scores: dict[int, float],
    settings: dict[str, object] | None = None,
    outcome: Outcome | None = Outcome.SUCCEEDED,
    **metrics: list[float],
) -> list[K]:
    _, found = diagnose(curve(scores, **{**HEALTHY, **metrics}), settings or {}, outcome)
    assert all(p.evidence and 0 <= p.severity <= 1 for p in found)
    return [p.kind for p in found]


def test_a_healthy_stage_shows_nothing() -> None:
    assert kinds(RISING) == []


@pytest.mark.parametrize(
    ("kind", "scores", "settings", "metrics"),
    [
        (K.ENTROPY_COLLAPSE, FLAT, {}, {"entropy": ramp(1.0, 0.05)}),
        (K.ENTROPY_EXPLOSION, FLAT, {}, {"entropy": ramp(0.5, 2.0), "reward": ramp(0.5, 0.2)}),
        (K.POLICY_DRIFT, RISING, {"beta": 0.02}, {"kl": [0.01] * 20 + [3.0] * 10}),
        (
            K.OVER_CONSTRAINED,
            FLAT,
            {"beta": 0.5},
            {"kl": flat(0.3), "reward": flat(0.4)},
        ),
        (
            K.REWARD_HACKING,
            {0: 0.3, 10: 0.3, 20: 0.29, 30: 0.28},
            {},
            {"reward": ramp(0.3, 0.8)},
        ),
        (K.LENGTH_HACKING, FLAT, {}, {"completions__mean_length": ramp(20, 60)}),
        (K.TRUNCATION, RISING, {}, {"completions__clipped_ratio": flat(0.4)}),
        (K.ZERO_VARIANCE_GROUPS, RISING, {}, {"frac_reward_zero_std": flat(0.8)}),
        (K.GRADIENT_SPIKES, RISING, {}, {"grad_norm": [0.5] * 20 + [20.0, 0.5, 30.0] + [0.5] * 7}),
        (
            K.OVERFIT,
            {0: 0.3, 10: 0.6, 20: 0.5, 30: 0.45},
            {},
            {"reward": ramp(0.3, 0.8)},
        ),
        (K.PLATEAU, FLAT, {}, {"reward": flat(0.4)}),
    ],
)
def test_each_pathology_is_found(
    kind: K, scores: dict[int, float], settings: dict[str, object], metrics: dict[str, list[float]]
) -> None:
    assert kind in kinds(scores, settings, **metrics)
    assert kind not in kinds(RISING)


def test_outcomes_are_pathologies_too() -> None:
    assert kinds(RISING, outcome=Outcome.OUT_OF_MEMORY)[0] == K.OUT_OF_MEMORY
    assert kinds(RISING, outcome=Outcome.DIVERGED)[0] == K.NON_FINITE


def test_an_entropy_loss_that_pays_is_ordinary() -> None:
    """73 % gone by step 200 with 76 % of the gain (arXiv 2505.22617) is no illness."""
    assert K.ENTROPY_COLLAPSE not in kinds(RISING, entropy=ramp(1.0, 0.25))


def test_kl_that_starts_at_zero_is_no_drift() -> None:
    assert K.POLICY_DRIFT not in kinds(RISING, {"beta": 0.02}, kl=ramp(0.0, 0.08))


def test_truncation_acts_from_twenty_percent() -> None:
    _, mild = diagnose(curve(RISING, completions__clipped_ratio=flat(0.12)), {})
    _, hard = diagnose(curve(RISING, completions__clipped_ratio=flat(0.25)), {})
    assert mild[0].severity < 0.5 <= hard[0].severity


def test_severe_classes_come_first() -> None:
    found = kinds(
        FLAT, entropy=ramp(1.0, 0.05), completions__clipped_ratio=flat(0.4), reward=flat(0.4)
    )
    assert found == [K.ENTROPY_COLLAPSE, K.TRUNCATION, K.PLATEAU]


def test_minimize_turns_the_gain_round() -> None:
    falling = {0: 0.6, 10: 0.5, 20: 0.4, 30: 0.3}
    assert features(curve(falling), "minimize")["eval_gain"] == pytest.approx(0.3)
    assert features(curve(falling), "maximize")["eval_gain"] == pytest.approx(-0.3)


def test_drift_adds_up_along_the_path() -> None:
    found, _ = diagnose(curve(RISING, kl=flat(0.2)), {}, parent_features={"kl_path": 1.0})
    assert found["kl_path"] == pytest.approx(found["kl_end"] + 1.0, rel=1e-4)


def test_theil_sen_golden() -> None:
    """y = 2x with one wild point: median slope 2 (Sen 1968's estimator ignores it)."""
    points = [(float(x), 2.0 * x) for x in range(10)]
    points[4] = (4.0, 100.0)
    slope, low, high = theil_sen(points) or (0, 0, 0)
    assert slope == pytest.approx(2.0)
    assert low <= 2.0 <= high


def test_theil_sen_needs_three_points() -> None:
    assert theil_sen([(0, 0), (1, 1)]) is None
    assert theil_sen([(1, 0), (1, 1), (1, 2)]) is None


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6))


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    n = draw(st.integers(0, 40))
    names = draw(st.lists(st.sampled_from(CURVE_METRICS), unique=True))
    scores = draw(st.lists(st.floats(0, 1), max_size=6))
    return Curve(
        steps=list(range(1, n + 1)),
        metrics={name: draw(st.lists(numbers, min_size=n, max_size=n)) for name in names},
        scores=[
            Score(step=i, value=v, standard_error=0.01, questions=10) for i, v in enumerate(scores)
        ],
    )


@given(curves(), st.sampled_from([None, *Outcome]))
def test_any_curve_has_a_defined_diagnosis(found: Curve, outcome: Outcome | None) -> None:
    numbers, pathologies = diagnose(found, {"beta": 0.1}, outcome)
    assert len(numbers) <= 64
    assert len(pathologies) <= 16
    assert all(math.isfinite(v) for v in numbers.values())
    assert len({p.kind for p in pathologies}) == len(pathologies)
