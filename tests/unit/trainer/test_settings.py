"""Micro-batches, the order of prompts, the guard of rewards: pure parts of a stage."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.task import Reward, Splits, Task
from llmzero_trainer import data_order, tasks
from llmzero_trainer.errors import StageError
from llmzero_trainer.grpo import batching, largest_divisor
from llmzero_trainer.rewards import RewardSet, text_of
from llmzero_trainer.tasks.base import Question
from llmzero_trainer.tiny.scratchpad_addition import RECIPE, answers


@given(st.integers(1, 64), st.integers(2, 32), st.integers(1, 512), st.integers(0, 8))
def test_a_step_always_trains_on_all_completions(
    prompts: int, generations: int, limit: int, halvings: int
) -> None:
    cut = batching(prompts, generations, limit, halvings)
    assert cut.completions == prompts * generations
    assert cut.micro * cut.accumulation == cut.completions
    assert cut.micro <= limit
    lower = batching(prompts, generations, limit, halvings + 1)
    assert lower.micro <= max(1, cut.micro) and lower.generation <= cut.generation
    assert lower.micro < cut.micro or lower.generation < cut.generation or cut.generation == 1


@pytest.mark.parametrize(
    ("number", "limit", "found"), [(64, 16, 16), (60, 16, 15), (7, 4, 1), (8, 100, 8)]
)
def test_largest_divisor(number: int, limit: int, found: int) -> None:
    assert largest_divisor(number, limit) == found


@given(st.integers(0, 5), st.integers(1, 50), st.integers(0, 200), st.integers(0, 200))
def test_stretches_of_an_order_join(seed: int, size: int, start: int, count: int) -> None:
    whole = data_order.order(seed, size, 0, start + count)
    assert data_order.order(seed, size, start, count) == whole[start:]
    full = whole[: len(whole) // size * size]
    assert set(Counter(full).values()) <= {len(whole) // size}  # each prompt once an epoch


def test_orders_differ_by_seed_and_epoch() -> None:
    order = data_order.order(1, 100, 0, 200)
    assert order[:100] != order[100:] and order != data_order.order(2, 100, 0, 200)
    assert order[:5] == [0, 50, 71, 56, 76]


def rewards(*given: Reward, group: int = 2) -> RewardSet:
    task = tasks.load(
        Task(
            name="scratchpad-addition",
            splits=Splits(train=4, search=2, promote=2, held_out=2),
        )
    )
    return RewardSet(given, task, group)


ASKED = [Question("1+1=", "2"), Question("2+2=", "4")]


def test_names_are_short_and_unique() -> None:
    found = rewards(
        Reward(name="math:gcd"), Reward(name="exact-match"), Reward(name="exact-match", weight=0.5)
    )
    assert found.names == ["gcd", "exact-match", "exact-match-2"]
    assert found.weights == [1.0, 1.0, 0.5]


def test_built_in_rewards() -> None:
    found = rewards(
        Reward(name="task"),
        Reward(name="exact-match", options={"after": ">", "ignore_case": True}),
        Reward(name="math-verify", weight=2.0),
    )
    prompts = [q.prompt for q in ASKED]
    answers = found.score(ASKED, prompts, [">2>2", "5"], [[1], [1]])
    assert answers[:2] == [[1.0, 0.0], [1.0, 0.0]]
    assert answers[2][1] == 0.0
    assert found.total([1.0, None, 0.5]) == 2.0


def test_groups_without_a_signal_are_counted() -> None:
    found = rewards(Reward(name="exact-match"))
    (function,) = found.functions
    found.questions = [Question("1+1=", "2"), Question("2+1=", 2)]
    ids = [[1, 2], [1], [3, 4, 5], [6]]
    function(
        prompts=["a", "a", "b", "b"],
        completions=["2", "2", "2", "3"],
        completion_ids=ids,
        llmzero_id=[0, 0, 1, 1],
    )
    stats = found.take_stats()
    assert (stats.groups, stats.dead_groups, stats.dead_fraction) == (2, 1, 0.5)
    assert stats.tokens == 7
    assert found.take_stats().dead_fraction is None


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (Reward(name="exact"), "task.rewards.name: found 'exact'"),
        (Reward(name="task", options={"x": 1}), "task.rewards.options.x: reward task"),
        (Reward(name="exact-match", options={"behind": ">"}), "allowed are ['after', 'ignore_"),
        (Reward(name="nowhere:f"), "module 'nowhere' cannot be imported"),
        (Reward(name="math:pi"), "'math:pi' is no function"),
    ],
)
def test_rewards_that_do_not_exist(reward: Reward, words: str) -> None:
    with pytest.raises(StageError) as caught:
        rewards(reward)
    assert words in caught.value.message


def test_text_of_chat_completions() -> None:
    assert (
        text_of([{"role": "assistant", "content": "a"}, {"role": "tool", "content": None}]) == "a"
    )


def test_the_three_ways_to_answer() -> None:
    assert answers("57+48=", "105") == {"scratch": ">501>105", "direct": "105", "careless": "95"}
    assert answers("9+90=", "99")["careless"] == "99"
    assert answers("5+5=", "10")["careless"] == "0"
    assert len(RECIPE.tokens) == 16
