"""Records out: one JSON line each on stdout, the same line in records.jsonl.

stdout stays below 8 MiB with everything that was said by earlier attempts (the kubelet rotates a
container's log at 10 MiB, and only the current file can be read again): step records are thinned
out when the rest of the stage would not fit. The file keeps all of them.
"""

import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from llmzero.api.contract import (
    ATTEMPT_ENV,
    LINE_BYTES,
    OUTPUT_BYTES,
    TERMINATION_BYTES,
    TERMINATION_ENV,
    AttemptRecord,
    CheckpointRecord,
    EvalRecord,
    Record,
    ResultRecord,
    StepRecord,
    VolumeSpace,
)
from llmzero.api.curve import CURVE_METRICS, Score
from llmzero.api.proposals import Sample
from llmzero_trainer.directory import StageDirectory, write_whole
from llmzero_trainer.errors import StageError, from_os_error, storage
from llmzero_trainer.volume import space

RESERVE_BYTES = 1024 * 1024
"""Part of the output that step records leave to evaluations, checkpoints and the result."""
FENCE_SECONDS = 1.0
"""Step records look at the fence at most so often."""


@dataclass
class Totals:
    """What the stage used, over all attempts."""

    device_seconds: float = 0.0
    train_tokens: int = 0
    eval_tokens: int = 0


class Emitter:
    """Says records of one attempt, in order. Safe to call from a second thread."""

    def __init__(self, stream: TextIO, directory: StageDirectory, started: float) -> None:
        self._stream: TextIO | None = stream
        self._directory = directory
        self._started = started
        self._lock = threading.RLock()
        self._seq = 0
        self._bytes = 0
        self._steps_left = 1
        self._mean = 1024.0
        self._fence_seen = 0.0
        self.totals = Totals()
        self.halvings = 0
        self.checkpoints: set[int] = set()
        self.scores: dict[tuple[str, int], Score] = {}

    def replay(self, shares: int = 2) -> None:
        """Say again what is stored; step records within one of ``shares`` of the output."""
        stored = list(self._directory.lines())
        steps = sum(len(line) + 1 for line, record in stored if record.type == "step")
        stride = max(1, math.ceil(steps / ((OUTPUT_BYTES - RESERVE_BYTES) / shares)))
        for line, record in stored:
            if record.type != "step" or record.step % stride == 0:
                self._say(line)
            if record.type == "eval":
                self.scores[record.split, record.score.step] = record.score
            if record.type == "checkpoint":
                self.checkpoints.add(record.step)
            if record.type == "attempt":
                self.halvings = record.micro_batch_halvings
            if record.attempt == self._directory.attempt:
                self._seq = max(self._seq, record.seq)
        self.totals = _totals([record for _, record in stored])

    def expect(self, steps: int) -> None:
        """How many step records may still come."""
        self._steps_left = max(1, steps)

    def attempt(
        self, *, resumed_from: int | None, device: str, halvings: int, versions: dict[str, str]
    ) -> None:
        self._emit(
            AttemptRecord(
                **self._head(),
                resumed_from=resumed_from,
                device=device,
                micro_batch_halvings=halvings,
                versions=versions,
                volume=space(self._directory.path),
            )
        )

    def step(self, step: int, metrics: Mapping[str, float | None], tokens: int) -> None:
        clean = {name: _number(value) for name, value in metrics.items()}
        self.totals.train_tokens += tokens
        self._emit(StepRecord(**self._head(), step=step, metrics=clean, tokens=tokens))

    def evaluation(
        self,
        split: str,
        score: Score,
        tokens: int,
        seconds: float,
        samples: Sequence[Sample] = (),
    ) -> None:
        self.scores[split, score.step] = score
        self.totals.eval_tokens += tokens
        record: dict[str, Any] = {"split": split, "score": score, "tokens": tokens}
        record["samples"] = list(samples)
        self._emit(EvalRecord(**self._head(), **record, seconds=round(seconds, 3)))

    def checkpoint(self, step: int, size: int) -> None:
        self.checkpoints.add(step)
        room = space(self._directory.path)
        self._emit(CheckpointRecord(**self._head(), step=step, bytes=size, volume=room))

    def result(
        self,
        code: int,
        *,
        reason: str = "",
        message: str = "",
        step: int = 0,
        score: Score | None = None,
        halvings: int = 0,
        final: bool = False,
    ) -> ResultRecord:
        """The last record, also stored as result.json where the stage is over for good."""
        record = ResultRecord(
            **self._head(),
            exit_code=code,
            reason=reason,
            message=_cut(message, 512),
            step=step,
            value=score.value if score else None,
            standard_error=score.standard_error if score else None,
            questions=score.questions if score else None,
            device_seconds=round(self.totals.device_seconds + time.time() - self._started, 3),
            train_tokens=self.totals.train_tokens,
            eval_tokens=self.totals.eval_tokens,
            micro_batch_halvings=halvings,
            volume=space(self._directory.path),
        )
        if final:
            self._directory.check_fence()
            path = self._directory.path / "result.json"
            try:
                write_whole(path, _line(record) + "\n")
            except OSError as error:
                raise from_os_error(error, path) or storage(f"{path}: {error}") from error
        self._emit(record)
        say_termination(record)
        return record

    def _head(self) -> dict[str, Any]:
        with self._lock:
            self._seq += 1
            return {"attempt": self._directory.attempt, "seq": self._seq, "time": time.time()}

    def _emit(self, record: Record) -> None:
        line = _line(record)
        with self._lock:
            ending = record.type == "result"
            if not ending:
                self._check_fence(record)
            self._store(line, ending)
            if record.type == "step" and self._thin(line, record.step):
                return
            self._say(line)

    def _check_fence(self, record: Record) -> None:
        now = time.monotonic()
        if record.type != "step" or now - self._fence_seen >= FENCE_SECONDS:
            self._directory.check_fence()
            self._fence_seen = now

    def _store(self, line: str, ending: bool) -> None:
        path = self._directory.path / "records.jsonl"
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                data = (("\n" if torn else "") + line + "\n").encode()
                while data:  # a nearly full volume takes a part, and refuses only the next one
                    data = data[os.write(handle, data) :]
            finally:
                os.close(handle)
        except OSError as error:
            if ending:
                return  # the result still goes to stdout and says why
            raise from_os_error(error, path) or storage(f"{path}: {error}") from error

    def _thin(self, line: str, step: int) -> bool:
        """Whether to keep this step record off stdout."""
        self._mean += 0.05 * (len(line) + 1 - self._mean)
        room = OUTPUT_BYTES - RESERVE_BYTES - LINE_BYTES - self._bytes
        left = self._steps_left
        self._steps_left = max(1, left - 1)
        if room <= len(line):
            return True
        return step % max(1, math.ceil(self._mean * left / room)) != 0

    def _say(self, line: str) -> None:
        if self._stream is None or self._bytes + len(line) > OUTPUT_BYTES:
            return
        self._bytes += len(line) + 1
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._stream = None  # the reader is gone; the file has everything


def say_refusal(out: TextIO, problem: StageError, volume: VolumeSpace | None = None) -> None:
    """The result of an attempt that could not even open its directory: said, not stored."""
    attempt = os.environ.get(ATTEMPT_ENV, "1")
    record = ResultRecord(
        attempt=int(attempt) if attempt.isdigit() and int(attempt) else 1,
        seq=1,
        time=time.time(),
        exit_code=problem.code,
        reason=problem.reason,
        message=_cut(problem.message, 512),
        volume=volume,
    )
    out.write(_line(record) + "\n")
    out.flush()
    say_termination(record)


def say_termination(record: ResultRecord) -> None:
    """The compact result to the termination log, at most 1 KiB."""
    path = os.environ.get(TERMINATION_ENV) or "/dev/termination-log"
    if TERMINATION_ENV not in os.environ and not Path(path).exists():
        return
    text = record.model_dump_json(by_alias=True, exclude_none=True)
    over = len(text.encode()) - TERMINATION_BYTES
    if over > 0:
        short = _cut(record.message, max(0, len(record.message) - over - 8))
        text = record.with_(message=short).model_dump_json(by_alias=True, exclude_none=True)
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text[:TERMINATION_BYTES])
    except OSError:
        return  # stdout has it, too


def _line(record: Record) -> str:
    """JSON of a record, cut to the line limit: first the metrics that no curve keeps."""
    line = record.model_dump_json(by_alias=True, exclude_none=True)
    if len(line.encode()) < LINE_BYTES:
        return line
    if isinstance(record, StepRecord):
        kept = {k: v for k, v in record.metrics.items() if k in CURVE_METRICS}
        record = record.with_(metrics=kept)
    elif isinstance(record, EvalRecord):
        kept_means = dict(list(record.score.metrics.items())[:32])
        record = record.with_(score=record.score.with_(metrics=kept_means), samples=[])
    return record.model_dump_json(by_alias=True, exclude_none=True)


def _number(value: Any) -> float | None:
    """Seven digits are more than float32 holds; what is not finite is null."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.7g}")


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: max(0, size - 1)] + "…"


def _totals(records: list[Record]) -> Totals:
    """Sums over stored records; an attempt lasted from its first record to its last."""
    totals = Totals()
    spans: dict[int, tuple[float, float]] = {}
    for record in records:
        first, last = spans.get(record.attempt, (record.time, record.time))
        spans[record.attempt] = (min(first, record.time), max(last, record.time))
        if record.type == "step":
            totals.train_tokens += record.tokens
        elif record.type == "eval":
            totals.eval_tokens += record.tokens
    totals.device_seconds = sum(last - first for first, last in spans.values())
    return totals
