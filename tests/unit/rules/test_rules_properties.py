"""Whatever the space, the stage and the history: every answer stays within its bounds."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmzero.api.curve import PathologyKind
from llmzero.api.parameters import Parameter, Role, distance
from llmzero.api.proposals import MAX_CHANGES, BudgetLeft, Infeasible, ProposalRequest
from llmzero.client.judge import problems
from llmzero.rules import propose
from llmzero.rules.bounds import beyond_bounds
from llmzero.rules.space import DUPLICATE
from tests.unit.rules.questions import found, request, score, view

POOL: dict[str, dict[str, Any]] = {
    "learning_rate": {"min": 1e-7, "max": 1e-3, "scale": "log", "role": "regularization"},
    "beta": {"min": 0, "max": 0.2, "role": "regularization"},
    "temperature": {"min": 0.4, "max": 1.5, "role": "regularization"},
    "epsilon_high": {"min": 0.2, "max": 0.4},
    "max_grad_norm": {"min": 0.1, "max": 2},
    "weight_decay": {"min": 0, "max": 0.1},
    "entropy_coef": {"min": 0, "max": 0.01},
    "num_iterations": {"type": "int", "min": 1, "max": 8},
    "max_completion_length": {"type": "int", "min": 4, "max": 4096, "role": "capacity"},
    "num_generations": {"type": "categorical", "choices": [2, 4, 8, 16], "role": "capacity"},
    "loss_type": {"type": "categorical", "choices": ["grpo", "dapo", "dr_grpo"]},
    "mask_truncated_completions": {"type": "categorical", "choices": [False, True]},
    "task.digits": {"type": "int", "min": 1, "max": 6, "role": "capacity"},
    "task.dataset": {"type": "categorical", "choices": ["easy", "hard"], "role": "capacity"},
    "rewards.format": {"min": 0, "max": 1, "role": "regularization"},
}
RATES = {"type": "categorical", "choices": [1e-6, 1e-5, 3e-5], "role": "regularization"}


@st.composite
def spaces(draw: st.DrawFn) -> list[Parameter]:
    names = draw(st.lists(st.sampled_from(list(POOL)), min_size=1, max_size=8, unique=True))
    found = []
    for name in names:
        fields = RATES if name == "learning_rate" and draw(st.booleans()) else POOL[name]
        initial = fields["choices"][0] if "choices" in fields else fields["max"]
        found.append(Parameter(name=name, initial=initial, **fields))
    return found


@st.composite
def requests(draw: st.DrawFn) -> ProposalRequest:
    space = draw(spaces())

    def point() -> dict[str, Any]:
        return {p.name: p.from_unit(draw(st.floats(0, 1))) for p in space}

    def stage(path: str, before: dict[str, Any], **fields: Any) -> Any:
        here = point()
        changes = {k: (before[k], v) for k, v in here.items() if before[k] != v}
        valued = view(path, changes, value=draw(st.floats(0, 1)), **fields)
        return valued.with_(parameters=here)

    root = stage("0", point())
    kinds = draw(st.lists(st.sampled_from(list(PathologyKind)), max_size=3, unique=True))
    checkpoints = draw(st.lists(st.integers(1, 40), max_size=4, unique=True))
    last = stage(
        "0-1",
        root.parameters,
        pathologies=[found(kind, draw(st.floats(0, 1))) for kind in kinds],
        features={
            name: draw(st.floats(0, 2))
            for name in ("reward_end", "entropy_end", "clipped_ratio_end", "clip_high_end")
        },
        checkpoints=checkpoints,
        scores=[score(s, draw(st.floats(0, 1))) for s in sorted(checkpoints)],
    )
    others = [
        stage(f"0-1-{i}", last.parameters, proposer=draw(st.sampled_from(["continue", "rules"])))
        for i in range(draw(st.integers(0, 3)))
    ]
    return request(
        last,
        parameters=space,
        path=[root, last],
        children=others[:2],
        siblings=others[1:],
        best=[stage("1", root.parameters)],
        infeasible=[
            Infeasible(
                parameters=point(), outcome=draw(st.sampled_from(["OutOfMemory", "Diverged"]))
            )
            for _ in range(draw(st.integers(0, 2)))
        ],
        count=draw(st.integers(1, 8)),
        seed=draw(st.integers(0, 9)),
        direction=draw(st.sampled_from(["maximize", "minimize"])),
        budget=BudgetLeft(stages=5, depth=draw(st.integers(0, 6))),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
def test_every_answer_stays_within_its_bounds(asked: ProposalRequest) -> None:
    answer = propose(asked)
    stage = asked.path[-1]
    assert propose(asked) == answer
    assert answer.branch_from.step in (stage.checkpoints or [stage.steps])
    if not answer.proposals[0].changes:
        assert len(answer.proposals) == 1  # nothing new in reach
        return
    assert len(answer.proposals) <= asked.count
    space = {p.name: p for p in asked.parameters}
    taken = [stage.parameters, *(c.parameters for c in asked.children)]
    taken += [i.parameters for i in asked.infeasible]
    for proposal in answer.proposals:
        assert 1 <= len(proposal.changes) <= MAX_CHANGES
        for name, new in proposal.changes.items():
            old, parameter = stage.parameters[name], space[name]
            assert parameter.problem_with(new) is None
            assert beyond_bounds(parameter, old, new) is None
            if parameter.role is Role.CAPACITY and parameter.to_unit(new) < parameter.to_unit(old):
                assert "memory" in proposal.justification
            if parameter.role is Role.CAPACITY and parameter.choices is None and new > old:
                assert new <= max(2 * old, old + 1)
        child = {**stage.parameters, **proposal.changes}
        assert all(distance(asked.parameters, child, t) > DUPLICATE for t in taken)
        taken.append(child)
        on_policy = child.get("num_iterations", 1) == 1
        assert not (on_policy and "epsilon_high" in proposal.changes)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
def test_the_judge_of_agents_finds_nothing_wrong_with_the_rules(asked: ProposalRequest) -> None:
    """The rules stand in for an agent, so they pass what an agent has to pass."""
    answer = propose(asked)
    wrong = [p for p in problems(asked, answer) if "diagnosis" not in p]
    no_memory = [p for p in wrong if "ran out of memory, and none did" in p]
    assert wrong == no_memory or not answer.proposals[0].changes


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spaces(), st.integers(0, 99))
def test_there_is_a_proposal_as_long_as_a_step_is_possible(
    space: list[Parameter], seed: int
) -> None:
    """A chain of proposals from one stage goes on until no single allowed step is new."""
    stage = view().with_(parameters={p.name: p.initial for p in space})
    children: list[Any] = []
    for number in range(6):
        asked = request(stage, parameters=space, children=children, seed=seed)
        changes = propose(asked).proposals[0].changes
        if not changes:
            break
        children.append(view(f"0-{number}").with_(parameters={**stage.parameters, **changes}))
    else:
        return
    taken = [stage.parameters, *(c.parameters for c in children)]
    inert = {"epsilon_high"}  # on-policy: num_iterations cannot rise in the same single step
    for p in space:
        if p.name in inert or p.role is Role.CAPACITY:
            continue
        for unit in (0.0, 0.5, 1.0):
            new = p.from_unit(unit)
            child = {**stage.parameters, p.name: new}
            if beyond_bounds(p, stage.parameters[p.name], new) is None:
                assert any(distance(space, child, t) <= DUPLICATE for t in taken)
