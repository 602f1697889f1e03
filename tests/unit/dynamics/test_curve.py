"""Records in any order, any number of them, become one bounded curve."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.contract import EvalRecord, StepRecord
from llmzero.api.curve import CURVE_BYTES, CURVE_METRICS, CURVE_POINTS, Score
from llmzero.dynamics.curve import CurveBuilder


def step(number: int, value: float | None, attempt: int = 1, seq: int = 1) -> StepRecord:
    return StepRecord(
        attempt=attempt, seq=seq, time=0, step=number, metrics={"reward": value, "other": 1.0}
    )


def build(records: list[StepRecord | EvalRecord]) -> CurveBuilder:
    builder = CurveBuilder()
    for record in records:
        builder.add(record)
    return builder


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


def test_a_later_attempt_wins_for_a_step() -> None:
    builder = build([step(i, 0.1) for i in range(1, 11)])
    builder.curve()
    for number in range(6, 9):
        builder.add(step(number, 0.9, attempt=2))
    builder.add(step(7, 0.0, attempt=1))
    assert builder.curve().metrics["reward"] == [0.1] * 5 + [0.9] * 3 + [0.1] * 2


def test_it_does_not_matter_when_the_curve_is_read() -> None:
    records = [step(i, math.sin(i)) for i in range(1, 500)]
    often = CurveBuilder()
    for record in records:
        often.add(record)
        often.curve()
    assert often.curve() == build(records).curve()


@given(st.permutations([step(i, float(i)) for i in range(1, 60)]))
def test_the_order_of_records_does_not_matter(records: list[StepRecord]) -> None:
    builder = CurveBuilder()
    for i, record in enumerate(records):
        builder.add(record)
        if i % 7 == 0:
            builder.curve()
    assert builder.curve() == build([step(i, float(i)) for i in range(1, 60)]).curve()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_what_is_not_finite_never_gets_in(values: list[float]) -> None:
    found = build([step(i + 1, v) for i, v in enumerate(values)]).curve()
    for value in found.metrics.get("reward", []):
        assert value is None or math.isfinite(value)


def test_the_curve_is_bounded_and_keeps_the_last_answers() -> None:
    rng = random.Random(1)
    builder = CurveBuilder()
    for i in range(1, 3001):
        metrics = {name: rng.random() * 10 ** rng.randint(-6, 6) for name in CURVE_METRICS}
        builder.add(StepRecord(attempt=1, seq=i, time=0, step=i, metrics=metrics))
    for i in range(1, 60):
        score = Score(
            step=i * 50, value=0.5, standard_error=0.02, questions=1000, per_question="f" * 1000
        )
        builder.add(EvalRecord(attempt=1, seq=5000 + i, time=0, score=score))
    found = builder.curve()
    assert len(found.model_dump_json(by_alias=True, exclude_none=True)) <= CURVE_BYTES
    assert len(found.steps) <= CURVE_POINTS
    assert found.scores[-1].step == 59 * 50
    assert found.scores[-1].per_question == "f" * 1000


def test_nothing_gives_an_empty_curve() -> None:
    assert CurveBuilder().curve().steps == []
