"""Each pathology is found where it is, with evidence, and not where it is not."""

import pytest

from llmzero.api.curve import Curve, PathologyKind, Score
from llmzero.api.stage import Outcome
from llmzero.dynamics import diagnose
from tests.unit.builders import curve

K = PathologyKind
N = 30


def ramp(start: float, end: float, n: int = N) -> list[float]:
    return [start + (end - start) * i / (n - 1) for i in range(n)]


def flat(value: float, n: int = N) -> list[float]:
    return [value + 0.001 * (-1) ** i for i in range(n)]


RISING = {0: 0.3, 10: 0.4, 20: 0.5, 30: 0.6}
FLAT = {0: 0.30, 10: 0.31, 20: 0.30, 30: 0.305}
HEALTHY = {
    "reward": ramp(0.3, 0.6),
    "entropy": ramp(1.0, 0.6),
    "grad_norm": flat(0.5),
    "frac_reward_zero_std": flat(0.2),
    "completions__clipped_ratio": flat(0.01),
    "completions__mean_length": flat(20),
}


def kinds(
    scores: dict[int, float],
    settings: dict[str, object] | None = None,
    outcome: Outcome | None = Outcome.SUCCEEDED,
    **metrics: list[float],
) -> list[K]:
    _, found = diagnose(curve(scores, **{**HEALTHY, **metrics}), settings or {}, outcome)
    assert all(p.evidence and 0 <= p.severity <= 1 for p in found)
    return [p.kind for p in found]


def test_a_healthy_stage_shows_nothing() -> None:
    assert kinds(RISING) == []


@pytest.mark.parametrize(
    ("kind", "scores", "settings", "metrics"),
    [
        (K.ENTROPY_COLLAPSE, FLAT, {}, {"entropy": ramp(1.0, 0.05)}),
        (K.ENTROPY_EXPLOSION, FLAT, {}, {"entropy": ramp(0.5, 2.0), "reward": ramp(0.5, 0.2)}),
        (K.POLICY_DRIFT, RISING, {"beta": 0.02}, {"kl": [0.01] * 20 + [3.0] * 10}),
        (
            K.OVER_CONSTRAINED,
            FLAT,
            {"beta": 0.5},
            {"kl": flat(0.3), "reward": flat(0.4)},
        ),
        (
            K.REWARD_HACKING,
            {0: 0.3, 10: 0.3, 20: 0.29, 30: 0.28},
            {},
            {"reward": ramp(0.3, 0.8)},
        ),
        (K.LENGTH_HACKING, FLAT, {}, {"completions__mean_length": ramp(20, 60)}),
        (K.TRUNCATION, RISING, {}, {"completions__clipped_ratio": flat(0.4)}),
        (K.ZERO_VARIANCE_GROUPS, RISING, {}, {"frac_reward_zero_std": flat(0.8)}),
        (K.GRADIENT_SPIKES, RISING, {}, {"grad_norm": [0.5] * 20 + [20.0, 0.5, 30.0] + [0.5] * 7}),
        (
            K.OVERFIT,
            {0: 0.3, 10: 0.6, 20: 0.5, 30: 0.45},
            {},
            {"reward": ramp(0.3, 0.8)},
        ),
        (K.PLATEAU, FLAT, {}, {"reward": flat(0.4)}),
    ],
)
def test_each_pathology_is_found(
    kind: K, scores: dict[int, float], settings: dict[str, object], metrics: dict[str, list[float]]
) -> None:
    assert kind in kinds(scores, settings, **metrics)
    assert kind not in kinds(RISING)


def test_outcomes_are_pathologies_too() -> None:
    assert kinds(RISING, outcome=Outcome.OUT_OF_MEMORY)[0] == K.OUT_OF_MEMORY
    assert kinds(RISING, outcome=Outcome.DIVERGED)[0] == K.NON_FINITE


def test_an_entropy_loss_that_pays_is_ordinary() -> None:
    """73 % gone by step 200 with 76 % of the gain (arXiv 2505.22617) is no illness."""
    assert K.ENTROPY_COLLAPSE not in kinds(RISING, entropy=ramp(1.0, 0.25))


def test_kl_that_starts_at_zero_is_no_drift() -> None:
    assert K.POLICY_DRIFT not in kinds(RISING, {"beta": 0.02}, kl=ramp(0.0, 0.08))


def test_truncation_acts_from_twenty_percent() -> None:
    _, mild = diagnose(curve(RISING, completions__clipped_ratio=flat(0.12)), {})
    _, hard = diagnose(curve(RISING, completions__clipped_ratio=flat(0.25)), {})
    assert mild[0].severity < 0.5 <= hard[0].severity


def test_severe_classes_come_first() -> None:
    found = kinds(
        FLAT, entropy=ramp(1.0, 0.05), completions__clipped_ratio=flat(0.4), reward=flat(0.4)
    )
    assert found == [K.ENTROPY_COLLAPSE, K.TRUNCATION, K.PLATEAU]


CRASH = {0: 0.4, 10: 0.2, 20: 0.1, 30: 0.05}


def scored(scores: dict[int, float], asked: dict[int, float], **metrics: list[float]) -> Curve:
    """A curve whose evaluations also asked the train reward's own functions."""
    line = curve(scores, **{**HEALTHY, **metrics})
    return line.with_(scores=[s.with_(metrics={"reward": asked[s.step]}) for s in line.scores])


def test_a_crash_is_drift_even_where_no_kl_is_logged() -> None:
    assert K.POLICY_DRIFT in kinds(CRASH, reward=ramp(0.4, 0.05))
    assert K.PLATEAU not in kinds(CRASH, reward=flat(0.0))
    # The evaluation alone is no crash: the train reward still rises.
    assert K.POLICY_DRIFT not in kinds(CRASH)


def test_a_strong_reference_is_no_drift() -> None:
    found = kinds(FLAT, {"beta": 0.1}, kl=flat(1.5), reward=flat(0.4))
    assert K.OVER_CONSTRAINED in found and K.POLICY_DRIFT not in found
    assert K.POLICY_DRIFT in kinds(FLAT, {"beta": 0.001}, kl=flat(1.5), reward=flat(0.4))


def test_drift_over_many_stages_counts_where_nothing_is_gained() -> None:
    far = {"kl_path": 2.5}
    for scores, expected in ((FLAT, True), (RISING, False)):
        _, found = diagnose(curve(scores, **HEALTHY), {}, parent_features=far)
        assert (K.POLICY_DRIFT in [p.kind for p in found]) is expected


def test_a_reward_learnt_by_heart_is_not_gamed() -> None:
    scores = {0: 0.4, 10: 0.55, 20: 0.42, 30: 0.36}
    reward = ramp(0.3, 0.9)
    for asked, expected in (
        (scores, [K.OVERFIT]),  # the same functions fall on fresh questions
        ({0: 0.3, 10: 0.5, 20: 0.7, 30: 0.9}, [K.REWARD_HACKING, K.OVERFIT]),
    ):
        _, found = diagnose(scored(scores, asked, reward=reward), {})
        assert [p.kind for p in found] == expected


def test_hacking_takes_two_evaluations_in_a_row() -> None:
    once = {0: 0.3, 10: 0.42, 20: 0.52, 30: 0.3}
    assert K.REWARD_HACKING not in kinds(once, reward=ramp(0.3, 0.8))


def test_clipping_says_something_only_off_policy() -> None:
    clipped = {"clip_ratio__region_mean": flat(0.2), "clip_ratio__high_mean": flat(0.15)}
    assert K.CLIP_SATURATION in kinds(RISING, {"num_iterations": 4}, **clipped)
    assert K.CLIP_SATURATION not in kinds(RISING, {"num_iterations": 1}, **clipped)
    _, found = diagnose(curve(RISING, **{**HEALTHY, **clipped}), {"num_iterations": 2})
    assert "15.0% on the high side" in found[0].evidence
    # A policy that is wrecked clips nothing any more: the worst points count.
    wrecked = [0.0, 0.14, 0.17, 0.17] + [0.0] * 26
    assert K.CLIP_SATURATION in kinds(
        RISING, {"num_iterations": 4}, clip_ratio__region_mean=wrecked
    )


def test_a_sampler_that_trails_or_runs_ahead() -> None:
    for ratio, expected in ((2.5, True), (0.4, True), (1.3, False)):
        found = kinds(RISING, sampling__importance_sampling_ratio__mean=flat(ratio))
        assert (K.STALE_SAMPLER in found) is expected


def test_gradients_below_the_clipping_norm_do_no_harm() -> None:
    small = [0.02] * 20 + [0.6, 0.02, 0.7] + [0.02] * 7
    assert K.GRADIENT_SPIKES not in kinds(RISING, grad_norm=small)
    assert K.GRADIENT_SPIKES in kinds(RISING, {"max_grad_norm": 0.1}, grad_norm=small)
    assert K.GRADIENT_SPIKES not in kinds(RISING, grad_norm=[0.5] * 20 + [20.0] + [0.5] * 9)


def test_rare_failures_of_solved_groups_are_no_gradient_spikes() -> None:
    """Seen on transcribe: one failure among sixteen moves much, and the evaluation rises."""
    jumps = [0.1] * 12 + [0.6, 1.7, 0.1, 2.8] + [0.1] * 14
    solved = {"frac_reward_zero_std": flat(0.58), "reward": ramp(0.85, 0.95)}
    assert K.GRADIENT_SPIKES in kinds(RISING, grad_norm=jumps)
    assert kinds(RISING, grad_norm=jumps, **solved) == [K.ZERO_VARIANCE_GROUPS]
    falling = {0: 0.6, 10: 0.5, 20: 0.4, 30: 0.3}
    assert K.GRADIENT_SPIKES in kinds(falling, grad_norm=jumps, **solved)


def test_steps_without_a_gradient_do_not_make_the_first_ones_spikes() -> None:
    alive = [0.2, 0.4, 0.3, 1.5, 0.2, 0.9, 1.1, 0.2, 0.3, 1.2]
    dead = {"frac_reward_zero_std": [1.0] * 20 + [0.4] * 10, "grad_norm": [0.0005] * 20 + alive}
    assert K.GRADIENT_SPIKES not in kinds(RISING, **dead)


def test_gradients_that_grow_with_the_living_groups_do_not_blow_up() -> None:
    """Seen on ramble: one group of eight is alive at first, six when the run takes off."""
    grown = [0.1] * 20 + [0.3, 0.6, 1.3, 1.9, 1.3, 1.2, 1.1, 1.0, 1.0, 1.0]
    dead = [0.875] * 20 + [0.75, 0.6, 0.25, 0.25] + [0.5] * 6
    assert K.GRADIENT_SPIKES in kinds(RISING, grad_norm=grown)
    assert K.GRADIENT_SPIKES not in kinds(RISING, grad_norm=grown, frac_reward_zero_std=dead)


def test_numbers_that_never_come_back_are_found_without_the_outcome() -> None:
    loss: list[float | None] = [0.1] * 25 + [None] * 5
    line = curve(RISING, **{**HEALTHY, "loss": loss})
    _, found = diagnose(line, {}, Outcome.INTERRUPTED)
    assert found[0].kind is K.NON_FINITE
    assert "from step 26 on" in found[0].evidence


def test_low_entropy_that_rises_has_not_collapsed() -> None:
    """Seen on ramble: 0.009 to 0.041 nats, while the model began to answer in another way."""
    assert K.ENTROPY_COLLAPSE not in kinds(FLAT, entropy=ramp(0.009, 0.041))
    assert K.ENTROPY_COLLAPSE in kinds(FLAT, entropy=flat(0.009))
    assert K.ENTROPY_COLLAPSE in kinds(FLAT, entropy=ramp(0.06, 0.03))


def test_entropy_is_judged_by_what_the_base_model_had() -> None:
    """Seen on ramble: a base model of 0.014 nats has not collapsed at 0.012, and at 0.004 it has."""

    def collapsed(level: float, base: float) -> bool:
        line = curve(FLAT, **{**HEALTHY, "entropy": flat(level)})
        sure = line.with_(scores=[s.with_(metrics={"entropy": level}) for s in line.scores])
        _, found = diagnose(sure, {}, parent_features={"eval_entropy_base": base})
        return K.ENTROPY_COLLAPSE in [p.kind for p in found]

    assert not collapsed(0.012, base=0.014)
    assert collapsed(0.004, base=0.014)
    assert collapsed(0.03, base=0.4)
    assert not collapsed(0.06, base=0.4)


def test_the_entropy_of_the_base_model_is_handed_on() -> None:
    line = curve(FLAT)
    root = line.with_(scores=[s.with_(metrics={"entropy": 0.2}) for s in line.scores])
    first, _ = diagnose(root, {})
    child, _ = diagnose(line, {}, parent_features=first)
    assert child["eval_entropy_base"] == first["eval_entropy_base"] == 0.2


def test_rewards_that_overflow_do_no_harm() -> None:
    """Found by hypothesis: the gap to the evaluation is infinite, and no feature."""
    falling = {0: 0.0, 5: -1.0, 10: -2.0, 20: -9.0}
    assert K.OVERFIT not in kinds(falling, reward=[0.0] * 10 + [1e308] * 10 + [5.0] * 10)


def test_entropy_is_judged_at_temperature_one() -> None:
    """Samples at temperature 0.2 look collapsed; the protocol's own entropy says otherwise."""
    cold = curve(FLAT, **{**HEALTHY, "entropy": flat(0.02)})
    warm = cold.with_(scores=[s.with_(metrics={"entropy": 0.4}) for s in cold.scores])
    assert K.ENTROPY_COLLAPSE in [p.kind for p in diagnose(cold, {})[1]]
    assert K.ENTROPY_COLLAPSE not in [p.kind for p in diagnose(warm, {})[1]]


def test_paired_answers_find_a_gain_that_unpaired_errors_hide() -> None:
    """20 of 200 questions are newly solved and none is lost: certain, at any overall error."""
    line = curve({0: 0.5, 30: 0.6}, error=0.04, reward=flat(0.4))
    answers = ["f" * 100 + "0" * 100, "f" * 120 + "0" * 80]
    paired = line.with_(
        scores=[s.with_(per_question=a) for s, a in zip(line.scores, answers, strict=True)]
    )
    assert K.PLATEAU in [p.kind for p in diagnose(line, {})[1]]
    assert K.PLATEAU not in [p.kind for p in diagnose(paired, {})[1]]


def test_the_start_of_a_child_is_its_parents_checkpoint() -> None:
    """Alone, two equal evaluations look flat; from the parent's checkpoint on they are a gain."""
    line = curve({20: 0.6, 30: 0.6}, reward=flat(0.6))
    before = Score(step=40, value=0.3, standard_error=0.02, questions=200)
    assert K.PLATEAU in [p.kind for p in diagnose(line, {})[1]]
    assert K.PLATEAU not in [p.kind for p in diagnose(line, {}, start=before)[1]]


def test_evidence_cites_metric_steps_and_threshold() -> None:
    line = curve(RISING, **{**HEALTHY, "completions__clipped_ratio": flat(0.25)})
    _, (found,) = diagnose(line, {"max_completion_length": 12})
    assert found.metric == "completions/clipped_ratio"
    assert found.evidence == (
        "clipped_ratio 25% over steps 22-30 (report at 10%, act at 20%) at max_completion_length 12"
    )
