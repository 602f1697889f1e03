"""What a pathology rule may look at, and the questions that several rules ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmzero.api.curve import GRAD_NORM_MAX, Curve, Score
from llmzero.api.stage import Outcome
from llmzero.dynamics.features import Series, evaluations, gaps, series, tail
from llmzero.dynamics.thresholds import THRESHOLDS as T


@dataclass(frozen=True)
class Case:
    """One stage: its curve, its features ``f``, its GRPOConfig fields and how it ended."""

    curve: Curve
    f: Mapping[str, float]
    settings: Mapping[str, Any]
    outcome: Outcome | None
    sign: float = 1.0
    start: Score | None = None

    @property
    def last_step(self) -> int:
        return self.curve.steps[-1] if self.curve.steps else 0

    @property
    def window(self) -> str:
        """The steps that the features named ``_end`` were read from."""
        steps = tail([(float(s), 0.0) for s in self.curve.steps])
        return f"steps {steps[0][0]:.0f}-{steps[-1][0]:.0f}" if steps else "no steps"

    def number(self, name: str, default: float = 0.0) -> float:
        """A numeric setting; the default where it is missing or no number."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, int | float) else default

    def has(self, *names: str) -> bool:
        return all(name in self.f for name in names)

    @cached_property
    def scores(self) -> list[Score]:
        return evaluations(self.curve, self.start)

    @property
    def off_policy(self) -> bool:
        """On-policy (one iteration) the ratio is 1 and clipping is always 0: it says nothing."""
        return self.number("num_iterations", 1) > 1

    # The evaluation -------------------------------------------------------------------------

    @property
    def least_gain(self) -> float:
        """A smaller gain of the evaluation is none."""
        return max(T.improvement, T.certainty * self.f.get("eval_gain_error", 0.0))

    @property
    def flat_eval(self) -> bool:
        """The evaluation gained nothing that its standard error would not explain."""
        return len(self.scores) > 1 and self.f["eval_gain"] < self.least_gain

    @property
    def fell(self) -> bool:
        """The evaluation lies below the stage's start by more than its standard error explains."""
        return len(self.scores) > 1 and self.f["eval_gain"] < -self.least_gain

    @property
    def dropped(self) -> bool:
        """The evaluation lies below the stage's best by more than its standard error explains."""
        if "eval_drop" not in self.f:
            return False
        error = T.certainty * self.f["eval_drop_error"]
        return self.f["eval_drop"] > max(T.improvement, error)

    def behind(self, gap: float) -> bool:
        """Whether the objective stayed ``gap`` behind the train reward at two evaluations."""
        return len(self.gaps) > 2 and min(self.gaps[-2:]) > gap

    @property
    def widening(self) -> bool:
        """Whether the train reward drew away from the objective at two evaluations in a row."""
        return len(self.gaps) > 2 and self.gaps[-1] > self.gaps[-2] > self.gaps[-3]

    @cached_property
    def gaps(self) -> list[float]:
        """Lead of the train reward's gain at each evaluation, 0 at the first."""
        return [0.0, *(gap for _, gap in gaps(self.curve, self.scores, self.sign))]

    def words_of_eval(self) -> str:
        if len(self.scores) < 2:
            return "no evaluation to compare"
        first, last = self.scores[0], self.scores[-1]
        return (
            f"evaluation {first.value:.3f} at step {first.step} to {last.value:.3f} at step "
            f"{last.step} ({self.f['eval_gain']:+.3f} +- {self.f['eval_gain_error']:.3f})"
        )

    # The train reward -----------------------------------------------------------------------

    @property
    def reward_noise(self) -> float:
        return T.certainty * self.f.get("reward_gain_error", 0.0)

    @property
    def by_heart(self) -> bool:
        """The very reward functions, asked on the evaluation's questions, do not follow the train
        reward: it was learnt by heart (overfit), not gamed. Unknown counts as no."""
        if not self.has("eval_reward_first", "eval_reward_last", "reward_gain"):
            return False
        gain = self.f["eval_reward_last"] - self.f["eval_reward_first"]
        return gain < 0.5 * self.f["reward_gain"]

    @property
    def flat_reward(self) -> bool:
        """The slope's interval over the last window includes 0."""
        low, high = self.f.get("reward_slope_low"), self.f.get("reward_slope_high")
        return low is not None and high is not None and low <= 0 <= high

    @property
    def nearly_solved(self) -> bool:
        """Most groups are right throughout and the evaluation did not fall: what is left is the
        rare failure, whose advantage in a group of G is -sqrt(G - 1), and gradients jump."""
        dead, reward = self.f.get("dead_groups_end", 0.0), self.f.get("reward_end", 0.0)
        return dead > T.dead_groups and reward > 0.5 and not self.fell

    def words_of_slope(self) -> str:
        return (
            f"reward slope {self.f['reward_slope_low']:.1e} to {self.f['reward_slope_high']:.1e} "
            f"a step over the last {T.plateau_window:.0%}"
        )

    # Onsets ---------------------------------------------------------------------------------

    def spikes(self) -> list[tuple[int, float]]:
        """``(step, multiple of the running median)`` of the points with a gradient spike."""
        return spikes(self.curve, self.number("max_grad_norm", 1.0))


def spikes(curve: Curve, clip: float = 1.0) -> list[tuple[int, float]]:
    """Points whose largest ``grad_norm`` is 10x the running median; what lies below the clipping
    norm does no harm. Needs three points before it. Steps whose groups were all dead had no
    gradient to compare with, and one grows with the share of the groups that are alive: a run that
    takes off does not blow up."""
    alive = {step: 1 - share for step, share in series(curve, "frac_reward_zero_std")}
    means: Series = [point for point in series(curve, "grad_norm") if alive.get(point[0], 1) > 0]
    peaks = dict(series(curve, GRAD_NORM_MAX)) or dict(means)
    plain = [v for _, v in means]
    whole = [v / alive.get(step, 1) for step, v in means]  # if all groups were alive
    found = []
    for i in range(3, len(means)):
        step, peak = means[i][0], peaks.get(means[i][0], means[i][1])
        expected = float(np.median(whole[:i])) * alive.get(step, 1)
        usual = max(float(np.median(plain[:i])), expected)
        if usual > 0 and peak > max(T.grad_spike_ratio * usual, clip):
            found.append((int(step), peak / usual))
    return found


def broken_at(curve: Curve) -> int | None:
    """First step from which on loss or gradients were never finite again; None where they were."""
    broken: list[int] = []
    for name in ("loss", "grad_norm"):
        values = curve.metrics.get(name, [])
        if any(v is not None for v in values) and values[-1] is None:
            last = max(i for i, v in enumerate(values) if v is not None)
            broken.append(curve.steps[last + 1])
    return min(broken, default=None)
