"""A tiny model is made in a process of its own; here that process is a stand-in that fails."""

import errno
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmzero.api.contract import STORAGE_FULL
from llmzero_trainer import tiny
from llmzero_trainer.errors import StageError


def ends(monkeypatch: pytest.MonkeyPatch, cache: Path, code: int) -> dict[str, Any]:
    """The making ends with ``code``; what it was started with."""
    seen: dict[str, Any] = {}

    def run(command: list[str], **given: Any) -> SimpleNamespace:
        seen.update(given, command=command)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("LLMZERO_CACHE", str(cache))
    return seen


def test_every_processor_rounds_as_one_with_avx2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = ends(monkeypatch, tmp_path, 0)
    target = tiny.cached("ramble")
    assert target.parent == tmp_path / "models" and target.name.startswith("ramble-")
    assert seen["env"]["ATEN_CPU_CAPABILITY"] == "avx2"
    assert seen["command"][1:] == ["-m", "llmzero_trainer.tiny", "ramble", str(target)]
    assert seen["stdout"] == 2, "standard output may be the record of a stage"


def test_a_full_disk_is_told_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ends(monkeypatch, tmp_path, errno.ENOSPC)
    with pytest.raises(StageError) as told:
        tiny.cached("ramble")
    assert told.value.reason == STORAGE_FULL


@pytest.mark.parametrize("code", [tiny.FAILED, -9])
def test_another_end_is_told_with_its_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    ends(monkeypatch, tmp_path, code)
    with pytest.raises(RuntimeError, match=str(code)):
        tiny.cached("ramble")
