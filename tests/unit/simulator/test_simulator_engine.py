"""Whole searches in simulated worlds: to the end, at equal cost, as an engine would run them."""

import math
import time
from itertools import pairwise

import pytest

from llmzero.api.spec import Agent, EarlyStopping
from llmzero.api.stage import Outcome, Phase, Purpose
from llmzero.bench.methods import METHODS
from llmzero.simulator import SimulatedEngine, Trace, make_world
from llmzero.simulator.problems import simulated_search
from llmzero.simulator.world import World


def engine(strategy: str = "llmzero", family: str = "saturating", seed: int = 1, **kw: object):
    return SimulatedEngine(simulated_search(strategy, seed=seed, **kw), make_world(family, seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ends_at_the_same_cost_with_a_winner(name: str) -> None:
    method = METHODS[name]
    made = engine(method.strategy, options=method.options, stages=10, depth=4)
    trace = made.run()
    status = made.search.status
    assert status.phase == "Complete"
    # What is left is less than anything may cost (0.25), but for whole runs of a grid.
    assert 9 <= status.ledger.stages_spent <= 10 + 1e-6
    assert status.ledger.stages_reserved == 0
    assert trace.base < trace.winner <= trace.best
    assert status.best is not None and status.best.split == "promote"
    assert len(status.held_out) >= 2


def test_the_same_search_is_the_same_and_another_seed_is_not() -> None:
    one, two, other = engine(), engine(), engine(seed=2)
    assert one.run() == two.run() != other.run()
    assert {n: s.status for n, s in one.nodes.items()} == {
        n: s.status for n, s in two.nodes.items()
    }


def test_a_search_of_thirty_stages_takes_less_than_half_a_second() -> None:
    seconds = []
    for _ in range(3):
        made = engine(stages=24)
        begun = time.process_time()
        made.run()
        seconds.append(time.process_time() - begun)
        assert len([n for n in made.nodes.values() if n.spec.purpose is Purpose.TRAIN]) >= 24
    assert min(seconds) < 0.5 * 2, "twice the target, for slow machines"


def test_stages_look_like_those_of_a_trainer() -> None:
    made = engine(stages=12)
    made.run()
    ended = [n for n in made.nodes.values() if n.status.outcome is Outcome.SUCCEEDED]
    train = [n for n in ended if n.spec.purpose is Purpose.TRAIN]
    for node in train:
        status = node.status
        assert status.result is not None and status.result.step == node.spec.steps
        assert [s.step for s in status.curve.scores] == [
            *range(0, node.spec.steps, 25),
            node.spec.steps,
        ]
        assert made.trainer.accuracy(node, node.spec.steps) is not None, (
            "its checkpoint was written"
        )
        assert status.features["eval_gain"] == pytest.approx(
            status.curve.scores[-1].value - status.curve.scores[0].value
        )
        assert len(status.curve.steps) <= 48 and status.cost.train_tokens > 0
        assert len(status.curve.model_dump_json(by_alias=True)) < 8 * 1024
    assert any(n.status.pathologies for n in train)
    # A child starts where its parent ended: the same exact accuracy.
    child = next(n for n in train if n.spec.start)
    world = make_world("saturating", 1)
    assert isinstance(world, World)
    parent = made.nodes[child.spec.parent or ""]
    exact = made.trainer.accuracy(parent, child.spec.start.step if child.spec.start else None)
    assert exact is not None
    assert child.status.curve.scores[0].value == pytest.approx(exact, abs=0.15)


def test_a_boundary_resets_what_the_stage_does_not_carry() -> None:
    made = engine(stages=16)
    made.run()
    node = next(n for n in made.nodes.values() if n.spec.start and n.spec.purpose is Purpose.TRAIN)
    spec = node.spec
    for optimizer in (True, False):
        for reference in (True, False):
            changed = spec.with_(carry_optimizer=optimizer, carry_reference=reference)
            state = made.trainer.begun(node.with_(spec=changed))
            assert (state.fresh > 0) is optimizer
            assert (state.kl > 0) is reference


def test_memory_and_ruinous_rates_end_stages_as_in_real_life() -> None:
    outcomes = set()
    for seed in range(6):
        made = engine("random", seed=seed, stages=12, depth=1)
        made.run()
        for node in made.nodes.values():
            outcomes.add(node.status.outcome)
            if node.status.outcome is Outcome.OUT_OF_MEMORY:
                assert node.status.step == 0 and node.status.cost.stages == 0.25
            if node.status.outcome is Outcome.DIVERGED:
                assert "NonFinite" in [p.kind for p in node.status.pathologies]
    assert {Outcome.OUT_OF_MEMORY, Outcome.DIVERGED, Outcome.EARLY_STOPPED} <= outcomes


def test_a_stopped_stage_is_charged_what_it_ran() -> None:
    for seed in range(10):
        made = engine("random", seed=seed)
        made.run()
        stopped = [n for n in made.nodes.values() if n.status.phase is Phase.STOPPED]
        if stopped:
            break
    assert stopped
    for node in stopped:
        assert node.status.stop is not None and node.status.stop.reason == "CurveBelowBest"
        assert 50 <= node.status.step < node.spec.steps
        assert node.status.cost.stages == pytest.approx(node.status.step / 100)


def test_stops_are_counted_and_judged_by_what_the_stage_would_have_become() -> None:
    stopped = wrong = 0
    for margin, seeds in ((0.0, range(4)), (0.05, range(4))):
        for seed in seeds:
            rule = EarlyStopping(margin=margin, looks=1, grace=0, audit_fraction=0)
            made = engine("random", seed=seed, early_stopping=rule, stages=16)
            trace = made.run()
            ended = [n for n in made.nodes.values() if n.status.phase is Phase.STOPPED]
            assert trace.stopped == len(ended) >= trace.stopped_wrongly
            lost = sum(n.spec.steps - n.status.step for n in ended)
            assert trace.saved == pytest.approx(lost / 100)
            stopped, wrong = stopped + trace.stopped, wrong + trace.stopped_wrongly
    assert 0 < wrong < stopped / 2


def test_a_stage_that_would_have_come_to_lead_was_stopped_wrongly() -> None:
    made = engine("random", seed=3, stages=16)
    made.run()
    best = made.search.status.best
    assert best is not None
    leader = made.nodes[best.node]
    assert made._was_fine(leader), "as good as itself"
    ruined = made.world.base()
    ruined.noise = 5.0
    made.trainer.states[leader.name + "-x", leader.spec.steps] = ruined
    other = leader.with_(metadata=leader.metadata.model_copy(update={"name": leader.name + "-x"}))
    assert not made._was_fine(other)


class Planning(SimulatedEngine):
    """Plans at every evaluation, however good it looks."""

    def _look(self, name: str, step: int) -> bool:
        super()._look(name, step)
        return True


@pytest.mark.parametrize("seed", range(4))
def test_no_plan_is_left_out_that_would_have_stopped_a_stage(seed: int) -> None:
    rule = EarlyStopping(margin=0.03, looks=1)
    search = simulated_search("random", seed=seed, early_stopping=rule, stages=16)
    quick, thorough = (
        kind(search, make_world("saturating", seed)) for kind in (SimulatedEngine, Planning)
    )
    assert quick.run() == thorough.run()
    assert quick.plans < thorough.plans


def test_the_leader_is_traced_over_cost() -> None:
    made = engine()
    trace = made.run()
    assert made.search.status.ledger.stages_spent <= 24
    assert trace.spent[0] == 0 and trace.leader[0] == trace.base
    assert all(a <= b for a, b in pairwise(trace.spent))
    assert trace.spent[-1] <= 1


def test_where_tokens_are_nearer_the_leader_is_traced_over_them() -> None:
    search = simulated_search("random", seed=3, tokens=8_000_000)
    made = SimulatedEngine(search, make_world("saturating", 3))
    trace = made.run()
    ledger = made.search.status.ledger
    assert ledger.stages_spent < 12, "less than half of the stages"
    assert 0.5 < trace.spent[-1] <= 1
    assert trace.train_tokens == ledger.train_tokens and trace.eval_tokens == ledger.eval_tokens > 0


def test_the_area_is_the_mean_over_the_budget() -> None:
    trace = Trace(
        spent=[0, 0.25, 0.75],
        leader=[0.1, 0.5, 0.9],
        winner=0.9,
        best=0.9,
        base=0.1,
        seconds=0,
        train_tokens=0,
    )
    assert trace.area == pytest.approx(0.25 * 0.1 + 0.5 * 0.5 + 0.25 * 0.9)


def test_agents_are_stood_in_for_and_minimized_objectives_refused() -> None:
    search = simulated_search("llmzero", seed=1)
    minimized = search.with_(
        spec=search.spec.with_(objective=search.spec.objective.with_(direction="minimize"))
    )
    with pytest.raises(ValueError, match="an accuracy to maximize"):
        SimulatedEngine(minimized, make_world("saturating", 1))
    asked = search.with_(spec=search.spec.with_(agent=Agent(endpoint="default")))
    made = SimulatedEngine(asked, make_world("saturating", 1))
    trace = made.run()
    assert made.search.status.phase == "Complete" and not math.isnan(trace.winner)
    proposers = {n.spec.provenance.proposer for n in made.nodes.values()}
    assert "agent" in proposers
