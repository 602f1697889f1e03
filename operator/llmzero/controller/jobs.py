"""From a stage to its Job: pure builders, restricted by default.

One Job an attempt. A pod that a node or a preemption ends is replaced by the Job controller and
resumes from the last checkpoint; every other end is ours to judge (``podFailurePolicy``).
"""

import re
from dataclasses import dataclass
from typing import Any

from llmzero.api.base import API_VERSION
from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    REQUEST_HASH_ENV,
    ROOT_ENV,
    ExitCode,
)
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.controller.labels import (
    ATTEMPT_LABEL,
    JOB_LABEL,
    MANAGED_LABEL,
    NODE_LABEL,
    SEARCH_LABEL,
)
from llmzero.controller.pods import CONTAINER
from llmzero.controller.template import TemplateProblem, merge_template
from llmzero.search.request import stage_request

DATA = "/data"
"""Where the claim is mounted; it holds one directory a search, named by its UID."""
GRACE_SECONDS = 60
USER = 1000
LAST_RESORT_SECONDS = 7 * 24 * 3600


def job_name(node: StageNode, attempt: int) -> str:
    """With an ``a``: ``x-0-1`` would read as the Job of stage 0-1."""
    return f"{node.name}-a{attempt}"


def report_name(node: StageNode) -> str:
    return f"{node.name}-r{node.status.attempt_count}"


def prune_name(node: StageNode) -> str:
    return f"{node.name}-p{len(node.status.checkpoints)}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the operator and the cluster add to a search's own words."""

    default_image: str
    one_node: bool = False
    """The claim is ReadWriteOnce: all stages have to run on one node."""


def stage_job(
    search: TrainingSearch, node: StageNode, attempt: int, setting: Setting
) -> dict[str, Any]:
    """The Job of one attempt. Raises TemplateProblem."""
    request = stage_request(search, node)
    try:
        encoded = request.encode()
    except ValueError as error:
        raise TemplateProblem(f"spec: {error}: shorten task.options or task.systemPrompt") from None
    env = {
        REQUEST_ENV: encoded,
        REQUEST_HASH_ENV: request.digest(),
        ROOT_ENV: DATA,
        ATTEMPT_ENV: str(attempt),
    }
    job = _job(search, node, job_name(node, attempt), attempt, _Work(env), setting)
    if search.spec.trainer.queue_name:
        job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = search.spec.trainer.queue_name
    return job


def prune_job(search: TrainingSearch, node: StageNode, setting: Setting) -> dict[str, Any]:
    """A Job that deletes all checkpoints that an ended stage's status does not list."""
    steps = ",".join(str(s) for s in node.status.checkpoints)
    work = _Work({}, ("prune", _folder(search, node), f"--keep={steps}"), device=False)
    return _job(search, node, prune_name(node), 0, work, setting)


def report_job(search: TrainingSearch, node: StageNode, setting: Setting) -> dict[str, Any]:
    """A Job that prints a stage's stored records again: it never trains and uses no device."""
    work = _Work({}, ("report", _folder(search, node)), device=False)
    return _job(search, node, report_name(node), 0, work, setting)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the trainer's container is to do."""

    env: dict[str, str]
    arguments: tuple[str, ...] = ()
    device: bool = True


def _folder(search: TrainingSearch, node: StageNode) -> str:
    return f"{DATA}/{search.metadata.uid}/{node.name}"


def _job(
    search: TrainingSearch,
    node: StageNode,
    name: str,
    attempt: int,
    work: _Work,
    setting: Setting,
) -> dict[str, Any]:
    labels = {
        SEARCH_LABEL: search.name,
        NODE_LABEL: node.name,
        ATTEMPT_LABEL: str(attempt),
        JOB_LABEL: name,
        MANAGED_LABEL: "llmzero",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": search.metadata.namespace,
            "labels": dict(labels),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "StageNode",
                    "name": node.name,
                    "uid": node.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LAST_RESORT_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules()},
            "template": {
                "metadata": _template_metadata(search, labels),
                "spec": _pod(search, work, setting),
            },
        },
    }


def failure_rules() -> list[dict[str, Any]]:
    """The first match wins. A Kueue preemption sets no DisruptionTarget: the trainer says it."""

    def codes(action: str, values: list[int]) -> dict[str, Any]:
        on = {"containerName": CONTAINER, "operator": "In", "values": sorted(values)}
        return {"action": action, "onExitCodes": on}

    return [
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        codes("Ignore", [ExitCode.INTERRUPTED]),
        codes(
            "FailJob",
            [int(code) for code in ExitCode if code not in (ExitCode.DONE, ExitCode.INTERRUPTED)],
        ),
    ]


def _pod(search: TrainingSearch, work: _Work, setting: Setting) -> dict[str, Any]:
    trainer, storage = search.spec.trainer, search.spec.storage
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": trainer.image or setting.default_image,
        "env": [
            *({"name": k, "value": v} for k, v in work.env.items()),
            {"name": "HOME", "value": "/home/trainer"},
            {"name": "HF_HOME", "value": f"{DATA}/.cache/huggingface"},
            {"name": "LLMZERO_CACHE", "value": f"{DATA}/.cache/llmzero"},
            {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
        ],
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "home", "mountPath": "/home/trainer"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    if not _accelerated(trainer.resources):
        # torch counts the node's cores, not the container's share, and would oversubscribe them.
        container["env"].append({"name": "OMP_NUM_THREADS", "value": _threads(trainer.resources)})
    if work.arguments:
        container["args"] = list(work.arguments)
    if trainer.image_pull_policy:
        container["imagePullPolicy"] = trainer.image_pull_policy
    if trainer.resources and work.device:
        container["resources"] = dict(trainer.resources)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            _data_volume(storage.claim_name),
            {"name": "home", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
        ],
    }
    if trainer.priority_class_name:
        pod["priorityClassName"] = trainer.priority_class_name
    if setting.one_node:
        pod["affinity"] = _beside(search)
    return merge_template(pod, trainer.pod_template)


def _accelerated(resources: dict[str, dict[str, Any]]) -> bool:
    """Whether a device beside the CPU is asked for (nvidia.com/gpu and the like)."""
    return any("/" in name for section in resources.values() for name in section)


def _threads(resources: dict[str, dict[str, Any]]) -> str:
    """Whole cores of the CPU limit, else of the request, at least one."""
    for section in ("limits", "requests"):
        cpu = str(resources.get(section, {}).get("cpu", ""))
        if re.fullmatch(r"[0-9]+m", cpu):
            return str(max(int(cpu[:-1]) // 1000, 1))
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", cpu):
            return str(max(int(float(cpu)), 1))
    return "1"


def _beside(search: TrainingSearch) -> dict[str, Any]:
    """The node where other stages of the search run: it has the volume."""
    term = {
        "labelSelector": {"matchLabels": {SEARCH_LABEL: search.name}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _data_volume(claim: str | None) -> dict[str, Any]:
    if claim is None:
        raise TemplateProblem(
            "spec.storage.claimName: found nothing, a PersistentVolumeClaim is needed on a "
            "cluster: children start from their parents' checkpoints"
        )
    return {"name": "data", "persistentVolumeClaim": {"claimName": claim}}


def _template_metadata(search: TrainingSearch, labels: dict[str, str]) -> dict[str, Any]:
    given = search.spec.trainer.pod_template.get("metadata", {})
    return {
        "labels": {**given.get("labels", {}), **labels},
        "annotations": dict(given.get("annotations", {})),
    }
