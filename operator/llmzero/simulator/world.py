"""What all simulated worlds share: how settings drive learning, and what a trainer would log.

Shapes, each with its source:

- a gradient exists only in groups that differ: dead groups p^G + (1-p)^G (binary rewards);
- entropy is spent for reward, R = -a e^H + b (arXiv 2505.22617), and hot samples spend less of it;
- answers beyond the limit are cut off and earn nothing; lengths are log-normal;
- a learning rate is fast or calm: weights jitter around what was learnt in proportion to its
  square, and calm down when it falls (the noise ball of SGD with a constant step);
- the KL term holds the policy near its reference; a new stage is a new reference;
- rates far beyond calm ones destroy the policy, and may end in NaN; memory is a limit on
  group size x length.

Their constants are ours, set by hand to the size of effects seen with the tiny model
(docs/tiny-model.md), and drawn anew for every seed where a family says so. How near worlds come to
recorded training when they are fitted to it: tests/bench/bench_simulator.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import ClassVar, Final

from llmzero.api.base import Scalar
from llmzero.api.parameters import Parameter

REFERENCE_GROUP: Final = 8
DIFFICULTIES: Final = (-1.5, 0.0, 1.5)
"""Logits by which easy, middling and hard questions differ from the mean."""
LENGTH_SPREAD: Final = 0.35
"""Standard deviation of the logarithm of a completion's length."""
JITTER: Final = 0.03
"""Log-accuracy lost to jitter at the fastest calm rate."""
FIRST_ENTROPY: Final = 0.6
LEAST_ENTROPY: Final = 0.03
RUINOUS: Final = 6.0
"""Multiple of the fastest calm rate from which on what was learnt is lost."""


@dataclass(slots=True)
class State:
    """A checkpoint: all that a further stage depends on."""

    skills: list[float]
    """What has been learnt; its meaning is the family's."""
    length: float
    """Mean tokens of an answer that is not cut off."""
    noise: float = 0.0
    """Log-accuracy lost to the jitter of the weights."""
    cut: float = 0.0
    """Share of the answers that got used to being too short."""
    entropy: float = FIRST_ENTROPY
    kl: float = 0.0
    """From the reference, nats a token."""
    fresh: float = 0.0
    """Steps since Adam's moments were zero."""
    steps: float = 0.0
    """Along the path, from the base model."""

    def copy(self) -> "State":
        return replace(self, skills=list(self.skills))

    def at_boundary(self, carry_optimizer: bool, carry_reference: bool) -> "State":
        """A copy as the next stage finds it: moments and reference are new unless carried."""
        begun = self.copy()
        if not carry_optimizer:
            begun.fresh = 0.0
        if not carry_reference:
            begun.kl = 0.0
        return begun


@dataclass(frozen=True, slots=True)
class Settings:
    """The GRPOConfig fields that the simulation reads."""

    learning_rate: float = 1e-5
    temperature: float = 1.0
    beta: float = 0.0
    num_generations: int = 8
    max_completion_length: float = 512.0
    digits: int = 5
    """The option of the task of that name: how hard its train questions get, all of them where it is
    not searched. One family reads it."""

    @classmethod
    def of(cls, given: Mapping[str, Scalar]) -> "Settings":
        """From fields of GRPOConfig and options of the task (``task.digits``)."""
        named = {
            name.removeprefix("task."): float(value)
            for name, value in given.items()
            if name.removeprefix("task.") in cls.__dataclass_fields__
        }
        whole = {n: int(named.pop(n)) for n in ("num_generations", "digits") if n in named}
        return cls(**named, **whole)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Drive:
    """How a policy learns under some settings at one moment."""

    rate: float
    """Learning rate in multiples of the fastest calm one."""
    speed: float
    """Progress a step; 1 at the fastest calm rate with a clear signal."""
    sampled: float
    """Accuracy of the samples that are trained on."""
    dead: float
    clipped: float
    settings: Settings


@dataclass(slots=True)
class World(ABC):
    """One simulated task. ``accuracy`` is exact; evaluations add binomial noise."""

    EXTRA: ClassVar[tuple[Parameter, ...]] = ()
    """Parameters of the family's own, searched beside those of all."""

    seed: int
    calm_rate: float = 1e-4
    """The fastest learning rate that does not jitter much."""
    memory: float = 8 * 4096
    """Group size times length beyond which memory runs out."""
    first_length: float = 200.0
    too_hot: float = 1.35
    """Temperature at which half of the samples are of no use."""
    draws: Random = field(init=False)

    def __post_init__(self) -> None:
        self.draws = Random(f"{type(self).__name__}/{self.seed}")
        self.vary(self.draws)

    def vary(self, draws: Random) -> None:
        """Draws the constants of this seed."""
        self.calm_rate = 10 ** draws.uniform(-4.6, -3.9)
        self.memory = 2 ** draws.uniform(14.2, 15.8)
        self.first_length = draws.uniform(120, 260)

    @abstractmethod
    def base(self) -> State:
        """The base model."""

    @abstractmethod
    def skill(self, state: State) -> float:
        """Accuracy without jitter and truncation, 0..1."""

    @abstractmethod
    def learn(self, state: State, drive: Drive, steps: float) -> None:
        """Moves the skills (and the length that answers want) by so many steps."""

    @abstractmethod
    def lose(self, state: State, share: float) -> None:
        """A ruinous rate takes this share of what was learnt."""

    def practised(self, state: State, settings: Settings) -> list[float]:
        """Accuracy on each sort of question that is trained on, in equal shares."""
        return [self.accuracy(state)]

    def reward(self, state: State, correct: float) -> float:
        """Mean reward of answers of which the share ``correct`` is right."""
        return correct

    def explores(self, state: State, settings: Settings) -> float:
        """How useful the samples' width is, 0..1."""
        width = state.entropy * settings.temperature
        hot = 1 / (1 + math.exp((settings.temperature - self.too_hot) / 0.06))
        return hot * width / (width + 0.1)

    def accuracy(self, state: State) -> float:
        """What a greedy evaluation without a limit would find with infinitely many questions."""
        return self.worn(self.skill(state), state)

    def worn(self, skill: float, state: State) -> float:
        """What truncation and jitter leave of a skill."""
        return skill * (1 - 0.5 * state.cut) * math.exp(-state.noise)

    def out_of_memory(self, settings: Settings) -> bool:
        return settings.num_generations * settings.max_completion_length > self.memory

    def drive(self, state: State, settings: Settings) -> Drive:
        rate = settings.learning_rate / self.calm_rate
        clipped = beyond(settings.max_completion_length, state.length)
        found = [self.sampled(a, state, settings, clipped) for a in self.practised(state, settings)]
        sampled = sum(found) / len(found)
        dead = sum(dead_groups(p, settings.num_generations) for p in found) / len(found)
        signal = (1 - dead) * (settings.num_generations / REFERENCE_GROUP) ** 0.25
        hold = 1 / (1 + 25 * settings.beta * state.kl)
        moments = 1 - 0.5 * math.exp(-state.fresh / 8)
        pace = rate / (1 + (rate / 4) ** 2)
        speed = pace * signal * hold * moments * self.explores(state, settings)
        return Drive(rate, speed * (1 - 0.7 * clipped), sampled, dead, clipped, settings)

    def sampled(self, greedy: float, state: State, settings: Settings, clipped: float) -> float:
        """Accuracy of samples where the greedy answer's is ``greedy``."""
        width = settings.temperature * state.entropy / FIRST_ENTROPY
        return greedy * math.exp(-0.3 * width) * (1 - clipped)

    def advance(self, state: State, settings: Settings, steps: float, luck: Random) -> Drive | None:
        """Trains for so many steps, in place; None where the numbers stop being finite."""
        drive = self.drive(state, settings)
        rate, beta = drive.rate, settings.beta
        if luck.random() < 1 - math.exp(-steps * 1e-3 * (rate / (2 * RUINOUS)) ** 4):
            return None
        drive = replace(drive, speed=drive.speed * math.exp(luck.gauss(0, 0.2)))
        self.learn(state, drive, steps)
        if rate > RUINOUS / 2:
            self.lose(state, 1 - math.exp(-steps * 2e-3 * (rate / RUINOUS) ** 3))
        level = JITTER * rate**2 / (1 + 10 * beta)
        state.noise += (level - state.noise) * (1 - math.exp(-steps * (0.02 + 0.03 * min(rate, 2))))
        used = 1 - math.exp(-steps * (0.002 + 0.012 * drive.speed))
        state.cut += (drive.clipped - state.cut) * used
        self._spend_entropy(state, drive, steps)
        state.kl += steps * (0.004 * drive.speed + 0.002 * max(rate - 2, 0.0))
        state.kl *= math.exp(-steps * 0.6 * beta * min(rate, 2))
        state.fresh += steps
        state.steps += steps
        return drive

    def _spend_entropy(self, state: State, drive: Drive, steps: float) -> None:
        spent = 0.012 * drive.speed * max(1.35 - 0.65 * drive.settings.temperature, 0.1)
        floor = LEAST_ENTROPY
        state.entropy = floor + (state.entropy - floor) * math.exp(-steps * spent)
        warmth = max(drive.settings.temperature - 1.2, 0.0) * 0.02 * min(drive.rate, 2)
        blast = 0.004 * max(drive.rate - RUINOUS / 2, 0.0)
        calmer = 1 / (1 + 30 * drive.settings.beta)
        state.entropy = min(state.entropy + steps * (warmth + blast) * calmer, 3.0)

    def metrics(self, state: State, drive: Drive, luck: Random) -> dict[str, float | None]:
        """What TRL would log for a few steps around here, in its names."""
        s = drive.settings
        reward = self.reward(state, drive.sampled)
        spread = math.sqrt(max(reward * (1 - reward), 0.0))
        shown = {
            "reward": reward + luck.gauss(0, 0.25 * spread / 2),
            "reward_std": spread,
            "frac_reward_zero_std": min(max(drive.dead + luck.gauss(0, 0.05), 0.0), 1.0),
            "entropy": state.entropy * (0.8 + 0.2 * s.temperature) * math.exp(luck.gauss(0, 0.03)),
            "grad_norm": 0.4 * (1 + drive.rate**2 / 8) * math.exp(luck.gauss(0, 0.25)),
            "loss": luck.gauss(0, 0.02),
            "learning_rate": s.learning_rate,
            "completions/mean_length": min(state.length, s.max_completion_length)
            * math.exp(luck.gauss(0, 0.02)),
            "completions/mean_terminated_length": min(
                state.length * (1 - 0.3 * drive.clipped), s.max_completion_length
            ),
            "completions/clipped_ratio": min(max(drive.clipped + luck.gauss(0, 0.01), 0.0), 1.0),
        }
        if s.beta > 0:
            shown["kl"] = state.kl * math.exp(luck.gauss(0, 0.1))
        return dict(shown)


def saturated(compute: float, middle: float, power: float) -> float:
    """Share of the way to the ceiling, 1 / (1 + (C_mid / C)^B) (ScaleRL, arXiv 2510.13786)."""
    return 1.0 / (1.0 + math.pow(middle / compute, power))


def beyond(limit: float, mean: float) -> float:
    """Share of log-normal lengths of this mean that lie beyond the limit."""
    middle = math.log(mean) - LENGTH_SPREAD**2 / 2
    return 0.5 * math.erfc((math.log(limit) - middle) / (LENGTH_SPREAD * math.sqrt(2)))


def dead_groups(p: float, size: int) -> float:
    """Share of groups whose completions all earn the same: p^G + (1-p)^G over questions of three
    difficulties. Source: reference, "Comparing methods honestly"."""
    p = min(max(p, 1e-6), 1 - 1e-6)
    logit = math.log(p / (1 - p))
    found = 0.0
    for shift in DIFFICULTIES:
        q = 1 / (1 + math.exp(-(logit + shift)))
        found += q**size + (1 - q) ** size
    return found / len(DIFFICULTIES)
