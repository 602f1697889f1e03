"""Stages under way: each has its Job, its newest pod is followed, what it says is stored."""

from collections.abc import Callable
from datetime import datetime, timedelta

from llmzero.api.stage import Phase, StageNode, StopDecision
from llmzero.controller.apply import Applier
from llmzero.controller.deadlines import overdue
from llmzero.controller.jobs import job_name
from llmzero.controller.logs import Followers
from llmzero.controller.pods import JobView, PodView
from llmzero.controller.store import Group, Key

NEWS_EVERY = timedelta(seconds=10)
"""Evaluations and checkpoints are stored at most so often."""
STEPS_EVERY = timedelta(seconds=60)
QUEUED = "held by its queue"


class Hearing:
    """Looks after the stages under way of one search."""

    def __init__(
        self, applier: Applier, followers: Followers, clock: Callable[[], datetime]
    ) -> None:
        self._applier = applier
        self._followers = followers
        self._clock = clock
        self._written: dict[Key, datetime] = {}

    async def hear(self, group: Group, node: StageNode) -> None:
        """Raises ApiError, Conflict, TemplateProblem."""
        attempt = node.status.attempt_count
        name = job_name(node, attempt)
        job, pods = group.jobs.get(name), group.pods_of(name)
        if node.status.stop is not None:
            await self._applier.stop(group, node, node.status.stop)
            return
        if job is None:
            # The operator was killed before it made the Job, or somebody deleted it.
            if not group.living(node.name):
                await self._applier.ensure_job(group, node, attempt)
            return
        if job.finished or job.deleting:
            return
        stage = (group.key[0], node.name)
        if pods and pods[-1].ended and not job.suspended:
            return  # over, or soon replaced
        if pods and pods[-1].phase == "Running":
            self._followers.follow(stage, group.key, pods[-1].name)
        await self._note(group, node, job, pods)

    def forget(self, stage: Key) -> None:
        self._written.pop(stage, None)
        self._followers.forget(stage)

    async def _note(self, group: Group, node: StageNode, job: JobView, pods: list[PodView]) -> None:
        """Stores what is new; ends an attempt that is overdue."""
        now, stage = self._clock(), (group.key[0], node.name)
        heard, pod = self._followers.heard(stage), pods[-1] if pods else None
        if pod is not None and pod.phase == "Running":
            status = group.live[node.name] = self._followers.status(group.key[0], node)
            if status.phase is Phase.RUNNING:
                status = status.with_(message="")
        else:
            words = QUEUED if job.suspended else (pod.waiting if pod else "")
            status = node.status.with_(phase=Phase.QUEUED, message=words)
        moved = (status.phase, status.message) != (node.status.phase, node.status.message)
        since = now - self._written.get(stage, datetime.min.replace(tzinfo=now.tzinfo))
        news = heard.news and since >= NEWS_EVERY
        stepped = status.step > node.status.step and since >= STEPS_EVERY
        if moved or news or stepped:
            heard.news, self._written[stage] = False, now
            node = await self._applier.write(group, node, status)
        reason = overdue(group.search, node, job, pods, heard.at, now) if group.search else None
        if reason:
            stop = StopDecision(reason="Silent", message=reason, at=now)
            await self._applier.stop(group, node, stop)
