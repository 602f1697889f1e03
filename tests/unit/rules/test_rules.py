"""What the rules answer to each pathology, and that no answer leaves its bounds."""

from typing import Any

import pytest

from llmzero.api.curve import PathologyKind
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import Infeasible, Proposal
from llmzero.rules import propose
from llmzero.rules.moves import Position, random_step
from tests.unit.builders import parameters
from tests.unit.rules.questions import INITIAL, found, request, view

K = PathologyKind
RATE, BETA = 3e-5, 0.02
EXTRA = [
    Parameter(name="epsilon_high", min=0.2, max=0.4, initial=0.2),
    Parameter(name="num_iterations", type="int", min=1, max=8, initial=2),
    Parameter(name="loss_type", type="categorical", choices=["grpo", "dr_grpo"], initial="grpo"),
    Parameter(name="max_grad_norm", min=0.1, max=2, initial=1.0),
]
SPACE = [*parameters(), *EXTRA]
SETTINGS = {p.name: p.initial for p in SPACE}


def first(
    kind: K, severity: float = 0.6, space: list[Parameter] = SPACE, **fields: Any
) -> Proposal:
    """The first proposal after one finding."""
    settings = {**{p.name: p.initial for p in space}, **fields.pop("settings", {})}
    stage = view(pathologies=[found(kind, severity)], **fields)
    return propose(request(stage.with_(parameters=settings), parameters=space)).proposals[0]


@pytest.mark.parametrize(
    ("kind", "severity", "features", "changes"),
    [
        (K.NON_FINITE, 1.0, {}, {"learning_rate": 9e-6, "max_grad_norm": 0.5, "num_iterations": 1}),
        (
            K.GRADIENT_SPIKES,
            0.6,
            {},
            {"learning_rate": 9e-6, "max_grad_norm": 0.5, "num_iterations": 1},
        ),
        (K.REWARD_HACKING, 0.6, {}, {"beta": 0.08, "learning_rate": 1.5e-5}),
        (K.POLICY_DRIFT, 0.0, {}, {"beta": 0.04, "learning_rate": 1.5e-5}),
        (K.POLICY_DRIFT, 1.0, {}, {"beta": 0.1, "learning_rate": 1.5e-5}),
        (K.OVER_CONSTRAINED, 0.6, {}, {"beta": 0.01, "learning_rate": 3.9e-5}),
        (
            K.ENTROPY_COLLAPSE,
            1.0,
            {},
            {"temperature": 1.2, "learning_rate": 1.5e-5, "epsilon_high": 0.28},
        ),
        (K.ENTROPY_EXPLOSION, 0.6, {}, {"temperature": 0.9, "learning_rate": 1.5e-5}),
        (K.TRUNCATION, 0.6, {}, {"max_completion_length": 24, "learning_rate": 2.4e-5}),
        (K.TRUNCATION, 0.2, {}, {"max_completion_length": 18, "learning_rate": 2.4e-5}),
        (
            K.LENGTH_HACKING,
            0.6,
            {},
            {"loss_type": "dr_grpo", "learning_rate": 1.5e-5, "beta": 0.04, "temperature": 0.9},
        ),
        (
            K.ZERO_VARIANCE_GROUPS,
            0.6,
            {"reward_end": 0.1},
            {"num_generations": 16, "temperature": 1.1},
        ),
        (
            K.ZERO_VARIANCE_GROUPS,
            0.6,
            {"reward_end": 0.0, "entropy_end": 1.9},
            {"temperature": 0.8},
        ),
        (
            K.ZERO_VARIANCE_GROUPS,
            0.6,
            {"reward_end": 0.9},
            {"temperature": 1.2, "learning_rate": 3.9e-5},
        ),
        (K.CLIP_SATURATION, 0.6, {}, {"learning_rate": 1.5e-5, "num_iterations": 1}),
        (K.STALE_SAMPLER, 0.6, {}, {"learning_rate": 1.5e-5, "num_iterations": 1}),
        (K.OVERFIT, 0.6, {}, {"beta": 0.04, "learning_rate": 1.5e-5}),
        (K.PLATEAU, 0.6, {"entropy_end": 0.5}, {"learning_rate": 4.5e-5}),
        (
            K.PLATEAU,
            0.0,
            {"entropy_end": 0.06},
            {"temperature": 1.1, "learning_rate": 1.5e-5, "epsilon_high": 0.28},
        ),
    ],
)
def test_golden_changes(
    kind: K, severity: float, features: dict[str, float], changes: dict[str, Any]
) -> None:
    proposal = first(kind, severity, features=features)
    assert proposal.changes.keys() == changes.keys()
    for name, new in changes.items():
        assert proposal.changes[name] == (new if name == "loss_type" else pytest.approx(new))
    assert proposal.rationale.startswith(kind.value)
    assert "reward 0.1 at step 9" in proposal.rationale  # the evidence is cited


def test_memory_is_the_only_reason_for_less_capacity() -> None:
    answer = propose(request(view(pathologies=[found(K.OUT_OF_MEMORY)]), count=2))
    assert [p.changes for p in answer.proposals] == [
        {"num_generations": 4},
        {"max_completion_length": 7},
    ]
    assert all("memory" in p.justification for p in answer.proposals)


def test_the_wider_clip_is_for_the_high_side() -> None:
    high = {"clip_fraction_end": 0.1, "clip_high_end": 0.09}
    changes = first(K.CLIP_SATURATION, features=high, settings={"num_iterations": 8}).changes
    assert changes["epsilon_high"] == 0.28
    assert changes["num_iterations"] == 3  # as far as one step goes
    # From two iterations to one is on-policy: there the wider clip would alter nothing.
    assert "epsilon_high" not in first(K.CLIP_SATURATION, features=high).changes


def test_a_kl_coefficient_of_zero_is_entered_not_multiplied() -> None:
    proposal = first(K.POLICY_DRIFT, settings={"beta": 0.0})
    assert proposal.changes["beta"] == 0.04, "as strong as in GRPO's paper: there is harm"
    assert not proposal.carry_reference  # there is no older reference to hold on to


def test_where_nothing_does_harm_a_kl_coefficient_is_entered_softly() -> None:
    assert first(K.OVERFIT, settings={"beta": 0.0}).changes["beta"] == 1e-3


@pytest.mark.parametrize(
    ("old", "new"), [(0.0, 0.04), (1e-3, 5e-3), (0.015, 0.06), (0.02, 0.08), (0.1, 0.2)]
)
def test_harm_is_answered_with_a_kl_term_that_holds_as_far_as_one_step_may_go(
    old: float, new: float
) -> None:
    """Times 4, or what GRPO's paper has, times 5 at most, inside the space (0 to 0.2 here)."""
    assert first(K.REWARD_HACKING, settings={"beta": old}).changes["beta"] == pytest.approx(new)


def test_random_steps_leave_the_size_of_groups_alone() -> None:
    """It costs in proportion: groups grow where they are dead."""
    space = {p.name: p for p in SPACE}
    position = Position(space, {n: p.initial for n, p in space.items()}, {})
    moved = [
        random_step(position, [0.9 * (-1) ** (i + j) for i in range(len(space))]) for j in (0, 1)
    ]
    moved += [random_step(position, [float(p.name == "num_generations") for p in SPACE])]
    assert moved[0] and not any("num_generations" in changes for changes in moved)


def test_epsilon_high_without_effect_is_not_proposed() -> None:
    assert "epsilon_high" not in first(K.ENTROPY_COLLAPSE, settings={"num_iterations": 1}).changes
    assert first(K.ENTROPY_COLLAPSE).changes["epsilon_high"] == 0.28
    assert "epsilon_high" not in first(K.ENTROPY_COLLAPSE, settings={"epsilon_high": 0.4}).changes


def test_only_a_cure_resets_what_going_on_unchanged_carries() -> None:
    def flags(kind: K) -> tuple[bool, bool]:
        proposal = first(kind)
        return proposal.carry_optimizer, proposal.carry_reference

    assert flags(K.TRUNCATION) == (True, True)
    assert flags(K.OVER_CONSTRAINED) == (False, False)
    assert flags(K.POLICY_DRIFT) == (False, True)
    assert flags(K.GRADIENT_SPIKES) == (False, True)


def test_hacking_never_changes_the_learning_rate_alone() -> None:
    rate_only = [p for p in parameters() if p.name == "learning_rate"]
    stage = view(pathologies=[found(K.REWARD_HACKING)])
    for space in (parameters(), rate_only):
        for proposal in propose(request(stage, parameters=space, count=4)).proposals:
            if proposal.rationale.startswith("RewardHacking"):
                assert set(proposal.changes) - {"learning_rate"}


def test_two_findings_are_treated_in_one_transition() -> None:
    both = view(pathologies=[found(K.ENTROPY_COLLAPSE), found(K.TRUNCATION)])
    proposal = propose(request(both)).proposals[0]
    assert proposal.changes == pytest.approx(
        {"temperature": 1.16, "learning_rate": 1.5e-5, "max_completion_length": 24}
    )
    assert proposal.rationale.startswith("EntropyCollapse and Truncation: ")
    assert proposal.expected == {"entropy": 0.1, "completions/clipped_ratio": -0.1}


def test_findings_that_pull_in_two_directions_are_treated_one_at_a_time() -> None:
    torn = view(pathologies=[found(K.TRUNCATION), found(K.PLATEAU)], features={"entropy_end": 0.5})
    answer = propose(request(torn, count=2))
    assert answer.proposals[0].changes["learning_rate"] < RATE  # truncation
    assert answer.proposals[1].changes["learning_rate"] > RATE  # plateau


def test_room_grows_by_three_where_groups_are_dead_as_well() -> None:
    """A doubled limit that is still too short would teach nothing at twice the price."""
    cut_off = [found(K.TRUNCATION), found(K.PLATEAU)]
    learnt = {"dead_groups_end": 0.95, "reward_end": 0.5, "entropy_end": 0.5}
    for dead, factor in ((0.95, 3), (0.5, 2)):
        stage = view(pathologies=cut_off, features={**learnt, "dead_groups_end": dead})
        (proposal,) = propose(request(stage)).proposals
        assert proposal.changes["max_completion_length"] == factor * 12


def test_mild_truncation_waits_for_what_acts() -> None:
    stage = view(pathologies=[found(K.TRUNCATION, 0.2), found(K.OVERFIT)])
    answer = propose(request(stage, count=2))
    assert [p.rationale.partition(":")[0] for p in answer.proposals] == ["Overfit", "Truncation"]


def test_a_finding_at_the_bounds_of_the_space_takes_another_move() -> None:
    """At the longest completions and the smallest learning rate only the temperature is left."""
    edge = {"max_completion_length": 64, "learning_rate": 1e-6}
    assert first(K.TRUNCATION, settings=edge, space=parameters()).changes == {"temperature": 0.85}


def test_coarse_choices_move_to_the_neighbour() -> None:
    rates = Parameter(
        name="learning_rate", type="categorical", choices=[1e-6, 1e-5, 1e-4], initial=1e-5
    )
    space = [rates, *(p for p in parameters() if p.name != "learning_rate")]
    assert first(K.POLICY_DRIFT, space=space).changes["learning_rate"] == 1e-6
    plateau = first(K.PLATEAU, space=space, features={"entropy_end": 0.5})
    assert plateau.changes["learning_rate"] == 1e-4


def test_a_capacity_of_the_task_grows_where_it_is_solved_or_learnt_by_heart() -> None:
    digits = Parameter(name="task.digits", role=Role.CAPACITY, type="int", min=2, max=8, initial=2)
    space = [*parameters(), digits]
    for kind, features in (
        (K.OVERFIT, {}),
        (K.ZERO_VARIANCE_GROUPS, {"reward_end": 0.9}),
    ):
        assert first(kind, space=space, features=features).changes["task.digits"] == 4


def test_a_fixed_setting_is_never_changed_but_known() -> None:
    space = [p for p in parameters() if p.name != "beta"]
    stage = view(pathologies=[found(K.POLICY_DRIFT)])
    answer = propose(request(stage, parameters=space, fixed={"beta": 0.1}, count=8))
    assert all("beta" not in p.changes for p in answer.proposals)
    assert answer.proposals[0].carry_reference  # the fixed KL term keeps its reference


def test_settings_that_ran_out_of_memory_are_avoided() -> None:
    stage = view(pathologies=[found(K.TRUNCATION)])
    large = {**INITIAL, "max_completion_length": 20, "num_generations": 8}
    memory = [Infeasible(parameters=large, outcome="OutOfMemory")]
    for proposal in propose(request(stage, infeasible=memory, count=4)).proposals:
        child = {**INITIAL, **proposal.changes}
        assert child["max_completion_length"] < 20 or child["num_generations"] < 8


def test_a_space_with_nothing_left_says_so() -> None:
    single = [Parameter(name="beta", type="categorical", choices=[0.1], initial=0.1)]
    answer = propose(request(view().with_(parameters={"beta": 0.1}), parameters=single))
    assert answer.proposals[0].changes == {}
    assert "nothing new" in answer.proposals[0].rationale


def test_the_last_points_of_a_small_space_are_found() -> None:
    """Three by three choices from the corner of least capacity: each is proposed once."""
    space = [
        Parameter(name=name, role=Role.CAPACITY, type="categorical", choices=[1, 2, 4], initial=1)
        for name in ("num_generations", "task.digits")
    ]
    stage = view().with_(parameters={p.name: 1 for p in space})
    children = []
    for number in range(4):
        answer = propose(request(stage, parameters=space, children=children))
        settings = {**stage.parameters, **answer.proposals[0].changes}
        children.append(view(f"0-{number}").with_(parameters=settings))
    reached = {tuple(c.parameters.values()) for c in children}
    assert reached == {(1, 2), (2, 1), (2, 2), (1, 1)}  # the last one: nothing is left
    assert children[-1].parameters == stage.parameters


def test_a_caller_may_leave_settings_out() -> None:
    stage = view(pathologies=[found(K.TRUNCATION)]).with_(parameters={"temperature": 9.0})
    child = view("0-1").with_(parameters={})
    known = [Infeasible(parameters={}, outcome="Diverged")]
    answer = propose(request(stage, children=[child], infeasible=known, count=3))
    assert answer.proposals[0].changes["max_completion_length"] == 24


def test_dead_groups_of_answers_that_are_cut_off_are_left_to_the_room_for_them() -> None:
    """Groups twice as large would cost twice as much, for what more room does by itself."""
    graver = [found(K.ZERO_VARIANCE_GROUPS, 0.9), found(K.TRUNCATION, 0.6)]
    stage = view(pathologies=graver, features={"reward_end": 0.4})
    changes = propose(request(stage)).proposals[0].changes
    assert "max_completion_length" in changes and "num_generations" not in changes
    mild = [found(K.ZERO_VARIANCE_GROUPS, 0.9), found(K.TRUNCATION, 0.1)]
    stage = view(pathologies=mild, features={"reward_end": 0.4})
    assert "num_generations" in propose(request(stage)).proposals[0].changes
