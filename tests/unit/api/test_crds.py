"""What is committed under crds/ is what the models say."""

from pathlib import Path

import pytest
import yaml

from llmzero.api import crds

FOLDER = Path(__file__).parents[3] / "crds"


def test_the_committed_files_are_up_to_date(tmp_path: Path) -> None:
    for file in crds.render(tmp_path):
        assert (FOLDER / file.name).read_text() == file.read_text(), "run `make crds`"


@pytest.mark.parametrize("definition", crds.definitions(), ids=lambda d: d["spec"]["names"]["kind"])
def test_a_client_side_apply_can_store_it(definition: dict[str, object]) -> None:
    assert len(yaml.safe_dump(definition)) < 262_144


def _properties(schema: dict[str, object], path: str = "") -> list[tuple[str, dict[str, object]]]:
    found = [(path, schema)]
    for name, below in (schema.get("properties") or {}).items():  # type: ignore[attr-defined]
        found += _properties(below, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        found += _properties(schema["items"], f"{path}[]")  # type: ignore[arg-type]
    return found


def test_every_field_of_the_spec_that_a_user_writes_is_explained() -> None:
    schema = crds.definitions()[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = schema["properties"]["spec"]
    silent = [p for p, s in _properties(spec) if not s.get("description") and "[]" not in p]
    assert silent == []


def test_columns_select_conditions_by_type() -> None:
    for definition in crds.definitions():
        for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]:
            if "conditions" in column["jsonPath"]:
                assert "@.type==" in column["jsonPath"]
