"""Generated stage histories with known, injected pathologies: what `make bench-agent` asks about.

Each history is a list of trainer records, made in one of two *regimes* and read by the same code
as a real stage's. A family is a kind in a regime. The ``long`` regime (reasoning-like: hundreds of
tokens, entropy about 1, 120 steps, 500 questions) may be looked at while thresholds are tuned; the
``short`` regime (exact answers: a dozen tokens, entropy about 0.4, 60 steps, 200 questions, other
curve shapes) is kept out of tuning.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmzero.api.contract import EvalRecord, Record, StepRecord
from llmzero.api.curve import PathologyKind as K
from llmzero.api.curve import Score
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import BudgetLeft, ProposalRequest, StageView
from llmzero.api.stage import Outcome
from llmzero.dynamics.curve import CurveBuilder
from llmzero.dynamics.pathologies import diagnose

Rng = np.random.Generator


@dataclass(frozen=True)
class Regime:
    name: str
    tuning: bool
    steps: int
    questions: int
    length: float
    limit: int
    entropy: float
    learning_rate: float
    shape: Callable[[float], float]
    noise: float


LONG = Regime("long", True, 120, 500, 420.0, 1024, 1.1, 1e-6, lambda x: 1 - math.exp(-3 * x), 0.02)
SHORT = Regime(
    "short", False, 60, 200, 14.0, 32, 0.45, 3e-5, lambda x: 1 / (1 + math.exp(-8 * (x - 0.4))), 0.04
)  # fmt: skip
REGIMES = (LONG, SHORT)


@dataclass
class Draft:
    """Curves of a stage as functions of progress x in 0..1, before noise."""

    regime: Regime
    rng: Rng
    severe: bool
    settings: dict[str, Any]
    reward: Callable[[float], float]
    accuracy: Callable[[float], float]
    entropy: Callable[[float], float]
    kl: Callable[[float], float]
    length: Callable[[float], float]
    clipped: Callable[[float], float]
    dead: Callable[[float], float]
    extra: dict[str, Callable[[float], float]] = field(default_factory=dict)
    spikes: dict[int, float] = field(default_factory=dict)
    outcome: Outcome = Outcome.SUCCEEDED
    ends_at: float = 1.0


@dataclass(frozen=True)
class History:
    """One stage, what was injected, and what else may honestly be found with it."""

    name: str
    family: str
    tuning: bool
    severity: str
    injected: frozenset[K]
    allowed: frozenset[K]
    request: ProposalRequest


Inject = Callable[[Draft], None]


def _draft(regime: Regime, rng: Rng, severe: bool) -> Draft:
    """A healthy stage: the evaluation rises well beyond its error, nothing else is odd."""
    start = rng.uniform(0.2, 0.4)
    gain = rng.uniform(0.22, 0.35)
    length = regime.length * rng.uniform(0.8, 1.2)
    entropy = regime.entropy * rng.uniform(0.9, 1.2)
    shape = regime.shape
    settings = {
        "learning_rate": regime.learning_rate,
        "beta": 0.01,
        "temperature": 1.0,
        "max_completion_length": regime.limit,
        "num_generations": 8,
        "loss_type": "dapo",
        "num_iterations": 1,
    }
    return Draft(
        regime,
        rng,
        severe,
        settings,
        reward=lambda x: start + gain * shape(x),
        accuracy=lambda x: start + gain * shape(x),
        entropy=lambda x: entropy * (1 - 0.4 * shape(x)),
        kl=lambda x: 0.03 * x,
        length=lambda x: length * (1 + 0.1 * x),
        clipped=lambda x: 0.02,
        dead=lambda x: 0.15 + 0.15 * shape(x),
    )


def _level(d: Draft, mild: float, severe: float) -> float:
    return (severe if d.severe else mild) * d.rng.uniform(0.95, 1.1)


def _flat(d: Draft, rewards: bool = True) -> None:
    level = d.accuracy(0.0)
    d.accuracy = lambda x: level
    if rewards:
        d.reward = lambda x: level


def non_finite(d: Draft) -> None:
    d.outcome = Outcome.DIVERGED
    d.ends_at = 0.35 if d.severe else 0.7


def out_of_memory(d: Draft) -> None:
    d.outcome = Outcome.OUT_OF_MEMORY
    d.ends_at = 0.1 if d.severe else 0.4
    d.settings["max_completion_length"] = d.regime.limit * 2


def gradient_spikes(d: Draft) -> None:
    height = _level(d, 60.0, 300.0)
    for x in (0.45, 0.7, 0.9) if d.severe else (0.55, 0.8):
        d.spikes[round(x * d.regime.steps)] = height


def reward_hacking(d: Draft) -> None:
    gain, fall, start = _level(d, 0.2, 0.45), _level(d, 0.0, 0.15), d.accuracy(0.0)
    shape = d.regime.shape
    d.reward = lambda x: start + gain * shape(x)
    d.accuracy = lambda x: start - fall * x


def policy_drift(d: Draft) -> None:
    top = _level(d, 0.6, 4.0)
    d.kl = lambda x: 0.005 * (top / 0.005) ** x


def over_constrained(d: Draft) -> None:
    _flat(d)
    d.settings["beta"] = 0.1 if d.severe else 0.08
    level = _level(d, 0.5, 1.5)
    d.kl = lambda x: level * min(5 * x + 0.2, 1.0)


def entropy_collapse(d: Draft) -> None:
    _flat(d)
    start, left = d.entropy(0.0), _level(d, 0.18, 0.03)
    d.entropy = lambda x: start * (left + (1 - left) * math.exp(-7 * x))


def entropy_explosion(d: Draft) -> None:
    start, top = d.entropy(0.0), _level(d, 2.0, 4.0)
    begin, fall = d.reward(0.0), _level(d, 0.1, 0.22)
    d.entropy = lambda x: start * (1 + (top - 1) * x)
    d.reward = lambda x: begin - fall * x
    d.accuracy = lambda x: begin - 0.5 * fall * x


def truncation(d: Draft) -> None:
    level, limit = _level(d, 0.16, 0.55), d.regime.limit
    d.clipped = lambda x: level * min(0.5 + x, 1.0)
    d.length = lambda x: limit * (0.6 + 0.3 * min(level, 1.0) * x)


def length_hacking(d: Draft) -> None:
    _flat(d, rewards=False)
    start, growth = d.length(0.0), _level(d, 0.9, 2.2)
    begin = d.reward(0.0)
    d.reward = lambda x: begin + 0.03 * x
    d.settings["max_completion_length"] = 8 * d.regime.limit
    d.length = lambda x: start * (1 + growth * x)


def dead_groups_hard(d: Draft) -> None:
    level = _level(d, 0.65, 0.85)
    d.dead = lambda x: level
    d.reward = lambda x: 0.04 + 0.12 * x
    d.accuracy = lambda x: 0.04 + 0.12 * x


def dead_groups_easy(d: Draft) -> None:
    level = _level(d, 0.65, 0.85)
    d.dead = lambda x: level
    d.reward = lambda x: 0.82 + 0.12 * x
    d.accuracy = lambda x: 0.78 + 0.14 * x


def clip_saturation(d: Draft) -> None:
    d.settings["num_iterations"] = 4
    level = _level(d, 0.08, 0.25)
    d.extra["clip_ratio/region_mean"] = lambda x: level


def stale_sampler(d: Draft) -> None:
    ratio = _level(d, 2.6, 5.0)
    d.extra["sampling/importance_sampling_ratio/mean"] = lambda x: 1 + (ratio - 1) * x
    d.extra["sampling/sampling_logp_difference/mean"] = lambda x: 0.3 * ratio * x


def overfit(d: Draft) -> None:
    start, gain, fall = d.accuracy(0.0), 0.15, _level(d, 0.16, 0.28)
    shape = d.regime.shape
    d.reward = lambda x: start + 0.4 * shape(x)
    d.accuracy = lambda x: start + (gain * x / 0.5 if x < 0.5 else gain - fall * (x - 0.5) / 0.5)


def plateau(d: Draft) -> None:
    _flat(d)
    start = d.entropy(0.0)
    d.entropy = lambda x: start * (1 - 0.1 * x)


def healthy(d: Draft) -> None:
    pass


_FLAT = frozenset({K.PLATEAU})
KINDS: dict[str, tuple[Inject, frozenset[K], frozenset[K]]] = {
    "NonFinite": (non_finite, frozenset({K.NON_FINITE}), frozenset({K.PLATEAU})),
    "OutOfMemory": (out_of_memory, frozenset({K.OUT_OF_MEMORY}), frozenset({K.PLATEAU})),
    "GradientSpikes": (gradient_spikes, frozenset({K.GRADIENT_SPIKES}), frozenset()),
    "RewardHacking": (reward_hacking, frozenset({K.REWARD_HACKING}), frozenset({K.OVERFIT, K.PLATEAU})),
    "PolicyDrift": (policy_drift, frozenset({K.POLICY_DRIFT}), frozenset()),
    "OverConstrained": (over_constrained, frozenset({K.OVER_CONSTRAINED}), _FLAT | {K.POLICY_DRIFT}),
    "EntropyCollapse": (entropy_collapse, frozenset({K.ENTROPY_COLLAPSE}), _FLAT),
    "EntropyExplosion": (entropy_explosion, frozenset({K.ENTROPY_EXPLOSION}), _FLAT),
    "Truncation": (truncation, frozenset({K.TRUNCATION}), frozenset()),
    "LengthHacking": (length_hacking, frozenset({K.LENGTH_HACKING}), _FLAT),
    "ZeroVarianceGroups/hard": (dead_groups_hard, frozenset({K.ZERO_VARIANCE_GROUPS}), frozenset()),
    "ZeroVarianceGroups/easy": (dead_groups_easy, frozenset({K.ZERO_VARIANCE_GROUPS}), frozenset()),
    "ClipSaturation": (clip_saturation, frozenset({K.CLIP_SATURATION}), frozenset()),
    "StaleSampler": (stale_sampler, frozenset({K.STALE_SAMPLER}), frozenset()),
    "Overfit": (overfit, frozenset({K.OVERFIT}), frozenset({K.REWARD_HACKING, K.PLATEAU})),
    "Plateau": (plateau, frozenset({K.PLATEAU}), frozenset()),
    "Healthy": (healthy, frozenset(), frozenset()),
}  # fmt: skip
"""Name to injection, kinds that must be found, and kinds that may be found with them."""

PAIRS = (
    ("Truncation", "PolicyDrift"),
    ("EntropyCollapse", "Truncation"),
    ("ZeroVarianceGroups/hard", "GradientSpikes"),
    ("LengthHacking", "PolicyDrift"),
    ("EntropyExplosion", "Truncation"),
    ("RewardHacking", "PolicyDrift"),
    ("Plateau", "ZeroVarianceGroups/hard"),
    ("OverConstrained", "Truncation"),
)
"""First injected, second injected on top. What both write to keeps the second's values."""


def generated(seed: int = 7, repeats: int = 3) -> Iterator[History]:
    """Every family, mild and severe, ``repeats`` times with other noise, and mixed pairs."""
    for regime in REGIMES:
        for severe in (False, True):
            for repeat in range(repeats):
                for names in [(n,) for n in KINDS] + list(PAIRS):
                    yield _history(regime, severe, repeat, names, seed)


def _history(
    regime: Regime, severe: bool, repeat: int, names: tuple[str, ...], seed: int
) -> History:
    severity = "severe" if severe else "mild"
    title = "+".join(names)
    words = f"{seed}/{regime.name}/{severity}/{repeat}/{title}".encode()
    rng = np.random.default_rng(list(words))
    draft = _draft(regime, rng, severe)
    injected: frozenset[K] = frozenset()
    allowed: frozenset[K] = frozenset()
    for name in names:
        inject, kinds, extras = KINDS[name]
        inject(draft)
        injected |= kinds
        allowed |= extras
    if names == ("Plateau", "ZeroVarianceGroups/hard"):
        _flat(draft)
    name = f"{regime.name}/{title}/{severity}/{repeat}"
    return History(
        name,
        f"{regime.name}/{title}",
        regime.tuning,
        severity,
        injected,
        allowed,
        question(name, records(draft), draft.settings, draft.outcome, regime.steps),
    )


def records(d: Draft) -> list[Record]:
    """The draft as a trainer would print it: a record a step, an evaluation each quarter."""
    r, rng = d.regime, d.rng
    last = max(round(r.steps * d.ends_at), 1)
    every = r.steps // 4
    lines: list[Record] = []
    for step in range(last + 1):
        x = step / r.steps
        if step:
            metrics = _step_metrics(d, step, x, last)
            lines.append(
                StepRecord(
                    attempt=1, seq=len(lines) + 1, time=float(step), step=step, metrics=metrics
                )
            )
        if step % every == 0:
            share = min(max(d.accuracy(x), 0.0), 1.0)
            value = rng.binomial(r.questions, share) / r.questions
            error = math.sqrt(max(value * (1 - value), 0.002) / r.questions)
            score = Score(step=step, value=value, standard_error=error, questions=r.questions)
            lines.append(EvalRecord(attempt=1, seq=len(lines) + 1, time=float(step), score=score))
    return lines


def _step_metrics(d: Draft, step: int, x: float, last: int) -> dict[str, float | None]:
    r, rng = d.regime, d.rng

    def noisy(value: float, relative: float = 0.05) -> float:
        return value * float(np.exp(rng.normal(0, relative)))

    reward = d.reward(x) + float(rng.normal(0, r.noise))
    length, clipped = noisy(d.length(x)), min(max(noisy(d.clipped(x), 0.15), 0.0), 1.0)
    limit = float(d.settings["max_completion_length"])
    ended = (length - clipped * limit) / (1 - clipped) if clipped < 1 else length
    metrics: dict[str, float | None] = {
        "reward": reward,
        "reward_std": abs(noisy(0.35)),
        "frac_reward_zero_std": min(max(d.dead(x) + float(rng.normal(0, 0.06)), 0.0), 1.0),
        "entropy": noisy(d.entropy(x)),
        "kl": noisy(d.kl(x), 0.15),
        "grad_norm": noisy(0.4, 0.25) * d.spikes.get(step, 1.0),
        "loss": float(rng.normal(0, 0.02)),
        "learning_rate": float(d.settings["learning_rate"]),
        "completions/mean_length": length,
        "completions/mean_terminated_length": max(ended, 0.5 * length),
        "completions/clipped_ratio": clipped,
        **{name: noisy(f(x)) for name, f in d.extra.items()},
    }
    if d.outcome is Outcome.DIVERGED and step >= last - 1:
        metrics |= {"loss": None, "grad_norm": None, "reward": None}
    return metrics


def space(settings: dict[str, Any], limit: int) -> list[Parameter]:
    """The search space around a stage's settings."""
    rate = float(settings["learning_rate"])
    return [
        Parameter(
            name="learning_rate", role=Role.REGULARIZATION, min=rate / 30, max=rate * 30, scale="log",
            initial=rate,
        ),
        Parameter(name="beta", role=Role.REGULARIZATION, min=0, max=0.2, initial=0.01),
        Parameter(name="temperature", role=Role.REGULARIZATION, min=0.4, max=1.5, initial=1.0),
        Parameter(
            name="max_completion_length", role=Role.CAPACITY, type="int", min=limit // 4,
            max=limit * 8, initial=limit,
        ),
        Parameter(
            name="num_generations", role=Role.CAPACITY, type="categorical", choices=[4, 8, 16],
            initial=8,
        ),
        Parameter(
            name="loss_type", type="categorical", choices=["dapo", "dr_grpo", "grpo"], initial="dapo"
        ),
        Parameter(
            name="num_iterations", role=Role.FREE, type="int", min=1, max=8, initial=1
        ),
    ]  # fmt: skip


def question(
    name: str,
    lines: list[Record],
    settings: dict[str, Any],
    outcome: Outcome,
    steps: int,
    parameters: list[Parameter] | None = None,
    fixed: dict[str, Any] | None = None,
) -> ProposalRequest:
    """What a planner would ask about a stage with these records."""
    builder = CurveBuilder()
    for line in lines:
        builder.add(line)
    curve = builder.curve()
    found, pathologies = diagnose(curve, {**(fixed or {}), **settings}, outcome)
    ran = curve.steps[-1] if curve.steps else 0
    every = max(steps // 4, 1)
    last = curve.scores[-1] if curve.scores else None
    stage = StageView(
        node=name.replace("/", "-")[:63],
        path="0",
        depth=1,
        parameters=settings,
        proposer="initial",
        outcome=outcome.value,
        steps=ran,
        value=last.value if last else None,
        standard_error=last.standard_error if last else None,
        features=found,
        pathologies=pathologies,
        scores=curve.scores,
        checkpoints=list(range(every, ran + 1, every)),
    )
    return ProposalRequest(
        request_id=name[:128],
        search="bench",
        task="Generated histories: answers are right or wrong, the reward is the share right.",
        objective="eval/accuracy",
        parameters=parameters or space(settings, int(settings["max_completion_length"])),
        fixed=fixed or {},
        stage_steps=steps,
        path=[stage],
        curve=curve,
        budget=BudgetLeft(stages=10, depth=4),
        count=2,
        seed=1,
    )
