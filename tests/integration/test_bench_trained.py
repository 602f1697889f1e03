"""``llmzero bench --task``: two real searches, kept, told as a table, and not run again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(folder: Path, methods: str) -> subprocess.CompletedProcess[str]:
    words = ["bench", "--task", "short.yaml", "--methods", methods, "--reference", "random"]
    words += ["--seeds", "1", "--stages", "2", "--dir", "runs", "-o", "results.json"]
    return subprocess.run(
        [sys.executable, "-m", "llmzero.cli.main", *words],
        cwd=folder, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_searches_by_real_training_are_compared_and_kept(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "quickstart.yaml").read_text()
    for old, new in (
        ("steps: 40", "steps: 4"),
        ("evalEvery: 10", "evalEvery: 2"),
        ("checkpointEvery: 20", "checkpointEvery: 2"),
        ("search: 400, promote: 400, heldOut: 1000", "search: 40, promote: 40, heldOut: 100"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "short.yaml").write_text(text)
    done = bench(tmp_path, "random")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "results.json").read_text())
    columns = first["results"]["quickstart"]["random"]
    assert first["kind"] == "trained" and columns["seed"] == [0]
    assert 0 <= columns["score"][0] <= 1 and columns["train_tokens"][0] > 0
    assert columns["spent"][0] <= 2
    assert "real GRPO runs" in done.stdout and "random" in done.stdout

    runs = (tmp_path / "runs" / "quickstart" / "random-0" / "run" / "search.json").stat()
    again = bench(tmp_path, "random,llmzero")
    assert again.returncode == 0, again.stderr
    second = json.loads((tmp_path / "results.json").read_text())["results"]["quickstart"]
    assert second["random"] == columns and second["llmzero"]["seed"] == [0]
    assert (tmp_path / "runs" / "quickstart" / "random-0" / "run" / "search.json").stat() == runs
