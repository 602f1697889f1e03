"""From a stage's records to a bounded curve: 48 points, eleven metrics, at most 8 KB of JSON."""

import math
from bisect import insort

from llmzero.api.contract import EvalRecord, Record, StepRecord
from llmzero.api.curve import CURVE_BYTES, CURVE_METRICS, CURVE_POINTS, Curve, Score

_KEPT_SCORES = 64


def _rounded(value: float) -> float | None:
    """Five significant digits; None where a sum or the rounding left the range of floats."""
    rounded = float(f"{value:.5g}")
    return rounded if math.isfinite(rounded) else None


class _Bins:
    """Means over equal runs of steps; a run doubles whenever more than CURVE_POINTS are filled.

    Memory is bounded whatever the number of steps, and the result does not depend on how often
    it was read. Steps of a later attempt replace those of an earlier one.
    """

    def __init__(self) -> None:
        self.width = 1
        self._bins: dict[int, tuple[int, int, dict[str, tuple[float, int]]]] = {}

    def add(self, step: int, metrics: dict[str, float | None]) -> None:
        while (step - 1) // self.width >= CURVE_POINTS:
            self._double()
        index = (step - 1) // self.width
        last, count, sums = self._bins.get(index, (0, 0, {}))
        for name in CURVE_METRICS:
            value = metrics.get(name)
            if value is None or not math.isfinite(value):
                continue
            total, number = sums.get(name, (0.0, 0))
            sums[name] = (total + value, number + 1)
        self._bins[index] = (max(last, step), count + 1, sums)

    def _double(self) -> None:
        merged: dict[int, tuple[int, int, dict[str, tuple[float, int]]]] = {}
        for index in sorted(self._bins):
            last, count, sums = self._bins[index]
            old_last, old_count, old = merged.get(index // 2, (0, 0, {}))
            for name, (total, number) in sums.items():
                t, n = old.get(name, (0.0, 0))
                old[name] = (t + total, n + number)
            merged[index // 2] = (max(last, old_last), old_count + count, old)
        self._bins, self.width = merged, self.width * 2

    def columns(self) -> tuple[list[int], dict[str, list[float | None]]]:
        order = sorted(self._bins)
        steps = [self._bins[i][0] for i in order]
        metrics: dict[str, list[float | None]] = {}
        for name in CURVE_METRICS:
            column: list[float | None] = []
            for i in order:
                total, number = self._bins[i][2].get(name, (0.0, 0))
                column.append(_rounded(total / number) if number else None)
            if any(v is not None for v in column):
                metrics[name] = column
        return steps, metrics


class CurveBuilder:
    """Takes step and evaluation records in any order and yields the curve.

    For one step the later attempt wins: when a record of a newer attempt arrives for a step that
    is known, the steps from there on are forgotten and taken anew.
    """

    def __init__(self) -> None:
        self._steps: dict[int, tuple[int, dict[str, float | None]]] = {}
        self._scores: dict[int, tuple[int, Score]] = {}
        self._order: list[int] = []
        self._bins = _Bins()
        self._binned = 0

    def add(self, record: Record) -> None:
        """Takes a record in; kinds that carry no curve are ignored."""
        if isinstance(record, StepRecord):
            known = self._steps.get(record.step)
            if known is not None and known[0] > record.attempt:
                return
            kept = {k: v for k, v in record.metrics.items() if k in CURVE_METRICS}
            self._steps[record.step] = (record.attempt, kept)
            if known is None:
                insort(self._order, record.step)
            if known is not None or record.step < self._binned:
                self._bins, self._binned = _Bins(), 0
        elif isinstance(record, EvalRecord):
            known_score = self._scores.get(record.score.step)
            if known_score is None or known_score[0] <= record.attempt:
                self._scores[record.score.step] = (record.attempt, record.score)

    def curve(self) -> Curve:
        """The curve so far, within CURVE_POINTS points and CURVE_BYTES bytes of JSON."""
        start = len(self._order)
        while start > 0 and self._order[start - 1] > self._binned:
            start -= 1
        for step in self._order[start:]:
            self._bins.add(step, self._steps[step][1])
            self._binned = step
        steps, metrics = self._bins.columns()
        scores = [self._scores[s][1] for s in sorted(self._scores)][-_KEPT_SCORES:]
        return _fit(Curve(steps=steps, metrics=metrics, scores=scores))


def _size(curve: Curve) -> int:
    return len(curve.model_dump_json(by_alias=True, exclude_none=True))


def _fit(curve: Curve) -> Curve:
    """Within CURVE_BYTES: first per-question scores go, oldest first, then old evaluations."""
    excess = _size(curve) - CURVE_BYTES
    if excess <= 0:
        return curve
    scores = list(curve.scores)
    for i, score in enumerate(scores[:-1]):
        if excess <= 0:
            break
        if score.per_question:
            excess -= len(score.per_question)
            scores[i] = score.with_(per_question="")
    curve = curve.with_(scores=scores)
    while _size(curve) > CURVE_BYTES and len(curve.scores) > 1:
        # Every second one goes, the last stays: the shape survives.
        curve = (
            curve.with_(scores=[*curve.scores[:-1][::2], curve.scores[-1]][-_KEPT_SCORES:])
            if len(curve.scores) > 2
            else curve.with_(scores=curve.scores[-1:])
        )
    if _size(curve) > CURVE_BYTES and curve.scores:
        curve = curve.with_(scores=[curve.scores[-1].with_(per_question="")])
    return curve
