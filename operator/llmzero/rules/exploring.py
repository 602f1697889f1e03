"""Moves for a healthy stage: what paid goes on, what did not turns back, then ideas, then chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from math import exp, hypot, log
from random import Random

from llmzero.api.parameters import Role
from llmzero.api.proposals import ProposalRequest, StageView
from llmzero.api.spec import SettingsMap
from llmzero.rules.findings import Remedy
from llmzero.rules.moves import Position, Step, is_number, random_step, single_steps, together

RANDOM_TRIES = 48
PAIR_TRIES = 200
ONWARD = 0.5
"""Exponent of a change that paid, once more; -0.7 turns one back that did not [ours]."""
BACK = -0.7
HALFWAY_BACK = -0.5
FAR = 5.0
CLEAR = 1.0
"""Standard errors beyond which a change paid or cost something."""
CROSSED = 3
"""Most parameters that are taken over from a better stage elsewhere."""


def explore(request: ProposalRequest, position: Position) -> Iterator[Remedy]:
    """Moves in order of promise; the last ones find what is left of a small space.

    Regularization swings and capacity accumulates (the prior of arXiv 2606.18388); a change is
    judged by the paired difference to the sibling that went on unchanged. Near the end of a path,
    anneal.
    """
    stage = request.path[-1]
    yield from _swings(request, position)
    yield from _crossover(request, position)
    yield from _ideas(request, position)
    random = Random(f"{request.seed}:{stage.path}")
    for _ in range(RANDOM_TRIES):
        draws = [random.uniform(-1, 1) for _ in position.space]
        yield Remedy(random_step(position, draws), "a random step nearby")
    singles = list(single_steps(position))
    random.shuffle(singles)
    for changes in singles:
        yield Remedy(changes, "a single step: all else nearby is known")
    pairs = ({**a, **b} for a, b in combinations(singles, 2) if a.keys().isdisjoint(b))
    for changes in islice(pairs, PAIR_TRIES):
        yield Remedy(changes, "two single steps: all else nearby is known")


@dataclass(frozen=True, slots=True)
class _Trial:
    """A change that was made, and what it gave beyond going on unchanged."""

    changes: dict[str, tuple[object, object]]
    gain: float
    error: float
    against: str
    here: bool
    """Made from the stage to expand (a child), not on the way to it."""

    @property
    def paid(self) -> bool:
        return self.gain > CLEAR * self.error

    @property
    def cost(self) -> bool:
        return self.gain < -CLEAR * self.error

    def words(self) -> str:
        verdict = "paid" if self.paid else "cost" if self.cost else "did not pay"
        return f"{verdict} ({self.gain:+.3f} +- {self.error:.3f} against {self.against})"


def _trials(request: ProposalRequest) -> Iterator[_Trial]:
    """The stage's own change first, then those of its children, best evidence first."""
    sign = 1.0 if request.direction == "maximize" else -1.0
    stage = request.path[-1]
    base = _unchanged(request.siblings)
    name = f"its sibling {base.path}, which went on unchanged" if base else "its parent"
    if base is None and len(request.path) > 1:
        base = request.path[-2]
    own = _trial(stage, base, sign, name, False) if base else None
    if own:
        yield own
    calm = _unchanged(request.children)
    if calm is not None:
        tried = (
            _trial(child, calm, sign, f"{calm.path}, which went on unchanged", True)
            for child in request.children
        )
        clear = [t for t in tried if t and (t.paid or t.cost)]
        yield from sorted(clear, key=lambda t: -abs(t.gain))


def _unchanged(stages: list[StageView]) -> StageView | None:
    found = (s for s in stages if s.proposer == "continue" and s.value is not None)
    return next(found, None)


def _trial(
    stage: StageView, base: StageView, sign: float, against: str, here: bool
) -> _Trial | None:
    if stage.value is None or base.value is None or not stage.changes:
        return None
    error = hypot(stage.standard_error or 0.0, base.standard_error or 0.0)
    gain = sign * (stage.value - base.value)
    return _Trial(dict(stage.changes), gain, error, against, here)


def _swings(request: ProposalRequest, position: Position) -> Iterator[Remedy]:
    """Each change that was tried, once more where it paid, back where it did not.

    What was tried *from here* is not in force: a child that paid is taken over and extended, one
    that cost something is turned into its opposite.
    """
    for trial in _trials(request):
        steps: list[Step] = []
        for name, (old, new) in trial.changes.items():
            steps.append(_again(position, name, old, new, trial))
        changes = together(*steps)
        if changes:
            way = "further the same way" if trial.paid else "the other way"
            if trial.paid and not trial.here:
                way = "a smaller step the same way"
            yield Remedy(changes, f"{', '.join(trial.changes)} {trial.words()}: {way}")


def _again(position: Position, name: str, old: object, new: object, trial: _Trial) -> Step:
    parameter = position.space.get(name)
    if parameter is None:
        return None
    if not is_number(old) or not is_number(new):  # type: ignore[arg-type]
        back = not trial.paid and not trial.here and isinstance(old, str | bool)
        return position.set(name, old) if back else None  # type: ignore[arg-type]
    a, b = float(old), float(new)  # type: ignore[arg-type]
    if parameter.role is Role.CAPACITY:
        return position.grow(name) if trial.paid and b > a else None
    if trial.paid:
        power = 1.0 + ONWARD if trial.here else ONWARD
    else:
        power = BACK if trial.cost else HALFWAY_BACK
    if name == "temperature" or a <= 0 or b <= 0:
        return position.shift(name, power * (b - a))
    # Far beyond what one step may do; a power of any ratio would overflow.
    return position.scale(name, exp(min(max(power * (log(b) - log(a)), -FAR), FAR)))


def _crossover(request: ProposalRequest, position: Position) -> Iterator[Remedy]:
    """Towards the settings of a clearly better stage elsewhere, as PBT exploits."""
    sign = 1.0 if request.direction == "maximize" else -1.0
    stage = request.path[-1]
    for other in request.best[:1]:
        if stage.value is None or other.value is None:
            continue
        error = hypot(stage.standard_error or 0.0, other.standard_error or 0.0)
        if sign * (other.value - stage.value) <= CLEAR * error:
            continue
        apart = sorted(
            (p for p in request.parameters if p.name in other.parameters),
            key=lambda p: (
                -abs(p.to_unit(other.parameters[p.name]) - p.to_unit(position.settings[p.name]))
            ),
        )
        steps = [_towards(position, p.name, other.parameters) for p in apart[:CROSSED]]
        yield Remedy(
            together(*steps),
            f"towards the settings of stage {other.path}, which leads with {other.value:.3f}",
        )


def _towards(position: Position, name: str, target: SettingsMap) -> Step:
    parameter, aim, old = position.space[name], target[name], position.value(name)
    if old is None or not is_number(aim):
        return position.set(name, aim) if parameter.role is not Role.CAPACITY else None
    goal = float(aim)
    if parameter.role is Role.CAPACITY:
        return position.grow(name, goal / old if old else 2.0) if goal > old else None
    if old > 0 and goal > 0 and name != "temperature":
        return position.scale(name, goal / old)
    return position.shift(name, goal - old)


def _ideas(request: ProposalRequest, position: Position) -> Iterator[Remedy]:
    """Coordinated moves that help a healthy run now and then, in a seeded order."""
    p = position
    anneal = Remedy(
        together(p.scale("learning_rate", 0.5), p.shift("temperature", -0.1)),
        "anneal, with smaller steps on narrower samples",
    )
    ideas = [
        Remedy(
            together(p.scale("learning_rate", 1.8), p.scale("beta", 1.5)),
            "larger steps, held by the KL term where there is one",
        ),
        Remedy(
            together(p.shift("temperature", 0.15), p.scale("learning_rate", 0.7)),
            "wider samples with smaller steps",
        ),
        Remedy(
            together(p.grow("num_generations"), p.scale("learning_rate", 1.3)),
            "larger groups carry larger steps",
        ),
        Remedy(
            together(p.grow_other("num_generations"), p.scale("learning_rate", 0.8)),
            "more capacity, with slightly smaller steps",
        ),
    ]
    random = Random(f"{request.seed}:{request.path[-1].path}:order")
    random.shuffle(ideas)
    late = request.budget.depth <= 2
    ideas.insert(0 if late else random.randrange(len(ideas) + 1), anneal)
    for idea in ideas:
        yield Remedy(idea.changes, f"nothing is wrong: {idea.reason}")
