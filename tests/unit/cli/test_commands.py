"""What a user sees of the commands on one machine."""

import contextlib
import fcntl
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from llmzero import __version__
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.local.store import read_run
from tests.fakes.harness import manifest
from tests.unit.cli.conftest import Call

Finished = tuple[Path, Result]


def write(folder: Path, document: dict[str, Any]) -> Path:
    file = folder / "search.yaml"
    file.write_text(json.dumps(document))
    return file


def test_the_version_is_printed(call: Call) -> None:
    assert call("--version").output == f"llmzero {__version__}\n"


def test_a_run_tells_its_progress_in_plain_lines(finished: Finished) -> None:
    output = finished[1].output
    assert "\x1b[" not in output
    assert re.search(r"^ *[\d.]+ s  ▶ 0  starts: initial settings$", output, re.M)
    assert re.search(
        r"^ *[\d.]+ s  ✔ 0  0\.\d{3} ± 0\.010.*budget [\d.]+ of 4 stages", output, re.M
    )
    assert re.search(r"best 0\.\d{3} ± 0\.010 \(stage [\d-]+\)", output)


def test_a_run_ends_with_tree_trajectory_and_confirmation(finished: Finished) -> None:
    output = finished[1].output
    tree, table, confirmed = map(
        output.index, ("base model scratchpad-addition", "Best trajectory", "Held-out confirmation")
    )
    assert tree < table < confirmed
    assert "← best" in output
    assert re.search(r"winner +│ [\d-]+", output)
    assert re.search(r"base +│ - ", output)
    assert "Complete: The winner is stage" in output


def test_a_complete_run_is_not_run_again(call: Call, finished: Finished, search_file: Path) -> None:
    before = {f: f.read_bytes() for f in finished[0].rglob("*") if f.is_file()}
    again = call("run", search_file, "--dir", finished[0])
    assert again.exit_code == 0
    assert "Complete: The winner is stage" in again.output
    assert "starts" not in again.output
    after = {f: f.read_bytes() for f in finished[0].rglob("*") if f.is_file()}
    assert {f.name for f in before if before[f] != after.get(f)} <= {"lock"}


@pytest.mark.parametrize("command", ["tree", "strategy", "run"])
@pytest.mark.parametrize(("format", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_objects_are_printed_as_kubectl_prints_them(
    call: Call, finished: Finished, search_file: Path, command: str, format: str, load: Any
) -> None:
    arguments = [search_file, "--dir"] if command == "run" else []
    result = call(command, *arguments, finished[0], "-o", format)
    assert result.exit_code == 0
    data = load(result.stdout)
    assert (data["apiVersion"], data["kind"]) == ("v1", "List")
    search, *nodes = data["items"]
    assert TrainingSearch.model_validate(search).status.phase == "Complete"
    assert search["metadata"]["creationTimestamp"].endswith("Z")
    found = [StageNode.model_validate(n) for n in nodes]
    stored = read_run(finished[0])
    assert all(stored.nodes[n.name] == n for n in found)
    if command != "strategy":
        assert len(found) == len(stored.nodes)


def test_numbers_come_back_from_yaml_as_they_were(call: Call, finished: Finished) -> None:
    data = yaml.safe_load(call("tree", finished[0], "-o", "yaml").stdout)
    settings = [n["spec"]["parameters"] for n in data["items"][1:] if n["spec"].get("parent")]
    assert settings
    assert all(isinstance(s["learning_rate"], float) for s in settings)


def test_one_stage_is_shown_by_path_or_name(call: Call, finished: Finished) -> None:
    name = next(n.name for n in read_run(finished[0]).nodes.values() if n.spec.path == "0")
    by_path, by_name = call("show", finished[0], "0"), call("show", finished[0], name)
    assert by_path.output == by_name.output
    assert re.search(r"learning_rate 1e-05", by_path.output)
    assert re.search(r"phase +Succeeded", by_path.output)
    assert "Evaluations (search split)" in by_path.output
    assert json.loads(call("show", finished[0], "0", "-o", "json").stdout)["kind"] == "List"


def test_a_stage_that_is_not_there_is_answered_with_those_that_are(
    call: Call, finished: Finished
) -> None:
    result = call("show", finished[0], "7-7")
    assert result.exit_code == 2
    assert "7-7: no such stage" in result.stderr
    assert "there are 0, " in result.stderr


def test_the_strategy_says_what_changed_why_and_what_it_gave(
    call: Call, finished: Finished
) -> None:
    output = call("strategy", finished[0]).output
    best = read_run(finished[0]).search.status.best
    assert best is not None
    assert re.search(rf"│ {best.path} +│", output)
    for heading in ("what changed", "why", "gain", "Held-out confirmation"):
        assert heading in output


@pytest.mark.parametrize("command", ["tree", "strategy", "retrain"])
def test_a_directory_without_a_run_is_named(call: Call, tmp_path: Path, command: str) -> None:
    result = call(command, tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path}: no run is here" in result.stderr


def test_every_mistake_of_a_manifest_is_named_at_once(call: Call, tmp_path: Path) -> None:
    document = manifest({"name": "llmzer", "parallelism": 0}, bugdet={"stages": 3})
    document["spec"]["parameters"][0] |= {"max": "many"}
    for command in ("validate", "run"):
        result = call(command, write(tmp_path, document))
        assert result.exit_code == 2
        for field in ("spec.strategy.parallelism", "spec.bugdet", "spec.parameters[0].max"):
            assert f"search.yaml: {field}" in result.stderr
        assert "did you mean budget?" in result.stderr
        assert "Traceback" not in result.output


def test_an_unknown_strategy_is_answered_with_those_that_exist(
    call: Call, search_file: Path, tmp_path: Path
) -> None:
    result = call("run", search_file, "--strategy", "greedy", "--dir", tmp_path / "run")
    assert result.exit_code == 2
    assert "llmzero, pbt, random" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_valid_manifest_is_said_to_be_valid(call: Call, search_file: Path) -> None:
    result = call("validate", search_file)
    assert result.exit_code == 0
    assert "TrainingSearch fake is valid" in result.output
    normal = json.loads(call("validate", search_file, "-o", "json").stdout)
    assert normal["items"][0]["spec"]["budget"]["stages"] == 4


def test_a_manifest_comes_from_standard_input(call: Call, search_file: Path) -> None:
    assert call("validate", "-", input=search_file.read_text()).exit_code == 0


def test_a_file_that_is_not_there_is_named(call: Call, tmp_path: Path) -> None:
    result = call("validate", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "none.yaml: cannot be read: No such file" in result.stderr


def test_another_strategy_is_taken_from_the_command_line(
    call: Call, search_file: Path, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run"
    result = call("run", search_file, "--strategy", "random", "--dir", directory)
    assert result.exit_code == 0, result.output
    run = read_run(directory)
    assert run.search.spec.strategy.name == "random"
    proposers = {n.spec.provenance.proposer for n in run.nodes.values() if not n.spec.parent}
    assert "random" in proposers


def test_a_directory_of_another_search_is_refused(
    call: Call, finished: Finished, search_file: Path
) -> None:
    result = call("run", search_file, "--strategy", "random", "--dir", finished[0])
    assert result.exit_code == 2
    assert "spec.strategy.name" in result.stderr


def test_a_full_disk_behind_standard_output_is_one_line(finished: Finished) -> None:
    for command in (["tree", "-o", "json"], ["tree"], ["strategy", "export"]):
        words = [sys.executable, "-m", "llmzero.cli.main", *command, str(finished[0])]
        with open("/dev/full", "w") as full:
            done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1
        assert done.stderr.splitlines() == ["error: standard output: No space left on device"]


def test_a_budget_cannot_fall_below_what_is_spent(
    call: Call, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    """As on a cluster, where admission refuses it."""
    assert call("run", write(tmp_path, manifest()), "--dir", tmp_path / "run").exit_code == 0
    lower = {**manifest()}
    lower["spec"] = {**lower["spec"], "budget": {**lower["spec"]["budget"], "stages": 1}}
    result = call("run", write(tmp_path, lower), "--dir", tmp_path / "run")
    assert result.exit_code == 2
    assert "spec.budget.stages: found 1, at least" in result.stderr


def test_a_failed_search_has_its_own_exit_code(
    call: Call, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"*": [{"kind": "exit", "code": 66, "step": 1}]}))
    file = write(tmp_path, manifest(budget={"stages": 20, "failures": 1}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_TRAINER_PLAN", str(plan))
        result = call("run", file, "--dir", tmp_path / "run")
    assert result.exit_code == 3
    assert "fake fault at step 1" in result.output


@pytest.mark.parametrize(("code", "exit_code"), [(64, 2), (67, 1)])
def test_what_a_person_has_to_mend_is_one_line(
    call: Call, tmp_path: Path, fake_trainer: pytest.MonkeyPatch, code: int, exit_code: int
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"*": [{"kind": "exit", "code": code, "step": 1}]}))
    file = write(tmp_path, manifest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_TRAINER_PLAN", str(plan))
        result = call("run", file, "--dir", tmp_path / "run")
    assert result.exit_code == exit_code
    assert "error: stage 0: fake fault at step 1" in result.stderr
    assert "Traceback" not in result.output
    shown = " ".join(call("tree", tmp_path / "run").output.split())
    assert "fake fault at step 1" in shown, "the tree says what the stage waits for"
    assert "Nobody works on it now" in shown
    assert call("run", file, "--dir", tmp_path / "run").exit_code == 0


def test_a_run_that_is_worked_on_is_not_called_idle(
    call: Call, finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    assert "Nobody works" not in call("tree", tmp_path / "run").output, "it is complete"
    run = read_run(tmp_path / "run")
    status = run.search.status.with_(phase="Running", message="")
    (tmp_path / "run" / "search.json").write_text(
        json.dumps(run.search.with_(status=status).dump())
    )
    assert "Nobody works on it now" in call("tree", tmp_path / "run").output
    with contextlib.closing((tmp_path / "run" / "lock").open("a")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Nobody works" not in call("tree", tmp_path / "run").output


def test_a_suspended_search_says_how_to_go_on(
    call: Call, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    result = call("run", write(tmp_path, manifest(suspend=True)), "--dir", tmp_path / "run")
    assert result.exit_code == 130
    assert "spec.suspend" in result.output


def test_the_winning_path_is_trained_again_and_both_gains_are_told(
    call: Call, finished: Finished, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "again"
    result = call("retrain", finished[0], "--to", target)
    assert result.exit_code == 0, result.output
    first, second = read_run(finished[0]), read_run(target)
    best = first.search.status.best
    assert best is not None
    path = [n for n in second.nodes.values() if n.spec.purpose == "Train"]
    names = best.path.split("-")
    assert sorted(n.spec.path for n in path) == [
        "-".join(["0"] * (k + 1)) for k in range(len(names))
    ]
    settings = [first.nodes[best.node].spec.parameters]
    assert [max(path, key=lambda n: len(n.spec.path)).spec.parameters] == settings
    assert second.search.spec.strategy.seed == first.search.spec.strategy.seed + 1
    assert {n.spec.rollout_seed for n in path}.isdisjoint(
        n.spec.rollout_seed for n in first.nodes.values()
    )
    assert re.search(r"the checkpoint's gain over the base: [+-]0\.\d+ ± ", result.output)
    assert re.search(r"the strategy's gain over the base: [+-]0\.\d+ ± ", result.output)


def test_heavy_libraries_are_not_imported_for_light_commands() -> None:
    import subprocess
    import sys

    script = (
        "import sys; import llmzero.cli.main; "
        "print([m for m in ('kopf', 'kubernetes', 'torch', 'fastapi', 'pydantic_ai', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
