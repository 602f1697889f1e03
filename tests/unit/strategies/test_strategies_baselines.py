"""TPE, ASHA, PBT and the decaying grid: what people would use instead, done right."""

import hashlib
import warnings
from collections import Counter, defaultdict
from itertools import product
from random import Random

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_engine import PARAMETERS, START, SimulatedEngine, make_search
from trees import Grower
from troubled import charged, in_flight, troubled

from llmzero import strategies
from llmzero.api.parameters import Parameter
from llmzero.api.spec import EarlyStopping
from llmzero.api.stage import Outcome, Phase, StageNode
from llmzero.search.decisions import Create, Plan, Start
from llmzero.search.table import forget
from llmzero.search.values import Values
from llmzero.strategies import check_options
from llmzero.strategies.asha import rung_ends
from llmzero.strategies.pbt import member, perturbed
from llmzero.strategies.tpe import TPESearch

SLACK = 1e-6
KINDS = [
    ("tpe", {}),
    ("tpe", {"perStage": True, "startup": 2}),
    ("asha", {}),
    ("asha", {"eta": 2, "rungs": 4}),
    ("pbt", {}),
    ("pbt", {"population": 5, "quantile": 0.5, "resample": 0.0}),
    ("grid", {"decay": [1.0, 0.1]}),
]
FAST = settings(
    max_examples=14, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def created(grower: Grower) -> list[StageNode]:
    plan = strategies.plan(grower.search, list(grower.nodes.values()), START)
    return [d.node for d in plan.decisions if isinstance(d, Create)]


@st.composite
def engines(draw: st.DrawFn, only: tuple[str, ...] = ()) -> SimulatedEngine:
    name, options = draw(st.sampled_from([k for k in KINDS if not only or k[0] in only]))
    steps, every = draw(st.sampled_from([(100, 25), (20, 5), (7, 3)]))
    search = make_search(
        strategy=name,
        options=options,
        steps=steps,
        eval_every=every,
        stages=draw(st.sampled_from([0.5, 1, 3.3, 4, 7.75, 12, 20])),
        parallelism=draw(st.integers(1, 5)),
        max_depth=draw(st.integers(1, 6)),
        seed=draw(st.integers(0, 99)),
        early_stopping=EarlyStopping(margin=0.02, looks=1, grace=0.2),
    )
    return draw(troubled(search))


# Every strategy ------------------------------------------------------------------------------


@FAST
@given(engines())
def test_budget_slots_and_space_are_kept_and_the_search_ends(engine: SimulatedEngine) -> None:
    spec = engine.search.spec

    def check(engine: SimulatedEngine, plan: Plan) -> None:
        names = [d.node.name for d in plan.decisions if isinstance(d, Create)]
        assert len({*names, *engine.nodes}) == len(names) + len(engine.nodes), "no node twice"
        assert in_flight(engine) + len(names) <= spec.strategy.parallelism
        starts = [d.node for d in plan.decisions if isinstance(d, Start)]
        assert len(engine.running()) + len(starts) <= spec.strategy.parallelism
        assert charged(engine) <= spec.budget.stages + SLACK

    engine.after_plan = check
    last = engine.run()

    assert last.status.phase in ("Complete", "Failed")
    assert charged(engine) <= spec.budget.stages + SLACK
    horizon = spec.strategy.max_depth * spec.stage.steps
    for node in engine.trains():
        assert set(node.spec.parameters) == {p.name for p in spec.parameters}
        for p in spec.parameters:
            assert p.problem_with(node.spec.parameters[p.name]) is None
        assert 1 <= node.spec.steps <= spec.stage.steps
        begin = node.spec.data_offset // spec.stage.prompts_per_step
        assert begin + node.spec.steps <= horizon


@FAST
@given(engines(only=("asha", "pbt")))
def test_no_slot_is_idle_while_a_run_could_go_on(engine: SimulatedEngine) -> None:
    """Checked from outside: a stage that ended well, was not continued, and would fit."""
    spec = engine.search.spec
    full = spec.stage.steps

    def check(engine: SimulatedEngine, plan: Plan) -> None:
        new = [d.node for d in plan.decisions if isinstance(d, Create)]
        free = spec.strategy.parallelism - in_flight(engine) - len(new)
        if plan.status.phase != "Running" or free <= 0:
            return
        left = spec.budget.stages - charged(engine) - sum(n.spec.steps / full for n in new)
        parents = {n.spec.parent for n in [*engine.trains(), *new]}
        members = {
            member(n.spec.path) for n in [*engine.trains(), *new] if not n.status.phase.final
        }
        for node in engine.trains():
            end = node.spec.data_offset // spec.stage.prompts_per_step + node.spec.steps
            steps = min(spec.strategy.max_depth * full - end, full)
            busy = spec.strategy.name == "pbt" and member(node.spec.path) in members
            if node.status.phase is Phase.SUCCEEDED and node.name not in parents and steps > 0:
                copied = spec.strategy.name == "pbt" and _has_copied(engine, node)
                fits = max(steps / full, 0.25) <= left + SLACK
                assert busy or copied or not fits, f"{node.spec.path} could go on"

    engine.after_plan = check
    engine.run()


def _has_copied(engine: SimulatedEngine, node: StageNode) -> bool:
    """Whether the member went on elsewhere: from the stage of a member that it copied."""
    who, level = member(node.spec.path), node.spec.path.count("-")
    return any(
        member(n.spec.path) == who and n.spec.path.count("-") > level for n in engine.trains()
    )


@FAST
@given(engines(), st.randoms(use_true_random=False))
def test_a_plan_is_a_function_of_the_tree_and_any_prefix_yields_the_rest(
    engine: SimulatedEngine, random: Random
) -> None:
    def check(engine: SimulatedEngine, plan: Plan) -> None:
        nodes = list(engine.nodes.values())
        random.shuffle(nodes)
        forget()
        assert strategies.plan(engine.search, nodes, engine.now) == plan
        decisions = list(plan.decisions)
        if decisions:
            cut = random.randint(1, len(decisions))
            copy = SimulatedEngine(engine.search, nodes=dict(engine.nodes), now=engine.now)
            copy.apply(decisions[:cut])
            assert list(copy.plan().decisions) == decisions[cut:]

    engine.after_plan = check
    engine.run()


@pytest.mark.parametrize(
    ("name", "options", "wrong"),
    [
        ("asha", {"eta": 1}, "a number from 1.5 to 16"),
        ("asha", {"rungs": 0}, "a whole number from 1 to 8"),
        ("pbt", {"population": 1}, "a whole number from 2"),
        ("pbt", {"resample": 2}, "0 to 1"),
        ("tpe", {"startup": "few"}, "a whole number"),
        ("grid", {"decay": [0]}, "above 0 and at most 1"),
        ("grid", {"decay": [0.1, 0.1]}, "stands twice"),
        ("asha", {"speed": 1}, "unknown; strategy asha has the options: eta, rungs"),
    ],
)
def test_wrong_options_are_told_by_name(name: str, options: dict, wrong: str) -> None:
    (found,) = check_options(name, options)
    assert next(iter(options)) in found and wrong in found


def test_without_optuna_tpe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "find_spec", lambda name: None)
    (found,) = check_options("tpe", {})
    assert "pip install llmzero[tpe]" in found
    assert not check_options("asha", {})


# ASHA ----------------------------------------------------------------------------------------


def test_rungs_end_at_the_horizon_and_are_eta_apart() -> None:
    assert rung_ends(600, 3, 3, 25) == [75, 200, 600]
    assert rung_ends(800, 2, 4, 100) == [100, 200, 400, 800]
    assert rung_ends(100, 3, 3, 50) == [50, 100], "rungs that coincide are one"
    assert rung_ends(600, 3, 1, 25) == [600]


def asha(count: int, **kw: object) -> Grower:
    """Rung 0 (75 of 600 steps) with ``count`` runs of rising value."""
    grower = Grower(make_search(strategy="asha", parallelism=1, max_depth=6, **kw))  # type: ignore[arg-type]
    for number in range(count):
        changes = {"beta": number / 100} if number else None
        grower.grow(str(number), 0.3 + number / 100, steps=75, changes=changes)
    return grower


def test_one_in_eta_is_promoted_from_its_checkpoint_as_it_is() -> None:
    assert created(asha(2, stages=24))[0].spec.parent is None, "one of two is more than a third"
    (node,) = created(asha(3, stages=24))
    best = asha(3, stages=24).node("2")
    assert node.spec.parent == best.name and node.spec.path == "2-0"
    assert node.spec.start is not None and node.spec.start.step == 75
    assert node.spec.steps == 100, "stages are at most full ones"
    assert node.spec.parameters == best.spec.parameters and not node.spec.changes
    assert node.spec.carry_optimizer and node.spec.carry_reference


def test_a_rung_of_several_stages_is_run_to_its_end_then_the_highest_rung_goes_first() -> None:
    grower = asha(9, stages=100)
    grower.grow("8-0", 0.6, steps=100)
    (node,) = created(grower)
    assert (node.spec.path, node.spec.steps) == ("8-0-0", 25), "175 of the 200 steps of rung 1"
    grower.grow("8-0-0", 0.6, steps=25)
    for root, value in (("7", 0.7), ("6", 0.5)):
        grower.grow(f"{root}-0", value, steps=100)
        grower.grow(f"{root}-0-0", value, steps=25)
    (node,) = created(grower)
    assert node.spec.path == "7-0-0-0", "the best of three at rung 1, before anything at rung 0"


def test_failed_runs_are_the_worst_of_their_rung_and_are_made_up_for() -> None:
    grower = asha(2, stages=24)
    grower.grow("2", outcome=Outcome.DIVERGED, ran=25, steps=75, changes={"beta": 0.2})
    (node,) = created(grower)
    assert node.spec.path == "1-0", "the best of three, one of which diverged"


def test_what_the_budget_cannot_promote_is_not_begun() -> None:
    engine = SimulatedEngine(make_search(strategy="asha", stages=12, max_depth=6), seed=1)
    engine.run()
    begun = [n for n in engine.trains() if n.spec.parent is None]
    # A run costs 0.75 at rung 0, 1.25 / 3 at rung 1 and 4 / 9 at rung 2.
    assert len(begun) == int(12 / (0.75 + 1.25 / 3 + 4 / 9))
    assert max(n.spec.path.count("-") for n in engine.trains()) >= 3
    assert engine.search.status.ledger.stages_spent == pytest.approx(12, abs=0.25)


# PBT -----------------------------------------------------------------------------------------


def test_paths_say_who_is_who() -> None:
    assert [member(p) for p in ("3", "3-0", "3-0-2", "3-0-2-0", "3-1-0-5")] == [3, 3, 1, 1, 4]


def population(values: list[float], parallelism: int = 1, size: int = 4, **kw: object) -> Grower:
    options = {"population": size, "quantile": 0.25, **kw}
    grower = Grower(
        make_search(strategy="pbt", stages=24, parallelism=parallelism, options=options)
    )
    for number, value in enumerate(values):
        changes = {"learning_rate": 1e-6 * 2**number, "beta": 0.01 * (1 + number)}
        grower.grow(str(number), value, changes=changes if number else None)
    return grower


def test_the_worst_copies_checkpoint_and_settings_of_the_best_and_perturbs_them() -> None:
    grower = population([0.3, 0.5, 0.2, 0.4], parallelism=4, resample=0.0)
    nodes = created(grower)
    seen = {member(node.spec.path): node for node in nodes}
    assert len(nodes) == 4 and sorted(seen) == [0, 1, 2, 3], "every member goes on, each once"
    for who in (0, 1, 3):
        assert seen[who].spec.path == f"{who}-0" and not seen[who].spec.changes
        assert seen[who].spec.carry_optimizer and seen[who].spec.carry_reference
    copy, best = seen[2], grower.node("1")
    assert copy.spec.path == "1-3", "child 3 of the best's stage is member 2"
    assert copy.spec.start is not None and copy.spec.start.node == best.name
    assert copy.spec.carry_optimizer
    for name in ("learning_rate", "temperature"):
        ratio = copy.spec.parameters[name] / best.spec.parameters[name]
        assert ratio == pytest.approx(0.8, rel=1e-4) or ratio == pytest.approx(1.25, rel=1e-4)
    assert copy.spec.parameters["num_generations"] in (4, 16)
    assert "is 4 of 4 of generation 1: copies 1" in copy.spec.provenance.rationale


def test_a_member_that_failed_goes_on_as_a_copy() -> None:
    grower = population([0.3, 0.5, 0.2], parallelism=4)
    grower.grow("3", outcome=Outcome.DIVERGED, ran=25, changes={"beta": 0.2})
    assert "1-4" in [n.spec.path for n in created(grower)], "member 3 copies the best"


def test_members_behind_go_first() -> None:
    grower = population([0.3, 0.5, 0.2, 0.4])
    grower.grow("0-0", 0.6)
    (node,) = created(grower)
    assert member(node.spec.path) == 1, "member 0 is a generation ahead"


def test_perturbation_stays_in_the_space_and_always_moves() -> None:
    rate, beta = PARAMETERS[0], PARAMETERS[1]
    random = Random(1)
    ratios = Counter(
        round(perturbed(rate, 1e-5, random, 0.0) / 1e-5, 3)  # type: ignore[operator]
        for _ in range(100)
    )
    assert set(ratios) == {0.8, 1.25}
    assert perturbed(beta, 0.0, random, 0.0) != 0.0, "a factor of 0 is 0: drawn anew"
    assert perturbed(rate, rate.max, Random(5), 0.0) < rate.max  # type: ignore[operator]
    drawn = {perturbed(rate, 1e-5, random, 1.0) for _ in range(20)}
    assert len(drawn) == 20


# TPE -----------------------------------------------------------------------------------------


def tpe(values: list[float | None], **kw: object) -> Grower:
    """Runs of one stage: a value each, None for a diverged one."""
    grower = Grower(
        make_search(
            strategy="tpe",
            stages=50,
            max_depth=1,
            parallelism=1,
            options={"startup": 2, **kw},
            parameters=PARAMETERS[:2],
        )
    )
    for number, value in enumerate(values):
        changes = {"beta": 0.01 * number} if number else None
        ended = {} if value is not None else {"outcome": Outcome.DIVERGED, "ran": 25}
        grower.grow(str(number), value, changes=changes, **ended)
    return grower


def test_a_study_is_told_what_became_of_each_run() -> None:
    grower = tpe([0.3, None])
    grower.grow("2", 0.2, ran=50, outcome=Outcome.EARLY_STOPPED, changes={"beta": 0.05})
    grower.grow("3", phase=Phase.RUNNING, outcome=None, changes={"beta": 0.06})
    tree = grower.tree()
    trials = TPESearch(tree, Values(tree))._trials()
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", "PRUNED", "RUNNING"]
    assert trials[0].value == 0.3 and trials[2].intermediate_values == {50: 0.2}
    assert trials[1].params["beta"] == 0.01


def test_the_proposal_is_the_one_that_optuna_makes_of_the_same_study() -> None:
    grower = tpe([0.3, 0.4, 0.2, 0.1])
    tree = grower.tree()
    strategy = TPESearch(tree, Values(tree))
    seed = int.from_bytes(hashlib.sha256(b"1/tpe/run 4/0").digest()[:4], "big")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=2, multivariate=True, constant_liar=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-7, 1e-3, log=True),
        "beta": optuna.distributions.FloatDistribution(0, 0.2),
    }
    for index in tree.stages:
        row = tree.rows[index]
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(row.parameters), distributions=distributions, value=row.goodness
            )
        )
    expected = study.ask(distributions).params
    found = strategy.setting(4)
    assert found is not None and found[1].proposer == "tpe"
    assert found[0] == pytest.approx(expected, rel=1e-5)


def test_tpe_learns_where_the_good_settings_are() -> None:
    only = Parameter(name="learning_rate", min=1e-7, max=1e-3, scale="log", initial=1e-7)

    def gaps(strategy: str) -> float:
        found = []
        for seed in range(3):
            grower = Grower(
                make_search(
                    strategy=strategy,
                    stages=40,
                    max_depth=1,
                    parallelism=1,
                    parameters=[only],
                    seed=seed,
                    options={"startup": 5} if strategy == "tpe" else {},
                )
            )
            for number in range(25):
                (node,) = created(grower)
                rate = node.spec.parameters["learning_rate"]
                gap = abs(only.to_unit(rate) - 0.7)
                grower.grow(str(number), 0.9 - gap, changes={"learning_rate": rate})
                if number >= 10:
                    found.append(gap)
        return sum(found) / len(found)

    assert gaps("tpe") < 0.6 * gaps("random")


def test_schedules_have_settings_of_their_own_in_every_stage() -> None:
    search = make_search(
        strategy="tpe", stages=12, max_depth=3, options={"perStage": True, "startup": 2}
    )
    engine = SimulatedEngine(search, seed=3)
    engine.run()
    runs: dict[str, list[StageNode]] = defaultdict(list)
    for node in engine.trains():
        runs[node.spec.path.split("-")[0]].append(node)
    assert [len(stages) for stages in runs.values()] == [3, 3, 3, 3]
    for stages in runs.values():
        assert len({str(n.spec.parameters) for n in stages}) == 3
    assert any(n.spec.provenance.proposer == "tpe" for n in engine.trains())


# Grid over decays ----------------------------------------------------------------------------


def test_the_learning_rate_decays_from_stage_to_stage_to_the_given_fraction() -> None:
    only = Parameter(name="learning_rate", min=1e-6, max=1e-3, scale="log", initial=1e-5)
    options = {"points": 1, "decay": [1.0, 0.01], "order": "lexicographic"}
    search = make_search(
        strategy="grid", stages=50, max_depth=3, parameters=[only], options=options
    )
    engine = SimulatedEngine(search, seed=1)
    engine.run()
    rates = {n.spec.path: n.spec.parameters["learning_rate"] for n in engine.trains()}
    assert [rates[p] for p in ("0", "0-0", "0-0-0")] == [1e-5] * 3
    assert [rates[p] for p in ("1", "1-0", "1-0-0")] == pytest.approx([1e-5, 1e-6, 1e-6]), (
        "the space ends at 1e-6"
    )
    assert len([p for p in rates if "-" not in p]) == 2, "the grid has two points"
    assert engine.by_path("1-0").spec.carry_optimizer


# Every schedule ------------------------------------------------------------------------------


def test_every_schedule_of_a_grid_is_a_full_tree_with_the_constants_on_it() -> None:
    only = Parameter(
        name="temperature", type="categorical", choices=[0.5, 2.0], role="free", initial=0.5
    )
    options = {"schedules": True, "order": "lexicographic"}
    search = make_search(
        strategy="grid", stages=100, max_depth=3, parameters=[only], options=options
    )
    engine = SimulatedEngine(search, seed=1)
    engine.run()
    byname = {n.name: n for n in engine.trains()}
    assert len(byname) == 2 + 4 + 8
    schedules = []
    for node in byname.values():
        assert node.spec.carry_optimizer == (node.spec.parent is not None)
        if node.spec.path.count("-") == 2:
            middle = byname[node.spec.parent or ""]
            first = byname[middle.spec.parent or ""]
            schedules.append(tuple(n.spec.parameters["temperature"] for n in (first, middle, node)))
    assert sorted(schedules) == sorted(product([0.5, 2.0], repeat=3))
    assert not any(n.spec.path.count("-") > 2 for n in byname.values())


def test_every_schedule_stops_with_the_budget() -> None:
    options = {"schedules": True, "points": 3}
    engine = SimulatedEngine(make_search(strategy="grid", stages=7, options=options), seed=1)
    engine.run()
    assert len(engine.trains()) == 7
    assert engine.search.status.phase == "Complete"
