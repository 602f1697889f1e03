"""One skill that saturates."""

import math
from dataclasses import dataclass
from random import Random

from llmzero.simulator.world import Drive, State, World, saturated


@dataclass(slots=True)
class Saturating(World):
    """One skill that saturates: many settings reach about the same ceiling, at different speeds.

    R - R0 = (A - R0) / (1 + (C_mid / C)^B) over effective compute C (ScaleRL, arXiv 2510.13786).
    Answers grow longer as the skill does. A constant is nearly as good as any schedule; what a
    schedule can win is the jitter of a high rate, and the length that comes to be needed.
    """

    first: float = 0.2
    ceiling: float = 0.9
    middle: float = 120.0
    """C_mid, in steps at the fastest calm rate."""
    power: float = 1.4
    growth: float = 3.0
    """By how much answers grow, in multiples of the first length."""

    def vary(self, draws: Random) -> None:
        World.vary(self, draws)
        self.first = draws.uniform(0.1, 0.35)
        self.ceiling = draws.uniform(0.75, 0.95)
        self.middle = draws.uniform(60, 240)
        self.power = draws.uniform(1.1, 1.8)
        self.growth = draws.uniform(1.0, 5.0)

    def base(self) -> State:
        return State(skills=[1e-3], length=self.first_length)

    def skill(self, state: State) -> float:
        return self.first + (self.ceiling - self.first) * self._share(state)

    def learn(self, state: State, drive: Drive, steps: float) -> None:
        state.skills[0] += drive.speed * steps
        wanted = self.first_length * (1 + self.growth * self._share(state))
        wanted = min(wanted, 1.3 * drive.settings.max_completion_length)
        state.length += (wanted - state.length) * (1 - math.exp(-0.02 * steps * drive.speed))

    def lose(self, state: State, share: float) -> None:
        state.skills[0] = max(state.skills[0] * (1 - share), 1e-3)

    def _share(self, state: State) -> float:
        return saturated(state.skills[0], self.middle, self.power)
