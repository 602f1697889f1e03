"""The life of one stage, as pure functions of its object: both engines report through here.

An attempt begins, is heard, and ends; each step yields the stage's next status. Nothing here
reads a clock or does I/O.
"""

from datetime import datetime, timedelta

from llmzero.api.contract import (
    AttemptRecord,
    CheckpointRecord,
    EvalRecord,
    ExitCode,
    Record,
    ResultRecord,
    StepRecord,
)
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import (
    Attempt,
    Cost,
    Outcome,
    Phase,
    Purpose,
    Result,
    StageNode,
    StageStatus,
    StopDecision,
)
from llmzero.dynamics import diagnose
from llmzero.dynamics.curve import CurveBuilder
from llmzero.search.request import grpo_settings

FAILED_FLOOR = 0.25
"""Least charge of a failed stage, in full stages: a free failure let a toy search run for ever."""
UNCOUNTED_LIMIT = 20
"""Attempts in all, preempted ones included, after which a stage is Failed."""
KEPT_ATTEMPTS = 8
KEPT_CHECKPOINTS = 64

_FINAL: dict[int, tuple[Outcome, str]] = {
    ExitCode.INVALID_REQUEST: (Outcome.FAILED, "InvalidRequest"),
    ExitCode.REWARD_FAILED: (Outcome.FAILED, "RewardFailed"),
    ExitCode.OUT_OF_MEMORY: (Outcome.OUT_OF_MEMORY, "OutOfMemory"),
    ExitCode.DIVERGED: (Outcome.DIVERGED, "Diverged"),
}
"""Exit codes that another attempt would only repeat."""


def begin(node: StageNode, attempt: int, now: datetime) -> StageStatus:
    """The attempt is about to start; stored before its process or Job is made."""
    status = node.status
    attempts = [a for a in status.attempts if a.number != attempt]
    attempts.append(Attempt(number=attempt, started_at=now))
    return status.with_(
        phase=Phase.QUEUED,
        attempts=attempts[-KEPT_ATTEMPTS:],
        attempt_count=max(status.attempt_count, attempt),
        last_seq=0,
        last_heard_at=None,
        started_at=status.started_at or now,
        stop=None,
        message="",
    )


def request_stop(node: StageNode, stop: StopDecision) -> StageStatus:
    """The decision to stop, stored before the attempt is told."""
    return node.status.with_(phase=Phase.STOPPING, stop=stop, message=stop.message)


def silent(search: TrainingSearch, node: StageNode, now: datetime) -> str | None:
    """Why a started attempt counts as dead, or None. Queued time of a cluster is not counted:
    an engine calls this only once the process is known to run."""
    status, plan = node.status, search.spec.stage
    if status.last_heard_at is not None:
        limit = timedelta(seconds=plan.silence_seconds)
        if now - status.last_heard_at > limit:
            return f"no record for {plan.silence_seconds} s (spec.stage.silenceSeconds)"
        return None
    started = status.attempts[-1].started_at if status.attempts else None
    if started is not None and now - started > timedelta(seconds=plan.start_seconds):
        return f"no first record within {plan.start_seconds} s (spec.stage.startSeconds)"
    return None


class StageObserver:
    """Takes in a stage's records, in any order and any number of times, and yields its status.

    A trainer prints the stored records of earlier attempts again, so an observer that joins late
    or anew misses nothing. Records are told apart by ``(attempt, seq)``.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._curve = CurveBuilder()
        self._checkpoints: set[int] = set()
        self._step = 0
        self._train_tokens: dict[int, int] = {}
        self._eval_tokens = 0
        self._newest = (0, 0)
        self._running_attempt = 0
        self._halvings = 0
        self.result: ResultRecord | None = None

    def take(self, record: Record) -> bool:
        """Takes one record in; False where it was known already."""
        key = (record.attempt, record.seq)
        if key in self._seen:
            return False
        self._seen.add(key)
        self._newest = max(self._newest, key)
        self._curve.add(record)
        match record:
            case AttemptRecord():
                self._running_attempt = max(self._running_attempt, record.attempt)
                self._halvings = record.micro_batch_halvings
            case StepRecord():
                self._step = max(self._step, record.step)
                self._train_tokens[record.step] = record.tokens
            case EvalRecord():
                self._eval_tokens += record.tokens
            case CheckpointRecord():
                self._checkpoints.add(record.step)
            case ResultRecord():
                if self.result is None or record.attempt >= self.result.attempt:
                    self.result = record
        return True

    def status(self, node: StageNode, now: datetime) -> StageStatus:
        """The stage's status with everything taken in so far."""
        status = node.status
        attempt, seq = self._newest
        heard = self._running_attempt >= status.attempt_count and status.attempt_count > 0
        phase = status.phase
        if heard and phase in (Phase.PENDING, Phase.QUEUED):
            phase = Phase.RUNNING
        checkpoints = sorted(self._checkpoints or status.checkpoints)[-KEPT_CHECKPOINTS:]
        cost = status.cost.with_(
            train_tokens=max(status.cost.train_tokens, sum(self._train_tokens.values())),
            eval_tokens=max(status.cost.eval_tokens, self._eval_tokens),
        )
        return status.with_(
            phase=phase,
            step=max(status.step, self._step),
            last_seq=seq if attempt == status.attempt_count else status.last_seq,
            last_heard_at=now if heard else status.last_heard_at,
            curve=self._curve.curve(),
            checkpoints=checkpoints,
            cost=cost,
            micro_batch_halvings=max(status.micro_batch_halvings, self._halvings),
        )


def finish(
    search: TrainingSearch,
    node: StageNode,
    exit_code: int | None,
    result: ResultRecord | None,
    message: str,
    now: datetime,
    next_sequence: int,
    parent: StageNode | None = None,
) -> StageStatus:
    """The attempt ended: the stage is final, or goes back to Pending for another attempt.

    ``exit_code`` is None where nobody could tell (a node was lost); then ``result`` decides.
    ``node.status`` must have taken in the attempt's records (:class:`StageObserver`).
    ``next_sequence`` becomes the stage's place in the order of completions if it is final.
    """
    if exit_code is None and result is not None:
        exit_code = result.exit_code
    status = node.status
    stop = status.stop
    text = (result.message if result and result.message else message)[:1024]
    if exit_code == ExitCode.DONE:
        if _has_result(node, result):
            outcome, phase, reason = Outcome.SUCCEEDED, Phase.SUCCEEDED, "Succeeded"
        else:
            outcome, phase, reason = Outcome.FAILED, Phase.FAILED, "ResultMissing"
            text = text or "the trainer ended well but left no readable result"
    elif exit_code in _FINAL:
        outcome, reason = _FINAL[exit_code]
        phase = Phase.FAILED
    elif stop is not None and stop.reason in ("CurveBelowBest", "UserRequest", "SearchEnded"):
        early = stop.reason != "SearchEnded"
        outcome = Outcome.EARLY_STOPPED if early else Outcome.INTERRUPTED
        phase, reason, text = Phase.STOPPED, stop.reason, stop.message
    else:
        return _retry(search, node, exit_code, result, text, now, next_sequence, parent)
    return _final(search, node, phase, outcome, reason, text, result, now, next_sequence, parent)


def _retry(
    search: TrainingSearch,
    node: StageNode,
    exit_code: int | None,
    result: ResultRecord | None,
    text: str,
    now: datetime,
    next_sequence: int,
    parent: StageNode | None,
) -> StageStatus:
    """Infrastructure ended the attempt: try again, unless there were too many."""
    status = node.status
    told = status.stop is not None
    counted = exit_code not in (None, ExitCode.INTERRUPTED, ExitCode.FENCED) and not told
    if status.stop is not None and status.stop.reason == "Silent":
        counted = True
    reason = _crash_reason(exit_code, result) if not told else status.stop.reason  # type: ignore[union-attr]
    ended = _close(
        status, Outcome.INTERRUPTED if not counted else Outcome.FAILED, reason, text, now, counted
    )
    tried = [a for a in ended.attempts if a.counted]
    out_of_attempts = counted and len(tried) >= search.spec.budget.attempts
    if out_of_attempts or status.attempt_count >= UNCOUNTED_LIMIT:
        text = f"gave up after {status.attempt_count} attempts; the last one: {text or reason}"
        return _final(
            search,
            node,
            Phase.FAILED,
            Outcome.FAILED,
            reason,
            text,
            result,
            now,
            next_sequence,
            parent,
        )
    return ended.with_(
        phase=Phase.PENDING, stop=None, reason=reason, message=text, last_heard_at=None
    )


def _crash_reason(exit_code: int | None, result: ResultRecord | None) -> str:
    if result is not None and result.reason:
        return result.reason
    named = {
        None: "Lost",
        ExitCode.STORAGE: "Storage",
        ExitCode.INTERRUPTED: "Interrupted",
        ExitCode.FENCED: "Fenced",
        137: "Killed",
        -9: "Killed",
    }
    return named.get(exit_code, f"ExitCode{exit_code}".replace("-", "Minus"))


def _has_result(node: StageNode, result: ResultRecord | None) -> bool:
    return bool(node.status.curve.scores) or (result is not None and result.value is not None)


def _final(
    search: TrainingSearch,
    node: StageNode,
    phase: Phase,
    outcome: Outcome,
    reason: str,
    text: str,
    result: ResultRecord | None,
    now: datetime,
    next_sequence: int,
    parent: StageNode | None,
) -> StageStatus:
    status = _close(node.status, outcome, reason, text, now, counted=True)
    features, pathologies = diagnose(
        status.curve,
        grpo_settings(search.spec, node.spec.parameters),
        outcome,
        parent_features=parent.status.features if parent else None,
    )
    return status.with_(
        phase=phase,
        outcome=outcome,
        reason=reason,
        message=text[:2048],
        sequence=status.sequence if status.sequence is not None else next_sequence,
        finished_at=now,
        result=_result(node, result),
        features=features,
        pathologies=pathologies,
        cost=_cost(search, node, result, phase, now),
        micro_batch_halvings=max(
            status.micro_batch_halvings, result.micro_batch_halvings if result else 0
        ),
    )


def _close(
    status: StageStatus, outcome: Outcome, reason: str, text: str, now: datetime, counted: bool
) -> StageStatus:
    if not status.attempts:
        return status
    last = status.attempts[-1].with_(
        finished_at=now, outcome=outcome, reason=reason[:128], message=text[:1024], counted=counted
    )
    return status.with_(attempts=[*status.attempts[:-1], last])


def _result(node: StageNode, result: ResultRecord | None) -> Result | None:
    """The last evaluation; the curve's own where it has one, else the result record's."""
    split = {Purpose.TRAIN: "search", Purpose.PROMOTE: "promote", Purpose.HELD_OUT: "heldOut"}[
        node.spec.purpose
    ]
    if node.status.curve.scores:
        score = node.status.curve.scores[-1]
        return Result(
            value=score.value,
            standard_error=score.standard_error,
            questions=score.questions,
            step=score.step,
            split=split,
        )
    if result is not None and result.value is not None:
        return Result(
            value=result.value,
            standard_error=result.standard_error or 0.0,
            questions=result.questions or 1,
            step=result.step,
            split=split,
        )
    return None


def _cost(
    search: TrainingSearch,
    node: StageNode,
    result: ResultRecord | None,
    phase: Phase,
    now: datetime,
) -> Cost:
    """Steps that ran in full stages' worth, with a floor for failures; evaluations charge none."""
    status, cost = node.status, node.status.cost
    step = max(status.step, result.step if result else 0)
    stages = step / search.spec.stage.steps if node.spec.purpose is Purpose.TRAIN else 0.0
    if phase is Phase.FAILED and node.spec.purpose is Purpose.TRAIN:
        stages = max(stages, min(FAILED_FLOOR, node.spec.steps / search.spec.stage.steps))
    seconds = result.device_seconds if result else 0.0
    if not seconds and status.started_at is not None:
        seconds = (now - status.started_at).total_seconds()
    return cost.with_(
        stages=stages,
        device_seconds=max(cost.device_seconds, seconds),
        train_tokens=max(cost.train_tokens, result.train_tokens if result else 0),
        eval_tokens=max(cost.eval_tokens, result.eval_tokens if result else 0),
    )
