"""The stage's directory: fence, whole checkpoints, pruning."""

from pathlib import Path

import pytest

from llmzero.api.contract import StageRequest
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Task
from llmzero_trainer.directory import StageDirectory, stage_path, write_whole
from llmzero_trainer.errors import StageError


def request(**changes: object) -> StageRequest:
    fields: dict[str, object] = {
        "search_uid": "uid",
        "node": "n",
        "model": ModelSource(builtin="scratchpad-addition"),
        "task": Task(name="scratchpad-addition"),
        "objective_metric": "eval/accuracy",
        "evaluation": Evaluation(),
        "steps": 1,
        "prompts_per_step": 1,
        "eval_every": 1,
        "checkpoint_every": 1,
        "order_seed": 0,
        "data_offset": 0,
        "rollout_seed": 0,
        **changes,
    }
    return StageRequest.model_validate(fields)


def opened(root: Path, attempt: int, **changes: object) -> StageDirectory:
    directory = StageDirectory.of(root, request(**changes), attempt)
    directory.open(request(**changes))
    return directory


def test_a_later_attempt_takes_the_fence(tmp_path: Path) -> None:
    first = opened(tmp_path, 1)
    first.check_fence()
    opened(tmp_path, 2).check_fence()
    with pytest.raises(StageError, match="attempt 2 may publish, this is 1"):
        first.check_fence()
    with pytest.raises(StageError, match="attempt 2 may publish"):
        opened(tmp_path, 1)


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    directory = opened(tmp_path, 1)
    made = directory.work / "checkpoint-5"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_text("weights")
    assert directory.checkpoints() == [] and directory.last_whole() is None
    directory.publish(made, "checkpoint-5")
    assert directory.checkpoints() == [5]
    assert (directory.checkpoint(5) / "model.safetensors").read_text() == "weights"


def test_a_fenced_attempt_publishes_no_checkpoint(tmp_path: Path) -> None:
    first = opened(tmp_path, 1)
    made = first.work / "checkpoint-5"
    made.mkdir(parents=True)
    opened(tmp_path, 2)
    made.mkdir(parents=True, exist_ok=True)
    with pytest.raises(StageError):
        first.publish(made, "checkpoint-5")
    assert first.checkpoints() == []


def test_the_furthest_whole_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    directory = opened(tmp_path, 1)
    for name in ("checkpoint-5", "checkpoint-10", "resume-12", "checkpoint-x", "resume-"):
        (directory.path / name).mkdir()
    assert directory.last_whole() == (12, directory.path / "resume-12")
    (directory.path / "checkpoint-12").mkdir()
    assert directory.last_whole() == (12, directory.path / "checkpoint-12")
    directory.drop_resume_points(12)
    assert not (directory.path / "resume-12").exists()
    assert directory.checkpoints() == [5, 10, 12]


def test_pruning_keeps_what_is_named_and_all_else(tmp_path: Path) -> None:
    directory = opened(tmp_path, 1)
    for name in ("checkpoint-5", "checkpoint-10", "checkpoint-15", "reference"):
        (directory.path / name).mkdir()
    assert directory.prune({10, 99}) == [5, 15]
    kept = {p.name for p in directory.path.iterdir()}
    assert kept == {"checkpoint-10", "reference", "request.json", "fence"}


def test_another_request_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    opened(tmp_path, 1)
    with pytest.raises(StageError, match="belongs to the request"):
        opened(tmp_path, 2, steps=2)
    assert (tmp_path / "uid" / "n" / "fence").read_text() == "1\n"


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "", ".hidden", "a\n"])
def test_names_cannot_leave_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(StageError, match="node: found"):
        stage_path(tmp_path, "uid", name)


def test_what_earlier_attempts_left_half_done_is_swept(tmp_path: Path) -> None:
    directory = opened(tmp_path, 2)
    for name in (".work-1", ".work-2", ".work-3", ".gone-7-checkpoint-1"):
        (directory.path / name).mkdir()
    (directory.path / ".new-7-result.json").write_text("half")
    opened(tmp_path, 2)
    assert {p.name for p in directory.path.glob(".*")} == {".work-3"}  # not ours to sweep


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    directory = opened(tmp_path, 1)
    write_whole(directory.path / "result.json", "{")
    with pytest.raises(StageError, match=r"result\.json: damaged"):
        directory.final_result()
