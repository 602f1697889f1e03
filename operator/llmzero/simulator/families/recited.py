"""Questions that are learnt by heart."""

import math
from dataclasses import dataclass
from random import Random

from llmzero.simulator.world import Drive, Settings, State, World, saturated


@dataclass(slots=True)
class Recited(World):
    """So few questions that the policy learns their answers by heart.

    What is known by heart earns the train reward and nothing in the evaluation, it takes the signal
    away (answered groups are all alike), and a part of the skill gives way to it. It spreads from
    the second pass over the questions on: the slower the smaller the steps, the wider the samples
    and the stronger the KL term, which holds the skill back as well. Never used to tune a planner.
    """

    first: float = 0.2
    ceiling: float = 0.85
    middle: float = 100.0
    one_pass: float = 120.0
    """Steps in which each question has been seen once."""
    forgets: float = 0.3
    """Share of the skill that gives way where all is known by heart."""

    def vary(self, draws: Random) -> None:
        World.vary(self, draws)
        self.first = draws.uniform(0.15, 0.35)
        self.ceiling = draws.uniform(0.75, 0.9)
        self.middle = draws.uniform(60, 180)
        self.one_pass = draws.uniform(60, 240)
        self.forgets = draws.uniform(0.15, 0.45)

    def base(self) -> State:
        return State(skills=[1e-3, 0.0], length=self.first_length)

    def skill(self, state: State) -> float:
        return self._honest(state) * (1 - self.forgets * state.skills[1])

    def practised(self, state: State, settings: Settings) -> list[float]:
        honest = self.accuracy(state)
        return [honest + (1 - honest) * state.skills[1]]

    def learn(self, state: State, drive: Drive, steps: float) -> None:
        skill, heart = state.skills
        s = drive.settings
        again = 1 / (1 + math.exp((self.one_pass - state.steps) / (0.1 * self.one_pass)))
        held = 1 / (1 + (s.beta / 0.02) ** 1.5)
        narrow = math.exp(-1.5 * (s.temperature - 0.8))
        spread = min(drive.rate, 3) * held * narrow * again * steps / (4 * self.one_pass)
        heart += (1 - heart) * (1 - math.exp(-spread))
        skill += drive.speed * steps
        state.skills = [max(skill, 1e-3), min(heart, 1.0)]

    def lose(self, state: State, share: float) -> None:
        skill, heart = state.skills
        state.skills = [max(skill * (1 - share), 1e-3), heart * (1 - share)]

    def _honest(self, state: State) -> float:
        share = saturated(state.skills[0], self.middle, 1.4)
        return self.first + (self.ceiling - self.first) * share
