"""Golden tests: filtering, drift, residuals at equal cost, backup, normalization."""

import numpy as np
import pytest
from simulated_engine import make_search
from trees import Grower, look

from llmzero.api.stage import Outcome
from llmzero.search.filtering import Drift, drift, filtered
from llmzero.search.tree import ROOT
from llmzero.search.values import Values, backup, normalized


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


@pytest.fixture
def grower() -> Grower:
    return Grower(make_search())


def values_of(grower: Grower) -> tuple[Values, dict[str, int]]:
    tree = grower.tree()
    return Values(tree), {tree.rows[i].path: i for i in tree.stages}


def test_filtered_is_the_kalman_update() -> None:
    # Prior 0.5 with variance 0.04, observation 0.8 with 0.01: gain 0.04 / 0.05 = 0.8.
    mean, variance = filtered(array(0.5), array(0.04), array(0.8), array(0.01))
    assert mean[0] == pytest.approx(0.5 + 0.8 * 0.3)
    assert variance[0] == pytest.approx(0.2 * 0.04)


@pytest.mark.parametrize(
    ("prior", "spread", "noise", "expected"),
    [
        (np.nan, 0.0, 0.01, (0.8, 0.01)),  # nothing is known: the observation stands
        (0.5, 0.0, 0.0, (0.8, 0.0)),  # both claim to be exact: the newer one
        (0.5, 0.0, 0.01, (0.5, 0.0)),  # an exact prior
        (0.5, 0.04, 0.0, (0.8, 0.0)),  # an exact observation
    ],
)
def test_filtered_at_its_edges(
    prior: float, spread: float, noise: float, expected: tuple[float, float]
) -> None:
    mean, variance = filtered(array(prior), array(spread), array(0.8), array(noise))
    assert (mean[0], variance[0]) == pytest.approx(expected)


def test_drift_is_the_mean_and_the_variance_of_true_changes() -> None:
    # Changes 0.1, 0.2, 0.3 a stage: mean 0.2, variance 0.02 * 3/2 / 3 = 0.01, noise 0.004 off.
    found = drift(array(0.1, 0.2, 0.3), array(0.004, 0.004, 0.004), array(1, 1, 1))
    assert found is not None
    assert found.mean == pytest.approx(0.2)
    assert found.variance == pytest.approx((0.02 * 3 / 2 - 0.012) / 3)


def test_drift_never_claims_a_negative_variance_and_needs_three_pairs() -> None:
    assert drift(array(0.1, 0.1, 0.1), array(0.01, 0.01, 0.01), array(1, 1, 1)) == Drift(
        pytest.approx(0.1), 0.0
    )
    assert drift(array(0.1, 0.3), array(0, 0), array(1, 1)) is None


def test_drift_of_a_quarter_stage_is_a_quarter() -> None:
    prior, variance = Drift(0.2, 0.04).prior(array(0.5), array(0.01), array(0.25))
    assert prior[0] == pytest.approx(0.55)
    assert variance[0] == pytest.approx(0.02)


def test_backup_mixes_the_cost_weighted_mean_and_the_best() -> None:
    # Costs 1 and 3, residuals 0.4 and 0: mean 0.1, best 0.4; 0.75 * 0.1 + 0.25 * 0.4.
    assert backup(array(4), array(0.4), array(0.4))[0] == pytest.approx(0.175)


def test_normalized_is_half_where_all_are_alike() -> None:
    assert normalized(array(0.3), 0.3, 0.3)[0] == 0.5
    assert normalized(array(0.1, 0.2, 0.9), 0.1, 0.5) == pytest.approx([0, 0.25, 1])


def test_values_are_filtered_along_the_path(grower: Grower) -> None:
    grower.grow("0", 0.5, error=0.1)
    grower.grow("0-0", 0.7, error=0.1)
    grower.grow("0-0-0", 0.9, error=0.1)
    grower.grow("0-0-0-0", 0.5, error=0.1)
    values, at = values_of(grower)
    # Changes +.2, +.2, -.4: mean 0; spread .24 * 3/2 = .36, noise 3 * .02 off: t2 = 0.1.
    assert values.drift == Drift(pytest.approx(0.0), pytest.approx(0.1))
    mean, variance = 0.5, 0.01
    assert values.mean[at["0"]] == 0.5
    for path, observed in (("0-0", 0.7), ("0-0-0", 0.9), ("0-0-0-0", 0.5)):
        gain = (variance + 0.1) / (variance + 0.1 + 0.01)
        mean, variance = mean + gain * (observed - mean), (1 - gain) * (variance + 0.1)
        assert values.mean[at[path]] == pytest.approx(mean)
        assert values.variance[at[path]] == pytest.approx(variance)


def test_an_improving_search_does_not_shrink_towards_the_parent(grower: Grower) -> None:
    for root in range(4):
        grower.grow(str(root), 0.3, error=0.05)
        grower.grow(f"{root}-0", 0.5, error=0.05)
    values, at = values_of(grower)
    assert values.mean[at["0-0"]] == pytest.approx(0.5), "mu_delta carries the usual gain"


def test_residuals_compare_stages_of_equal_cost(grower: Grower) -> None:
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("2", 0.6, steps=25)
    values, at = values_of(grower)
    assert values.residual[at["0"]] == pytest.approx(-0.1)
    assert values.residual[at["1"]] == pytest.approx(0.1)
    assert values.residual[at["2"]] == pytest.approx(0.0), "the only one that trained so little"


def test_a_deep_stage_keeps_the_lead_of_its_path(grower: Grower) -> None:
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("1-0", 0.7)
    values, at = values_of(grower)
    assert values.residual[at["1-0"]] == pytest.approx(0.1), "alone at its depth: no news"
    grower.grow("1-1", 0.5, changes={"beta": 0.1})
    values, at = values_of(grower)
    assert values.residual[at["1-0"]] == pytest.approx(0.2)
    assert values.residual[at["1-1"]] == pytest.approx(0.0)


def test_depth_is_no_quality(grower: Grower) -> None:
    """Two lines that improve alike have the same q, however deep one of them went."""
    grower.grow("0", 0.2)
    grower.grow("1", 0.2)
    for depth in range(1, 5):
        grower.grow("0" + "-0" * depth, 0.2 + 0.1 * depth)
    values, at = values_of(grower)
    assert values.q[at["0"]] == values.q[at["1"]]


def test_q_backs_up_over_the_subtree(grower: Grower) -> None:
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("1-0", 0.7)
    grower.grow("1-1", 0.5, changes={"beta": 0.1})
    values, at = values_of(grower)
    assert (values.low, values.high) == (pytest.approx(-0.1), pytest.approx(0.2))
    q = 0.75 * (0.1 + 0.2 + 0.0) / 3 + 0.25 * 0.2
    assert values.q[at["1"]] == pytest.approx((q + 0.1) / 0.3)
    assert values.q[at["0"]] == pytest.approx(0.0)
    assert values.q[at["1-0"]] == pytest.approx(1.0)


def test_a_failed_stage_is_worth_nothing_and_its_visit_counts(grower: Grower) -> None:
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("2", outcome=Outcome.OUT_OF_MEMORY, ran=0)
    values, at = values_of(grower)
    assert values.q[at["2"]] == 0.0
    assert values.tree.visits[at["2"]] == 0.25
    assert np.isnan(values.mean[at["2"]])


def test_a_crash_says_nothing_about_the_settings(grower: Grower) -> None:
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("1-0", outcome=Outcome.FAILED, ran=0)
    values, at = values_of(grower)
    assert values.q[at["1-0"]] == 0.5
    assert values.q[at["1"]] == pytest.approx(1.0)
    assert values.tree.visits[at["1"]] == 1.25


def test_a_stopped_stage_is_a_bound_that_moves_no_end_of_the_scale(grower: Grower) -> None:
    grower.grow("0", 0.3)
    grower.grow("1", 0.5)
    before, _ = values_of(grower)
    grower.grow("2", 0.01, ran=50, outcome=Outcome.EARLY_STOPPED)
    values, at = values_of(grower)
    assert (values.low, values.high) == (before.low, before.high)
    assert values.q[at["2"]] == 0.0
    assert values.leader == at["1"]
    assert at["2"] not in values.ranked


def test_a_stopped_child_drags_its_parent_no_further_than_the_worst_that_ended(
    grower: Grower,
) -> None:
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    grower.grow("1-0", -9.0, ran=50, outcome=Outcome.EARLY_STOPPED)
    values, at = values_of(grower)
    # Residuals 0.1 at cost 1 and, clipped, -0.1 at cost 0.5; the scale is -0.1 to 0.1.
    q = 0.75 * (0.1 * 1 - 0.1 * 0.5) / 1.5 + 0.25 * 0.1
    assert values.q[at["1"]] == pytest.approx((q + 0.1) / 0.2)


def test_minimized_objectives_turn_their_sign() -> None:
    grower = Grower(make_search(direction="minimize"))
    grower.grow("0", 0.2)
    grower.grow("1", 0.4)
    values, at = values_of(grower)
    assert values.leader == at["0"]
    assert values.q[at["0"]] > values.q[at["1"]]


def test_replicas_pool_their_residuals(grower: Grower) -> None:
    grower.grow("0", 0.2)
    grower.grow("0-0", 0.3)
    grower.grow("0-1", 0.7, changes={"beta": 0.1})
    alone, at = values_of(grower)
    grower.grow("0-2", 0.3, changes={"beta": 0.1}, proposer="replica", replica=1)
    values, at = values_of(grower)
    assert values.residual[at["0-1"]] == values.residual[at["0-2"]]
    assert values.residual[at["0-1"]] < alone.residual[at["0-1"]]


def test_the_base_model_counts_where_it_was_scored(grower: Grower) -> None:
    for root, end in enumerate((0.3, 0.4, 0.5)):
        grower.grow(str(root), scores=[look(0, 0.2), look(100, end)])
    values, _at = values_of(grower)
    assert values.base == (pytest.approx(0.2), pytest.approx(0.0004))
    assert values.baseline[0] == pytest.approx(0.2)
    assert values.drift is not None and values.drift.mean == pytest.approx(0.2)
    assert np.isnan(values.mean[ROOT])


def test_a_branch_from_an_earlier_checkpoint_starts_from_its_score(grower: Grower) -> None:
    grower.grow("0", scores=[look(50, 0.6, 0.0), look(100, 0.3, 0.0)], checkpoints=[50, 100])
    grower.grow("0-0", 0.3)
    grower.grow("0-1", 0.6, start_step=50, changes={"beta": 0.1})
    values, at = values_of(grower)
    assert values.tree.rows[at["0-1"]].begin == 50
    # The change of 0-1 is measured from 0.6, not from 0.3.
    assert sorted(values._changes()[0]) == pytest.approx([0.0, 0.0])


def test_equal_ends_are_ranked_in_the_order_of_the_tree(grower: Grower) -> None:
    for root in range(3):
        grower.grow(str(root), 0.5)
    values, at = values_of(grower)
    assert values.ranked.tolist() == [at["0"], at["1"], at["2"]]


def test_features_that_predict_gain_lift_a_leaf(grower: Grower) -> None:
    """Stages with a steep reward slope gain more: among equal leaves the steep one is worth more."""
    for root in range(14):
        steep = 1.0 if root % 2 else -1.0
        grower.grow(str(root), 0.3, features={"reward_slope": steep})
        grower.grow(f"{root}-0", 0.4 + 0.05 * steep, features={"reward_slope": 0.0})
    grower.grow("14", 0.3, features={"reward_slope": 1.0})
    grower.grow("15", 0.3, features={"reward_slope": -1.0})
    values, at = values_of(grower)
    assert values.outlook[at["14"]] > 0.01 > -0.01 > values.outlook[at["15"]]
    assert values.q[at["14"]] > values.q[at["15"]]
    assert values.outlook[at["0"]] == 0.0, "what has children is judged by them"
