"""A real stage on a volume that becomes full under it."""

from pathlib import Path

import pytest

from llmzero.api.contract import ExitCode
from llmzero_trainer.directory import tree_bytes
from tests.fakes.small_volume import small_volume
from tests.integration.trainer.conftest import Bench, Run, same, stage_request


def test_a_checkpoint_that_does_not_fit_ends_the_attempt_and_the_next_goes_on(
    parent: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = tree_bytes(parent.directory / "checkpoint-4")
    with small_volume(tmp_path / "claim", int(1.6 * size)) as claim:
        bench = Bench(claim.path, monkeypatch)
        # The model is kept elsewhere, as one that comes from a hub is.
        run = bench.run(stage_request("parent"))
        assert run.code == ExitCode.STORAGE, run.result.message
        assert run.result.reason == "StorageFull"
        assert "checkpoint-4" in run.result.message and "are free" in run.result.message
        assert run.result.step == 2 and [r.step for r in run.of("checkpoint")] == [2]
        left = {p.name for p in run.directory.iterdir()}
        assert "checkpoint-2" in left and not left & {"checkpoint-4", ".work-1", "result.json"}

        claim.fill(leave=0)
        refused = bench.run(stage_request("parent"), attempt=2)
        assert refused.code == ExitCode.STORAGE and refused.result.reason == "StorageFull"

        claim.clear()
        claim.resize(8 * size)
        again = bench.run(stage_request("parent"), attempt=3)
        assert again.code == 0, again.result.message
        assert [r.step for r in again.of("checkpoint")] == [2, 4]
        assert same(again.weights(4), parent.weights(4))
