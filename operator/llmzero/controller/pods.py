"""Reading pods: a small view, and what a person should know while one does not start."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from llmzero.api.contract import ResultRecord, parse_record

CONTAINER = "trainer"
WAITING_IS_NORMAL = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class PodView:
    """What we need of a pod."""

    name: str
    job: str
    node: str
    created: str
    phase: str
    exit_code: int | None
    reason: str
    """Of the terminated container (OOMKilled) or of the pod (Evicted)."""
    message: str
    """Termination message of the container."""
    waiting: str
    """Why it does not start, in words; empty while it starts normally."""
    running_since: str
    deleting: bool

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    def started_at(self) -> datetime | None:
        return datetime.fromisoformat(self.running_since) if self.running_since else None

    def result(self) -> ResultRecord | None:
        """The result in the termination message, where it holds one."""
        if not self.message.startswith("{"):
            return None
        try:
            record = parse_record(self.message)
        except (ValidationError, ValueError):
            return None
        return record if isinstance(record, ResultRecord) else None


def pod_view(body: dict[str, Any]) -> PodView:
    metadata, status = body["metadata"], body.get("status", {})
    container: dict[str, Any] = next(
        (c for c in status.get("containerStatuses", []) if c.get("name") == CONTAINER), {}
    )
    state = container.get("state", {})
    terminated, waiting = state.get("terminated", {}), state.get("waiting", {})
    labels = metadata.get("labels", {})
    return PodView(
        name=metadata["name"],
        job=labels.get("batch.kubernetes.io/job-name") or labels.get("job-name", ""),
        node=labels.get("llmzero.dev/node", ""),
        created=metadata.get("creationTimestamp", ""),
        phase=status.get("phase", "Pending"),
        exit_code=terminated.get("exitCode"),
        reason=terminated.get("reason") or status.get("reason", ""),
        message=(terminated.get("message") or "")[:4096],
        waiting=_why_waiting(waiting, status),
        running_since=(state.get("running") or terminated).get("startedAt") or "",
        deleting="deletionTimestamp" in metadata,
    )


def _why_waiting(waiting: dict[str, Any], status: dict[str, Any]) -> str:
    reason = waiting.get("reason", "")
    if reason and reason not in WAITING_IS_NORMAL:
        return f"{reason}: {waiting.get('message', '')}".strip(": ")[:500]
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"[:500]
    return ""
