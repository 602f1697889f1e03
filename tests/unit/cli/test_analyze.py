"""``llmzero analyze``: the principle on the trees of finished runs, by task."""

from pathlib import Path

from typer.testing import Result

from tests.unit.cli.conftest import Call


def test_a_run_is_analyzed_and_what_is_no_evidence_is_called_so(
    call: Call, finished: tuple[Path, Result]
) -> None:
    result = call("analyze", finished[0], finished[0])
    assert result.exit_code == 0, result.output
    assert "2 searches" in result.output
    for line in ("best paths: capacity steps that go up", "all paths: regularization steps"):
        assert line in result.output
    assert "undecided" in result.output and "is no evidence here" in result.output


def test_a_directory_without_a_run_is_an_error(call: Call, tmp_path: Path) -> None:
    assert call("analyze", tmp_path).exit_code == 2
