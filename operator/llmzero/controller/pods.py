"""Reading Jobs and pods: small views, and what a person should know while one does not start."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from llmzero.api.contract import ResultRecord, parse_record
from llmzero.controller.labels import ATTEMPT_LABEL, NODE_LABEL

CONTAINER = "trainer"
STARTING = ("ContainerCreating", "PodInitializing")
PULLING = ("ErrImagePull", "ImagePullBackOff")


@dataclass(frozen=True, slots=True)
class JobView:
    """What we need of a Job."""

    name: str
    version: int
    node: str
    attempt: int
    """0 for the Jobs that report or prune."""
    suspended: bool
    complete: bool
    failed: bool
    deleting: bool
    created: datetime | None

    @property
    def finished(self) -> bool:
        return self.complete or self.failed


def job_view(body: dict[str, Any]) -> JobView:
    metadata, status = body["metadata"], body.get("status", {})
    ended = _conditions(status)
    labels = metadata["labels"]
    return JobView(
        name=metadata["name"],
        version=int(metadata.get("resourceVersion") or 0),
        node=labels[NODE_LABEL],
        attempt=int(labels.get(ATTEMPT_LABEL, "0")),
        suspended=bool(body.get("spec", {}).get("suspend")),
        complete=ended.get("Complete") == "True",
        failed=ended.get("Failed") == "True",
        deleting="deletionTimestamp" in metadata,
        created=_time(metadata.get("creationTimestamp")),
    )


@dataclass(frozen=True, slots=True)
class PodView:
    """What we need of a pod."""

    name: str
    version: int
    job: str
    node: str
    created: str
    phase: str
    exit_code: int | None
    """Of the trainer's container."""
    reason: str
    """Of the terminated container (OOMKilled) or of the pod (Evicted)."""
    message: str
    """Termination message of the container."""
    waiting: str
    """Why it does not start, in words; empty while it starts normally."""
    mounting: bool
    """Its volumes are not mounted yet: one may be missing, which only its events say."""
    pulling: bool
    """Its image is being pulled, or cannot be: no deadline runs."""
    scheduled_at: datetime | None
    running_since: datetime | None
    disrupted: bool
    """Preempted, drained or evicted: the Job controller replaces it."""
    deleting: bool

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def replaced(self) -> bool:
        """Whether, after this end, the Job's own word has to be waited for."""
        return self.disrupted or self.exit_code is None

    def same(self, other: "PodView") -> bool:
        """Whether nothing but the version differs."""
        return replace(self, version=other.version) == other

    def result(self) -> ResultRecord | None:
        """The result in the termination message, where it holds one."""
        if not self.message.startswith("{"):
            return None
        try:
            record = parse_record(self.message)
        except ValueError:
            return None
        return record if isinstance(record, ResultRecord) else None


def pod_view(body: dict[str, Any]) -> PodView:
    metadata, status = body["metadata"], body.get("status", {})
    container: dict[str, Any] = next(
        (c for c in status.get("containerStatuses", []) if c.get("name") == CONTAINER), {}
    )
    state = container.get("state", {})
    terminated, waiting = state.get("terminated", {}), state.get("waiting", {})
    labels, conditions = metadata.get("labels", {}), _conditions(status)
    reason = waiting.get("reason", "")
    sandbox = conditions.get("PodReadyToStartContainers") == "True"
    return PodView(
        name=metadata["name"],
        version=int(metadata.get("resourceVersion") or 0),
        job=labels.get("batch.kubernetes.io/job-name") or labels.get("job-name", ""),
        node=labels.get(NODE_LABEL, ""),
        created=metadata.get("creationTimestamp", ""),
        phase=status.get("phase", "Pending"),
        exit_code=terminated.get("exitCode"),
        reason=terminated.get("reason") or status.get("reason", ""),
        message=(terminated.get("message") or "")[:4096],
        waiting=_why_waiting(waiting, status),
        mounting=reason in STARTING and not sandbox,
        pulling=reason in PULLING or (reason in STARTING and sandbox),
        scheduled_at=_since(status, "PodScheduled"),
        running_since=_time((state.get("running") or terminated).get("startedAt")),
        disrupted=conditions.get("DisruptionTarget") == "True",
        deleting="deletionTimestamp" in metadata,
    )


def _why_waiting(waiting: dict[str, Any], status: dict[str, Any]) -> str:
    reason = waiting.get("reason", "")
    if reason and reason not in STARTING:
        return f"{reason}: {waiting.get('message', '')}".strip(": ")[:500]
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"[:500]
    return ""


def _conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c.get("type", ""): c.get("status", "") for c in status.get("conditions", [])}


def _since(status: dict[str, Any], kind: str) -> datetime | None:
    """Since when a condition is True."""
    for condition in status.get("conditions", []):
        if condition.get("type") == kind and condition.get("status") == "True":
            return _time(condition.get("lastTransitionTime"))
    return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
