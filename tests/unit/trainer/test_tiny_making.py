"""A tiny model is made in a process of its own; a short recipe, or a stand-in that fails."""

import errno
import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from llmzero.api.contract import STORAGE_FULL
from llmzero_trainer import tiny
from llmzero_trainer.errors import StageError, full
from llmzero_trainer.tiny.__main__ import main


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LLMZERO_CACHE", str(tmp_path))
    return tmp_path


def ends(monkeypatch: pytest.MonkeyPatch, code: int, said: str = "") -> dict[str, Any]:
    """The making ends with ``code``; what it was started with."""
    seen: dict[str, Any] = {}

    def run(command: list[str], **given: Any) -> SimpleNamespace:
        seen.update(given, command=command)
        if code == 0:
            Path(command[-1]).mkdir()
        return SimpleNamespace(returncode=code, stdout=said)

    monkeypatch.setattr(subprocess, "run", run)
    return seen


@pytest.mark.parametrize(
    ("capability", "pinned"), [("AVX512", "avx2"), ("AVX2", "avx2"), ("DEFAULT", None)]
)
def test_the_rounding_of_avx2_where_there_is_avx2(
    monkeypatch: pytest.MonkeyPatch, cache: Path, capability: str, pinned: str | None
) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    seen = ends(monkeypatch, 0)
    left = cache / "models" / f".making-1-{tiny.cached('ramble').name}"
    assert seen["env"].get("ATEN_CPU_CAPABILITY") == pinned
    assert seen["pass_fds"], "the lock outlives whoever waits"
    left.mkdir()
    tiny.cached("ramble").rmdir()
    assert tiny.cached("ramble").exists() and not left.exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(-signal.SIGTERM, "Interrupted"), (-signal.SIGKILL, "OutOfMemory"), (1, None), (-11, None)],
)
def test_how_it_ended_is_told(
    monkeypatch: pytest.MonkeyPatch, code: int, reason: str | None
) -> None:
    ends(monkeypatch, code)
    with pytest.raises(StageError if reason else RuntimeError) as told:
        tiny.cached("ramble")
    assert getattr(told.value, "reason", None) == reason
    assert reason or str(code) in str(told.value)


def test_what_it_said_is_what_is_raised(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    why = full(cache, "no space left")
    said = json.dumps([int(why.code), why.reason, why.message])
    ends(monkeypatch, tiny.TOLD, said)
    with pytest.raises(StageError) as told:
        tiny.cached("ramble")
    assert (told.value.code, told.value.reason) == (why.code, STORAGE_FULL)
    assert told.value.message == why.message


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"),
              SafetensorError("I/O error: No space left on device (os error 28)")],
)  # fmt: skip
def test_a_disk_that_fills_up_while_it_is_saved(
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    recipe = tiny.recipe_module("ramble").RECIPE
    short = SimpleNamespace(RECIPE=replace(recipe, steps=1))
    monkeypatch.setattr("llmzero_trainer.tiny.__main__.recipe_module", lambda _: short)

    def save(*_: Any) -> None:
        raise error

    monkeypatch.setattr("transformers.Qwen3ForCausalLM.save_pretrained", save)
    assert main("ramble", cache / "model") == tiny.TOLD
    assert json.loads(capsys.readouterr().out)[1] == STORAGE_FULL
    assert not (cache / "model").exists()
