"""The chart with the real helm: six value sets against golden files, security, rights, refusals.

After a wanted change delete the golden file, run the test twice and read the diff.
"""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.harness import ROOT
from tests.tools.go_build import helm

CHART = ROOT / "charts/llmzero"
GOLDEN = Path(__file__).parent / "golden"

Values = dict[str, Any]
ANTHROPIC: Values = {
    "provider": "anthropic",
    "model": "a-model",
    "apiKeySecret": {"name": "model-key"},
    "tokenSecret": {"name": "agent-token"},
}
SETS: dict[str, Values] = {
    "default": {},
    "two-namespaces": {"operator": {"namespaces": ["research", "teaching"]}},
    "anthropic": {"agent": ANTHROPIC},
    "own-model": {
        "agent": {
            "provider": "openai",
            "model": "own",
            "baseUrl": "http://vllm.models.svc:8000/v1",
            "vision": False,
            "egress": [
                {
                    "to": [{"namespaceSelector": {"matchLabels": {"team": "models"}}}],
                    "ports": [{"port": 8000}],
                }
            ],
        }
    },
    "several-replicas": {
        "operator": {"replicas": 2, "priorityClassName": "system-cluster-critical"},
        "agent": {"replicas": 3},
        "image": {"repository": "mirror/llmzero", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
    },
    "watched": {
        "metrics": {
            "scrapeFrom": ["monitoring"],
            "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True, "runbookBaseUrl": "https://wiki.example/runbooks"},
        }
    },
    "no-agent": {"agent": {"enabled": False}, "priorityClasses": {"create": False}},
}


def render(values: Values, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm(), "template", "llmzero", CHART, "-n", "llmzero-system", "-f", "-", *arguments],
        input=json.dumps(values),
        capture_output=True,
        text=True,
    )


@functools.cache
def objects(name: str, *arguments: str) -> list[dict[str, Any]]:
    done = render(SETS[name], *arguments)
    assert done.returncode == 0, done.stderr
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def pods(name: str) -> list[dict[str, Any]]:
    return [o["spec"]["template"]["spec"] for o in objects(name) if o["kind"] == "Deployment"]


def found(name: str, kind: str, ends: str = "") -> list[dict[str, Any]]:
    return [o for o in objects(name) if o["kind"] == kind and o["metadata"]["name"].endswith(ends)]


@pytest.mark.parametrize("name", SETS)
def test_what_is_rendered_is_what_was_read(name: str) -> None:
    text = yaml.safe_dump_all(objects(name), sort_keys=True)
    golden = GOLDEN / f"{name}.yaml"
    if not golden.exists():
        golden.write_text(text)
        pytest.fail(f"{golden.name} was written: read it and commit it")
    assert text == golden.read_text()


def test_lint_finds_nothing() -> None:
    done = subprocess.run([helm(), "lint", "--strict", CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SETS)
def test_every_pod_is_restricted(name: str) -> None:
    assert pods(name)
    for pod in pods(name):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_the_rights_are_those_that_the_operator_was_tested_with() -> None:
    tested = yaml.safe_load_all((ROOT / "examples/operator-rbac.yaml").read_text())
    rules = {o["metadata"]["name"]: o["rules"] for o in tested if "rules" in o}
    (role,) = found("default", "ClusterRole")
    assert role["rules"] == rules["llmzero-operator"]
    assert found("default", "Role", "-lease")[0]["rules"] == rules["llmzero-operator-lease"]


def test_a_list_of_namespaces_gives_no_right_elsewhere() -> None:
    assert not found("two-namespaces", "ClusterRole")
    roles = found("two-namespaces", "Role", "-operator")
    assert {r["metadata"]["namespace"] for r in roles} == {"research", "teaching"}
    arguments = (
        pods("two-namespaces")[0]["containers"][0]["args"]
        + pods("two-namespaces")[1]["containers"][0]["args"]
    )
    assert {"--namespace=research", "--namespace=teaching"} <= set(arguments)
    guarded = found("two-namespaces", "NetworkPolicy", "-stages")
    assert {p["metadata"]["namespace"] for p in guarded} == {"research", "teaching"}


def test_a_single_replica_blocks_no_drain() -> None:
    assert not found("default", "PodDisruptionBudget")
    assert len(found("several-replicas", "PodDisruptionBudget")) == 2


def test_nobody_reaches_the_operator_who_was_not_named() -> None:
    (policy,) = found("default", "NetworkPolicy", "-operator")
    assert (
        policy["spec"]["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in policy["spec"]
    )
    (watched,) = found("watched", "NetworkPolicy", "-operator")
    assert watched["spec"]["ingress"][0]["ports"] == [{"port": 9090}]
    (agent,) = found("default", "NetworkPolicy", "-agent")
    assert "egress" not in agent["spec"], "the rules need no network"


def test_the_token_is_known_to_both_sides_and_the_key_to_one() -> None:
    mounts = {
        pod["containers"][0]["name"]: {
            v.get("secret", {}).get("secretName") for v in pod["volumes"]
        }
        for pod in pods("anthropic")
    }
    assert mounts["operator"] == {None, "agent-token"}
    assert mounts["agent"] == {None, "agent-token", "model-key"}
    (config,) = found("anthropic", "ConfigMap")
    endpoint = yaml.safe_load(config["data"]["endpoints.yaml"])["endpoints"]["default"]
    assert endpoint["tokenFile"] == "/run/agent/token"


@pytest.mark.parametrize("name", SETS)
def test_the_operator_can_read_its_endpoints(name: str, tmp_path: Path) -> None:
    from llmzero.client.endpoints import load_endpoints

    file = tmp_path / "endpoints.yaml"
    file.write_text(found(name, "ConfigMap")[0]["data"]["endpoints.yaml"])
    assert set(load_endpoints(file)) == (set() if name == "no-agent" else {"default"})


@pytest.mark.parametrize("name", SETS)
def test_the_command_lines_are_understood(name: str) -> None:
    """Every option that the chart gives is one that ``llmzero`` has."""
    import typer

    from llmzero.cli import agent, operator

    for pod in pods(name):
        container = pod["containers"][0]
        app = {"operator": operator.app, "agent": agent.app}[container["name"]]
        known = {
            o for p in typer.main.get_command(app).params for o in (*p.opts, *p.secondary_opts)
        }
        given = {a.partition("=")[0] for a in container["args"]}
        assert given <= known


def test_the_alerts_are_the_tested_ones_with_links_of_ones_own() -> None:
    (rule,) = found("watched", "PrometheusRule")
    plain = (CHART / "rules/llmzero.yaml").read_text()
    linked = plain.replace("docs/runbooks", "https://wiki.example/runbooks")
    assert rule["spec"] == yaml.safe_load(linked)


def test_the_dashboards_are_the_tested_ones() -> None:
    made = objects("default", "--set", "metrics.dashboards.enabled=true")
    boards = [o for o in made if o["metadata"]["labels"].get("grafana_dashboard")]
    data = {name: text for o in boards for name, text in o["data"].items()}
    files = {p.name: json.loads(p.read_text()) for p in (CHART / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in data.items()} == files and len(files) == 3


def test_the_crds_are_the_generated_ones() -> None:
    for file in (ROOT / "crds").glob("*.yaml"):
        assert (CHART / "crds" / file.name).read_text() == file.read_text(), f"cp crds/{file.name}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"operator": {"replicas": 0}}, "operator/replicas"),
        ({"operator": {"namespace": "x"}}, "namespace"),
        ({"agent": {"provider": "gpt"}}, "agent/provider"),
        ({"agent": {"provider": "openai"}}, "agent.model"),
        ({"agent": {**ANTHROPIC, "apiKeySecret": {"name": ""}}}, "agent.apiKeySecret.name"),
        ({"networkPolicy": {"enabled": False}}, "agent.tokenSecret.name"),
        ({"metrics": {"port": 99999}}, "metrics/port"),
        ({"image": {"digest": "latest"}}, "image/digest"),
    ],
)
def test_wrong_values_are_refused_with_the_key(values: Values, said: str) -> None:
    done = render(values)
    assert done.returncode != 0
    assert said in done.stderr
