"""Argo CD's health checks in Lua 5.1 (as Argo CD runs them), over statuses that the planner writes,
and what Flux's kstatus reads from the same conditions."""

from typing import Any

import pytest
import yaml
from lupa import lua51

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase
from tests.fakes.harness import ROOT
from tests.fakes.simulated_search import simulated
from tests.unit.builders import NOW, search, stage

FOLDER = ROOT / "examples/gitops"
CHECKS = yaml.safe_load((FOLDER / "argocd/argocd-cm.yaml").read_text())["data"]


def to_lua(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({k: to_lua(lua, v) for k, v in value.items()})
    if isinstance(value, list):
        return lua.table_from([to_lua(lua, v) for v in value])
    return value


def health(kind: str, document: dict[str, Any]) -> tuple[str, str]:
    """Argo CD gives the object as ``obj`` and no library that touches the machine."""
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    for name in ("os", "io", "debug", "package", "require", "dofile", "loadfile"):
        lua.globals()[name] = None
    lua.globals()["obj"] = to_lua(lua, document)
    answer = lua.execute(CHECKS[f"resource.customizations.health.llmzero.dev_{kind}"])
    return answer["status"], answer["message"]


def document(made: TrainingSearch, generation: int = 1, **conditions: str) -> dict[str, Any]:
    """As the API server returns it; ``conditions``: type to its message, made True."""
    found = made.dump()
    found["metadata"]["generation"] = generation
    found["status"]["observedGeneration"] = 1
    for kind, message in conditions.items():
        moment = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
        found["status"]["conditions"] = [
            c for c in found["status"]["conditions"] if c["type"] != kind
        ] + [{"type": kind, "status": "True", "message": message, "lastTransitionTime": moment}]
    return found


def kstatus(found: dict[str, Any]) -> str:
    """kstatus' rules for custom resources (cli-utils, status/generic.go and core.go)."""
    status = found.get("status", {})
    if status.get("observedGeneration", 0) != found["metadata"]["generation"]:
        return "InProgress"
    true = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
    known = {c["type"]: c["status"] for c in status.get("conditions", [])}
    if "Reconciling" in true:
        return "InProgress"
    if "Stalled" in true:
        return "Failed"
    return "InProgress" if known.get("Ready") == "False" else "Current"


RUNNING, _ = simulated(ended=6)
DONE, _ = simulated()


@pytest.mark.parametrize(
    ("found", "argo", "flux"),
    [
        (document(RUNNING), "Healthy", "Current"),
        (document(DONE), "Healthy", "Current"),
        (document(RUNNING, generation=2), "Progressing", "InProgress"),
        (document(RUNNING, Suspended="spec.suspend is set"), "Suspended", "Current"),
        (document(RUNNING, Blocked="no claim"), "Degraded", "Current"),
        (document(RUNNING, Stalled="fixed: no such field"), "Degraded", "Failed"),
        (document(RUNNING, Stalled="too many", Failed="too many"), "Degraded", "Failed"),
        (document(RUNNING, Reconciling="new generation"), "Progressing", "InProgress"),
    ],
    ids=["running", "complete", "unseen", "suspended", "blocked", "stalled", "failed", "looking"],
)
def test_health_of_a_search(found: dict[str, Any], argo: str, flux: str) -> None:
    assert health("TrainingSearch", found)[0] == argo
    assert kstatus(found) == flux


def test_the_message_is_that_of_the_condition() -> None:
    found = document(RUNNING, Blocked="the claim checkpoints is missing in research")
    assert health("TrainingSearch", found)[1] == "the claim checkpoints is missing in research"


def test_a_search_that_nobody_looked_at_is_not_healthy() -> None:
    found = search().dump() | {"status": None}
    found.pop("status")
    found["metadata"]["generation"] = 1
    assert health("TrainingSearch", found)[0] == "Progressing"
    assert kstatus(found) == "InProgress"


@pytest.mark.parametrize("phase", Phase)
def test_health_of_a_stage_in_every_phase(phase: Phase) -> None:
    node = stage()
    node = node.with_(status=node.status.with_(phase=phase, message="why"))
    expected = {Phase.SUCCEEDED: "Healthy", Phase.STOPPED: "Healthy", Phase.FAILED: "Degraded"}
    assert health("StageNode", node.dump()) == (expected.get(phase, "Progressing"), "why")


def test_a_stage_without_a_status_is_not_healthy() -> None:
    found = stage().dump()
    found.pop("status")
    assert health("StageNode", found)[0] == "Progressing"


def test_the_examples_are_manifests_and_prune_no_search() -> None:
    documents = [d for f in FOLDER.rglob("*.yaml") for d in yaml.safe_load_all(f.read_text())]
    kinds = [d["kind"] for d in documents]
    assert sorted(kinds) == ["Application", "ConfigMap", "Kustomization", "Kustomization"]
    (searches,) = [
        d for d in documents if d["metadata"]["name"] == "searches" and "path" in d["spec"]
    ]
    assert searches["spec"]["prune"] is False
    (application,) = [d for d in documents if d["kind"] == "Application"]
    assert application["spec"]["syncPolicy"]["automated"]["prune"] is False
