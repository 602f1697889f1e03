"""From a node to its trainer's request: what a stage trains with, and on which questions."""

import json
from typing import Any

import pytest

from llmzero.api.contract import REQUEST_BYTES, StageRequest
from llmzero.api.stage import CheckpointRef, Purpose
from llmzero.search.request import stage_request
from tests.unit import builders

RATE = {"name": "learning_rate", "min": 1e-6, "max": 1e-3, "scale": "log", "initial": 1e-5}


def made(node: dict[str, Any] | None = None, **spec: Any) -> StageRequest:
    return stage_request(builders.search(**spec), builders.stage(**(node or {})))


def test_searched_values_go_over_fixed_ones_and_those_over_our_defaults() -> None:
    request = made(
        {"settings": {"learning_rate": 2e-5}},
        fixed={"loss_type": "dr_grpo", "lr_scheduler_type": "cosine", "max_grad_norm": 0.5},
    )
    assert request.grpo["learning_rate"] == 2e-5
    assert request.grpo["loss_type"] == "dr_grpo"
    assert request.grpo["lr_scheduler_type"] == "cosine"
    assert request.grpo["max_grad_norm"] == 0.5


def test_a_stage_does_not_decay_to_zero_and_always_has_a_completion_length() -> None:
    node = {"parameters": {"learning_rate": 1e-5}}
    request = made(node, parameters=[RATE])
    assert request.grpo["lr_scheduler_type"] == "constant_with_warmup"
    assert request.grpo["max_completion_length"] == 16, "the built-in model answers shortly"
    request = made(node, parameters=[RATE], model={"path": "some/model"})
    assert request.grpo["max_completion_length"] == 512


def test_task_options_change_the_train_split_alone() -> None:
    digits = {"name": "task.digits", "type": "int", "min": 1, "max": 3, "initial": 1}
    request = made(
        {"parameters": {"learning_rate": 1e-5, "task.digits": 3}},
        parameters=[RATE, digits],
        task={"name": "scratchpad-addition", "options": {"digits": 2}},
    )
    assert request.train_options == {"digits": 3}
    assert request.task.options == {"digits": 2}
    assert "task.digits" not in request.grpo


def test_searched_weights_go_to_the_reward_of_that_name_also_to_a_function_of_the_users() -> None:
    rewards = [
        {"name": "task", "weight": 1.0},
        {"name": "mine.rewards:brevity", "weight": 0.5},
        {"name": "other:brevity", "weight": 0.25},
    ]
    weights = [
        {"name": f"rewards.{n}", "min": 0, "max": 2, "initial": 1} for n in ("brevity", "brevity-2")
    ]
    request = made(
        {"parameters": {"rewards.brevity": 0.125, "rewards.brevity-2": 2}},
        parameters=weights,
        task={"name": "scratchpad-addition", "rewards": rewards},
    )
    assert [r.weight for r in request.task.rewards] == [1.0, 0.125, 2.0]
    assert set(request.grpo) == {"lr_scheduler_type", "max_completion_length"}


@pytest.mark.parametrize(
    ("purpose", "mode", "split"),
    [
        (Purpose.TRAIN, "train", "search"),
        (Purpose.PROMOTE, "evaluate", "promote"),
        (Purpose.HELD_OUT, "evaluate", "heldOut"),
    ],
)
def test_the_purpose_decides_mode_and_split(purpose: Purpose, mode: str, split: str) -> None:
    request = made({"purpose": purpose})
    assert (request.mode, request.split) == (mode, split)


def test_answers_are_evaluated_at_the_longest_length_of_the_space_whatever_the_stage_has() -> None:
    assert made({"settings": {"max_completion_length": 4}}).evaluation.max_completion_length == 64
    given = made(evaluation={"maxCompletionLength": 33})
    assert given.evaluation.max_completion_length == 33
    choices = {
        "name": "max_completion_length",
        "type": "categorical",
        "choices": [96, 256, 128],
        "initial": 96,
    }
    assert made(parameters=[choices]).evaluation.max_completion_length == 256
    fixed = made(parameters=[RATE], fixed={"max_completion_length": 77})
    assert fixed.evaluation.max_completion_length == 77
    assert made(parameters=[RATE]).evaluation.max_completion_length == 16


def test_siblings_share_the_order_of_prompts_and_the_path_moves_it_on() -> None:
    request = made(
        {
            "path": "0-1",
            "start": CheckpointRef(node="test-0", step=20),
            "data_offset": 160,
            "rollout_seed": 5,
        },
        strategy={"seed": 7},
    )
    assert (request.order_seed, request.data_offset, request.rollout_seed) == (7, 160, 5)
    assert (request.start_node, request.start_step) == ("test-0", 20)


def test_the_base_model_is_scored_with_the_initial_settings() -> None:
    request = made({"path": "base", "purpose": Purpose.HELD_OUT, "steps": 0, "parameters": {}})
    assert request.grpo["max_completion_length"] == 12
    assert request.start_node is None


def test_the_request_is_the_same_bytes_each_time_and_survives_its_encoding() -> None:
    latex = {
        "name": "scratchpad-addition",
        "systemPrompt": "cost is $$x$$ and $(HOME) \\frac{1}{2}",
    }
    one, two = made(task=latex), made(task=latex)
    assert one.digest() == two.digest()
    assert StageRequest.decode(one.encode(), one.digest()) == one
    with pytest.raises(ValueError, match="hash does not match"):
        StageRequest.decode(one.encode(), "0" * 64)


def test_a_request_that_does_not_fit_the_environment_says_how_large_it_is() -> None:
    request = made(task={"name": "scratchpad-addition", "options": {"text": "x" * REQUEST_BYTES}})
    with pytest.raises(ValueError, match=r"\d+ bytes, at most 65536 fit"):
        request.encode()
    assert json.loads(request.model_dump_json())["task"]["options"]["text"][0] == "x"
