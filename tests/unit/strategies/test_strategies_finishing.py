"""Which line is finished: the best outlook, or what was learnt where evaluations cannot tell."""

import pytest
from simulated_engine import make_search

from llmzero.search.values import Values
from llmzero.strategies.finishing import likeliest
from tests.unit.search.trees import Grower, look

BASE = look(0, 0.44, error=0.03)


def lines(*ends: tuple[float, float]) -> Grower:
    """Root stages with a value and a gain of the training reward each."""
    grower = Grower(make_search())
    for number, (value, gain) in enumerate(ends):
        grower.grow(
            str(number),
            scores=[BASE, look(100, value, error=0.03)],
            features={"reward_start": 0.0, "reward_end": gain},
        )
    return grower


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(0.44, 0.0), (0.43, 0.4)], 2),  # within the noise of the base model
        ([(0.44, 0.0), (0.30, 0.4)], 1),  # it lost more than noise explains
        ([(0.70, 0.0), (0.69, 0.4)], 1),  # seen above the base model: values decide
    ],
)
def test_lines_that_evaluations_do_not_tell_apart_are_ranked_by_what_was_learnt(
    ends: list[tuple[float, float]], expected: int
) -> None:
    tree = lines(*ends).tree()
    values = Values(tree)
    assert likeliest(tree, values, tree.of_kind(1).nonzero()[0]) == expected


def test_what_was_learnt_counts_from_the_begin_of_unchanged_settings() -> None:
    """The first points of a stage that goes on are a noisy reading of what its parent's end says
    better; a change of settings begins anew."""
    grower = lines((0.44, 0.3), (0.44, 0.0))
    for path, start, end in (("0-0", 0.5, 0.3), ("1-0", 0.0, 0.15)):
        grower.grow(
            path,
            scores=[look(100, 0.44, error=0.03)],
            features={"reward_start": start, "reward_end": end},
        )
    tree = grower.tree()
    ends = [tree.index(grower.node(path).name) for path in ("1-0", "0-0")]
    assert likeliest(tree, Values(tree), tree.of_kind(1).nonzero()[0][2:]) == ends[1]
