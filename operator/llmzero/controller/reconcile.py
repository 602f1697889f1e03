"""One search: hear, record one completion, plan, apply, write the status last. Level-triggered."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from llmzero import strategies
from llmzero.api.base import Condition
from llmzero.api.contract import ExitCode, ResultRecord
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.spec import immutable
from llmzero.api.stage import Outcome, Phase, StageNode, StopDecision
from llmzero.api.validation import semantics
from llmzero.controller.apply import Applier, Conflict
from llmzero.controller.events import Events
from llmzero.controller.jobs import TemplateProblem, job_name, report_job
from llmzero.controller.kube import ApiError, Kube
from llmzero.controller.logs import Followers
from llmzero.controller.metrics import STAGES
from llmzero.controller.pods import PodView
from llmzero.controller.store import Group, Key, Store
from llmzero.failpoints import failpoint
from llmzero.search import lifecycle

log = logging.getLogger(__name__)

WRITE_EVERY = timedelta(seconds=30)
"""A running stage's status without news is written so often."""
FAILED_JOBS_KEPT = 3
POD_LIMIT = lifecycle.UNCOUNTED_LIMIT
"""podFailurePolicy's Ignore has no limit of its own: so many pods of one Job are enough."""
BLOCKED_AFTER = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, as far as anybody can tell."""

    code: int | None
    result: ResultRecord | None
    message: str


class Reconciler:
    """Brings one search at a time to what its objects imply."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        applier: Applier,
        followers: Followers,
        events: Events,
        image: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._store = store
        self._applier = applier
        self._followers = followers
        self._events = events
        self._image = image
        self._clock = clock

    async def reconcile(self, key: Key) -> timedelta | None:
        """When to look again at the latest; None where nothing can happen by itself.

        Raises ApiError and Conflict: then the whole is done again.
        """
        group = self._store.groups.get(key)
        if group is None or group.search is None:
            if group is not None and group.invalid:
                log.warning("search %s/%s cannot be read: %s", *key, group.invalid)
            return None
        search = group.search
        if search.metadata.deletion_timestamp is not None:
            for name in group.nodes:
                self._followers.forget((key[0], name))
            return None
        problem = self._problem(search)
        if problem:
            await self._refuse(group, problem)
            return None
        now = self._clock()
        try:
            await self._hear(group, now)
            status = await self._plan(group)
            while (found := await self._ended(group)) is not None:
                await self._complete(group, *found)
                status = await self._plan(group)
        except TemplateProblem as error:
            await self._refuse(group, str(error))
            return None
        failpoint("before-status")
        await self._write_status(group, self._blocked(group, status, now))
        await self._clean(group)
        finished = status.phase in ("Complete", "Failed")
        return None if finished and not self._under_way(group) else timedelta(seconds=10)

    # -- hearing ------------------------------------------------------------------------------

    def _under_way(self, group: Group) -> list[StageNode]:
        states = (Phase.QUEUED, Phase.RUNNING, Phase.STOPPING)
        found = [n for n in group.nodes.values() if n.status.phase in states]
        return sorted(found, key=lambda n: n.name)

    async def _hear(self, group: Group, now: datetime) -> None:
        """Every stage under way has its Job, and its newest pod is followed."""
        for node in self._under_way(group):
            stage = (group.key[0], node.name)
            attempt = node.status.attempt_count
            job = group.jobs.get(job_name(node, attempt))
            if node.status.stop is not None:
                await self._applier.stop(group, node, node.status.stop)
                continue
            if job is None:
                await self._applier.ensure_job(group, node, attempt)
                continue
            pods = group.pods_of(job.name)
            if pods and pods[-1].phase == "Running":
                self._followers.follow(stage, group.key, pods[-1].name)
            if job.finished:
                continue
            await self._note(group, node, pods[-1] if pods else None, job.suspended, now)

    async def _note(
        self, group: Group, node: StageNode, pod: PodView | None, suspended: bool, now: datetime
    ) -> None:
        """What a running stage said; silence ends its attempt. Queued time is never counted."""
        stage = (group.key[0], node.name)
        news = self._followers.news(stage)
        status = self._followers.observer(stage).status(node, now)
        running = pod is not None and pod.phase == "Running"
        if not running:
            waiting = "held by its queue" if suspended else (pod.waiting if pod else "")
            status = node.status.with_(message=waiting or node.status.message)
        heard = node.status.last_heard_at
        due = heard is None or now - heard > WRITE_EVERY
        changed = status.phase != node.status.phase or status.message != node.status.message
        if news or changed or (running and due and status.step > node.status.step):
            node = await self._applier.write(group, node, status)
        if running and pod is not None:
            started = pod.started_at()
            live = node
            if started is not None and node.status.attempts and status.last_heard_at is None:
                last = node.status.attempts[-1].with_(started_at=started)
                live = node.with_(
                    status=node.status.with_(attempts=[*node.status.attempts[:-1], last])
                )
            elif status.last_heard_at is not None:
                live = node.with_(status=status)
            reason = lifecycle.silent(group.search, live, now) if group.search else None
            if reason:
                stop = StopDecision(reason="Silent", message=reason, at=now)
                await self._applier.stop(group, node, stop)

    # -- completions --------------------------------------------------------------------------

    async def _ended(self, group: Group) -> tuple[StageNode, Ended] | None:
        """The first stage, in the order of names, whose attempt is over and can be judged."""
        for node in self._under_way(group):
            attempt = node.status.attempt_count
            job = group.jobs.get(job_name(node, attempt))
            pods = group.pods_of(job_name(node, attempt))
            if node.status.stop is not None:
                if job is None and all(p.ended for p in pods):
                    observer = self._followers.observer((group.key[0], node.name))
                    return node, Ended(None, observer.result, node.status.stop.message)
                continue
            if job is None:
                continue
            if not job.finished:
                if len(pods) > POD_LIMIT:
                    return node, Ended(1, None, f"{len(pods)} pods of one attempt were preempted")
                continue
            found = await self._judge(group, node, pods)
            if found is not None:
                return node, found
        return None

    async def _judge(self, group: Group, node: StageNode, pods: list[PodView]) -> Ended | None:
        """Termination message, else the log, else a report Job that never trains; None: not yet."""
        stage = (group.key[0], node.name)
        pod = pods[-1] if pods else None
        observer = self._followers.observer(stage)
        readable = await self._followers.read(stage, pod.name) if pod else False
        result = pod.result() if pod else None
        attempt = node.status.attempt_count
        if observer.result is not None and observer.result.attempt == attempt:
            result = observer.result
        code = pod.exit_code if pod else None
        if code == ExitCode.DONE and (result is None or not readable):
            report = job_name(node, attempt).rpartition("-")[0] + f"-r{attempt}"
            if not await self._reported(group, node, report):
                return None
            result = observer.result or result
        words = {"OOMKilled": "the container used more memory than its limit (OOMKilled)"}
        message = (
            words.get(pod.reason, pod.message[:1024] or pod.reason) if pod else "the pod is gone"
        )
        return Ended(code, result, message)

    async def _reported(self, group: Group, node: StageNode, name: str) -> bool:
        """Whether the report Job was read; it is created where it is missing."""
        job = group.jobs.get(name)
        if job is None:
            assert group.search is not None
            body = report_job(group.search, node, node.status.attempt_count, self._image)
            try:
                self._store.put_job(await self._kube.create("Job", group.key[0], body))
            except ApiError as error:
                if error.status != 409:
                    raise
            return False
        if not job.finished:
            return False
        for pod in group.pods_of(name):
            await self._followers.read((group.key[0], node.name), pod.name)
        return True

    async def _complete(self, group: Group, node: StageNode, ended: Ended) -> None:
        """Store what the end of an attempt means, then forget its Job."""
        assert group.search is not None
        now, stage = self._clock(), (group.key[0], node.name)
        heard = self._followers.observer(stage).status(node, now)
        taken = [n.status.sequence for n in group.nodes.values() if n.status.sequence is not None]
        status = lifecycle.finish(
            group.search,
            node.with_(status=heard),
            ended.code,
            ended.result,
            ended.message,
            now,
            max(taken, default=-1) + 1,
            group.nodes.get(node.spec.parent or ""),
        )
        if ended.result is None and ended.message.startswith("the container used more memory"):
            status = status.with_(reason="OOMKilled")
        failpoint("before-completion")
        node = await self._applier.write(group, node, status)
        failpoint("after-completion")
        if node.status.phase.final:
            STAGES.labels(str(node.status.outcome)).inc()
            self._followers.forget(stage)
            if node.status.phase is Phase.FAILED:
                await self._events.say(
                    group.search,
                    "StageFailed",
                    f"stage {node.spec.path}: {node.status.message}",
                    True,
                )

    # -- planning -----------------------------------------------------------------------------

    async def _plan(self, group: Group) -> SearchStatus:
        assert group.search is not None
        plan = strategies.plan(group.search, list(group.nodes.values()), self._clock())
        for decision in plan.decisions:
            failpoint("before-decision")
            await self._applier.apply(group, decision)
            failpoint("after-decision")
        return plan.status

    def _problem(self, search: TrainingSearch) -> str:
        """What admission could not see; empty where the search can run."""
        found = [p for p in semantics(search, strategies.check_options) if not p.warning]
        digest = spec_digest(search)
        if search.status.spec_digest not in ("", digest):
            return (
                "spec: an immutable field changed that admission cannot see (fixed, options, "
                "choices or initial): put it back, or make a new TrainingSearch"
            )
        return "; ".join(str(p) for p in found)

    async def _refuse(self, group: Group, problem: str) -> None:
        """Stalled, with the reason, until the spec changes."""
        assert group.search is not None
        search, now = group.search, self._clock()
        status = search.status.with_(
            observed_generation=search.metadata.generation,
            message=problem[:2048],
            conditions=with_conditions(
                search,
                now,
                ("Ready", "False", "InvalidSpec", problem),
                ("Reconciling", "False", "InvalidSpec", ""),
                ("Stalled", "True", "InvalidSpec", problem),
            ),
        )
        await self._write_status(group, status, accepted=False)
        await self._events.say(search, "InvalidSpec", problem, True)

    def _blocked(self, group: Group, status: SearchStatus, now: datetime) -> SearchStatus:
        """A pod that cannot start is shown on the search: what is missing, in plain words."""
        assert group.search is not None
        why = ""
        for node in self._under_way(group):
            began = node.status.attempts[-1].started_at if node.status.attempts else None
            old = began is not None and now - began > BLOCKED_AFTER
            if node.status.phase is Phase.QUEUED and node.status.message and old:
                why = f"stage {node.spec.path} cannot start: {node.status.message}"
                break
        known = any(c.type == "Blocked" for c in group.search.status.conditions)
        if not why and not known:
            return status
        kept = [c for c in status.conditions if c.type != "Blocked"]
        state = ("True", "StageCannotStart") if why else ("False", "StagesStart")
        blocked = with_conditions(group.search, now, ("Blocked", *state, why))
        return status.with_(
            conditions=[*kept, *(c for c in blocked if c.type == "Blocked")],
            message=(why or status.message)[:2048],
        )

    async def _write_status(
        self, group: Group, status: SearchStatus, accepted: bool = True
    ) -> None:
        """Once, last, with a version check. Raises Conflict."""
        search = group.search
        assert search is not None
        if accepted:
            status = status.with_(spec_digest=spec_digest(search))
        if status == search.status:
            return
        try:
            made = await self._kube.put_status(
                "TrainingSearch", group.key[0], search.with_(status=status).dump()
            )
        except ApiError as error:
            if error.status in (404, 409):
                raise Conflict(str(error)) from error
            raise
        before = search.status.phase
        self._store.put_search(made)
        self._store.dirty.discard(group.key)
        if status.phase != before and status.phase in ("Complete", "Failed", "Suspended"):
            await self._events.say(search, status.phase, status.message, status.phase == "Failed")

    async def _clean(self, group: Group) -> None:
        """Jobs of recorded attempts go; the last few failed ones stay to be looked at."""
        failed: list[str] = []
        for job in sorted(group.jobs.values(), key=lambda j: j.created, reverse=True):
            node = group.nodes.get(job.node)
            if node is None or job.deleting or not job.finished or job.attempt == 0:
                continue
            current = job.attempt == node.status.attempt_count and not node.status.phase.final
            if current:
                continue
            ended = next((a for a in node.status.attempts if a.number == job.attempt), None)
            good = ended is not None and ended.outcome is Outcome.SUCCEEDED
            if not good and len(failed) < FAILED_JOBS_KEPT:
                failed.append(job.name)
                continue
            await self._kube.delete("Job", group.key[0], job.name)


def spec_digest(search: TrainingSearch) -> str:
    text = json.dumps(immutable(search.spec.dump()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def with_conditions(
    search: TrainingSearch, now: datetime, *given: tuple[str, str, str, str]
) -> list[Condition]:
    """The search's conditions with these (type, status, reason, message) set."""
    known = {c.type: c for c in search.status.conditions}
    for kind, state, reason, message in given:
        old = known.get(kind)
        since = (
            old.last_transition_time if old and old.status == state else now.replace(microsecond=0)
        )
        known[kind] = Condition.model_validate(
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message[:2048],
                "observedGeneration": search.metadata.generation,
                "lastTransitionTime": since,
            }
        )
    return list(known.values())
