"""What a trainer says: lines and output of bounded size, the same again after a restart."""

import io
import json
from itertools import pairwise
from pathlib import Path

import pytest

from llmzero.api.contract import LINE_BYTES, OUTPUT_BYTES, TERMINATION_BYTES, parse_record
from llmzero.api.curve import Score
from llmzero_trainer.directory import StageDirectory
from llmzero_trainer.emit import RESERVE_BYTES, Emitter
from llmzero_trainer.errors import StageError

SCORE = Score(step=10, value=0.5, standard_error=0.1, questions=4, per_question="0f0f")


@pytest.fixture
def directory(tmp_path: Path) -> StageDirectory:
    (tmp_path / "fence").write_text("1\n")
    return StageDirectory(tmp_path, 1)


def emitter(directory: StageDirectory) -> tuple[Emitter, io.StringIO]:
    out = io.StringIO()
    return Emitter(out, directory, started=0.0), out


def test_every_line_is_a_record_and_is_stored(directory: StageDirectory) -> None:
    said, out = emitter(directory)
    said.attempt(resumed_from=None, device="cpu", halvings=0, versions={"trl": "1.16.0"})
    said.step(1, {"loss": 0.123456789, "entropy": float("nan"), "kl": None}, tokens=7)
    said.evaluation("search", SCORE, tokens=9, seconds=1.0)
    said.checkpoint(10, 512)
    said.result(0, step=10, score=SCORE, final=True)
    records = [parse_record(line) for line in out.getvalue().splitlines()]
    assert [r.type for r in records] == ["attempt", "step", "eval", "checkpoint", "result"]
    assert [r.seq for r in records] == [1, 2, 3, 4, 5]
    assert records[1].metrics == {"loss": 0.1234568, "entropy": None, "kl": None}  # type: ignore[union-attr]
    assert (directory.path / "records.jsonl").read_text() == out.getvalue()
    stored = directory.final_result()
    assert stored == records[-1]


def test_a_later_attempt_says_it_all_again_and_counts_on(directory: StageDirectory) -> None:
    said, out = emitter(directory)
    said.attempt(resumed_from=None, device="cpu", halvings=1, versions={})
    said.step(1, {"loss": 1.0}, tokens=7)
    said.evaluation("search", SCORE, tokens=9, seconds=1.0)
    (directory.path / "fence").write_text("2\n")
    later = StageDirectory(directory.path, 2)
    again, text = emitter(later)
    again.replay()
    assert text.getvalue() == out.getvalue()
    assert again.halvings == 1
    assert again.scores == {("search", 10): SCORE}
    again.step(2, {"loss": 1.0}, tokens=5)
    record = again.result(0, step=2)
    assert (record.train_tokens, record.eval_tokens) == (12, 9)
    assert (record.attempt, record.seq) == (2, 2)


def test_the_same_attempt_started_twice_never_repeats_a_number(directory: StageDirectory) -> None:
    first, _ = emitter(directory)
    first.step(1, {}, 0)
    second, out = emitter(directory)
    second.replay()
    second.step(1, {}, 0)
    assert [parse_record(x).seq for x in out.getvalue().splitlines()] == [1, 2]


def test_a_line_never_exceeds_the_limit(directory: StageDirectory) -> None:
    said, out = emitter(directory)
    many = {f"rewards/some_rather_long_reward_name_{i}/mean": i / 7 for i in range(500)}
    said.step(1, {**many, "reward": 0.5, "loss": 1.0}, tokens=1)
    (line,) = out.getvalue().splitlines()
    assert len(line.encode()) < LINE_BYTES
    assert json.loads(line)["metrics"] == {"reward": 0.5, "loss": 1.0}
    wide = SCORE.with_(per_question="f" * 4096, metrics={f"m{i:04}" * 8: 0.5 for i in range(500)})
    said.evaluation("search", wide, 1, 1.0)
    assert len(out.getvalue().splitlines()[1].encode()) < LINE_BYTES


@pytest.mark.parametrize("steps", [2_000, 20_000])
def test_all_output_fits_into_eight_mebibytes(directory: StageDirectory, steps: int) -> None:
    said, out = emitter(directory)
    said.expect(steps)
    metrics = {f"metric/number/{i}": 1 / (i + 3) for i in range(30)}
    for step in range(1, steps + 1):
        said.step(step, metrics, tokens=64)
    said.evaluation("search", SCORE, 1, 1.0)
    said.result(0, step=steps)
    lines = out.getvalue().splitlines()
    assert len(out.getvalue()) < OUTPUT_BYTES
    assert [parse_record(line).type for line in lines[-2:]] == ["eval", "result"]
    told = [json.loads(line)["step"] for line in lines[:-2]]
    stored = sum(1 for _ in (directory.path / "records.jsonl").open())
    assert stored == steps + 2
    assert len(told) == steps if steps == 2_000 else len(told) > 3_000
    gaps = [b - a for a, b in pairwise(told)]
    assert max(gaps) <= 4 * steps / len(told)  # thinned evenly, not cut off
    assert steps - told[-1] <= max(gaps)

    (directory.path / "fence").write_text("2\n")
    again, text = emitter(StageDirectory(directory.path, 2))
    again.replay()
    assert len(text.getvalue()) <= (OUTPUT_BYTES - RESERVE_BYTES) / 2 + 4096
    assert again.totals.train_tokens == 64 * steps


def test_the_termination_message_stays_below_its_limit(
    directory: StageDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMZERO_TERMINATION_LOG", str(tmp_path / "log"))
    said, _ = emitter(directory)
    said.result(69, reason="RewardFailed", message='"\u20ac\\' * 400)
    text = (tmp_path / "log").read_bytes()
    assert len(text) <= TERMINATION_BYTES
    assert json.loads(text)["reason"] == "RewardFailed"


def test_a_reader_that_went_away_ends_nothing(directory: StageDirectory) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    said = Emitter(Gone(), directory, 0.0)
    said.step(1, {"loss": 1.0}, 1)
    said.step(2, {"loss": 1.0}, 1)
    assert len(list(directory.lines())) == 2


def test_nothing_is_said_without_the_fence(directory: StageDirectory) -> None:
    said, out = emitter(directory)
    (directory.path / "fence").write_text("2\n")
    with pytest.raises(StageError, match="attempt 2 may publish"):
        said.checkpoint(1, 1)
    assert out.getvalue() == "" and not (directory.path / "records.jsonl").exists()
