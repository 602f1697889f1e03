"""The table of bad manifests, for the validator and for the API server."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.unit.builders import manifest

TABLE = Path(__file__).parents[2] / "data" / "bad_manifests.yaml"


@dataclass(frozen=True)
class Bad:
    """One mistake."""

    label: str
    document: dict[str, Any]
    path: str
    says: str
    admission: bool
    server: str
    """Words of the server's, where it names another field."""


def _at(document: Any, path: str) -> tuple[Any, Any]:
    *above, last = path.split(".")
    for part in above:
        if isinstance(document, list):
            document = document[int(part)]
        else:
            document = document.setdefault(part, {})
    return document, int(last) if isinstance(document, list) else last


def bad_manifests() -> list[Bad]:
    found = []
    for entry in yaml.safe_load(TABLE.read_text()):
        document = copy.deepcopy(manifest())
        for path, value in entry.get("set", {}).items():
            holder, key = _at(document, path)
            holder[key] = value
        for path in entry.get("unset", []):
            holder, key = _at(document, path)
            del holder[key]
        label = str(entry.get("set") or entry.get("unset"))
        found.append(
            Bad(
                label,
                document,
                entry["path"],
                entry["says"],
                entry["admission"],
                entry.get("server", ""),
            )
        )
    return found
