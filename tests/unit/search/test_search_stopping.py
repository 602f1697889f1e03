"""Early stopping: curve against best, paired, at equal cost, with grace, audits and vetoes."""

import math
from datetime import UTC, datetime

import pytest
from simulated_engine import SimulatedEngine, make_search
from trees import Grower, look

from llmzero.api.curve import Score
from llmzero.api.proposals import VerdictAnswer
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import EarlyStopping
from llmzero.api.stage import Audit, Outcome, Phase, StopDecision
from llmzero.dynamics.pairing import Difference, difference
from llmzero.search.decisions import MarkAudit, Review, Stop
from llmzero.search.stopping import (
    after_review,
    audited,
    beyond,
    doomed,
    false_kill,
    find_doomed,
    track,
)
from llmzero.search.values import Values
from llmzero.strategies import STRATEGIES
from llmzero.strategies.context import verdict_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = EarlyStopping(margin=0.05, looks=2, grace=0.3, audit_fraction=0.0)


def search(**kw: object) -> TrainingSearch:
    kw.setdefault("early_stopping", RULE)
    return make_search(**kw)  # type: ignore[arg-type]


def steady(*values: float, error: float = 0.001) -> list[Score]:
    return [look(25 * i, v, error) for i, v in enumerate(values)]


def gap(value: float, error: float = 0.0) -> Difference:
    return Difference(value, error, True)


def doomed_paths(grower: Grower) -> list[str]:
    tree = grower.tree()
    return [tree.rows[d.index].path for d in find_doomed(tree, Values(tree))]


# Pairing -------------------------------------------------------------------------------------


def test_a_paired_difference_is_over_questions() -> None:
    a, b = look(0, 0.5, 0.25, "f0f0"), look(0, 0.25, 0.25, "f000")
    found = difference(a, b)
    # Differences 0, 0, 1, 0: mean 0.25, standard deviation 0.5, over 4 questions.
    assert found == Difference(pytest.approx(0.25), pytest.approx(0.25), True)


def test_pairing_beats_adding_the_variances() -> None:
    digits = "f0" * 50
    a, b = look(0, 0.5, 0.05, digits), look(0, 0.49, 0.05, "0" + digits[1:])
    a, b = a, b.with_(value=0.49)
    assert difference(a, b).paired
    assert difference(a, b).error < 0.02 < math.hypot(0.05, 0.05)


@pytest.mark.parametrize(
    "b",
    [
        look(0, 0.25, 0.3),  # the answers were dropped
        look(0, 0.25, 0.3, "f00"),  # other questions
        look(0, 3.5, 0.3, "f000"),  # an objective on another scale
        look(0, 0.25, 0.3, "zz00"),  # no digits
    ],
)
def test_without_common_answers_the_variances_add(b: Score) -> None:
    found = difference(look(0, 0.5, 0.4, "f0f0"), b)
    assert not found.paired
    assert found.value == pytest.approx(0.5 - b.value)
    assert found.error == pytest.approx(math.hypot(0.4, 0.3))


# The rule ------------------------------------------------------------------------------------


def test_the_gap_must_exceed_the_margin_and_three_standard_errors() -> None:
    assert beyond(gap(0.06), 0.05)
    assert not beyond(gap(0.05), 0.05)
    assert not beyond(gap(0.06, 0.021), 0.05)
    assert beyond(gap(0.07, 0.021), 0.05)


def test_the_looks_must_be_in_a_row_and_the_latest() -> None:
    assert doomed([gap(0.1), gap(0.1)], RULE)
    assert not doomed([gap(0.1)], RULE)
    assert not doomed([gap(0.1), gap(0.1), gap(0.0)], RULE)
    assert not doomed([gap(0.1), gap(0.0), gap(0.1)], RULE)
    assert doomed([gap(0.0), gap(0.1), gap(0.1)], RULE)


def test_a_stage_far_below_the_best_at_equal_cost_is_doomed() -> None:
    grower = Grower(search())
    grower.grow("0", scores=steady(0.2, 0.3, 0.4, 0.5, 0.6))
    grower.grow("1", outcome=None, ran=50, scores=steady(0.2, 0.2, 0.2))
    assert doomed_paths(grower) == ["1"]


def test_the_comparison_is_at_equal_cumulative_cost() -> None:
    grower = Grower(search())
    grower.grow("0", scores=steady(0.2, 0.22, 0.24, 0.26, 0.28))
    grower.grow("0-0", scores=steady(0.28, 0.6, 0.7, 0.8, 0.9))
    grower.grow("1", outcome=None, ran=50, scores=steady(0.2, 0.22, 0.24))
    assert doomed_paths(grower) == [], "as good as the best was at that cost"
    grower.grow("0-1", outcome=None, ran=50, scores=steady(0.28, 0.3, 0.3), changes={"beta": 0.1})
    assert doomed_paths(grower) == ["0-1"]


def test_a_longer_path_is_compared_with_the_best_at_its_end() -> None:
    grower = Grower(search())
    grower.grow("0", scores=steady(0.2, 0.5, 0.6, 0.7, 0.8))
    grower.grow("0-0", outcome=None, ran=50, scores=steady(0.8, 0.5, 0.4))
    assert doomed_paths(grower) == ["0-0"], "it unlearns what its own parent, the best, knew"


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.6}, {"num_generations": 16}, {"max_completion_length": 1024}],
)
def test_a_change_of_capacity_or_temperature_has_grace(changes: dict) -> None:
    grower = Grower(search(early_stopping=RULE.with_(grace=0.3)))
    grower.grow("0", scores=steady(0.2, 0.3, 0.4, 0.5, 0.6))
    grower.grow("1", outcome=None, ran=50, scores=steady(0.2, 0.1, 0.1), changes=changes)
    assert doomed_paths(grower) == [], "the look at step 25 is inside the first 30 %"
    grower.grow("2", outcome=None, ran=75, scores=steady(0.2, 0.1, 0.1, 0.1), changes=changes)
    assert doomed_paths(grower) == ["2"]
    grower.grow("3", outcome=None, ran=50, scores=steady(0.2, 0.1, 0.1), changes={"beta": 0.1})
    assert doomed_paths(grower) == ["2", "3"], "a change of beta has none"


def test_minimized_objectives_are_doomed_above() -> None:
    grower = Grower(search(direction="minimize"))
    grower.grow("0", scores=steady(0.8, 0.7, 0.6, 0.5, 0.4))
    grower.grow("1", outcome=None, ran=50, scores=steady(0.8, 0.8, 0.8))
    grower.grow("2", outcome=None, ran=50, scores=steady(0.8, 0.5, 0.3))
    assert doomed_paths(grower) == ["1"]


def test_only_running_undecided_stages_are_looked_at() -> None:
    grower = Grower(search())
    low = steady(0.2, 0.1, 0.1)
    grower.grow("0", scores=steady(0.2, 0.3, 0.4, 0.5, 0.6))
    stop = StopDecision(reason="UserRequest", at=NOW)
    grower.grow("1", outcome=None, ran=50, scores=low, stop=stop)
    grower.grow("2", outcome=None, ran=50, scores=low, audit=Audit(at=NOW, step=50))
    grower.grow("3", outcome=None, ran=50, scores=low, phase=Phase.PENDING)
    grower.grow("4", outcome=None, ran=100, scores=steady(0.2, 0.1, 0.1, 0.1, 0.1))
    assert doomed_paths(grower) == []
    grower.search = search(early_stopping=RULE.with_(enabled=False))
    grower.grow("5", outcome=None, ran=50, scores=low)
    assert doomed_paths(grower) == []


def test_a_stopped_stage_is_never_the_best() -> None:
    grower = Grower(search())
    grower.grow("0", scores=steady(0.2, 0.3, 0.3, 0.3, 0.3))
    grower.grow("1", scores=steady(0.2, 0.8, 0.9), ran=50, outcome=Outcome.EARLY_STOPPED)
    grower.grow("2", outcome=None, ran=50, scores=steady(0.2, 0.28, 0.29))
    assert doomed_paths(grower) == []


def test_the_track_follows_the_path_and_takes_no_detour() -> None:
    grower = Grower(search())
    grower.grow("0", scores=steady(0.2, 0.3, 0.4, 0.1, 0.1), checkpoints=[50, 100])
    grower.grow("0-1", scores=steady(0.4, 0.5, 0.6, 0.7, 0.8), start_step=50, changes={"beta": 0})
    tree = grower.tree()
    found = [(cost, s.value) for cost, s in track(tree, tree.index(grower.node("0-1").name))]
    assert found == [(0, 0.2), (25, 0.3), (50, 0.4), (75, 0.5), (100, 0.6), (125, 0.7), (150, 0.8)]


# What follows --------------------------------------------------------------------------------


def test_audits_are_a_share_that_belongs_to_the_names() -> None:
    rule = EarlyStopping(audit_fraction=0.08)
    names = [f"search-abc-{i}" for i in range(5000)]
    share = sum(audited(1, n, rule) for n in names) / len(names)
    assert 0.06 < share < 0.10
    assert [audited(1, n, rule) for n in names[:50]] == [audited(1, n, rule) for n in names[:50]]
    assert not any(audited(1, n, EarlyStopping(audit_fraction=0)) for n in names)
    assert all(audited(1, n, EarlyStopping(audit_fraction=1)) for n in names[:50])


def decisions(grower: Grower) -> list[object]:
    tree = grower.tree()
    strategy = STRATEGIES[grower.search.spec.strategy.name](tree, Values(tree))
    return list(strategy.stops(NOW))


def lost(kw: dict) -> Grower:
    grower = Grower(search(**kw))
    grower.grow("0", scores=steady(0.2, 0.3, 0.4, 0.5, 0.6))
    grower.grow("1", outcome=None, ran=50, scores=steady(0.2, 0.2, 0.2))
    return grower


def test_a_doomed_stage_is_stopped_audited_or_reviewed() -> None:
    (stop,) = decisions(lost({}))
    assert isinstance(stop, Stop)
    assert stop.stop.reason == "CurveBelowBest"
    assert "0.200" in stop.stop.message and "path to 0" in stop.stop.message
    (mark,) = decisions(lost({"early_stopping": RULE.with_(audit_fraction=1.0)}))
    assert isinstance(mark, MarkAudit) and mark.audit.step == 50
    (review,) = decisions(lost({"agent": True}))
    assert isinstance(review, Review)
    assert review.request.stage.path == "1" and review.request.best.path == "0"
    assert review.request.reason == stop.stop.message


@pytest.mark.parametrize("strategy", ["llmzero", "random", "grid"])
def test_every_strategy_stops_doomed_stages(strategy: str) -> None:
    assert [type(d) for d in decisions(lost({"strategy": strategy}))] == [Stop]


def test_a_veto_lets_the_stage_run_on_and_is_remembered() -> None:
    grower = lost({"agent": True})
    tree = grower.tree()
    (found,) = find_doomed(tree, Values(tree))
    request = verdict_request(tree, Values(tree), found)
    veto = VerdictAnswer(
        request_id=request.request_id, verdict="continue", reason="it warms up", answered_by="agent"
    )
    kept = after_review(request, veto, 50, NOW)
    assert kept == Audit(message="vetoed: it warms up", at=NOW, step=50, verdict=veto)
    agreed = after_review(request, veto.with_(verdict="stop"), 50, NOW)
    assert isinstance(agreed, StopDecision) and "it warms up" in agreed.message
    silent = after_review(request, None, 50, NOW)
    assert silent == StopDecision(reason="CurveBelowBest", message=request.reason, at=NOW)


def test_false_kills_are_audited_stages_that_came_back() -> None:
    grower = Grower(search())
    mark = Audit(at=NOW, step=50)
    grower.grow("0", scores=steady(0.2, 0.3, 0.4, 0.5, 0.6))
    grower.grow("1", scores=steady(0.2, 0.2, 0.2, 0.4, 0.58), audit=mark)
    grower.grow("2", scores=steady(0.2, 0.2, 0.2, 0.2, 0.3), audit=mark)
    tree = grower.tree()
    best = track(tree, tree.index(grower.node("0").name))
    assert false_kill(tree, tree.index(grower.node("1").name), best)
    assert not false_kill(tree, tree.index(grower.node("2").name), best)


def test_early_stopping_saves_budget_in_a_whole_search() -> None:
    rule = EarlyStopping(margin=0.02, looks=1, grace=0, audit_fraction=0.5)
    engine = SimulatedEngine(make_search(stages=80, parallelism=4, early_stopping=rule), seed=8)
    ledger = engine.run().status.ledger
    stopped = [n for n in engine.trains() if n.status.phase is Phase.STOPPED]
    assert ledger.early_stopped == len(stopped) > 0
    saved = sum((n.spec.steps - n.status.step) / 100 for n in stopped)
    assert ledger.saved_by_stopping == pytest.approx(saved)
    assert ledger.audited == sum(n.status.audit is not None for n in engine.trains()) > 0
    assert not any(n.spec.parent == s.name for n in engine.trains() for s in stopped)
