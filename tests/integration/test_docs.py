"""What the pages tell a new user to type, typed."""

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
