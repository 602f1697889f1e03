"""The objects that the watches have shown: small projections, and which searches are dirty."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.controller.pods import PodView, pod_view

Key = tuple[str, str]
"""Namespace and name."""

SEARCH_LABEL = "llmzero.dev/search"
NODE_LABEL = "llmzero.dev/node"
ATTEMPT_LABEL = "llmzero.dev/attempt"


@dataclass(frozen=True, slots=True)
class JobView:
    """What we need of a Job."""

    name: str
    uid: str
    node: str
    attempt: int
    suspended: bool
    finished: bool
    deleting: bool
    created: str


@dataclass(slots=True)
class Group:
    """Everything that belongs to one search."""

    key: Key
    search: TrainingSearch | None = None
    raw_spec: Any = None
    """The spec as it was written, for what the models cannot read."""
    invalid: str = ""
    nodes: dict[str, StageNode] = field(default_factory=dict)
    jobs: dict[str, JobView] = field(default_factory=dict)
    pods: dict[str, PodView] = field(default_factory=dict)

    def held(self, kind: str) -> dict[str, Any]:
        """The objects of one kind, by name."""
        by_kind: dict[str, dict[str, Any]] = {
            "StageNode": self.nodes,
            "Job": self.jobs,
            "Pod": self.pods,
        }
        return by_kind[kind]

    def jobs_of(self, node: str) -> list[JobView]:
        found = [j for j in self.jobs.values() if j.node == node]
        return sorted(found, key=lambda j: j.attempt)

    def pods_of(self, job: str) -> list[PodView]:
        """Pods of a Job, the newest last (the Job controller replaces ignored ones)."""
        found = [p for p in self.pods.values() if p.job == job]
        return sorted(found, key=lambda p: (p.created, p.name))


class Store:
    """Groups by search; ``changed`` is set whenever one becomes dirty."""

    def __init__(self) -> None:
        self.groups: dict[Key, Group] = {}
        self.dirty: set[Key] = set()
        self.changed = asyncio.Event()

    def mark(self, key: Key) -> None:
        self.dirty.add(key)
        self.changed.set()

    def group(self, namespace: str, search: str) -> Group:
        return self.groups.setdefault((namespace, search), Group((namespace, search)))

    def put_search(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        group = self.group(metadata["namespace"], metadata["name"])
        group.raw_spec = body
        try:
            search = TrainingSearch.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            group.search, group.invalid = None, f"{first['loc']}: {first['msg']}"
        else:
            if older(search.metadata.resource_version, group.search):
                return
            group.search, group.invalid = search, ""
        self.mark(group.key)

    def put_node(self, body: dict[str, Any]) -> StageNode | None:
        """The stage as stored; None where it cannot be read or belongs to nothing."""
        name = body["metadata"].get("labels", {}).get(SEARCH_LABEL)
        if not name:
            return None
        try:
            node = StageNode.model_validate(body)
        except ValidationError:
            return None
        group = self.group(body["metadata"]["namespace"], name)
        if not older(node.metadata.resource_version, group.nodes.get(node.name)):
            group.nodes[node.name] = node
            self.mark(group.key)
        return group.nodes[node.name]

    def put_job(self, body: dict[str, Any]) -> None:
        labels = body["metadata"].get("labels", {})
        if SEARCH_LABEL in labels and NODE_LABEL in labels:
            group = self.group(body["metadata"]["namespace"], labels[SEARCH_LABEL])
            group.jobs[body["metadata"]["name"]] = job_view(body)
            self.mark(group.key)

    def put_pod(self, body: dict[str, Any]) -> None:
        labels = body["metadata"].get("labels", {})
        if SEARCH_LABEL in labels and NODE_LABEL in labels:
            group = self.group(body["metadata"]["namespace"], labels[SEARCH_LABEL])
            seen = pod_view(body)
            if group.pods.get(seen.name) != seen:
                group.pods[seen.name] = seen
                self.mark(group.key)

    def remove(self, kind: str, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        if kind == "TrainingSearch":
            self.groups.pop((namespace, name), None)
            return
        label = metadata.get("labels", {}).get(SEARCH_LABEL)
        group = self.groups.get((namespace, label)) if label else None
        if group is not None:
            group.held(kind).pop(name, None)
            self.mark(group.key)

    def replace(self, kind: str, bodies: Iterable[dict[str, Any]]) -> None:
        """A full LIST takes the place of what was seen: watches lose DELETED events after a 410."""
        listed = list(bodies)
        alive = {(b["metadata"]["namespace"], b["metadata"]["name"]) for b in listed}
        for key, group in list(self.groups.items()):
            if kind == "TrainingSearch":
                if key not in alive:
                    del self.groups[key]
                continue
            held = group.held(kind)
            for name in [n for n in held if (key[0], n) not in alive]:
                del held[name]
                self.mark(key)
        put = {
            "TrainingSearch": self.put_search,
            "StageNode": self.put_node,
            "Job": self.put_job,
            "Pod": self.put_pod,
        }[kind]
        for body in listed:
            put(body)


def older(version: str | None, known: TrainingSearch | StageNode | None) -> bool:
    """Whether an event shows a state from before our own last write."""
    if known is None or not version or not known.metadata.resource_version:
        return False
    return int(version) < int(known.metadata.resource_version)


def job_view(body: dict[str, Any]) -> JobView:
    metadata, status = body["metadata"], body.get("status", {})
    ended = {c["type"] for c in status.get("conditions", []) if c.get("status") == "True"}
    labels = metadata["labels"]
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        node=labels[NODE_LABEL],
        attempt=int(labels.get(ATTEMPT_LABEL, "0")),
        suspended=bool(body.get("spec", {}).get("suspend")),
        finished=bool(ended & {"Complete", "Failed"}),
        deleting="deletionTimestamp" in metadata,
        created=metadata.get("creationTimestamp", ""),
    )
