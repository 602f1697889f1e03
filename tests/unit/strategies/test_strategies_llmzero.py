"""The strategy llmzero: screening, proposals, replicas, finishing, agents and approvals."""

from collections import Counter

import pytest
from simulated_engine import PARAMETERS, START, SimulatedEngine, make_search
from trees import Grower

from llmzero import strategies
from llmzero.api.curve import Pathology, PathologyKind
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import Answered, BranchFrom, Proposal, ProposalAnswer, Usage
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget
from llmzero.api.stage import Outcome, Phase, StageNode
from llmzero.search.decisions import Ask, Create, Expand
from llmzero.search.expansion import with_answer
from llmzero.strategies.screening import rung, rung_count, screening_cost

TREE = {"shares": {"screen": 0.25, "tree": 0.3, "finish": 0.45}}
"""A tree that is large enough to be looked at."""


def created(grower: Grower) -> list[StageNode]:
    plan = strategies.plan(grower.search, list(grower.nodes.values()), START)
    return [d.node for d in plan.decisions if isinstance(d, Create)]


def screened(**kw: object) -> Grower:
    """A search whose screening is done: rung 0 leads and was continued."""
    kw = {"stages": 12, "parallelism": 1, "options": {"explore": 0}, **kw}
    kw["options"] = {**TREE, **kw["options"]}  # type: ignore[dict-item]
    grower = Grower(make_search(**kw))  # type: ignore[arg-type]
    for number in range(6):
        value = 0.4 if number == 0 else 0.3 - number / 100
        changes = {"beta": 0.03 + number / 50} if number else None
        grower.grow(str(number), value, steps=25, changes=changes, segment="screen")
    grower.grow("0-0", 0.5, steps=75, segment="screen")
    grower.grow("1-0", 0.3, steps=75, segment="screen")
    return grower


def answer(*changes: dict, request_id: str = "q", step: int = 75, **kw: object) -> Answered:
    return Answered(
        request_id=request_id,
        answered_by="agent",
        answer=ProposalAnswer(
            branch_from=BranchFrom(step=step),
            proposals=[Proposal(changes=c, rationale="because") for c in changes],
        ),
        **kw,  # type: ignore[arg-type]
    )


def give(grower: Grower, path: str, *answers: Answered, approved: bool | None = None) -> None:
    node = grower.node(path)
    expansion = None
    for one in answers:
        expansion = with_answer(expansion, one, grower.search.spec.approval == "manual")
    assert expansion is not None
    if approved is not None:
        expansion = expansion.with_(approved=approved)
    grower.nodes[node.name] = node.with_(status=node.status.with_(expansion=expansion))


# Screening -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(100, 25, 25), (100, 10, 30), (100, 60, 60), (20, 5, 5), (10, 10, 10), (7, 3, 3), (8, 1, 2)],
)
def test_a_rung_is_a_quarter_stage_in_whole_evaluations(
    steps: int, every: int, expected: int
) -> None:
    assert rung(steps, every) == expected


def test_screening_cost_is_all_rungs_and_the_kept_ones_continued() -> None:
    assert screening_cost(4, 0.25) == pytest.approx(4 * 0.25 + 0.75)
    assert screening_cost(5, 0.25) == pytest.approx(5 * 0.25 + 2 * 0.75)
    assert screening_cost(3, 1.0) == 3.0


@pytest.mark.parametrize(
    ("stages", "length", "width", "expected"),
    [
        (12, 0.25, 2, 6),  # 6 * .25 + 2 * .75 = 3 = a quarter of 12
        (24, 0.25, 2, 12),
        (48, 0.25, 4, 16),
        (4, 0.25, 2, 2),
        (4, 0.25, 4, 4),
        (4, 0.25, 16, 4),  # never more than half of the budget
        (1, 0.25, 2, 1),
        (0.5, 0.25, 2, 1),
        (12, 1.0, 2, 3),
    ],
)
def test_rung_count(stages: float, length: float, width: int, expected: int) -> None:
    assert rung_count(stages, length, width, 0.25) == expected


def test_the_root_starts_with_the_initial_point_then_moves_and_an_even_spread() -> None:
    engine = SimulatedEngine(make_search(stages=48, parallelism=16))
    engine.step()
    roots = sorted(engine.trains(), key=lambda n: int(n.spec.path))
    assert len(roots) == 16
    assert {n.spec.steps for n in roots} == {25}
    assert {n.spec.segment for n in roots} == {"screen"}
    assert len({n.spec.rollout_seed for n in roots}) == 1
    first, up, _, _, down = roots[:5]
    assert first.spec.changes == [] and first.spec.provenance.proposer == "initial"
    assert [(c.name, c.new) for c in up.spec.changes] == [("learning_rate", pytest.approx(3e-6))]
    assert [(c.name, c.new) for c in down.spec.changes] == [
        ("learning_rate", pytest.approx(1e-6 / 3, rel=1e-4))
    ]
    spread = [n for i, n in enumerate(roots) if i and (i - 1) % 3]
    for p in PARAMETERS:
        values = {n.spec.parameters[p.name] for n in spread}
        if p.name == "max_completion_length":
            assert min(values) >= p.initial and len(values) == len(spread), "from initial up"
        elif p.role is Role.CAPACITY:
            assert values == {p.initial}, "groups stay as they begin"
        else:
            units = sorted(p.to_unit(v) for v in values)
            assert len(units) == len(spread)
            gaps = [b - a for a, b in zip([0.0, *units], [*units, 1.0], strict=True)]
            assert max(gaps) < 0.45, "spread over its range"
    for node in roots[7::3]:
        assert 1 <= len(node.spec.changes) <= 4


def test_seeds_change_the_root() -> None:
    points = set()
    for seed in range(3):
        engine = SimulatedEngine(make_search(stages=48, parallelism=16, seed=seed))
        engine.step()
        points.add(str([n.spec.parameters for n in engine.trains()]))
    assert len(points) == 3


def test_the_top_quarter_of_the_rungs_is_continued_to_a_full_stage() -> None:
    grower = Grower(make_search(stages=12, parallelism=2, options=TREE))
    for number, value in enumerate((0.2, 0.5, 0.3, 0.6, 0.1, 0.2)):
        changes = {"beta": 0.03 + number / 50} if number else None
        grower.grow(str(number), value, steps=25, changes=changes, segment="screen")
    found = created(grower)
    assert [n.spec.path for n in found] == ["3-0", "1-0"]
    assert {n.spec.steps for n in found} == {75}
    assert all(n.spec.carry_optimizer and n.spec.carry_reference for n in found)


def test_rungs_left_behind_stay_behind_while_the_tree_has_room() -> None:
    engine = SimulatedEngine(make_search(stages=24, parallelism=2, options=TREE), seed=3)
    engine.run(order=lambda running: running[0])
    continued = {n.spec.path.split("-")[0] for n in engine.trains() if "-" in n.spec.path}
    assert len(continued) <= 4, "a quarter of 12 rungs, and one that kept a slot busy"


@pytest.mark.parametrize(("stages", "least"), [(4, 3), (8, 4), (12, 4), (24, 5)])
def test_small_budgets_grow_a_path_of_several_stages(stages: float, least: int) -> None:
    for seed in range(2):
        engine = SimulatedEngine(make_search(stages=stages, parallelism=2), seed=seed)
        engine.run()
        assert max(n.spec.path.count("-") + 1 for n in engine.trains()) >= least


def test_a_space_with_one_point_is_one_constant_run() -> None:
    only = Parameter(name="loss_type", type="categorical", choices=["dapo"], initial="dapo")
    engine = SimulatedEngine(make_search(parameters=[only], stages=10, max_depth=3))
    status = engine.run().status
    assert status.phase == "Complete"
    assert sorted(n.spec.path for n in engine.trains()) == ["0", "0-0", "0-0-0", "0-0-0-0"]
    assert status.ledger.stages_spent == pytest.approx(3)


def test_where_memory_runs_out_everywhere_the_root_shrinks() -> None:
    grower = Grower(make_search(stages=12, parallelism=1))
    grower.grow("0", outcome=Outcome.OUT_OF_MEMORY, ran=0, steps=25)
    (node,) = created(grower)
    assert node.spec.parameters["max_completion_length"] < 512
    assert node.spec.parameters["num_generations"] == 4
    assert "memory" in node.spec.provenance.rationale


def test_where_every_stage_crashes_the_root_goes_on_to_the_end_of_the_budget() -> None:
    engine = SimulatedEngine(make_search(stages=3, parallelism=2), crash=1.0)
    status = engine.run().status
    assert status.phase == "Failed"
    assert status.ledger.stages_spent == pytest.approx(3)
    assert all(n.spec.parent is None for n in engine.trains())


# Transitions ---------------------------------------------------------------------------------


def test_an_expanded_stage_continues_first_then_the_rules_propose() -> None:
    grower = screened()
    (going_on,) = created(grower)
    assert going_on.spec.path == "0-0-0" and going_on.spec.steps == 100
    grower.nodes[going_on.name] = going_on.with_(
        status=grower.node("0-0").status.with_(phase=Phase.RUNNING, outcome=None, sequence=None)
    )
    grower.search = grower.search.with_(
        spec=grower.search.spec.with_(strategy=grower.search.spec.strategy.with_(parallelism=2))
    )
    plan = strategies.plan(grower.search, list(grower.nodes.values()), START)
    expand, create = plan.decisions[:2]
    assert isinstance(expand, Expand) and isinstance(create, Create)
    (stored,) = expand.expansion.answers
    assert stored.answered_by == "rules"
    node = create.node
    assert node.spec.parent == expand.node
    assert node.spec.provenance.proposer == "rules" and node.spec.provenance.proposal == 0
    assert {c.name: c.new for c in node.spec.changes} == stored.answer.proposals[0].changes
    assert node.spec.carry_optimizer == stored.answer.proposals[0].carry_optimizer


def test_explore_is_the_share_of_random_transitions() -> None:
    counts: Counter[str] = Counter()
    for share in (0.0, 1.0):
        engine = SimulatedEngine(make_search(stages=30, options={**TREE, "explore": share}), seed=2)
        engine.run()
        changed = [n for n in engine.trains() if n.spec.parent and n.spec.changes]
        counts[f"{share}"] = sum(n.spec.provenance.proposer == "explore" for n in changed)
        counts[f"{share}-rules"] = sum(n.spec.provenance.proposer == "rules" for n in changed)
    assert counts["0.0-rules"] > 3 and counts["0.0"] == 0
    assert counts["1.0"] > 3 and counts["1.0-rules"] == 0


def grown_by_answer(grower: Grower, *changes: dict, step: int = 75) -> list[StageNode]:
    give(grower, "0-0", answer(*changes, step=step))
    grower.grow("0-0-0", 0.55)
    return created(grower)


def test_stored_proposals_become_children_with_all_that_they_say() -> None:
    grower = screened(agent=True)
    node = grower.node("0-0")
    grower.nodes[node.name] = node.with_(status=node.status.with_(checkpoints=[50, 75]))
    found = answer({"beta": 0.05}, step=50)
    proposal = Proposal(
        changes={"beta": 0.05, "temperature": 0.9},
        rationale="KL is high",
        expected={"kl": -0.1},
        carry_optimizer=True,
    )
    found = found.with_(answer=found.answer.with_(proposals=[proposal]))
    give(grower, "0-0", found)
    grower.grow("0-0-0", 0.3)
    grower.grow("1-0-0", 0.2)
    grower.grow("1-1", 0.2, steps=75, start_step=25, changes={"beta": 0.11})
    children = [n for n in created(grower) if n.spec.parent == node.name]
    (child,) = children
    assert child.spec.path == "0-0-1"
    assert child.spec.start is not None and child.spec.start.step == 50
    assert child.spec.data_offset == 75 * 8
    assert child.spec.carry_optimizer and not child.spec.carry_reference
    why = child.spec.provenance
    assert (why.proposer, why.rationale, why.expected, why.proposal) == (
        "agent",
        "KL is high",
        {"kl": -0.1},
        0,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1.0},  # outside of the space
        {"weight_decay": 0.1},  # not searched
        {"num_generations": 7},  # not among the choices
        {"beta": "high"},
        {},
    ],
)
def test_a_stored_proposal_outside_of_the_space_is_never_run(changes: dict) -> None:
    engine = SimulatedEngine(make_search(stages=16, agent=True, options={"explore": 0}), seed=1)
    space = {p.name: p for p in PARAMETERS}

    def bad_answer(ask: Ask) -> None:
        old = engine.nodes[ask.node].status.expansion
        bad = answer(changes, request_id=ask.request.request_id)
        engine.set(ask.node, expansion=with_answer(old, bad, manual=False))

    engine.answer = bad_answer  # type: ignore[method-assign]
    status = engine.run().status
    assert status.phase == "Complete" and status.ledger.stages_spent == pytest.approx(16)
    for node in engine.trains():
        assert all(space[n].problem_with(v) is None for n, v in node.spec.parameters.items())
        assert node.spec.provenance.proposer != "agent"
        answers = node.status.expansion.answers if node.status.expansion else []
        assert len(answers) <= 1, "an agent whose answer led to nothing is not asked again"


def test_a_proposal_that_repeats_a_sibling_is_passed_over() -> None:
    grower = screened(agent=True)
    give(grower, "0-0", answer({"beta": 0.05}, {"beta": 0.0501}, {"beta": 0.15}))
    grower.grow("0-0-0", 0.3)
    first = grower.grow("0-0-1", 0.3, changes={"beta": 0.05})
    spec = first.spec.with_(provenance=first.spec.provenance.with_(proposal=0))
    grower.nodes[first.name] = first.with_(spec=spec)
    tree = grower.tree()
    from llmzero.search.values import Values
    from llmzero.strategies.llmzero import LLMZero

    (create,) = LLMZero(tree, Values(tree)).transition(tree.index(grower.node("0-0").name))
    assert isinstance(create, Create)
    assert create.node.spec.parameters["beta"] == 0.15
    assert create.node.spec.provenance.proposal == 2


def test_a_diverged_stage_is_branched_from_its_last_checkpoint_without_a_continue() -> None:
    grower = Grower(make_search(stages=12, parallelism=1, max_depth=2, options=TREE))
    for number in range(6):
        changes = {"beta": 0.03 + number / 50} if number else None
        grower.grow(
            str(number),
            outcome=Outcome.DIVERGED,
            ran=50,
            checkpoints=[25],
            changes=changes,
        )
    (node,) = created(grower)
    assert node.spec.path.endswith("-1") and node.spec.changes
    assert node.spec.start is not None and node.spec.start.step == 25


DEAD = Pathology(
    kind=PathologyKind.ZERO_VARIANCE_GROUPS, severity=1, metric="frac_reward_zero_std", evidence="1"
)


@pytest.mark.parametrize(
    ("beta", "dead", "changed"), [(0.0, 1.0, True), (0.1, 1.0, False), (0.0, 0.9, False)]
)
def test_a_stage_that_trained_nothing_is_changed_and_not_carried_on(
    beta: float, dead: float, changed: bool
) -> None:
    """With all groups dead and no KL term the weights stay as they are, however long."""
    grower = screened()
    grower.grow("0-1", 0.2, steps=75, changes={"temperature": 0.8})
    found = {"features": {"dead_groups_end": dead}, "pathologies": [DEAD]}
    grower.grow("0-0-0", 0.9, changes={"beta": beta}, **found)  # type: ignore[arg-type]
    grower.grow("0-0-1", 0.2, changes={"temperature": 0.8})
    (node,) = created(grower)
    assert node.spec.parent == grower.node("0-0-0").name
    assert bool(node.spec.changes) == changed
    assert node.spec.provenance.proposer == ("rules" if changed else "continue")


def test_the_best_rung_is_changed_where_it_trained_nothing() -> None:
    grower = Grower(make_search(stages=12, parallelism=1, options={**TREE, "explore": 0}))
    found = {"features": {"dead_groups_end": 1.0}, "pathologies": [DEAD]}
    for number in range(6):
        changes = {"beta": 0.0, "temperature": 0.5 + number / 10}
        grower.grow(str(number), 0.0, steps=25, changes=changes, segment="screen", **found)  # type: ignore[arg-type]
    (node,) = created(grower)
    assert node.spec.parent and node.spec.changes
    assert node.spec.provenance.proposer == "rules"


# Replicas and finishing ----------------------------------------------------------------------

REPLICAS = {"explore": 0, "replicas": 0.1}


def test_a_leading_transition_is_repeated_before_two_stages_are_spent_below_it() -> None:
    grower = screened(stages=24, options=REPLICAS)
    grower.grow("0-0-0", 0.5)
    grower.grow("0-0-1", 0.7, changes={"beta": 0.08})
    grower.grow("0-0-1-0", 0.8)
    for _ in range(6):  # rungs of the larger budget
        number = grower.tree().next_number(0)
        grower.grow(str(number), 0.1, steps=25, changes={"beta": 0.2 - number / 100})
    (replica,) = created(grower)
    leading = grower.node("0-0-1")
    assert replica.spec.provenance.proposer == "replica" and replica.spec.segment == "promote"
    assert replica.spec.path == "0-0-2"
    assert replica.spec.parameters == leading.spec.parameters
    assert replica.spec.start == leading.spec.start
    assert replica.spec.data_offset == leading.spec.data_offset
    assert replica.spec.rollout_seed != leading.spec.rollout_seed


@pytest.mark.parametrize(
    "search", [make_search(stages=40), make_search(stages=6, options=REPLICAS)]
)
def test_by_default_and_where_the_budget_is_too_small_nothing_is_repeated(
    search: TrainingSearch,
) -> None:
    engine = SimulatedEngine(search, seed=2)
    engine.run()
    assert not [n for n in engine.trains() if n.spec.provenance.proposer == "replica"]


@pytest.mark.parametrize(("spent", "repeats"), [(1, True), (2, False)])
def test_replicas_stay_within_a_tenth_of_the_budget(spent: int, repeats: bool) -> None:
    grower = screened(stages=24, max_depth=8, options=REPLICAS)
    for number in range(6, 12):  # rungs of the larger budget
        grower.grow(str(number), 0.1, steps=25, changes={"beta": 0.2 - number / 100})
    grower.grow("0-0-0", 0.5)
    grower.grow("0-0-1", 0.7, changes={"beta": 0.08})
    grower.grow("0-0-1-0", 0.8)
    for number in range(spent):
        grower.grow(
            f"1-{number + 1}",
            0.1,
            start_step=25,
            changes={"temperature": 0.5 + number / 10},
            segment="promote",
        )
    (node,) = created(grower)
    assert (node.spec.provenance.proposer == "replica") == repeats


def test_each_transition_is_repeated_once() -> None:
    engine = SimulatedEngine(make_search(stages=40, parallelism=3, options=REPLICAS), seed=1)
    engine.run()
    replicas = [n for n in engine.trains() if n.spec.provenance.proposer == "replica"]
    assert replicas
    assert len({(n.spec.parent, str(n.spec.parameters)) for n in replicas}) == len(replicas)


@pytest.mark.parametrize(
    ("severity", "treated"), [(0.8, True), (0.3, False)], ids=["grave", "only-reported"]
)
def test_a_line_that_is_ill_is_finished_by_its_remedy(severity: float, treated: bool) -> None:
    grower = screened(stages=12)
    for path, value in (("0-0-0", 0.55), ("0-0-0-0", 0.6), ("0-0-1", 0.4)):
        grower.grow(path, value, changes={"beta": 0.15} if path.endswith("1") else None)
    ill = Pathology(
        kind=PathologyKind.TRUNCATION, severity=severity, metric="clipped_ratio", evidence="cut off"
    )
    grower.grow("0-0-0-0-0", 0.7, pathologies=[ill])
    (node,) = created(grower)
    assert node.spec.parent == grower.node("0-0-0-0-0").name and node.spec.segment == "finish"
    assert bool(node.spec.changes) == treated
    assert node.spec.provenance.proposer == ("rules" if treated else "finish")
    if treated:
        assert "max_completion_length" in {c.name for c in node.spec.changes}


def test_the_last_part_of_the_budget_finishes_lines_by_going_on() -> None:
    engine = SimulatedEngine(make_search(stages=24, parallelism=2, options=TREE), seed=1)
    engine.run(order=lambda running: running[0])
    ends = [n for n in engine.trains() if n.spec.segment == "finish"]
    assert ends
    for node in ends:
        assert node.spec.provenance.proposer == "finish" and node.spec.path.endswith("-0")
        assert not node.spec.changes and node.spec.carry_optimizer
    charges = Counter({n.spec.segment: 0 for n in engine.trains()})
    for node in engine.trains():
        charges[node.spec.segment] += node.spec.steps
    assert charges["screen"] <= 0.25 * 2400
    assert charges["finish"] >= 0.1 * 2400
    assert max(n.spec.path.count("-") for n in engine.trains()) == 6, "the full horizon"


# Agents and approvals ------------------------------------------------------------------------


def test_with_an_agent_changed_children_wait_for_its_answer_and_others_go_on() -> None:
    engine = SimulatedEngine(
        make_search(stages=16, parallelism=2, agent=True, options={"explore": 0}), seed=1
    )
    engine.answers = False
    for _ in range(60):
        engine.step()
        if engine.running():
            engine.end(engine.running()[0])
    asked = {a.node for a in engine.asked}
    assert asked
    changed = [n for n in engine.trains() if n.spec.parent and n.spec.changes]
    assert not [n for n in changed if n.spec.provenance.proposer in ("rules", "agent")]
    status = engine.step().status
    assert status.ledger.stages_spent > 8, "unchanged branches and rungs go on"
    ids = {a.request.request_id for a in engine.asked if a.node == min(asked)}
    assert len(ids) == 1, "the same question until it is answered"


def test_the_agent_is_asked_ahead_of_need() -> None:
    grower = screened(agent=True, parallelism=1)
    going_on = grower.grow("0-0-0", outcome=None, steps=100)
    assert going_on.status.phase is Phase.RUNNING
    plan = strategies.plan(grower.search, list(grower.nodes.values()), START)
    (ask,) = plan.decisions
    assert isinstance(ask, Ask) and ask.node == grower.node("0-0").name
    assert ask.request.count == 2
    give(grower, "0-0", answer({"beta": 0.05}))
    assert strategies.plan(grower.search, list(grower.nodes.values()), START).decisions == ()


def test_a_search_waits_for_answers_before_it_ends() -> None:
    only = [PARAMETERS[1].with_(name="beta")]
    search = make_search(
        stages=50, parallelism=1, agent=True, max_depth=1, parameters=only, options={"explore": 0}
    )
    engine = SimulatedEngine(search, answers=False)
    for _ in range(300):
        plan = engine.step()
        if engine.running():
            engine.end(engine.running()[0])
        elif not [d for d in plan.decisions if not isinstance(d, Ask)]:
            break
    assert plan.status.phase == "Running" and "answers" in plan.status.message
    engine.answers = True
    assert engine.run().status.phase == "Complete"


def test_the_rules_take_over_when_the_agents_budget_is_spent() -> None:
    search = make_search(agent=True, budget=Budget(stages=20, agent_tokens=100, failures=99))
    engine = SimulatedEngine(search, seed=1)

    def costly(ask: Ask) -> None:
        engine.asked.append(ask)
        old = engine.nodes[ask.node].status.expansion
        one = answer({"beta": 0.1}, {"beta": 0.15}, request_id=ask.request.request_id)
        usage = Usage(input_tokens=60, output_tokens=50, dollars=0.5)
        engine.set(ask.node, expansion=with_answer(old, one.with_(usage=usage), manual=False))

    engine.answer = costly  # type: ignore[method-assign]
    ledger = engine.run().status.ledger
    asked = {a.node for a in engine.asked}
    assert 1 <= len(asked) <= 3, "what one plan asks before an answer is counted"
    assert ledger.agent_tokens == 110 * len(asked)
    assert ledger.agent_dollars == pytest.approx(0.5 * len(asked))
    notes = {
        a.note
        for n in engine.trains()
        if n.status.expansion
        for a in n.status.expansion.answers
        if a.answered_by == "rules"
    }
    assert notes == {"the agent's budget is spent"}


def test_manual_approval_waits_costs_nothing_and_blocks_no_other_branch() -> None:
    engine = SimulatedEngine(make_search(stages=10, approval="manual"), seed=1)
    status = engine.run().status
    assert status.phase == "Complete" and status.ledger.stages_spent == pytest.approx(10)
    waiting = [n for n in engine.trains() if n.status.expansion is not None]
    assert waiting and all(n.status.expansion.approved is None for n in waiting)  # type: ignore[union-attr]
    assert not [n for n in engine.trains() if n.spec.parent and n.spec.changes]


@pytest.mark.parametrize("verdict", [True, False])
def test_an_approved_proposal_runs_and_a_rejected_one_never_does(verdict: bool) -> None:
    grower = screened(approval="manual")
    grower.grow("0-0-0", 0.45)
    give(grower, "0-0", answer({"beta": 0.05}))
    assert not [n for n in created(grower) if n.spec.changes]
    give(grower, "0-0", answer({"beta": 0.05}), approved=verdict)
    engine = SimulatedEngine(grower.search, nodes=grower.nodes, log=["x"] * 20)
    engine.run()
    run = [n for n in engine.trains() if n.spec.provenance.proposer == "agent"]
    assert [n.spec.parameters["beta"] for n in run] == ([0.05] if verdict else [])
