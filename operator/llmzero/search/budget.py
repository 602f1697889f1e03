"""The budget: what a stage is charged, what is left, and which segment pays.

The unit is a *full stage's worth of optimizer steps*. Device seconds would be closer to money,
but differ from run to run: the same completions would then grow another tree.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from llmzero.api.spec import FAILURE_FLOOR, Budget, SearchSpec
from llmzero.api.stage import Phase

SEGMENTS: Final = {"screen": 0.30, "tree": 0.10, "finish": 0.60, "promote": 0.0}
"""Shares of ``budget.stages``. Source: reference "Why a tree loses to well-tuned constants", 1, with
less for UCT and more for the finish, which won in simulation at equal tokens (docs/simulator.md);
promote is what the strategy's option ``replicas`` gives it [ours]."""

GUIDED: Final = {"screen": 0.25, "tree": 0.30, "finish": 0.45, "promote": 0.0}
"""The same where an agent, a person or a schedule knows transitions: these are taken in the tree, as
the finish waits for nobody [ours, not compared with a real agent]."""

SHARES: Final = "shares"
WARM: Final = "warmStart"
"""Options of strategy llmzero: another division of the budget, and a schedule to begin with."""

SLACK: Final = 1e-9

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def charge(steps: int, ran: int, phase: Phase, stage_steps: int) -> float:
    """What a Train stage of ``steps`` is charged, in full stages' worth of steps.

    Not ended: all of it, as a reserve (never below the charge of a failure). Succeeded: all of
    it. Stopped: what it ran. Failed: what it ran, at least 0.25. Evaluations (0 steps): nothing.
    """
    if steps == 0:
        return 0.0
    whole, part = steps / stage_steps, min(ran, steps) / stage_steps
    if phase is Phase.SUCCEEDED:
        return whole
    if phase is Phase.STOPPED:
        return part
    if phase is Phase.FAILED:
        return max(part, FAILURE_FLOOR)
    return max(whole, FAILURE_FLOOR)


def segments(spec: SearchSpec) -> dict[str, float]:
    """Shares of ``budget.stages`` by segment, as ``strategy.options.shares`` says or by default;
    what is wrong in the option is passed over here, and said by its check. Where an agent or manual
    approval is switched on or off during a search, the rest of the budget is divided anew.
    """
    options = spec.strategy.options
    given = options.get(SHARES)
    alone = spec.agent is None and spec.approval == "auto" and options.get(WARM) is None
    usual = SEGMENTS if alone else GUIDED
    numbers = given if isinstance(given, Mapping) else {}
    return {
        name: float(n) if isinstance(n := numbers.get(name), int | float) else default
        for name, default in usual.items()
    }


def duration(text: str) -> timedelta:
    """``2d12h`` as a time span. Units: s, m, h, d."""
    parts = re.findall(r"([0-9]+)([smhd])", text)
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in parts))


@dataclass(slots=True)
class Meter:
    """A second limit, in units that are known only afterwards: device seconds, or tokens."""

    limit: float | None = None
    used: float = 0.0
    """By everything that ended, evaluations included."""
    trained: float = 0.0
    """Of that, by stages."""

    def left(self, spent: float, reserved: float) -> float:
        """Stages that fit, if each uses about what its finished likes did; what is in flight
        will, too."""
        if self.limit is None or spent <= 0 or self.trained <= 0:
            return math.inf
        return (self.limit - self.used) * spent / self.trained - reserved

    @property
    def share(self) -> float:
        """Of the limit, what is used; 0 where there is none."""
        return 0.0 if self.limit is None else self.used / self.limit

    def settle(self, amount: float) -> None:
        self.used += amount
        self.trained += amount


@dataclass(slots=True)
class Account:
    """Running sums over the nodes of a search, kept up to date while a plan creates stages."""

    limit: float
    seconds: Meter = field(default_factory=Meter)
    """Device seconds."""
    tokens: Meter = field(default_factory=Meter)
    """Tokens generated to train on and to be scored."""
    spent: float = 0.0
    reserved: float = 0.0
    by_segment: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SEGMENTS, 0.0))

    @classmethod
    def of(cls, budget: Budget) -> "Account":
        hours = budget.gpu_hours
        return cls(
            limit=budget.stages,
            seconds=Meter(None if hours is None else hours * 3600),
            tokens=Meter(budget.tokens),
        )

    @property
    def used(self) -> float:
        """Full stages' worth of steps, spent and reserved."""
        return self.spent + self.reserved

    @property
    def left(self) -> float:
        """Full stages' worth of steps that may still be reserved."""
        meters = [m.left(self.spent, self.reserved) for m in (self.seconds, self.tokens)]
        return max(min(self.limit - self.used, *meters), 0.0)

    @property
    def expected(self) -> float:
        """Full stages that the whole budget pays: fewer than its limit where hours or tokens run
        out before, as far as the stages so far tell."""
        return self.used + self.left

    @property
    def progress(self) -> float:
        """Share of the budget that is spent and reserved, by whichever limit is nearest."""
        return max(self.used / self.limit, self.seconds.share, self.tokens.share)

    def affords(self, stages: float) -> bool:
        return max(stages, FAILURE_FLOOR) <= self.left + SLACK

    def reserve(self, stages: float, segment: str) -> None:
        self.reserved += stages
        self.by_segment[segment] += stages

    def settle(self, stages: float, segment: str, seconds: float, tokens: float) -> None:
        self.spent += stages
        self.by_segment[segment] += stages
        self.seconds.settle(seconds)
        self.tokens.settle(tokens)
