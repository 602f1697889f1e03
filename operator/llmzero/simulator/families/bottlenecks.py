"""Three skills that need settings which hinder one another."""

import math
from dataclasses import dataclass
from random import Random

from llmzero.simulator.world import Drive, Settings, State, World


@dataclass(slots=True)
class Bottlenecks(World):
    """Three skills, each of which needs settings that hinder another: constants fail.

    *Find* (a rare move that only hot samples show, autocatalytic), then *polish* (exact answers,
    which only cool samples teach and hot ones undo), then *reason at length* (needs a long limit,
    while a long limit lets the early policy ramble). Each builds on the one before.
    """

    first: float = 0.12
    ceiling: float = 0.9
    hot: float = 1.15
    """Temperature above which the rare move is seen."""
    cool: float = 0.8
    long: float = 1200.0
    """Tokens that the last skill needs."""
    pace: float = 1.0
    weights: tuple[float, float, float] = (0.3, 0.35, 0.35)

    def vary(self, draws: Random) -> None:
        World.vary(self, draws)
        self.first = draws.uniform(0.05, 0.2)
        self.ceiling = draws.uniform(0.8, 0.95)
        self.hot = draws.uniform(1.05, 1.25)
        self.cool = draws.uniform(0.65, 0.9)
        self.long = draws.uniform(700, 1600)
        self.pace = draws.uniform(0.7, 1.3)
        find = draws.uniform(0.2, 0.4)
        polish = draws.uniform(0.25, 0.4)
        self.weights = (find, polish, 1 - find - polish)

    def base(self) -> State:
        return State(skills=[0.03, 0.0, 0.0], length=self.first_length)

    def skill(self, state: State) -> float:
        a, b, c = state.skills
        gained = self.weights[0] * a + self.weights[1] * a * b + self.weights[2] * a * b * c
        return self.first + (self.ceiling - self.first) * gained

    def explores(self, state: State, settings: Settings) -> float:
        width = state.entropy * settings.temperature
        return width / (width + 0.1)

    def learn(self, state: State, drive: Drive, steps: float) -> None:
        find, polish, reason = state.skills
        t, limit = drive.settings.temperature, drive.settings.max_completion_length
        hot = 1 / (1 + math.exp((self.hot - t) / 0.05))
        cool = 1 / (1 + math.exp((t - self.cool) / 0.05))
        brief = min(2 * self.first_length / limit, 1.0) ** 0.5
        room = 1 / (1 + (self.long / limit) ** 4)
        push = self.pace * drive.speed * steps
        find += 0.035 * push * (hot + 0.08) * brief * (find + 0.02) * (1 - find) * 2
        polish += 0.02 * push * (cool + 0.1) * find**2 * (1 - polish)
        polish -= 0.004 * hot * min(drive.rate, 2) * steps * polish
        reason += 0.02 * push * (cool + 0.25) * room * (find * polish) ** 1.5 * (1 - reason)
        state.skills = [min(find, 1.0), min(max(polish, 0.0), 1.0), min(reason, 1.0)]
        wanted = self.first_length + (0.6 * self.long - self.first_length) * (find * polish)
        wanted = max(wanted, self.first_length)
        state.length += (wanted - state.length) * (1 - math.exp(-0.01 * push))

    def lose(self, state: State, share: float) -> None:
        state.skills = [max(s * (1 - share), 0.03 * (i == 0)) for i, s in enumerate(state.skills)]
