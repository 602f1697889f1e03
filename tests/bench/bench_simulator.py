"""How near the simulator is to recorded training: constants are fitted on some seeds, tried on others.

    python tests/bench/bench_simulator.py --record runs/bench    # evaluations of `make bench-full`
    python tests/bench/bench_simulator.py

A world's constants are fitted, by least squares over all evaluations of all stages of all methods,
to the even seeds of a task, and to the odd ones. On the others it predicts each stage's last
evaluation, from nothing but the settings and steps along its path. Beside it stand predictions that
know nothing of dynamics, the base model's score and the mean of the fitted seeds' stages that end
equally far from it, and the error of the questions alone. Then the same methods search the same
manifest in the world of the even seeds.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmzero.api.search import TrainingSearch
from llmzero.bench.statistics import bootstrap, iqm
from llmzero.bench.tables import compared
from llmzero.bench.trained import Trained
from llmzero.simulator.engine import SimulatedEngine
from llmzero.simulator.families.gamed import Gamed
from llmzero.simulator.families.saturating import Saturating
from llmzero.simulator.training import marks
from llmzero.simulator.world import State, World
from tests.bench.recorded import Recorded, Stage, read, record, write

Floats = npt.NDArray[np.float64]
RECORDED: Final = Path("benchmarks/recorded")
TRAINED: Final = Path("benchmarks/trained")
OUT: Final = Path("benchmarks/simulator-fit.json")
SEARCHES: Final = 20
"""Of each method in a fitted world."""
STARTS: Final = 12
"""Points drawn for the fit, and how many of them it goes on from."""
KEPT_STARTS: Final = 3


class Luckless(Random):
    """Every factor is its median, and nothing ever becomes NaN: no draw is below 1."""

    def random(self) -> float:
        return 1.0

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu


@dataclass(frozen=True, slots=True)
class Fitted:
    """A task, the family that is to be like it, and what of the family is free."""

    family: type[World]
    free: dict[str, tuple[float, float]]
    """Bounds of the constants that are fitted, on a log scale."""
    fixed: dict[str, float]


SHARED: Final = {
    "calm_rate": (1e-6, 1e-2),
    "ceiling": (0.5, 1.0),
    "middle": (0.5, 500.0),
}
TASKS: Final = {
    "quickstart": Fitted(
        Saturating,
        {**SHARED, "power": (0.5, 4.0), "too_hot": (1.0, 3.0), "first_length": (1.0, 20.0)},
        # What is learnt is the longer answer: it does not grow, and no limit cuts the shorter one.
        {"memory": math.inf, "growth": 0.0},
    ),
    "imperfect-verifier": Fitted(
        Gamed,
        {
            **SHARED,
            "too_hot": (1.0, 3.0),
            "trick_at": (0.01, 1.0),
            "cost": (0.3, 1.0),
            "pace": (1e-3, 1.0),
            "hold": (1e-3, 10.0),
        },
        # One answer of the base model in eleven is the trick (docs/tasks.md).
        {"memory": math.inf, "shift_at": math.inf, "known": 1 / 11},
    ),
}


def base_of(searches: Sequence[Recorded]) -> dict[str, float]:
    """Score and length of the base model, as recorded."""
    roots = [s for r in searches for s in r.stages if s.parent is None]
    return {
        "first": float(np.mean([s.scores[0] for s in roots])),
        "first_length": float(np.mean([s.lengths[0] for s in roots])),
    }


def world_of(task: Fitted, base: Mapping[str, float], values: Sequence[float]) -> World:
    world = task.family(0)
    for name, value in {**task.fixed, **base, **dict(zip(task.free, values, strict=True))}.items():
        setattr(world, name, value)
    return world


def predicted(world: World, search: Recorded) -> Iterator[tuple[Stage, list[float]]]:
    """Each stage with the accuracies at its evaluations: exact, and without luck."""
    kept: dict[tuple[int, int], State] = {}
    luck = Luckless()
    for place, stage in enumerate(search.stages):
        state = world.base()
        if stage.parent is not None:
            state = kept[stage.parent, stage.begun].at_boundary(*stage.carried)
        found, settings, at = [], stage.given(), 0
        for look in stage.steps:
            for before, step in pairwise([at, *marks(at, look)]):
                world.advance(state, settings, step - before, luck)
            at = look
            kept[place, at] = state.copy()
            found.append(world.accuracy(state))
        yield stage, found


def fit(task: Fitted, searches: Sequence[Recorded]) -> tuple[World, dict[str, Any]]:
    """The best of several least squares; the world, its constants, and those that stand at a bound
    (so that the recorded stages do not tell them)."""
    low, high = (np.log([bound[end] for bound in task.free.values()]) for end in (0, 1))
    base = base_of(searches)

    def errors(theta: Floats) -> Floats:
        world = world_of(task, base, np.exp(theta))
        return np.concatenate(
            [
                np.subtract(guess, stage.scores)
                for search in searches
                for stage, guess in predicted(world, search)
            ]
        )

    draws = np.random.default_rng(0).uniform(0.2, 0.8, (STARTS, len(low)))
    starts = sorted(low + draws * (high - low), key=lambda t: float((errors(t) ** 2).sum()))
    best = min(
        (
            least_squares(errors, t, bounds=(low, high), diff_step=1e-3)
            for t in starts[:KEPT_STARTS]
        ),
        key=lambda found: float(found.cost),
    )
    if not best.success:
        raise RuntimeError(f"the fit of {task.family.__name__} did not end: {best.message}")
    world = world_of(task, base, np.exp(best.x))
    names = dict.fromkeys([*base, *task.free])
    told = {name: float(f"{getattr(world, name):.3g}") for name in names}
    near = np.minimum(best.x - low, high - best.x) < 1e-2
    return world, {
        "constants": told,
        "atBound": [n for n, b in zip(task.free, near, strict=True) if b],
    }


def tried(world: World, fitted: Sequence[Recorded], others: Sequence[Recorded]) -> dict[str, Any]:
    """Root mean square errors of the last evaluations on the other seeds, in accuracy."""
    known = [(at, s.scores[-1]) for r in fitted for at, s in zip(r.places(), r.stages, strict=True)]
    far, ends = np.array(known).T
    guess, real, equal = [], [], []
    for search in others:
        for at, (stage, found) in zip(search.places(), predicted(world, search), strict=True):
            guess.append(found[-1])
            real.append(stage.scores[-1])
            equal.append(ends[np.abs(far - at) == np.abs(far - at).min()].mean())
    truth = np.array(real)
    asked = others[0].questions
    return {
        "stages": len(real),
        "leftOut": sum(s.left_out for s in others),
        "error": rms(guess - truth),
        "errorOfBase": rms(world.accuracy(world.base()) - truth),
        "errorOfEqualSteps": rms(equal - truth),
        "errorOfQuestions": rms(np.sqrt(truth * (1 - truth) / asked)),
        "rank": round(float(spearmanr(guess, truth).statistic), 2),
    }


def halved(
    task: Fitted, fitted: Sequence[Recorded], others: Sequence[Recorded]
) -> tuple[World, dict[str, Any]]:
    """The world of some seeds, and how it does on the others."""
    world, found = fit(task, fitted)
    seeds = {"fittedOn": fitted, "triedOn": others}
    told = {name: sorted({s.seed for s in some}) for name, some in seeds.items()}
    return world, {**told, **found, **tried(world, fitted, others)}


def rms(errors: Floats) -> float:
    """Root mean square."""
    return round(float(np.sqrt(np.mean(np.square(errors)))), 3)


def searched(name: str, world: World) -> dict[str, Any]:
    """Interquartile means of the methods' own picks, by training on the seeds that all have and in
    the fitted world, whose budget is that of the training."""
    stored = json.loads((TRAINED / f"{name}.json").read_text(encoding="utf-8"))
    budget = {limit: stored["protocol"].get(limit) for limit in ("stages", "tokens")}
    trained = Trained.of([next(Path("examples").rglob(f"{name}.yaml"))], Path(), **budget)
    if trained.protocol() != stored["protocol"]:
        raise RuntimeError(f"{TRAINED}/{name}.json: its manifest was another one")
    found = {}
    for method, columns in compared(stored["results"][name]).items():
        picks = []
        for seed in range(SEARCHES):
            search = TrainingSearch.model_validate(trained.manifest((name, method, seed)))
            picks.append(SimulatedEngine(search, world).run().winner)
        found[method] = {"real": _interval(columns["score"]), "simulated": _interval(picks)}
        seeds = columns["seed"]
    return {"seeds": seeds, "searches": SEARCHES, "methods": found}


def _interval(scores: Sequence[float]) -> list[float]:
    """Interquartile mean, and the ends of its 95 % interval."""
    found = bootstrap([np.array(scores)], iqm)
    return [round(v, 3) for v in (found.value, found.low, found.high)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--record", type=Path, help="the --dir of a benchmark by training")
    options.add_argument("-o", "--out", type=Path, default=OUT)
    given = options.parse_args()
    if given.record:
        for name in TASKS:
            runs = sorted(given.record.glob(f"{name}/*-*/run"))
            if not runs:
                options.error(f"--record {given.record}: no {name}/METHOD-SEED/run is there")
            write([record(run) for run in runs], RECORDED / f"{name}.jsonl")
            print(f"{name}: {len(runs)} searches recorded")
        return
    results = {}
    for name, task in TASKS.items():
        searches = read(RECORDED / f"{name}.jsonl")
        even, odd = ([s for s in searches if s.seed % 2 == part] for part in (0, 1))
        halves = [halved(task, even, odd), halved(task, odd, even)]
        results[name] = {
            "family": task.family.__name__.lower(),
            "fits": [found for _, found in halves],
            "search": searched(name, halves[0][0]),
        }
        print(name, json.dumps(results[name], indent=1), flush=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
