"""Options of strategy llmzero that divide the budget, and those that switch a part off."""

import pytest
from simulated_engine import make_search

from llmzero.api.stage import Phase, StageNode
from llmzero.search.budget import SEGMENTS, charge, segments
from llmzero.simulator import SimulatedEngine, make_world
from llmzero.simulator.problems import simulated_search
from llmzero.strategies import check_options


def ended(options: dict[str, object], seed: int, family: str = "bottlenecks") -> list[StageNode]:
    """All stages of training of a simulated search."""
    engine = SimulatedEngine(
        simulated_search("llmzero", options, seed=seed), make_world(family, seed)
    )
    engine.run()
    return [n for n in engine.nodes.values() if n.spec.steps]


def shares(screen: object = 0.25, tree: object = 0.0, finish: object = 0.75) -> dict[str, object]:
    return {"shares": {"screen": screen, "tree": tree, "finish": finish}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shares": 0.5}, "a share for each of screen, tree, finish"),
        ({"shares": {"screen": 1.0}}, "a share for each of screen, tree, finish"),
        (shares(screen="much"), "screen: found 'much', allowed is 0 to 1"),
        (shares(finish=0.5), "add up to 0.75"),
        ({"branch": "first"}, "chosen, last"),
        ({"inFlight": 2}, "allowed are true and false"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], said: str) -> None:
    (problem,) = check_options("llmzero", options)
    assert said in problem
    assert set(segments(make_search(options=options).spec)) == set(SEGMENTS)


def test_the_shares_say_what_the_budget_is_spent_on() -> None:
    """Where the tree gets none, UCT is asked only where a slot would be idle."""

    def selected(options: dict[str, object]) -> float:
        spent = {True: 0.0, False: 0.0}
        for seed in range(6):
            for n in ended(options, seed):
                cost = charge(n.spec.steps, n.status.step, n.status.phase, 100)
                spent[n.spec.segment == "tree"] += cost
        return spent[True] / sum(spent.values())

    little, much = selected(shares()), selected(shares(tree=0.75, finish=0.0))
    assert little < 0.25 < 0.5 < much


def test_children_start_at_the_last_checkpoint_where_told_so() -> None:
    """In worlds where a reward is hacked, the chosen one is often from before."""

    def earlier(options: dict[str, object]) -> int:
        found = 0
        for seed in range(8):
            nodes = {n.name: n for n in ended(options, seed, "gamed")}
            for start in (n.spec.start for n in nodes.values() if n.spec.start):
                parent = nodes[start.node]
                whole = parent.status.phase is Phase.SUCCEEDED
                found += whole and start.step < parent.spec.steps
        return found

    assert earlier({"branch": "last"}) == 0 < earlier({})
