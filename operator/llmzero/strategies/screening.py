"""How many short first stages there are, how long they are, and how many of them go on."""

import math

from llmzero.search.budget import SLACK
from llmzero.search.widening import ROOT_MOST

RUNG = 0.25
"""Length of a screening rung, in stages. Source: reference, "Why a tree loses", 1."""
KEPT_RUNGS = 0.25
"""Share of the rungs that is continued to a full stage."""
SCREEN_MOST = 0.5
"""Screening never takes more of the budget than this, so that a path can grow [ours]."""


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
