"""A real API server takes what `llmzero validate` takes and refuses what schema and CEL can see."""

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llmzero.api.stage import StageStatus
from tests.cluster.client import Kube
from tests.unit import builders
from tests.unit.api.bad import Bad, bad_manifests

pytestmark = pytest.mark.cluster
SEARCHES = "trainingsearches.llmzero.dev"


def _try(kube: Kube, document: dict[str, Any]) -> str:
    """What the server says to a manifest; empty where it takes it."""
    arguments = ("create", "--dry-run=server", "-n", "default", "-f", "-")
    done = kube.run(*arguments, stdin=json.dumps(document), check=False)
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def answers(kube_api: Kube) -> dict[str, str]:
    """Of the server to every manifest of the table."""
    table = bad_manifests()
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda bad: _try(kube_api, bad.document), table)
    return dict(zip([b.label for b in table], said, strict=True))


@pytest.mark.parametrize("bad", bad_manifests(), ids=lambda b: b.label)
def test_the_server_refuses_what_the_table_says(bad: Bad, answers: dict[str, str]) -> None:
    said = answers[bad.label]
    assert bool(said) == bad.admission, said
    if bad.admission:
        assert (bad.server or bad.path) in said


def test_a_good_manifest_is_taken(kube_api: Kube) -> None:
    assert _try(kube_api, builders.manifest()) == ""
    fixed = {
        "scale_rewards": False,
        "delta": None,
        "optim": "adamw_torch",
        "gradient_checkpointing": True,
    }
    assert _try(kube_api, builders.manifest(fixed=fixed)) == ""


# -- changes ----------------------------------------------------------------------------------


@pytest.fixture
def applied(kube_api: Kube, make_namespace: Callable[[Kube], str]) -> tuple[Kube, str]:
    namespace = make_namespace(kube_api)
    document = builders.manifest(
        fixed={"loss_type": "dapo", "epsilon": 0.2}, budget={"stages": 4}, agent={"endpoint": "a"}
    )
    document["metadata"]["namespace"] = namespace
    kube_api.apply(document)
    return kube_api, namespace


def _patch(place: tuple[Kube, str], patch: dict[str, Any], *more: str) -> str:
    kube, namespace = place
    arguments = (
        "patch",
        SEARCHES,
        "test",
        "-n",
        namespace,
        "--type=merge",
        "-p",
        json.dumps(patch),
    )
    done = kube.run(*arguments, *more, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objective", {"direction": "minimize"}),
        ("model", {"dtype": "bfloat16"}),
        ("task", {"options": {"digits": 1}}),
        ("fixed", {"epsilon": 0.3}),
        ("fixed", {"not_a_field": 1}),
        ("stage", {"steps": 80}),
        ("evaluation", {"samples": 2}),
        ("storage", {"claimName": "other"}),
        ("strategy", {"seed": 5}),
        ("strategy", {"options": {"screening": False}}),
        ("trainer", {"image": "other"}),
        ("trainer", {"podTemplate": {"spec": {"nodeSelector": {"a": "b"}}}}),
    ],
)
def test_what_decides_results_cannot_change(
    applied: tuple[Kube, str], field: str, value: dict[str, Any]
) -> None:
    said = _patch(applied, {"spec": {field: value}})
    assert "cannot change" in said
    assert "make a new TrainingSearch" in said


def test_what_may_change_can(applied: tuple[Kube, str]) -> None:
    allowed: dict[str, Any] = {
        "budget": {"stages": 8, "failures": 9},
        "suspend": True,
        "suspendPolicy": "Stop",
        "strategy": {"parallelism": 7},
        "approval": "manual",
        "agent": {"endpoint": "b"},
        "trainer": {"resources": {"limits": {"cpu": 1, "memory": "4Gi"}}},
    }
    assert _patch(applied, {"spec": allowed}) == ""
    assert _patch(applied, {"spec": {"agent": None}}) == ""


def test_a_budget_never_falls_below_what_is_spent_and_an_overshoot_can_be_written(
    applied: tuple[Kube, str],
) -> None:
    ledger = {"status": {"ledger": {"stagesSpent": 3.0}}}
    assert _patch(applied, ledger, "--subresource=status") == ""
    said = _patch(applied, {"spec": {"budget": {"stages": 2}}})
    assert "cannot fall below what is spent" in said
    assert _patch(applied, {"spec": {"budget": {"stages": 3}}}) == ""
    overshoot = {"status": {"ledger": {"stagesSpent": 3.25}}}
    assert _patch(applied, overshoot, "--subresource=status") == ""
    assert _patch(applied, {"spec": {"suspend": True}}) == "", "other changes still pass"


def test_a_stage_cannot_change_its_spec_and_shows_in_columns(applied: tuple[Kube, str]) -> None:
    kube, namespace = applied
    node = builders.stage("0-2").dump()
    node["metadata"] = {"name": "test-0-2", "namespace": namespace}
    status = node.pop("status")
    kube.apply(node)
    for spec in ({"steps": 41}, {"parameters": {"learning_rate": 0.5}}, {"parameters": {"new": 1}}):
        changed = copy.deepcopy(node)
        changed["spec"] = {**node["spec"], **spec}
        if "parameters" in spec:
            changed["spec"]["parameters"] = {**node["spec"]["parameters"], **spec["parameters"]}
        assert "spec is immutable" in kube.apply(changed, check=False)
    shown = StageStatus(tree="  └ 0-2", depth=2, changed="beta 0.02→0").dump()
    patch = json.dumps({"status": {**status, **shown}})
    kube.run(
        *("patch", "sn", "test-0-2", "-n", namespace, "--subresource=status", "--type=merge"),
        *("-p", patch),
    )
    table = kube.run("get", "sn", "-n", namespace).stdout
    assert "└ 0-2" in table
    assert "beta 0.02→0" in table


def test_explain_reads_like_documentation(kube_api: Kube) -> None:
    text = kube_api.run("explain", "ts.spec.parameters.scale").stdout
    assert "How values are spread between min and max" in text
    assert "loss_type" in kube_api.run("explain", "ts.spec.fixed").stdout
