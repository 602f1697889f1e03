"""Making nodes, stored answers, checkpoint retention, the forecast of gain."""

import numpy as np
import pytest
from simulated_engine import SimulatedEngine, make_search
from trees import NOW, Grower

from llmzero.api.proposals import Answered, BranchFrom, Diagnosis, Proposal, ProposalAnswer
from llmzero.api.spec import Retention, Storage
from llmzero.api.stage import Outcome, Provenance, Purpose
from llmzero.search.decisions import Prune
from llmzero.search.expansion import EXPANSION_BYTES, MOST_ANSWERS, has_room, size, with_answer
from llmzero.search.gain import FEATURES, PRIOR, fit, vector
from llmzero.search.nodes import evaluation_node, rollout_seed, train_node, unit_draw

# Nodes ---------------------------------------------------------------------------------------


def test_a_child_says_everything_that_it_computes() -> None:
    grower = Grower(make_search(seed=7))
    parent = grower.grow("0", 0.4, steps=25, checkpoints=[25], micro_batch_halvings=2)
    child = train_node(
        grower.search,
        parent=parent,
        number=3,
        steps=75,
        parameters={**parent.spec.parameters, "beta": 0.1},
        provenance=Provenance(proposer="rules"),
        segment="tree",
        start_step=25,
    )
    assert child.metadata.namespace == "team"
    assert child.metadata.labels == {
        "llmzero.dev/search": "sim",
        "llmzero.dev/purpose": "Train",
    }
    (owner,) = child.metadata.owner_references
    assert (owner.kind, owner.name, owner.uid) == ("TrainingSearch", "sim", "uid-1")
    assert owner.controller and owner.block_owner_deletion
    assert child.spec.path == "0-3" and child.spec.parent == parent.name
    assert child.spec.start is not None and child.spec.start.step == 25
    assert child.spec.data_offset == 25 * 8, "prompts of the path up to the checkpoint"
    assert child.spec.micro_batch_halvings == 2
    assert [(c.name, c.old, c.new) for c in child.spec.changes] == [("beta", 0.02, 0.1)]
    assert child.status.phase == "Pending"


def test_a_child_does_not_depend_on_the_order_of_its_parents_settings() -> None:
    """An API server returns maps sorted by name: replayed from memory, the changes stood in another
    order."""
    made = make_search()
    values = {p.name: p.clip(p.initial) for p in made.spec.parameters}
    assert list(values) != sorted(values)
    above = train_node(
        made, parent=None, number=0, steps=100, parameters=values,
        provenance=Provenance(proposer="initial"), segment="screen",
    )  # fmt: skip
    children = []
    for order in (list(values), sorted(values)):
        parent = above.with_(
            spec=above.spec.with_(parameters={name: values[name] for name in order})
        )
        point = {**parent.spec.parameters, "temperature": 0.7, "beta": 0.05}
        child = train_node(
            made, parent=parent, number=1, steps=100, parameters=point,
            provenance=Provenance(proposer="rules"), segment="tree", start_step=100,
        )  # fmt: skip
        children.append(child.spec.model_dump_json())
    assert children[0] == children[1]


def test_seeds_are_shared_by_siblings_and_change_with_parent_replica_and_search() -> None:
    seeds = {
        rollout_seed(seed, parent, replica)
        for seed in (0, 1)
        for parent in (None, "0", "0-1")
        for replica in (0, 1)
    }
    assert len(seeds) == 12
    assert all(0 <= s < 2**31 for s in seeds)
    assert rollout_seed(1, "0", 0) == 1824146698, "part of the contract: never changes"


def test_unit_draws_are_even_and_stable() -> None:
    draws = [unit_draw("x", i) for i in range(2000)]
    assert 0.47 < float(np.mean(draws)) < 0.53
    assert min(draws) >= 0 and max(draws) < 1
    assert unit_draw("x", 1) == unit_draw("x", 1)


def test_evaluations_are_named_by_what_they_score_and_by_reading() -> None:
    grower = Grower(make_search())
    stage = grower.grow("0", 0.4)
    promote = evaluation_node(grower.search, stage, 100, Purpose.PROMOTE)
    again = evaluation_node(grower.search, stage, 100, Purpose.HELD_OUT, 2)
    base = evaluation_node(grower.search, None, 0, Purpose.HELD_OUT)
    assert promote.name == f"{stage.name}-promote"
    assert again.name == f"{stage.name}-held-out-2"
    assert base.name.endswith("-base-held-out")
    assert base.spec.start is None and promote.spec.start is not None
    assert promote.spec.parameters == stage.spec.parameters
    assert len({promote.name, again.name, base.name}) == 3


# Expansions ----------------------------------------------------------------------------------


def answered(number: int, words: str = "why") -> Answered:
    return Answered(
        request_id=f"q-{number}",
        answered_by="agent",
        answer=ProposalAnswer(
            diagnosis=[
                Diagnosis(kind="Plateau", severity=0.5, evidence=words[:512]) for _ in range(3)
            ],
            branch_from=BranchFrom(step=100, reason=words[:512]),
            proposals=[
                Proposal(changes={"beta": 0.1 + number / 1000}, rationale=words[:1024])
                for _ in range(2)
            ],
        ),
    )


def test_answers_are_appended_once_and_keep_their_places() -> None:
    found = with_answer(None, answered(0), manual=False, now=NOW)
    found = with_answer(found, answered(1), manual=False)
    assert with_answer(found, answered(1), manual=False) == found
    assert [a.request_id for a in found.answers] == ["q-0", "q-1"]
    assert len(found.proposals) == 4
    assert found.requested_at == NOW


def test_under_manual_approval_a_new_answer_waits_again() -> None:
    found = with_answer(None, answered(0), manual=True)
    assert found.approved is None
    approved = found.with_(approved=True)
    assert with_answer(approved, answered(1), manual=True).approved is None


def test_expansions_stay_within_16_kb_and_lose_old_words_first() -> None:
    found = None
    for number in range(MOST_ANSWERS):
        found = with_answer(found, answered(number, "long words " * 90), manual=False)
        assert size(found) <= EXPANSION_BYTES
    assert found is not None and not has_room(found)
    assert [p.changes for _, p, _ in found.proposals] == [
        {"beta": 0.1 + n / 1000} for n in range(MOST_ANSWERS) for _ in range(2)
    ]
    first, last = found.proposals[0][1], found.proposals[-1][1]
    assert len(last.rationale) > 900 > 130 > len(first.rationale)


# Retention -----------------------------------------------------------------------------------


def prunes(engine: SimulatedEngine) -> dict[str, tuple[int, ...]]:
    return {d.node: d.keep for d in engine.plan().decisions if isinstance(d, Prune)}


def test_what_may_be_branched_from_keeps_all_its_checkpoints() -> None:
    engine = SimulatedEngine(make_search(stages=24, max_depth=2, parallelism=1))
    grower = Grower(engine.search)
    grower.grow("0", 0.4, checkpoints=[25, 50, 75, 100])
    grower.grow("0-0", 0.5, checkpoints=[25, 50, 75, 100])
    grower.grow("1", 0.1, ran=50, checkpoints=[25, 50], outcome=Outcome.EARLY_STOPPED)
    grower.grow("2", ran=50, checkpoints=[25, 50], outcome=Outcome.FAILED)
    engine.nodes = grower.nodes
    found = prunes(engine)
    assert found == {
        grower.node("0-0").name: (100,),  # at the horizon, but a candidate
        grower.node("1").name: (),
        grower.node("2").name: (),
    }


def test_what_something_unfinished_starts_from_is_never_deleted() -> None:
    engine = SimulatedEngine(make_search(stages=24, max_depth=2, parallelism=1))
    grower = Grower(engine.search)
    grower.grow("0", 0.4, ran=50, checkpoints=[25, 50], outcome=Outcome.EARLY_STOPPED)
    grower.grow("0-1", outcome=None, start_step=25, changes={"beta": 0.1})
    engine.nodes = grower.nodes
    assert prunes(engine) == {grower.node("0").name: (25,)}


def test_retention_all_deletes_nothing() -> None:
    search = make_search(stages=8)
    spec = search.spec.with_(storage=Storage(retention=Retention.ALL))
    engine = SimulatedEngine(search.with_(spec=spec), diverge=0.3, seed=3)
    engine.run()
    assert all(n.status.checkpoints == engine.ended[n.name].checkpoints for n in engine.trains())


def test_a_complete_search_keeps_the_paths_of_its_candidates() -> None:
    engine = SimulatedEngine(make_search(stages=16), seed=4)
    status = engine.run().status
    assert status.best is not None
    kept = {n.spec.path for n in engine.trains() if n.status.checkpoints}
    path = status.best.path
    while path:
        assert path in kept
        path = path.rpartition("-")[0]
    assert len(kept) < len(engine.trains())
    for node in engine.trains():
        if node.spec.path in kept and node.spec.start is not None:
            parent = engine.nodes[node.spec.start.node]
            assert node.spec.start.step in parent.status.checkpoints


# Forecast of gain ----------------------------------------------------------------------------

RUNGS = [(0.0, 0.97), (0.002, 0.7), (0.01, 0.5)]
"""Slope of the reward, share of dead groups."""


def test_ridge_is_the_closed_form() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(40, len(FEATURES)))
    y = x @ np.array([0.3, 0, 0, -0.1, 0]) + 0.7 + random.normal(scale=0.01, size=40)
    found = fit(x, 0.2, x, y)
    assert found is not None
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    left = y - y.mean() - z @ (0.2 * PRIOR)
    weights = 0.2 * PRIOR + np.linalg.solve(z.T @ z + 40 * np.eye(5), z.T @ left)
    assert found.weights == pytest.approx(weights)
    inner = found.predict(x[:3] * 0.1)
    assert inner == pytest.approx(((x[:3] * 0.1 - x.mean(axis=0)) / x.std(axis=0)) @ weights)


def test_ridge_stands_on_its_prior_below_a_dozen_pairs() -> None:
    """Of stages with one evaluation, that whose reward rises and whose groups are alive."""
    stages = np.array([vector({"reward_slope": s, "dead_groups_end": d}) for s, d in RUNGS])
    found = fit(stages, 0.1, stages[:11], np.zeros(len(RUNGS)))
    assert found is not None
    assert np.argsort(-found.predict(stages)).tolist() == [2, 1, 0]
    assert np.abs(found.predict(1e6 * stages)).max() <= 0.2
    assert fit(stages, 0.0, stages[:0], np.zeros(0)) is None, "nothing sets them apart"
    assert fit(stages[:2], 0.1, stages[:0], np.zeros(0)) is None


def test_ridge_survives_gaps() -> None:
    x = np.full((12, len(FEATURES)), np.nan)
    x[:, 0] = np.arange(12)
    found = fit(x, 0.1, x, np.arange(12.0))
    assert found is not None
    low, high = found.predict(np.array([[0.0] + [np.nan] * 4, [11.0] + [np.nan] * 4]))
    assert low < 0 < high
    assert found.predict(np.full((1, 5), np.nan))[0] == 0
    assert found.predict(np.array([[1e6, 0, 0, 0, 0]]))[0] <= 5.5, "inside what was seen"


def test_vector_keeps_the_order_of_the_features() -> None:
    found = vector({"entropy_end": 2.0, "eval_gain": 1.0, "other": 9.0})
    assert found[0] == 1.0 and found[2] == 2.0
    assert np.isnan(found[1])
