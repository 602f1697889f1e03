"""One search: hear, record one completion, plan, apply, write the status last. Level-triggered."""

from collections.abc import Callable
from datetime import datetime, timedelta

from llmzero import strategies
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import Phase, StageNode
from llmzero.api.validation import semantics
from llmzero.controller import retention
from llmzero.controller.apply import Applier
from llmzero.controller.conditions import PRUNED, find
from llmzero.controller.ends import Ended, Ends
from llmzero.controller.events import Events
from llmzero.controller.hearing import Hearing
from llmzero.controller.jobs import prune_name
from llmzero.controller.kube import Kube
from llmzero.controller.labels import JOB_LABEL
from llmzero.controller.logs import Followers
from llmzero.controller.metrics import STAGES
from llmzero.controller.status import INVALID, SearchWriter, spec_digest
from llmzero.controller.storage import Claims
from llmzero.controller.store import Group, Key, Store
from llmzero.controller.template import TemplateProblem
from llmzero.failpoints import failpoint
from llmzero.search import lifecycle
from llmzero.search.room import no_room

AGAIN = timedelta(seconds=10)
"""Deadlines are looked at so often while stages are under way."""
SLOW = timedelta(seconds=60)
"""How long a Job to delete waits for others."""


class Reconciler:
    """Brings one search at a time to what its objects imply."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        applier: Applier,
        followers: Followers,
        claims: Claims,
        events: Events,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._store = store
        self._applier = applier
        self._followers = followers
        self._claims = claims
        self._events = events
        self._clock = clock
        self._hearing = Hearing(applier, followers, clock)
        self._ends = Ends(kube, applier, followers, clock)
        self.writer = SearchWriter(kube, store, events, clock)
        self._disposable: dict[Key, dict[str, datetime]] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """When to look again at the latest; None where nothing can happen by itself.

        Raises ApiError and Conflict: then the whole is done again.
        """
        group = self._store.groups.get(key)
        if group is None or group.search is None:
            if group is not None and group.unreadable is not None:
                await self.writer.refuse_unreadable(group)
            return None
        if group.search.metadata.deletion_timestamp is not None:
            for name in group.nodes:
                self._hearing.forget((key[0], name))
            return None
        problem = problem_of(group.search)
        if problem:
            await self.writer.refuse(group, INVALID, problem)
            return None
        await self.writer.begin(group)
        try:
            await self._hear(group)
            status = await self._plan(group)
            while (found := await self._ends.next(group, under_way(group))) is not None:
                await self._complete(group, *found)
                status = await self._plan(group)
        except TemplateProblem as error:
            await self.writer.refuse(group, INVALID, str(error))
            return None
        failpoint("before-status")
        claim = await self._claims.look(key[0], group.search.spec.storage.claim_name)
        status = self.writer.dressed(group, status, under_way(group), claim)
        await self.writer.write(group, status)
        await self.writer.tell(group, status)
        return await self._tidy(group)

    async def _hear(self, group: Group) -> None:
        for node in under_way(group):
            await self._hearing.hear(group, node)

    async def _complete(self, group: Group, name: str, ended: Ended) -> None:
        """Stores what the end of an attempt means; what was heard goes with it."""
        search, node, namespace = group.search, group.nodes[name], group.key[0]
        assert search is not None
        taken = (n.status.sequence for n in group.nodes.values())
        status = lifecycle.finish(
            search,
            node.with_(status=self._followers.status(namespace, node)),
            ended.code,
            ended.result,
            ended.message,
            self._clock(),
            max((s for s in taken if s is not None), default=-1) + 1,
            group.nodes.get(node.spec.parent or ""),
            reason=ended.reason,
        )
        failpoint("before-completion")
        node = await self._applier.write(group, node, status)
        failpoint("after-completion")
        group.live.pop(name, None)
        if node.status.phase.final:
            STAGES.labels(str(node.status.outcome)).inc()
            self._hearing.forget((namespace, name))
        if node.status.phase is Phase.FAILED:
            words = f"stage {node.spec.path}: {node.status.reason}: {node.status.message}"
            await self._events.say(search, "StageFailed", words, warning=True)

    async def _plan(self, group: Group) -> SearchStatus:
        assert group.search is not None
        plan = strategies.plan(group.search, list(group.nodes.values()), self._clock())
        for decision in plan.decisions:
            failpoint("before-decision")
            await self._applier.apply(group, decision)
            failpoint("after-decision")
        return plan.status

    async def _tidy(self, group: Group) -> timedelta | None:
        """Finishes what retention began, and deletes Jobs whose result is recorded."""
        pruning = [n for n in group.nodes.values() if _is_pruning(n)]
        for node in pruning:
            await self._pruned(group, node)
        waiting = self._disposable.setdefault(group.key, {})
        names = retention.due(group, waiting, self._clock())
        if names:
            await self._kube.delete_jobs(group.key[0], f"{JOB_LABEL} in ({','.join(names)})")
        if under_way(group) or pruning or any(no_room(n) for n in group.nodes.values()):
            return AGAIN
        return SLOW if waiting else None

    async def _pruned(self, group: Group, node: StageNode) -> None:
        job = group.jobs.get(prune_name(node))
        if job is None:
            await self._applier.ensure_pruned(group, node)
        elif job.finished:
            conditions = [c for c in node.status.conditions if c.type != PRUNED]
            await self._applier.write(group, node, node.status.with_(conditions=conditions))


def under_way(group: Group) -> list[StageNode]:
    """Stages with an attempt that was not recorded yet, in the order of names."""
    states = (Phase.QUEUED, Phase.RUNNING, Phase.STOPPING)
    found = [n for n in group.nodes.values() if n.status.phase in states]
    return sorted(found, key=lambda n: n.name)


def problem_of(search: TrainingSearch) -> str:
    """What admission could not see; empty where the search can run."""
    if search.status.spec_digest not in ("", spec_digest(search)):
        return (
            "spec: a field changed that must not, where admission cannot see it (fixed, options, "
            "choices, initial or podTemplate): put it back, or make a new TrainingSearch"
        )
    found = semantics(search, strategies.check_options)
    return "; ".join(str(p) for p in found if not p.warning)


def _is_pruning(node: StageNode) -> bool:
    return bool(node.status.conditions) and find(node.status.conditions, PRUNED) is not None
