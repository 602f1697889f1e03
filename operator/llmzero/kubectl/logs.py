"""The log of a stage: of the newest attempt's pod, and of those that follow it."""

import asyncio
import contextlib
from collections.abc import Callable

from llmzero.api.stage import StageNode
from llmzero.controller.kube import Kube
from llmzero.controller.labels import ATTEMPT_LABEL, NODE_LABEL
from llmzero.controller.pods import CONTAINER, PodView, pod_view
from llmzero.controller.transport import ApiError, Object
from llmzero.kubectl.searches import parsed

AGAIN_SECONDS = 2.0


class NoLog(Exception):
    """There is nothing to read; the message says why."""


async def newest_pod(kube: Kube, namespace: str, node: str) -> PodView | None:
    """Of the newest attempt; not of the Jobs that report or prune."""
    found: list[Object] = []
    async for page in kube.list("Pod", namespace, f"{NODE_LABEL}={node}"):
        found += [p for p in page.items if _attempt(p)]
    if not found:
        return None

    def age(pod: Object) -> tuple[int, str, str]:
        metadata = pod["metadata"]
        return (_attempt(pod), metadata.get("creationTimestamp", ""), metadata["name"])

    return pod_view(max(found, key=age))


async def print_log(
    kube: Kube,
    namespace: str,
    node: StageNode,
    follow: bool,
    write: Callable[[bytes], None],
    say: Callable[[str], None],
) -> None:
    """Lines to ``write`` as the pod gave them; with ``follow`` until the stage is final, through
    all its attempts. ``say`` tells why one waits. Raises ApiError, NoLog."""
    reader = _Reader(kube, namespace, write)
    told = ""
    while True:
        # Before the pod is looked for: what a final stage wrote is all there then.
        final = node.status.phase.final
        pod = await newest_pod(kube, namespace, node.name)
        if pod is not None and pod.name not in reader.finished:
            await reader.read(pod, follow)
        if not follow or final:
            break
        why = _why_none(node, pod)
        if why and why != told:
            say(why)
            told = why
        await asyncio.sleep(AGAIN_SECONDS)
        body = await kube.get("StageNode", namespace, node.name)
        if body is None:
            raise NoLog(f"stage {node.spec.path} was deleted")
        node = parsed(StageNode, body)
    if not reader.lines:
        raise NoLog(_why_none(node, pod) or reader.problem or "the pod has written nothing yet")


class _Reader:
    """Reads pods, each line once, however often a follow is cut off."""

    def __init__(self, kube: Kube, namespace: str, write: Callable[[bytes], None]) -> None:
        self._kube = kube
        self._namespace = namespace
        self._write = write
        self.lines: dict[str, int] = {}
        """Pod to the number of lines written."""
        self.finished: set[str] = set()
        self.problem = ""

    async def read(self, pod: PodView, follow: bool) -> None:
        if pod.running_since is None:
            return
        stream = self._kube.follow if follow and not pod.ended else self._kube.log
        count, known = 0, self.lines.get(pod.name, 0)
        try:
            async with contextlib.aclosing(stream(self._namespace, pod.name, CONTAINER)) as lines:
                async for line in lines:
                    count += 1
                    if count > known:
                        self._write(line)
                        self.lines[pod.name] = count
        except ApiError as error:
            # Gone, not yet there, or a node that does not answer: the pod's state says which.
            if error.status in (401, 403) or (error.status == 0 and not count):
                raise
            self.problem = f"pod {pod.name}: {error}"
            return
        if pod.ended:
            self.finished.add(pod.name)


def _attempt(pod: Object) -> int:
    return int(pod["metadata"].get("labels", {}).get(ATTEMPT_LABEL, "0"))


def _why_none(node: StageNode, pod: PodView | None) -> str:
    """Why no log can be read now; empty where there should be one."""
    path, status = node.spec.path, node.status
    if pod is None:
        if status.phase.final:
            return f"stage {path}: its pod is gone (a Job is deleted once its result is recorded)"
        return f"stage {path} is {status.phase}: it has no pod"
    if pod.running_since is None and not pod.ended:
        return f"stage {path}: pod {pod.name} does not run yet: {pod.waiting or 'it starts'}"
    return ""
