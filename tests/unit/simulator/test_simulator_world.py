"""The simulated worlds: each shape by hand, and the effects that they are there for."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import lognorm, norm

from llmzero.dynamics.pairing import difference
from llmzero.simulator import FAMILIES, SEEN, TUNED, UNSEEN, State, World, make_world
from llmzero.simulator.families import Bottlenecks, Gamed, Levels, Recited, Saturating
from llmzero.simulator.questions import _quantile, evaluate
from llmzero.simulator.world import LENGTH_SPREAD, Settings, beyond, dead_groups

CALM = Settings(learning_rate=1e-4, max_completion_length=2048)


def trained(
    world: World, *stages: Settings, steps: int = 100, state: State | None = None
) -> State | None:
    """The state after these stages; None where one diverged."""
    state, luck = (state or world.base()).copy(), Random(1)
    for stage in stages:
        for _ in range(20):
            if world.advance(state, stage, steps / 20, luck) is None:
                return None
    return state


def scored(world: World, *stages: Settings, **kw: object) -> float:
    state = trained(world, *stages, **kw)  # type: ignore[arg-type]
    return math.nan if state is None else world.accuracy(state)


# Shapes --------------------------------------------------------------------------------------


def test_dead_groups_by_hand() -> None:
    """p = 0.5: questions of 0.182, 0.5 and 0.818; groups of two agree with p^2 + (1-p)^2."""
    easy = 1 / (1 + math.exp(-1.5))
    side = easy**2 + (1 - easy) ** 2
    assert dead_groups(0.5, 2) == pytest.approx((side + 0.5 + side) / 3)
    assert dead_groups(0.5, 8) < dead_groups(0.5, 4) < dead_groups(0.95, 4)


def test_share_of_lengths_beyond_a_limit_is_that_of_a_log_normal() -> None:
    scale = 200 * math.exp(-(LENGTH_SPREAD**2) / 2)
    for limit in (100, 200, 400):
        assert beyond(limit, 200) == pytest.approx(lognorm.sf(limit, LENGTH_SPREAD, scale=scale))


@given(st.floats(1e-4, 1 - 1e-4))
def test_quantiles_are_those_of_the_normal(p: float) -> None:
    assert _quantile(p) == pytest.approx(norm.ppf(p), abs=1e-6)


def test_half_of_the_way_is_made_at_the_middle_compute() -> None:
    """R - R0 = (A - R0) / (1 + (C_mid / C)^B)."""
    world = Saturating(3)
    state = world.base()
    state.skills = [world.middle]
    assert world.skill(state) == pytest.approx((world.first + world.ceiling) / 2)
    state.skills = [2 * world.middle]
    share = 1 / (1 + 0.5**world.power)
    assert world.skill(state) == pytest.approx(world.first + share * (world.ceiling - world.first))


# Evaluations ---------------------------------------------------------------------------------


def test_evaluations_are_binomial_around_the_exact_accuracy() -> None:
    scores = [evaluate(0.3, 0, 200, 1, "search", Random(i)) for i in range(2000)]
    values = np.array([s.value for s in scores])
    # The questions are drawn once: their share of the variance is common to all.
    offsets = [
        np.mean([evaluate(0.3, 0, 200, seed, "search", Random(i)).value for i in range(40)])
        for seed in range(60)
    ]
    assert np.mean(offsets) == pytest.approx(0.3, abs=0.01)
    own = values.std()
    assert own < math.sqrt(0.3 * 0.7 / 200), "a part of the noise belongs to the questions"
    both = math.hypot(own, float(np.std(offsets)))
    assert both == pytest.approx(math.sqrt(0.3 * 0.7 / 200), rel=0.2)
    assert scores[0].standard_error == pytest.approx(math.sqrt(0.3 * 0.7 / 200), rel=0.15)


def test_evaluations_of_one_split_are_paired() -> None:
    gaps = [
        difference(
            evaluate(0.5, 0, 200, 1, "search", Random(i)),
            evaluate(0.4, 0, 200, 1, "search", Random(9000 + i)),
        )
        for i in range(300)
    ]
    assert all(g.paired for g in gaps)
    error = float(np.mean([g.error for g in gaps]))
    assert error < 0.8 * math.sqrt((0.25 + 0.24) / 200)
    assert float(np.std([g.value for g in gaps])) == pytest.approx(error, rel=0.15)


def test_splits_ask_other_questions() -> None:
    one, other = (
        evaluate(0.5, 0, 400, 1, split, Random(1)).per_question for split in ("search", "promote")
    )
    agree = sum(a == b for a, b in zip(one, other, strict=True)) / 400
    same = evaluate(0.5, 0, 400, 1, "search", Random(2)).per_question
    paired = sum(a == b for a, b in zip(one, same, strict=True)) / 400
    assert agree < 0.65 < paired


# Effects -------------------------------------------------------------------------------------


@pytest.fixture
def calm() -> Saturating:
    """One skill, with the constants set by hand."""
    world = Saturating(0)
    world.calm_rate, world.memory, world.first_length = 1e-4, 8 * 4096, 150.0
    world.first, world.ceiling, world.middle, world.power, world.growth = 0.2, 0.9, 100, 1.4, 1.0
    return world


def test_too_low_a_rate_is_slow_and_too_high_a_rate_ruins(calm: Saturating) -> None:
    rates = (1e-5, 1e-4, 1e-3)
    slow, good, ruined = (scored(calm, replace(CALM, learning_rate=r)) for r in rates)
    assert slow < good - 0.05 and ruined < 0.1


def test_far_too_high_a_rate_ends_in_numbers_that_are_not_finite(calm: Saturating) -> None:
    assert trained(calm, replace(CALM, learning_rate=4e-3)) is None
    assert trained(calm, CALM) is not None


def test_a_hot_rate_then_a_calm_one_beats_both(calm: Saturating) -> None:
    hot, cool = replace(CALM, learning_rate=2.5e-4), replace(CALM, learning_rate=3e-5)
    annealed = scored(calm, hot, hot, hot, cool)
    assert annealed > scored(calm, *[hot] * 4) + 0.05
    assert annealed > scored(calm, *[cool] * 4) + 0.05


def test_entropy_is_spent_for_reward_and_less_of_it_by_hot_samples(calm: Saturating) -> None:
    states = {t: trained(calm, replace(CALM, temperature=t)) for t in (0.4, 1.0, 1.2)}
    entropies = [s.entropy for s in states.values() if s is not None]
    assert len(entropies) == 3
    assert entropies == sorted(entropies) and entropies[-1] < calm.base().entropy


def test_cold_samples_are_rewarded_best_and_teach_least(calm: Saturating) -> None:
    cold, usual = replace(CALM, temperature=0.4), CALM
    base = calm.base()
    assert calm.drive(base, cold).sampled > calm.drive(base, usual).sampled
    assert scored(calm, cold) < scored(calm, usual)


def test_larger_groups_have_more_signal_and_need_more_memory(calm: Saturating) -> None:
    small, large = replace(CALM, num_generations=4), replace(CALM, num_generations=16)
    base = calm.base()
    assert calm.drive(base, large).dead < calm.drive(base, small).dead
    assert scored(calm, large) > scored(calm, small)
    assert calm.out_of_memory(replace(large, max_completion_length=4096))
    assert not calm.out_of_memory(replace(small, max_completion_length=4096))


def test_answers_that_are_cut_off_are_unlearnt_and_come_back_with_room(calm: Saturating) -> None:
    short = replace(CALM, max_completion_length=128)
    cut = trained(calm, short, short)
    assert cut is not None and cut.cut > 0.2
    assert calm.accuracy(cut) < scored(calm, CALM, CALM) - 0.05
    longer = trained(calm, CALM, state=cut)
    assert longer is not None and longer.cut < cut.cut / 2


def test_the_kl_term_holds_jitter_and_progress_until_the_reference_is_reset(
    calm: Saturating,
) -> None:
    held, free = replace(CALM, beta=0.1), CALM
    first, loose = trained(calm, held), trained(calm, free)
    assert first is not None and loose is not None
    assert first.noise < loose.noise and first.kl < loose.kl
    assert first.skills[0] < loose.skills[0]
    carried, reset = first.copy(), first.copy()
    reset.kl = 0.0
    assert calm.drive(reset, held).speed > calm.drive(carried, held).speed


def test_what_a_trainer_logs_shows_the_illness(calm: Saturating) -> None:
    luck = Random(1)

    def metrics(**changed: object) -> dict[str, float | None]:
        given = replace(CALM, **changed)  # type: ignore[arg-type]
        state = trained(calm, given)
        assert state is not None
        return calm.metrics(state, calm.drive(state, given), luck)

    assert (metrics(max_completion_length=128)["completions/clipped_ratio"] or 0) > 0.3
    assert (metrics()["completions/clipped_ratio"] or 0) < 0.05
    assert "kl" not in metrics() and (metrics(beta=0.01)["kl"] or 0) > 0
    assert (metrics(learning_rate=8e-4)["grad_norm"] or 0) > 3 * (metrics()["grad_norm"] or 0)


def test_constants_of_the_tiny_model_give_its_measured_table() -> None:
    """docs/tiny-model.md, 200 steps; the mean of three seeds. Fitted by hand on these five."""
    world = Saturating(0)
    world.calm_rate, world.memory, world.first_length = 1e-4, math.inf, 3.0
    world.first, world.ceiling, world.middle, world.power, world.growth = (
        0.277,
        0.955,
        3.5,
        1.35,
        1.6,
    )
    usual = Settings(learning_rate=1e-4, max_completion_length=12)
    for changed, measured in (
        ({"learning_rate": 3e-5}, 0.916),
        ({}, 0.914),
        ({"temperature": 0.2}, 0.902),
        ({"max_completion_length": 5.0}, 0.764),
        ({"learning_rate": 1e-3}, 0.038),
    ):
        given = replace(usual, **changed)  # type: ignore[arg-type]
        assert scored(world, given, steps=200) == pytest.approx(measured, abs=0.04), changed


# Families ------------------------------------------------------------------------------------


def test_no_family_is_both_tuned_on_and_unseen() -> None:
    assert sorted([*TUNED, *SEEN, *UNSEEN]) == sorted(FAMILIES)
    with pytest.raises(ValueError, match="known are saturating"):
        make_world("real", 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_worlds_are_a_function_of_their_seed(family: str) -> None:
    assert make_world(family, 3).base() == make_world(family, 3).base()
    one, other = make_world(family, 3), make_world(family, 4)
    assert one.calm_rate != other.calm_rate
    assert scored(one, CALM) == scored(make_world(family, 3), CALM)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FAMILIES)),
    st.integers(0, 500),
    st.lists(
        st.builds(
            Settings,
            learning_rate=st.floats(1e-7, 1e-2),
            temperature=st.floats(0.1, 2),
            beta=st.floats(0, 1),
            num_generations=st.sampled_from([2, 4, 8, 16]),
            max_completion_length=st.floats(8, 8192),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_whatever_the_settings_accuracy_is_one(
    family: str, seed: int, stages: list[Settings]
) -> None:
    world, luck = make_world(family, seed), Random(seed)
    state = world.base()
    for stage in stages:
        for _ in range(5):
            drive = world.advance(state, stage, 20, luck)
            if drive is None:
                return
            assert 0 <= world.accuracy(state) <= 1
            shown = world.metrics(state, drive, luck)
            assert all(v is not None and math.isfinite(v) for v in shown.values())
            assert 0 < state.entropy <= 3 and state.kl >= 0 and 0 <= state.cut <= 1


@pytest.mark.parametrize("seed", range(4))
def test_bottlenecks_no_constant_comes_near_a_schedule(seed: int) -> None:
    world = Bottlenecks(seed)
    rate = world.calm_rate
    hot = Settings(rate, 1.4, 0.0, 8, 400)
    cool = Settings(rate, 0.5, 0.0, 8, 1024)
    long = Settings(rate / 2, 0.5, 0.0, 4, 4096)
    schedule = scored(world, hot, hot, cool, cool, long, long)
    constants = [
        scored(world, *[Settings(rate * r, t, 0.0, 4, length)] * 6)
        for r in (0.3, 1, 2)
        for t in (0.5, 0.7, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5)
        for length in (256, 512, 1024, 2048, 4096)
    ]
    best = max(c for c in constants if not math.isnan(c))
    assert schedule > best * 1.2


def test_saturating_the_best_constant_is_nearly_as_good_as_a_schedule(calm: Saturating) -> None:
    constant = max(scored(calm, *[replace(CALM, learning_rate=r)] * 6) for r in (5e-5, 1e-4, 2e-4))
    rates = (2e-4, 2e-4, 2e-4, 1e-4, 1e-4, 2e-5)
    schedule = scored(calm, *[replace(CALM, learning_rate=r) for r in rates])
    assert constant < schedule < 1.1 * constant


def test_gamed_the_reward_rises_while_the_objective_falls_unless_it_is_held() -> None:
    world = Gamed(1)
    world.calm_rate, world.shift_at = 1e-4, 1e9
    good = trained(world, *[replace(CALM, beta=0.05)] * 3)
    assert good is not None
    free, held = (trained(world, *[replace(CALM, beta=b)] * 3, state=good) for b in (0.0, 0.05))
    assert free is not None and held is not None
    rewards = [world.reward(s, world.drive(s, CALM).sampled) for s in (good, free)]
    assert rewards[1] > rewards[0] + 0.05
    assert world.accuracy(free) < world.accuracy(good) - 0.1
    assert world.accuracy(held) > world.accuracy(good)


def test_gamed_the_data_change_once_along_the_path() -> None:
    world = Gamed(1)
    world.shift_at, world.shift = 50.0, 0.5
    before = State(skills=[100.0, 0.01], length=200.0, steps=49.0)
    after = before.copy()
    still = Settings(learning_rate=1e-9)
    world.advance(after, still, 2, Random(1))
    assert after.skills[0] == pytest.approx(50, rel=0.01)
    world.advance(after, still, 2, Random(1))
    assert after.skills[0] == pytest.approx(50, rel=0.01), "once"


def test_levels_longer_questions_are_learnt_on_shorter_ones_alone() -> None:
    """Trained on the shortest only, the second level fades; on two, it is learnt; the fifth is out
    of reach while the fourth is unknown."""
    world = Levels(1)
    world.calm_rate = 1e-4
    base = world.base().skills
    narrow, wider = (trained(world, *[replace(CALM, digits=d)] * 3) for d in (1, 2))
    assert narrow is not None and wider is not None
    assert narrow.skills[0] > base[0] + 0.1 and narrow.skills[1] < base[1]
    assert wider.skills[1] > base[1] + 0.2
    hard = world.base()
    hard.skills[3:] = [0.0, 0.0]
    assert (after := trained(world, replace(CALM, digits=5), state=hard)) is not None
    assert after.skills[4] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_levels_the_whole_mixture_is_level_with_a_curriculum(seed: int) -> None:
    """As measured with the tiny model: .397 with all lengths at once, .388 one after the other."""
    world = Levels(seed)
    calm = replace(CALM, learning_rate=world.calm_rate)
    mixture = scored(world, *[replace(calm, digits=5)] * 6)
    curriculum = scored(world, *[replace(calm, digits=d) for d in (2, 3, 4, 5, 5, 5)])
    assert mixture == pytest.approx(curriculum, rel=0.2)
    assert scored(world, *[replace(calm, digits=1)] * 6) < 0.7 * mixture


def test_settings_take_options_of_the_task() -> None:
    assert Settings.of({"task.digits": 3, "beta": 0.1}) == Settings(beta=0.1, digits=3)
    assert Settings.of({}).digits == 5, "all of the data"


def test_recited_what_is_known_by_heart_is_rewarded_and_scored_for_nothing() -> None:
    world = Recited(1)
    state = world.base()
    first = world.reward(state, world.drive(state, CALM).sampled) - world.accuracy(state)
    late = trained(world, *[CALM] * 20)
    assert late is not None and late.skills[1] > 0.4
    assert world.reward(late, world.drive(late, CALM).sampled) > world.accuracy(late) + first + 0.1
    held = trained(world, *[replace(CALM, beta=0.05)] * 20)
    assert held is not None and held.skills[1] < late.skills[1] / 2
