"""The checkpoint to go on from: the last one, or one from before the harm that the stage shows."""

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot

from llmzero.api.curve import PathologyKind, Score
from llmzero.api.proposals import BranchFrom, ProposalRequest, StageView
from llmzero.dynamics.case import broken_at, spikes
from llmzero.dynamics.features import gaps, series
from llmzero.dynamics.thresholds import THRESHOLDS as T

K = PathologyKind
LAST = "the last checkpoint"


@dataclass(frozen=True, slots=True)
class _Scored:
    """A comparison of an earlier checkpoint with the last one; unknown without both scores."""

    early: Score | None
    last: Score | None
    sign: float

    @property
    def known(self) -> bool:
        return self.early is not None and self.last is not None

    @property
    def lead(self) -> float:
        """By how many standard errors the earlier one is better."""
        if self.early is None or self.last is None:
            return 0.0
        error = hypot(self.early.standard_error, self.last.standard_error)
        return self.sign * (self.early.value - self.last.value) / max(error, 1e-9)

    def words(self) -> str:
        if self.early is None or self.last is None:
            return "not both were scored"
        return (
            f"it scored {self.early.value:.3f} +- {self.early.standard_error:.3f}, the last "
            f"{self.last.value:.3f} +- {self.last.standard_error:.3f}"
        )


def branch(request: ProposalRequest) -> BranchFrom:
    """Where a child of the stage starts, with the reason.

    After drift, hacking, overfit, spikes or NaN: the last checkpoint before the harm set in,
    unless the last one is better by more than a standard error; where no onset is seen, the
    best-scored one, if it is better than the last by more than a standard error.
    """
    stage = request.path[-1]
    steps = sorted(stage.checkpoints) or [stage.steps]
    last = steps[-1]
    harm = next((p.kind for p in stage.pathologies if p.kind in _ONSETS), None)
    if harm is None or len(steps) < 2:
        return BranchFrom(step=last, reason=LAST)
    sign = 1.0 if request.direction == "maximize" else -1.0
    scored = {s.step: s for s in stage.scores if s.step in steps}
    onset = _ONSETS[harm](request, stage)
    before = [s for s in steps if onset is not None and s < onset]
    if before and before[-1] != last:
        pair = _Scored(scored.get(before[-1]), scored.get(last), sign)
        if pair.lead >= -1.0:
            why = f"{harm} from step {onset} on: the last checkpoint before it; {pair.words()}"
            return BranchFrom(step=before[-1], reason=why)
        return BranchFrom(step=last, reason=f"{LAST}: step {before[-1]} is worse; {pair.words()}")
    early = [s for step, s in scored.items() if step != last]
    best = max(early, key=lambda s: (sign * s.value, s.step), default=None)
    pair = _Scored(best, scored.get(last), sign)
    if best is not None and pair.known and pair.lead > 1.0:
        return BranchFrom(step=best.step, reason=f"{harm}: the best-scored one; {pair.words()}")
    return BranchFrom(step=last, reason=f"{LAST}: none before it is better beyond its error")


def _spike(request: ProposalRequest, stage: StageView) -> int | None:
    clip = stage.parameters.get("max_grad_norm", request.fixed.get("max_grad_norm", 1.0))
    found = spikes(request.curve, float(clip) if isinstance(clip, int | float) else 1.0)
    return found[0][0] if found else None


def _broken(request: ProposalRequest, stage: StageView) -> int | None:
    """A spike may come before the NaN that it ends in."""
    steps = (_spike(request, stage), broken_at(request.curve))
    return min((s for s in steps if s is not None), default=None)


def _drifted(request: ProposalRequest, stage: StageView) -> int | None:
    """From where on kl was never below the floor again."""
    points = series(request.curve, "kl")
    low = [i for i, (_, v) in enumerate(points) if v < T.kl_floor]
    after = low[-1] + 1 if low else 0
    return int(points[after][0]) if after < len(points) else None


def _left_behind(request: ProposalRequest, stage: StageView) -> int | None:
    """From which evaluation on the objective was behind the train reward for good."""
    sign = 1.0 if request.direction == "maximize" else -1.0
    found = gaps(request.curve, stage.scores, sign)
    close = [i for i, (_, gap) in enumerate(found) if gap <= T.hacking_gap]
    after = close[-1] + 1 if close else 0
    return found[after][0] if after < len(found) else None


def _unseen(request: ProposalRequest, stage: StageView) -> int | None:
    """An overfit policy learnt something real before: its best score says where."""
    return None


_ONSETS: dict[PathologyKind, Callable[[ProposalRequest, StageView], int | None]] = {
    K.NON_FINITE: _broken,
    K.GRADIENT_SPIKES: _spike,
    K.REWARD_HACKING: _left_behind,
    K.POLICY_DRIFT: _drifted,
    K.OVERFIT: _unseen,
}
"""Kinds after which a checkpoint from before the harm is the better start."""
HARMS = frozenset(_ONSETS)
"""The same kinds, for who asks only whether there is any."""
