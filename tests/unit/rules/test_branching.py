"""The checkpoint to go on from: before the harm, where the scores do not speak against it."""

from typing import Any

import pytest

from llmzero.api.curve import PathologyKind
from llmzero.rules import propose
from tests.unit.builders import curve
from tests.unit.rules.questions import found, request, score, view

K = PathologyKind
SPIKY = curve({}, grad_norm=[0.5] * 24 + [30.0, 0.5, 40.0] + [0.5] * 13)
DRIFTING = curve({}, kl=[0.02] * 24 + [0.4] * 16)
HACKED = curve({}, reward=[0.3] * 15 + [0.3 + 0.02 * i for i in range(25)])


def step(kind: K | None, scores: dict[int, float], error: float = 0.02, **fields: Any) -> int:
    stage = view(
        pathologies=[found(kind)] if kind else [],
        checkpoints=[10, 20, 30, 40],
        scores=[score(s, v, error) for s, v in scores.items()],
    )
    return propose(request(stage, **fields)).branch_from.step


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        (K.GRADIENT_SPIKES, SPIKY, 20),
        (K.NON_FINITE, SPIKY, 20),
        (K.POLICY_DRIFT, DRIFTING, 20),
        (K.TRUNCATION, SPIKY, 40),
        (None, DRIFTING, 40),
    ],
)
def test_the_last_checkpoint_before_the_onset(kind: K | None, line: Any, expected: int) -> None:
    assert step(kind, {20: 0.5, 40: 0.5}, curve=line) == expected
    assert step(kind, {}, curve=line) == expected  # nothing was scored: the onset decides


def test_a_last_checkpoint_that_is_clearly_better_stays() -> None:
    assert step(K.POLICY_DRIFT, {20: 0.5, 40: 0.6}, curve=DRIFTING) == 40
    assert step(K.POLICY_DRIFT, {20: 0.5, 40: 0.52}, curve=DRIFTING) == 20


def test_hacking_goes_back_to_where_the_gap_opened() -> None:
    scores = {0: 0.3, 10: 0.3, 20: 0.3, 30: 0.29, 40: 0.3}
    assert step(K.REWARD_HACKING, scores, curve=HACKED) == 20


def test_without_an_onset_the_best_score_decides_beyond_its_error() -> None:
    assert step(K.OVERFIT, {10: 0.5, 20: 0.6, 30: 0.55, 40: 0.5}) == 20
    assert step(K.OVERFIT, {10: 0.5, 20: 0.52, 30: 0.51, 40: 0.5}) == 40
    assert step(K.OVERFIT, {10: 0.5, 20: 0.4}, direction="minimize") == 40  # the last: no score


def test_minimize_looks_for_the_smallest_score() -> None:
    scores = {10: 0.5, 20: 0.4, 30: 0.45, 40: 0.6}
    assert step(K.OVERFIT, scores, direction="minimize") == 20


def test_the_reason_names_the_scores() -> None:
    stage = view(pathologies=[found(K.OVERFIT)], scores=[score(20, 0.6), score(40, 0.4)])
    branch = propose(request(stage)).branch_from
    assert branch.step == 20
    assert branch.reason == (
        "Overfit: the best-scored one; it scored 0.600 +- 0.010, the last 0.400 +- 0.010"
    )


def test_a_stage_without_a_stored_checkpoint_ends_at_its_last_step() -> None:
    stage = view(pathologies=[found(K.OVERFIT)], checkpoints=[])
    assert propose(request(stage)).branch_from.step == stage.steps
