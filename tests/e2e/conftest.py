"""What all tests with real pods share."""

import subprocess
import sys

import pytest

from tests.fakes.harness import ROOT


@pytest.fixture(scope="session", autouse=True)
def model_cache() -> None:
    """The built-in model is made once on this machine and copied onto each claim."""
    command = [
        sys.executable,
        "-c",
        "from llmzero_trainer import tiny; tiny.cached('scratchpad-addition')",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
