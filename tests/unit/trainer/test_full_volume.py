"""A volume without room: it is named, nothing torn is taken for whole, and every record tells how
much room is left."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmzero.api.contract import ExitCode, parse_record
from llmzero_trainer.directory import StageDirectory
from llmzero_trainer.emit import Emitter
from llmzero_trainer.errors import StageError
from tests.fakes.small_volume import SmallVolume, small_volume
from tests.unit.trainer.test_directory import opened

MIB = 1024 * 1024


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[SmallVolume]:
    with small_volume(tmp_path / "claim", 4 * MIB) as made:
        yield made


def test_what_was_said_is_stored_whole_up_to_the_last_byte(volume: SmallVolume) -> None:
    directory = opened(volume.path, 1)
    out = io.StringIO()
    said = Emitter(out, directory, started=0.0)
    volume.fill(leave=8 * 4096)

    def work() -> None:
        for step in range(1, 10_000):
            said.step(step, {"loss": 1 / step}, tokens=1)

    with pytest.raises(StageError) as caught:
        work()
    assert caught.value.code is ExitCode.STORAGE and caught.value.reason == "StorageFull"
    told = out.getvalue().splitlines()
    assert len(told) > 100
    stored = [line for line, _ in directory.lines()]
    assert stored == told, "a line that was cut off was not said, either"


def test_a_full_volume_is_named_with_its_size_and_what_to_do(volume: SmallVolume) -> None:
    volume.fill(leave=0)
    with pytest.raises(StageError) as caught:
        opened(volume.path, 1)
    problem = caught.value
    assert (problem.code, problem.reason) == (ExitCode.STORAGE, "StorageFull")
    assert f"{volume.path}/uid" in problem.message
    assert "No space left on device" in problem.message
    assert "0 bytes of 4.2 MB are free" in problem.message
    assert "enlarge the claim" in problem.message


def test_records_tell_how_much_room_the_volume_has(volume: SmallVolume) -> None:
    directory = opened(volume.path, 1)
    out = io.StringIO()
    said = Emitter(out, directory, started=0.0)
    said.attempt(resumed_from=None, device="cpu", halvings=0, versions={})
    volume.fill(leave=MIB)
    said.checkpoint(1, 10)
    said.step(1, {}, 1)
    said.result(0, step=1)
    records = [parse_record(line) for line in out.getvalue().splitlines()]
    assert all(r.volume.capacity_bytes == 4 * MIB for r in records if r.type != "step")
    room = [r.volume.available_bytes for r in records if r.type != "step"]
    assert room[0] > 3 * MIB and room[1] <= MIB and room[2] <= MIB


def test_a_checkpoint_that_did_not_fit_is_not_there(volume: SmallVolume) -> None:
    directory = opened(volume.path, 1)
    made = directory.work / "checkpoint-5"
    made.mkdir(parents=True)
    volume.fill(leave=64 * 1024)
    with pytest.raises(OSError, match="No space left"):
        (made / "model.safetensors").write_bytes(bytes(MIB))
    directory.close()
    later = StageDirectory(directory.path, 1)
    assert later.last_whole() is None and not later.work.exists()
