"""The CustomResourceDefinitions, rendered from the pydantic models.

    python -m llmzero.api.crds crds

The whole of a CRD stays below 262,144 bytes, so that a client-side ``kubectl apply`` can store it in
an annotation.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from llmzero.api.base import GROUP, VERSION
from llmzero.api.crd_schema import root
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode


def _column(name: str, kind: str, path: str, description: str, priority: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "type": kind,
        "jsonPath": path,
        "description": description,
    }
    return {**made, "priority": priority} if priority else made


SEARCH_COLUMNS = [
    _column("Phase", "string", ".status.phase", "Where the search stands."),
    _column(
        "Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Accepted and running."
    ),
    _column("Best", "number", ".status.best.value", "Best value so far, or the winner's."),
    _column("Stage", "string", ".status.best.path", "Path of the best stage."),
    _column("Spent", "number", ".status.ledger.stagesSpent", "Full stages' worth of steps."),
    _column("Budget", "number", ".spec.budget.stages", "Full stages' worth of steps."),
    _column("Running", "integer", ".status.counts.running", "Stages that run."),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since it was created."),
    _column("Message", "string", ".status.message", "In plain words.", 1),
]
STAGE_COLUMNS = [
    _column("Tree", "string", ".status.tree", "Path, indented by depth."),
    _column("Purpose", "string", ".spec.purpose", "Train, Promote or HeldOut."),
    _column("Phase", "string", ".status.phase", "Where the stage stands."),
    _column("Step", "integer", ".status.step", "Last step reported."),
    _column("Value", "number", ".status.result.value", "The objective at its end."),
    _column("Changed", "string", ".status.changed", "What differs from its parent."),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since it was created."),
    _column("Error", "number", ".status.result.standardError", "Standard error of the value.", 1),
    _column("Outcome", "string", ".status.outcome", "How it ended.", 1),
    _column("Message", "string", ".status.message", "In plain words.", 1),
]


def crd(
    model: type[BaseModel], plural: str, short: str, columns: list[dict[str, Any]]
) -> dict[str, Any]:
    """One CustomResourceDefinition with its schema, rules, columns and status subresource."""
    kind = model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["llmzero"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": root(model)},
                }
            ],
        },
    }


def definitions() -> list[dict[str, Any]]:
    """Both CRDs."""
    return [
        crd(TrainingSearch, "trainingsearches", "ts", SEARCH_COLUMNS),
        crd(StageNode, "stagenodes", "sn", STAGE_COLUMNS),
    ]


def render(folder: Path) -> list[Path]:
    """Writes a YAML file a CRD; returns the files."""
    files = []
    for definition in definitions():
        plural = definition["spec"]["names"]["plural"]
        file = folder / f"{GROUP}_{plural}.yaml"
        text = yaml.safe_dump(definition, sort_keys=False, width=100, allow_unicode=True)
        file.write_text(f"# Generated from operator/llmzero/api by `make crds`.\n{text}")
        files.append(file)
    return files


if __name__ == "__main__":
    for written in render(Path(sys.argv[1])):
        print(written)
