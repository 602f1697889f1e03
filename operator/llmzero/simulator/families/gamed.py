"""An imperfect verifier and a shift of the data."""

import math
from dataclasses import dataclass
from random import Random

from llmzero.simulator.world import Drive, State, World, saturated


@dataclass(slots=True)
class Gamed(World):
    """An imperfect verifier and a shift of the data: regularization has to react.

    The train reward pays for a trick that the objective does not want. The trick spreads once the
    policy is good enough to find it, the slower the stronger the KL term, which also slows the
    skill. At a step that the seed draws, the data change and a part of the skill is worth nothing
    any more. Never used to tune a planner.
    """

    first: float = 0.2
    ceiling: float = 0.9
    middle: float = 100.0
    trick_at: float = 0.45
    """Share of the skill at which the trick begins to spread."""
    known: float = 0.01
    """Share of the base model's answers that are the trick."""
    cost: float = 0.7
    """Share of the objective that is lost where the trick is all there is."""
    pace: float = 0.03
    """At which the trick spreads, a step at the fastest calm rate."""
    hold: float = 0.02
    """``beta`` that halves this."""
    shift_at: float = 250.0
    shift: float = 0.5

    def vary(self, draws: Random) -> None:
        World.vary(self, draws)
        self.first = draws.uniform(0.15, 0.35)
        self.ceiling = draws.uniform(0.75, 0.95)
        self.middle = draws.uniform(60, 180)
        self.trick_at = draws.uniform(0.3, 0.6)
        self.shift_at = draws.uniform(120, 420)
        self.shift = draws.uniform(0.3, 0.7)

    def base(self) -> State:
        return State(skills=[1e-3, self.known], length=self.first_length)

    def skill(self, state: State) -> float:
        honest = self.first + (self.ceiling - self.first) * self._share(state)
        return honest * (1 - self.cost * state.skills[1])

    def reward(self, state: State, correct: float) -> float:
        trick = state.skills[1]
        return min(correct / max(1 - self.cost * trick, 0.1) * (1 - trick) + trick, 0.99)

    def learn(self, state: State, drive: Drive, steps: float) -> None:
        skill, trick = state.skills
        before, after = state.steps, state.steps + steps
        if before < self.shift_at <= after:
            skill *= 1 - self.shift
        skill += drive.speed * steps * (1 - 0.5 * trick)
        held = 1 / (1 + (drive.settings.beta / self.hold) ** 1.5)
        ready = 1 / (1 + math.exp((self.trick_at - self._share(state)) / 0.05))
        grown = self.pace * ready * held * min(drive.rate, 3) * steps * trick * (1 - trick)
        faded = 0.01 * (1 - held) * min(drive.rate, 2) * steps * trick
        state.skills = [max(skill, 1e-3), min(max(trick + grown - faded, 0.005), 1.0)]

    def lose(self, state: State, share: float) -> None:
        state.skills = [max(state.skills[0] * (1 - share), 1e-3), state.skills[1]]

    def _share(self, state: State) -> float:
        return saturated(state.skills[0], self.middle, 1.4)
