"""Every mistake is named: the field, what was found, what is allowed; all of them at once."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from llmzero import strategies
from llmzero.api.grpo import FIELDS, NULLABLE, OWNED
from llmzero.api.grpo_values import ALLOWED
from llmzero.api.manifest import read_search
from llmzero.api.validation import problems
from tests.unit.api.bad import Bad, bad_manifests
from tests.unit.builders import manifest

ROOT = Path(__file__).parents[3]
NAMED = {"int": int, "float": float, "bool": bool, "str": str}
NEVER_NULL = {"max_completion_length", "num_generations"}
"""TRL would fall back to a default of its own, which has changed between releases."""


MANIFEST = re.compile("^kind: TrainingSearch$", re.MULTILINE)
EXAMPLES = [f for f in ROOT.glob("examples/**/*.yaml") if MANIFEST.search(f.read_text())]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.name)
def test_the_examples_are_valid(file: Path) -> None:
    _, found = problems(read_search(file.read_text()), strategies.check_options)
    assert [p for p in found if not p.warning] == []


def test_the_table_is_large_enough() -> None:
    assert len(bad_manifests()) >= 60


@pytest.mark.parametrize("bad", bad_manifests(), ids=lambda b: b.label)
def test_a_bad_manifest_is_refused_with_its_field(bad: Bad) -> None:
    _, found = problems(bad.document, strategies.check_options)
    wrong = [p for p in found if not p.warning]
    matching = [p for p in wrong if p.path == bad.path and bad.says in str(p)]
    assert matching, "\n".join(map(str, found))


def test_a_good_manifest_has_no_problem() -> None:
    search, found = problems(manifest(), strategies.check_options)
    assert search is not None
    assert found == []


def test_all_mistakes_are_told_at_once() -> None:
    document = manifest(
        fixed={"loss_type": "x", "top_p": 0, "max_steps": 1}, stage={"steps": 5, "evalEvery": 9}
    )
    _, found = problems(document)
    assert {p.path for p in found if not p.warning} >= {
        "spec.fixed.loss_type",
        "spec.fixed.top_p",
        "spec.fixed.max_steps",
        "spec.stage.evalEvery",
    }


def test_what_departs_from_the_policy_is_a_warning() -> None:
    search, found = problems(manifest(fixed={"top_p": 0.9}))
    assert search is not None
    assert [(p.path, p.warning) for p in found] == [("spec.fixed.top_p", True)]


def test_what_is_no_mapping_is_refused() -> None:
    search, found = problems(["no", "mapping"])
    assert search is None
    assert found


def test_the_fields_are_those_of_the_installed_trl() -> None:
    from trl import GRPOConfig  # type: ignore[attr-defined]

    assert {f.name for f in dataclasses.fields(GRPOConfig)} == set(FIELDS)
    hints = typing.get_type_hints(GRPOConfig)
    for name, kind in FIELDS.items():
        taken = set(typing.get_args(hints[name])) or {hints[name]}
        if kind in NAMED:
            assert NAMED[kind] in taken, f"{name}: {hints[name]}"
        may_be_none = type(None) in taken and name not in NEVER_NULL
        assert may_be_none == (name in NULLABLE), f"{name}: {hints[name]}"


def test_the_tables_name_real_fields() -> None:
    assert set(ALLOWED) <= set(FIELDS)
    assert set(OWNED) <= set(FIELDS)
