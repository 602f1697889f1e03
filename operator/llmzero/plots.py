"""Training curves as one PNG: for models that see, and for the report.

Eight panels on 1536 x 768 pixels: models downscale to about 1568 on the long edge or 768 on the
short one, so nothing is lost on the way. Agg only; not for several threads at once.
"""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmzero.api.curve import Curve, Score
from llmzero.api.proposals import ProposalRequest, StageView, VerdictRequest

WIDTH, HEIGHT, DPI = 1536, 768, 96
_COLOURS = {"stage": "#1060c0", "above": "#7fb0e0", "best": "#9a9a9a"}
_SECOND = {"stage": "#d05010", "above": "#e8b090", "best": "#c8c0b8"}
_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("train reward", ("reward",)),
    ("entropy", ("entropy",)),
    ("KL to the reference", ("kl",)),
    ("length: all (blue), ended (orange)", ("completions/mean_length", "completions/mean_terminated_length")),
    ("clipped ratio (cut at the length limit)", ("completions/clipped_ratio",)),
    ("dead groups (share with zero spread)", ("frac_reward_zero_std",)),
    ("gradient norm", ("grad_norm",)),
)  # fmt: skip
_SHARES = {"completions/clipped_ratio", "frac_reward_zero_std"}


@dataclass(frozen=True, slots=True)
class Trace:
    """One stage's curves, placed at ``offset`` cumulative optimizer steps."""

    label: str
    kind: Literal["stage", "above", "best"]
    offset: int
    steps: int
    curve: Curve
    scores: Sequence[Score]
    checkpoints: Sequence[int] = ()


def proposal_picture(request: ProposalRequest) -> bytes:
    """PNG of the stage to expand, the path above it, and the best stage elsewhere behind."""
    traces = _path(request.path, request.curve)
    if request.best:
        best = request.best[0]
        offset = (best.depth - 1) * request.stage_steps
        traces.insert(0, _trace(best, "best", offset, best.curve or Curve()))
    return curves_picture(traces, request.objective, "optimizer steps from the base model")


def verdict_picture(request: VerdictRequest) -> bytes:
    """PNG of the running stage with the best stage behind, each from its own start."""
    return curves_picture(
        [
            _trace(request.best, "best", 0, request.best_curve),
            _trace(request.stage, "stage", 0, request.curve),
        ],
        request.objective,
        "optimizer steps of the stage",
    )


def curves_picture(traces: Sequence[Trace], objective: str, axis: str) -> bytes:
    """PNG of the traces, drawn in the order given. Stage borders are lines, checkpoints ticks."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = list(figure.subplots(2, 4).flat)
    for trace in traces:
        _draw_scores(first, trace)
    _finish(first, f"evaluation: {objective[:40]}", axis, traces)
    if first.get_legend_handles_labels()[0]:
        first.legend(fontsize=10, loc="best", framealpha=0.7)
    for axes, (title, metrics) in zip(others, _PANELS, strict=True):
        drawn = [
            _draw_metric(axes, trace, metric, index > 0)
            for trace in traces
            for index, metric in enumerate(metrics)
        ]
        _finish(axes, title, axis, traces)
        if not any(drawn):
            axes.text(0.5, 0.5, "not logged", ha="center", transform=axes.transAxes, fontsize=12)
        elif metrics[0] in _SHARES:
            axes.set_ylim(-0.02, 1.02)
        elif metrics[0] == "grad_norm" and _spans_decades(traces, metrics[0]):
            axes.set_yscale("log")
        elif metrics[0] != "reward" and axes.dataLim.ymin >= 0:
            axes.set_ylim(bottom=0)  # else small wiggles look like a storm
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _path(path: Sequence[StageView], last_curve: Curve) -> list[Trace]:
    """The stages of a path one after the other; a child starts at its parent's checkpoint."""
    traces: list[Trace] = []
    offset = 0
    for index, stage in enumerate(path):
        if index:
            above = path[index - 1]
            offset += above.steps if stage.start_step is None else stage.start_step
        last = index == len(path) - 1
        curve = last_curve if last else stage.curve or Curve()
        traces.append(_trace(stage, "stage" if last else "above", offset, curve))
    return traces


def _trace(
    stage: StageView, kind: Literal["stage", "above", "best"], offset: int, curve: Curve
) -> Trace:
    words = {"stage": "this stage", "above": "stage", "best": "best elsewhere, stage"}[kind]
    scores = curve.scores or stage.scores
    label = f"{words} {stage.path}"[:40]
    return Trace(label, kind, offset, stage.steps, curve, scores, stage.checkpoints)


def _draw_scores(axes: Any, trace: Trace) -> None:
    points = [(s.step, s.value, s.standard_error) for s in trace.scores if _drawable(s.value)]
    if points:
        steps, values, errors = zip(*points, strict=True)
        axes.errorbar(
            [trace.offset + s for s in steps],
            values,
            yerr=[e if _drawable(e) else 0.0 for e in errors],
            color=_COLOURS[trace.kind],
            label=trace.label,
            marker="o",
            markersize=5,
            linewidth=2,
            capsize=3,
        )


def _draw_metric(axes: Any, trace: Trace, metric: str, second: bool) -> bool:
    values = trace.curve.metrics.get(metric, [])
    points = [
        (trace.offset + step, value)
        for step, value in zip(trace.curve.steps, values, strict=False)
        if _drawable(value)
    ]
    if points:
        colour = (_SECOND if second else _COLOURS)[trace.kind]
        marker = "." if len(points) < 16 else None
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker=marker)
    return bool(points)


def _finish(axes: Any, title: str, axis: str, traces: Iterable[Trace]) -> None:
    axes.set_title(title, fontsize=13, parse_math=False)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(axis, fontsize=10)
    for trace in traces:
        if trace.kind != "best":
            axes.axvline(trace.offset + trace.steps, color="#404040", linewidth=1, alpha=0.6)
            for step in trace.checkpoints:
                axes.axvline(trace.offset + step, ymax=0.05, color="#208020", linewidth=3)


def _spans_decades(traces: Iterable[Trace], metric: str) -> bool:
    values = [v for t in traces for v in t.curve.metrics.get(metric, []) if _drawable(v) and v]
    return bool(values) and min(values) > 0 and max(values) > 30 * min(values)


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and abs(value) < 1e30
