"""Ends that are no success: each with its own exit code, and a message that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from llmzero.api.contract import ExitCode, StageRequest
from llmzero.api.task import ModelSource, Splits
from tests.integration.trainer.conftest import Bench, Run, addition, same, stage_request

REWARDS = """
def raises(completions, **_):
    raise KeyError("unit")

def not_a_number(completions, **_):
    return [float("nan") if i == 3 else 0.0 for i in range(len(completions))]

def too_few(completions, **_):
    return [1.0] * (len(completions) - 1)

def words(completions, **_):
    return ["good"] * len(completions)

def one_number(completions, **_):
    return 1.0

def none_of_them(completions, **_):
    return [None] * len(completions)

def long_ones(completions, **_):
    return [1.0 if len(c) > 3 else None for c in completions]

def unlike(completions, answer, note, **_):
    assert {type(a) for a in answer} <= {int, str, dict}
    assert all(n is None or n == {"only": "here"} for n in note), note
    return [0.5] * len(completions)

async def later(completions, **_):
    return [float(len(c)) for c in completions]

def reward(completions, **_):
    return [0.25] * len(completions)

def signature(prompts, completions, completion_ids, answer, trainer_state, log_metric, **columns):
    assert len(prompts) == len(completions) == len(completion_ids) == len(answer)
    assert set(columns) == {"log_extra"}, columns
    log_metric("own/metric", 4.0)
    return [float(a == c) for a, c in zip(answer, completions)]
"""


@pytest.fixture
def rewarded(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "own_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*names: str, **changes: Any) -> Run:
        rewards = [{"name": n if n == "task" else f"own_rewards:{n}"} for n in names]
        task = addition(rewards=rewards)
        return bench.run(stage_request("n", task=task, steps=1, **changes))

    return run


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "reward raises raised KeyError: 'unit'"),
        ("not_a_number", "reward not_a_number returned nan, a finite number or None is needed"),
        ("too_few", "reward too_few returned"),
        ("words", "reward words returned 'good', a finite number or None is needed"),
        ("one_number", "reward one_number returned float, a list is needed"),
        ("none_of_them", "every reward function returned None for one sample (none_of_them)"),
    ],
)
def test_a_reward_that_is_none_ends_the_stage(rewarded: Any, name: str, words: str) -> None:
    run = rewarded(name)
    assert run.code == ExitCode.REWARD_FAILED
    assert run.result.reason == "RewardFailed"
    assert words in run.result.message


def test_the_offending_example_is_shown(rewarded: Any) -> None:
    message = rewarded("not_a_number").result.message
    assert "prompt '" in message and "=', completion '" in message


def test_a_failed_reward_can_be_mended_and_the_stage_tried_again(
    bench: Bench, rewarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rewarded("raises").code == ExitCode.REWARD_FAILED
    import own_rewards

    monkeypatch.setattr(own_rewards, "raises", own_rewards.signature)
    task = addition(rewards=[{"name": "own_rewards:raises"}])
    assert bench.run(stage_request("n", task=task, steps=1), attempt=2).code == 0


def test_none_for_some_samples_means_not_applicable(rewarded: Any) -> None:
    run = rewarded("task", "long_ones")
    assert run.code == 0
    assert run.of("step")[0].metrics["rewards/long_ones/mean"] == 1.0


def test_trls_signature_and_awaitable_rewards(rewarded: Any) -> None:
    run = rewarded("signature", "later", objective_metric="eval/later")
    assert run.code == 0, run.result.message
    metrics = run.of("step")[0].metrics
    assert metrics["own/metric"] == 4.0
    assert metrics["rewards/later/mean"] == pytest.approx(
        metrics["completions/mean_length"] - 1, abs=0.2
    )
    score = run.of("eval")[0].score
    assert score.value == pytest.approx(score.metrics["later"], abs=1e-5)
    assert score.per_question == ""  # lengths do not fit into fifteenths of 0..1


def test_a_reward_may_be_called_reward(rewarded: Any) -> None:
    score = rewarded("task", "reward").of("eval")[0].score
    assert score.metrics["reward-2"] == 0.25
    assert score.metrics["reward"] == pytest.approx(score.metrics["task"] + 0.25, abs=1e-5)


def test_columns_reach_rewards_as_they_were_written(
    bench: Bench, rewarded: Any, tmp_path: Path
) -> None:
    """Values of several types, missing columns, dicts with different keys."""
    file = tmp_path / "rows.jsonl"
    answers = ["7", '"7"', '{"a": 7}', '{"b": 8}']
    file.write_text(
        "".join(
            f'{{"prompt": "{i}+1=", "answer": {answers[i % 4]}'
            + (', "note": {"only": "here"}}\n' if i % 3 else "}\n")
            for i in range(60)
        )
    )
    task = addition(
        name="jsonl",
        options={"path": str(file)},
        splits=Splits(train=40, search=6, promote=6, held_out=6),
        rewards=[{"name": "own_rewards:unlike"}],
    )
    run = bench.run(stage_request("n", task=task, steps=2, prompts_per_step=8))
    assert run.code == 0, run.result.message


def test_a_crash_leaves_a_word_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmzero_trainer.training import StageTrainer

    def training_step(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("an error of somebody else's")

    monkeypatch.setattr(StageTrainer, "training_step", training_step)
    with pytest.raises(ZeroDivisionError):
        bench.run(stage_request("n"))
    assert bench.termination()["reason"] == "Crash"
    assert bench.termination()["message"] == "ZeroDivisionError: an error of somebody else's"


def test_dead_groups_are_counted_by_group_even_when_scaled_by_batch(bench: Bench) -> None:
    cold = {"temperature": 0.01, "scale_rewards": "batch", "learning_rate": 0.0}
    run = bench.run(stage_request("n", steps=2, prompts_per_step=8, grpo=cold))
    # Nearly greedy samples of one prompt are all alike, and the prompts differ in their reward.
    assert [r.metrics["frac_reward_zero_std"] for r in run.of("step")] == [1.0, 1.0]
    assert any(0 < r.metrics["reward"] < 1 for r in run.of("step"))


def test_a_loss_that_is_not_finite(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmzero_trainer.training import StageTrainer

    plain = StageTrainer.compute_loss

    def compute_loss(self: Any, *arguments: Any, **keywords: Any) -> Any:
        loss = plain(self, *arguments, **keywords)
        return loss * float("nan") if self.state.global_step == 2 else loss

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "compute_loss", compute_loss)
        run = bench.run(stage_request("n"))
    assert run.code == ExitCode.DIVERGED
    assert run.result.message == "loss is nan at step 3; the last whole checkpoint is 2"
    assert run.of("step")[-1].metrics["loss"] is None
    assert [r.step for r in run.of("checkpoint")] == [2]
    again = bench.run(stage_request("n"), attempt=2)
    assert (again.code, again.text) == (run.code, run.text)  # it would only diverge again


def test_weights_that_are_not_finite_are_never_saved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmzero_trainer.training import StageCallback

    plain = StageCallback.on_log

    def on_log(self: Any, args: Any, state: Any, *rest: Any, **keywords: Any) -> None:
        plain(self, args, state, *rest, **keywords)
        next(self.trainer.model.parameters()).data[0, 0] = float("inf")

    monkeypatch.setattr(StageCallback, "on_log", on_log)
    run = bench.run(stage_request("n", steps=1, eval_every=9))
    assert run.code == ExitCode.DIVERGED
    assert not list(run.directory.glob("checkpoint-*"))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device on which only micro-batches up to a limit fit."""
    import torch

    from llmzero_trainer.training import StageTrainer

    plain = StageTrainer.training_step

    def fits(limit: int) -> None:
        def training_step(self: Any, *arguments: Any, **keywords: Any) -> Any:
            if self.args.per_device_train_batch_size > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return plain(self, *arguments, **keywords)

        monkeypatch.setattr(StageTrainer, "training_step", training_step)

    return fits


def test_out_of_memory_halves_the_micro_batch(bench: Bench, memory: Any) -> None:
    memory(2)
    run = bench.run(stage_request("n"))  # micro-batches of 8, then 4, then 2
    assert run.code == 0
    assert run.result.micro_batch_halvings == 2
    assert [r.micro_batch_halvings for r in run.of("attempt")] == [0, 1, 2]
    assert [r.step for r in run.of("step")] == [1, 2, 3, 4]


def test_a_child_inherits_the_rung(bench: Bench, memory: Any) -> None:
    memory(4)
    run = bench.run(stage_request("n", micro_batch_halvings=1))
    assert run.code == 0 and len(run.of("attempt")) == 1


def test_out_of_memory_after_the_ladder(bench: Bench, memory: Any) -> None:
    memory(1)
    run = bench.run(stage_request("n"))
    assert run.code == ExitCode.OUT_OF_MEMORY
    assert "micro-batches of 2" in run.result.message
    assert run.result.micro_batch_halvings == 2
    memory(8)
    again = bench.run(stage_request("n"), attempt=2)
    assert again.code == 0 and again.of("attempt")[-1].micro_batch_halvings == 2


def test_smaller_micro_batches_train_the_same(
    bench: Bench, parent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss-equivalent: with the same completions the weights are equal but for rounding."""
    import torch

    from llmzero_trainer.training import StageTrainer

    monkeypatch.setattr(  # decoding in parts draws other samples: decode at once here
        StageTrainer, "_generate_single_turn", StageTrainer.__base__._generate_single_turn
    )
    small = bench.run(stage_request("n", micro_batch_halvings=2))
    for name, weight in parent.weights(4).items():
        assert torch.allclose(small.weights(4)[name], weight, atol=2e-6), name


def test_decoding_in_parts_gives_the_same_greedy_completions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmzero_trainer.training import StageTrainer

    parts: list[int] = []
    plain = StageTrainer.__base__._generate_single_turn

    def spy(self: Any, prompt_ids: Any, *arguments: Any, **keywords: Any) -> Any:
        parts.append(len(prompt_ids))
        return plain(self, prompt_ids, *arguments, **keywords)

    monkeypatch.setattr(StageTrainer.__base__, "_generate_single_turn", spy)
    cold = {"temperature": 1e-3}
    whole = bench.run(stage_request("a", steps=1, grpo=cold))
    halved = bench.run(stage_request("b", steps=1, grpo=cold, micro_batch_halvings=2))
    assert parts == [16, 4, 4, 4, 4]
    name = "completions/mean_length"
    assert whole.of("step")[0].metrics[name] == halved.of("step")[0].metrics[name]
    assert whole.of("step")[0].metrics["reward"] == halved.of("step")[0].metrics["reward"]


def test_an_evaluation_that_does_not_fit_is_decoded_in_halves(
    bench: Bench, parent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from llmzero_trainer.evaluate import Evaluator

    plain, sizes = Evaluator._decode, []

    def decode(self: Any, model: Any, batch: Any, entropy: Any) -> Any:
        entropy.begin(len(batch), [], torch.device("cpu"))
        sizes.append(len(batch))
        if len(batch) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        entropy.drop_batch()
        return plain(self, model, batch, entropy)

    monkeypatch.setattr(Evaluator, "_decode", decode)
    run = bench.run(stage_request("n", mode="evaluate", steps=0))
    assert sizes == [24, 12, 6, 6, 12, 6, 6]
    assert run.of("eval")[0].score == parent.of("eval")[0].score


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"grpo": {"learning_rat": 1e-5}}, 64, "learning_rat: GRPOConfig has no such field"),
        ({"grpo": {"seed": 1}}, 64, "seed: cannot be set, use spec.strategy.seed"),
        ({"grpo": {"save_steps": 1}}, 64, "save_steps: cannot be set, the stage"),
        (
            {"grpo": {"learning_rate": "1e-5"}},
            64,
            "learning_rate: found '1e-5', a number is needed",
        ),
        ({"grpo": {"temperature": 0}}, 64, "temperature: found 0, above 0 is allowed"),
        ({"grpo": {"loss_type": "ppo"}}, 64, "loss_type: found 'ppo', one of grpo, dapo"),
        ({"grpo": {"sync_ref_model": True}}, 64, "TRL refuses the stage: You passed `sync_ref"),
        ({"grpo": {"vllm_importance_sampling_clip_min": 9.0}}, 64, "GRPOConfig refuses the set"),
        ({"grpo": {"warmup_ratio": 0.1}}, 64, "warmup_ratio: use warmup_steps"),
        ({"grpo": {"max_completion_length": 125}}, 64, "max_completion_length: 125 tokens after"),
        ({"objective_metric": "eval/nothing"}, 64, "objective.metric: found 'eval/nothing'"),
        ({"steps": 0}, 64, "steps: found 0"),
        ({"node": "../else"}, 64, "node: found '../else'"),
        ({"task": {"name": "sums"}}, 64, "task.name: found 'sums', allowed are"),
        ({"model": ModelSource(builtin="huge")}, 64, "model.builtin: found 'huge'"),
        ({"model": ModelSource(path="/nowhere/m")}, 67, "/nowhere/m: no such directory"),
        ({"start_node": "gone", "start_step": 2}, 67, "gone/checkpoint-2: the checkpoint to"),
    ],
)
def test_what_cannot_be_carried_out_is_said_in_words(
    bench: Bench, changes: dict[str, Any], code: int, words: str
) -> None:
    if isinstance(changes.get("task"), dict):
        changes = {**changes, "task": addition(**changes["task"])}
    node = changes.pop("node", "n") if "node" in changes else "n"
    run = bench.run(stage_request(node, **changes))
    assert run.code == code
    assert words in run.result.message
    assert bench.termination()["message"] == run.result.message


def test_a_directory_of_another_request(bench: Bench, parent: Run) -> None:
    assert bench.run(stage_request("n", steps=1)).code == 0
    other = bench.run(stage_request("n", steps=2), attempt=2)
    assert other.code == ExitCode.INVALID_REQUEST
    assert "belongs to the request" in other.result.message
    assert bench.run(stage_request("n", steps=1), attempt=2).code == 0


def test_a_directory_that_cannot_be_made(bench: Bench) -> None:
    (bench.root / "uid").write_text("a file in the way")
    run = bench.run(stage_request("n"))
    assert run.code == ExitCode.STORAGE and str(bench.root / "uid" / "n") in run.result.message


def test_a_damaged_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = StageRequest.encode
    monkeypatch.setattr(StageRequest, "encode", lambda self: broken(self)[:-8])
    assert bench.run(stage_request("n")).code == ExitCode.INVALID_REQUEST
    monkeypatch.setattr(StageRequest, "encode", broken)
    swapped = bench.run(stage_request("n"), digest="0" * 64)
    assert swapped.code == ExitCode.INVALID_REQUEST
    assert "its hash does not match" in swapped.result.message


def test_the_parent_stays_as_it_was(family: Bench, parent: Run) -> None:
    before = parent.weights(4)
    family.run(stage_request("any-child", start_node="parent", start_step=4, steps=1))
    assert same(parent.weights(4), before)
