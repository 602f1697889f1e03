"""How an attempt ended: from the pod's exit code, else the Job's word; the result from the
termination message, else the log, else a report Job that never trains."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from llmzero.api.contract import ExitCode, ResultRecord
from llmzero.api.stage import StageNode
from llmzero.controller.apply import Applier
from llmzero.controller.jobs import job_name, report_job, report_name
from llmzero.controller.kube import Kube
from llmzero.controller.logs import Followers
from llmzero.controller.pods import JobView, PodView
from llmzero.controller.store import Group

OOM_KILLED = "OOMKilled"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, as far as anybody can tell."""

    code: int | None
    result: ResultRecord | None
    message: str
    reason: str = ""


def is_over(node: StageNode, job: JobView | None, pods: list[PodView]) -> bool:
    """Whether nothing of the attempt runs or will run. ``pods`` of the Job, the newest last.

    A pod that failed for good is believed at once: the Job's own word comes a second later. One
    that a node, a preemption or SIGTERM ended is replaced, unless the Job says that it is not.
    """
    if any(not pod.ended for pod in pods):
        return False
    if node.status.stop is not None:
        return job is None
    if job is None:
        return False
    if job.finished:
        return True
    last = pods[-1] if pods else None
    return last is not None and not last.replaced and last.exit_code != ExitCode.INTERRUPTED


class Ends:
    """Finds out how attempts ended."""

    def __init__(
        self, kube: Kube, applier: Applier, followers: Followers, clock: Callable[[], datetime]
    ) -> None:
        self._kube = kube
        self._applier = applier
        self._followers = followers
        self._clock = clock

    async def next(self, group: Group, under_way: list[StageNode]) -> "tuple[str, Ended] | None":
        """The first stage, in the order of names, whose attempt is over and can be judged."""
        for node in under_way:
            name = job_name(node, node.status.attempt_count)
            job, pods = group.jobs.get(name), group.pods_of(name)
            if is_over(node, job, pods):
                found = await self._judge(group, node, job, pods)
                if found is not None:
                    return node.name, found
        return None

    async def _judge(
        self, group: Group, node: StageNode, job: JobView | None, pods: list[PodView]
    ) -> Ended | None:
        """None where a report Job has still to be waited for."""
        stage, pod = (group.key[0], node.name), pods[-1] if pods else None
        heard, attempt = self._followers.heard(stage), node.status.attempt_count
        code = pod.exit_code if pod else None
        if code is None and job is not None and job.complete:
            code = ExitCode.DONE

        def told() -> ResultRecord | None:
            found = heard.observer.result
            return found if found is not None and found.attempt == attempt else None

        result = told()
        if result is None or (code is not None and result.exit_code != code):
            readable = await self._followers.read(stage, pod.name) if pod else False
            result = told() or (pod.result() if pod else None)
            if code == ExitCode.DONE and (result is None or not readable):
                if not await self._reported(group, node):
                    return None
                # A report tells of whatever attempt came to the end.
                result = heard.observer.result or result
        if node.status.stop is not None and pod is None and result is None:
            return Ended(None, None, node.status.stop.message)
        return Ended(code, result, *_words(pod))

    async def _reported(self, group: Group, node: StageNode) -> bool:
        """Whether the report Job was read (or waited for in vain); it is created if missing."""
        assert group.search is not None
        name = report_name(node)
        job = group.jobs.get(name)
        if job is None:
            body = report_job(group.search, node, await self._applier.setting(group))
            await self._applier.create_job(group, node, body)
            return False
        if not job.finished:
            limit = timedelta(seconds=group.search.spec.stage.start_seconds)
            return job.created is not None and self._clock() - job.created > limit
        for pod in group.pods_of(name):
            await self._followers.read((group.key[0], node.name), pod.name)
        return True


def _words(pod: PodView | None) -> tuple[str, str]:
    """Message and reason of a crash that the trainer did not speak of."""
    if pod is None:
        return "the pod is gone", ""
    if pod.reason == OOM_KILLED:
        return "the container used more memory than its limit (OOMKilled)", OOM_KILLED
    message = pod.message if not pod.message.startswith("{") else ""
    return message[:1024] or pod.reason, ""
