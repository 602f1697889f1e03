"""Families of simulated worlds. Two are for tuning planners, the others for confirmation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from llmzero.api.parameters import Parameter, Role
from llmzero.simulator.world import Drive, Settings, State, World, dead_groups


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
        return 1.0 / (1.0 + math.pow(self.middle / state.skills[0], self.power))


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
        return State(skills=[1e-3, 0.01], length=self.first_length)

    def skill(self, state: State) -> float:
        honest = self.first + (self.ceiling - self.first) * self._share(state)
        return honest * (1 - 0.7 * state.skills[1])

    def reward(self, state: State, correct: float) -> float:
        trick = state.skills[1]
        return min(correct / max(1 - 0.7 * trick, 0.1) * (1 - trick) + trick, 0.99)

    def learn(self, state: State, drive: Drive, steps: float) -> None:
        skill, trick = state.skills
        before, after = state.steps, state.steps + steps
        if before < self.shift_at <= after:
            skill *= 1 - self.shift
        skill += drive.speed * steps * (1 - 0.5 * trick)
        held = 1 / (1 + (drive.settings.beta / 0.02) ** 1.5)
        ready = 1 / (1 + math.exp((self.trick_at - self._share(state)) / 0.05))
        grown = 0.03 * ready * held * min(drive.rate, 3) * steps * trick * (1 - trick)
        faded = 0.01 * (1 - held) * min(drive.rate, 2) * steps * trick
        state.skills = [max(skill, 1e-3), min(max(trick + grown - faded, 0.005), 1.0)]

    def lose(self, state: State, share: float) -> None:
        state.skills = [max(state.skills[0] * (1 - share), 1e-3), state.skills[1]]

    def _share(self, state: State) -> float:
        return 1.0 / (1.0 + math.pow(self.middle / state.skills[0], 1.4))


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
        share = 1.0 / (1.0 + math.pow(self.middle / state.skills[0], 1.4))
        return self.first + (self.ceiling - self.first) * share


FAMILIES: Final[Mapping[str, type[World]]] = {
    "saturating": Saturating,
    "bottlenecks": Bottlenecks,
    "gamed": Gamed,
    "levels": Levels,
    "recited": Recited,
}
TUNED: Final = ("saturating", "bottlenecks")
"""Families that planners may be tuned on."""
SEEN: Final = ("gamed", "levels")
"""Families that were for confirmation, until variants of the planner were looked at in them."""
UNSEEN: Final = ("recited",)
"""Families for confirmation only: made after the planner, and run once."""


def make_world(family: str, seed: int) -> World:
    """A world of a family. Raises ValueError for an unknown family."""
    if family not in FAMILIES:
        raise ValueError(f"family: found {family!r}, known are {', '.join(FAMILIES)}")
    return FAMILIES[family](seed)
