"""What a plan decides: starting, suspending, failing, targets, deadlines, the end of a search."""

from datetime import timedelta

import pytest
from simulated_engine import START, SimulatedEngine, make_search
from trees import Grower

from llmzero import strategies
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget
from llmzero.api.stage import Attempt, Outcome, Phase, Purpose
from llmzero.search.decisions import Create, Plan, Start, Stop

Kinds = (Create, Start, Stop)


def engine_of(**kw: object) -> SimulatedEngine:
    return SimulatedEngine(make_search(**kw), seed=1)  # type: ignore[arg-type]


def respec(engine: SimulatedEngine, **changes: object) -> None:
    engine.search = engine.search.with_(spec=engine.search.spec.with_(**changes))


def rebudget(engine: SimulatedEngine, **changes: object) -> None:
    respec(engine, budget=engine.search.spec.budget.with_(**changes))


def condition(search: TrainingSearch, kind: str) -> tuple[str, str]:
    found = next(c for c in search.status.conditions if c.type == kind)
    return found.status, found.reason


def run_until(engine: SimulatedEngine, phase: str) -> Plan:
    for _ in range(500):
        plan = engine.step()
        if plan.status.phase == phase:
            return plan
        if engine.running():
            engine.end(engine.running()[0])
    raise AssertionError(f"the search never was {phase}")


# Starting ------------------------------------------------------------------------------------


def test_the_first_plan_creates_and_starts_as_many_as_there_are_slots() -> None:
    engine = engine_of(parallelism=3)
    plan = engine.step()
    assert [type(d).__name__ for d in plan.decisions] == ["Create"] * 3 + ["Start"] * 3
    assert plan.status.phase == "Running"
    assert plan.status.started_at == START
    assert engine.plan().decisions == ()


def test_a_retried_stage_starts_first_with_the_next_attempt() -> None:
    engine = engine_of(parallelism=2)
    engine.step()
    first, second = engine.running()
    engine.set(second, phase=Phase.PENDING)
    engine.set(first, phase=Phase.PENDING, attempt_count=0)
    starts = [(d.node, d.attempt) for d in engine.plan().decisions]
    assert starts == [(second, 2), (first, 1)]


def test_a_stage_that_found_the_volume_full_waits_before_its_next_attempt() -> None:
    engine = engine_of(parallelism=2)
    engine.step()
    (name, _) = engine.running()
    ended = Attempt(number=1, finished_at=engine.now, reason="StorageFull", counted=False)
    engine.set(name, phase=Phase.PENDING, reason="StorageFull", attempts=[ended], lost_attempts=1)
    assert engine.plan().decisions == ()
    engine.now += timedelta(seconds=60)
    assert [(d.node, d.attempt) for d in engine.plan().decisions] == [(name, 2)]


def test_queued_stages_count_as_running_and_lowered_parallelism_starts_none() -> None:
    engine = engine_of(parallelism=3)
    engine.step()
    for name in engine.running():
        engine.set(name, phase=Phase.QUEUED)
    assert engine.plan().decisions == ()
    engine.set(engine.running()[0], phase=Phase.PENDING)
    respec(engine, strategy=engine.search.spec.strategy.with_(parallelism=2))
    assert engine.plan().decisions == ()


# Suspension and deletion ---------------------------------------------------------------------


def test_drain_lets_running_stages_end_and_starts_nothing() -> None:
    engine = engine_of()
    engine.step()
    respec(engine, suspend=True)
    plan = engine.step()
    assert plan.decisions == () and plan.status.phase == "Suspended"
    assert condition(engine.search, "Suspended") == ("True", "Suspended")
    for name in engine.running():
        engine.end(name)
    assert engine.step().decisions == ()
    respec(engine, suspend=False)
    assert engine.step().decisions
    assert condition(engine.search, "Suspended")[0] == "False"


def test_stop_interrupts_what_runs_and_resume_starts_it_again() -> None:
    engine = engine_of()
    engine.step()
    names = engine.running()
    respec(engine, suspend=True, suspend_policy="Stop")
    plan = engine.step()
    assert [(d.node, d.stop.reason) for d in plan.decisions] == [(n, "Suspended") for n in names]
    assert engine.step().decisions == (), "told once"
    for name in names:
        engine.end(name)
    assert all(engine.nodes[n].status.phase is Phase.PENDING for n in names)
    assert engine.step().decisions == ()
    respec(engine, suspend=False)
    assert [(d.node, d.attempt) for d in engine.step().decisions] == [(n, 2) for n in names]


def test_a_deleted_search_stops_everything() -> None:
    engine = engine_of()
    engine.step()
    names = engine.running()
    gone = engine.search.metadata.model_copy(update={"deletion_timestamp": START})
    engine.search = engine.search.with_(metadata=gone)
    plan = engine.plan()
    assert [(d.node, d.stop.reason) for d in plan.decisions] == [(n, "SearchEnded") for n in names]


# Failures ------------------------------------------------------------------------------------


def test_too_many_failures_fail_the_search_in_words_and_more_budget_resumes_it() -> None:
    engine = engine_of(failures=1, parallelism=2)
    engine.crash = 1.0
    plan = run_until(engine, "Failed")
    assert "2 stages failed, budget.failures allows 1" in plan.status.message
    assert plan.status.ledger.failures == 2
    assert condition(engine.search, "Stalled") == ("True", "TooManyFailures")
    assert condition(engine.search, "Ready")[0] == "False"
    assert plan.status.finished_at is not None
    for name in engine.running():
        assert engine.nodes[name].status.stop is not None
        engine.end(name)
    assert not engine.step().decisions
    engine.crash = 0.0
    rebudget(engine, failures=9)
    assert engine.run().status.phase == "Complete"


def test_out_of_memory_is_a_result_once_something_fits() -> None:
    search = make_search(failures=2)
    grower = Grower(search)
    grower.grow("0", 0.4, steps=25)
    for number in range(1, 6):
        grower.grow(
            str(number), outcome=Outcome.OUT_OF_MEMORY, ran=0, changes={"beta": number / 99}
        )
    status = strategies.plan(search, list(grower.nodes.values()), START).status
    assert status.ledger.failures == 0
    assert status.phase == "Running"


def test_out_of_memory_everywhere_fails_the_search() -> None:
    engine = engine_of(failures=3)
    engine.out_of_memory = 1.0
    status = run_until(engine, "Failed").status
    assert status.ledger.failures == 4
    assert "budget.failures allows 3" in status.message


def test_a_search_without_any_value_says_so() -> None:
    engine = engine_of(stages=1)
    engine.crash = 1.0
    status = engine.run().status
    assert status.phase == "Failed"
    assert "ended with a value" in status.message


# Target and deadline -------------------------------------------------------------------------


def test_a_promoted_stage_at_the_target_ends_the_search_early() -> None:
    engine = engine_of(stages=60, target=0.5, parallelism=3)
    status = engine.run().status
    assert status.phase == "Complete"
    assert condition(engine.search, "Complete") == ("True", "TargetReached")
    assert status.ledger.stages_spent < 40
    assert status.best is not None and status.best.split == "promote" and status.best.value >= 0.5
    ended = [n for n in engine.trains() if n.status.outcome is Outcome.INTERRUPTED]
    assert all(n.status.stop is not None for n in ended)
    assert {r.subject for r in status.held_out} >= {"winner", "base"}


def test_a_target_that_the_promote_split_denies_ends_nothing() -> None:
    engine = engine_of(stages=8, target=0.25)
    engine.truth = lambda node, step: 0.1 if step == 0 else 0.3  # type: ignore[method-assign]
    evaluated = engine._evaluated

    def worse(name: str) -> None:
        engine.truth = lambda node, step: 0.05  # type: ignore[method-assign]
        evaluated(name)
        engine.truth = lambda node, step: 0.3  # type: ignore[method-assign]

    engine._evaluated = worse  # type: ignore[method-assign]
    status = engine.run().status
    assert status.phase == "Complete"
    assert condition(engine.search, "Complete") == ("True", "BudgetSpent")
    assert status.ledger.stages_spent == pytest.approx(8)


def test_the_deadline_stops_what_runs_and_still_confirms() -> None:
    engine = engine_of(budget=Budget(stages=60, deadline="30m", failures=99))
    for _ in range(12):
        engine.step()
        engine.end(engine.running()[0])
    engine.now = START + timedelta(minutes=31)
    plan = engine.step()
    stops = [d for d in plan.decisions if isinstance(d, Stop)]
    assert stops and all(d.stop.reason == "SearchEnded" for d in stops)
    assert not any(isinstance(d, Create) for d in plan.decisions)
    status = engine.run().status
    assert status.phase == "Complete" and "deadline of 30m" in status.message
    assert {r.subject for r in status.held_out} >= {"winner", "base"}


# The end -------------------------------------------------------------------------------------


def test_the_best_few_are_promoted_and_the_winner_is_read_once() -> None:
    engine = engine_of(stages=10, candidates=2)
    status = engine.run().status
    promoted = [n for n in engine.nodes.values() if n.spec.purpose is Purpose.PROMOTE]
    assert 2 <= len(promoted) <= 3
    winner = max(promoted, key=lambda n: n.status.result.value)  # type: ignore[union-attr]
    assert status.best is not None
    assert (status.best.node, status.best.split) == (winner.spec.parent, "promote")
    readings = {r.subject: r for r in status.held_out}
    assert set(readings) == {"winner", "base", "best-constant"}
    assert readings["winner"].node == winner.spec.parent
    assert readings["base"].node is None
    base = readings["base"]
    assert base.difference == pytest.approx(readings["winner"].value - base.value)
    unpaired = (base.standard_error**2 + readings["winner"].standard_error ** 2) ** 0.5
    assert base.difference_error is not None and base.difference_error < unpaired
    held_out = [n for n in engine.nodes.values() if n.spec.purpose is Purpose.HELD_OUT]
    assert len(held_out) == len({r.node for r in status.held_out})


def test_the_phases_of_the_end_follow_in_order() -> None:
    engine = engine_of(stages=4)
    seen: list[str] = []
    engine.after_plan = lambda e, p: seen.append(p.status.phase)
    engine.run()
    order = list(dict.fromkeys(seen))
    assert order == ["Running", "Promoting", "Confirming", "Complete"]


def test_the_best_constant_path_is_a_candidate_although_others_lead() -> None:
    search = make_search(stages=3.5, candidates=1, max_depth=2, parallelism=1)
    engine = SimulatedEngine(search)
    grower = Grower(search)
    grower.grow("0", 0.3)
    grower.grow("0-0", 0.35)
    grower.grow("0-1", 0.6, changes={"beta": 0.1})
    grower.grow("1", 0.2, steps=50)
    engine.nodes = grower.nodes
    for n in grower.nodes:
        engine.log.append(n)
    plan = engine.step()
    created = [d.node.spec.path for d in plan.decisions if isinstance(d, Create)]
    assert created == ["0-1"], "one slot"
    while engine.running():
        engine.end(engine.running()[0])
        engine.step()
    promoted = {n.spec.path for n in engine.nodes.values() if n.spec.purpose is Purpose.PROMOTE}
    assert promoted == {"0-1", "0-0"}


def test_a_candidate_that_cannot_be_scored_is_dropped() -> None:
    engine = engine_of(stages=6, candidates=2)
    run_until(engine, "Promoting")
    lost = next(n for n in engine.running() if n.endswith("-promote"))
    engine._close(lost, Phase.FAILED, Outcome.FAILED)
    status = engine.run().status
    assert status.phase == "Complete"
    assert status.best is not None
    assert f"{status.best.node}-promote" != lost


def test_a_held_out_reading_that_failed_is_missing_and_said_so() -> None:
    engine = engine_of(stages=6)
    run_until(engine, "Confirming")
    base = next(n for n in engine.running() if n.endswith("-base-held-out"))
    engine._close(base, Phase.FAILED, Outcome.FAILED)
    status = engine.run().status
    assert status.phase == "Complete"
    assert "held-out reading of base failed" in status.message
    assert "base" not in {r.subject for r in status.held_out}


def test_no_candidate_scored_is_a_failed_search() -> None:
    engine = engine_of(stages=4)
    run_until(engine, "Promoting")
    for _ in range(10):
        for name in engine.running():
            engine._close(name, Phase.FAILED, Outcome.FAILED)
        engine.step()
    assert engine.search.status.phase == "Failed"
    assert "promote split" in engine.search.status.message


def test_a_raised_budget_resumes_with_a_second_reading() -> None:
    engine = engine_of(stages=6)
    first = engine.run().status
    known = set(engine.nodes)
    assert {r.reading for r in first.held_out} == {1}
    assert engine.step().decisions == ()
    rebudget(engine, stages=12.0)
    assert engine.step().status.phase == "Running"
    assert engine.search.status.finished_at is None
    second = engine.run().status
    assert second.phase == "Complete"
    assert second.ledger.stages_spent == pytest.approx(12)
    assert {r.reading for r in second.held_out} == {1, 2}
    assert [r for r in second.held_out if r.reading == 1] == first.held_out
    new = set(engine.nodes) - known
    assert any(n.endswith("-held-out-2") for n in new)
    assert not any(n.endswith("-held-out") for n in new)


def test_a_raise_that_changes_nothing_reads_nothing_again() -> None:
    engine = engine_of(stages=6, strategy="grid", max_depth=1, options={"points": 1}, parallelism=3)
    engine.run()
    before = set(engine.nodes)
    rebudget(engine, stages=60.0)
    assert engine.run().status.phase == "Complete"
    assert {n for n in set(engine.nodes) - before if "held-out" in n} == set()


# Status --------------------------------------------------------------------------------------


def test_conditions_are_there_from_the_first_write_and_keep_their_times() -> None:
    engine = engine_of()
    engine.search = engine.search.with_(
        metadata=engine.search.metadata.model_copy(update={"generation": 3})
    )
    status = engine.step().status
    assert [c.type for c in status.conditions] == [
        "Ready",
        "Reconciling",
        "Stalled",
        "Complete",
        "Failed",
        "Suspended",
    ]
    assert status.observed_generation == 3
    assert {c.observed_generation for c in status.conditions} == {3}
    ready = condition(engine.search, "Ready")
    assert ready == ("True", "Searching")
    engine.now += timedelta(hours=1)
    later = engine.step().status
    assert all(c.last_transition_time == START for c in later.conditions)
    respec(engine, suspend=True)
    suspended = {c.type: c.last_transition_time for c in engine.step().status.conditions}
    assert suspended["Suspended"] == engine.now and suspended["Ready"] == START


def test_counts_and_depth_and_best_follow_the_tree() -> None:
    grower = Grower(make_search())
    grower.grow("0", 0.4, steps=25)
    grower.grow("0-0", 0.5, steps=75)
    grower.grow("0-0-0", 0.6)
    grower.grow("1", 0.1, ran=50, outcome=Outcome.EARLY_STOPPED)
    grower.grow("2", outcome=Outcome.DIVERGED, ran=10)
    grower.grow("3", outcome=None, phase=Phase.QUEUED)
    grower.grow("4", outcome=None)
    status = strategies.plan(grower.search, list(grower.nodes.values()), START).status
    counts = status.counts
    assert (counts.succeeded, counts.stopped, counts.failed) == (3, 1, 1)
    assert (counts.queued, counts.running, counts.pending) == (1, 1, 0)
    assert status.depth == 2, "a rung and its completion are one stage"
    assert status.best is not None
    assert (status.best.path, status.best.split) == ("0-0-0", "search")
    assert status.ledger.stages_spent == pytest.approx(0.25 + 0.75 + 1 + 0.5 + 0.25)
    assert status.ledger.stages_reserved == pytest.approx(2)


def test_statuses_of_minimized_searches_are_in_the_objectives_own_direction() -> None:
    engine = engine_of(stages=8, direction="minimize")
    status = engine.run().status
    readings = {r.subject: r for r in status.held_out}
    assert status.best is not None and status.best.value < 0.8
    assert readings["winner"].value < readings["base"].value
    assert readings["base"].difference is not None and readings["base"].difference < 0


def test_an_unknown_strategy_or_option_is_named_with_what_is_allowed() -> None:
    with pytest.raises(
        ValueError, match=r"found .annealing., allowed are asha, grid, llmzero, pbt"
    ):
        strategies.plan(make_search(strategy="annealing"), [], START)
    with pytest.raises(ValueError, match=r"options.exlpore: unknown; .* explore"):
        strategies.plan(make_search(options={"exlpore": 0.1}), [], START)
