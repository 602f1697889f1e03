"""The plan's decisions as API calls, each idempotent, each stored before its effect."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from llmzero.api.base import Model
from llmzero.api.stage import StageNode, StageStatus, StopDecision
from llmzero.controller.asking import Asking
from llmzero.controller.conditions import DELETING, PRUNED, with_condition
from llmzero.controller.jobs import Setting, job_name, prune_job, stage_job
from llmzero.controller.kube import Kube
from llmzero.controller.logs import Followers
from llmzero.controller.metrics import DECISIONS
from llmzero.controller.storage import Claims
from llmzero.controller.store import Group, Store
from llmzero.controller.transport import ApiError, Object
from llmzero.failpoints import failpoint
from llmzero.search.decisions import (
    Ask,
    Create,
    Decision,
    Expand,
    MarkAudit,
    Prune,
    Review,
    Start,
    Stop,
)
from llmzero.search.lifecycle import begin, request_stop


class Conflict(Exception):
    """What was seen is not the newest: see again, plan again."""


class Applier:
    """Writes of one operator; the store learns of each at once."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        followers: Followers,
        asking: Asking,
        claims: Claims,
        image: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._store = store
        self._followers = followers
        self._asking = asking
        self._claims = claims
        self._image = image
        self._clock = clock

    async def apply(self, group: Group, decision: Decision) -> None:
        """Raises ApiError, Conflict, TemplateProblem."""
        DECISIONS.labels(type(decision).__name__).inc()
        match decision:
            case Create(node=node):
                await self._create(group, node)
            case Expand(node=name, expansion=expansion):
                node = group.nodes[name]
                await self.write(group, node, node.status.with_(expansion=expansion))
            case Start(node=name, attempt=attempt):
                await self._start(group, group.nodes[name], attempt)
            case Stop(node=name, stop=stop):
                await self.stop(group, group.nodes[name], stop)
            case MarkAudit(node=name, audit=audit):
                node = group.nodes[name]
                await self.write(group, node, node.status.with_(audit=audit))
            case Prune(node=name, keep=keep):
                await self._prune(group, group.nodes[name], keep)
            case Ask() | Review():
                assert group.search is not None
                self._asking.ask(group.key, decision, group.search.spec)

    async def write(self, group: Group, node: StageNode, status: StageStatus) -> StageNode:
        """A stage's status with a version check. Raises Conflict."""
        status = status.with_(observed_generation=node.metadata.generation)
        patch = status_patch(node.metadata.resource_version, node.status, status)
        if patch is None:
            return node
        try:
            made = await self._kube.patch_status("StageNode", group.key[0], node.name, patch)
        except ApiError as error:
            raise conflict(error) from error
        return self._store.put_node(made, ours=True) or node

    async def setting(self, group: Group) -> Setting:
        assert group.search is not None
        claim = await self._claims.look(group.key[0], group.search.spec.storage.claim_name)
        return Setting(self._image, claim is not None and claim.one_node)

    async def ensure_job(self, group: Group, node: StageNode, attempt: int) -> None:
        """The Job of an attempt exists; creating twice is creating once."""
        assert group.search is not None
        body = stage_job(group.search, node, attempt, await self.setting(group))
        await self.create_job(group, node, body)

    async def create_job(self, group: Group, node: StageNode, body: Object) -> None:
        """Raises ApiError where a Job of this name is not ours."""
        name = body["metadata"]["name"]
        try:
            made = await self._kube.create("Job", group.key[0], body)
        except ApiError as error:
            if error.status != 409:
                raise
            found = await self._kube.get("Job", group.key[0], name)
            if found is None:
                raise Conflict(f"Job {name} went away again") from error
            owners = found["metadata"].get("ownerReferences", [])
            if not any(o["uid"] == node.metadata.uid for o in owners):
                text = f"Job {name} exists and is not ours: delete it, the stage needs the name"
                raise ApiError(422, text) from error
            made = found
        self._store.put_job(made, ours=True)

    async def stop(self, group: Group, node: StageNode, stop: StopDecision) -> None:
        """Decision, curve and checkpoints are stored, then the Job goes with its pods."""
        if node.status.stop is None:
            heard = node.with_(status=self._followers.status(group.key[0], node))
            await self.write(group, node, request_stop(heard, stop))
            failpoint("after-stop-stored")
        job = group.jobs.get(job_name(node, node.status.attempt_count))
        if job is None or job.deleting:
            return
        # In the foreground: while the Job is there, its pods may be.
        if not await self._kube.delete("Job", group.key[0], job.name, foreground=True):
            del group.jobs[job.name]  # gone before the watch began: nobody will say so

    async def _create(self, group: Group, node: StageNode) -> None:
        if node.name in group.nodes:
            return
        assert group.search is not None
        body = node.dump()
        del body["status"]
        try:
            made = await self._kube.create("StageNode", group.key[0], body)
        except ApiError as error:
            if error.status != 409:
                raise
            found = await self._kube.get("StageNode", group.key[0], node.name)
            if found is None or found["spec"]["search"]["uid"] != group.search.metadata.uid:
                raise Conflict(f"StageNode {node.name} of another search is there") from error
            made = found
        self._store.put_node(made, ours=True)

    async def _start(self, group: Group, node: StageNode, attempt: int) -> None:
        """Only once every pod of an earlier attempt is terminal or gone: two would write at once."""
        if group.living(node.name):
            return
        node = await self.write(group, node, begin(node, attempt, self._clock()))
        failpoint("after-begin")
        await self.ensure_job(group, node, attempt)
        failpoint("after-job")

    async def _prune(self, group: Group, node: StageNode, keep: tuple[int, ...]) -> None:
        """Written down first: what the status does not list, nothing branches from."""
        kept = [s for s in node.status.checkpoints if s in keep]
        if kept == node.status.checkpoints:
            return
        told = with_condition(
            node.status.conditions, PRUNED, "False", DELETING, "", self._clock(), node.metadata
        )
        status = node.status.with_(checkpoints=kept, conditions=told)
        node = await self.write(group, node, status)
        failpoint("after-prune-stored")
        await self.ensure_pruned(group, node)

    async def ensure_pruned(self, group: Group, node: StageNode) -> None:
        """The Job that deletes what the status no longer lists exists."""
        assert group.search is not None
        body = prune_job(group.search, node, await self.setting(group))
        await self.create_job(group, node, body)


def conflict(error: ApiError) -> Conflict | ApiError:
    """What a refused status write means: gone, or changed by somebody else."""
    return Conflict(str(error)) if error.status in (404, 409) else error


def status_patch(version: str | None, old: Model, new: Model) -> Object | None:
    """A merge patch that holds only on this version; None where nothing changed."""
    if old == new:
        return None
    # A packed curve that did not change is not worth unpacking.
    same = {f for f in type(new).model_fields if getattr(old, f) is getattr(new, f)}
    changed = merge_patch(_plain(old, same), _plain(new, same))
    if not changed:
        return None
    return {"metadata": {"resourceVersion": version}, "status": changed}


def merge_patch(old: Object, new: Object) -> Object:
    """RFC 7386: what turns ``old`` into ``new``; lists are replaced as a whole."""
    found: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                found[key] = inner
        elif value != before or key not in old:
            found[key] = value
    return found


def _plain(status: Model, leave_out: set[str]) -> Object:
    """Through JSON text, where NaN becomes null."""
    text = status.model_dump_json(by_alias=True, exclude_none=True, exclude=leave_out)
    plain: Object = from_json(text)
    return plain
