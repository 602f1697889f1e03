"""The tree in arrays: the same whatever the order, and kept up to date as if built anew."""

import random

import numpy as np
import pytest
from simulated_engine import SimulatedEngine, make_search
from trees import Grower

from llmzero.api.stage import Outcome
from llmzero.search.rows import Kind
from llmzero.search.table import forget
from llmzero.search.tree import ROOT, Tree
from llmzero.search.values import Values


@pytest.fixture(scope="module")
def grown() -> SimulatedEngine:
    engine = SimulatedEngine(make_search(stages=30, parallelism=3), out_of_memory=0.1, seed=5)
    engine.run()
    return engine


def test_parents_come_first_and_siblings_by_number(grown: SimulatedEngine) -> None:
    nodes = list(grown.nodes.values())
    random.Random(0).shuffle(nodes)
    tree = Tree(grown.search, nodes)
    paths = [tuple(int(p) for p in tree.rows[i].path.split("-")) for i in tree.stages]
    assert paths == sorted(paths, key=lambda p: (len(p), p))
    for index in tree.stages:
        row = tree.rows[index]
        assert tree.parent[index] == (ROOT if row.parent is None else tree.index(row.parent))
        assert index in tree.children(int(tree.parent[index]))
        assert tree.find(row.name) == index
    assert tree.find("stranger") is None


def test_visits_and_flights_add_up_over_subtrees() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.3, steps=25)
    grower.grow("0-0", 0.4, steps=75)
    grower.grow("0-1", steps=100, outcome=None, changes={"beta": 0.1})
    grower.grow("1", outcome=Outcome.OUT_OF_MEMORY, ran=0)
    tree = grower.tree()
    at = {tree.rows[i].path: i for i in tree.stages}
    assert tree.visits[at["0"]] == 1.0
    assert tree.flying[at["0"]] == 1.0
    assert tree.visits[ROOT] == 1.25
    assert tree.account.spent == 1.25 and tree.account.reserved == 1.0


def test_a_tree_that_was_added_to_equals_one_built_anew(grown: SimulatedEngine) -> None:
    nodes = sorted(grown.trains(), key=lambda n: (n.spec.path.count("-"), n.status.sequence or 0))
    fresh = [n.with_(status=type(n.status)()) for n in nodes]
    tree = Tree(grown.search, [])
    for node in fresh:
        tree.add(node)
    again = Tree(grown.search, fresh)
    for index in again.stages:
        twin = tree.index(again.rows[index].name)
        assert tree.flying[twin] == pytest.approx(again.flying[index])
        assert tree.width[twin] == again.width[index]
        assert tree.continued[twin] == again.continued[index]
        assert [tree.rows[i].name for i in tree.children(twin)] == [
            again.rows[i].name for i in again.children(index)
        ]
        assert tree.next_number(twin) == again.next_number(index)
    assert tree.account.left == pytest.approx(again.account.left)


def test_orphans_are_charged_but_no_part_of_the_tree() -> None:
    grower = Grower(make_search())
    for path in ("0", "0-0", "0-0-0", "1"):
        grower.grow(path, 0.4)
    del grower.nodes[grower.node("0-0").name]
    tree = grower.tree()
    assert [tree.rows[i].path for i in tree.stages] == ["0", "1"]
    assert [row.path for row in tree.orphans] == ["0-0-0"]
    assert tree.account.spent == 3.0
    assert Values(tree).leader is not None


def test_numbers_of_deleted_stages_are_not_given_twice() -> None:
    grower = Grower(make_search())
    for path in ("0", "1", "2"):
        grower.grow(path, 0.4)
    del grower.nodes[grower.node("1").name]
    tree = grower.tree()
    assert tree.next_number(ROOT) == 3


def test_kinds_follow_outcomes() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.4)
    grower.grow("1", outcome=None)
    grower.grow("2", 0.1, ran=50, outcome=Outcome.EARLY_STOPPED)
    grower.grow("3", outcome=Outcome.DIVERGED, ran=25)
    grower.grow("4", outcome=Outcome.FAILED, ran=0)
    tree = grower.tree()
    kinds = [tree.rows[i].kind for i in tree.stages]
    assert kinds == [Kind.VALUED, Kind.IN_FLIGHT, Kind.CENSORED, Kind.FAILED, Kind.VOID]
    assert np.flatnonzero(tree.of_kind(Kind.IN_FLIGHT)).tolist() == [2]


def test_what_is_remembered_changes_nothing(grown: SimulatedEngine) -> None:
    nodes = list(grown.nodes.values())
    warm = Values(Tree(grown.search, nodes))
    forget()
    cold = Values(Tree(grown.search, nodes))
    assert np.array_equal(warm.q, cold.q)
    assert np.array_equal(warm.mean, cold.mean, equal_nan=True)


def test_one_uid_with_another_stage_length_is_read_anew() -> None:
    grower = Grower(make_search(steps=100))
    grower.grow("0", 0.4)
    assert grower.tree().account.spent == 1.0
    spec = grower.search.spec
    longer = spec.with_(stage=spec.stage.with_(steps=200))
    grower.search = grower.search.with_(spec=longer)
    assert grower.tree().account.spent == 0.5
