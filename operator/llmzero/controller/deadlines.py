"""What waits too long: silent stages, pods that cannot start, endless preemption. Pure.

No clock runs while a queue holds the Job, while no node has room (an autoscaler may be at work)
or while an image is pulled; those are shown, not ended.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase, StageNode
from llmzero.controller.jobs import GRACE_SECONDS
from llmzero.controller.pods import JobView, PodView
from llmzero.search.lifecycle import UNCOUNTED_LIMIT, silent

POD_LIMIT = UNCOUNTED_LIMIT
"""podFailurePolicy's Ignore has no limit of its own: so many pods of one Job are enough."""
VOLUMES = {
    "secret": ("Secret", "secretName"),
    "configMap": ("ConfigMap", "name"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
"""Kinds of volumes that name an object, with the field that holds its name."""
BLOCKED_AFTER = timedelta(seconds=20)
MOUNTED_AFTER = timedelta(seconds=40)
NO_POD_AFTER = timedelta(seconds=60)
STUCK_AFTER = timedelta(seconds=GRACE_SECONDS + 60)


def overdue(
    search: TrainingSearch,
    node: StageNode,
    job: JobView,
    pods: list[PodView],
    heard_at: datetime | None,
    now: datetime,
) -> str | None:
    """Why the running attempt counts as dead, or None. ``pods`` of the Job, the newest last."""
    if job.suspended or job.finished or not pods:
        return None
    if len(pods) > POD_LIMIT:
        return f"{len(pods)} pods of one attempt were preempted or drained in a row"
    pod, limit = pods[-1], search.spec.stage.start_seconds
    if pod.phase == "Running" and pod.running_since is not None:
        attempts = node.status.attempts
        last = attempts[-1].with_(started_at=pod.running_since)
        live = node.status.with_(last_heard_at=heard_at, attempts=[*attempts[:-1], last])
        return silent(search, node.with_(status=live), now)
    starts = pod.phase == "Pending" and pod.scheduled_at is not None and not pod.pulling
    if starts and pod.scheduled_at is not None and now - pod.scheduled_at > seconds(limit):
        why = f": {pod.waiting}" if pod.waiting else ""
        return f"the pod did not start within {limit} s (spec.stage.startSeconds){why}"
    return None


def blocked(
    search: TrainingSearch,
    node: StageNode,
    job: JobView | None,
    pods: list[PodView],
    now: datetime,
) -> str | None:
    """What keeps a stage from starting or ending, in words for a person, or None."""
    attempts = node.status.attempts
    began = attempts[-1].started_at if attempts else None
    if node.status.phase is Phase.STOPPING:
        told = node.status.stop.at if node.status.stop else None
        alive = [p for p in pods if not p.ended]
        if told is not None and alive and now - told > STUCK_AFTER:
            return (
                f"stage {node.spec.path} does not end: its pod {alive[0].name} is still there, "
                "its node may be lost. Once it cannot write any more: kubectl delete pod --force"
            )
        return None
    if job is None or job.finished or began is None:
        return None
    if job.suspended:
        return None
    if not pods and now - began > NO_POD_AFTER:
        return (
            f"stage {node.spec.path} cannot start: its Job {job.name} has no pod. "
            f"kubectl describe job {job.name} says why (quota, Pod Security)"
        )
    if not pods or pods[-1].phase != "Pending":
        return None
    pod = pods[-1]
    if pod.waiting and now - began > BLOCKED_AFTER:
        return f"stage {node.spec.path} cannot start: {pod.waiting}"
    if pod.mounting and now - began > MOUNTED_AFTER:
        names = ", ".join(mounted(search.spec.trainer.pod_template))
        mounts = f" spec.trainer.podTemplate mounts {names}." if names else ""
        return (
            f"stage {node.spec.path} cannot start: the volumes of its pod are not mounted.{mounts} "
            f"kubectl describe pod {pod.name} says which one is missing"
        )
    return None


def mounted(template: Mapping[str, Any]) -> list[str]:
    """The objects that a pod template's volumes need, by kind and name."""
    found = []
    for volume in (template.get("spec") or {}).get("volumes") or []:
        for field, (kind, key) in VOLUMES.items():
            if name := (volume.get(field) or {}).get(key):
                found.append(f"{kind} {name}")
    return found


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
