"""What must hold for every search: property tests over simulated engines."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_engine import SimulatedEngine, make_search
from troubled import charged, in_flight, troubled

from llmzero import strategies
from llmzero.api import names
from llmzero.api.spec import EarlyStopping
from llmzero.api.stage import Phase, Purpose
from llmzero.search.decisions import Ask, Create, Expand, Plan, Start
from llmzero.search.table import forget

SLACK = 1e-6
LENGTHS = [(100, 25), (20, 5), (10, 10), (7, 3), (8, 1)]

FAST = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@st.composite
def engines(
    draw: st.DrawFn, strategy: str | None = None, agent: bool | None = None
) -> SimulatedEngine:
    steps, every = draw(st.sampled_from(LENGTHS))
    search = make_search(
        strategy=strategy or draw(st.sampled_from(["llmzero", "llmzero", "random", "grid"])),
        steps=steps,
        eval_every=every,
        stages=draw(st.sampled_from([0.2, 0.5, 1, 2, 3.3, 4, 7.75, 12, 16, 24])),
        parallelism=draw(st.integers(1, 6)),
        max_depth=draw(st.integers(1, 6)),
        seed=draw(st.integers(0, 99)),
        agent=draw(st.booleans()) if agent is None else agent,
        direction=draw(st.sampled_from(["maximize", "minimize"])),
        early_stopping=EarlyStopping(
            enabled=draw(st.booleans()), margin=0.02, looks=draw(st.integers(1, 2)), grace=0.2
        ),
    )
    return draw(troubled(search))


@FAST
@given(engines())
def test_a_search_keeps_its_budget_its_slots_and_its_space_and_ends(
    engine: SimulatedEngine,
) -> None:
    spec = engine.search.spec

    def check(engine: SimulatedEngine, plan: Plan) -> None:
        created = [d.node for d in plan.decisions if isinstance(d, Create)]
        assert not {n.name for n in created} & set(engine.nodes), "no node twice"
        assert len({n.name for n in created}) == len(created), "no node twice"
        assert in_flight(engine) + len(created) <= spec.strategy.parallelism
        starts = [d.node for d in plan.decisions if isinstance(d, Start)]
        assert len(engine.running()) + len(starts) <= spec.strategy.parallelism
        assert len(starts) == len(set(starts))
        assert charged(engine) <= spec.budget.stages + SLACK

    engine.after_plan = check
    last = engine.run()

    assert last.status.phase in ("Complete", "Failed")
    assert charged(engine) <= spec.budget.stages + SLACK
    assert last.status.ledger.stages_spent == pytest.approx(charged(engine), abs=1e-5)
    assert last.status.ledger.stages_reserved == 0
    for node in engine.trains():
        assert set(node.spec.parameters) == {p.name for p in spec.parameters}
        for p in spec.parameters:
            assert p.problem_with(node.spec.parameters[p.name]) is None
        assert 1 <= node.spec.steps <= spec.stage.steps
        assert node.name == names.stage_name("sim", "uid-1", node.spec.path)


@FAST
@given(engines())
def test_every_stage_starts_where_its_parent_left_off(engine: SimulatedEngine) -> None:
    engine.run()
    spec = engine.search.spec
    horizon = spec.strategy.max_depth * spec.stage.steps
    by_name = {n.name: n for n in engine.trains()}
    for node in engine.trains():
        begin = node.spec.data_offset // spec.stage.prompts_per_step
        assert begin + node.spec.steps <= horizon
        assert node.spec.path.count("-") + 1 <= spec.strategy.max_depth + 1
        if node.spec.parent is None:
            assert node.spec.start is None and begin == 0
            continue
        parent = by_name[node.spec.parent]
        assert node.spec.path.rpartition("-")[0] == parent.spec.path
        assert node.spec.start is not None and node.spec.start.node == parent.name
        assert node.spec.start.step in engine.ended[parent.name].checkpoints
        assert (
            begin == parent.spec.data_offset // spec.stage.prompts_per_step + node.spec.start.step
        )
        changed = {c.name for c in node.spec.changes}
        for name, value in node.spec.parameters.items():
            assert (name in changed) == (parent.spec.parameters[name] != value)


@FAST
@given(engines(agent=False))
def test_a_free_slot_is_used_while_any_stage_can_go_on(engine: SimulatedEngine) -> None:
    """Checked from outside: no ended stage that nothing continues fits into the budget."""
    spec = engine.search.spec
    full = spec.stage.steps

    def check(engine: SimulatedEngine, plan: Plan) -> None:
        if spec.strategy.name != "llmzero" or plan.status.phase != "Running":
            return
        created = [d.node for d in plan.decisions if isinstance(d, Create)]
        if in_flight(engine) + len(created) >= spec.strategy.parallelism:
            return
        left = spec.budget.stages - charged(engine) - sum(n.spec.steps / full for n in created)
        continued = {
            n.spec.parent for n in [*engine.trains(), *created] if n.spec.path.endswith("-0")
        }
        for node in engine.trains():
            end = node.spec.data_offset // spec.stage.prompts_per_step + node.spec.steps
            steps = min(full - end if end < full else full, spec.strategy.max_depth * full - end)
            if node.status.phase is Phase.SUCCEEDED and node.name not in continued and steps > 0:
                assert max(steps / full, 0.25) > left + SLACK, f"{node.name} could go on"

    engine.after_plan = check
    engine.run()


@FAST
@given(engines(), st.randoms(use_true_random=False))
def test_neither_the_order_of_nodes_nor_what_is_remembered_matters(
    engine: SimulatedEngine, random
) -> None:
    def check(engine: SimulatedEngine, plan: Plan) -> None:
        nodes = list(engine.nodes.values())
        turn = random.randrange(4)
        if turn == 0:
            random.shuffle(nodes)
        elif turn == 1:
            forget()
        assert strategies.plan(engine.search, nodes, engine.now) == plan

    engine.after_plan = check
    engine.run()


@FAST
@given(engines(), st.randoms(use_true_random=False))
def test_after_any_prefix_of_a_plan_the_rest_follows(engine: SimulatedEngine, random) -> None:
    engine.answers = False  # an answer that arrives is new information, not a prefix

    def check(engine: SimulatedEngine, plan: Plan) -> None:
        decisions = [d for d in plan.decisions if not isinstance(d, Ask)]
        if not decisions:
            return
        cut = random.randint(1, len(decisions))
        copy = SimulatedEngine(engine.search, nodes=dict(engine.nodes), now=engine.now)
        copy.apply(decisions[:cut])
        rest = copy.plan()
        assert [d for d in rest.decisions if not isinstance(d, Ask)] == decisions[cut:]

    engine.after_plan = check
    engine.run()


@FAST
@given(engines())
def test_the_recorded_order_of_completions_implies_the_tree(engine: SimulatedEngine) -> None:
    engine.run()
    replay = SimulatedEngine(engine.search.with_(status=type(engine.search.status)()))
    for name in engine.log:
        while replay.step().decisions and name not in replay.nodes:
            pass
        expansion = replay.nodes[name].status.expansion
        ended = engine.ended[name]
        replay.nodes[name] = replay.nodes[name].with_(status=ended.with_(expansion=expansion))
        replay.log.append(name)
    replay.step()
    assert {n: x.spec for n, x in replay.nodes.items()} == {
        n: x.spec for n, x in engine.nodes.items()
    }


@FAST
@given(engines(strategy="llmzero"))
def test_child_0_of_an_expanded_stage_goes_on_unchanged(engine: SimulatedEngine) -> None:
    engine.run()
    for node in engine.trains():
        if node.spec.parent is None or not node.spec.path.endswith("-0"):
            continue
        assert node.spec.changes == []
        assert node.spec.carry_optimizer and node.spec.carry_reference
        parent = engine.nodes[node.spec.parent]
        assert node.spec.start is not None
        assert node.spec.start.step == max(engine.ended[parent.name].checkpoints)
    parents = {n.spec.parent: n for n in engine.trains() if n.spec.parent}
    for name in parents:
        if engine.nodes[name].status.phase is Phase.SUCCEEDED:
            assert any(
                n.spec.parent == name and n.spec.path.endswith("-0") for n in engine.trains()
            )


@FAST
@given(engines())
def test_siblings_share_rollouts_and_only_replicas_repeat_a_transition(
    engine: SimulatedEngine,
) -> None:
    engine.run()
    groups: Counter = Counter()
    for node in engine.trains():
        spec = node.spec
        if spec.provenance.proposer == "replica":
            twin = next(
                n
                for n in engine.trains()
                if n.spec.parent == spec.parent
                and n.spec.parameters == spec.parameters
                and n.spec.start == spec.start
                and n is not node
            )
            assert twin.spec.rollout_seed != spec.rollout_seed
            assert twin.spec.data_offset == spec.data_offset
            continue
        groups[spec.parent, spec.rollout_seed] += 1
    assert len(groups) == len({parent for parent, _ in groups})


@settings(FAST, max_examples=10)
@given(engines(strategy="llmzero"), st.integers(1, 40))
def test_a_suspended_search_stops_and_goes_on_to_the_same_end(
    engine: SimulatedEngine, pause: int
) -> None:
    for _ in range(pause):
        engine.step()
        if engine.running():
            engine.end(engine.random.choice(engine.running()))
    spec = engine.search.spec
    engine.search = engine.search.with_(spec=spec.with_(suspend=True, suspend_policy="Stop"))
    plan = engine.step()
    ended = plan.status.phase
    assert ended in ("Suspended", "Failed")
    assert not any(isinstance(d, Create | Start | Expand) for d in plan.decisions)
    for name in engine.running():
        engine.end(name)
    assert not engine.step().decisions
    engine.now += timedelta(days=3)
    engine.search = engine.search.with_(spec=spec)
    assert engine.run().status.phase in ("Complete", "Failed")
    assert charged(engine) <= spec.budget.stages + SLACK


def test_evaluations_take_no_stages_and_score_what_they_name() -> None:
    engine = SimulatedEngine(make_search(stages=12))
    engine.run()
    evaluations = [n for n in engine.nodes.values() if n.spec.purpose is not Purpose.TRAIN]
    assert {n.spec.purpose for n in evaluations} == {Purpose.PROMOTE, Purpose.HELD_OUT}
    for node in evaluations:
        assert node.spec.steps == 0
        assert node.spec.segment == "promote"
        if node.spec.path == "base":
            assert node.spec.start is None and node.spec.parent is None
        else:
            assert node.spec.start is not None
            assert node.spec.start.node == node.spec.parent == engine.by_path(node.spec.path).name
