"""Questions of five lengths, each learnt on the one before."""

import math
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from llmzero.api.parameters import Parameter, Role
from llmzero.simulator.world import Drive, Settings, State, World, dead_groups


@dataclass(slots=True)
class Levels(World):
    """Questions of five lengths, each built on the one before; ``task.digits`` says up to which the
    train questions go, the objective asks for all.

    A length is learnt from its own questions alone, where some of their groups differ, and only as
    well as the one before it is known. What is not trained fades. A wide mixture spends groups on
    what is out of reach, a narrow one on what is known; with the tiny model a uniform mixture was
    level with a curriculum. Never used to tune a planner.
    """

    EXTRA: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="task.digits", role=Role.CAPACITY, type="int", min=1, max=5, initial=2),
    )

    known: float = 0.7
    """Of the shortest questions, by the base model; each longer one is known half as well."""
    ceiling: float = 0.92
    pace: float = 0.03
    fading: float = 4e-4
    growth: float = 1.0

    def vary(self, draws: Random) -> None:
        World.vary(self, draws)
        self.known = draws.uniform(0.5, 0.8)
        self.ceiling = draws.uniform(0.85, 0.97)
        self.pace = draws.uniform(0.02, 0.05)
        self.fading = draws.uniform(1e-4, 8e-4)
        self.growth = draws.uniform(0.5, 3.0)

    def base(self) -> State:
        return State(skills=self._shares(), length=self.first_length)

    def skill(self, state: State) -> float:
        return self.ceiling * sum(state.skills) / len(state.skills)

    def practised(self, state: State, settings: Settings) -> list[float]:
        known = state.skills[: max(settings.digits, 1)]
        return [self.worn(self.ceiling * skill, state) for skill in known]

    def learn(self, state: State, drive: Drive, steps: float) -> None:
        s = drive.settings
        found = self.practised(state, s)
        push = drive.speed / max(1 - drive.dead, 1e-3) * steps
        before = 1.0
        for level, skill in enumerate(state.skills):
            if level < len(found):
                sampled = self.sampled(found[level], state, s, drive.clipped)
                alive = (1 - dead_groups(sampled, s.num_generations)) / len(found)
                skill += self.pace * push * alive * before * (1 - skill)
            else:
                skill *= 1 - min(self.fading * push, 1.0)
            before = state.skills[level]
            state.skills[level] = min(max(skill, 0.0), 1.0)
        wanted = self.first_length * (1 + self.growth * sum(state.skills) / len(state.skills))
        state.length += (wanted - state.length) * (1 - math.exp(-0.01 * push))

    def lose(self, state: State, share: float) -> None:
        floors = [0.1 * s for s in self._shares()]
        pairs = zip(state.skills, floors, strict=True)
        state.skills = [max(s * (1 - share), floor) for s, floor in pairs]

    def _shares(self) -> list[float]:
        return [self.known * 0.5**level for level in range(5)]
