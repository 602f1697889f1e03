"""The short first stages: how many there are, how long they are, how many go on, what they try."""

import math
from collections.abc import Sequence

from llmzero.api.proposals import Infeasible
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance
from llmzero.rules.space import hopeless, known, local, shrunk, spread
from llmzero.search.budget import SLACK
from llmzero.search.tree import ROOT, Tree
from llmzero.search.widening import ROOT_MOST
from llmzero.strategies.warm import SCHEDULE, WarmStart

RUNG = 0.25
"""Length of a screening rung, in stages. Source: reference, "Why a tree loses", 1."""
KEPT_RUNGS = 0.25
"""Share of the rungs that is continued to a full stage."""
SCREEN_MOST = 0.5
"""Screening never takes more of the budget than this, so that a path can grow [ours]."""
TRIES = 16


def rung(stage_steps: int, eval_every: int) -> int:
    """Steps of a screening rung: a quarter stage, rounded up to a whole number of evaluations."""
    return min(math.ceil(RUNG * stage_steps / eval_every) * eval_every, stage_steps)


def screening_cost(rungs: int, length: float) -> float:
    """Full stages that ``rungs`` of ``length`` stages cost, the kept ones continued."""
    return rungs * length + math.ceil(rungs * KEPT_RUNGS) * (1 - length)


def rung_count(stages: float, length: float, width: int, share: float) -> int:
    """Rungs at the root: what the screening's share pays, at least the root's own width,

    at most 16 and what half of the budget pays; at least one.
    """
    fits = [
        n for n in range(1, ROOT_MOST + 1) if screening_cost(n, length) <= share * stages + SLACK
    ]
    most = [
        n
        for n in range(1, ROOT_MOST + 1)
        if screening_cost(n, length) <= SCREEN_MOST * stages + SLACK
    ]
    return max(min(max([*fits[-1:], width]), max(most, default=1)), 1)


def root_setting(
    tree: Tree, warm: WarmStart | None, failures: Sequence[Infeasible]
) -> tuple[SettingsMap, Provenance] | None:
    """The next settings at the root, and why: the initial ones, those that a schedule begins with,
    then in turn a move around the initial ones and two of an even spread. None where nothing new is
    found."""
    spec, number = tree.search.spec, tree.next_number(ROOT)
    parameters, seed = spec.parameters, spec.strategy.seed
    if not tree.children(ROOT):
        initial: SettingsMap = {p.name: p.clip(p.initial) for p in parameters}
        return initial, Provenance(proposer="initial", rationale="the declared initial values")
    taken = [tree.rows[i].parameters for i in tree.children(ROOT)]
    # As it stands, however near to another one: the line begins with it.
    if warm is not None and warm.first not in taken:
        why = f"how the schedule {warm.name} begins"
        return warm.first, Provenance(proposer=SCHEDULE, rationale=why)
    turn, of_turn = divmod(number - 1, 3)
    for attempt in range(TRIES):
        again = attempt * ROOT_MOST
        if of_turn == 0:
            point, why = local(parameters, turn + again, seed)
        else:
            point = spread(parameters, 2 * turn + of_turn - 1 + again, seed)
            why = "an even spread of the space"
        if hopeless(parameters, point, failures):
            point = shrunk(parameters, point, failures)
            why += ", with less capacity because memory ran out"
        if not known(parameters, point, taken) and not hopeless(parameters, point, failures):
            return point, Provenance(proposer="explore", rationale=why)
    return None
