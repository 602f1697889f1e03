"""A stage from its first attempt to its outcome: what each way to end means."""

from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.contract import (
    AttemptRecord,
    CheckpointRecord,
    EvalRecord,
    ExitCode,
    Record,
    ResultRecord,
    StepRecord,
    VolumeSpace,
)
from llmzero.api.curve import Score
from llmzero.api.stage import (
    Change,
    CheckpointRef,
    Outcome,
    Phase,
    Purpose,
    StageNode,
    StageStatus,
    StopDecision,
)
from llmzero.search.budget import charge
from llmzero.search.lifecycle import (
    UNCOUNTED_LIMIT,
    StageObserver,
    begin,
    finish,
    request_stop,
    silent,
)
from llmzero.search.room import again_at, no_room
from tests.unit.builders import NOW, search, stage

START = 1_000.0
StopReason = Literal["CurveBelowBest", "UserRequest", "SearchEnded", "Suspended", "Silent"]


def history(
    attempt: int = 1, first: int = 1, last: int = 20, every: int = 10, start: float = START
) -> list[Record]:
    """Records of an attempt: a step a second, a score and a checkpoint every ``every`` steps."""
    seq = iter(range(1, 10_000))

    def head(time: float) -> dict[str, Any]:
        return {"attempt": attempt, "seq": next(seq), "time": time}

    found: list[Record] = [AttemptRecord(**head(start))]
    for step in range(first, last + 1):
        time = start + step - first + 1
        found.append(StepRecord(**head(time), step=step, metrics={"reward": step / 100}, tokens=64))
        if step % every == 0:
            score = Score(step=step, value=step / 100, standard_error=0.01, questions=200)
            found.append(EvalRecord(**head(time), score=score, tokens=100, seconds=1))
            found.append(CheckpointRecord(**head(time), step=step, bytes=10))
    return found


def result(code: int, attempt: int = 1, step: int = 20, **fields: Any) -> ResultRecord:
    return ResultRecord(
        attempt=attempt, seq=9_999, time=START + step, exit_code=code, step=step, **fields
    )


def begun(node: StageNode, attempt: int = 1) -> StageNode:
    return node.with_(status=begin(node, attempt, NOW))


def heard(node: StageNode, *records: Record) -> StageNode:
    observer = StageObserver()
    for record in records:
        observer.take(record)
    return node.with_(status=observer.status(node, NOW))


def stopped(node: StageNode, reason: StopReason) -> StageNode:
    decision = StopDecision(reason=reason, message="told to stop", at=NOW)
    return node.with_(status=request_stop(node, decision))


def ended(
    node: StageNode, code: int | None, record: ResultRecord | None = None, **more: Any
) -> StageNode:
    return node.with_(status=finish(search(), node, code, record, "", NOW, 7, **more))


def a_run() -> StageNode:
    return heard(begun(stage()), *history())


# -- heard ------------------------------------------------------------------------------------


def test_an_attempt_is_queued_until_it_is_heard() -> None:
    node = begun(stage())
    assert node.status.phase is Phase.QUEUED
    assert (node.status.attempt_count, node.status.started_at) == (1, NOW)
    node = heard(node, *history())
    assert node.status.phase is Phase.RUNNING
    assert (node.status.step, node.status.checkpoints) == (20, [10, 20])
    assert [s.value for s in node.status.curve.scores] == [0.1, 0.2]
    assert node.status.cost.train_tokens == 20 * 64
    assert node.status.cost.eval_tokens == 200
    assert node.status.cost.device_seconds == 20


def test_stored_records_of_an_earlier_attempt_do_not_make_the_next_one_run() -> None:
    node = heard(begun(a_run(), 2), *history(1))
    assert node.status.phase is Phase.QUEUED
    assert node.status.last_heard_at is None
    assert heard(node, *history(1), *history(2, 11, 15)).status.phase is Phase.RUNNING


def test_all_attempts_are_paid_for_and_the_later_one_is_believed() -> None:
    later = history(2, first=11, last=20, start=START + 500)
    node = heard(begun(a_run(), 2), *history(1), *later)
    assert node.status.cost.device_seconds == 20 + 10
    assert node.status.cost.train_tokens == 30 * 64
    assert node.status.step == 20


@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_order_and_repetition_of_records_change_nothing(random: Any, times: int) -> None:
    records = [*history(1), *history(2, 11, 25, start=START + 100)]
    node = begun(stage(), 2)
    expected = heard(node, *records).status
    mixed = records * times
    random.shuffle(mixed)
    assert heard(node, *mixed).status == expected


def test_a_record_that_is_known_is_told_apart() -> None:
    observer = StageObserver()
    record = history()[3]
    assert observer.take(record)
    assert not observer.take(record)


# -- ended ------------------------------------------------------------------------------------


def test_a_stage_that_is_done_has_its_result_its_place_and_its_price() -> None:
    done = result(0, device_seconds=50, train_tokens=9_000, value=0.2)
    status = ended(heard(begun(stage()), *history(last=40)), 0, done).status
    assert (status.phase, status.outcome) == (Phase.SUCCEEDED, Outcome.SUCCEEDED)
    assert (status.sequence, status.finished_at) == (7, NOW)
    assert status.result is not None
    assert (status.result.value, status.result.step, status.result.split) == (0.4, 40, "search")
    assert (status.cost.stages, status.cost.device_seconds) == (1.0, 50)
    assert status.cost.train_tokens == 9_000
    assert status.features
    assert status.attempts[-1].outcome is Outcome.SUCCEEDED


def test_a_result_of_a_later_step_than_the_log_shows_is_believed() -> None:
    done = result(0, step=40, value=0.9, standard_error=0.03, questions=200)
    status = ended(a_run(), 0, done).status
    assert status.result is not None
    assert (status.result.value, status.result.step) == (0.9, 40)
    assert status.cost.stages == 1.0


def test_done_without_a_readable_result_is_a_failure_with_a_name() -> None:
    status = ended(begun(stage()), 0).status
    assert (status.phase, status.reason) == (Phase.FAILED, "ResultMissing")
    assert "no readable result" in status.message
    assert status.sequence == 7


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        (ExitCode.INVALID_REQUEST, Outcome.FAILED, "InvalidRequest"),
        (ExitCode.REWARD_FAILED, Outcome.FAILED, "RewardFailed"),
        (ExitCode.OUT_OF_MEMORY, Outcome.OUT_OF_MEMORY, "OutOfMemory"),
        (ExitCode.DIVERGED, Outcome.DIVERGED, "Diverged"),
    ],
)
def test_what_another_attempt_would_repeat_is_final_at_once(
    code: ExitCode, outcome: Outcome, reason: str
) -> None:
    record = result(code, step=2, message="the trainer's own words")
    status = ended(heard(begun(stage()), *history(last=2)), code, record).status
    assert (status.phase, status.outcome, status.reason) == (Phase.FAILED, outcome, reason)
    assert status.message == "the trainer's own words"
    assert status.cost.stages == 0.25, "a failure is never free"


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("CurveBelowBest", Outcome.EARLY_STOPPED),
        ("UserRequest", Outcome.EARLY_STOPPED),
        ("SearchEnded", Outcome.INTERRUPTED),
    ],
)
@pytest.mark.parametrize("code", [ExitCode.INTERRUPTED, None, 137, 1])
def test_a_stage_that_was_told_to_stop_is_stopped_however_its_process_ends(
    reason: StopReason, outcome: Outcome, code: int | None
) -> None:
    status = ended(stopped(a_run(), reason), code).status
    assert (status.phase, status.outcome, status.reason) == (Phase.STOPPED, outcome, reason)
    assert status.cost.stages == 0.5, "charged what it ran"
    assert status.result is not None and status.result.value == 0.2


def test_a_stage_that_is_done_before_it_hears_the_stop_has_succeeded() -> None:
    assert ended(stopped(a_run(), "CurveBelowBest"), 0).status.outcome is Outcome.SUCCEEDED


def test_a_stage_that_never_ran_can_be_stopped() -> None:
    status = ended(stopped(stage(), "SearchEnded"), None).status
    assert (status.phase, status.result, status.cost.stages) == (Phase.STOPPED, None, 0)


@pytest.mark.parametrize("code", [1, 137, -9, 139, ExitCode.STORAGE])
def test_a_crash_is_tried_again_until_the_budgets_attempts_are_used(code: int) -> None:
    node = stage()
    for attempt in (1, 2):
        node = ended(begun(node, attempt), code)
        assert node.status.phase is Phase.PENDING
        assert node.status.sequence is None
        assert node.status.failed_attempts == attempt
    node = ended(begun(node, 3), code)
    assert (node.status.phase, node.status.outcome) == (Phase.FAILED, Outcome.FAILED)
    assert "3 attempts failed (spec.budget.attempts)" in node.status.message
    assert [a.counted for a in node.status.attempts] == [True] * 3


def test_more_attempts_than_are_kept_in_the_status_still_end() -> None:
    node, many = stage(), search(budget={"attempts": 12})
    for attempt in range(1, 13):
        assert not node.status.phase.final
        node = begun(node, attempt)
        node = node.with_(status=finish(many, node, 1, None, "", NOW, 7))
    assert node.status.phase is Phase.FAILED
    assert len(node.status.attempts) == 8


@pytest.mark.parametrize("code", [ExitCode.INTERRUPTED, ExitCode.FENCED, None])
def test_a_preempted_stage_goes_on_uncounted_but_not_for_ever(code: int | None) -> None:
    node = stage()
    for attempt in range(1, UNCOUNTED_LIMIT):
        node = ended(begun(node, attempt), code)
        assert node.status.phase is Phase.PENDING
    assert node.status.failed_attempts == 0
    node = ended(begun(node, UNCOUNTED_LIMIT), code)
    assert node.status.phase is Phase.FAILED
    assert f"{UNCOUNTED_LIMIT} attempts in a row were interrupted" in node.status.message


def full_end(node: StageNode, available: int = 0) -> StageNode:
    """An attempt that found the volume full."""
    space = VolumeSpace(capacity_bytes=100, available_bytes=available)
    attempt = node.status.attempt_count
    said = result(67, attempt=attempt, reason="StorageFull", message="full", volume=space)
    return ended(node, ExitCode.STORAGE, said)


def test_a_full_volume_is_waited_for_uncounted_but_not_for_ever() -> None:
    node, waits = stage(), []
    assert again_at(node) is None
    for attempt in range(1, UNCOUNTED_LIMIT):
        node = full_end(begun(node, attempt))
        assert (node.status.phase, node.status.reason) == (Phase.PENDING, "StorageFull")
        at = again_at(node)
        assert at is not None
        waits.append((at - NOW).total_seconds())
    assert node.status.failed_attempts == 0
    assert waits[:5] == [60, 120, 240, 480, 600] and max(waits) == 600
    node = full_end(begun(node, UNCOUNTED_LIMIT))
    assert node.status.phase is Phase.FAILED and "full" in node.status.message
    assert again_at(node) is None


def test_other_trouble_with_storage_is_tried_again_at_once() -> None:
    node = ended(begun(stage()), ExitCode.STORAGE, result(67, reason="Storage"))
    assert node.status.failed_attempts == 1 and again_at(node) is None


def test_no_room_is_known_until_an_attempt_is_heard_again() -> None:
    node = full_end(begun(stage()))
    assert no_room(node)
    node = begun(node, 2)
    assert no_room(node), "it may be full still"
    assert not no_room(heard(node, *history(2, last=1)))


def test_the_room_that_was_told_last_is_kept() -> None:
    def told(attempt: int, seq: int, time: float, free: int) -> AttemptRecord:
        space = VolumeSpace(capacity_bytes=100, available_bytes=free)
        return AttemptRecord(attempt=attempt, seq=seq, time=time, volume=space)

    node = heard(begun(stage()), told(1, 2, START + 9, 40), told(1, 1, START, 90))
    volume = node.status.volume
    assert volume is not None and (volume.available_bytes, volume.capacity_bytes) == (40, 100)
    assert volume.at.timestamp() == START + 9
    volume = full_end(node, available=1).status.volume
    assert volume is not None and volume.available_bytes == 1


def test_progress_between_preemptions_starts_the_row_anew() -> None:
    node = stage()
    for attempt in range(1, UNCOUNTED_LIMIT + 5):
        node = begun(node, attempt)
        if attempt % 10 == 0:
            node = heard(node, *history(attempt, last=attempt, every=5))
        node = ended(node, ExitCode.INTERRUPTED)
        assert node.status.phase is Phase.PENDING


def test_a_search_can_be_suspended_as_often_as_one_likes() -> None:
    node = stage()
    for attempt in range(1, 2 * UNCOUNTED_LIMIT):
        node = ended(stopped(begun(node, attempt), "Suspended"), ExitCode.INTERRUPTED)
        assert (node.status.phase, node.status.stop) == (Phase.PENDING, None)
    assert node.status.attempts[-1].counted is False
    assert ended(begun(node, 99), 0, result(0, attempt=99, value=0.5)).status.phase.final


def test_silence_counts_as_a_failed_attempt() -> None:
    node = ended(stopped(a_run(), "Silent"), 137)
    assert (node.status.phase, node.status.reason) == (Phase.PENDING, "Silent")
    assert node.status.failed_attempts == 1


def test_how_an_earlier_attempt_ended_says_nothing_of_this_one() -> None:
    node = begun(a_run(), 2)
    status = ended(node, None, result(ExitCode.DIVERGED, attempt=1)).status
    assert (status.phase, status.reason) == (Phase.PENDING, "Lost")
    assert ended(node, None, result(0, attempt=1)).status.phase is Phase.SUCCEEDED


def test_what_the_engine_knows_of_a_crash_is_said() -> None:
    status = ended(a_run(), 137, reason="OOMKilled").status
    assert status.reason == status.attempts[-1].reason == "OOMKilled"
    assert ended(a_run(), 137).status.reason == "Killed"
    assert ended(a_run(), -11).status.reason == "ExitCodeMinus11"


def test_evaluations_report_their_own_split_and_charge_no_stages() -> None:
    node = begun(stage(purpose=Purpose.HELD_OUT, steps=0))
    done = result(0, step=0, value=0.75, standard_error=0.02, questions=500)
    status = ended(node, 0, done).status
    assert status.result is not None
    assert (status.result.split, status.cost.stages) == ("heldOut", 0)
    assert ended(node, ExitCode.INVALID_REQUEST).status.cost.stages == 0


def test_a_failure_is_charged_as_the_ledger_charges_it() -> None:
    status = ended(begun(stage(steps=4)), ExitCode.DIVERGED).status
    assert status.cost.stages == charge(4, 0, Phase.FAILED, 40) == 0.25


def test_what_the_stage_is_diagnosed_by_comes_from_the_search_and_the_parent() -> None:
    """Gains count in the objective's direction, from the score of the start checkpoint; the KL
    of a carried reference adds nothing to the parent's."""
    parent = a_run()
    parent = parent.with_(status=finish(search(), parent, 0, None, "", NOW, 0))
    parent.status.features["kl_path"] = 5.0
    child = stage("0-0", start=CheckpointRef(node=parent.name, step=20))
    child = heard(begun(child), *history())  # from .1 to .2 again: a step back after .2
    found = finish(search(), child, 0, None, "", NOW, 1, parent).features
    alone = finish(search(), child, 0, None, "", NOW, 1).features
    assert found["eval_gain"] == pytest.approx(0.0, abs=1e-9)
    assert alone["eval_gain"] == pytest.approx(0.1)
    lower = search(objective={"metric": "eval/accuracy", "direction": "minimize"})
    assert finish(lower, child, 0, None, "", NOW, 1).features["eval_gain"] == pytest.approx(-0.1)


CODES = st.sampled_from([None, *(int(c) for c in ExitCode), 1, 2, 137, -9, 143])
STOPS = st.sampled_from([None, "CurveBelowBest", "UserRequest", "SearchEnded", "Suspended"])


@given(st.lists(st.tuples(CODES, STOPS, st.booleans()), min_size=1, max_size=60))
def test_every_stage_is_pending_or_final_and_fits_its_schema(ends: list[Any]) -> None:
    node = stage()
    for attempt, (code, stop, speaks) in enumerate(ends, 1):
        node = begun(node, attempt)
        if speaks:
            node = heard(node, *history(attempt, last=10))
        if stop:
            node = stopped(node, stop)
        node = ended(node, code)
        status = StageStatus.model_validate(node.status.dump())
        assert status.phase is Phase.PENDING or status.phase.final
        assert status.phase.final == (status.sequence is not None) == (status.outcome is not None)
        if status.phase.final:
            return
        assert status.failed_attempts < 3


# -- silence ----------------------------------------------------------------------------------


def test_silence_has_a_deadline_before_and_after_the_first_record() -> None:
    limits = search(stage={"steps": 40, "silenceSeconds": 60, "startSeconds": 300})
    node = begun(stage())
    assert silent(limits, node, NOW + timedelta(seconds=300)) is None
    assert "startSeconds" in (silent(limits, node, NOW + timedelta(seconds=301)) or "")
    node = heard(node, *history())
    assert silent(limits, node, NOW + timedelta(seconds=60)) is None
    assert "silenceSeconds" in (silent(limits, node, NOW + timedelta(seconds=61)) or "")


# -- columns ----------------------------------------------------------------------------------


def test_kubectls_columns_show_the_tree_and_what_changed() -> None:
    changes = [
        Change(name="learning_rate", old=3e-5, new=1.23456e-5),
        Change(name="max_completion_length", old=6, new=8),
    ]
    status = begun(stage("0-2-1", changes=changes)).status
    assert (status.tree, status.depth) == ("    └ 0-2-1", 3)
    assert status.changed == "learning_rate 3e-05→1.235e-05, max_completion_length 6→8"
    assert begun(stage("0")).status.tree == "0"
    long = [Change(name="x" * 63, old="y" * 60, new="z" * 60)] * 4
    assert len(begun(stage("0", changes=long)).status.changed) <= 255
