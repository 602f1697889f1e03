"""A stage's Job: restricted, judged by reserved exit codes, the user's pod fields merged."""

import base64
import json
from typing import Any

import pytest

from llmzero.api.contract import REQUEST_ENV, ExitCode, StageRequest
from llmzero.api.search import TrainingSearch
from llmzero.controller.jobs import (
    CONTAINER,
    Setting,
    prune_job,
    report_job,
    stage_job,
)
from llmzero.controller.template import TemplateProblem, merge_template
from tests.unit.builders import search, stage

IMAGE = Setting("image:1")


def on_cluster(**trainer: Any) -> TrainingSearch:
    return search(storage={"claimName": "checkpoints"}, trainer=trainer)


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def container(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in pod(job)["containers"] if c["name"] == CONTAINER)
    return found


def env(job: dict[str, Any]) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in container(job)["env"]}


def test_the_request_travels_whole() -> None:
    job = stage_job(on_cluster(), stage(), 2, IMAGE)
    request = StageRequest.decode(env(job)[REQUEST_ENV], env(job)["LLMZERO_STAGE_REQUEST_SHA256"])
    assert request.node == "test-0"
    assert env(job)["LLMZERO_ATTEMPT"] == "2"
    assert base64.b64decode(env(job)[REQUEST_ENV])
    assert job["metadata"]["name"] == "test-0-a2"


def test_every_pod_is_restricted() -> None:
    node = stage()
    for job in (
        stage_job(on_cluster(), node, 1, IMAGE),
        prune_job(on_cluster(), node, IMAGE),
        report_job(on_cluster(), node, IMAGE),
    ):
        security = pod(job)["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["fsGroupChangePolicy"] == "OnRootMismatch"
        assert container(job)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert pod(job)["automountServiceAccountToken"] is False
        assert job["spec"]["backoffLimit"] == 0
        assert pod(job)["restartPolicy"] == "Never"


def test_stage_jobs_have_no_ttl_and_are_never_suspended_by_us() -> None:
    job = stage_job(on_cluster(), stage(), 1, IMAGE)
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert "suspend" not in job["spec"]


def test_the_failure_policy_is_in_the_order_that_matters() -> None:
    rules = stage_job(on_cluster(), stage(), 1, IMAGE)["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert [r["action"] for r in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[1]["onExitCodes"]["values"] == [ExitCode.INTERRUPTED]
    assert set(rules[2]["onExitCodes"]["values"]) == set(ExitCode) - {0, ExitCode.INTERRUPTED}
    assert all(r["onExitCodes"]["containerName"] == CONTAINER for r in rules[1:])


def test_the_queue_is_kueues_label_on_the_job() -> None:
    job = stage_job(on_cluster(queueName="research"), stage(), 1, IMAGE)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"


def test_helper_jobs_take_no_device() -> None:
    asked = on_cluster(resources={"limits": {"nvidia.com/gpu": 1}})
    assert container(stage_job(asked, stage(), 1, IMAGE))["resources"]["limits"]
    assert "resources" not in container(prune_job(asked, stage(), IMAGE))


@pytest.mark.parametrize(
    ("resources", "threads"),
    [
        ({}, "1"),
        ({"requests": {"cpu": "500m"}}, "1"),
        ({"limits": {"cpu": "4"}}, "4"),
        ({"limits": {"cpu": "2500m"}}, "2"),
        ({"limits": {"nvidia.com/gpu": 1}}, None),
    ],
)
def test_cpu_pods_use_as_many_threads_as_they_have_cores(
    resources: dict[str, Any], threads: str | None
) -> None:
    found = env(stage_job(on_cluster(resources=resources), stage(), 1, IMAGE))
    assert found.get("OMP_NUM_THREADS") == threads


def test_a_claim_is_needed() -> None:
    with pytest.raises(TemplateProblem, match=r"spec\.storage\.claimName"):
        stage_job(search(), stage(), 1, IMAGE)


TEMPLATE = {
    "metadata": {
        "annotations": {"team": "rl"},
        "labels": {"llmzero.dev/search": "stolen", "x": "y"},
    },
    "spec": {
        "nodeSelector": {"gpu": "h100"},
        "securityContext": {"fsGroup": 2000},
        "volumes": [{"name": "secrets", "secret": {"secretName": "hub"}}],
        "containers": [
            {
                "name": "trainer",
                "env": [
                    {"name": "HF_TOKEN", "value": "x"},
                    {"name": "OMP_NUM_THREADS", "value": "8"},
                ],
                "volumeMounts": [{"name": "secrets", "mountPath": "/secrets"}],
            },
            {"name": "sidecar", "image": "side:1"},
        ],
    },
}


def test_pod_fields_merge_by_name() -> None:
    job = stage_job(on_cluster(podTemplate=TEMPLATE), stage(), 1, IMAGE)
    assert pod(job)["nodeSelector"] == {"gpu": "h100"}
    assert pod(job)["securityContext"]["fsGroup"] == 2000
    assert pod(job)["securityContext"]["runAsNonRoot"] is True
    assert {v["name"] for v in pod(job)["volumes"]} >= {"data", "secrets"}
    assert env(job)["HF_TOKEN"] == "x"
    assert env(job)["OMP_NUM_THREADS"] == "8"
    assert {m["mountPath"] for m in container(job)["volumeMounts"]} >= {"/data", "/secrets"}
    assert [c["name"] for c in pod(job)["containers"]] == ["trainer", "sidecar"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["llmzero.dev/search"] == "test"
    assert labels["x"] == "y"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"spec": {"restartPolicy": "Always"}}, "restartPolicy"),
        ({"spec": {"serviceAccountName": "admin"}}, "serviceAccountName"),
        ({"spec": {"hostNetwork": True}}, "hostNetwork"),
        ({"spec": {"containers": [{"name": "trainer", "image": "evil"}]}}, "spec.trainer.image"),
        (
            {"spec": {"containers": [{"name": "trainer", "env": [{"name": REQUEST_ENV}]}]}},
            REQUEST_ENV,
        ),
        (
            {
                "spec": {
                    "containers": [{"name": "trainer", "volumeMounts": [{"mountPath": "/data"}]}]
                }
            },
            "/data",
        ),
        ({"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}, "data"),
        ({"nodeSelector": {}}, "nodeSelector"),
    ],
)
def test_fields_that_we_own_are_refused_with_the_reason(
    template: dict[str, Any], says: str
) -> None:
    with pytest.raises(TemplateProblem, match=says.replace(".", r"\.")):
        stage_job(on_cluster(podTemplate=template), stage(), 1, IMAGE)


def test_merging_changes_neither_side() -> None:
    ours = pod(stage_job(on_cluster(), stage(), 1, IMAGE))
    before = json.dumps([ours, TEMPLATE], sort_keys=True)
    merge_template(ours, TEMPLATE)
    assert json.dumps([ours, TEMPLATE], sort_keys=True) == before
