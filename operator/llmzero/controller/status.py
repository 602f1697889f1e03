"""The status of a search on a cluster: the plan's, with what only a cluster knows."""

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from llmzero.api.base import Condition, ObjectMeta
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.spec import immutable
from llmzero.api.stage import StageNode
from llmzero.controller import deadlines
from llmzero.controller.apply import conflict, status_patch
from llmzero.controller.conditions import BLOCKED, ONE_NODE, find, with_condition
from llmzero.controller.events import Events
from llmzero.controller.jobs import job_name
from llmzero.controller.kube import Kube
from llmzero.controller.storage import Claim
from llmzero.controller.store import Group, Key, Object, Store
from llmzero.controller.transport import ApiError
from llmzero.search.room import again_at, no_room

log = logging.getLogger(__name__)

INVALID = "InvalidSpec"
COUNTS_EVERY = timedelta(seconds=10)
"""That a queued stage runs by now is stored at most so often; whatever else is new, at once."""


class SearchWriter:
    """The one status write at the end of a reconcile, and what is said beside it."""

    def __init__(
        self, kube: Kube, store: Store, events: Events, clock: Callable[[], datetime]
    ) -> None:
        self._kube = kube
        self._store = store
        self._events = events
        self._clock = clock
        self._written: dict[Key, datetime] = {}

    async def write(self, group: Group, status: SearchStatus) -> None:
        """With a version check; says an Event where the search came to rest. Raises Conflict."""
        search = group.search
        assert search is not None
        patch = status_patch(search.metadata.resource_version, search.status, status)
        if patch is None or self._can_wait(group.key, patch, status):
            return
        try:
            made = await self._kube.patch_status("TrainingSearch", group.key[0], search.name, patch)
        except ApiError as error:
            raise conflict(error) from error
        self._written[group.key] = self._clock()
        self._store.put_search(made, ours=True)
        before = search.status.phase
        if status.phase != before and status.phase in ("Complete", "Failed", "Suspended"):
            await self._events.say(search, status.phase, status.message, status.phase == "Failed")

    def _can_wait(self, key: Key, patch: Object, status: SearchStatus) -> bool:
        """While stages are under way, the search is looked at again soon."""
        if patch["status"].keys() != {"counts"} or not status.counts.queued + status.counts.running:
            return False
        written = self._written.get(key)
        return written is not None and self._clock() - written < COUNTS_EVERY

    async def begin(self, group: Group) -> None:
        """A generation that was not seen yet is Reconciling, until its first plan is applied."""
        search = group.search
        assert search is not None
        if search.status.observed_generation == search.metadata.generation:
            return
        words = "The search is being looked at."
        conditions = self._conditions(
            search.status.conditions, search.metadata, "False", "True", "False", "Accepting", words
        )
        await self.write(group, search.status.with_(conditions=conditions))

    async def refuse(self, group: Group, reason: str, problem: str) -> None:
        """Stalled, with the reason, until somebody changes something."""
        search = group.search
        assert search is not None
        conditions = self._conditions(
            search.status.conditions, search.metadata, "False", "False", "True", reason, problem
        )
        status = search.status.with_(
            observed_generation=search.metadata.generation,
            message=problem[:2048],
            conditions=conditions,
        )
        await self.write(group, status)
        await self._events.say(search, reason, problem, warning=True)

    async def refuse_unreadable(self, group: Group) -> None:
        """The schema let a spec through that our models cannot read."""
        body, problem = group.unreadable, group.problem
        assert body is not None
        metadata = ObjectMeta.model_validate(body["metadata"])
        known = [Condition.model_validate(c) for c in body.get("status", {}).get("conditions", [])]
        stalled = find(known, "Stalled")
        if stalled is not None and stalled.message == problem and stalled.status == "True":
            return
        conditions = self._conditions(known, metadata, "False", "False", "True", INVALID, problem)
        status = {
            "observedGeneration": metadata.generation,
            "message": problem[:2048],
            "conditions": [c.dump() for c in conditions],
        }
        patch = {"metadata": {"resourceVersion": metadata.resource_version}, "status": status}
        try:
            made = await self._kube.patch_status(
                "TrainingSearch", group.key[0], group.key[1], patch
            )
        except ApiError as error:
            raise conflict(error) from error
        self._store.put_search(made, ours=True)

    def dressed(
        self,
        group: Group,
        planned: SearchStatus,
        under_way: list[StageNode],
        claim: Claim | None,
    ) -> SearchStatus:
        """The plan's status with the accepted spec's hash and what keeps stages from starting."""
        search, now = group.search, self._clock()
        assert search is not None
        status = planned.with_(spec_digest=spec_digest(search))
        if claim is not None and claim.one_node:
            status = _with(status, search, ONE_NODE, "True", *_one_node(claim), now)
        why = _blocked(group, search, under_way, claim, now)
        if why:
            status = _with(status, search, BLOCKED, "True", "CannotStart", why, now)
            return status.with_(message=f"{why}. {planned.message}"[:2048])
        if find(search.status.conditions, BLOCKED) is not None:
            return _with(status, search, BLOCKED, "False", "StagesStart", "", now)
        return status

    async def tell(self, group: Group, status: SearchStatus) -> None:
        """An Event for a blocked search, once for each reason."""
        found = find(status.conditions, BLOCKED)
        if found is not None and found.status == "True" and group.search is not None:
            await self._events.say(group.search, BLOCKED, found.message, warning=True)

    def _conditions(
        self,
        conditions: list[Condition],
        metadata: ObjectMeta,
        ready: str,
        reconciling: str,
        stalled: str,
        reason: str,
        message: str,
    ) -> list[Condition]:
        for kind, state in (("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)):
            text = message if state == "True" or kind == "Ready" else ""
            conditions = with_condition(
                conditions,
                kind,
                "True" if state == "True" else "False",
                reason,
                text,
                self._clock(),
                metadata,
            )
        return conditions


def spec_digest(search: TrainingSearch) -> str:
    """Of the immutable part: CEL cannot compare untyped values, so we do."""
    text = json.dumps(immutable(search.spec.dump()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _with(
    status: SearchStatus,
    search: TrainingSearch,
    kind: str,
    state: str,
    reason: str,
    message: str,
    now: datetime,
) -> SearchStatus:
    old = find(search.status.conditions, kind)
    known = [*status.conditions, *([old] if old is not None else [])]
    conditions = with_condition(
        known, kind, "True" if state == "True" else "False", reason, message, now, search.metadata
    )
    return status.with_(conditions=conditions)


def _one_node(claim: Claim) -> tuple[str, str]:
    words = f"claim {claim.name} is {', '.join(claim.modes)}: all stages run on one node"
    if claim.one_pod:
        words += ", one at a time; set spec.strategy.parallelism to 1"
    return "ReadWriteOnce", f"{words}. ReadWriteMany lets them spread"


def _full(node: StageNode, claim: str | None) -> str:
    at, last = again_at(node), [a for a in node.status.attempts if a.finished_at][-1]
    when = f"again at {at:%H:%M:%S} UTC" if at else "again now"
    words = (
        f"{f'claim {claim}' if claim else 'the volume'} is full: stage {node.spec.path} is tried"
    )
    return f"{words} {when}, without being counted as failed. {last.message}"


def _blocked(
    group: Group,
    search: TrainingSearch,
    under_way: list[StageNode],
    claim: Claim | None,
    now: datetime,
) -> str | None:
    if claim is not None and not claim.found and under_way:
        return (
            f"PersistentVolumeClaim {claim.name} (spec.storage.claimName) is not there: create it "
            f"in namespace {group.key[0]}"
        )
    full = sorted((n for n in group.nodes.values() if no_room(n)), key=lambda n: n.name)
    if full:
        return _full(full[0], claim.name if claim is not None else None)
    for node in under_way:
        name = job_name(node, node.status.attempt_count)
        job, pods = group.jobs.get(name), group.pods_of(name)
        words = deadlines.blocked(search, node, job, pods, now)
        if words:
            return words
    return None
