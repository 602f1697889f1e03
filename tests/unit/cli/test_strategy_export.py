"""``llmzero strategy export`` and what another search makes of the file."""

import json
from pathlib import Path
from typing import Any

import yaml
from typer.testing import Result

from llmzero.api.schedule import ScheduleDocument
from tests.fakes.harness import manifest
from tests.unit.cli.conftest import Call


def replaying(tmp_path: Path, source: str, name: str = "schedule", option: str = "from") -> Path:
    data: dict[str, Any] = manifest({"parallelism": 1})
    data["spec"]["strategy"] = {"name": name, "options": {option: source}}
    file = tmp_path / "replay.yaml"
    file.write_text(json.dumps(data))
    return file


def test_the_best_path_is_written_down_and_taken_up_by_another_search(
    call: Call, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    file = tmp_path / "best.yaml"
    result = call("strategy", "export", finished[0], "-o", file)
    assert result.exit_code == 0, result.output
    assert "replay with" in result.output
    document = ScheduleDocument.model_validate(yaml.safe_load(file.read_text()))
    best = json.loads(call("strategy", finished[0], "-o", "json").output)["items"]
    stages = [i for i in best if i["kind"] == "StageNode"]
    assert len(document.stages) == len(stages)
    assert document.found_in is not None
    assert document.found_in.path == stages[-1]["spec"]["path"]

    found = call("validate", replaying(tmp_path, "best.yaml"), "-o", "json")
    assert found.exit_code == 0, found.output
    (search,) = json.loads(found.stdout)["items"]
    options = search["spec"]["strategy"]["options"]
    assert options["from"] == yaml.safe_load(file.read_text()), "the file is in the search now"


def test_an_export_goes_to_standard_output_too(call: Call, finished: tuple[Path, Result]) -> None:
    output = call("strategy", "export", finished[0], "--node", "0").output
    assert yaml.safe_load(output)["foundIn"]["path"] == "0"


def test_show_is_the_default(call: Call, finished: tuple[Path, Result]) -> None:
    assert call("strategy", finished[0]).output == call("strategy", "show", finished[0]).output


def test_a_file_that_is_not_there_or_no_schedule_is_told(call: Call, tmp_path: Path) -> None:
    result = call("validate", replaying(tmp_path, "lost.yaml"))
    assert result.exit_code == 2 and "presets are dapo" in result.stderr
    looked = f"no such file next to the manifest (looked in {tmp_path})"
    assert "options.from: found 'lost.yaml'; " in result.stderr and looked in result.stderr
    assert call("run", replaying(tmp_path, "lost.yaml")).stderr == result.stderr
    (tmp_path / "odd.yaml").write_text("name: odd\nstages: []\n")
    result = call("validate", replaying(tmp_path, "odd.yaml"))
    assert (
        result.exit_code == 2
        and "stages: found []; list should have at least 1 item" in result.stderr
    )
    (tmp_path / "bad.yaml").write_text("a: [\n")
    result = call("validate", replaying(tmp_path, "bad.yaml"))
    assert result.exit_code == 2 and "bad.yaml: line 2" in result.stderr


def test_a_file_of_another_kind_is_told_in_plain_words(call: Call, tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text(json.dumps(manifest()))
    for name, option in (("llmzero", "warmStart"), ("schedule", "from")):
        result = call("validate", replaying(tmp_path, "q.yaml", name, option))
        assert result.exit_code == 2
        words = "kind: found 'TrainingSearch', a Schedule is needed (llmzero strategy export"
        assert f"strategy.options.{option}: {words}" in result.stderr
    odd = {"name": "odd", "stages": [{"parameters": {}, "stps": 3}]}
    (tmp_path / "odd.yaml").write_text(json.dumps(odd))
    result = call("validate", replaying(tmp_path, "odd.yaml"))
    assert "stages[0].stps: found an unknown field" in result.stderr
    assert "did you mean steps?" in result.stderr


def test_a_preset_needs_no_file(call: Call, tmp_path: Path) -> None:
    result = call("validate", replaying(tmp_path, "deepscaler"))
    assert result.exit_code == 0, result.output


def test_what_of_a_preset_does_not_fit_is_a_warning(call: Call, tmp_path: Path) -> None:
    """DAPO without its clip-higher and its loss is two settings: a user must know before."""
    result = call("validate", replaying(tmp_path, "dapo"))
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "options.from: found schedule dapo; epsilon_high is not searched here: left out" in said
    result = call("validate", replaying(tmp_path, "prorl", "llmzero", "warmStart"))
    assert "options.warmStart: found schedule prorl; epsilon_high is not" in result.stderr


def test_a_search_starts_from_a_file_too(
    call: Call, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    file = tmp_path / "start.yaml"
    call("strategy", "export", finished[0], "-o", file)
    started = replaying(tmp_path, "start.yaml", "llmzero", "warmStart")
    found = call("validate", started, "-o", "json")
    assert found.exit_code == 0, found.output
    (search,) = json.loads(found.stdout)["items"]
    options = search["spec"]["strategy"]["options"]
    assert options["warmStart"] == yaml.safe_load(file.read_text())
