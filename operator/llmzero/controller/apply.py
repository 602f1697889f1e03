"""The plan's decisions as API calls, each idempotent, each stored before its effect."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import datetime

from llmzero.api.base import ObjectMeta
from llmzero.api.proposals import Answered, Expansion, VerdictAnswer
from llmzero.api.stage import Audit, StageNode, StageStatus, StopDecision
from llmzero.client.proposer import Proposer
from llmzero.controller.jobs import job_name, prune_job, stage_job
from llmzero.controller.kube import ApiError, Kube
from llmzero.controller.metrics import DECISIONS
from llmzero.controller.store import Group, Store
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
        proposer: Proposer,
        image: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._store = store
        self._proposer = proposer
        self._image = image
        self._clock = clock
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def apply(self, group: Group, decision: Decision) -> None:
        """Raises ApiError, Conflict, TemplateProblem."""
        DECISIONS.labels(type(decision).__name__).inc()
        search = group.search
        assert search is not None
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
            case Ask(node=name, request=request):
                self._ask(request.request_id, self._answer(group, name, decision))
            case Review(node=name, request=verdict):
                self._ask(verdict.request_id, self._verdict(group, name, decision))

    async def write(self, group: Group, node: StageNode, status: StageStatus) -> StageNode:
        """A stage's status with a version check. Raises Conflict."""
        if status == node.status:
            return node
        body = node.with_(status=_shown(node, status)).dump()
        try:
            made = await self._kube.put_status("StageNode", group.key[0], body)
        except ApiError as error:
            if error.status in (404, 409):
                raise Conflict(str(error)) from error
            raise
        return self._store.put_node(made) or node

    async def ensure_job(self, group: Group, node: StageNode, attempt: int) -> None:
        """The Job of an attempt exists; creating twice is creating once."""
        assert group.search is not None
        body = stage_job(group.search, node, attempt, self._image)
        try:
            made = await self._kube.create("Job", group.key[0], body)
        except ApiError as error:
            if error.status != 409:
                raise
            found = await self._kube.get("Job", group.key[0], job_name(node, attempt))
            if found is None:
                raise Conflict("the Job went away again") from error
            owners = found["metadata"].get("ownerReferences", [])
            if not any(o["uid"] == node.metadata.uid for o in owners):
                raise ApiError(
                    409, f"Job {job_name(node, attempt)} exists and is not ours"
                ) from error
            made = found
        self._store.put_job(made)

    async def stop(self, group: Group, node: StageNode, stop: StopDecision) -> None:
        """Decision, curve and checkpoints are stored, then the Job goes with its pods."""
        if node.status.stop is None:
            node = await self.write(group, node, request_stop(node, stop))
            failpoint("after-stop-stored")
        for job in group.jobs_of(node.name):
            if not job.deleting:
                await self._kube.delete("Job", group.key[0], job.name)

    async def _create(self, group: Group, node: StageNode) -> None:
        if node.name in group.nodes:
            return
        assert group.search is not None
        body = node.with_(metadata=_in_namespace(node.metadata, group.key[0])).dump()
        body.pop("status", None)
        for reference in body["metadata"].get("ownerReferences", []):
            reference["uid"] = group.search.metadata.uid
        try:
            made = await self._kube.create("StageNode", group.key[0], body)
        except ApiError as error:
            if error.status != 409:
                raise
            found = await self._kube.get("StageNode", group.key[0], node.name)
            if found is None or found["spec"]["search"]["uid"] != group.search.metadata.uid:
                # Of a deleted namesake: the garbage collector will take it.
                raise Conflict(f"StageNode {node.name} of another search is still there") from error
            made = found
        self._store.put_node(made)

    async def _start(self, group: Group, node: StageNode, attempt: int) -> None:
        """Only once every pod of an earlier attempt is terminal or gone: two would write at once."""
        alive = [p for p in group.pods.values() if p.node == node.name and not p.ended]
        if alive:
            return
        node = await self.write(group, node, begin(node, attempt, self._clock()))
        failpoint("after-begin")
        await self.ensure_job(group, node, attempt)
        failpoint("after-job")

    async def _prune(self, group: Group, node: StageNode, keep: tuple[int, ...]) -> None:
        """Written down first: what the status does not list, nothing branches from."""
        assert group.search is not None
        if not set(node.status.checkpoints) - set(keep):
            return
        body = prune_job(group.search, node, keep, self._image)
        kept = [s for s in node.status.checkpoints if s in keep]
        await self.write(group, node, node.status.with_(checkpoints=kept))
        with contextlib.suppress(ApiError):
            await self._kube.create("Job", group.key[0], body)

    def _ask(self, request_id: str, work: Coroutine[None, None, None]) -> None:
        """Once at a time; the plan asks again until the answer is stored."""
        known = self._asking.get(request_id)
        if known is not None and not known.done():
            work.close()
            return
        self._asking = {k: t for k, t in self._asking.items() if not t.done()}
        self._asking[request_id] = asyncio.create_task(work)

    async def _answer(self, group: Group, name: str, ask: Ask) -> None:
        assert group.search is not None
        answer = await self._proposer.propose(ask.request, group.search.spec.agent)
        await self._keep(group, name, lambda node: _with_answer(node.status, answer))

    async def _verdict(self, group: Group, name: str, review: Review) -> None:
        assert group.search is not None
        answer = await self._proposer.review(review.request, group.search.spec.agent)
        now = self._clock()
        if answer.verdict == "continue":
            await self._keep(group, name, lambda node: _vetoed(node.status, answer, now))
            return
        stop = StopDecision(reason="CurveBelowBest", message=answer.reason[:1024], at=now)
        await self._keep(group, name, lambda node: request_stop(node, stop))

    async def _keep(
        self, group: Group, name: str, change: Callable[[StageNode], StageStatus]
    ) -> None:
        """Store an answer, however often somebody else writes first."""
        for _ in range(20):
            node = group.nodes.get(name)
            if node is None:
                return
            try:
                await self.write(group, node, change(node))
            except (Conflict, ApiError):
                await asyncio.sleep(0.5)
                fresh = await self._kube.get("StageNode", group.key[0], name)
                if fresh is not None:
                    self._store.put_node(fresh)
            else:
                break
        self._store.mark(group.key)


def _shown(node: StageNode, status: StageStatus) -> StageStatus:
    """With what kubectl's columns show."""
    indent = "  " * node.spec.path.count("-")
    changed = ", ".join(f"{c.name}={c.new}" for c in node.spec.changes) or (
        "continue" if node.spec.parent else ""
    )
    return status.with_(
        observed_generation=node.metadata.generation,
        tree=f"{indent}{node.spec.path}"[-255:],
        changed=changed[:255],
    )


def _in_namespace(metadata: ObjectMeta, namespace: str) -> ObjectMeta:
    return metadata.model_copy(update={"namespace": namespace})


def _with_answer(status: StageStatus, answer: Answered) -> StageStatus:
    before = status.expansion or Expansion()
    if any(a.request_id == answer.request_id for a in before.answers):
        return status
    return status.with_(expansion=before.with_(answers=[*before.answers, answer]))


def _vetoed(status: StageStatus, answer: VerdictAnswer, now: datetime) -> StageStatus:
    audit = Audit(message=f"vetoed: {answer.reason}"[:1024], at=now, step=status.step)
    return status if status.phase.final else status.with_(audit=audit)
