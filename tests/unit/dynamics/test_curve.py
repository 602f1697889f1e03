"""Records in any order, any number of them, become one bounded curve."""

import math
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmzero.api.contract import EvalRecord, StepRecord
from llmzero.api.curve import CURVE_BYTES, CURVE_METRICS, CURVE_POINTS, GRAD_NORM_MAX, Score
from llmzero.dynamics.curve import LARGEST_STEP, CurveBuilder

Line = StepRecord | EvalRecord


def step(number: int, value: float | None, attempt: int = 1, seq: int = 1) -> StepRecord:
    return StepRecord(
        attempt=attempt, seq=seq, time=0, step=number, metrics={"reward": value, "other": 1.0}
    )


def score(number: int, value: float = 0.5, attempt: int = 1, answers: int = 0) -> EvalRecord:
    scored = Score(
        step=number,
        value=value,
        standard_error=0.02,
        questions=max(answers, 1),
        per_question="f" * answers,
        metrics={"accuracy": value},
    )
    return EvalRecord(attempt=attempt, seq=10_000 + number, time=0, score=scored)


def build(records: list[Line]) -> CurveBuilder:
    builder = CurveBuilder()
    for record in records:
        builder.add(record)
    return builder


def size(builder: CurveBuilder) -> int:
    return len(builder.curve().model_dump_json(by_alias=True, exclude_none=True))


def test_few_steps_are_kept_as_they_are() -> None:
    found = build([step(1, 0.5), step(2, None), step(3, 0.7)]).curve()
    assert found.steps == [1, 2, 3]
    assert found.metrics == {"reward": [0.5, None, 0.7]}


def test_many_steps_are_means_over_equal_runs() -> None:
    found = build([step(i, float(i)) for i in range(1, 97)]).curve()
    assert len(found.steps) == CURVE_POINTS
    assert found.steps[-1] == 96
    assert found.metrics["reward"][0] == 1.5  # mean of the first two
    assert found.metrics["reward"][-1] == 95.5


def test_a_spike_survives_the_mean() -> None:
    norms = [0.5] * 200
    norms[120] = 40.0
    lines = [
        StepRecord(attempt=1, seq=i, time=0, step=i, metrics={"grad_norm": v})
        for i, v in enumerate(norms, start=1)
    ]
    found = build([*lines]).curve()
    assert max(found.metrics["grad_norm"]) == pytest.approx((40 + 7 * 0.5) / 8, rel=1e-4)  # type: ignore[type-var]
    assert max(found.metrics[GRAD_NORM_MAX]) == 40.0  # type: ignore[type-var]
    assert GRAD_NORM_MAX not in build([*lines[:48]]).curve().metrics


def test_a_later_attempt_wins_from_its_first_step_on() -> None:
    builder = build([*(step(i, 0.1) for i in range(1, 11)), score(4), score(8, 0.1)])
    assert builder.curve().steps[-1] == 10
    for number in range(6, 9):
        builder.add(step(number, 0.9, attempt=2))
    builder.add(step(7, 0.0, attempt=1))
    builder.add(step(10, 0.0, attempt=1))
    builder.add(score(8, 0.2, attempt=2))
    builder.add(score(8, 0.1, attempt=1))
    found = builder.curve()
    assert found.steps == list(range(1, 9))
    assert found.metrics["reward"] == [0.1] * 5 + [0.9] * 3
    assert [(s.step, s.value) for s in found.scores] == [(4, 0.5), (8, 0.2)]


def test_it_does_not_matter_when_the_curve_is_read() -> None:
    records: list[Line] = [step(i, math.sin(i)) for i in range(1, 500)]
    often = CurveBuilder()
    for record in records:
        often.add(record)
        often.curve()
    assert often.curve() == build(records).curve()


TWO_ATTEMPTS: list[Line] = [
    *(step(i, float(i)) for i in range(1, 60)),
    *(step(i, -float(i), attempt=2) for i in range(41, 53)),
    *(step(i, 0.5, attempt=3) for i in range(50, 55)),
    *(score(i) for i in range(0, 60, 20)),
    score(40, 0.7, attempt=2),
]


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@UNHURRIED
@given(st.permutations(TWO_ATTEMPTS), st.integers(1, 9))
def test_the_order_of_records_does_not_matter(records: list[Line], every: int) -> None:
    builder = CurveBuilder()
    for i, record in enumerate(records):
        builder.add(record)
        if i % every == 0:
            builder.curve()
    assert builder.curve() == build(TWO_ATTEMPTS).curve()


@UNHURRIED
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_what_is_not_finite_never_gets_in(values: list[float]) -> None:
    found = build([step(i + 1, v) for i, v in enumerate(values)]).curve()
    for value in found.metrics.get("reward", []):
        assert value is None or math.isfinite(value)


def test_the_curve_is_bounded_and_keeps_the_last_answers() -> None:
    rng = random.Random(1)
    builder = CurveBuilder()
    for i in range(1, 3001):
        metrics = {name: -rng.random() * 10 ** rng.randint(-6, 6) for name in CURVE_METRICS}
        builder.add(StepRecord(attempt=1, seq=i, time=0, step=i, metrics=metrics))
    for i in range(1, 60):
        builder.add(score(i * 50, answers=600))
    found = builder.curve()
    assert size(builder) <= CURVE_BYTES
    assert len(found.steps) <= CURVE_POINTS
    assert found.scores[-1].step == 59 * 50
    assert found.scores[-1].per_question == "f" * 600


def test_the_oldest_answers_go_first_and_no_more_than_needed() -> None:
    builder = build([score(i * 10, answers=1500) for i in range(8)])
    kept = [bool(s.per_question) for s in builder.curve().scores]
    assert kept == [False] * 4 + [True] * 4
    assert CURVE_BYTES - 1500 < size(builder) <= CURVE_BYTES


def test_one_evaluation_that_alone_is_too_large_keeps_its_value() -> None:
    wide = score(10, answers=4000)
    metrics = {f"metric-{i:03d}-{'x' * 40}": 0.123456 for i in range(120)}
    found = build([wide.with_(score=wide.score.with_(metrics=metrics))])
    assert size(found) <= CURVE_BYTES
    assert found.curve().scores[-1].value == 0.5


def test_nothing_gives_an_empty_curve() -> None:
    assert CurveBuilder().curve().steps == []


def test_a_step_beyond_all_limits_is_not_believed() -> None:
    found = build([step(1, 0.5), step(LARGEST_STEP + 1, 0.9)]).curve()
    assert found.steps == [1]


def test_reading_does_not_get_slower_with_the_number_of_steps() -> None:
    """The same number of points is made new, whether 400 steps are known or 100,000."""

    def cost(steps: int) -> float:
        builder = build([step(i, 0.5) for i in range(1, steps + 1)])
        builder.curve()
        best = math.inf
        for attempt in range(20):
            builder.add(step(steps, 0.1 * attempt))
            started = time.process_time()
            builder.curve()
            best = min(best, time.process_time() - started)
        return best

    assert cost(100_000) < 5 * cost(400) + 1e-3
