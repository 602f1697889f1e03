"""The skill-based agent: turns, what follows from stored answers, and the rules without an agent."""

import pytest
from simulated_engine import START, SimulatedEngine, make_search
from trees import Grower

from llmzero import strategies
from llmzero.api.proposals import (
    Answered,
    BranchFrom,
    Proposal,
    ProposalAnswer,
    StopStage,
    Usage,
)
from llmzero.api.spec import Budget, EarlyStopping
from llmzero.api.stage import Outcome, Phase, StageNode
from llmzero.client.strict_json import BODY_BYTES
from llmzero.search.decisions import Ask, Create, Decision, Expand, Stop
from llmzero.search.expansion import with_answer


def grower(**kw: object) -> Grower:
    """One stage ended, at 0.4; the agent is configured."""
    kw = {"strategy": "skill", "agent": True, "stages": 12, "parallelism": 1, **kw}
    found = Grower(make_search(**kw))  # type: ignore[arg-type]
    found.grow("0", 0.4, checkpoints=[50, 100])
    return found


def decisions(tree: Grower) -> list[Decision]:
    return list(strategies.plan(tree.search, list(tree.nodes.values()), START).decisions)


def created(tree: Grower) -> list[StageNode]:
    return [d.node for d in decisions(tree) if isinstance(d, Create)]


def start(node: str = "", step: int = 100, **changes: object) -> Proposal:
    return Proposal(
        changes=changes,  # type: ignore[arg-type]
        carry_optimizer=not changes,
        carry_reference=not changes,
        rationale="because",
        branch_from=BranchFrom(step=step, node=node),
    )


def give(
    tree: Grower,
    path: str,
    *starts: Proposal,
    by: str = "agent",
    approved: bool = True,
    **kw: object,
) -> None:
    node = tree.node(path)
    old = node.status.expansion
    answered = Answered(
        request_id=f"{node.name}-{len(old.answers) if old else 0}",
        answered_by=by,  # type: ignore[arg-type]
        answer=ProposalAnswer(
            branch_from=BranchFrom(step=0),
            proposals=list(starts),
            **kw,  # type: ignore[arg-type]
        ),
    )
    expansion = with_answer(old, answered, manual=False).with_(approved=approved)
    tree.nodes[node.name] = node.with_(status=node.status.with_(expansion=expansion))


def test_the_first_stage_has_the_initial_values() -> None:
    empty = Grower(make_search(strategy="skill", agent=True))
    (node,) = created(empty)
    assert (node.spec.path, node.spec.provenance.proposer, node.spec.changes) == (
        "0",
        "initial",
        [],
    )


def test_each_completion_gives_one_turn_with_every_stage_in_view() -> None:
    tree = grower(parallelism=3)
    tree.grow("0-1", 0.5, changes={"beta": 0.03})
    (ask,) = [d for d in decisions(tree) if isinstance(d, Ask)]
    request = ask.request
    assert ask.node == tree.node("0-1").name
    assert (request.mode, request.count) == ("steer", 3)
    assert [s.path for s in request.stages] == ["0", "0-1"]
    assert request.stages[0].checkpoints == [50, 100] and request.stages[0].curve is not None
    # What the rules would expand is the best stage, wherever the question is stored.
    assert request.path[-1].node == tree.node("0-1").name
    assert not any(isinstance(d, Create) for d in decisions(tree))


def test_a_stage_starts_from_any_checkpoint_with_the_origin_of_its_answer() -> None:
    tree = grower()
    tree.grow("0-1", 0.5, changes={"beta": 0.03})
    give(tree, "0-1", start(tree.node("0").name, 50, beta=0.05))
    (node,) = created(tree)
    assert (node.spec.path, node.spec.start.step) == ("0-2", 50)  # type: ignore[union-attr]
    why = node.spec.provenance
    assert (why.proposer, why.proposal, why.answered_on) == ("agent", 0, tree.node("0-1").name)
    tree.nodes[node.name] = node
    assert created(tree) == []


def test_going_on_unchanged_is_child_0_and_other_roots_are_allowed() -> None:
    tree = grower(parallelism=2)
    give(tree, "0", start(tree.node("0").name), start("base", 0, beta=0.1))
    first, second = created(tree)
    assert (first.spec.path, first.spec.changes, first.spec.carry_optimizer) == ("0-0", [], True)
    assert (second.spec.path, second.spec.start, second.spec.parameters["beta"]) == ("1", None, 0.1)


@pytest.mark.parametrize(
    "bad",
    [
        start("sim-none-7", 100, beta=0.05),
        start("", 100, beta=9.0),
        start("", 100, gpu=1),
        start("base", 0),
    ],
)
def test_what_cannot_be_had_is_left_and_the_rules_go_on(bad: Proposal) -> None:
    tree = grower()
    give(tree, "0", bad)
    (node,) = created(tree)
    assert node.spec.provenance.proposer == "continue"


def test_a_running_stage_is_stopped_once_and_counted_as_stopped_early() -> None:
    tree = grower(parallelism=2, early_stopping=EarlyStopping(enabled=False))
    tree.grow("0-0", None, outcome=None, phase=Phase.RUNNING)
    name = tree.node("0-0").name
    give(tree, "0", stop=[StopStage(node=name, reason="no gain"), StopStage(node="none")])
    (stop,) = [d for d in decisions(tree) if isinstance(d, Stop)]
    assert (stop.node, stop.stop.reason) == (name, "AgentRequest")
    assert stop.stop.message == "the agent: no gain"
    node = tree.node("0-0")
    tree.nodes[name] = node.with_(status=node.status.with_(stop=stop.stop, phase=Phase.STOPPING))
    assert not any(isinstance(d, Stop) for d in decisions(tree))


def test_finish_starts_nothing_more_and_the_winner_is_chosen() -> None:
    tree = grower()
    give(tree, "0", finish=True)
    plan = strategies.plan(tree.search, list(tree.nodes.values()), START)
    assert plan.status.phase == "Promoting"


def test_while_stages_run_the_agent_may_leave_slots_free() -> None:
    tree = grower(parallelism=2)
    tree.grow("0-0", None, outcome=None, phase=Phase.RUNNING)
    give(tree, "0")
    assert decisions(tree) == []


@pytest.mark.parametrize("agent", [False, True])
def test_without_an_agent_or_with_its_budget_spent_the_rules_steer(agent: bool) -> None:
    tree = grower(agent=agent, budget=Budget(stages=12, agent_tokens=100))
    tree.grow("0-0", 0.5, proposer="continue")
    tree.grow("0-0-0", 0.4, proposer="continue")
    node = tree.node("0")
    spent = Answered(
        request_id="q",
        answered_by="agent",
        answer=ProposalAnswer(branch_from=BranchFrom(step=0), proposals=[]),
        usage=Usage(input_tokens=90, output_tokens=10),
    )
    expansion = with_answer(None, spent, manual=False)
    tree.nodes[node.name] = node.with_(status=node.status.with_(expansion=expansion))
    expand, create = decisions(tree)[:2]
    assert isinstance(expand, Expand) and isinstance(create, Create)
    assert create.node.spec.parent == tree.node("0-0").name
    note = expand.expansion.answers[-1].note
    assert note == ("the agent's budget is spent" if agent else "")


def test_the_rules_go_back_to_where_an_ill_first_stage_started() -> None:
    tree = Grower(make_search(strategy="skill", agent=True, parallelism=1))
    tree.grow("0", None, outcome=Outcome.DIVERGED, phase=Phase.FAILED, checkpoints=[])
    give(tree, "0", start("", 0, learning_rate=5e-7), by="rules")
    (node,) = created(tree)
    assert (node.spec.path, node.spec.parameters["learning_rate"]) == ("1", 5e-7)


@pytest.mark.parametrize("approved", [None, False])
def test_proposals_wait_for_a_person_and_a_rejected_one_never_runs(approved: bool | None) -> None:
    tree = grower(approval="manual")
    give(tree, "0", start("", 100, beta=0.05), approved=approved)  # type: ignore[arg-type]
    assert [n.spec.provenance.proposer for n in created(tree)] == ["explore"] * (approved is False)
    plan = strategies.plan(tree.search, list(tree.nodes.values()), START)
    assert plan.status.phase == "Running"
    give(tree, "0", approved=True)
    assert [n.spec.parameters["beta"] for n in created(tree)] == [0.05]


@pytest.mark.parametrize("agent", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_search_keeps_its_budget_its_depth_and_its_order(agent: bool, seed: int) -> None:
    made = make_search(strategy="skill", agent=agent, parallelism=3, stages=14, max_depth=4)
    engine = SimulatedEngine(made, seed=seed, out_of_memory=0.05, diverge=0.05, retry=0.1)
    plan = engine.run()
    assert plan.status.phase == "Complete"
    assert plan.status.ledger.stages_spent <= 14
    assert len(engine.trains()) >= 8
    assert all(n.spec.path.count("-") < 5 for n in engine.trains())
    # Every start stands in a stored answer, one stage for one proposal.
    proposed = [n for n in engine.trains() if n.spec.provenance.proposal is not None]
    origins = [
        (n.spec.provenance.answered_on or n.spec.parent, n.spec.provenance.proposal)
        for n in proposed
    ]
    assert len(set(origins)) == len(origins) > 0
    for node, (place, number) in zip(proposed, origins, strict=True):
        expansion = engine.nodes[str(place)].status.expansion
        assert expansion is not None and number is not None
        _, proposal, _ = expansion.proposals[number]
        assert proposal.changes.items() <= node.spec.parameters.items()


def test_any_prefix_of_a_plan_applied_and_planned_again_yields_the_rest() -> None:
    made = make_search(strategy="skill", agent=True, parallelism=3, stages=10)
    engine = SimulatedEngine(made, seed=4)

    def check(engine: SimulatedEngine, plan: object) -> None:
        wanted = list(plan.decisions)  # type: ignore[attr-defined]
        for count in range(len(wanted)):
            copy = SimulatedEngine(engine.search, nodes=dict(engine.nodes), answers=False)
            copy.apply(wanted[:count])
            rest = [d for d in copy.plan().decisions if not isinstance(d, Ask)]
            assert rest == [d for d in wanted[count:] if not isinstance(d, Ask)]

    engine.after_plan = check
    engine.run()


def test_a_question_stays_bounded_whatever_the_size_of_the_tree() -> None:
    tree = grower(stages=2000)
    for number in range(1, 300):
        tree.grow(str(number), 0.3 + number / 2000, changes={"beta": 0.02 + number / 2000})
    (ask,) = [d for d in decisions(tree) if isinstance(d, Ask)]
    assert len(ask.request.stages) == 64
    assert len(ask.request.model_dump_json(by_alias=True)) < BODY_BYTES / 2
    paths = [s.path for s in ask.request.stages]
    assert paths[-1] == "299" and len(set(paths)) == 64
