"""Following the pods of running stages through the API server, and reading them to the end."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from llmzero.api.contract import LINE_BYTES, parse_record
from llmzero.api.stage import StageNode, StageStatus
from llmzero.controller.kube import Kube
from llmzero.controller.pods import CONTAINER
from llmzero.controller.store import Key
from llmzero.controller.transport import ApiError
from llmzero.search.lifecycle import StageObserver

SILENT_SECONDS = 300.0
"""A follow that said nothing for so long is opened anew: a cut connection may go unnoticed."""
REOPEN_SECONDS = 2.0
STEP_SECONDS = 30.0
"""Steps alone are reason to look at a stage at most so often."""


@dataclass
class Heard:
    """What was heard of one stage so far."""

    observer: StageObserver = field(default_factory=StageObserver)
    at: datetime | None = None
    """When the last new record came."""
    news: bool = False
    """An evaluation, a checkpoint or the like came and is not in the status yet."""
    pod: str = ""
    follow: "asyncio.Task[None] | None" = None


class Followers:
    """One observer a stage and at most one follow of its newest pod."""

    def __init__(
        self, kube: Kube, mark: Callable[[Key], None], clock: Callable[[], datetime]
    ) -> None:
        self._kube = kube
        self._mark = mark
        self._clock = clock
        self._stages: dict[Key, Heard] = {}

    def heard(self, stage: Key) -> Heard:
        return self._stages.setdefault(stage, Heard())

    def status(self, namespace: str, node: StageNode) -> StageStatus:
        """The stage's status with everything that was heard of it."""
        heard = self.heard((namespace, node.name))
        return node.status if heard.at is None else heard.observer.status(node, heard.at)

    def follow(self, stage: Key, search: Key, pod: str) -> None:
        """See to it that this pod is followed; a follow that ended is opened anew, not too soon."""
        heard = self.heard(stage)
        if heard.follow is not None and not heard.follow.done():
            if heard.pod == pod:
                return
            heard.follow.cancel()
        wait = REOPEN_SECONDS if heard.pod == pod else 0.0
        heard.pod = pod
        work = self._follow(heard, stage[0], search, pod, wait)
        heard.follow = asyncio.create_task(work, name=f"log {pod}")

    def forget(self, stage: Key) -> None:
        """The stage is final or gone."""
        heard = self._stages.pop(stage, None)
        if heard is not None and heard.follow is not None:
            heard.follow.cancel()

    def close(self) -> None:
        for stage in list(self._stages):
            self.forget(stage)

    async def read(self, stage: Key, pod: str) -> bool:
        """The whole log as it stands; False where it cannot be read (a drained node)."""
        heard = self.heard(stage)
        try:
            async with contextlib.aclosing(self._kube.log(stage[0], pod, CONTAINER)) as lines:
                async for line in lines:
                    self._take(heard, line)
        except ApiError as error:
            if error.status in (0, 429):
                raise  # the API server, not the kubelet
            return False
        return True

    async def _follow(
        self, heard: Heard, namespace: str, search: Key, pod: str, wait: float
    ) -> None:
        await asyncio.sleep(wait)
        told = time.monotonic()
        with contextlib.suppress(ApiError, TimeoutError):
            async with contextlib.aclosing(self._kube.follow(namespace, pod, CONTAINER)) as lines:
                while True:
                    # Not wait_for: in Python 3.11 it loses a cancel that meets a line.
                    async with asyncio.timeout(SILENT_SECONDS):
                        line = await anext(lines, None)
                    if line is None:
                        break
                    kind = self._take(heard, line)
                    if kind and (kind != "step" or time.monotonic() - told > STEP_SECONDS):
                        told = time.monotonic()
                        self._mark(search)
        self._mark(search)

    def _take(self, heard: Heard, line: bytes) -> str:
        """The kind of a new record; empty for what is none or was known."""
        if not line or len(line) > LINE_BYTES:
            return ""
        try:
            record = parse_record(line)
        except ValueError:
            return ""
        if not heard.observer.take(record):
            return ""
        heard.at = self._clock()
        heard.news |= record.type != "step"
        return record.type
