"""Golden tests: UCT with in-flight counts, progressive widening, the descent."""

import math

import numpy as np
import pytest
from simulated_engine import make_search
from trees import Grower

from llmzero.search.selection import Selection
from llmzero.search.tree import ROOT
from llmzero.search.uct import score
from llmzero.search.values import Values
from llmzero.search.widening import root_width, width


def test_score_is_the_formula() -> None:
    # 0.6 + 0.5 * sqrt(ln(1 + 7 + 2) / (3 + 1))
    assert score(0.6, 3, 1, 7, 2) == pytest.approx(0.6 + 0.5 * math.sqrt(math.log(10) / 4))


def test_score_of_fractions_is_finite_and_its_bonus_never_negative() -> None:
    assert score(0.0, 0.0, 0.0, 0.0, 0.0) == 0.0
    assert score(0.2, 0.05, 0.0, 0.1, 0.0) == pytest.approx(
        0.2 + 0.5 * math.sqrt(math.log(1.1) / 0.25)
    )


def test_what_is_in_flight_lowers_the_bonus_and_no_value() -> None:
    quiet, busy = score(0.5, 2, 0, 5, 0), score(0.5, 2, 3, 5, 0)
    assert busy < quiet
    assert busy > 0.5


@pytest.mark.parametrize(
    ("visits", "flying", "expected"),
    [(0, 0, 0), (0.25, 0, 1), (1, 0, 1), (1, 1, 2), (4, 0, 2), (4, 0.1, 3), (9, 0, 3), (10, 0, 4)],
)
def test_width_is_the_root_of_the_visits_rounded_up(
    visits: float, flying: float, expected: int
) -> None:
    assert width(visits, flying) == expected


@pytest.mark.parametrize(
    ("stages", "depth", "parallelism", "expected"),
    [
        (48, 6, 2, 4),
        (49, 6, 2, 5),
        (12, 6, 2, 2),
        (12, 6, 4, 4),
        (1000, 6, 2, 16),
        (4, 6, 32, 16),
        (1, 6, 1, 1),
    ],
)
def test_the_root_has_its_own_width(
    stages: float, depth: int, parallelism: int, expected: int
) -> None:
    assert root_width(stages, depth, parallelism) == expected


def selection(grower: Grower, able: set[str], eager: set[str] | None = None) -> tuple:
    tree = grower.tree()
    at = {tree.rows[i].path: i for i in tree.stages}
    flags = np.zeros(len(tree), dtype=bool)
    flags[[at[p] for p in able]] = True
    keen = np.zeros(len(tree), dtype=bool)
    keen[[at[p] for p in (able if eager is None else eager)]] = True
    return tree, at, Selection(tree, Values(tree), flags, keen)


def test_the_descent_widens_the_best_open_stage() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    _tree, at, choice = selection(grower, {"0", "1"})
    assert choice.choose() == at["1"]
    choice.block(at["1"])
    assert choice.choose() == at["0"]
    choice.block(at["0"])
    assert choice.choose() is None


def test_a_full_stage_is_widened_by_force_only_where_nothing_is_open() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("1-0", 0.5)
    grower.grow("1-1", 0.5, changes={"beta": 0.1})
    tree, at, choice = selection(grower, {"0", "1"}, eager={"1"})
    # sqrt(3) allows two children of 1, which it has; 0 is not eager.
    assert width(tree.visits[at["1"]], 0) == 2
    assert choice.choose() in (at["0"], at["1"])
    tree, at, choice = selection(grower, {"0", "1"}, eager={"0", "1"})
    assert choice.choose() == at["0"], "0 has room, 1 has none"


def test_a_stage_in_flight_widens_its_ancestors() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.2)
    tree, at, choice = selection(grower, {"0"})
    assert choice.choose() == at["0"]
    for number in range(3):
        node = Grower(make_search())
        node.nodes = dict(grower.nodes)
        child = node.grow(f"0-{number}", outcome=None, changes={"beta": 0.1} if number else None)
        index = tree.add(child)
        choice._values.added()
        choice.added(index)
    # 1 visit and 3 in flight: sqrt(4) = 2 < 3 children, so only force is left.
    assert tree.width[at["0"]] == 3
    assert not choice._open[at["0"]]
    assert choice.choose() == at["0"]
    assert choice._able_below[ROOT] == 1
