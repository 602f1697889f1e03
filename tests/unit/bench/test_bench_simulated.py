"""``llmzero bench``: results in one file, resumed, and a table with intervals."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmzero.bench.methods import ABLATIONS, METHODS, method
from llmzero.bench.results import Results
from llmzero.bench.simulated import Simulated
from llmzero.cli.main import app
from llmzero.strategies import check_options

SHORT = Simulated(stages=4, depth=3)
KEYS = [("saturating", name, seed) for seed in (0, 1) for name in ("random", "llmzero")]


@pytest.mark.parametrize("name", [*METHODS, *ABLATIONS])
def test_every_method_is_a_strategy_with_valid_options(name: str) -> None:
    found = method(name)
    assert check_options(found.strategy, found.options) == []
    assert found.text


def test_an_unknown_method_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="known are llmzero, grid"):
        method("best")


def test_results_are_kept_and_only_what_is_missing_is_run(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "results.json"
    results = Results(SHORT, file)
    assert [done for done, _ in results.fill(KEYS[:2])] == [1, 2]
    again = Results(SHORT, file)
    assert again.runs == results.runs and again.cpu_seconds > 0
    assert [total for _, total in again.fill(KEYS)] == [2, 2]
    assert list(again.fill(KEYS)) == []
    whole = Results(SHORT, file)
    assert whole.runs[KEYS[3]] == SHORT.run(KEYS[3]), "a run is a function of its key"


def test_processes_change_nothing(tmp_path: Path) -> None:
    one, two = (Results(SHORT, tmp_path / f"{jobs}.json") for jobs in (1, 2))
    list(one.fill(KEYS))
    list(two.fill(KEYS, jobs=2))
    assert one.runs == two.runs
    texts = [(tmp_path / f"{jobs}.json").read_text().split("results") for jobs in (1, 2)]
    assert texts[0][-1] == texts[1][-1], "whoever ended first"


@pytest.mark.parametrize("name", ["random", "llmzero"])
def test_tokens_end_a_search_before_its_stages_do(name: str) -> None:
    """Twice the group costs twice as much: without them a planner would win by being dear."""
    run = Simulated(tokens=10).run(("saturating", name, 1))
    assert 9 < run.tokens < 12 and run.spent < 24  # with the final readings, for everybody alike
    dearer = Simulated(tokens=20).run(("saturating", name, 1))
    assert dearer.tokens > 1.7 * run.tokens


def test_results_of_another_protocol_are_not_mixed_in(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    list(Results(SHORT, file).fill(KEYS[:1]))
    with pytest.raises(ValueError, match="another protocol"):
        Results(Simulated(stages=5, depth=3), file)


def test_the_file_says_that_nothing_was_trained_and_is_compact(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    list(Results(SHORT, file).fill(KEYS))
    data = json.loads(file.read_text())
    assert data["kind"] == "simulated" and "No model was trained" in data["what"]
    assert data["results"]["saturating"]["random"]["seed"] == [0, 1]
    assert set(data["results"]["saturating"]["random"]) >= {"score", "area", "spent", "tokens"}
    assert len(file.read_text()) < 2000


def test_the_command_prints_a_table_of_each_family_and_of_all(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    words = ["bench", "--seeds", "2", "--methods", "llmzero,random", "--stages", "4"]
    result = CliRunner().invoke(app, [*words, "--depth", "3", "-o", str(file)])
    assert result.exit_code == 0, result.output
    for title in ("saturating: 2 seeds", "bottlenecks: 2 seeds", "saturating + bottlenecks"):
        assert title in result.output
    assert "No model was trained" in result.output and "llmzero leads by" in result.output
    assert file.exists()


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--methods", "best"], "method: found 'best'"),
        (["--families", "real"], "--families: found 'real'"),
        (["--reference", "nobody"], "method: found 'nobody'"),
    ],
)
def test_wrong_names_are_usage_errors(words: list[str], wrong: str) -> None:
    result = CliRunner().invoke(app, ["bench", "--seeds", "1", *words])
    assert result.exit_code == 2 and wrong in result.stderr
