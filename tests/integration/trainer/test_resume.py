"""Stages that are cut off: what is kept, what is run again, and that nothing shows afterwards."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.contract import ExitCode
from tests.integration.trainer.conftest import Bench, Run, same, stage_request


class CutOffError(BaseException):
    """Stands for kill -9: nothing in the trainer handles it."""


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something once, when a step has been logged, before it is evaluated and saved."""
    from llmzero_trainer.training import StageCallback

    plain = StageCallback.on_log

    def arrange(step: int, action: Callable[[], None]) -> None:
        done = []

        def on_log(self: Any, args: Any, state: Any, *rest: Any, **keywords: Any) -> None:
            plain(self, args, state, *rest, **keywords)
            if state.global_step == step and not done:
                done.append(step)
                action()

        monkeypatch.setattr(StageCallback, "on_log", on_log)

    return arrange


def cut_off() -> None:
    raise CutOffError


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def cut_then_go_on(bench: Bench, request: Any, at_step: Any, step: int) -> Run:
    at_step(step, cut_off)
    with pytest.raises(CutOffError):
        bench.run(request)
    return bench.run(request, attempt=2)


def test_a_killed_stage_goes_on_to_the_very_same_weights(
    bench: Bench, parent: Run, at_step: Any
) -> None:
    run = cut_then_go_on(bench, stage_request("parent"), at_step, 3)
    assert run.code == 0
    assert same(run.weights(4), parent.weights(4))
    assert same(run.weights(2), parent.weights(2))
    assert run.result.value == parent.result.value
    assert run.of("attempt")[-1].resumed_from == 2


def test_a_resumed_stage_says_everything_again(bench: Bench, parent: Run, at_step: Any) -> None:
    run = cut_then_go_on(bench, stage_request("parent"), at_step, 3)
    keys = [(r.attempt, r.seq) for r in run.records]
    assert keys == sorted(set(keys))
    steps = [(r.attempt, r.step) for r in run.of("step")]
    assert steps == [(1, 1), (1, 2), (1, 3), (2, 3), (2, 4)]
    by_step = {r.step: r.metrics["loss"] for r in run.of("step")}
    assert list(by_step.values()) == parent.losses()
    assert run.result.train_tokens == sum(r.tokens for r in run.of("step"))


@pytest.mark.parametrize(
    "grpo",
    [
        {"beta": 0.5},
        {"num_iterations": 2, "epsilon": 0.01},
        {"beta": 0.5, "sync_ref_model": True, "ref_model_sync_steps": 1},
        {"scale_rewards": "batch", "lr_scheduler_type": "cosine"},
    ],
    ids=["reference", "rollouts-in-use", "moving-reference", "schedule"],
)
def test_resumption_is_bit_identical(
    family: Bench, parent: Run, at_step: Any, grpo: dict[str, Any], request: Any
) -> None:
    name = request.node.callspec.id
    start = {"start_node": "parent", "start_step": 4, "steps": 5, "checkpoint_every": 3}
    whole = family.run(stage_request(f"whole-{name}", grpo=grpo, **start))
    cut = cut_then_go_on(family, stage_request(f"cut-{name}", grpo=grpo, **start), at_step, 4)
    assert cut.of("attempt")[-1].resumed_from == 3
    assert same(cut.weights(5), whole.weights(5))
    assert cut.losses()[-2:] == whole.losses()[-2:]


def test_killed_after_the_last_step(bench: Bench, parent: Run, monkeypatch: Any) -> None:
    from llmzero_trainer.emit import Emitter

    def cut(*_: Any, **__: Any) -> None:
        raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(Emitter, "result", cut)
        with pytest.raises(CutOffError):
            bench.run(stage_request("parent"))
    run = bench.run(stage_request("parent"), attempt=2)
    assert run.code == 0 and run.result.value == parent.result.value
    assert [r.step for r in run.of("step")] == [1, 2, 3, 4]


def test_killed_between_checkpoint_and_its_record(
    bench: Bench, parent: Run, monkeypatch: Any
) -> None:
    from llmzero_trainer.emit import Emitter

    plain, seen = Emitter.checkpoint, []

    def cut(self: Any, step: int, size: int) -> None:
        if step == 4 and not seen:
            seen.append(step)
            raise CutOffError
        plain(self, step, size)

    monkeypatch.setattr(Emitter, "checkpoint", cut)
    with pytest.raises(CutOffError):
        bench.run(stage_request("parent"))
    run = bench.run(stage_request("parent"), attempt=2)
    assert run.code == 0
    assert [r.step for r in run.of("checkpoint")] == [2, 4]


def test_sigterm_saves_says_interrupted_and_goes_on(
    bench: Bench, parent: Run, at_step: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("llmzero_trainer.training.SAVE_WORTH", 0)
    at_step(2, terminate)
    request = stage_request("n", eval_every=4, checkpoint_every=4)
    run = bench.run(request)
    assert run.code == ExitCode.INTERRUPTED
    assert (run.result.reason, run.result.step) == ("Interrupted", 3)
    assert (run.directory / "resume-3").is_dir()
    assert run.of("checkpoint") == []  # what SIGTERM saved is nobody else's start

    again = bench.run(request, attempt=2)
    assert again.of("attempt")[-1].resumed_from == 3
    assert again.code == 0 and same(again.weights(4), parent.weights(4))
    assert not list(again.directory.glob("resume-*"))


def test_sigterm_where_little_would_be_lost_saves_nothing(
    bench: Bench, parent: Run, at_step: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("llmzero_trainer.training.SAVE_WORTH", 1e9)
    at_step(2, terminate)
    request = stage_request("n", eval_every=4, checkpoint_every=4)
    assert bench.run(request).code == ExitCode.INTERRUPTED
    again = bench.run(request, attempt=2)
    assert again.of("attempt")[-1].resumed_from is None
    assert same(again.weights(4), parent.weights(4))


def test_sigterm_when_a_checkpoint_was_due(
    bench: Bench, parent: Run, at_step: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("llmzero_trainer.training.SAVE_WORTH", 0)
    at_step(2, terminate)  # step 2 is evaluated and saved in an undisturbed run
    assert bench.run(stage_request("parent")).code == ExitCode.INTERRUPTED
    again = bench.run(stage_request("parent"), attempt=2)
    assert [r.step for r in again.of("checkpoint")] == [2, 4]
    assert [r.score for r in again.of("eval")] == [r.score for r in parent.of("eval")]
    assert same(again.weights(2), parent.weights(2)) and same(again.weights(4), parent.weights(4))


def test_sigterm_in_an_evaluation_of_another_split(bench: Bench, monkeypatch: Any) -> None:
    from llmzero_trainer.evaluate import Evaluator

    plain = Evaluator._decode

    def decode(*arguments: Any) -> Any:
        terminate()
        return plain(*arguments)

    monkeypatch.setattr(Evaluator, "_decode", decode)
    chosen = stage_request("e", mode="evaluate", steps=0)
    chosen = chosen.with_(evaluation=chosen.evaluation.with_(batch_size=8))
    run = bench.run(chosen)
    assert run.code == ExitCode.INTERRUPTED and run.of("eval") == []


def test_an_older_attempt_is_fenced_off(bench: Bench, parent: Run) -> None:
    request = stage_request("fenced", steps=1)
    assert bench.run(request, attempt=3).code == 0
    late = bench.run(request, attempt=2)
    assert late.code == ExitCode.FENCED
    assert "attempt 3 may publish, this is 2" in late.result.message


def test_an_attempt_that_loses_the_fence_publishes_nothing_more(bench: Bench, at_step: Any) -> None:
    request = stage_request("lost")
    fence = bench.root / "uid" / "lost" / "fence"
    at_step(3, lambda: fence.write_text("9\n") and None)
    run = bench.run(request)
    assert run.code == ExitCode.FENCED
    assert not (run.directory / "checkpoint-4").exists()
    assert not (run.directory / "questions-search-4.jsonl").exists()
    assert not (run.directory / "result.json").exists()
    assert run.of("result") == []


def test_a_full_disk_is_named_and_the_stage_goes_on_after_the_mend(
    bench: Bench, parent: Run, monkeypatch: Any
) -> None:
    def full(path: Path) -> None:
        if path.name == "checkpoint-4":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("llmzero_trainer.directory.sync_tree", full)
        run = bench.run(stage_request("parent"))
    assert run.code == ExitCode.STORAGE
    assert "checkpoint-4: No space left on device" in run.result.message
    assert run.result.step == 2 and not (run.directory / "checkpoint-4").exists()
    again = bench.run(stage_request("parent"), attempt=2)
    assert again.code == 0 and same(again.weights(4), parent.weights(4))


def test_a_records_file_that_was_cut_within_a_line(bench: Bench, parent: Run, at_step: Any) -> None:
    at_step(3, cut_off)
    with pytest.raises(CutOffError):
        bench.run(stage_request("parent"))
    records = bench.root / "uid" / "parent" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-30])
    run = bench.run(stage_request("parent"), attempt=2)
    assert [(r.attempt, r.step) for r in run.of("step")] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    third = bench.run(stage_request("parent"), attempt=3)
    assert third.text == run.text


def test_a_half_written_checkpoint_is_never_used(bench: Bench, parent: Run, at_step: Any) -> None:
    at_step(3, cut_off)
    with pytest.raises(CutOffError):
        bench.run(stage_request("parent"))
    directory = bench.root / "uid" / "parent"
    (directory / ".work-1" / "checkpoint-3").mkdir(parents=True)
    run = bench.run(stage_request("parent"), attempt=2)
    assert run.of("attempt")[-1].resumed_from == 2
    assert not (directory / ".work-1").exists()
