"""The pages: generated ones are current, examples in them are valid, the site builds strictly."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmzero.api.manifest import read_documents, read_search
from llmzero.api.reference import render
from llmzero.api.validation import problems

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def test_the_reference_of_the_resources_is_current() -> None:
    assert (DOCS / "crds.md").read_text() == render(), "run `make crds`"


SEARCHES = [
    file
    for folder in ("examples", "benchmarks/studies")
    for file in sorted((ROOT / folder).rglob("*.yaml"))
    if "kind: TrainingSearch" in file.read_text()
]


@pytest.mark.parametrize("file", SEARCHES, ids=lambda f: f.stem)
def test_every_shipped_manifest_is_valid(file: Path) -> None:
    for document in read_documents(file.read_text()):
        if document.get("kind") == "TrainingSearch":
            _, found = problems(document)
            assert [str(p) for p in found if not p.warning] == []


def test_the_space_on_the_page_of_parameters_is_valid() -> None:
    (block,) = re.findall(
        r"(?m)^    parameters:\n(?:      .*\n)+", (DOCS / "parameters.md").read_text()
    )
    document = read_search((ROOT / "examples" / "quickstart.yaml").read_text())
    document["spec"]["parameters"] = read_documents(block)[0]["parameters"]
    document["spec"] |= {
        "model": {"path": "some/model"},
        "fixed": {"per_device_train_batch_size": 64},
    }
    _, found = problems(document)
    assert [str(p) for p in found if not p.warning] == []


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    config = ROOT / ".ci" / "mkdocs.yml"
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "-f",
            config,
            "-d",
            tmp_path / "site",
        ],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "crds" / "index.html").exists()
