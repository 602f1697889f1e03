"""What is heard of a stage while it runs: records in, the stage's next status out."""

from collections import defaultdict
from datetime import datetime

from llmzero.api.contract import (
    AttemptRecord,
    CheckpointRecord,
    EvalRecord,
    Record,
    ResultRecord,
    StepRecord,
    Volume,
)
from llmzero.api.proposals import Sample
from llmzero.api.stage import Phase, StageNode, StageStatus
from llmzero.dynamics.curve import CurveBuilder
from llmzero.search.room import latest, told

KEPT_CHECKPOINTS = 64


class StageObserver:
    """Takes in a stage's records, in any order and any number of times, and yields its status.

    A trainer prints the stored records of earlier attempts again, so an observer that joins late
    or anew misses nothing. Records are told apart by ``(attempt, seq)``.
    """

    def __init__(self) -> None:
        self._heard: dict[int, _Attempt] = defaultdict(_Attempt)
        self._curve = CurveBuilder()
        self._checkpoints: set[int] = set()
        self._samples: tuple[int, int, list[Sample]] = (0, 0, [])
        """Step and attempt that they are from."""
        self._step = 0
        self._train_tokens = 0
        self._eval_tokens = 0
        self._started = 0
        self._halvings = 0
        self._volume: Volume | None = None
        self.result: ResultRecord | None = None

    def take(self, record: Record) -> bool:
        """Takes one record in; False where it was known already."""
        if not self._heard[record.attempt].is_new(record):
            return False
        self._curve.add(record)
        self._volume = latest([self._volume, told(record)])
        match record:
            case AttemptRecord():
                if record.attempt > self._started:
                    self._started = record.attempt
                    self._halvings = record.micro_batch_halvings
            case StepRecord():
                self._step = max(self._step, record.step)
                self._train_tokens += record.tokens
            case EvalRecord():
                self._eval_tokens += record.tokens
                from_ = (record.score.step, record.attempt)
                if record.samples and from_ >= self._samples[:2]:
                    self._samples = (*from_, record.samples)
            case CheckpointRecord():
                self._checkpoints.add(record.step)
            case ResultRecord():
                if self.result is None or record.attempt >= self.result.attempt:
                    self.result = record
        return True

    def status(self, node: StageNode, now: datetime) -> StageStatus:
        """The stage's status with everything taken in so far; ``now``: when it was heard."""
        status = node.status
        current = status.attempt_count
        heard = 0 < current <= self._started
        starts = heard and status.phase in (Phase.PENDING, Phase.QUEUED)
        checkpoints = sorted(self._checkpoints or status.checkpoints)[-KEPT_CHECKPOINTS:]
        seconds = sum(a.seconds for a in self._heard.values())
        return status.with_(
            phase=Phase.RUNNING if starts else status.phase,
            step=max(status.step, self._step),
            last_seq=self._heard[current].last if current in self._heard else status.last_seq,
            last_heard_at=now if heard else status.last_heard_at,
            curve=self._curve.curve(),
            samples=self._samples[2] or status.samples,
            checkpoints=checkpoints,
            volume=latest([status.volume, self._volume]),
            cost=status.cost.with_(
                device_seconds=max(status.cost.device_seconds, seconds),
                train_tokens=max(status.cost.train_tokens, self._train_tokens),
                eval_tokens=max(status.cost.eval_tokens, self._eval_tokens),
            ),
            micro_batch_halvings=max(status.micro_batch_halvings, self._halvings),
        )


class _Attempt:
    """Which records of one attempt are known, and from when to when it was heard."""

    def __init__(self) -> None:
        self._whole = 0
        self._beyond: set[int] = set()
        self._times: tuple[float, float] | None = None

    @property
    def last(self) -> int:
        """Largest number heard."""
        return max(self._beyond, default=self._whole)

    @property
    def seconds(self) -> float:
        """From the first record to the last: a device was held at least so long."""
        return self._times[1] - self._times[0] if self._times else 0.0

    def is_new(self, record: Record) -> bool:
        """Whether the record is the first of its number; it is remembered."""
        seq = record.seq
        if seq <= self._whole or seq in self._beyond:
            return False
        self._beyond.add(seq)
        while self._whole + 1 in self._beyond:
            self._whole += 1
            self._beyond.remove(self._whole)
        first, last = self._times or (record.time, record.time)
        self._times = (min(first, record.time), max(last, record.time))
        return True
