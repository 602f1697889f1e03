"""Server-side apply on a real API server: a sync never fights the operator, nor another sync
unseen."""

import copy
import json
import subprocess
from typing import Any

import pytest

from tests.fakes.operator import Seen, wait_for
from tests.integration.conftest import Stand

pytestmark = pytest.mark.cluster

SYNCS = ("argocd", "flux")


def sync(
    stand: Stand, document: dict[str, Any], manager: str, *flags: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    words = ("apply", "--server-side", f"--field-manager={manager}", *flags, "-f", "-")
    return stand.kube.run(*words, stdin=json.dumps(document), check=check)


def with_budget(document: dict[str, Any], stages: float) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    changed["spec"]["budget"]["stages"] = stages
    return changed


def generation(seen: Seen) -> int:
    return seen.search().metadata.generation


def owners(seen: Seen) -> list[dict[str, Any]]:
    found = seen.get("trainingsearch", seen.name, "--show-managed-fields")
    entries: list[dict[str, Any]] = found["metadata"]["managedFields"]
    return entries


def test_a_sync_never_fights_the_operator_and_two_syncs_see_each_other(stand: Stand) -> None:
    stand.kubelet.seconds = 0.2
    document = stand.document(budget={"stages": 3})
    seen = Seen(stand.kube, stand.namespace, document["metadata"]["name"])
    with stand.operator():
        sync(stand, document, "argocd")
        wait_for(lambda: seen.nodes() and seen.phase() == "Running", 60, seen.describe)
        before = generation(seen)

        sync(stand, document, "argocd")
        assert generation(seen) == before, "the same manifest again changes nothing"

        refused = sync(stand, with_budget(document, 4), "flux", check=False)
        assert refused.returncode != 0
        assert "conflict" in refused.stderr and '"argocd"' in refused.stderr
        assert ".spec.budget.stages" in refused.stderr
        assert generation(seen) == before

        sync(stand, with_budget(document, 4), "flux", "--force-conflicts")
        assert generation(seen) == before + 1
        back = sync(stand, document, "argocd", check=False)
        assert back.returncode != 0 and '"flux"' in back.stderr

        seen.wait_phase("Complete")
    assert seen.search().spec.budget.stages == 4
    assert seen.search().status.ledger.stages_spent > 3, "the raised budget was used"
    assert generation(seen) == before + 1
    written = [e for e in owners(seen) if e["manager"] not in SYNCS]
    assert written, "the operator writes the status"
    for entry in written:
        assert entry.get("subresource") == "status", entry
        assert set(entry["fieldsV1"]) == {"f:status"}, "it owns no field of a manifest"
    stages = {
        e["manager"]: "f:stages" in e["fieldsV1"].get("f:spec", {}).get("f:budget", {})
        for e in owners(seen)
        if e["manager"] in SYNCS
    }
    assert stages == {"argocd": False, "flux": True}
