"""From a stage's records to a bounded curve: 48 points, at most 8 KB of JSON.

A point is the mean over a run of ``width`` steps; the width is the smallest power of two that
needs at most 48 points. So the curve is a function of the records alone, whatever their order and
however often it was read.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from llmzero.api.contract import EvalRecord, Record, StepRecord
from llmzero.api.curve import CURVE_BYTES, CURVE_METRICS, CURVE_POINTS, GRAD_NORM_MAX, Curve, Score

LARGEST_STEP = 1_000_000
"""spec.stage.steps allows no more; a record beyond it is not believed."""
_KEPT_SCORES = 64
_GRAD_NORM = CURVE_METRICS.index("grad_norm")
_DIGITS = 5
"""Significant digits of a point; 3 where the curve would otherwise be too large."""
_FEW_DIGITS = 3

_LESS: tuple[dict[str, Any], ...] = ({"per_question": ""}, {"metrics": {}})
"""What an evaluation can be without, first to go first."""

Point = tuple[int, list[float | None]]


class CurveBuilder:
    """Takes step and evaluation records in any order and yields the curve.

    A later attempt wins: from its first step on, what earlier attempts said is forgotten (it
    resumed from a checkpoint before that). 104 bytes a step, O(1) a record; reading the curve
    costs no more at 10^5 steps than at 100.
    """

    def __init__(self) -> None:
        self._values: npt.NDArray[np.float64] = np.full((0, len(CURVE_METRICS)), np.nan)
        self._attempts: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._scores: dict[int, tuple[int, Score]] = {}
        self._first: dict[int, int] = {}
        self._last = 0
        self._width = 1
        self._points: dict[int, Point | None] = {}

    def add(self, record: Record) -> None:
        """Takes a record in; kinds that carry no curve are ignored."""
        if isinstance(record, StepRecord):
            self._add_step(record)
        elif isinstance(record, EvalRecord):
            step, attempt = record.score.step, record.attempt
            known = self._scores.get(step, (0, None))[0]
            if known <= attempt and not self._superseded(step, attempt):
                self._scores[step] = (attempt, record.score)

    def _add_step(self, record: StepRecord) -> None:
        step, attempt = record.step, record.attempt
        if step > LARGEST_STEP:
            return
        if step < self._first.get(attempt, LARGEST_STEP + 1):
            self._first[attempt] = step
            self._forget(step, attempt)
        if self._superseded(step, attempt):
            return
        self._reserve(step)
        if self._attempts[step] > attempt:
            return
        self._attempts[step] = attempt
        row = [record.metrics.get(name) for name in CURVE_METRICS]
        self._values[step] = [math.nan if v is None else v for v in row]
        self._last = max(self._last, step)
        self._points.pop((step - 1) // self._width, None)

    def _superseded(self, step: int, attempt: int) -> bool:
        return any(a > attempt and first <= step for a, first in self._first.items())

    def _forget(self, step: int, attempt: int) -> None:
        """Earlier attempts' steps and scores from ``step`` on."""
        old = np.flatnonzero((self._attempts[step:] > 0) & (self._attempts[step:] < attempt))
        if len(old):
            self._attempts[step + old] = 0
            self._points.clear()
            left = np.flatnonzero(self._attempts)
            self._last = int(left[-1]) if len(left) else 0
        for at in [s for s, (a, _) in self._scores.items() if s >= step and a < attempt]:
            del self._scores[at]

    def _reserve(self, step: int) -> None:
        missing = max(step + 1, 2 * len(self._attempts)) - len(self._attempts)
        if step >= len(self._attempts):
            more = np.full((missing, len(CURVE_METRICS)), np.nan)
            self._values = np.concatenate([self._values, more])
            self._attempts = np.concatenate([self._attempts, np.zeros(missing, dtype=np.int32)])

    def curve(self) -> Curve:
        """The curve so far, within CURVE_POINTS points and CURVE_BYTES bytes of JSON."""
        width = 1
        while width * CURVE_POINTS < self._last:
            width *= 2
        if width != self._width:
            self._width, self._points = width, {}
        points: list[Point] = []
        for index in range(-(-self._last // width)):
            if index not in self._points:
                self._points[index] = self._point(index * width + 1, (index + 1) * width + 1)
            point = self._points[index]
            if point is not None:
                points.append(point)
        scores = [self._scores[s][1] for s in sorted(self._scores)][-_KEPT_SCORES:]
        return _fit([s for s, _ in points], [v for _, v in points], scores, width > 1)

    def _point(self, begin: int, end: int) -> Point | None:
        """Last step, mean of each metric and largest grad_norm over steps begin..end-1."""
        present = np.flatnonzero(self._attempts[begin:end])
        if not len(present):
            return None
        rows = self._values[begin + present]
        finite = np.isfinite(rows)
        counts = finite.sum(axis=0)
        with np.errstate(over="ignore"):
            means = np.where(finite, rows, 0.0).sum(axis=0) / np.maximum(counts, 1)
        largest = rows[finite[:, _GRAD_NORM], _GRAD_NORM].max(initial=-math.inf)
        columns = [*np.where(counts > 0, means, math.nan).tolist(), float(largest)]
        return int(begin + present[-1]), [v if math.isfinite(v) else None for v in columns]


def _columns(
    values: list[list[float | None]], digits: int, largest: bool
) -> dict[str, list[float | None]]:
    """Metric name to its rounded column; a metric that was never logged is left out."""
    names = [*CURVE_METRICS, *([GRAD_NORM_MAX] if largest else [])]
    columns: dict[str, list[float | None]] = {}
    for place, name in enumerate(names):
        column = [_rounded(row[place], digits) for row in values]
        if any(v is not None for v in column):
            columns[name] = column
    return columns


def _rounded(value: float | None, digits: int) -> float | None:
    """Some significant digits; None where the rounding left the range of floats."""
    rounded = math.nan if value is None else float(f"{value:.{digits}g}")
    return rounded if math.isfinite(rounded) else None


def _fit(
    steps: list[int], values: list[list[float | None]], scores: list[Score], largest: bool
) -> Curve:
    """Within CURVE_BYTES. First digits of the points go, then per-question answers, oldest first
    (the last ones stay as long as they can: pairs are made of them), then means beside the
    objective, then every second of the old evaluations."""
    curve = Curve(steps=steps, metrics=_columns(values, _DIGITS, largest), scores=scores)
    if _size(curve) <= CURVE_BYTES:
        return curve
    curve = curve.with_(metrics=_columns(values, _FEW_DIGITS, largest))
    scores = list(scores)
    excess = _size(curve) - CURVE_BYTES
    for part in _LESS:
        for i, score in enumerate(scores[:-1]):
            if excess <= 0:
                break
            scores[i] = score.with_(**part)
            excess -= _size(score) - _size(scores[i])
    while excess > 0 and len(scores) > 1:
        scores = [*scores[: len(scores) - 2 : 2], scores[-1]]
        excess = _size(curve.with_(scores=scores)) - CURVE_BYTES
    for part in _LESS:
        if excess > 0 and scores:
            scores = [scores[-1].with_(**part)]
            excess = _size(curve.with_(scores=scores)) - CURVE_BYTES
    return curve.with_(scores=scores)


def _size(part: Curve | Score) -> int:
    return len(part.model_dump_json(by_alias=True, exclude_none=True).encode())
