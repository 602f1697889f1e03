"""The operator under exactly the rights of examples/operator-rbac.yaml, as a service account."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.harness import ROOT
from tests.fakes.operator import wait_for
from tests.integration.conftest import Stand

pytestmark = pytest.mark.cluster

MANIFEST = ROOT / "examples/operator-rbac.yaml"
HOME = "llmzero-system"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
RULES = [(o["metadata"]["name"], r) for o in OBJECTS for r in o.get("rules", [])]


def test_no_wildcard_and_no_secret() -> None:
    assert len(RULES) >= 8
    for _, rule in RULES:
        for words in rule.values():
            assert not any("*" in word for word in words)
        assert "secrets" not in rule["resources"]


def as_service_account(stand: Stand) -> Path:
    """A kubeconfig of the manifest's service account."""
    stand.kube.run("create", "namespace", HOME, check=False)
    stand.kube.run("apply", "-f", str(MANIFEST))
    token = stand.kube.run("create", "token", "llmzero-operator", "-n", HOME).stdout.strip()
    config = json.loads(stand.kube.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    made = stand.folder / "account.kubeconfig"
    made.write_text(json.dumps(config))
    return made


def test_a_search_runs_to_complete_under_these_rights_alone(stand: Stand) -> None:
    """With a crash, a stop, retention, a lost log and Events: every kind of call there is."""
    account = as_service_account(stand)
    mine = stand.kube.run("--kubeconfig", str(account), "auth", "whoami", check=False)
    assert f"system:serviceaccount:{HOME}:llmzero-operator" in mine.stdout
    stand.kubelet.faults = {
        "0": [{"kind": "mute", "attempt": 1}],
        "0-0": [{"kind": "crash", "attempt": 1, "step": 3}],
    }
    with stand.operator("--lease-namespace", HOME, kubeconfig=account) as operator:
        seen = stand.apply()
        seen.wait_phase("Complete")
        events = [e["reason"] for e in seen.get("events")["items"]]
        assert "Complete" in events
        assert operator.terminate() == 0
    said = operator.said()
    assert "403" not in said and "forbidden" not in said.lower(), said[-3000:]
    lease = stand.kube.get("lease", "llmzero-operator", "-n", HOME)
    assert lease["spec"]["holderIdentity"] == "", "released on SIGTERM"


def test_missing_rights_are_said_and_nothing_crashes(stand: Stand) -> None:
    account = as_service_account(stand)
    role = "clusterrole/llmzero-operator"
    found = stand.kube.get(role)
    jobs = next(i for i, r in enumerate(found["rules"]) if r["resources"] == ["jobs"])
    read = [{"op": "replace", "path": f"/rules/{jobs}/verbs", "value": ["get", "list", "watch"]}]
    try:
        stand.kube.run("patch", role, "--type=json", "-p", json.dumps(read))
        with stand.operator(kubeconfig=account) as operator:
            seen = stand.apply()
            refused = "cannot create resource"
            wait_for(lambda: refused in seen.condition("Stalled")[1], 60, seen.describe)
            stand.kube.run("apply", "-f", str(MANIFEST))
            seen.wait_phase("Complete")
            assert seen.condition("Stalled")[0] == "False"
            assert "Traceback" not in operator.said()
    finally:
        stand.kube.run("apply", "-f", str(MANIFEST))
