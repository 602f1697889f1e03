"""One stage from the request to its exit code."""

import json
from pathlib import Path

import pytest

from llmzero.api.contract import LINE_BYTES, ExitCode
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Splits
from tests.integration.trainer.conftest import Bench, Run, addition, same, stage_request


def test_a_stage_trains_scores_and_saves(parent: Run, family: Bench) -> None:
    kinds = [r.type for r in parent.records]
    step_pair = ["step", "step", "eval", "checkpoint"]
    assert kinds == ["attempt", "eval", *step_pair, *step_pair, "result"]
    assert [r.seq for r in parent.records] == list(range(1, 12))
    assert all(len(line.encode()) < LINE_BYTES for line in parent.text.splitlines())

    first = parent.of("step")[0]
    assert first.metrics["learning_rate"] == 1e-3
    assert {"reward", "entropy", "grad_norm", "frac_reward_zero_std", "rewards/task/mean"} <= set(
        first.metrics
    )
    assert first.tokens == round(first.metrics["completions/mean_length"] * 16)

    scores = [r.score for r in parent.of("eval")]
    assert [s.step for s in scores] == [0, 2, 4]
    assert all(s.questions == 24 and len(s.per_question) == 24 for s in scores)
    assert all(0 < s.metrics["entropy"] < 2.8 for s in scores)  # ln 16 tokens
    right = scores[-1].per_question.count("f")
    assert scores[-1].value == pytest.approx(right / 24)
    assert scores[-1].standard_error == pytest.approx(
        ((right / 24) * (1 - right / 24) / 23) ** 0.5, abs=1e-6
    )

    result = parent.result
    assert (result.exit_code, result.step, result.value) == (0, 4, scores[-1].value)
    assert result.train_tokens == sum(r.tokens for r in parent.of("step"))
    assert result.eval_tokens == sum(r.tokens for r in parent.of("eval"))
    assert sorted(p.name for p in parent.directory.iterdir() if not p.is_file()) == [
        "checkpoint-2",
        "checkpoint-4",
        "reference",
    ]


def test_questions_are_kept_one_by_one(parent: Run) -> None:
    lines = (parent.directory / "questions-search-4.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["question"] for r in rows] == list(range(24))
    digits = parent.of("eval")[-1].score.per_question
    assert [15 * r["scores"]["accuracy"][0] for r in rows] == [int(d, 16) for d in digits]
    assert rows[0]["prompt"].endswith("=") and rows[0]["completions"][0]
    assert sum("completions" in r for r in rows) == 16


def test_training_moves_float32_weights(parent: Run) -> None:
    two, four = parent.weights(2), parent.weights(4)
    assert not same(two, four)
    assert {str(w.dtype) for w in four.values()} == {"torch.float32"}


def test_run_again_over_a_finished_directory(parent: Run, family: Bench) -> None:
    again = family.run(stage_request("parent"), attempt=2)
    assert (again.code, again.text) == (0, parent.text)
    assert family.termination()["exitCode"] == 0


def test_the_termination_message_is_the_compact_result(bench: Bench) -> None:
    run = bench.run(stage_request("n", steps=1, eval_every=1, checkpoint_every=1))
    assert bench.termination() == json.loads(run.text.splitlines()[-1])
    assert len((bench.root / "termination").read_bytes()) <= 1024


def test_being_evaluated_does_not_disturb_training(bench: Bench, parent: Run) -> None:
    often = bench.run(stage_request("often", eval_every=1))
    assert same(often.weights(4), parent.weights(4))


def test_evaluation_is_the_same_whatever_the_stage_trains_with(bench: Bench, parent: Run) -> None:
    hot = bench.run(
        stage_request("hot", steps=1, grpo={"temperature": 1.5, "max_completion_length": 5})
    )
    assert hot.of("eval")[0].score == parent.of("eval")[0].score


@pytest.mark.parametrize(("split", "questions"), [("promote", 30), ("heldOut", 36)])
def test_evaluations_of_other_splits(
    family: Bench, parent: Run, split: str, questions: int
) -> None:
    run = family.run(
        stage_request(
            f"eval-{split.lower()}",
            mode="evaluate",
            split=split,
            steps=0,
            start_node="parent",
            start_step=4,
        )
    )
    assert run.code == 0
    (record,) = run.of("eval")
    assert (record.split, record.score.step, record.score.questions) == (split, 4, questions)
    assert run.result.value == record.score.value
    assert run.of("step") == [] and run.of("checkpoint") == []


def test_the_search_score_of_a_checkpoint_is_what_its_own_stage_said(
    family: Bench, parent: Run
) -> None:
    run = family.run(
        stage_request("again", mode="evaluate", steps=0, start_node="parent", start_step=2)
    )
    assert run.of("eval")[0].score == parent.of("eval")[1].score


def test_sampled_evaluation_with_several_samples(bench: Bench) -> None:
    chosen = Evaluation(samples=4, temperature=1.0, max_completion_length=12, batch_size=16)
    request = stage_request("sampled", mode="evaluate", steps=0, evaluation=chosen)
    score = bench.run(request).of("eval")[0].score
    assert score.questions == 24
    assert set(score.per_question) <= set("048bf")  # quarters of fifteen, rounded
    assert len(set(score.per_question)) > 2
    again = bench.run(stage_request("b", mode="evaluate", steps=0, evaluation=chosen))
    assert again.of("eval")[0].score == score


def test_bfloat16_is_arithmetic_not_storage(bench: Bench, parent: Run) -> None:
    model = ModelSource(builtin="scratchpad-addition", dtype="bfloat16")
    run = bench.run(stage_request("bf16", model=model, steps=2))
    weights = run.weights(2)
    assert {str(w.dtype) for w in weights.values()} == {"torch.float32"}
    assert not same(weights, parent.weights(2))


def test_searched_task_options_change_the_train_split_alone(
    bench: Bench, parent: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spy_easy.py").write_text(SPY)
    monkeypatch.syspath_prepend(tmp_path)
    task = addition(rewards=[{"name": "spy_easy:reward", "options": {"log": str(tmp_path / "s")}}])
    run = bench.run(stage_request("easy", task=task, train_options={"digits": 1}, steps=2))
    asked = (tmp_path / "s").read_text().split()
    training = [p for p in asked if p not in _scored_prompts(run)]
    assert training and all(len(p) == len("1+2=") for p in training)
    assert run.of("eval")[0].score.per_question == parent.of("eval")[0].score.per_question


SPY = """
def reward(prompts, completions, log, **_):
    with open(log, "a") as stream:
        stream.write("".join(p + "\\n" for p in prompts))
    return [float(len(c)) / 12 for c in completions]
"""


def _scored_prompts(run: Run) -> set[str]:
    from llmzero_trainer import tasks

    return {str(q.prompt) for q in tasks.load(addition()).search}


def test_prompts_go_on_along_the_path_and_siblings_share_them(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spy_order.py").write_text(SPY)
    monkeypatch.syspath_prepend(tmp_path)

    def asked(node: str, **changes: object) -> list[str]:
        log = tmp_path / node
        rewards = [{"name": "spy_order:reward", "options": {"log": str(log)}}]
        run = bench.run(stage_request(node, task=addition(rewards=rewards), steps=2, **changes))
        assert run.code == ExitCode.DONE
        scored = _scored_prompts(run)
        return [p for p in log.read_text().split() if p not in scored]

    first = asked("first")
    other_group = asked("sibling", rollout_seed=99, grpo={"num_generations": 2})
    assert list(dict.fromkeys(first)) == list(dict.fromkeys(other_group))
    assert len(set(first)) == 8 and first[:4] == [first[0]] * 4
    child = {"start_node": "first", "start_step": 2, "data_offset": 8}
    assert not set(asked("child", **child)) & set(first)


def test_a_minimal_split_is_enough(bench: Bench) -> None:
    task = addition(splits=Splits(train=1, search=2, promote=2, held_out=2))
    run = bench.run(stage_request("small", task=task, steps=1))
    assert run.code == 0 and run.result.questions == 2
