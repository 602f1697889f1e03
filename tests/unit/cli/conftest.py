"""A finished run of fake stages, and the command line in this process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmzero.api.names import tag
from llmzero.cli import run as run_module
from llmzero.cli.main import app
from llmzero.local.launch import FreshProcess, Launcher
from llmzero.local.store import RunDirectory
from tests.fakes.harness import ROOT, manifest

Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    """``call("tree", path)``: output and exit code of one command."""

    def invoke(*arguments: str | Path, **options: Any) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], **options)

    return invoke


@pytest.fixture(scope="session")
def fake_trainer() -> Iterator[pytest.MonkeyPatch]:
    """``llmzero run`` starts fake stages."""
    patch = pytest.MonkeyPatch()

    def launcher(run: RunDirectory, fresh_process: bool) -> Launcher:
        patch.setenv("FAKE_TRAINER_TAG", tag(run.search.metadata.uid))
        return FreshProcess(run.stages, "tests.fakes.fake_trainer")

    patch.setattr(run_module, "_launcher", launcher)
    patch.setenv("CUDA_VISIBLE_DEVICES", "")
    patch.setenv("PYTHONPATH", str(ROOT))
    yield patch
    patch.undo()


@pytest.fixture(scope="session")
def search_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("manifest") / "search.yaml"
    file.write_text(json.dumps(manifest({"parallelism": 2})))
    return file


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    search_file: Path,
    fake_trainer: pytest.MonkeyPatch,
) -> tuple[Path, Result]:
    """Directory of a complete run, and what ``llmzero run`` printed."""
    directory = tmp_path_factory.mktemp("runs") / "fake"
    arguments = ["run", str(search_file), "--dir", str(directory)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return directory, result
