"""The life of one stage, as pure functions of its object: both engines report through here.

An attempt begins, is heard, and ends; each step yields the stage's next status. Nothing here
reads a clock or does I/O.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from llmzero.api.contract import STORAGE_FULL, ExitCode, ResultRecord
from llmzero.api.names import depth
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import (
    Attempt,
    Outcome,
    Phase,
    StageNode,
    StageStatus,
    StopDecision,
)
from llmzero.dynamics import diagnose
from llmzero.search.observer import StageObserver
from llmzero.search.request import grpo_settings
from llmzero.search.result import cost_of, result_of, started_from
from llmzero.search.room import latest, told

__all__ = ["StageObserver", "begin", "finish", "request_stop", "silent"]

UNCOUNTED_LIMIT = 20
"""Attempts in a row that were preempted before a new checkpoint; then a stage is Failed."""
KEPT_ATTEMPTS = 8

_ENDS = {
    "CurveBelowBest": Outcome.EARLY_STOPPED,
    "AgentRequest": Outcome.EARLY_STOPPED,
    "UserRequest": Outcome.EARLY_STOPPED,
    "SearchEnded": Outcome.INTERRUPTED,
}
"""Reasons to stop that end a stage, with the outcome."""
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
    checkpoint = max(status.checkpoints, default=0)
    attempts.append(Attempt(number=attempt, started_at=now, checkpoint=checkpoint))
    return columns(node).with_(
        phase=Phase.QUEUED,
        attempts=attempts[-KEPT_ATTEMPTS:],
        attempt_count=max(status.attempt_count, attempt),
        last_seq=0,
        last_heard_at=None,
        started_at=status.started_at or now,
        stop=None,
        reason="",
        message="",
    )


def columns(node: StageNode) -> StageStatus:
    """The status with what kubectl's columns show of the spec."""
    spec = node.spec
    level = depth(spec.path)
    changed = ", ".join(f"{c.name} {_short(c.old)}→{_short(c.new)}" for c in spec.changes)
    return node.status.with_(
        tree=(f"{'  ' * (level - 1)}└ {spec.path}" if level > 1 else spec.path)[:255],
        depth=level,
        changed=changed if len(changed) <= 255 else f"{changed[:254]}…",
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


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


def finish(
    search: TrainingSearch,
    node: StageNode,
    exit_code: int | None,
    result: ResultRecord | None,
    message: str,
    now: datetime,
    next_sequence: int,
    parent: StageNode | None = None,
    *,
    reason: str = "",
) -> StageStatus:
    """The attempt ended: the stage is final, or goes back to Pending for another attempt.

    ``exit_code`` is None where nobody could tell (a node was lost); then ``result`` decides.
    ``node.status`` must have taken in the attempt's records (:class:`StageObserver`).
    ``next_sequence`` becomes the stage's place in the order of completions if it is final.
    ``reason``: what the engine knows of a crash, in one word (OOMKilled).
    """
    if result is not None:
        room = latest([node.status.volume, told(result)])
        node = node.with_(status=node.status.with_(volume=room))
    status, stop = node.status, node.status.stop
    if result is not None and result.attempt < status.attempt_count and result.exit_code:
        result = None  # how an earlier attempt ended
    if exit_code is None and result is not None:
        exit_code = result.exit_code
    text = (result.message if result and result.message else message)[:1024]
    if exit_code == ExitCode.DONE:
        if result_of(node, result) is not None:
            end = _End(Phase.SUCCEEDED, Outcome.SUCCEEDED, "Succeeded", text)
        else:
            text = text or "the trainer ended well but left no readable result"
            end = _End(Phase.FAILED, Outcome.FAILED, "ResultMissing", text)
    elif exit_code in _FINAL:
        outcome, word = _FINAL[exit_code]
        end = _End(Phase.FAILED, outcome, word, text)
    elif stop is not None and stop.reason in _ENDS:
        end = _End(Phase.STOPPED, _ENDS[stop.reason], stop.reason, stop.message)
    else:
        ended = _interrupted(node, exit_code, result, text, now, reason)
        gave_up = _gave_up(search, ended)
        if not gave_up:
            return ended
        node = node.with_(status=ended)
        end = _End(Phase.FAILED, Outcome.FAILED, ended.reason, f"{gave_up}: {text or ended.reason}")
    return _final(search, node, end, result, now, next_sequence, parent)


@dataclass(frozen=True, slots=True)
class _End:
    phase: Phase
    outcome: Outcome
    reason: str
    message: str


def _interrupted(
    node: StageNode,
    exit_code: int | None,
    result: ResultRecord | None,
    text: str,
    now: datetime,
    reason: str,
) -> StageStatus:
    """Back to Pending. Counted: crashes and silence. Not counted: what others did to the stage
    (preemption, a lost node, a second pod, a full volume, a suspended search)."""
    status = node.status
    stop = status.stop.reason if status.stop is not None else None
    full = exit_code == ExitCode.STORAGE and result is not None and result.reason == STORAGE_FULL
    outside = full or exit_code in (None, ExitCode.INTERRUPTED, ExitCode.FENCED)
    counted = stop == "Silent" or (stop is None and not outside)
    why = stop or reason or (result.reason if result else "") or _crash(exit_code)
    begun_at = status.attempts[-1].checkpoint if status.attempts else 0
    progress = max(status.checkpoints, default=0) > begun_at
    lost = status.lost_attempts
    if progress or counted:
        lost = 0
    elif stop is None:
        lost += 1
    outcome = Outcome.FAILED if counted else Outcome.INTERRUPTED
    return _close(status, outcome, why, text, now, counted).with_(
        phase=Phase.PENDING,
        stop=None,
        reason=why[:128],
        message=text,
        last_heard_at=None,
        failed_attempts=status.failed_attempts + counted,
        lost_attempts=lost,
    )


def _gave_up(search: TrainingSearch, status: StageStatus) -> str:
    """Why there is no further attempt, or nothing."""
    if status.failed_attempts >= search.spec.budget.attempts:
        return f"{status.failed_attempts} attempts failed (spec.budget.attempts), the last one"
    if status.lost_attempts >= UNCOUNTED_LIMIT:
        how = "found the volume full" if status.reason == STORAGE_FULL else "were interrupted"
        return f"{status.lost_attempts} attempts in a row {how}, the last one"
    return ""


def _crash(exit_code: int | None) -> str:
    named = {
        None: "Lost",
        ExitCode.STORAGE: "Storage",
        ExitCode.INTERRUPTED: "Interrupted",
        ExitCode.FENCED: "Fenced",
        137: "Killed",
        -9: "Killed",
    }
    return named.get(exit_code, f"ExitCode{exit_code}".replace("-", "Minus"))


def _final(
    search: TrainingSearch,
    node: StageNode,
    end: _End,
    result: ResultRecord | None,
    now: datetime,
    next_sequence: int,
    parent: StageNode | None,
) -> StageStatus:
    status = _close(node.status, end.outcome, end.reason, end.message, now, counted=True)
    features, pathologies = diagnose(
        status.curve,
        grpo_settings(search.spec, node.spec.parameters),
        end.outcome,
        parent_features=parent.status.features if parent else None,
        direction=search.spec.objective.direction,
        start=started_from(node, parent),
        carried_reference=node.spec.carry_reference,
    )
    return status.with_(
        phase=end.phase,
        outcome=end.outcome,
        reason=end.reason,
        message=end.message[:2048],
        sequence=status.sequence if status.sequence is not None else next_sequence,
        finished_at=now,
        result=result_of(node, result),
        features=features,
        pathologies=pathologies,
        cost=cost_of(search, node, result, end.phase),
        micro_batch_halvings=max(
            status.micro_batch_halvings, result.micro_batch_halvings if result else 0
        ),
    )


def _close(
    status: StageStatus, outcome: Outcome, reason: str, text: str, now: datetime, counted: bool
) -> StageStatus:
    """The newest attempt with its end, unless that is written already."""
    if not status.attempts or status.attempts[-1].finished_at is not None:
        return status
    last = status.attempts[-1].with_(
        finished_at=now, outcome=outcome, reason=reason[:128], message=text[:1024], counted=counted
    )
    return status.with_(attempts=[*status.attempts[:-1], last])
