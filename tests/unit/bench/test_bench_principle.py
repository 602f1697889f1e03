"""``llmzero analyze``: signs along paths, against the same changes in random order."""

from itertools import pairwise, permutations
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmzero.api.parameters import Role
from llmzero.api.search import Best
from llmzero.api.stage import Provenance, StageNode
from llmzero.bench.principle import (
    Signs,
    Tree,
    along_all,
    along_best,
    bound_to_grow,
    signs_of,
)
from llmzero.simulator import SimulatedEngine, make_world
from llmzero.simulator.problems import simulated_search
from tests.unit.builders import search, stage


def line(root: int, rates: list[float], lengths: list[int]) -> list[StageNode]:
    """A path of stages below child ``root`` of the base model."""
    return [
        stage(
            "-".join([str(root), *["0"] * place]),
            settings={"learning_rate": rate, "max_completion_length": length},
            provenance=Provenance(proposer="agent"),
        )
        for place, (rate, length) in enumerate(zip(rates, lengths, strict=True))
    ]


def tree(paths: list[tuple[list[float], list[int]]]) -> Tree:
    nodes = [n for root, (rates, lengths) in enumerate(paths) for n in line(root, rates, lengths)]
    best = Best(node=nodes[-1].name, path=nodes[-1].spec.path, value=0.8, standard_error=0.01)
    made = search()
    return made.with_(status=made.status.with_(best=best)), nodes


SWINGS = ([1e-5, 3e-5, 1e-5, 3e-5, 1e-5], [8, 12, 12, 16, 32])
FALLS = ([1e-4, 5e-5, 2e-5, 1e-5, 5e-6], [32, 16, 12, 12, 8])


def test_signs_leave_out_what_did_not_change() -> None:
    made, nodes = tree([SWINGS])
    found = {s.parameter: s for s in signs_of(made, nodes, (0, 0))}
    assert found["learning_rate"].signs == (1, -1, 1, -1)
    assert found["max_completion_length"].signs == (1, 1, 1)
    assert set(found) == {"learning_rate", "max_completion_length"}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=7))
def test_expected_turns_are_the_mean_over_all_orders(signs: list[int]) -> None:
    found = Signs("beta", Role.REGULARIZATION, (0, 0), tuple(signs), ("",) * len(signs))
    orders = (sum(a != b for a, b in pairwise(order)) for order in permutations(signs))
    assert found.expected_turns == pytest.approx(mean(orders))


def test_the_pattern_holds_where_capacity_grows_and_regularization_swings() -> None:
    found = along_all([tree([SWINGS] * 6)])
    assert found.capacity.verdict == found.regularization.verdict == found.verdict == "holds"
    assert found.capacity.found is not None and found.capacity.found.value == 1.0
    assert found.regularization.found is not None
    assert found.regularization.found.value == pytest.approx(1.0)
    # Two ups and two downs: 2 * 2 * 2 / 4 = 2 turns of 3 by chance.
    assert found.regularization.null == pytest.approx(2 / 3)
    assert (found.paths, found.capacity.steps, found.regularization.steps) == (6, 18, 18)


def test_it_fails_where_capacity_falls() -> None:
    found = along_all([tree([FALLS] * 6)])
    assert found.capacity.verdict == "fails" and found.verdict == "fails"
    assert found.regularization.verdict == "undecided", "all one way in any order"


def test_a_block_of_ups_then_a_block_of_downs_fails_to_swing() -> None:
    blocks = ([1e-5, 2e-5, 4e-5, 8e-5, 4e-5, 2e-5, 1e-5], [8] * 7)
    found = along_all([tree([blocks] * 6)])
    assert found.regularization.verdict == "fails"


def test_few_steps_or_one_cluster_decide_nothing() -> None:
    assert along_all([tree([SWINGS])]).verdict == "undecided", "one path is no sample"
    assert along_all([tree([SWINGS] * 5)]).verdict == "undecided", "nor are five that agree"
    short = ([1e-5, 3e-5], [8, 12])
    assert along_all([tree([short] * 3)]).capacity.verdict == "undecided"


def test_a_step_that_paths_share_counts_once() -> None:
    trunk = line(0, [1e-5, 3e-5, 1e-5], [8, 12, 16])
    leaves = [
        stage(
            f"0-0-0-{number}",
            settings={"learning_rate": 3e-5, "max_completion_length": 32},
            provenance=Provenance(proposer="agent"),
        )
        for number in range(4)
    ]
    found = along_all([(search(), [*trunk, *leaves])])
    assert found.paths == 4
    # Two steps of capacity on the trunk and one a leaf; one turn there and one a leaf.
    assert (found.capacity.steps, found.regularization.steps) == (6, 5)


def test_coins_rarely_decide() -> None:
    """Searches whose capacity steps are coin flips, with a lean of each search's own."""
    random = np.random.default_rng(7)
    decided = dict.fromkeys((3, 6, 10), 0)
    for searches in decided:
        for _ in range(100):
            trees = []
            for _ in range(searches):
                lean = random.choice([0.2, 0.5, 0.8])
                places = np.cumsum(np.where(random.random(5) < lean, 1, -1))
                lengths = [8 + 2 * int(n) for n in [5, *(places + 5)]]
                trees.append(tree([([1e-5] * 6, lengths)]))
            decided[searches] += along_best(trees).capacity.verdict != "undecided"
    assert decided[3] == 0
    assert decided[6] <= 10 and decided[10] <= 10


def test_best_paths_are_those_of_the_searches() -> None:
    trees = [tree([FALLS, SWINGS]) for _ in range(6)]
    best, every = along_best(trees), along_all(trees)
    assert (best.paths, every.paths) == (6, 12)
    assert best.capacity.verdict == "holds" and every.capacity.verdict == "undecided"


def test_random_trees_do_not_show_the_pattern() -> None:
    trees = []
    for seed in range(6):
        made = SimulatedEngine(
            simulated_search("random", {"perStage": True}, seed=seed, stages=16),
            make_world("saturating", seed),
        )
        made.run()
        trees.append((made.search, list(made.nodes.values())))
    found = along_all(trees)
    assert found.capacity.steps > 40
    assert found.capacity.verdict == "undecided"
    # The caveat of the module: independent draws turn back more often than by chance.
    assert found.regularization.found is not None
    assert found.regularization.found.value > found.regularization.null
    assert not bound_to_grow(trees)


def test_what_the_rules_may_not_do_otherwise_is_no_evidence() -> None:
    made = SimulatedEngine(
        simulated_search("llmzero", seed=1, stages=12), make_world("saturating", 1)
    )
    made.run()
    trees = [(made.search, list(made.nodes.values()))]
    assert bound_to_grow(trees)
    assert along_all(trees).capacity.verdict in ("holds", "undecided")
