"""What the pages tell a new user to type, typed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from llmzero.local.store import read_run

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)


def _call(folder: Path, *command: str) -> str:
    """Output of one command line, as typed in the directory that holds the user's files."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_your_own_task_in_ten_minutes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "your-own-task.md").read_text()
    files = dict(BLOCK.findall(page))
    assert list(files) == ["make_rows.py", "my_rewards.py", "sums.yaml"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    _call(tmp_path, "make_rows.py")
    assert "is valid" in _call(tmp_path, "-m", "llmzero.cli.main", "validate", "sums.yaml")
    said = _call(tmp_path, "-m", "llmzero.cli.main", "run", "sums.yaml")
    assert "Held-out confirmation, 400 questions" in said
    run = read_run(tmp_path / "runs" / "sums")
    readings = {r.subject: r for r in run.search.status.held_out}
    gain = readings["winner"].value - readings["base"].value
    assert gain > 4 * (readings["base"].difference_error or 0), "the reward's file was learned from"


SMALL = {
    "steps: 40": "steps: 8",
    "evalEvery: 10": "evalEvery: 4",
    "checkpointEvery: 20": "checkpointEvery: 4",
    "search: 400, promote: 400, heldOut: 1000": "search: 60, promote: 60, heldOut: 100",
    "stages: 14": "stages: 3",
    "parallelism: 2": "parallelism: 1",
}
"""The quickstart made short; the commands are those of README and of the pages. One stage at a time:
of two, whichever ends first decides whether so short a search asks the rules at all."""


def test_the_commands_that_look_at_a_search(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "quickstart.yaml").read_text()
    for old, new in SMALL.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "search.yaml").write_text(text)

    def llmzero(*words: str) -> str:
        return _call(tmp_path, "-m", "llmzero.cli.main", *words)

    assert "is valid" in llmzero("validate", "search.yaml")
    assert "Held-out confirmation, 100 questions" in llmzero("run", "search.yaml")
    where = "runs/quickstart"
    assert "base model" in llmzero("tree", where)
    kinds = {item["kind"] for item in json.loads(llmzero("tree", where, "-o", "json"))["items"]}
    assert kinds == {"TrainingSearch", "StageNode"}
    assert "learning_rate" in llmzero("show", where, "0")
    assert "eval/accuracy" in llmzero("strategy", where)
    llmzero("report", where, "-o", "r.html")
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html")
    llmzero("strategy", "export", where, "-o", "best.yaml")
    assert "kind: Schedule" in (tmp_path / "best.yaml").read_text()
    assert "capacity" in llmzero("analyze", where)
    assert "rules" in llmzero("agent-report", where)
    assert "Complete" in llmzero("retrain", where)
